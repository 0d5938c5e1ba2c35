"""ScanMatch: scanpaths as strings of grid cells, aligned with a score that falls with distance."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from analyses.metrics.scanpath.alignment import Cost, edit
from analyses.metrics.scanpath.ragged import (
    FloatArray,
    Ragged,
    check_paired,
    check_size,
    length_batches,
    pack_durations,
    pack_places,
)
from stimuli.files import unknown_name_message


def scanmatch(
    a: Sequence[ArrayLike],
    b: Sequence[ArrayLike],
    size_px: ArrayLike,
    durations_a: Sequence[ArrayLike] | None = None,
    durations_b: Sequence[ArrayLike] | None = None,
    *,
    bin_ms: float | None = None,
    grid: tuple[int, int] = (12, 8),
    threshold_cells: float = 3.5,
    gap: float = 0.0,
    off_screen: Literal["clip", "error"] = "clip",
) -> FloatArray:
    """Compare scanpaths as strings of grid cells (Needleman and Wunsch), in space, order and, by choice, time.

    Two cells score `threshold_cells` less their distance in cells. The score of the best alignment is divided by the
    highest one that the longer string could reach.

    Parameters
    ----------
    a, b : sequence of (n_fixations, 2) array
        Scanpaths, x and y in pixels; a[i] is compared with b[i].
    size_px : (2,) or (n_pairs, 2) array-like
        Width and height of the display.
    durations_a, durations_b : sequence of (n_fixations,) array, optional
        In ms; needed for `bin_ms`.
    bin_ms : float, optional
        Repeat a cell once for every `bin_ms` that the fixation lasted, rounded, a half upwards: a fixation below half a
        bin is left out. By default every fixation is one letter.
    grid : (int, int)
        Columns and rows of cells over the display.
    threshold_cells : float
        Distance at which two cells score 0; further ones are negative. The authors take about twice the standard
        deviation of saccade amplitude.
    gap : float
        Score of a letter without a partner, 0 or less.
    off_screen : {"clip", "error"}
        Fixations off the display count in the nearest cell, as in the authors' toolbox, or are refused.

    Returns
    -------
    (n_pairs,) array
        1 for equal strings; from 0 to 1 where `gap` is 0, else it may be negative. NaN where a string is empty.

    Raises
    ------
    ValueError
        If the arguments do not match or are out of range, places are not finite, or fixations lie off the display
        under ``off_screen="error"``.

    References
    ----------
    Cristino, Mathôt, Theeuwes & Gilchrist 2010, Behavior Research Methods 42: 692-700.
    """
    if not (np.isfinite(gap) and gap <= 0):
        raise ValueError(f"gap is {gap}; it is the score of a letter without a partner, 0 or less")
    if off_screen not in ("clip", "error"):
        raise ValueError(unknown_name_message("off_screen", off_screen, ("clip", "error")))
    if bin_ms is not None and not (np.isfinite(bin_ms) and bin_ms > 0):
        raise ValueError(f"bin_ms is {bin_ms}; it must be positive (the authors take 50 or 100), or None")
    scores = substitution_scores(grid, threshold_cells)
    places = pack_places(a, "a"), pack_places(b, "b")
    n_pairs = check_paired(*places)
    size = check_size(size_px, n_pairs)
    first, second = (
        _letters(paths, size, grid, bin_ms, durations, name, off_screen)
        for paths, durations, name in zip(places, (durations_a, durations_b), "ab", strict=True)
    )
    similarity = np.full(n_pairs, np.nan)
    known = np.flatnonzero((first.lengths > 0) & (second.lengths > 0))
    for batch in length_batches(first.lengths[known], second.lengths[known]):
        rows = known[batch]
        lengths = first.lengths[rows], second.lengths[rows]
        letters = (
            first.padded(rows, int(lengths[0].max())),
            second.padded(rows, int(lengths[1].max()), reverse=True),
        )
        similarity[rows] = -edit(_table_cost(letters[0][0], letters[1][0], -scores), lengths, -gap)
    return similarity / (threshold_cells * np.maximum(first.lengths, second.lengths).clip(1))


def substitution_scores(grid: tuple[int, int], threshold_cells: float) -> FloatArray:
    """Return the score of each pair of cells, (n_cells, n_cells): `threshold_cells` less their distance in cells.

    Parameters
    ----------
    grid : (int, int)
        Columns and rows; cells are numbered row by row.
    threshold_cells : float
        Distance at which the score is 0.

    Raises
    ------
    ValueError
        If the grid has no cells or the threshold is not positive.
    """
    if len(grid) != 2 or any(n != int(n) or n < 1 for n in grid):
        raise ValueError(f"grid is {grid}; it must be (columns, rows), at least 1 each")
    if not (np.isfinite(threshold_cells) and threshold_cells > 0):
        raise ValueError(f"threshold_cells is {threshold_cells}; it must be positive")
    cells = np.arange(grid[0] * grid[1])
    row, column = np.divmod(cells, grid[0])
    distance = np.hypot(row[:, None] - row, column[:, None] - column)
    return threshold_cells - distance


def _letters(
    places: Ragged,
    size: FloatArray,
    grid: tuple[int, int],
    bin_ms: float | None,
    durations: Sequence[ArrayLike] | None,
    name: str,
    off_screen: str,
) -> Ragged:
    """Return the cell of each fixation, repeated by duration where `bin_ms` says so."""
    sizes = np.repeat(size, places.lengths, axis=0).T
    if off_screen == "error":
        outside = ((places.values < 0) | (places.values >= sizes)).any(axis=0)
        if outside.any():
            first = places.owner(int(outside.argmax()))
            raise ValueError(
                f"{name} has {int(outside.sum())} fixations off the display, the first in scanpath {first}; leave them"
                ' out, or count them in the nearest cell (off_screen="clip")'
            )
    counts = np.array(grid)[:, None]
    column, row = np.clip(np.floor(places.values / sizes * counts), 0, counts - 1).astype(np.intp)
    cells = row * grid[0] + column
    if bin_ms is None:
        return Ragged.of(cells[None], places.lengths)
    if durations is None:
        raise ValueError(f"bin_ms needs durations_{name}, in ms")
    duration = pack_durations(durations, places, f"durations_{name}")
    if np.isnan(duration).any():
        first = places.owner(int(np.isnan(duration).argmax()))
        raise ValueError(f"durations_{name}[{first}] has unknown durations (NaN); bin_ms needs all")
    repeats = np.floor(duration / bin_ms + 0.5).astype(np.intp)
    # Sums over each sequence from a running sum, which also serves sequences without elements.
    running = np.concatenate([[0], np.cumsum(repeats)])
    lengths = running[places.starts + places.lengths] - running[places.starts]
    return Ragged.of(np.repeat(cells, repeats)[None], lengths)


def _table_cost(first: NDArray[np.intp], second: NDArray[np.intp], costs: FloatArray) -> Cost:
    flat, offsets = costs.reshape(-1), first * costs.shape[1]
    index = np.empty(first.shape, dtype=np.intp)

    def cost(rows: slice, columns: slice, out: NDArray) -> None:
        cells = index[: rows.stop - rows.start]
        np.add(offsets[rows], second[columns], out=cells)
        # Indices are in range; "clip" writes straight into `out`.
        flat.take(cells, out=out, mode="clip")

    return cost
