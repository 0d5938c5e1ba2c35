"""Merging of small or straight successive saccades, as MultiMatch simplifies scanpaths."""

from dataclasses import dataclass

import numpy as np

from analyses.metrics.scanpath.ragged import FloatArray, Ragged


@dataclass(frozen=True)
class Grouping:
    """When successive saccades are one.

    Parameters
    ----------
    direction_deg : float
        Two saccades are merged if they turn by less than this and the fixation between them is short.
    amplitude_px : float
        A saccade shorter than this is merged with the next if a fixation before or after it is short.
    duration_ms : float
        A fixation that is shorter than this is short.

    References
    ----------
    Dewhurst et al. 2012, Behavior Research Methods 44: 1079-1100, "Simplification".
    """

    direction_deg: float
    amplitude_px: float
    duration_ms: float

    def __post_init__(self) -> None:
        for name in ("direction_deg", "amplitude_px", "duration_ms"):
            value = getattr(self, name)
            if not (np.isfinite(value) and value >= 0):
                raise ValueError(
                    f"{name} is {value}; it must be finite and not negative (0: nothing is merged)"
                )


Saccade = tuple[float, float, float, float]  # x_px, y_px, dx_px, dy_px


def group_saccades(places: Ragged, duration: FloatArray, grouping: Grouping) -> Ragged:
    """Merge saccades until nothing changes.

    The passes are those of the MultiMatch toolbox as multimatch-gaze has them, peculiarities included: merged vectors
    are compared anew only in the next pass; a small last saccade replaces the vector of the one before it by the sum of
    the last two, even where that one was itself merged in the same pass; and such a merge does not count as a change.
    A lone saccade is kept (multimatch-gaze stops with an IndexError).

    Parameters
    ----------
    places : Ragged
        x and y of fixations, in pixels.
    duration : (n_total,) array
        In ms; an unknown one (NaN) is not short.
    grouping : Grouping
        The three thresholds.

    Returns
    -------
    Ragged
        Five channels of the saccades that are left: start x and y, vector x and y, duration of the fixation before.
    """
    parts, lengths = [np.empty((0, 5))], []
    for start, length in zip(places.starts, places.lengths, strict=True):
        x, y = places.values[:, start : start + length].tolist()
        saccades = [(x[i], y[i], x[i + 1] - x[i], y[i + 1] - y[i]) for i in range(length - 1)]
        kept = duration[start : start + length].tolist()
        if length >= 3:
            saccades, kept = _group_one(saccades, kept, grouping)
        parts.append(np.column_stack([np.reshape(saccades, (-1, 4)), kept[: len(saccades)]]))
        lengths.append(len(saccades))
    return Ragged.of(np.ascontiguousarray(np.concatenate(parts).T), np.array(lengths, dtype=np.intp))


def _group_one(
    saccades: list[Saccade], durations: list[float], grouping: Grouping
) -> tuple[list[Saccade], list[float]]:
    n_before = len(durations)
    while True:
        saccades, durations = _merge_straight(saccades, durations, grouping)
        saccades, durations = _merge_small(saccades, durations, grouping)
        if len(durations) == n_before:
            return saccades, durations
        n_before = len(durations)


def _merge_straight(
    saccades: list[Saccade], durations: list[float], grouping: Grouping
) -> tuple[list[Saccade], list[float]]:
    merged, kept, i = [], [], 0
    while i < len(saccades):
        kept.append(durations[i])
        if (
            i + 1 < len(saccades)
            and durations[i + 1] < grouping.duration_ms
            and _turn_deg(saccades[i], saccades[i + 1]) < grouping.direction_deg
        ):
            merged.append(_join(saccades[i], saccades[i], saccades[i + 1]))
            i += 2
        else:
            merged.append(saccades[i])
            i += 1
    return merged, [*kept, durations[-1]]


def _merge_small(
    saccades: list[Saccade], durations: list[float], grouping: Grouping
) -> tuple[list[Saccade], list[float]]:
    merged: list[Saccade] = []
    kept, i, last = [], 0, len(saccades) - 1
    while i <= last:
        around = durations[i : i + 2] if i < last else durations[-2:]
        merge = np.hypot(*saccades[i][2:]) < grouping.amplitude_px and any(
            d < grouping.duration_ms for d in around
        )
        if merge and i < last:
            merged.append(_join(saccades[i], saccades[i], saccades[i + 1]))
            kept.append(durations[i])
            i += 2
        elif merge and merged:
            merged[-1] = _join(merged[-1], saccades[i - 1], saccades[i])
            kept.append(durations[i - 1])
            i += 1
        else:
            merged.append(saccades[i])
            kept.append(durations[i])
            i += 1
    return merged, [*kept, durations[-1]]


def _join(start: Saccade, one: Saccade, two: Saccade) -> Saccade:
    return (start[0], start[1], one[2] + two[2], one[3] + two[3])


def _turn_deg(one: Saccade, two: Saccade) -> float:
    """Return the angle between two saccades; NaN, which is below nothing, where one does not move."""
    lengths = np.hypot(*one[2:]) * np.hypot(*two[2:])
    if lengths == 0:
        return float("nan")
    return float(np.degrees(np.arccos(np.clip((one[2] * two[2] + one[3] * two[3]) / lengths, -1, 1))))
