"""From volumes to design and back: runs, delays and blocks of fMRI time series.

Rows are volumes in the order in which they were measured; `runs` gives each volume's run. Whatever is
estimated here is estimated inside one run from that run alone and without labels, so it leaks nothing between
runs.
"""

import warnings
from collections.abc import Iterable, Iterator
from itertools import pairwise
from numbers import Integral

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped
from numpy.typing import ArrayLike

REST = -1
"""The stimulus index of a volume without a stimulus, and the block number of a volume outside every block."""


def detrend_runs(Y: ArrayLike, runs: ArrayLike, order: int = 1) -> Float[np.ndarray, "n_volumes n_voxels"]:
    """Take a polynomial of time out of each run.

    Parameters
    ----------
    Y : (n_volumes, n_voxels) array
        Measured time series.
    runs : (n_volumes,) array
        Run of each volume; the volumes of a run stand together.
    order : int
        Degree of the polynomial; 0 removes the mean, 1 the mean and the slope.

    Returns
    -------
    (n_volumes, n_voxels) array
        Residuals of the least-squares fit, in `Y`'s floating type (float64 for integers). A voxel that the
        polynomial explains to rounding error becomes exactly zero, so that `scale_runs` knows it for a
        constant one.

    Raises
    ------
    ValueError
        For a negative `order`, a run with no more volumes than `order`, a run in pieces, or NaN.
    """
    series = _as_series(Y)
    if not isinstance(order, Integral) or order < 0:
        raise ValueError(f"order is {order!r}; a whole number from 0 (the mean) upwards is needed")
    residuals = np.empty_like(series)
    for label, run in _iterate_runs(runs, len(series)):
        n_volumes = run.stop - run.start
        if n_volumes <= order:
            raise ValueError(
                f"run {label!r} has {n_volumes} volumes, too few for a polynomial of order {order}: lower "
                f"order, or leave the run out"
            )
        values = series[run].astype(np.float64)
        # Legendre polynomials on [-1, 1] stay well conditioned where powers of the volume number do not.
        basis, _ = np.linalg.qr(
            np.polynomial.legendre.legvander(np.linspace(-1.0, 1.0, n_volumes), int(order))
        )
        remainder = values - basis @ (basis.T @ values)
        remainder[:, _is_rounding(remainder, np.abs(values).max(axis=0), series.dtype)] = 0.0
        residuals[run] = remainder
    return residuals


def scale_runs(Y: ArrayLike, runs: ArrayLike) -> Float[np.ndarray, "n_volumes n_voxels"]:
    """Give every voxel mean 0 and standard deviation 1 in each run, over all of the run's volumes.

    Parameters
    ----------
    Y : (n_volumes, n_voxels) array
        Time series, usually detrended.
    runs : (n_volumes,) array
        Run of each volume; the volumes of a run stand together.

    Returns
    -------
    (n_volumes, n_voxels) array
        z-scores by the run's population standard deviation (ddof 0). A voxel that is constant in a run is
        zero there.

    Warns
    -----
    UserWarning
        Counts the voxels that were constant in some run.

    Raises
    ------
    ValueError
        For a run in pieces, or NaN.
    """
    series = _as_series(Y)
    scaled = np.empty_like(series)
    constant_somewhere = np.zeros(series.shape[1], dtype=bool)
    for _, run in _iterate_runs(runs, len(series)):
        values = series[run].astype(np.float64)
        deviations = values - values.mean(axis=0)
        constant = _is_rounding(deviations, np.abs(values).max(axis=0), series.dtype)
        constant_somewhere |= constant
        scaled[run] = np.where(constant, 0.0, deviations / np.where(constant, 1.0, deviations.std(axis=0)))
    if constant_somewhere.any():
        warnings.warn(
            f"{constant_somewhere.sum()} of {series.shape[1]} voxels are constant in at least one run and "
            f"were set to zero there; leave them out of the analysis",
            UserWarning,
            stacklevel=2,
        )
    return scaled


def delay_features(
    X: ArrayLike, delays: Iterable[int], runs: ArrayLike
) -> Shaped[np.ndarray, "n_volumes n_delayed_features"]:
    """Stand copies of the features, delayed by whole volumes, beside one another (a finite impulse response
    model).

    Parameters
    ----------
    X : (n_volumes, n_features) array
        Features at each volume.
    delays : iterable of int
        Delays in volumes, 0 or more, each once.
    runs : (n_volumes,) array
        Run of each volume; the volumes of a run stand together.

    Returns
    -------
    (n_volumes, n_delays * n_features) array
        All features at the first delay, then all at the second, and so on. Row `t` of the copy with delay `d`
        is `X[t - d]` of the same run; the first `d` volumes of every run are zero, so nothing crosses into
        another run.

    Raises
    ------
    ValueError
        For no delays, a negative, fractional or repeated delay, or a run in pieces.
    """
    features = np.asarray(X)
    if features.ndim != 2:
        raise ValueError(f"X has shape {features.shape}; (n_volumes, n_features) is needed")
    steps = list(delays)
    if (
        not steps
        or any(not isinstance(step, Integral) or step < 0 for step in steps)
        or len(set(steps)) < len(steps)
    ):
        raise ValueError(
            f"delays is {steps}; whole volumes from 0 upwards are needed, each once: a response does not "
            f"come before its stimulus"
        )
    n_features = features.shape[1]
    delayed = np.zeros((len(features), len(steps) * n_features), dtype=features.dtype)
    for _, run in _iterate_runs(runs, len(features)):
        for position, step in enumerate(steps):
            columns = slice(position * n_features, (position + 1) * n_features)
            n_kept = max(run.stop - run.start - step, 0)
            delayed[run.stop - n_kept : run.stop, columns] = features[run.start : run.start + n_kept]
    return delayed


def features_at_volumes(
    features: ArrayLike, stimulus_index: ArrayLike
) -> Shaped[np.ndarray, "n_volumes n_features"]:
    """Look up the features of the stimulus that was shown at each volume.

    Parameters
    ----------
    features : (n_stimuli, n_features) array
        Features, one row a stimulus.
    stimulus_index : (n_volumes,) array of int
        Row of `features` shown at each volume, -1 at rest.

    Returns
    -------
    (n_volumes, n_features) array
        Zeros at rest.

    Raises
    ------
    ValueError
        For an index that is not whole, below -1, or not a row of `features`.
    """
    table = np.asarray(features)
    if table.ndim != 2:
        raise ValueError(f"features has shape {table.shape}; (n_stimuli, n_features) is needed")
    index = _as_stimulus_index(stimulus_index)
    if index.size and index.max() >= len(table):
        raise ValueError(
            f"stimulus_index holds {index.max()}, but features has only {len(table)} rows (stimuli)"
        )
    shown = np.zeros((len(index), table.shape[1]), dtype=table.dtype)
    shown[index != REST] = table[index[index != REST]]
    return shown


def block_labels(stimulus_index: ArrayLike, runs: ArrayLike) -> Int[np.ndarray, "n_volumes"]:
    """Number the blocks: unbroken stretches of one stimulus (or condition) inside one run.

    Parameters
    ----------
    stimulus_index : (n_volumes,) array of int
        Stimulus or condition at each volume, -1 at rest.
    runs : (n_volumes,) array
        Run of each volume; the volumes of a run stand together.

    Returns
    -------
    (n_volumes,) array of int
        Blocks numbered from 0 in order of time, -1 at rest.
    """
    index = _as_stimulus_index(stimulus_index)
    starts = np.ones(len(index), dtype=bool)
    starts[1:] = index[1:] != index[:-1]
    for _, run in _iterate_runs(runs, len(index)):
        starts[run.start] = True
    shown = index != REST
    return np.where(shown, np.cumsum(starts & shown) - 1, REST)


def average_blocks(
    Y: ArrayLike, blocks: ArrayLike, lag: int = 0, runs: ArrayLike | None = None
) -> Float[np.ndarray, "n_blocks n_columns"]:
    """Average the volumes of each block.

    Parameters
    ----------
    Y : (n_volumes, n_columns) array
        Time series (or features) to average.
    blocks : (n_volumes,) array of int
        Block of each volume, numbered from 0, -1 outside blocks: see `block_labels`.
    lag : int
        Volumes by which the response is taken to trail the block; the window is moved later by as many.
    runs : (n_volumes,) array, optional
        Run of each volume; needed with a lag, so that no window runs on into the next run. Volumes past the
        end of the run are left out of the mean.

    Returns
    -------
    (n_blocks, n_columns) array
        Means in the order of the block numbers.

    Raises
    ------
    ValueError
        For a negative lag, a lag without runs, block numbers with a gap, or a block whose whole window falls
        past the end of its run.
    """
    series = _as_series(Y)
    labels = _as_stimulus_index(blocks, "blocks")
    if len(labels) != len(series):
        raise ValueError(
            f"blocks has {len(labels)} volumes, Y has {len(series)}; both count the same volumes"
        )
    if not isinstance(lag, Integral) or lag < 0:
        raise ValueError(f"lag is {lag!r}; whole volumes from 0 upwards are needed")
    if lag and runs is None:
        raise ValueError("lag moves windows towards the end of the run: pass runs, so that none crosses it")
    n_blocks = int(labels.max(initial=REST)) + 1
    run_end = np.full(len(series), len(series))
    if runs is not None:
        for _, run in _iterate_runs(runs, len(series)):
            run_end[run] = run.stop
    volumes = np.flatnonzero(labels != REST)
    volumes = volumes[volumes + lag < run_end[volumes]]
    counts = np.bincount(labels[volumes], minlength=n_blocks)
    if (counts == 0).any():
        raise ValueError(
            f"blocks {np.flatnonzero(counts == 0).tolist()} have no volume to average at lag {lag}: number "
            f"the blocks without gaps (block_labels) and keep the lag shorter than what follows the last "
            f"block of a run"
        )
    sums = np.zeros((n_blocks, series.shape[1]))
    np.add.at(sums, labels[volumes], series[volumes + lag])
    return (sums / counts[:, None]).astype(series.dtype)


def _is_rounding(
    deviations: Float[np.ndarray, "n_volumes n_voxels"],
    magnitude: Float[np.ndarray, "n_voxels"],
    dtype: np.dtype,
) -> Bool[np.ndarray, "n_voxels"]:
    """Tell for which voxels the deviations are no more than rounding of values of this magnitude."""
    return np.abs(deviations).max(axis=0) <= 8 * np.finfo(dtype).eps * magnitude


def _iterate_runs(runs: ArrayLike, n_volumes: int) -> Iterator[tuple[object, slice]]:
    """Yield each run's label and slice; a run in pieces has no one time axis and is refused."""
    labels = np.asarray(runs)
    if labels.shape != (n_volumes,):
        raise ValueError(
            f"runs has shape {labels.shape}; one run for each of the {n_volumes} volumes is needed"
        )
    edges = [0, *(np.flatnonzero(labels[1:] != labels[:-1]) + 1).tolist(), n_volumes]
    seen = set()
    for start, stop in pairwise(edges):
        if start == stop:
            continue
        label = labels[start].item()
        if label in seen:
            raise ValueError(
                f"run {label!r} comes back at volume {start} after another run: sort the volumes by run and "
                f"time, or give runs of different sessions different labels"
            )
        seen.add(label)
        yield label, slice(start, stop)


def _as_series(Y: ArrayLike) -> Float[np.ndarray, "n_volumes n_voxels"]:
    """Return a finite, two-dimensional array of floats."""
    series = np.asarray(Y)
    if series.ndim != 2:
        raise ValueError(f"Y has shape {series.shape}; (n_volumes, n_voxels) is needed")
    if not np.issubdtype(series.dtype, np.floating):
        series = series.astype(np.float64)
    if not np.isfinite(series).all():
        bad = (~np.isfinite(series)).any(axis=0)
        raise ValueError(
            f"Y is NaN or infinite in {bad.sum()} of {len(bad)} voxels: leave these voxels out first"
        )
    return series


def _as_stimulus_index(
    stimulus_index: ArrayLike, name: str = "stimulus_index"
) -> Int[np.ndarray, "n_volumes"]:
    index = np.asarray(stimulus_index)
    if index.ndim != 1 or (index.size and not np.issubdtype(index.dtype, np.integer)):
        raise ValueError(
            f"{name} has shape {index.shape} and type {index.dtype}; whole numbers, one a volume"
        )
    if index.size and index.min() < REST:
        raise ValueError(
            f"{name} holds {index.min()}; allowed are {REST} for rest and numbers from 0 upwards"
        )
    return index.astype(np.intp)
