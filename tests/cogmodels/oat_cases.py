"""Small displays, trials and networks for the tests of OAT."""

from dataclasses import replace

import numpy as np

from cogmodels.search import Scanpaths
from cogmodels.search.oat.oat import OAT
from encoders.training.settings import Training
from stimuli.search_displays import SearchDisplay, SearchDisplays, shelf

QUICK = Training(
    lr=3e-3, weight_decay=0.0, batch_size=8, n_epochs=3, clip_norm=1.0, patience_epochs=None, seed=0
)


def tiny_oat(**others):
    """Return an OAT of one layer that knows grids of up to 6 rows and columns."""
    sizes = {"d_model": 48, "n_layers": 1, "n_heads": 2, "d_feedforward": 32, "max_grid": 6, "dropout": 0.1}
    return OAT(**(sizes | {"training": QUICK, "n_validation_rollouts": 2} | others))


def vector_shelves(n_displays, grid_shape=(2, 4), n_features=5, seed=0, prefix="d"):
    """Return shelves of random recognition vectors."""
    rng = np.random.default_rng(seed)
    n_items = grid_shape[0] * grid_shape[1]
    return SearchDisplays(
        shelf(
            grid_shape=grid_shape,
            target_item=int(rng.integers(n_items)),
            features=rng.standard_normal((n_items, n_features)),
            size_px=(400, 200),
            display_id=f"{prefix}{number}",
        )
        for number in range(n_displays)
    )


def image_shelves(n_displays, grid_shape=(2, 3), seed=0):
    """Return shelves of coloured noise, 40 x 60 px a cell."""
    rng = np.random.default_rng(seed)
    n_items = grid_shape[0] * grid_shape[1]
    return SearchDisplays(
        shelf(
            list(rng.integers(0, 255, (n_items, 50, 30, 3), dtype=np.uint8)),
            grid_shape,
            target_item=int(rng.integers(n_items)),
            size_px=(40 * grid_shape[1], 60 * grid_shape[0]),
            display_id=f"i{number}",
        )
        for number in range(n_displays)
    )


def random_trials(displays, n_observers=2, seed=0):
    """Return trials of 1 to 6 random fixations that end on the target."""
    rng = np.random.default_rng(seed)
    places, observers, names, objects = [], [], [], []
    for display in displays:
        centres = display.items[["x_px", "y_px"]].to_numpy()
        for observer in range(n_observers):
            path = np.append(rng.integers(0, len(centres), rng.integers(0, 6)), display.target_item)
            places.append(np.vstack([display.start_px, centres[path]]))
            objects.append(np.append(-1, path))
            observers.append(f"s{observer}")
            names.append(display.display_id)
    return Scanpaths.from_lists(
        places, observers, names, start=True, objects=objects, found=[True] * len(names)
    )


def move_target(display: SearchDisplay, item: int) -> SearchDisplay:
    """Return a display that calls another item the target and tells the searcher the same."""
    return replace(display, target_item=item, target_features=display.target_features)
