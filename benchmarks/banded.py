"""Banded ridge: CPU seconds, peak memory and scores beside himalaya, at the same draws.

Run ``python -m benchmarks.banded`` (``--quick`` for a first look, ``--device cuda`` on a GPU, where seconds are those
of the clock). Contestants take turns, each fit in a process of its own, on one thread, in float32, with 3 bands, 20
overall penalties, 5 folds and the very same weights of the bands; a ratio compares medians of the rounds. Peak memory
is what the resident set grows by during the fit, with the data loaded and the libraries warm. Prints Markdown and
writes ``benchmarks/results/banded.json``.

Each band's features have variances that fall as 1 / rank. A third of the voxels is noise; the others are explained to
2-80 %, by the bands in unequal shares. Scores are R2: that of the inner folds for every draw, and that on 1,000 new
samples.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.ridge import resident_mib
from stimuli import write_json

RESULTS = Path(__file__).parent / "results" / "banded.json"
N_BANDS, N_ALPHAS, N_FOLDS, N_TEST = 3, 20, 5, 1000
OURS, FULL, GRADIENT = "cogmodels", "cogmodels, every penalty", "cogmodels, gradient from 3 draws"
GROUP, KERNEL = "himalaya GroupRidgeCV", "himalaya MultipleKernelRidgeCV"
# At n_samples x n_features x n_voxels: draws, who runs, whom ratios are taken against, and how many times less CPU
# time is aimed at.
SHAPES: dict[tuple[int, int, int], tuple[int, list[str], float]] = {
    (1000, 768, 1000): (10, [GROUP, OURS, FULL, GRADIENT], 3.0),
    (5000, 768, 1000): (2, [GROUP, OURS, FULL], 8.0),
    (1000, 3000, 1000): (10, [KERNEL, OURS, FULL], 1.0),
}
QUICK: dict[tuple[int, int, int], tuple[int, list[str], float]] = {
    (300, 150, 200): (4, [GROUP, OURS, FULL, GRADIENT], 1.0),
    (200, 600, 200): (4, [KERNEL, OURS, FULL], 1.0),
}


def simulate(n: int, p: int, v: int, n_draws: int) -> dict[str, np.ndarray]:
    """Return features, responses, bands, penalties and weights of the bands, for fitting and for testing."""
    from encoders.solvers.banded_draws import draw_gammas

    rng = np.random.default_rng(0)
    width = p // N_BANDS
    shares = rng.dirichlet(np.full(N_BANDS, 0.5), v).T.astype(np.float32)
    bands, signal = [], np.zeros((n + N_TEST, v), dtype=np.float32)
    for share in shares:
        X = rng.standard_normal((n + N_TEST, width), dtype=np.float32)
        X *= np.arange(1, width + 1, dtype=np.float32) ** -0.5
        for _ in range(2):  # reflections mix the directions over the features
            normal = rng.standard_normal(width, dtype=np.float32)
            normal /= np.linalg.norm(normal)
            X -= 2 * np.outer(X @ normal, normal)
        bands.append(X / X.std())
        part = bands[-1] @ rng.standard_normal((width, v), dtype=np.float32)
        signal += np.sqrt(share) * part / part.std(0)
    X = np.hstack(bands)
    explained = np.where(rng.random(v) < 1 / 3, 0, rng.uniform(0.02, 0.8, v)).astype(np.float32)
    noise = rng.standard_normal(signal.shape, dtype=np.float32)
    Y = signal / signal.std(0) * np.sqrt(explained) + noise * np.sqrt(1 - explained)
    mean_eigenvalue = n * float(X[:n].var(0).sum()) / min(n, p)
    return {
        "X": X[:n],
        "Y": Y[:n],
        "X_test": X[n:],
        "Y_test": Y[n:],
        "bands": np.repeat(np.arange(N_BANDS), width),
        "alphas": (np.geomspace(1e-3, 1e3, N_ALPHAS) * mean_eigenvalue).astype(np.float32),
        "gammas": draw_gammas(n_draws, N_BANDS).astype(np.float32),
    }


def fit(name: str, data: dict[str, np.ndarray], device: str) -> Callable[[], tuple[np.ndarray, ...]]:
    """Fit with one contestant; return a function giving held-out predictions, inner scores and penalties."""
    X, Y, bands, alphas, gammas = (data[key] for key in ("X", "Y", "bands", "alphas", "gammas"))
    if name in (OURS, FULL, GRADIENT):
        from encoders.solvers.banded import solve_banded_ridge_cv

        solution = solve_banded_ridge_cv(
            X,
            Y,
            bands,
            alphas,
            N_FOLDS,
            gammas=gammas[:3] if name == GRADIENT else gammas,
            search="gradient" if name == GRADIENT else "random",
            penalty_search="full" if name == FULL else "interpolate",
            device=device,
        )
        return lambda: (
            data["X_test"] @ solution.coef_ + solution.intercept_,
            solution.cv_scores_,
            solution.alphas_,
        )
    import himalaya.backend
    from himalaya.kernel_ridge import MultipleKernelRidgeCV
    from himalaya.ridge import GroupRidgeCV

    backend = himalaya.backend.set_backend("torch_cuda" if device == "cuda" else "torch")
    common = {"n_iter": gammas, "alphas": alphas, "progress_bar": False}
    null = np.zeros(Y.shape[1])
    for rows in np.array_split(np.arange(len(Y)), N_FOLDS):
        null += ((Y[rows] - np.delete(Y, rows, 0).mean(0)) ** 2).mean(0) / N_FOLDS

    if name == GROUP:

        def prepare(A: np.ndarray) -> Any:
            return backend.asarray(A)

        model = GroupRidgeCV(groups=bands.tolist(), cv=N_FOLDS, fit_intercept=True, solver_params=common)
    else:
        own = [backend.asarray(X[:, bands == band]) for band in range(N_BANDS)]

        def prepare(A: np.ndarray) -> Any:
            parts = [backend.asarray(A[:, bands == band]) @ own[band].T for band in range(N_BANDS)]
            return backend.stack(parts)

        model = MultipleKernelRidgeCV(
            kernels="precomputed",
            solver="random_search",
            cv=N_FOLDS,
            fit_intercept=True,
            solver_params=common,
        )
    model.fit(prepare(X), backend.asarray(Y))
    return lambda: (
        backend.to_numpy(model.predict(prepare(data["X_test"]))),
        1 + backend.to_numpy(model.cv_scores_) / null,
        np.exp(-backend.to_numpy(model.deltas_)),
    )


def run_child(name: str, folder: Path, out: Path, device: str) -> None:
    """Fit in this process, write the solution, and print seconds and memory as JSON."""
    import torch

    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    with np.load(folder / "data.npz") as held:
        data = dict(held)
    fit(name, small_copy(data), device)
    clock: Callable[[], float] = time.perf_counter if device == "cuda" else time.process_time
    Path("/proc/self/clear_refs").write_text("5")  # forget the peak so far
    before = resident_mib("VmRSS")
    start = clock()
    answer = fit(name, data, device)
    seconds = clock() - start
    peak = resident_mib("VmHWM") - before
    predicted, scores, alphas = answer()
    np.savez(out, predicted=predicted, scores=scores, alphas=alphas)
    print(json.dumps({"seconds": seconds, "peak_mib": peak}))


def small_copy(data: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return a few rows, columns and voxels, to warm the libraries up with."""
    columns = np.concatenate([np.flatnonzero(data["bands"] == band)[:10] for band in range(N_BANDS)])
    return {
        **data,
        "X": data["X"][:60, columns],
        "Y": data["Y"][:60, :20],
        "bands": data["bands"][columns],
        "gammas": data["gammas"][:2],
    }


def measure(name: str, folder: Path, out: Path, device: str) -> dict[str, float]:
    """Run one contestant in a process of its own, on one thread."""
    threads = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    command = [sys.executable, "-m", "benchmarks.banded", "--device", device]
    command += ["--child", name, str(folder), str(out)]
    done = subprocess.run(command, env=os.environ | threads, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{name} failed:\n{done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])


def compare(data: dict[str, np.ndarray], ours: dict[str, np.ndarray], peer: dict[str, np.ndarray]) -> dict:
    """Say how far two contestants differ in what they chose and in what they score."""
    from encoders.scores import r2_score

    same = np.isclose(np.log(ours["alphas"]), np.log(peer["alphas"]), atol=1e-2).all(0)
    r2 = [r2_score(data["Y_test"], solution["predicted"]) for solution in (ours, peer)]
    return {
        "same_choice": float(same.mean()),
        "largest_gap_of_best_inner_r2": float(np.abs(ours["scores"].max(0) - peer["scores"].max(0)).max()),
        "gap_of_mean_held_out_r2": float(abs(r2[0].mean() - r2[1].mean())),
        "largest_gap_of_held_out_r2_at_the_same_choice": float(np.abs(r2[0] - r2[1])[same].max()),
        "largest_gap_of_held_out_r2": float(np.abs(r2[0] - r2[1]).max()),
    }


def run_shape(
    shape: tuple[int, int, int], n_draws: int, names: list[str], target: float, rounds: int, device: str
) -> dict[str, Any]:
    """Measure all contestants at one shape, in turns, and print the table."""
    from encoders.scores import r2_score

    data = simulate(*shape, n_draws)
    runs: dict[str, list[dict[str, float]]] = {name: [] for name in names}
    solutions = {}
    with tempfile.TemporaryDirectory() as folder:
        np.savez(Path(folder) / "data.npz", **data)
        for _ in range(rounds):
            for name in names:
                out = Path(folder) / "out.npz"
                runs[name].append(measure(name, Path(folder), out, device))
                with np.load(out) as held:
                    solutions[name] = dict(held)
                print(f"  {name}: {runs[name][-1]['seconds']:.2f} s", file=sys.stderr)
    peer = names[0]
    seconds = {name: statistics.median(run["seconds"] for run in runs[name]) for name in names}
    peaks = {name: statistics.median(run["peak_mib"] for run in runs[name]) for name in names}
    inner = {name: float(solutions[name]["scores"].max(0).mean()) for name in names}
    outer = {name: float(r2_score(data["Y_test"], solutions[name]["predicted"]).mean()) for name in names}
    unit = "seconds" if device == "cuda" else "CPU seconds"
    print(f"\n### {' x '.join(map(str, shape))} (samples x features x voxels), {n_draws} draws\n")
    print(
        f"| program | {unit} | {peer} takes | peak MiB | best inner R2 | held-out R2 |\n|---|---|---|---|---|---|"
    )
    for name in names:
        ratio = seconds[peer] / seconds[name]
        print(
            f"| {name} | {seconds[name]:.2f} | {ratio:.1f} x | {peaks[name]:.0f} | {inner[name]:.5f} "
            f"| {outer[name]:.5f} |"
        )
    print(f"\nAimed at: {target:g} x.\n")
    checks = {name: compare(data, solutions[name], solutions[peer]) for name in (OURS, FULL) if name in names}
    for name, check in checks.items():
        print(
            f"- {name} against {peer}: the same draw and penalty for {check['same_choice']:.2%} of voxels, best inner "
            f"R2 within {check['largest_gap_of_best_inner_r2']:.0e} in every voxel, held-out R2 within "
            f"{check['largest_gap_of_held_out_r2_at_the_same_choice']:.0e} where the choice is the same and "
            f"{check['largest_gap_of_held_out_r2']:.0e} in all; its mean differs by "
            f"{check['gap_of_mean_held_out_r2']:.0e}."
        )
    return {
        "shape": shape,
        "n_draws": n_draws,
        "runs": runs,
        "median_seconds": seconds,
        "median_peak_mib": peaks,
        "best_inner_r2": inner,
        "held_out_r2": outer,
        "checks": checks,
    }


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description="Banded ridge with cross-validation beside himalaya.")
    parser.add_argument("--quick", action="store_true", help="small shapes, one round")
    parser.add_argument(
        "--shape", choices=["x".join(map(str, shape)) for shape in SHAPES], help="this shape only"
    )
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--child", nargs=3, metavar=("NAME", "DATA", "OUT"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        name, folder, out = options.child
        run_child(name, Path(folder), Path(out), options.device)
        return
    print(f"Banded ridge, {N_BANDS} bands, {N_ALPHAS} penalties, {N_FOLDS} folds, float32, one thread")
    rounds = 1 if options.quick else options.rounds
    results = [
        run_shape(shape, n_draws, names, target, rounds, options.device)
        for shape, (n_draws, names, target) in (QUICK if options.quick else SHAPES).items()
        if options.quick or options.shape in (None, "x".join(map(str, shape)))
    ]
    if options.quick:
        return
    RESULTS.parent.mkdir(exist_ok=True)
    write_json(RESULTS, {"device": options.device, "results": results})
    print(f"\nWritten to {RESULTS}")


if __name__ == "__main__":
    main()
