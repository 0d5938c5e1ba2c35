"""False-positive rates of a whole run's permutation test, where stimuli and responses have nothing in common.

Which stimulus comes where is drawn at random, as an experimenter should, and so a test that exchanges what was drawn
has exactly its nominal level, whatever the noise; anything that the permutations do not redo or keep together shows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
from numpy.random import Generator
from scipy.signal import lfilter
from scipy.stats import binom

from analyses.datasets.dataset import Dataset, make_responses
from analyses.experiments.config import EncodingConfig, FeatureSpace
from analyses.experiments.design import make_design
from analyses.experiments.encoding import run_encoding
from analyses.experiments.encoding_models import make_encoder
from analyses.experiments.fitting import SELECTED
from analyses.experiments.null import compute_null
from analyses.statistics.permutation import permutation_p_values
from encoders.cross_validation import cross_validate_layers
from encoders.scores import correlation_score
from stimuli import StimulusSet
from tests.analyses.small_data import small_info

LEVEL, N_PERMUTATIONS = 0.05, 19  # the rank of one among twenty: p <= .05 has probability .05, and no less
N_VOXELS = 8
LAYERS = ("layer:half", "layer:quarter")


def stimuli(n_stimuli: int, generator: Generator) -> StimulusSet:
    """Texts with attributes that are drawn, for one-hot codes of 2 and of 4 columns."""
    ids = [f"s{number:02}" for number in range(n_stimuli)]
    halves, quarters = (generator.permutation(np.arange(n_stimuli) % n) for n in (2, 4))
    return StimulusSet(ids, texts=ids, attributes={"half": halves, "quarter": quarters})


def drifting(lengths: list[int], n_voxels: int, generator: Generator, rho: float = 0.9) -> np.ndarray:
    """AR(1) noise, each run on its own: (sum of lengths, n_voxels)."""
    white = [generator.standard_normal((50 + length, n_voxels)) for length in lengths]
    return np.concatenate([lfilter([1], [1, -rho], noise, axis=0)[50:] for noise in white])


def blocks(generator: Generator) -> Dataset:
    """Three runs of four blocks in an order drawn anew for each, and AR(1) noise."""
    shown: list[int] = []
    for _ in range(3):
        shown += [-1] * 2
        for category in generator.permutation(4):
            shown += [category] * 6 + [-1] * 2
    runs = np.repeat(np.arange(3), len(shown) // 3)
    noise = drifting([len(shown) // 3] * 3, N_VOXELS, generator)
    shown_set = stimuli(4, generator)
    ids = np.append(shown_set.stimulus_ids, "")[shown]
    responses = make_responses(noise.astype(np.float32), ids, runs=runs, tr_s=2.0)
    return Dataset(small_info("blocks", tr_s=2.0), "1", shown_set, responses, "time_series")


def repeated_trials(generator: Generator) -> Dataset:
    """Each of 20 stimuli three times, with a strong response of its own that no feature explains."""
    shown = np.concatenate([generator.permutation(20) for _ in range(3)])
    own = 2 * generator.standard_normal((20, N_VOXELS))
    noise = own[shown] + generator.standard_normal((60, N_VOXELS))
    shown_set = stimuli(20, generator)
    responses = make_responses(noise.astype(np.float32), shown_set.stimulus_ids[shown])
    return Dataset(small_info("repeated"), "1", shown_set, responses, "trials")


def drifting_trials(generator: Generator) -> Dataset:
    """Single trials in four runs, with noise that drifts over a run."""
    noise = drifting([10] * 4, N_VOXELS, generator)
    shown_set = stimuli(40, generator)
    responses = make_responses(
        noise.astype(np.float32), shown_set.stimulus_ids, runs=np.repeat(np.arange(4), 10)
    )
    return Dataset(small_info("drifting"), "1", shown_set, responses, "trials")


def published_split(generator: Generator) -> Dataset:
    """Averages with a published test set, for the null that permutes held-out predictions."""
    data = drifting_trials(generator)
    noise = generator.standard_normal((40, N_VOXELS))
    responses = make_responses(noise.astype(np.float32), data.stimuli.stimulus_ids)
    return Dataset(
        small_info("published"),
        "1",
        data.stimuli,
        responses,
        "averages",
        test_stimulus_ids=data.stimuli.stimulus_ids[20:],
    )


SCENARIOS: dict[str, tuple[Callable[[Generator], Dataset], dict[str, object]]] = {
    "blocks": (blocks, {"delays_volumes": (1, 2)}),
    "repeated trials": (repeated_trials, {"n_folds": 4}),
    "drifting trials": (drifting_trials, {"n_folds": 4}),
    "published split": (published_split, {"split": "published"}),
}


def configure(choices: Mapping[str, object], seed: int) -> EncodingConfig:
    spaces = tuple(FeatureSpace(backbone=f"onehot:{layer[6:]}", label=layer) for layer in LAYERS)
    few = {"alphas": (1.0, 30.0), "inner_folds": 2, "n_bootstrap": 10}
    return EncodingConfig.model_validate(
        {
            "dataset": "null",
            "spaces": spaces,
            "n_permutations": N_PERMUTATIONS,
            "seed": seed,
            **few,
            **choices,
        }
    )


class NothingKept:
    """A checkpoint for computations that nobody resumes."""

    def load(self, key: str) -> None:
        return None

    def save(self, key: str, arrays: Mapping[str, np.ndarray]) -> None:
        pass


def one_hot(values: np.ndarray) -> np.ndarray:
    return (values[:, None] == np.unique(values)).astype(np.float32)


def p_values_of_a_run(data: Dataset, config: EncodingConfig) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Take the steps of `run_encoding` that lead to p-values, without drawing a report.

    Returns
    -------
    per_voxel, by_max : ndarray (n_layers, n_voxels)
    of_mean : ndarray (n_layers,)
        Of the mean over voxels.
    """
    design = make_design(data, config)
    encoder = make_encoder(config, data, design)
    features = {layer: one_hot(data.stimuli.attributes[layer[6:]].to_numpy()) for layer in LAYERS}
    laid_out = {layer: design.matrix(matrix) for layer, matrix in features.items()}
    fitted = cross_validate_layers(encoder, laid_out, design.Y, design.folds, groups=design.groups)
    assert fitted.predictions is not None
    predictions = dict(zip(fitted.layers, fitted.predictions, strict=True))
    predictions[SELECTED] = fitted.selected_predictions
    null = compute_null(design, features, encoder, config, predictions, NothingKept())
    tested = design.tested
    r = np.stack([correlation_score(design.Y[tested], held[tested]) for held in predictions.values()])
    return *null.p_values(r), permutation_p_values(r.mean(axis=1), null.r.mean(axis=2))


def assert_nominal(scenario: str, n_runs: int, first_seed: int = 0) -> None:
    make, choices = SCENARIOS[scenario]
    single, family, mean, share = [], [], [], []
    for seed in range(first_seed, first_seed + n_runs):
        data = make(np.random.default_rng(seed))
        per_voxel, by_max, of_mean = p_values_of_a_run(data, configure(choices, seed))
        assert np.isfinite(per_voxel).all()
        single.append(per_voxel[:, 0] <= LEVEL)
        share.append((per_voxel <= LEVEL).mean(axis=1))
        family.append((by_max <= LEVEL).any(axis=1))
        mean.append(of_mean <= LEVEL)
    # Three layers, three tests: bounds that a fair test breaks once in a hundred times for one of the nine.
    lowest, highest = binom.interval(1 - 0.01 / 9, n_runs, LEVEL)
    for name, rejected in (("one voxel", single), ("largest of voxels", family), ("mean of voxels", mean)):
        counts = np.sum(rejected, axis=0)
        assert ((counts >= lowest) & (counts <= highest)).all(), (name, counts, (lowest, highest))
    # All voxels of a run share its stimuli, so that runs are the independent draws.
    rate, error = np.mean(share, axis=0), np.std(share, axis=0, ddof=1) / np.sqrt(n_runs)
    assert (np.abs(rate - LEVEL) < 3.5 * error).all(), (rate, error)


@pytest.mark.parametrize("scenario", ["blocks", "published split"])
def test_false_positive_rate_is_nominal_over_25_null_runs(scenario: str) -> None:
    assert_nominal(scenario, 25)


@pytest.mark.slow
@pytest.mark.parametrize("scenario", list(SCENARIOS))
def test_false_positive_rate_is_nominal_over_200_null_runs(scenario: str) -> None:
    assert_nominal(scenario, 200, first_seed=1000)


@pytest.mark.parametrize("scenario", ["blocks", pytest.param("repeated trials", marks=pytest.mark.slow)])
def test_these_p_values_are_those_of_a_whole_run(scenario: str, tmp_path: Path) -> None:
    make, choices = SCENARIOS[scenario]
    data, config = make(np.random.default_rng(3)), configure(choices, seed=3)
    per_voxel, by_max, _ = p_values_of_a_run(data, config)
    results = run_encoding(config, tmp_path / "run", dataset=data, progress=False)
    np.testing.assert_allclose(results["p_value"].values, per_voxel, rtol=1e-6)
    np.testing.assert_allclose(results["p_value_max"].values, by_max, rtol=1e-6)
