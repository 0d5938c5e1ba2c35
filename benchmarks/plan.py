"""Bytes and hours of the Natural Scenes Dataset at full size, on paper: from measured rates, by the formulae below.

Run ``python -m benchmarks.plan``; it computes at once and prints the tables of ``docs/cluster.md``. ``--rows 73000``
plans subjects that saw every image, ``--cores``, ``--gpu-tflops`` and ``--gpu-share`` another machine.

The dataset has 8 subjects, 327,684 vertices (both hemispheres of fsaverage) and 73,000 images, of which a subject saw
9,000 of its own and the 1,000 that all saw: 10,000 rows, averaged over repeats. Ridge and banded ridge have 20
penalties, 5 outer folds and 5 inner ones. Core hours are those of one process. On many cores work goes in rounds of as
many pieces as there are cores, and parts of a fold repeat its Gram matrices and decompositions.

Rates are those of one core in ``docs/benchmarks.md``. No rate was measured on a GPU: its columns are assumptions, that
products run at a share of the peak in float32, and decompositions at 2 % of that.
"""

import argparse
import math
from dataclasses import dataclass

from benchmarks.ridge import count_operations
from encoders.estimators.ridge import VOXELS_PER_SIDE

N_SUBJECTS, N_VERTICES, N_IMAGES = 8, 327_684, 73_000
N_ALPHAS, N_OUTER, N_INNER = 20, 5, 5
N_TOKENS, N_CHANNELS, N_PROJECTED, CHUNK_IMAGES = 961, 768, 4096, 32
N_PERMUTATIONS, N_DRAWS, N_BANDS, N_EPOCHS = 100, 20, 3, 50
GIGA, HOUR = 1e9, 3600.0
GPU_DECOMPOSITION_SHARE = 0.02

# Measured on one core: "Feature extraction", `extract_features` with "mean", and the operations of its network.
RESNET50_IMAGES_S, RESNET50_OPERATIONS = 9.41, 2 * 4.09e9
# "Ridge with a penalty per voxel", the full search, in CPU seconds.
RIDGE_SECONDS = {(1000, 768, 1000): 0.71, (5000, 768, 4000): 4.06, (1000, 4096, 1000): 1.19}
INTERPOLATED_SECONDS = {(5000, 768, 4000): 3.47}
# "Banded ridge": 10 draws at 1000 x 768 x 1000, 2 draws at 5000 x 768 x 1000.
BANDED_SECONDS = {(1000, 768, 1000, 10): 5.24, (5000, 768, 1000, 2): 2.34}
# "The attention encoder at the size of NSD": trained from disk in float32, 50 queries and 40,000 vertices.
ATTENTION_IMAGES_S, ATTENTION_QUERIES, ATTENTION_VERTICES = 12.4, 50, 40_000
ATTENTION_HEADS, ATTENTION_HIDDEN = 16, 1024


@dataclass(frozen=True)
class RidgeModel:
    """CPU seconds of a fit: products at one rate, and decompositions, cubic in the side.

    Attributes
    ----------
    product_rate : float
        Operations a second.
    unit_seconds : float
        Of one decomposition, divided by the cube of its side.
    """

    product_rate: float
    unit_seconds: float

    @classmethod
    def measured(cls) -> "RidgeModel":
        """Solve for both from the two measured shapes of equal side."""
        (small, short), (large, long) = list(RIDGE_SECONDS.items())[:2]
        rate = (count_operations(*large) - count_operations(*small)) / (long - short)
        decompositions = short - count_operations(*small) / rate
        return cls(rate, decompositions / ((N_INNER + 1) * small[1] ** 3))

    def seconds(self, n: int, p: int, v: int) -> tuple[float, float]:
        """Return seconds in products and in decompositions of one fit with inner folds."""
        train = n - n // N_INNER
        side, refit_side = (p, p) if p <= train else (train, n)
        decompositions = self.unit_seconds * (N_INNER * side**3 + refit_side**3)
        return count_operations(n, p, v) / self.product_rate, decompositions

    def repeated_seconds(self, n: int, p: int) -> float:
        """Return the seconds of a fit that do not depend on voxels, so that every part repeats them."""
        gram = count_operations(n, p, 0) / self.product_rate
        return gram + self.seconds(n, p, 0)[1]


def count_parts(n: int, p: int) -> int:
    """Return into how many parts `RidgeEncoder.divide_voxels` cuts a fold (rounding to chunks apart)."""
    return max(1, N_VERTICES // (VOXELS_PER_SIDE * min(n, p)))


def vit_operations(n_tokens: int = N_TOKENS + 1, width: int = N_CHANNELS, depth: int = 12) -> float:
    """Count operations of a vision transformer's pass: 24 T d^2 + 4 T^2 d a block."""
    return depth * (24 * n_tokens * width**2 + 4 * n_tokens**2 * width)


def attention_operations(n_queries: int, n_vertices: int) -> float:
    """Count the floor of one training step an image, as `benchmarks.attention` does."""
    folded = 4 * N_TOKENS * N_CHANNELS * n_queries * ATTENTION_HEADS
    keys, over_keys = 4 * N_TOKENS * N_CHANNELS**2, 4 * N_TOKENS * N_CHANNELS * n_queries
    rest = 4 * n_queries * N_CHANNELS * (N_CHANNELS + ATTENTION_HIDDEN) + 2 * N_CHANNELS * n_vertices
    return min(2 * folded, 2 * keys + 3 * over_keys) + 3 * rest


def size_table(n_rows: int) -> str:
    """Return the table of bytes."""
    tokens = N_IMAGES * N_TOKENS * N_CHANNELS
    responses = n_rows * N_VERTICES
    rows = [
        ("tokens of a layer, 961 x 768, float32, as stored", "images x tokens x channels x 4", 4 * tokens, 1),
        ("the same in float16", "... x 2", 2 * tokens, 1),
        ("pooled features of a layer, 768", "images x channels x 4", 4 * N_IMAGES * N_CHANNELS, 1),
        ("projection of a layer to 4096", "images x 4096 x 4", 4 * N_IMAGES * N_PROJECTED, 1),
        ("responses of a subject, float32", "rows x vertices x 4", 4 * responses, N_SUBJECTS),
        ("held-out predictions of a subject and layer", "rows x vertices x 4", 4 * responses, N_SUBJECTS),
        ("Gram matrices of a fit, 768", "(5 + 1) x 768^2 x 8", 8 * (N_INNER + 1) * N_CHANNELS**2, 1),
        ("Gram matrices of a fit, 4096", "(5 + 1) x 4096^2 x 8", 8 * (N_INNER + 1) * N_PROJECTED**2, 1),
        ("coefficients of a fit, 768", "768 x vertices x 4", 4 * N_CHANNELS * N_VERTICES, N_SUBJECTS),
        ("coefficients of a fit, 4096", "4096 x vertices x 4", 4 * N_PROJECTED * N_VERTICES, N_SUBJECTS),
        ("scores of the null, a layer", "100 x vertices x 4", 4 * N_PERMUTATIONS * N_VERTICES, N_SUBJECTS),
    ]
    lines = ["| what | formula | GB | GB of 8 subjects |", "|---|---|---|---|"]
    for what, formula, size, times in rows:
        of_all = f"{times * size / GIGA:.2f}" if times > 1 else "shared" if "fit" not in what else "each fit"
        lines.append(f"| {what} | {formula} | {size / GIGA:.3f} | {of_all} |")
    return "\n".join(lines)


def hour_table(n_rows: int, n_cores: int, gpu_tflops: float, gpu_share: float) -> str:
    """Return the table of hours, all subjects together, one layer."""
    gpu_rate = gpu_tflops * 1e12 * gpu_share
    n_train = n_rows - n_rows // N_OUTER
    model = RidgeModel.measured()
    saved = INTERPOLATED_SECONDS[5000, 768, 4000] / RIDGE_SECONDS[5000, 768, 4000]
    # What is done: operations, core seconds, pieces, core seconds that pieces add, GPU seconds.
    rows: list[tuple[str, float, float, int, float, float]] = []

    operations = N_IMAGES * vit_operations()
    core_rate, n_chunks = RESNET50_IMAGES_S * RESNET50_OPERATIONS, math.ceil(N_IMAGES / CHUNK_IMAGES)
    extraction = (operations, operations / core_rate, n_chunks, 0.0, operations / gpu_rate)
    rows.append(("extraction, ViT-B/14 at 434 px", *extraction))
    fits = N_SUBJECTS * N_OUTER
    for width in (N_CHANNELS, N_PROJECTED):
        products, decompositions = (fits * part for part in model.seconds(n_train, width, N_VERTICES))
        n_parts = count_parts(n_train, width)
        added = fits * (n_parts - 1) * model.repeated_seconds(n_train, width)
        operations = fits * count_operations(n_train, width, N_VERTICES)
        on_gpu = operations / gpu_rate
        on_gpu += decompositions * model.product_rate / (gpu_rate * GPU_DECOMPOSITION_SHARE)
        core = products + decompositions
        rows.append((f"ridge, {width}", operations, core, fits * n_parts, added, on_gpu))
        if width == N_CHANNELS:
            few = (
                saved * operations,
                saved * products + decompositions,
                fits * n_parts,
                added,
                saved * on_gpu,
            )
            rows.append((f"ridge, {width}, interpolated", *few))
            times = N_PERMUTATIONS  # a permutation is one piece of work
            null = (times * operations, times * core, times * N_SUBJECTS, 0.0, times * on_gpu)
            rows.append((f"null, {width}: {N_PERMUTATIONS} refits", *null))
    shape = (5000, N_CHANNELS, 1000, 2)
    a_draw = BANDED_SECONDS[shape] / shape[3] / sum(model.seconds(*shape[:3]))
    operations = N_DRAWS * fits * count_operations(n_train, N_CHANNELS, N_VERTICES)
    core = N_DRAWS * a_draw * fits * sum(model.seconds(n_train, N_CHANNELS, N_VERTICES))
    what = f"banded ridge, {N_CHANNELS} in {N_BANDS} bands, {N_DRAWS} draws"
    rows.append((what, operations, core, fits, 0.0, operations / gpu_rate))
    floor_rate = ATTENTION_IMAGES_S * attention_operations(ATTENTION_QUERIES, ATTENTION_VERTICES)
    operations = fits * N_EPOCHS * n_train * attention_operations(ATTENTION_QUERIES, N_VERTICES)
    what = f"attention, {ATTENTION_QUERIES} queries, {N_EPOCHS} epochs"
    rows.append((what, operations, operations / floor_rate, fits, 0.0, operations / gpu_rate))
    lines = [
        f"| one layer, {N_SUBJECTS} subjects, {n_rows:,} rows each | PFLOP | pieces | core hours | "
        f"hours on {n_cores} cores | hours on one GPU (assumed {gpu_tflops * gpu_share:g} TFLOP/s) |",
        "|---|---|---|---|---|---|",
    ]
    for what, operations, core, n_pieces, added, gpu in rows:
        spread = math.ceil(n_pieces / n_cores) * (core + added) / n_pieces
        cells = (f"{value:,.2f}" for value in (core / HOUR, spread / HOUR, gpu / HOUR))
        lines.append(f"| {what} | {operations / 1e15:,.2f} | {n_pieces:,} | {' | '.join(cells)} |")
    return "\n".join(lines)


def check_table() -> str:
    """Return what the ridge model says of a measured shape that it was not made from."""
    model = RidgeModel.measured()
    shape = (1000, 4096, 1000)
    return (
        f"Products at {model.product_rate / 1e9:.1f} GFLOP/s, a decomposition of side 768 in "
        f"{model.unit_seconds * 768**3:.3f} s; {' x '.join(map(str, shape))} would take "
        f"{sum(model.seconds(*shape)):.2f} s and took {RIDGE_SECONDS[shape]:.2f} s."
    )


def parts_table(n_rows: int) -> str:
    """Return how a fit is cut for workers, and what the decompositions that parts repeat add."""
    model, n_train = RidgeModel.measured(), n_rows - n_rows // N_OUTER
    lines = [
        "| ridge, one subject and layer | parts of a fold | voxels each | seconds each | of these, repeated |",
        "|---|---|---|---|---|",
    ]
    for width in (N_CHANNELS, N_PROJECTED):
        n_parts = count_parts(n_train, width)
        n_voxels = N_VERTICES // n_parts
        total, repeated = sum(model.seconds(n_train, width, n_voxels)), model.repeated_seconds(n_train, width)
        lines.append(
            f"| {width} features | {n_parts} | {n_voxels:,} | {total:,.1f} | {repeated / total:.0%} |"
        )
    return "\n".join(lines)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description="Bytes and hours of the Natural Scenes Dataset, on paper.")
    parser.add_argument("--rows", type=int, default=10_000, help="images a subject saw")
    parser.add_argument("--cores", type=int, default=50)
    parser.add_argument("--gpu-tflops", type=float, default=20.0, help="peak in float32")
    parser.add_argument("--gpu-share", type=float, default=0.5, help="share of the peak that products reach")
    options = parser.parse_args()
    machine = (options.cores, options.gpu_tflops, options.gpu_share)
    for table in (
        size_table(options.rows),
        hour_table(options.rows, *machine),
        check_table(),
        parts_table(options.rows),
    ):
        print(table, end="\n\n")


if __name__ == "__main__":
    main()
