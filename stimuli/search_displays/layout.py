"""Where items stand: cells of a grid, places within them, and poses in even numbers."""

import numpy as np


def choose_cells(rng: np.random.Generator, grid_shape: tuple[int, int], n_items: int) -> np.ndarray:
    """Draw different cells of a grid: rows and columns (n_items, 2) in reading order."""
    cells = np.sort(rng.choice(grid_shape[0] * grid_shape[1], n_items, replace=False))
    return np.column_stack(np.divmod(cells, grid_shape[1]))


def jitter_in_cells(
    rng: np.random.Generator,
    cells: np.ndarray,
    grid_shape: tuple[int, int],
    size_px: tuple[int, int],
    item_px: tuple[int, int],
) -> np.ndarray:
    """Draw whole-pixel places, uniform among those where an item lies in its cell.

    Whole pixels, so that items of one kind look the same to the last bit wherever they stand.

    Parameters
    ----------
    cells
        Row and column of each item (n_items, 2).
    grid_shape
        Rows and columns of the grid that divides the display.
    size_px, item_px
        Width and height of the display, and of an item.

    Returns
    -------
    numpy.ndarray
        x and y of the upper left corners, int64 (n_items, 2).

    Raises
    ------
    ValueError
        Items are larger than the cells.
    """
    cell_px = np.array(size_px) / np.array(grid_shape)[::-1]
    corners = cells[:, ::-1] * cell_px
    # Cells of 56.5 px begin between pixels; rounding keeps 113.0 from becoming 113.00000000000001.
    first = np.ceil(np.round(corners, 6)).astype(np.int64)
    last = np.floor(np.round(corners + cell_px, 6)).astype(np.int64) - np.array(item_px)
    if (last < first).any():
        raise ValueError(
            f"items of {item_px[0]} x {item_px[1]} px do not fit into cells of {cell_px[0]:g} x {cell_px[1]:g} px"
        )
    return rng.integers(first, last, endpoint=True)


def balanced_draws(rng: np.random.Generator, n_kinds: int, n_draws: int) -> np.ndarray:
    """Draw kinds in random order, none more than once more often than another: int64 (n_draws,)."""
    rounds = [rng.permutation(n_kinds) for _ in range(-(-n_draws // n_kinds))]
    return np.concatenate([*rounds, np.empty(0, dtype=np.int64)])[:n_draws]
