"""Subjects with known truth: which layer, which weights, which receptive field, which noise ceiling."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from analyses.datasets.dataset import Dataset, DatasetInfo, make_responses
from analyses.datasets.registry import register_dataset
from analyses.datasets.simulated_images import gabor_energy, pooled_brightness, textured_images
from stimuli.files import unknown_name_message
from stimuli.stimulus_set import StimulusSet

SIMULATED = DatasetInfo(
    name="simulated",
    title="Simulated voxels with known layer, weights, receptive fields and ceilings",
    home="made by code (analyses.datasets.simulated)",
    files=(),
    licence="MIT",
    citation="none: no measurement is behind it",
    subjects=("1", "2", "3", "4"),
    shapes={"responses": "trials x voxels, by default 1600 x 40", "stimuli": "400 images of 64 x 64 pixels"},
    units="standard deviations of the signal",
    description=(
        "Responses are a weighted sum of features of the images plus independent Gaussian noise. Subjects "
        "see the same images and differ in weights, receptive fields and noise."
    ),
)


def simulate_subject(
    features: Mapping[str, Any],
    planted_layer: str,
    *,
    stimuli: StimulusSet | None = None,
    n_voxels: int = 40,
    noise_ceiling_r: ArrayLike = 0.8,
    n_repeats: int = 4,
    n_runs: int = 8,
    receptive_field_sd: float | None = None,
    kind: Literal["trials", "averages"] = "trials",
    subject: str = "1",
    seed: int = 0,
) -> Dataset:
    """Simulate a subject whose voxels are linear in one layer.

    Parameters
    ----------
    features : Mapping of str to ndarray
        Features of each layer: (n_stimuli, n_features), or (n_stimuli, n_channels, n_rows, n_columns).
    planted_layer : str
        The layer that drives the voxels.
    stimuli : StimulusSet, optional
        What the features were computed from; without media when not given.
    n_voxels : int
        Number of voxels.
    noise_ceiling_r : float or array of shape (n_voxels,)
        Correlation over stimuli, in [0, 1], between the noise-free signal and the mean of all `n_repeats`
        repeats, as expected for many stimuli. 0 plants voxels that do not respond at all.
    n_repeats, n_runs : int
        Presentations of each stimulus; runs. All repeats of a stimulus are in one run, so that leaving a run
        out leaves its stimuli out.
    receptive_field_sd : float, optional
        Standard deviation of a Gaussian receptive field as a share of the image's side; needs features with
        rows and columns. Its centre differs from voxel to voxel. None weights all features freely.
    kind : {"trials", "averages"}
        One row a presentation, in order of presentation, or one row a stimulus.
    subject : str
        Name of the subject.
    seed : int
        Fixes weights, receptive fields, order and noise.

    Returns
    -------
    Dataset
        `repeats` hold the single responses (n_repeats, n_stimuli, n_voxels) float32. `truth` holds

        - ``layer``;
        - ``weights`` (n_features, n_voxels), features flattened in C order, and ``intercept`` (n_voxels,);
        - ``signal`` (n_stimuli, n_voxels): features @ weights + intercept, of mean 0 and variance 1;
        - ``noise_sd`` (n_voxels,): of one presentation;
        - ``noise_ceiling_r`` (n_voxels,): of the mean over repeats; ``explainable_variance``: its square;
        - ``noise_ceiling_r_single`` (n_voxels,): of one presentation;
        - ``receptive_field``: None, or ``centre`` (n_voxels, 2) (row, column) as shares of the image's sides
          from the top left corner, ``sd``, ``map`` (n_voxels, n_rows, n_columns) and ``channel_weights``
          (n_channels, n_voxels).

    Raises
    ------
    KeyError
        If there is no layer of that name.
    ValueError
        If shapes or numbers do not fit.

    Notes
    -----
    With signal variance 1 and noise variance s2, the mean of n repeats correlates with the signal at
    1 / sqrt(1 + s2 / n); so s2 = n (1 / r^2 - 1).
    """
    if planted_layer not in features:
        raise KeyError(unknown_name_message("layer", planted_layer, list(features)))
    planted = np.asarray(features[planted_layer], dtype=np.float64)
    _check_features(planted, planted_layer, receptive_field_sd)
    if not 1 <= n_runs <= len(planted):
        raise ValueError(f"n_runs is {n_runs}; it has to be between 1 and the {len(planted)} stimuli.")
    if n_repeats < 1 or n_voxels < 1:
        raise ValueError(f"n_repeats is {n_repeats} and n_voxels is {n_voxels}; both have to be at least 1.")
    ceiling = np.broadcast_to(np.asarray(noise_ceiling_r, dtype=np.float64), (n_voxels,)).copy()
    if not ((ceiling >= 0) & (ceiling <= 1)).all():
        raise ValueError(f"noise_ceiling_r spans [{ceiling.min()}, {ceiling.max()}]; it has to be in [0, 1].")
    if stimuli is None:
        stimuli = StimulusSet(stimulus_ids=[f"stimulus-{i:04d}" for i in range(len(planted))])
    if len(stimuli) != len(planted):
        raise ValueError(f"stimuli has {len(stimuli)} entries, but the features have {len(planted)} rows.")

    rng = np.random.default_rng(seed)
    weights, receptive_field = _plant_weights(planted, n_voxels, receptive_field_sd, rng)
    flat = planted.reshape(len(planted), -1)
    spread = (flat @ weights).std(axis=0)
    if not (spread > 0).all():
        raise ValueError(f"layer {planted_layer!r} does not vary over stimuli where weights were planted.")
    responsive = ceiling > 0
    gain = np.where(responsive, 1 / spread, 0.0)
    weights = weights * gain
    if receptive_field is not None:
        receptive_field["channel_weights"] = receptive_field["channel_weights"] * gain
    intercept = -(flat @ weights).mean(axis=0)
    signal = flat @ weights + intercept
    safe = np.where(responsive, ceiling, 1.0)
    noise_sd = np.where(responsive, np.sqrt(n_repeats * (1 / safe**2 - 1)), 1.0)
    repeats = signal + noise_sd * rng.standard_normal((n_repeats, *signal.shape))
    truth = {
        "layer": planted_layer,
        "weights": weights,
        "intercept": intercept,
        "signal": signal,
        "noise_sd": noise_sd,
        "noise_ceiling_r": ceiling,
        "noise_ceiling_r_single": np.where(responsive, 1 / np.sqrt(1 + noise_sd**2), 0.0),
        "explainable_variance": ceiling**2,
        "receptive_field": receptive_field,
    }
    repeats = repeats.astype(np.float32)
    ids = stimuli.stimulus_ids
    if kind == "averages":
        run_of = _assign_runs(len(ids), n_runs, rng)
        responses = make_responses(repeats.mean(axis=0), ids, runs=run_of, units=SIMULATED.units)
    elif kind == "trials":
        rows, repetitions, runs = _order_trials(_assign_runs(len(ids), n_runs, rng), n_repeats, rng)
        responses = make_responses(
            repeats[repetitions, rows], ids[rows], runs=runs, repetitions=repetitions, units=SIMULATED.units
        )
    else:
        raise ValueError(f"kind is {kind!r}; simulated subjects are 'trials' or 'averages'.")
    return Dataset(SIMULATED, subject, stimuli, responses, kind, repeats=repeats, truth=truth)


@register_dataset(SIMULATED, fetch=lambda info, subject: [])
def load_simulated(
    subject: str,
    *,
    planted_layer: Literal["gabor", "pixels"] = "gabor",
    n_stimuli: int = 400,
    receptive_field_sd: float | None = 0.12,
    seed: int = 0,
    **options: Any,
) -> Dataset:
    """Simulate a subject who looks at textured images.

    Parameters
    ----------
    subject : str
        ``"1"`` to ``"4"``: another seed each.
    planted_layer : {"gabor", "pixels"}
        Gabor energy in 8 channels, or brightness, each on a grid of 8 x 8 places.
    n_stimuli : int
        Number of images.
    receptive_field_sd : float, optional
        As for `simulate_subject`.
    seed : int
        Fixes images; with the subject, everything else.
    **options
        Further arguments of `simulate_subject`.

    Returns
    -------
    Dataset
        As from `simulate_subject`; ``truth["features"]`` holds both layers.
    """
    images = textured_images(n_stimuli, seed=seed)
    features = {"gabor": gabor_energy(images), "pixels": pooled_brightness(images)}
    stimuli = StimulusSet(
        stimulus_ids=[f"texture-{i:04d}" for i in range(n_stimuli)], images=images, name=SIMULATED.name
    )
    data = simulate_subject(
        features,
        planted_layer,
        stimuli=stimuli,
        receptive_field_sd=receptive_field_sd,
        subject=subject,
        seed=1000 * seed + int(subject),
        **options,
    )
    data.truth["features"] = features
    return data


def gaussian_receptive_fields(
    centre: NDArray[np.float64], sd: float, n_rows: int, n_columns: int
) -> NDArray[np.float64]:
    """Sample Gaussian receptive fields on a grid of places.

    Parameters
    ----------
    centre : ndarray of shape (n_voxels, 2)
        (row, column) as shares of the image's sides, from the top left corner.
    sd : float
        Standard deviation as a share of the image's side.
    n_rows, n_columns : int
        Size of the grid.

    Returns
    -------
    ndarray of shape (n_voxels, n_rows, n_columns)
        Each sums to 1.
    """
    rows = (np.arange(n_rows) + 0.5) / n_rows - centre[:, :1]
    columns = (np.arange(n_columns) + 0.5) / n_columns - centre[:, 1:]
    field = np.exp(-0.5 * (rows[:, :, None] ** 2 + columns[:, None, :] ** 2) / sd**2)
    return field / field.sum(axis=(1, 2), keepdims=True)


def _check_features(planted: np.ndarray, name: str, receptive_field_sd: float | None) -> None:
    if planted.ndim not in (2, 4) or len(planted) < 2:
        raise ValueError(
            f"layer {name!r} has shape {planted.shape}; it has to be (n_stimuli, n_features) or "
            "(n_stimuli, n_channels, n_rows, n_columns) with at least two stimuli."
        )
    if not np.isfinite(planted).all():
        raise ValueError(f"layer {name!r} holds NaN or infinite values; a subject needs finite features.")
    if receptive_field_sd is not None and (planted.ndim != 4 or receptive_field_sd <= 0):
        raise ValueError(
            f"receptive_field_sd is {receptive_field_sd} for a layer of shape {planted.shape}; a receptive "
            "field needs a positive width and features of shape (n_stimuli, n_channels, n_rows, n_columns)."
        )


def _plant_weights(
    planted: np.ndarray, n_voxels: int, receptive_field_sd: float | None, rng: np.random.Generator
) -> tuple[np.ndarray, dict[str, Any] | None]:
    n_features = int(np.prod(planted.shape[1:]))
    if receptive_field_sd is None:
        return rng.standard_normal((n_features, n_voxels)), None
    _, n_channels, n_rows, n_columns = planted.shape
    centre = rng.uniform(0.2, 0.8, size=(n_voxels, 2))
    field = gaussian_receptive_fields(centre, receptive_field_sd, n_rows, n_columns)
    channels = rng.standard_normal((n_channels, n_voxels))
    weights = np.einsum("cv,vij->cijv", channels, field).reshape(n_features, n_voxels)
    return weights, {"centre": centre, "sd": receptive_field_sd, "map": field, "channel_weights": channels}


def _assign_runs(n_stimuli: int, n_runs: int, rng: np.random.Generator) -> np.ndarray:
    return rng.permutation(np.arange(n_stimuli) % n_runs)


def _order_trials(
    run_of: np.ndarray, n_repeats: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Give stimulus, repetition and run of each trial: in a run every stimulus once, then once more, ..."""
    rows, repetitions = [], []
    for run in range(run_of.max() + 1):
        own = np.flatnonzero(run_of == run)
        for repetition in range(n_repeats):
            rows.append(rng.permutation(own))
            repetitions.append(np.full(len(own), repetition))
    order = np.concatenate(rows)
    return order, np.concatenate(repetitions), run_of[order]
