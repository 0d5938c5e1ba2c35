"""Searchers that know less: by chance, by place, by pixels, by what stands out."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from cogmodels.search.candidates import box_pixels
from cogmodels.search.observer import PriorityModel
from cogmodels.search.pixel_match import template_map
from cogmodels.search.policy import Gaze, SearchPolicy
from cogmodels.search.saliency import graph_saliency

if TYPE_CHECKING:
    from stimuli.search_displays import SearchDisplay

# Clarke & Tatler 2014 (Vision Research 102): variance of gaze along x, where half the width is 1, and how much smaller
# it is along y, over ten sets of fixations on scenes.
CENTER_VARIANCE_X = 0.22
CENTER_VARIANCE_RATIO = 0.45
_WINNER = SearchPolicy()
_DRAWN = SearchPolicy(choice="softmax")


@dataclass(frozen=True)
class Chance(PriorityModel):
    """Looks at any item, or in scenes at any pixel, with the same probability.

    Parameters
    ----------
    policy : SearchPolicy
        By default places that were fixated are not chosen again.
    name : str
    """

    policy: SearchPolicy = _WINNER
    name: str = "chance"

    def begin(self, display: "SearchDisplay") -> np.ndarray:
        """Return equal values: the policy breaks ties at random."""
        if self.policy.candidates_on(display) == "items":
            return np.zeros(len(display.items))
        return np.zeros((display.height_px, display.width_px))

    def priority(self, state: np.ndarray, gaze_px: Gaze) -> np.ndarray:
        """Return equal values."""
        return state


@dataclass(frozen=True)
class CenterBias(PriorityModel):
    """Draws fixations from a Gaussian around the middle of the display, whatever is there.

    By default the Gaussian has the variances that Clarke & Tatler (2014, "Deriving an appropriate baseline for
    describing fixation behaviour", Vision Research 102, 41-51) found to do for fixations on scenes.

    Parameters
    ----------
    sd_x, sd_y : float
        Standard deviations, both as shares of half the width of the display.
    policy : SearchPolicy
        By default items (in scenes, pixels) are drawn in proportion to the Gaussian where they stand, those that were
        fixated left out. With ``choice="winner"`` they come in order of their distance from the middle.
    name : str
    """

    sd_x: float = float(np.sqrt(CENTER_VARIANCE_X))
    sd_y: float = float(np.sqrt(CENTER_VARIANCE_X * CENTER_VARIANCE_RATIO))
    policy: SearchPolicy = _DRAWN
    name: str = "center_bias"

    def __post_init__(self) -> None:
        for name, value in (("sd_x", self.sd_x), ("sd_y", self.sd_y)):
            if not (np.isfinite(value) and value > 0):
                raise ValueError(f"{name} is {value!r}; it must be a share of half the width above 0")

    def begin(self, display: "SearchDisplay") -> np.ndarray:
        """Return the logarithm of the Gaussian at the candidates."""
        x, y = _places(display, self.policy)
        unit = display.width_px / 2
        from_middle = (
            (x - display.width_px / 2) / (unit * self.sd_x),
            (y - display.height_px / 2) / (unit * self.sd_y),
        )
        return -(from_middle[0] ** 2 + from_middle[1] ** 2) / 2

    def priority(self, state: np.ndarray, gaze_px: Gaze) -> np.ndarray:
        """Return what `begin` gave: the gaze does not matter."""
        return state


@dataclass(frozen=True)
class NearestFirst(PriorityModel):
    """Goes on to the nearest item (in scenes, place) that it has not looked at.

    Parameters
    ----------
    policy : SearchPolicy
    name : str
    """

    policy: SearchPolicy = _WINNER
    name: str = "nearest_first"

    def begin(self, display: "SearchDisplay") -> tuple[np.ndarray, np.ndarray]:
        """Return x and y of the candidates."""
        return _places(display, self.policy)

    def priority(self, state: tuple[np.ndarray, np.ndarray], gaze_px: Gaze) -> np.ndarray:
        """Return minus the distance from the gaze, in pixels."""
        return -np.hypot(state[0] - gaze_px[0], state[1] - gaze_px[1])


class _SeenOnce(PriorityModel):
    """A model whose map depends on the display as it came: neither on the gaze nor on what was looked at since."""

    def priority(self, state: np.ndarray, gaze_px: Gaze) -> np.ndarray:
        """Return the map that `begin` gave."""
        return state

    def erase(self, state: np.ndarray, display: "SearchDisplay", item: int) -> np.ndarray:
        """Return the same map: the policy leaves visited places out anyway."""
        return state


@dataclass(frozen=True)
class PixelTemplate(_SeenOnce):
    """Looks where the pixels are most like the target's: normalised cross-correlation with the target image.

    The target image must have the scale of the display. Where the display holds its very pixels, as the asymmetry
    paradigms do, it finds the target at the first fixation.

    Parameters
    ----------
    policy : SearchPolicy
    name : str
    """

    policy: SearchPolicy = _WINNER
    name: str = "pixel_template"
    needs: ClassVar[frozenset[str]] = frozenset({"image", "target_image"})

    def begin(self, display: "SearchDisplay") -> np.ndarray:
        """Return the correlation of the target with the window around each pixel, (height_px, width_px).

        Raises
        ------
        ValueError
            The target image is larger than the display, or has no contrast.
        """
        try:
            return template_map(display.read_image(), display.read_target_image())
        except ValueError as error:
            raise ValueError(f"display {display.display_id!r}: {error}") from error

    def recognition_score(self, state: np.ndarray, gaze_px: Gaze) -> float:
        """Return the highest correlation within the recognition box around the gaze; in [-1, 1]."""
        size = self.policy.recognition_box_px
        around = (gaze_px[0] - size / 2, gaze_px[1] - size / 2, size, size)
        return float(state[box_pixels(around, state.shape[1], state.shape[0])].max())


@dataclass(frozen=True)
class Saliency(_SeenOnce):
    """Looks at what stands out, whatever the target: graph-based visual saliency (Harel, Koch & Perona 2006).

    Parameters
    ----------
    policy : SearchPolicy
    name : str
    """

    policy: SearchPolicy = _WINNER
    name: str = "saliency"
    needs: ClassVar[frozenset[str]] = frozenset({"image"})

    def begin(self, display: "SearchDisplay") -> np.ndarray:
        """Return the saliency map, 32 places along the longer side."""
        return graph_saliency(display.read_image())


def _places(display: "SearchDisplay", policy: SearchPolicy) -> tuple[np.ndarray, np.ndarray]:
    """Return x and y in pixels of the items, (n_items,), or of places all over the display, (n_rows, n_columns)."""
    if policy.candidates_on(display) == "items":
        return display.items["x_px"].to_numpy(), display.items["y_px"].to_numpy()
    x, y = np.meshgrid(np.arange(display.width_px) + 0.5, np.arange(display.height_px) + 0.5)
    return x, y
