"""Ridge with a penalty per voxel: CPU seconds and peak memory beside himalaya and scikit-learn.

Run ``python -m benchmarks.ridge`` (``--quick`` for a first look, ``--device cuda`` on a GPU, where seconds are those
of the clock). Contestants take turns, each fit in a process of its own, on one thread, in float32, with 20 penalties
and the same 5 folds; a ratio compares medians of the rounds. Peak memory is what the resident set grows by during the
fit, with the data loaded and the libraries warm (read from /proc, so on Linux only). Prints Markdown and writes
``benchmarks/results/ridge.json``.

The features have the spectrum of natural images in deep and cortical codes, variances falling as 1 / rank (Stringer et
al. 2019, Nature 571), or a flat one (``--spectrum flat``). A third of the voxels is noise, the others are explained to
2-80 % by planted weights. Penalties run from 1e-3 mean eigenvalues (``--lowest``; with 1e-4 a steep spectrum needs
folds decomposed in float64) to 1e3. Where two programs choose differently, float64 tells how much held-out R2 lies
between the choices: float32 rounding decides among nearly equal penalties.

Data are read and weights written once, in milliseconds; the time goes into products (counted below) and into six
eigendecompositions, so the products' share of the machine's rate is the room that is left.
"""

import argparse
import json
import os
import platform
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

from stimuli import write_json

RESULTS = Path(__file__).parent / "results" / "ridge.json"
N_ALPHAS, N_FOLDS = 20, 5
OURS, FEW = "cogmodels", "cogmodels, interpolated"
HIMALAYA, KERNEL = "himalaya RidgeCV", "himalaya KernelRidgeCV"
KFOLD, LOO = "scikit-learn RidgeCV, 5 folds, one penalty", "scikit-learn RidgeCV, leave one out"
# Who runs at n_samples x n_features x n_voxels, and how many times less CPU time than RidgeCV is aimed at. Left out
# are those that take minutes.
SHAPES: dict[tuple[int, int, int], tuple[list[str], float]] = {
    (1000, 768, 1000): ([OURS, FEW, HIMALAYA, KERNEL, KFOLD, LOO], 3.0),
    (5000, 768, 4000): ([OURS, FEW, HIMALAYA], 6.0),
    (1000, 4096, 1000): ([OURS, FEW, HIMALAYA, KERNEL, KFOLD, LOO], 8.0),
}
QUICK: dict[tuple[int, int, int], tuple[list[str], float]] = {
    (400, 200, 300): ([OURS, FEW, HIMALAYA, KERNEL], 1.0)
}


def simulate(
    n: int, p: int, v: int, spectrum: str, lowest: float, n_test: int = 1000
) -> dict[str, np.ndarray]:
    """Return features and responses for fitting and for testing, and the penalties."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((n + n_test, p), dtype=np.float32)
    if spectrum == "steep":
        X *= np.arange(1, p + 1, dtype=np.float32) ** -0.5
    for _ in range(2):  # reflections mix the directions over the features
        normal = rng.standard_normal(p, dtype=np.float32)
        normal /= np.linalg.norm(normal)
        X -= 2 * np.outer(X @ normal, normal)
    X /= X.std()
    signal = X @ rng.standard_normal((p, v), dtype=np.float32)
    explained = np.where(rng.random(v) < 1 / 3, 0, rng.uniform(0.02, 0.8, v)).astype(np.float32)
    noise = rng.standard_normal(signal.shape, dtype=np.float32)
    Y = signal / signal.std(0) * np.sqrt(explained) + noise * np.sqrt(1 - explained)
    mean_eigenvalue = n * float(X[:n].var(0).sum()) / min(n, p)
    alphas = (np.geomspace(lowest, 1e3, N_ALPHAS) * mean_eigenvalue).astype(np.float32)
    return {"X": X[:n], "Y": Y[:n], "X_test": X[n:], "Y_test": Y[n:], "alphas": alphas}


def fit(
    name: str, X: Any, Y: Any, alphas: np.ndarray, device: str
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Fit with one contestant; return penalties, coefficients (n_features, n_voxels) and intercepts."""
    if name in (OURS, FEW):
        from encoders.solvers.ridge import solve_ridge_cv

        search = "full" if name == OURS else "interpolate"
        solution = solve_ridge_cv(X, Y, alphas, N_FOLDS, search=search, device=device)  # type: ignore[arg-type]
        return solution.alphas_, solution.coef_, solution.intercept_
    if name in (HIMALAYA, KERNEL):
        import himalaya.backend
        from himalaya.kernel_ridge import KernelRidgeCV
        from himalaya.ridge import RidgeCV

        backend = himalaya.backend.set_backend("torch_cuda" if device == "cuda" else "torch")
        x, y = backend.asarray(X), backend.asarray(Y)
        if name == HIMALAYA:
            model = RidgeCV(alphas=alphas, cv=N_FOLDS, fit_intercept=True).fit(x, y)
            coef = model.coef_
        else:
            model = KernelRidgeCV(alphas=alphas, cv=N_FOLDS, fit_intercept=True, kernel="linear").fit(x, y)
            coef = model.get_primal_coef()
        return tuple(backend.to_numpy(a) for a in (model.best_alphas_, coef, model.intercept_))
    from sklearn.linear_model import RidgeCV as SklearnRidgeCV

    options = {"cv": N_FOLDS} if name == KFOLD else {"alpha_per_target": True}
    sklearn_model = SklearnRidgeCV(alphas=alphas, **options).fit(X, Y)
    penalties = np.broadcast_to(sklearn_model.alpha_, Y.shape[1])
    return penalties, sklearn_model.coef_.T, sklearn_model.intercept_


def resident_mib(field: str) -> float:
    """Return the resident memory of this process (VmRSS), or its peak (VmHWM), in MiB."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return float(next(line.split()[1] for line in status.splitlines() if line.startswith(field))) / 1024


def run_child(name: str, data: Path, out: Path, device: str) -> None:
    """Fit in this process, write the solution, and print seconds and memory as JSON."""
    import torch

    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    X, Y, alphas = (np.load(data / f"{key}.npy") for key in ("X", "Y", "alphas"))
    rng = np.random.default_rng(0)
    small = (60, 80 if X.shape[1] > X.shape[0] else 30)
    fit(
        name,
        rng.standard_normal(small, dtype=np.float32),
        rng.standard_normal((60, 20), dtype=np.float32),
        alphas,
        device,
    )
    clock: Callable[[], float] = time.perf_counter if device == "cuda" else time.process_time
    Path("/proc/self/clear_refs").write_text("5")  # forget the peak so far
    before = resident_mib("VmRSS")
    start = clock()
    penalties, coef, intercept = fit(name, X, Y, alphas, device)
    seconds = clock() - start
    peak = resident_mib("VmHWM") - before
    np.savez(out, penalties=penalties, coef=coef, intercept=intercept)
    print(json.dumps({"seconds": seconds, "peak_mib": peak}))


def measure(name: str, data: Path, out: Path, device: str) -> dict[str, float]:
    """Run one contestant in a process of its own, on one thread."""
    threads = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    command = [
        sys.executable,
        "-m",
        "benchmarks.ridge",
        "--child",
        name,
        str(data),
        str(out),
        "--device",
        device,
    ]
    done = subprocess.run(command, env=os.environ | threads, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{name} failed:\n{done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])


def matmul_rate(device: str) -> float:
    """Return float32 operations a second in a matrix product of the sizes used here, on one thread."""
    import torch

    torch.set_num_threads(1)
    a, b = torch.randn(1000, 768, device=device), torch.randn(768, 1280, device=device)
    clock: Callable[[], float] = time.perf_counter if device == "cuda" else time.process_time
    rates = []
    for _ in range(5):
        start = clock()
        for _ in range(20):
            (a @ b).sum().item()
        rates.append(20 * 2 * a.shape[0] * a.shape[1] * b.shape[1] / (clock() - start))
    return max(rates)


def count_operations(n: int, p: int, v: int) -> float:
    """Count the operations in matrix products of the full search, decompositions left out."""
    train, test = n - n // N_FOLDS, n // N_FOLDS
    primal = p <= train
    rank = p if primal else train
    rows = (rank + 64) / 2 if test > 1.25 * rank else test
    fold = 2 * rank * v * (rank + test + N_ALPHAS * rows) + 2 * test * rank * rank
    shared = (
        2 * n * p * (p + v) + 4 * p * p * v if primal else 2 * n * n * p + 2 * n * n * 2 * v + 2 * n * p * v
    )
    return N_FOLDS * fold + shared


def compare(data: Path, ours: Path, theirs: Path) -> dict[str, float]:
    """Compare two solutions: penalties, predictions where these agree, and what disagreement costs.

    The judge is the held-out R2 in float64: how far it differs between the penalties of the two, and for how many
    voxels each has the best.
    """
    from encoders.solvers.ridge import solve_ridge_cv

    X, Y, alphas = (np.load(data / f"{key}.npy") for key in ("X", "Y", "alphas"))
    a, b = np.load(ours), np.load(theirs)
    index = [np.abs(np.log(alphas[:, None] / s["penalties"])).argmin(0) for s in (a, b)]
    same = index[0] == index[1]
    gap, ours_best, theirs_best = 0.0, 0, 0
    if not same.all():
        scores: Any = solve_ridge_cv(X, Y[:, ~same], alphas, N_FOLDS, dtype="float64").cv_scores_
        pick = [np.take_along_axis(scores, i[~same][None], 0)[0] for i in index]
        gap = float(np.abs(pick[1] - pick[0]).max())
        ours_best, theirs_best = (int((values == scores.max(0)).sum()) for values in pick)
    difference = X @ (a["coef"] - b["coef"])[:, same] + (a["intercept"] - b["intercept"])[same]
    return {
        "same_penalty": float(same.mean()),
        "n_different": int((~same).sum()),
        "largest_r2_gap": gap,
        "n_ours_best": ours_best,
        "n_theirs_best": theirs_best,
        "largest_prediction_difference_sd": float((np.abs(difference).max(0) / Y[:, same].std(0)).max()),
    }


def held_out_r(data: Path, solution: Path) -> float:
    """Return the correlation with new samples, averaged over voxels."""
    from encoders.scores import correlation_score

    X, Y = np.load(data / "X_test.npy"), np.load(data / "Y_test.npy")
    fitted = np.load(solution)
    return float(np.nanmean(correlation_score(Y, X @ fitted["coef"] + fitted["intercept"])))


def run_shape(
    shape: tuple[int, int, int],
    names: list[str],
    target: float,
    rounds: int,
    spectrum: str,
    lowest: float,
    device: str,
    rate: float,
) -> dict[str, Any]:
    """Measure all contestants at one shape, in turns, and print the table."""
    runs: dict[str, list[dict[str, float]]] = {name: [] for name in names}
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder)
        for key, values in simulate(*shape, spectrum, lowest).items():
            np.save(data / f"{key}.npy", values)
        out = {name: data / f"{number}.npz" for number, name in enumerate(names)}
        for _ in range(rounds):
            for name in names:
                runs[name].append(measure(name, data, out[name], device))
                print(f"  {name}: {runs[name][-1]['seconds']:.2f} s", file=sys.stderr)
        checks = {
            name: compare(data, out[OURS], out[name]) for name in (HIMALAYA, KERNEL, FEW) if name in names
        }
        r = {name: held_out_r(data, out[name]) for name in names}
    seconds = {name: statistics.median(run["seconds"] for run in runs[name]) for name in names}
    peaks = {name: statistics.median(run["peak_mib"] for run in runs[name]) for name in names}
    operations = count_operations(*shape)
    share = operations / seconds[OURS] / rate
    unit = "seconds" if device == "cuda" else "CPU seconds"
    title = " x ".join(map(str, shape))
    print(f"\n### {title} (samples x features x voxels), {spectrum} spectrum, penalties from {lowest:g}\n")
    print(f"| program | {unit} | RidgeCV takes | peak MiB | held-out r |\n|---|---|---|---|---|")
    for name in names:
        ratio = seconds[HIMALAYA] / seconds[name]
        print(f"| {name} | {seconds[name]:.2f} | {ratio:.1f} x | {peaks[name]:.0f} | {r[name]:.5f} |")
    print(
        f"\nProducts of the full search: {operations / 1e9:.0f} GFLOP, {operations / seconds[OURS] / 1e9:.0f} GFLOP/s, "
        f"{share:.0%} of the rate of a plain matrix product ({rate / 1e9:.0f} GFLOP/s). "
        f"Aimed at: {target:g} x, memory at most half.\n"
    )
    for name, check in checks.items():
        sentence = f"- Against {name}: equal penalties for {check['same_penalty']:.2%} of voxels"
        if check["n_different"]:
            sentence += (
                f"; for the other {check['n_different']} held-out R2 differs by at most {check['largest_r2_gap']:.0e}, "
                f"and float64 sides with {OURS} in {check['n_ours_best']}, with the other in {check['n_theirs_best']}"
            )
        print(
            f"{sentence}; predictions to {check['largest_prediction_difference_sd']:.0e} standard deviations."
        )
    return {
        "shape": shape,
        "spectrum": spectrum,
        "lowest_penalty_in_mean_eigenvalues": lowest,
        "runs": runs,
        "median_seconds": seconds,
        "median_peak_mib": peaks,
        "held_out_r": r,
        "checks": checks,
        "operations": operations,
        "share_of_matmul_rate": share,
    }


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(
        description="Ridge with cross-validation beside himalaya and scikit-learn."
    )
    parser.add_argument("--quick", action="store_true", help="one small shape, one round")
    parser.add_argument(
        "--shape", choices=["x".join(map(str, shape)) for shape in SHAPES], help="this shape only"
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--spectrum", choices=("steep", "flat"), default="steep")
    parser.add_argument("--lowest", type=float, default=1e-3, help="smallest penalty in mean eigenvalues")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--child", nargs=3, metavar=("NAME", "DATA", "OUT"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        name, data, out = options.child
        run_child(name, Path(data), Path(out), options.device)
        return
    rate = matmul_rate(options.device)
    shapes = QUICK if options.quick else SHAPES
    rounds = 1 if options.quick else options.rounds
    print(
        f"Ridge, {N_ALPHAS} penalties, {N_FOLDS} folds, float32, one thread, {platform.processor() or 'CPU'}"
    )
    results = [
        run_shape(shape, names, target, rounds, options.spectrum, options.lowest, options.device, rate)
        for shape, (names, target) in shapes.items()
        if options.shape in (None, "x".join(map(str, shape)))
    ]
    RESULTS.parent.mkdir(exist_ok=True)
    write_json(RESULTS, {"device": options.device, "matmul_flops": rate, "results": results})
    print(
        f"\nWritten to {RESULTS.relative_to(Path.cwd()) if RESULTS.is_relative_to(Path.cwd()) else RESULTS}"
    )


if __name__ == "__main__":
    main()
