"""Scanpaths of many lengths as flat arrays, and batches of pairs of about equal length."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.intp]

_BATCH_CELLS = 1_000_000


@dataclass(frozen=True)
class Ragged:
    """Sequences of different lengths, one after the other.

    Attributes
    ----------
    values : (n_channels, n_total) array
        All elements of all sequences.
    starts, lengths : (n_sequences,) int array
        Where each sequence begins and how many elements it has.
    """

    values: NDArray
    starts: IntArray
    lengths: IntArray

    @classmethod
    def of(cls, values: NDArray, lengths: IntArray) -> "Ragged":
        """Find where each sequence begins from the lengths."""
        return cls(values, np.cumsum(lengths) - lengths, lengths)

    def owner(self, element: int) -> int:
        """Return the sequence that the element at this place in `values` belongs to."""
        return int(np.searchsorted(self.starts + self.lengths, element, side="right"))

    def padded(self, rows: IntArray, longest: int, *, reverse: bool = False) -> NDArray:
        """Return the sequences `rows` as (n_channels, longest, n_rows); what lies beyond an end is arbitrary.

        Time runs along the middle axis and pairs along the last, so that one instruction serves many pairs.
        `reverse` lays time backwards.
        """
        steps = np.arange(longest)[::-1] if reverse else np.arange(longest)
        index = self.starts[rows] + steps[:, None]
        return self.values.take(index, axis=1, mode="clip")


def pack_places(paths: Sequence[ArrayLike], name: str) -> Ragged:
    """Return places as two channels, x and y in pixels.

    Raises
    ------
    ValueError
        If `paths` is no sequence of (n_fixations, 2) arrays, or places are not finite.
    """
    flat, lengths = _join(
        paths, name, (2,), "(n_fixations, 2): x and y in pixels, one row a fixation", "fiub"
    )
    values = np.ascontiguousarray(flat.T, dtype=np.float64)
    packed = Ragged.of(values, lengths)
    if not np.isfinite(values).all():
        bad = ~np.isfinite(values).all(axis=0)
        raise ValueError(
            f"{name} has {int(bad.sum())} fixations whose place is NaN or infinite, the first in scanpath"
            f" {packed.owner(int(bad.argmax()))}; leave them out"
        )
    return packed


def pack_durations(durations: Sequence[ArrayLike], places: Ragged, name: str) -> FloatArray:
    """Return the durations of all fixations, (n_total,), beside the places; NaN where unknown.

    Raises
    ------
    ValueError
        If there is not one duration a fixation, or one is negative or infinite.
    """
    flat, lengths = _join(durations, name, (), "(n_fixations,): one duration a fixation", "fiub")
    if len(lengths) != len(places.lengths):
        raise ValueError(
            f"{name} has {len(lengths)} vectors of durations for {len(places.lengths)} scanpaths"
        )
    if (lengths != places.lengths).any():
        wrong = int((lengths != places.lengths).argmax())
        raise ValueError(
            f"{name}[{wrong}] has {lengths[wrong]} durations for {places.lengths[wrong]} fixations; give one each, NaN"
            " where unknown"
        )
    flat = flat.astype(np.float64, copy=False)
    if (flat < 0).any() or np.isinf(flat).any():
        raise ValueError(f"{name} has negative or infinite durations; give ms, NaN where unknown")
    return flat


def pack_objects(sequences: Sequence[ArrayLike], name: str) -> Ragged:
    """Return object numbers as one channel of int64.

    Raises
    ------
    ValueError
        If `sequences` is no sequence of vectors of whole numbers, or one is negative.
    """
    flat, lengths = _join(
        sequences, name, (), "(n_fixations,): the number of the object of each fixation", "iu"
    )
    packed = Ragged.of(flat.astype(np.int64, copy=False)[None], lengths)
    if flat.size and flat.min() < 0:
        raise ValueError(
            f"{name}[{packed.owner(int((flat < 0).argmax()))}] has fixations on no object ({int(flat.min())}), and two"
            " of them need not be at one place: assign them to the nearest object"
            " (Scanpaths.assign_objects(displays, nearest=True)) or leave them out"
        )
    return packed


def check_paired(first: Ragged, second: Ragged) -> int:
    """Return the number of pairs; raise a ValueError where a and b are not equally many."""
    if len(first.lengths) != len(second.lengths):
        raise ValueError(
            f"a has {len(first.lengths)} scanpaths and b {len(second.lengths)}; a[i] is compared with b[i], so both"
            " need as many"
        )
    return len(first.lengths)


def check_size(size_px: ArrayLike, n_pairs: int) -> FloatArray:
    """Return width and height of the display of each pair, (n_pairs, 2).

    Raises
    ------
    ValueError
        If it is neither (width, height) nor one such row a pair, or not positive and finite.
    """
    size = np.asarray(size_px, dtype=np.float64)
    if size.shape not in ((2,), (n_pairs, 2)) or not (np.isfinite(size) & (size > 0)).all():
        raise ValueError(
            f"size_px is {size_px!r:.80}; it must be (width, height) of the display in pixels, or ({n_pairs}, 2) for"
            f" {n_pairs} pairs, positive and finite"
        )
    return np.broadcast_to(size, (n_pairs, 2))


def length_batches(first: IntArray, second: IntArray) -> Iterator[IntArray]:
    """Yield indices of pairs such that little is padded in a batch and its tables stay in the cache.

    Pairs are halved by length, along the sequence whose lengths differ more, until a batch is small and even enough.

    Parameters
    ----------
    first, second : (n_pairs,) int array
        Lengths of the two sequences of each pair, all positive.
    """
    waiting = [np.arange(len(first))] if len(first) else []
    while waiting:
        rows = waiting.pop()
        n, m = first[rows], second[rows]
        padded, filled = len(rows) * int(n.max()) * int(m.max()), int(n @ m)
        # Below half of the limit, more batches cost more than what is padded.
        if len(rows) == 1 or (
            padded <= _BATCH_CELLS and (padded <= 1.3 * filled or padded <= _BATCH_CELLS // 2)
        ):
            yield rows
            continue
        uneven = n if n.max() * m.min() >= m.max() * n.min() else m
        rows = rows[np.argsort(uneven, kind="stable")]
        waiting += [rows[: len(rows) // 2], rows[len(rows) // 2 :]]


def _join(
    sequences: Any, name: str, element: tuple[int, ...], what: str, kinds: str
) -> tuple[NDArray, IntArray]:
    """Return all elements, (n_total, *element), and the lengths, or say which sequence is wrong."""
    if isinstance(sequences, np.ndarray) and sequences.dtype != object and sequences.ndim < 2:
        raise ValueError(f"{name} has shape {sequences.shape}; give a list of arrays, each {what}")
    try:
        arrays = [part if isinstance(part, np.ndarray) else _as_array(part, element) for part in sequences]
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name} is no list of arrays, each {what}: {error}") from None
    if not arrays:
        return np.empty((0, *element), dtype=np.int64), np.empty(0, dtype=np.intp)
    try:
        flat = np.concatenate(arrays)
    except ValueError:
        flat = np.empty(0, dtype=object)
    if flat.shape[1:] != element or flat.dtype.kind not in kinds:
        for number, array in enumerate(arrays):
            if array.shape[1:] != element or array.ndim == 0 or array.dtype.kind not in kinds:
                raise ValueError(
                    f"{name}[{number}] has shape {array.shape} and type {array.dtype}; it must be {what}"
                )
    return flat, np.fromiter(map(len, arrays), dtype=np.intp, count=len(arrays))


def _as_array(part: Any, element: tuple[int, ...]) -> NDArray:
    array = np.asarray(part)
    # An empty list has neither a type nor columns.
    return array if array.size or array.shape != (0,) else np.empty((0, *element), dtype=np.int64)
