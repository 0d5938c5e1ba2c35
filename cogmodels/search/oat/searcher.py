"""A searcher whose probabilities are known, and simulated shelves for it: what a model should recover."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cogmodels.search.observer import SearchModel, check_search, join_paths, trial_rng
from cogmodels.search.policy import SearchPath
from cogmodels.search.scanpaths import Scanpaths

if TYPE_CHECKING:
    from stimuli.search_displays import SearchDisplay, SearchDisplays

N_COLOURS = N_SHAPES = 6
N_OWN = 20


def simulate_shelves(
    n_displays: int, grid_shape: tuple[int, int] = (2, 11), *, seed: int = 0, prefix: str = "shelf"
) -> "SearchDisplays":
    """Return shelves of objects that have a colour and a shape, one of them the target.

    Parameters
    ----------
    n_displays : int
    grid_shape : (n_rows, n_columns)
        Published shelves have 2 x 11 (wine) and 3 x 9 cells (yogurt).
    seed : int
    prefix : str
        What the display ids begin with.

    Returns
    -------
    SearchDisplays
        1680 x 1050 px, without images. The recognition vector of an object says its colour (6 entries, one of them 1),
        its shape (another 6), and what else it looks like (20 random numbers, of length 1 on average). No two objects
        of a shelf share colour and shape: cosines are about 1/3 where they share one, and 0 where none.

    Raises
    ------
    ValueError
        If there are more cells than kinds of objects (36), or no display.
    """
    from stimuli.search_displays import SearchDisplays
    from stimuli.search_displays.arrays import shelf

    n_objects, n_kinds = grid_shape[0] * grid_shape[1], N_COLOURS * N_SHAPES
    if n_displays < 1 or not 1 <= n_objects <= n_kinds:
        raise ValueError(
            f"n_displays is {n_displays} and grid_shape {grid_shape}; at least one display, and 1 to {n_kinds} cells"
        )
    rng = np.random.default_rng(seed)
    shelves = []
    for number in range(n_displays):
        kinds, target = rng.permutation(n_kinds)[:n_objects], int(rng.integers(n_objects))
        own = rng.standard_normal((n_objects, N_OWN)) / np.sqrt(N_OWN)
        vectors = np.hstack([np.eye(N_COLOURS)[kinds // N_SHAPES], np.eye(N_SHAPES)[kinds % N_SHAPES], own])
        shelves.append(
            shelf(
                grid_shape=grid_shape, target_item=target, features=vectors, display_id=f"{prefix}-{number}"
            )
        )
    return SearchDisplays(shelves, prefix)


@dataclass(frozen=True)
class ShelfSearcher(SearchModel):
    """Searches by likeness to the target, from near to near, remembers where it was, and errs.

    On the target it stops with probability `recognition`, elsewhere with probability `giving_up`. Where it does not
    stop, it stays with probability `refixation`, returns to an object that it has seen with probability `revisit`, and
    otherwise goes to one that it has not seen; which one, with probabilities proportional to
    ``exp(similarity_weight * cosine - distance ** 2 / (2 * sigma_cells ** 2))``. Where nothing new, or nothing else, is
    left, the other probabilities are scaled up.

    Parameters
    ----------
    similarity_weight : float
        Of the cosine between recognition vectors of object and target.
    sigma_cells : float
        How far the next fixation is likely to be, in rows and columns.
    refixation, revisit, recognition, giving_up : float
        Probabilities.
    max_fixations : int
        When it ends at the latest.
    name : str
    """

    similarity_weight: float = 4.0
    sigma_cells: float = 2.0
    refixation: float = 0.15
    revisit: float = 0.1
    recognition: float = 0.9
    giving_up: float = 0.01
    max_fixations: int = 40
    name: str = "searcher"

    def __post_init__(self) -> None:
        for part in ("refixation", "revisit", "recognition", "giving_up"):
            if not 0 <= getattr(self, part) <= 1:
                raise ValueError(f"{part} is {getattr(self, part)}; it must be a probability")
        if self.refixation + self.revisit >= 1 or self.sigma_cells <= 0 or self.max_fixations < 1:
            raise ValueError(
                f"refixation {self.refixation} and revisit {self.revisit} must leave something for new objects; "
                f"sigma_cells ({self.sigma_cells}) and max_fixations ({self.max_fixations}) must be positive"
            )

    def step_probabilities(self, display: "SearchDisplay", fixated: Sequence[int]) -> NDArray[np.float64]:
        """Return how likely each object, and last of all stopping, is after the objects `fixated`.

        Parameters
        ----------
        display : SearchDisplay
            On a grid, with recognition vectors.
        fixated : sequence of int
            May be empty: the first fixation, from the display's start.

        Returns
        -------
        (n_objects + 1,) array
            Sums to 1.
        """
        drive, apart, start_apart = self._read(display)
        return self._step(drive, apart, start_apart, list(fixated), display.target_item)

    def log_likelihoods(self, scanpaths: Scanpaths, displays: "SearchDisplays") -> list[NDArray[np.float64]]:
        """Return natural logarithms of the probability of every step, one (n_fixations + 1,) array a trial.

        The last step is to stop, also of a trial that ended for `max_fixations`.
        """
        by_id = {display.display_id: display for display in displays}
        parts = []
        for name, objects in zip(scanpaths.trials["display"], scanpaths.objects(), strict=True):
            display, path = by_id[name], objects.tolist()
            read = self._read(display)
            steps = [*path, len(display.items)]
            chances = [
                self._step(*read, path[:step], display.target_item)[choice]
                for step, choice in enumerate(steps)
            ]
            parts.append(np.log(chances))
        return parts

    def search(
        self,
        displays: "SearchDisplays | Sequence[SearchDisplay]",
        *,
        n_rollouts: int = 1,
        seed: int = 0,
        progress: bool = False,
    ) -> Scanpaths:
        """Search displays; see `SearchModel.search`. There is nothing to wait for, so no progress is shown.

        Raises
        ------
        ValueError
            For displays without grid or recognition vectors, and without displays or rollouts.
        """
        check_search(displays, n_rollouts, seed)
        paths: dict[tuple[int, str], SearchPath] = {}
        for display in displays:
            read = self._read(display)
            centres = display.items[["x_px", "y_px"]].to_numpy(dtype=np.float64)
            start = np.array(display.start_px, dtype=np.float64)
            for rollout in range(n_rollouts):
                rng = trial_rng(seed, rollout, display.display_id)
                fixated: list[int] = []
                while len(fixated) < self.max_fixations:
                    chances = self._step(*read, fixated, display.target_item)
                    choice = int(rng.choice(len(chances), p=chances))
                    if choice == len(centres):
                        break
                    fixated.append(choice)
                places = np.vstack([start, centres[fixated]])
                objects = np.array([display.item_at(*start), *fixated])
                paths[rollout, display.display_id] = SearchPath(
                    places, objects, fixated[-1] == display.target_item
                )
        return join_paths(self.name, paths, n_rollouts)

    def _read(self, display: "SearchDisplay") -> tuple[NDArray, NDArray, NDArray]:
        """Return the drive (n,) by likeness, squared distances (n, n) in cells, and those (n,) from the start."""
        if display.grid_shape is None or display.features is None or display.target_features is None:
            raise ValueError(
                f"display {display.display_id!r} lacks a grid, features or target_features, by which the searcher goes"
            )
        lengths = np.linalg.norm(display.features, axis=1) * np.linalg.norm(display.target_features)
        cosine = display.features @ display.target_features / np.where(lengths > 0, lengths, 1)
        places = display.items[["row", "column"]].to_numpy(dtype=np.float64)
        cells = display.cells_px
        corner = cells[0, :2] - places[0, ::-1] * cells[0, 2:]
        start = ((np.array(display.start_px) - corner) / cells[0, 2:])[::-1] - 0.5
        return self.similarity_weight * cosine, _squared(places, places), _squared(places, start[None])[:, 0]

    def _step(
        self,
        drive: NDArray[np.float64],
        apart: NDArray[np.float64],
        start_apart: NDArray[np.float64],
        fixated: list[int],
        target: int | None,
    ) -> NDArray[np.float64]:
        logits = drive - (apart[fixated[-1]] if fixated else start_apart) / (2 * self.sigma_cells**2)
        weights = np.exp(logits - logits.max())
        chances = np.zeros(len(drive) + 1)
        new = np.ones(len(drive), dtype=bool)
        new[fixated] = False
        seen = ~new
        if fixated:
            chances[fixated[-1]] = self.refixation
            seen[fixated[-1]] = False
        for which, share in ((seen, self.revisit), (new, 1 - self.refixation - self.revisit)):
            if which.any():
                chances[:-1][which] = share * weights[which] / weights[which].sum()
        chances /= chances.sum() or 1
        if fixated:
            stop = self.recognition if fixated[-1] == target else self.giving_up
            chances *= 1 - stop
            chances[-1] = stop
        total = chances.sum()
        if not total:  # nowhere to go: it stops
            chances[-1] = total = 1.0
        return chances / total


def _squared(places: ArrayLike, others: ArrayLike) -> NDArray[np.float64]:
    return ((np.asarray(places)[:, None] - np.asarray(others)) ** 2).sum(-1)
