"""Displays and models that tests of visual search share."""

from typing import ClassVar

import numpy as np
import pandas as pd

from cogmodels.search import PriorityModel, SearchPolicy
from stimuli.search_displays import SearchDisplay, SearchDisplays

BACKGROUND = (7, 8, 9)


def grid_display(seed=0, n_rows=3, n_columns=3, n_items=5, side_px=(60, 60), target_item=0, **changes):
    """Return an array of items in random cells, with noise for an image."""
    rng = np.random.default_rng(seed)
    width, height = side_px
    cells = rng.permutation(n_rows * n_columns)[:n_items]
    rows, columns = np.divmod(cells, n_columns)
    cell_width, cell_height = width / n_columns, height / n_rows
    items = pd.DataFrame(
        {
            "x_px": (columns + rng.uniform(0.4, 0.6, n_items)) * cell_width,
            "y_px": (rows + rng.uniform(0.4, 0.6, n_items)) * cell_height,
            "width_px": cell_width / 2,
            "height_px": cell_height / 2,
            "kind": "bar",
            "row": rows,
            "column": columns,
        }
    )
    about = {
        "image": rng.integers(0, 256, (height, width, 3), dtype=np.uint8),
        "set_size": n_items,
        "grid_shape": (n_rows, n_columns),
        "background": BACKGROUND,
        "paradigm": "bars",
    }
    name = f"grid{seed}"
    return SearchDisplay(name, width, height, items, target_item, **{**about, **changes})


def scene_display(seed=0, side_px=(60, 40), present=True, **changes):
    """Return a scene of noise whose only item, where present, is the target."""
    rng = np.random.default_rng(seed)
    width, height = side_px
    items = pd.DataFrame(
        {
            "x_px": rng.uniform(10, width - 10, 1),
            "y_px": rng.uniform(10, height - 10, 1),
            "width_px": 8.0,
            "height_px": 6.0,
            "kind": "mug",
        }
    )
    image = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
    target = 0 if present else None
    items = items if present else items[:0]
    return SearchDisplay(f"scene{seed}", width, height, items, target, **{"image": image, **changes})


def grids(n, **changes):
    """Return several arrays with different seeds."""
    return SearchDisplays([grid_display(seed, **changes) for seed in range(n)])


class Brightness(PriorityModel):
    """Looks at the brightest pixel; recognises by brightness."""

    needs: ClassVar[frozenset[str]] = frozenset({"image"})

    def __init__(self, policy=None, name="brightness"):
        self.policy = policy or SearchPolicy()
        self.name = name

    def begin(self, display):
        return display.read_image().astype(float) @ [1, 1e-3, 1e-6]  # no two pixels alike, or hardly any

    def priority(self, state, gaze_px):
        return state

    def recognition_score(self, state, gaze_px):
        return state[int(gaze_px[1]), int(gaze_px[0])]


class Listed(PriorityModel):
    """Gives the items fixed values."""

    def __init__(self, values, policy=None):
        self.values, self.policy, self.name = (
            np.asarray(values, dtype=float),
            policy or SearchPolicy(),
            "listed",
        )

    def begin(self, display):
        return self.values

    def priority(self, state, gaze_px):
        return state
