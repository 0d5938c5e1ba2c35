"""One interface for everything that searches, and the base of models that look where a map is highest."""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from rich.console import Console
from rich.progress import track

from cogmodels.search.policy import Gaze, SearchPath, SearchPolicy
from cogmodels.search.scanpaths import Scanpaths

if TYPE_CHECKING:
    from stimuli.search_displays import SearchDisplay


class SearchModel(ABC):
    """A model that searches displays as a person does.

    Attributes
    ----------
    name : str
        What the observer is called in its scanpaths.
    """

    name: str

    @abstractmethod
    def search(
        self,
        displays: "Sequence[SearchDisplay]",
        *,
        n_rollouts: int = 1,
        seed: int = 0,
        progress: bool = False,
    ) -> Scanpaths:
        """Search every display and return where the gaze went.

        Parameters
        ----------
        displays : SearchDisplays, or any sequence of SearchDisplay
        n_rollouts : int
            How many observers search: one is called `name`, several ``name#0``, ``name#1``, ...
        seed : int
            From 0. Equal seeds give equal bits; a trial does not depend on which other displays are shown.
        progress : bool
            Whether to show a progress bar on the error stream.

        Returns
        -------
        Scanpaths
            Fixation 0, the start, included.
        """


class PriorityModel(SearchModel):
    """A model that gives a priority to every place, from which a policy takes fixations.

    A model offers `begin` and `priority`, and where they apply `erase` and `recognition_score`. It never changes a
    state: rollouts share what `begin` gave.

    Attributes
    ----------
    name : str
    policy : SearchPolicy
    needs : frozenset of {"image", "target_image"}
        What a display must bring.
    """

    policy: SearchPolicy
    needs: ClassVar[frozenset[str]] = frozenset()

    @abstractmethod
    def begin(self, display: "SearchDisplay") -> Any:
        """Return whatever the model computes once for a display."""

    @abstractmethod
    def priority(self, state: Any, gaze_px: Gaze) -> np.ndarray:
        """Return how much each place calls for a fixation while the gaze stands at x, y in pixels.

        Returns
        -------
        ndarray (n_rows, n_columns) or (n_items,)
            A map over the whole display, of any resolution, or one value an item. Finite.
        """

    def erase(self, state: Any, display: "SearchDisplay", item: int) -> Any:
        """Return the state after the cell of an item was painted over with the background.

        Called only where `needs` names the image. `display` shows the picture without that item and those erased
        before it; its items and cells are the same as ever. By default the model begins anew with it.
        """
        return self.begin(display)

    def recognition_score(self, state: Any, gaze_px: Gaze) -> float:
        """Return how much what is at the gaze looks like the target: policies of recognition by similarity ask it."""
        raise TypeError(
            f"{type(self).__name__} has no score of recognition: use SearchPolicy(recognition='perfect'), or give the "
            "model a method recognition_score(state, gaze_px)"
        )

    def search(
        self,
        displays: "Sequence[SearchDisplay]",
        *,
        n_rollouts: int = 1,
        seed: int = 0,
        progress: bool = False,
    ) -> Scanpaths:
        """Search every display; see `SearchModel.search`.

        Raises
        ------
        TypeError
            The policy recognises by similarity, and the model has no score for it.
        ValueError
            There are no displays, one lacks what the model needs, or `n_rollouts` or `seed` is not allowed; all of
            this is asked before the search begins.
        """
        check_search(displays, n_rollouts, seed)
        self._check(displays)
        paths: dict[tuple[int, str], SearchPath] = {}
        shown = track(
            displays,
            description=f"{self.name} searches",
            console=Console(stderr=True),
            total=len(displays),
            disable=not progress,
        )
        for display in shown:
            state = self.begin(display)
            for rollout in range(n_rollouts):
                rng = trial_rng(seed, rollout, display.display_id)
                paths[rollout, display.display_id] = self.policy.run(self, display, state, rng)
        return join_paths(self.name, paths, n_rollouts)

    def _check(self, displays: "Sequence[SearchDisplay]") -> None:
        own_score = type(self).recognition_score is not PriorityModel.recognition_score
        if self.policy.recognition == "similarity" and not own_score:
            self.recognition_score(None, (0.0, 0.0))
        for display in displays:
            for need in sorted(self.needs):
                if getattr(display, need) is None:
                    raise ValueError(
                        f"display {display.display_id!r} has no {need}, which {type(self).__name__} looks at: give "
                        "one, or choose a model that goes without"
                    )


def check_search(displays: Any, n_rollouts: int, seed: int) -> None:
    """Refuse to search nothing, no times, or by a seed below 0."""
    if len(displays) == 0:
        raise ValueError("displays is empty: give at least one display to search")
    for name, value, lowest in (("n_rollouts", n_rollouts, 1), ("seed", seed, 0)):
        if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < lowest:
            raise ValueError(f"{name} is {value!r}; it must be a whole number from {lowest}")


def trial_rng(seed: int, rollout: int, display_id: str) -> np.random.Generator:
    """Return the random numbers of one trial, which depend on these three alone."""
    digest = hashlib.sha256(display_id.encode()).digest()
    return np.random.default_rng([seed, rollout, int.from_bytes(digest[:8], "little")])


def join_paths(name: str, paths: dict[tuple[int, str], SearchPath], n_rollouts: int) -> Scanpaths:
    """Return the paths of all rollouts and displays as one table, rollout by rollout."""
    order = sorted(paths, key=lambda key: key[0])  # stable: displays stay in order
    return Scanpaths.from_lists(
        [paths[key].places_px for key in order],
        [name if n_rollouts == 1 else f"{name}#{rollout}" for rollout, _ in order],
        [display for _, display in order],
        start=True,
        objects=[paths[key].objects for key in order],
        found=[paths[key].found for key in order],
    )
