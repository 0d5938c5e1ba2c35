"""From priorities to fixations: choice, inhibition of return, recognition."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple, Protocol, get_args

import numpy as np

from cogmodels.search.candidates import (
    Box,
    Candidates,
    ItemCandidates,
    PixelCandidates,
    resize_map,
)

if TYPE_CHECKING:
    from stimuli.search_displays import SearchDisplay

Inhibition = Literal["infinite", "decaying", "none"]
Recognition = Literal["perfect", "similarity"]
Choice = Literal["winner", "softmax"]
CandidateKind = Literal["items", "pixels"]
Gaze = tuple[float, float]

SCENE_MAX_FIXATIONS = 16
# IVSN suppressed 200 of 1024 pixels around a fixation in natural images (Zhang et al. 2018).
SCENE_INHIBITION_SHARE = 200 / 1024


class SeesPriority(Protocol):
    """What the loop asks of a model: see `cogmodels.search.observer.PriorityModel`."""

    needs: ClassVar[frozenset[str]]

    def priority(self, state: Any, gaze_px: Gaze) -> np.ndarray: ...

    def erase(self, state: Any, display: "SearchDisplay", item: int) -> Any: ...

    def recognition_score(self, state: Any, gaze_px: Gaze) -> float: ...


class SearchPath(NamedTuple):
    """One search: places (n + 1, 2) and items (n + 1,), fixation 0 included, and whether the target was found."""

    places_px: np.ndarray
    objects: np.ndarray
    found: bool


@dataclass(frozen=True)
class SearchPolicy:
    """How priorities become fixations, and when a search ends.

    Parameters
    ----------
    max_fixations : int, optional
        When to give up. By default one more than there are cells in the grid (Gupta et al. 2021), or items where there
        is no grid; 16 in scenes.
    inhibition : {"infinite", "decaying", "none"}
        What becomes of places that were fixated. "infinite": they are never candidates again, and the cell of an
        item is painted over with the background in the picture that the model sees from then on (Gupta et al. 2021);
        in scenes the picture stays. "decaying": k fixations later the candidate has recovered the share
        ``1 - 2 ** (-k / half_life)`` of its priority above the lowest one (under "softmax", of its probability);
        pictures stay as they are. "none": the gaze stays where the priority is highest.
    inhibition_size_px : float, optional
        Side of the square that is inhibited around a fixation where pixels are the candidates. By default 200 / 1024
        of the shorter side of the display.
    inhibition_half_life_fixations : float, optional
        Needed where inhibition is "decaying".
    recognition : {"perfect", "similarity"}
        Which fixation ends the search. "perfect": the first whose square of `recognition_box_px` overlaps the cell
        of the target (in scenes, its box). "similarity": the first at which the model's `recognition_score` reaches
        `recognition_threshold`; the search is then *found* only if that square overlaps the target. A false
        recognition ends the search with ``found`` False, and a target that is not recognised is passed over.
    recognition_threshold : float, optional
        Needed where recognition is "similarity".
    recognition_box_px : float
        0 asks that the fixated point itself lies on the target.
    choice : {"winner", "softmax"}
        The candidate of highest priority, ties broken at random; or one drawn in proportion to
        ``exp(priority / temperature)``. The priority of an item is the highest in its cell.
    temperature : float
        In units of priority, for "softmax".
    candidates : {"items", "pixels"}
        What is chosen among. Scenes (displays without a set size) have no items to choose among: there, pixels are
        the candidates always.

    Raises
    ------
    ValueError
        A value is not allowed, or one is missing that another needs.
    """

    max_fixations: int | None = None
    inhibition: Inhibition = "infinite"
    inhibition_size_px: float | None = None
    inhibition_half_life_fixations: float | None = None
    recognition: Recognition = "perfect"
    recognition_threshold: float | None = None
    recognition_box_px: float = 10.0
    choice: Choice = "winner"
    temperature: float = 1.0
    candidates: CandidateKind = "items"

    def __post_init__(self) -> None:
        for name, kind in (
            ("inhibition", Inhibition),
            ("recognition", Recognition),
            ("choice", Choice),
            ("candidates", CandidateKind),
        ):
            if getattr(self, name) not in get_args(kind):
                allowed = ", ".join(map(repr, get_args(kind)))
                raise ValueError(f"{name} is {getattr(self, name)!r}; allowed: {allowed}")
        for name in ("max_fixations", "inhibition_size_px", "inhibition_half_life_fixations", "temperature"):
            value = getattr(self, name)
            if value is not None and not (np.isfinite(value) and value > 0):
                raise ValueError(f"{name} is {value!r}; it must be a finite number above 0")
        if self.max_fixations is not None and int(self.max_fixations) != self.max_fixations:
            raise ValueError(f"max_fixations is {self.max_fixations!r}; it must be a whole number")
        if not (np.isfinite(self.recognition_box_px) and self.recognition_box_px >= 0):
            raise ValueError(
                f"recognition_box_px is {self.recognition_box_px!r}; it must be 0 or more pixels"
            )
        for needs, value, other in (
            (self.inhibition == "decaying", self.inhibition_half_life_fixations, "inhibition='decaying'"),
            (self.recognition == "similarity", self.recognition_threshold, "recognition='similarity'"),
        ):
            name = "inhibition_half_life_fixations" if "inhib" in other else "recognition_threshold"
            if needs and value is None:
                raise ValueError(f"{other} needs {name}: give a number")
            if not needs and value is not None:
                raise ValueError(f"{name}={value!r} has no effect without {other}: leave one out or set both")

    def candidates_on(self, display: "SearchDisplay") -> CandidateKind:
        """Return what is chosen among on this display."""
        return "pixels" if display.set_size is None else self.candidates

    def max_fixations_on(self, display: "SearchDisplay") -> int:
        """Return after how many fixations a search of this display is given up."""
        if self.max_fixations is not None:
            return int(self.max_fixations)
        if display.grid_shape is not None:
            return display.grid_shape[0] * display.grid_shape[1] + 1
        return SCENE_MAX_FIXATIONS if display.set_size is None else len(display.items) + 1

    def run(
        self, model: SeesPriority, display: "SearchDisplay", state: Any, rng: np.random.Generator
    ) -> SearchPath:
        """Search one display until the target is found, taken for found, or given up.

        Parameters
        ----------
        model : PriorityModel
        display : SearchDisplay
        state : Any
            What ``model.begin(display)`` gave. It is not changed.
        rng : numpy.random.Generator
            Breaks ties and draws under "softmax".

        Raises
        ------
        ValueError
            The model gave a priority of the wrong shape, or one that is not finite.
        """
        kind = self.candidates_on(display)
        candidates: Candidates = ItemCandidates(display) if kind == "items" else self._pixels(display)
        x, y = np.asarray(display.start_px, dtype=np.float64)
        gaze = (float(x), float(y))
        places, objects = [gaze], [display.item_at(*gaze)]
        for fixation in range(1, self.max_fixations_on(display) + 1):
            priority = _checked_priority(model.priority(state, gaze), display)
            weights = self._availability(candidates.visited_at, fixation)
            index = self._choose(candidates.values(priority), weights, rng)
            if index is None:
                break
            gaze = candidates.place(index, priority)
            item, on_target = candidates.item(index, gaze), self.is_on_target(display, gaze)
            ends = on_target
            if self.recognition_threshold is not None:
                ends = model.recognition_score(state, gaze) >= self.recognition_threshold
            places.append(gaze)
            if ends:
                objects.append(item if display.target_item is None or not on_target else display.target_item)
                return SearchPath(np.array(places), np.array(objects), bool(on_target))
            objects.append(item)
            candidates.visit(index, fixation)
            if self.inhibition == "infinite" and isinstance(candidates, ItemCandidates):
                display, state = _erase(model, display, state, index, candidates.boxes[index])
        return SearchPath(np.array(places), np.array(objects), False)

    def is_on_target(self, display: "SearchDisplay", gaze_px: Gaze) -> bool:
        """Return whether the square around the gaze overlaps the target's cell, or box where there is no grid."""
        if display.target_item is None:
            return False
        cell, gaze, half = (
            display.cells_px[display.target_item],
            np.array(gaze_px),
            self.recognition_box_px / 2,
        )
        corner, far_corner = cell[:2], cell[:2] + cell[2:]
        # A point has no area to share: it is on the target from the upper left edges on, as pixels are.
        begun = corner < gaze + half if half else corner <= gaze
        return bool(np.all(begun & (gaze - half < far_corner)))

    def _pixels(self, display: "SearchDisplay") -> PixelCandidates:
        size = self.inhibition_size_px
        if size is None:
            size = SCENE_INHIBITION_SHARE * min(display.width_px, display.height_px)
        return PixelCandidates(display, size)

    def _availability(self, visited_at: np.ndarray, fixation: int) -> np.ndarray:
        """Return the share, in [0, 1], of its priority that each candidate has when `fixation` is chosen."""
        if self.inhibition == "none":
            return np.ones_like(visited_at)
        if self.inhibition_half_life_fixations is None:
            return np.isneginf(visited_at).astype(np.float64)
        # Just after a fixation, when the next is chosen, its place has recovered nothing.
        since = fixation - 1 - visited_at
        return 1 - np.exp2(-since / self.inhibition_half_life_fixations)

    def _choose(self, values: np.ndarray, weights: np.ndarray, rng: np.random.Generator) -> int | None:
        """Return the chosen candidate, or None where all are inhibited."""
        open_to_choice = np.flatnonzero(weights > 0)
        if open_to_choice.size == 0:
            return None
        kept, shares = values[open_to_choice], weights[open_to_choice]
        if self.choice == "softmax":
            odds = shares * np.exp((kept - kept.max()) / self.temperature)
            cumulated = np.cumsum(odds)
            drawn = np.searchsorted(cumulated, rng.random() * cumulated[-1], side="right")
            return int(open_to_choice[min(drawn, kept.size - 1)])
        lowest = values.min()
        recovered = lowest + (kept - lowest) * shares
        winners = np.flatnonzero(recovered == recovered.max())
        winner = winners[0] if winners.size == 1 else winners[rng.integers(winners.size)]
        return int(open_to_choice[winner])


def _checked_priority(priority: Any, display: "SearchDisplay") -> np.ndarray:
    """Return a model's priority, finite, as one value an item or as a map at the display's resolution."""
    values = np.asarray(priority, dtype=np.float64)
    if values.shape != (len(display.items),) and not (values.ndim == 2 and values.size):
        raise ValueError(
            f"the model gave a priority of shape {values.shape} on display {display.display_id!r}; it must be a map "
            f"(n_rows, n_columns) or one value for each of the {len(display.items)} items"
        )
    if not np.isfinite(values).all():
        raise ValueError(
            f"the model gave a priority with NaN or infinite values on display {display.display_id!r}"
        )
    return values if values.ndim == 1 else resize_map(values, display.width_px, display.height_px)


def _erase(
    model: SeesPriority, display: "SearchDisplay", state: Any, item: int, cell: Box
) -> tuple["SearchDisplay", Any]:
    """Return the display with the cell of an item painted over, and the model's state for it.

    A display without a picture, or whose background is not known, stays as it is.
    """
    if display.image is None or display.background is None or "image" not in model.needs:
        return display, state
    picture = display.read_image().copy()
    picture[cell] = np.asarray(display.background, dtype=picture.dtype)
    picture.flags.writeable = False  # or the display would copy it
    shown = replace(display, image=picture)
    return shown, model.erase(state, shown, item)
