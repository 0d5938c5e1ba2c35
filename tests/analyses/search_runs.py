"""Small displays and runs of visual search, and what they must give, worked out by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from analyses.experiments.search import SearchRun, run_search
from analyses.experiments.search_config import SearchConfig
from stimuli.search_displays import SearchDisplay, SearchDisplays


def small_config(**choices: Any) -> SearchConfig:
    """Return a run of seconds: two displays a cell, few draws."""
    usual = {"model": "chance", "paradigm": "lighting_direction", "n_displays": 2, "n_bootstrap": 20}
    return SearchConfig(**(usual | choices))


def small_run(out: Path, **choices: Any) -> SearchRun:
    """Let a model search; without a progress bar."""
    return run_search(small_config(**choices), out, progress=False)


def scenes(n: int = 4, seed: int = 0) -> SearchDisplays:
    """Return grey scenes of noise, each with a target somewhere."""
    rng = np.random.default_rng(seed)
    displays = []
    for number in range(n):
        x, y = rng.integers(10, 60), rng.integers(10, 40)
        item = {
            "x_px": [float(x)],
            "y_px": [float(y)],
            "width_px": [12.0],
            "height_px": [12.0],
            "kind": ["target"],
        }
        image = rng.integers(0, 256, (50, 80, 3), dtype=np.uint8)
        displays.append(
            SearchDisplay(
                display_id=f"scene{number}",
                width_px=80,
                height_px=50,
                items=pd.DataFrame(item),
                target_item=0,
                image=image,
                target_image=image[y - 6 : y + 6, x - 6 : x + 6].copy(),
                paradigm="scenes",
            )
        )
    return SearchDisplays(displays, name="scenes")
