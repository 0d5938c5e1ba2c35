"""Trials as sequences of objects, and which of them choose the epoch."""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from cogmodels.search.behaviour import check_sequence
from cogmodels.search.scanpath_table import TRIAL_COLUMNS
from cogmodels.search.scanpaths import Scanpaths
from stimuli.files import count_of

if TYPE_CHECKING:
    from stimuli.search_displays import SearchDisplays


def fixated_objects(
    scanpaths: Scanpaths, displays: "SearchDisplays"
) -> tuple[list[NDArray[np.int64]], NDArray[np.int64]]:
    """Return the fixated objects of each trial, and its display.

    A fixation whose object is not known counts for the object under it, or the nearest one. Trials in which the gaze
    never moved are left out.

    Returns
    -------
    sequences : list of (n_fixations,) int64 arrays
        Without fixation 0.
    owner : (n_trials,) int64 array
        Position in `displays`.

    Raises
    ------
    KeyError
        If a display is not there.
    ValueError
        If a trial names an object that its display does not have, or no trial is left.
    """
    number_of = {display.display_id: number for number, display in enumerate(displays)}
    if (scanpaths.table["object"] < 0).any():
        nearest = scanpaths.assign_objects(displays, nearest=True).table["object"]
        given = scanpaths.table["object"]
        scanpaths = Scanpaths(scanpaths.table.assign(object=given.where(given >= 0, nearest)))
    sequences, owner = [], []
    for name, objects in zip(scanpaths.trials["display"], scanpaths.objects(), strict=True):
        if not len(objects):
            continue
        number = number_of[name]
        sequence = check_sequence(objects, f"a trial on display {name!r}")
        if sequence.max() >= len(displays[number].items):
            raise ValueError(
                f"a trial on display {name!r} looks at object {sequence.max()} of {len(displays[number].items)}, "
                "counted from 0: assign_objects(displays) on the displays that were seen"
            )
        sequences.append(sequence)
        owner.append(number)
    if not sequences:
        raise ValueError("scanpaths hold no fixation after the start: there is nothing to learn from")
    return sequences, np.array(owner, dtype=np.int64)


def hold_out(scanpaths: Scanpaths, fraction: float, seed: int) -> tuple[Scanpaths, Scanpaths]:
    """Return trials to train on, and all trials on a random `fraction` of the displays (at least one).

    Raises
    ------
    ValueError
        If there is but one display.
    """
    names = scanpaths.displays
    if len(names) < 2:
        raise ValueError("all trials are on one display: give validation trials on another")
    n_held_out = min(max(1, round(fraction * len(names))), len(names) - 1)
    order = np.random.default_rng(seed).permutation(len(names))
    held_out = [names[number] for number in np.sort(order[:n_held_out])]
    trained = [names[number] for number in np.sort(order[n_held_out:])]
    return scanpaths.select(displays=trained), scanpaths.select(displays=held_out)


def share_no_trial(train: Scanpaths, validation: Scanpaths) -> None:
    """Refuse validation trials that are trained on."""
    trials = [
        set(part.trials[TRIAL_COLUMNS].itertuples(index=False, name=None)) for part in (train, validation)
    ]
    shared = sorted(trials[0] & trials[1])
    if shared:
        raise ValueError(
            f"{count_of(len(shared), 'trial')} of validation are trained on (first {shared[0]}): trials that choose "
            "the epoch must be others"
        )
