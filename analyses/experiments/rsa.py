"""Layers of a network against people's dissimilarity matrices (RDMs)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray
from scipy.stats import rankdata

from analyses.metrics.rsa import Dissimilarity, compare_rdms, rdm, rdm_noise_ceiling, upper_triangle
from analyses.statistics.bootstrap import bootstrap_interval
from analyses.statistics.permutation import max_statistic_p_values, permutation_p_values

FloatArray = NDArray[np.float64]


def compare_layers_with_rdms(
    features: Mapping[str, ArrayLike],
    reference_rdms: ArrayLike,
    *,
    groups: ArrayLike | None = None,
    dissimilarity: Dissimilarity = "correlation",
    comparison: Literal["spearman", "pearson"] = "spearman",
    n_bootstrap: int = 1000,
    n_permutations: int = 1000,
    confidence: float = 0.95,
    seed: int = 0,
) -> xr.Dataset:
    """Compare the RDM of each layer with the RDMs of several people.

    Parameters
    ----------
    features : mapping of str to (n_stimuli, ...) array
        Features a layer, flattened to one row a stimulus. With a method `matrix(layer)` (as `Features` has)
        that is used. Layers are read one at a time.
    reference_rdms : (n_rdms, n_stimuli, n_stimuli) array
        RDMs of people (or sessions), the stimuli in the same order.
    groups : (n_rdms,) array, optional
        Whose each RDM is, when a person has several: the lower ceiling then leaves out whole people.
    dissimilarity : {"correlation", "cosine", "euclidean", "squared_euclidean"}
        Of a layer's features, see `rdm`.
    comparison : {"spearman", "pearson"}
        Between RDMs, over the pairs of stimuli.
    n_bootstrap, confidence : int, float
        Draws of stimuli and coverage of the intervals. Pairs of a stimulus with itself, which a draw with
        replacement creates, are left out.
    n_permutations : int
        Draws of the null, under which the stimuli of the layers' RDMs are permuted.
    seed : int
        Seed of draws and permutations.

    Returns
    -------
    xarray.Dataset
        With dims ``layer`` and ``rdm``: ``r_by_rdm (layer, rdm)``; ``r (layer)``, its mean over RDMs, which
        the ceiling bounds, with ``r_lower`` and ``r_upper``; ``r_mean_rdm (layer)``, the agreement with the
        mean of the RDMs, with ``r_mean_rdm_lower`` and ``r_mean_rdm_upper``; ``p_value`` of ``r``, one-sided,
        and ``p_value_max``, corrected for the number of layers; ``ceiling_lower`` and ``ceiling_upper``.

    Raises
    ------
    ValueError
        For no layers, layers and RDMs of different stimuli, NaN, a stimulus without variance, or an unknown
        comparison.

    References
    ----------
    Kriegeskorte, Mur & Bandettini 2008, Frontiers in Systems Neuroscience 2:4; Nili et al. 2014, PLoS
    Computational Biology 10(4): e1003553 (ceiling, tests over stimuli).
    """
    if comparison not in ("spearman", "pearson"):
        raise ValueError(f"comparison is {comparison!r}; allowed: 'spearman', 'pearson'")
    if n_permutations < 1:
        raise ValueError(f"n_permutations is {n_permutations}; at least 1 is needed")
    layers = list(features)
    if not layers:
        raise ValueError("features is empty: at least one layer is needed")
    references = np.asarray(reference_rdms, dtype=np.float64)
    if references.ndim != 3 or len(references) < 2:
        raise ValueError(
            f"reference_rdms has shape {references.shape}; at least 2 RDMs (n_rdms, n_stimuli, n_stimuli) "
            f"are needed, else there is no ceiling: compare_rdms compares with a single one"
        )
    ceiling = rdm_noise_ceiling(references, comparison, groups=groups)
    n_stimuli = references.shape[1]
    models = np.stack([rdm(_matrix(features, layer, n_stimuli), dissimilarity) for layer in layers])
    r_by_rdm = np.asarray(compare_rdms(models, references, comparison))
    mean_rdm = references.mean(axis=0, keepdims=True)
    r_mean_rdm = np.asarray(compare_rdms(models, mean_rdm, comparison))[:, 0]

    agreement = _StimulusBootstrap(models, np.concatenate([references, mean_rdm]), comparison)
    intervals = bootstrap_interval(
        agreement, n_stimuli, n_bootstrap=n_bootstrap, confidence=confidence, seed=seed
    )
    lower, upper = (ends.reshape(2, len(layers)) for ends in (intervals.lower, intervals.upper))
    r = r_by_rdm.mean(axis=1)
    null = _permuted_agreement(models, references, comparison, n_permutations, seed)
    return xr.Dataset(
        {
            "r_by_rdm": (("layer", "rdm"), r_by_rdm),
            "r": ("layer", r),
            "r_lower": ("layer", lower[0]),
            "r_upper": ("layer", upper[0]),
            "r_mean_rdm": ("layer", r_mean_rdm),
            "r_mean_rdm_lower": ("layer", lower[1]),
            "r_mean_rdm_upper": ("layer", upper[1]),
            "p_value": ("layer", permutation_p_values(r, null)),
            "p_value_max": ("layer", max_statistic_p_values(r, null)),
            "ceiling_lower": ceiling.lower,
            "ceiling_upper": ceiling.upper,
        },
        coords={"layer": layers, "rdm": np.arange(len(references))},
        attrs={
            "dissimilarity": dissimilarity,
            "comparison": comparison,
            "n_stimuli": n_stimuli,
            "n_bootstrap": n_bootstrap,
            "n_permutations": n_permutations,
            "confidence": confidence,
            "seed": seed,
        },
    )


class _StimulusBootstrap:
    """Agreement of every model RDM with the reference RDMs when stimuli count several times or not at all.

    A pair of stimuli that were drawn a and b times is a * b pairs with one dissimilarity. Weighted ranks and
    correlations give what ranking the drawn matrices would give, without sorting again.
    """

    def __init__(self, models: FloatArray, references: FloatArray, comparison: str) -> None:
        self.n_models = len(models)
        self.rows, self.columns = np.triu_indices(models.shape[-1], k=1)
        values = upper_triangle(np.concatenate([models, references]))
        self.values = values if comparison == "pearson" else None
        self.order = [np.unique(row, return_inverse=True)[1] for row in values]

    def __call__(self, counts: FloatArray) -> FloatArray:
        """Return (n_draws, 2 * n_models): mean over all references but the last, then the last."""
        return np.stack([self._agree(count) for count in counts])

    def _agree(self, count: FloatArray) -> FloatArray:
        weights = count[self.rows] * count[self.columns]
        scaled = self._ranks(weights) if self.values is None else self.values
        centred = scaled - (scaled @ weights / weights.sum())[:, None]
        weighted = centred * np.sqrt(weights)
        # A draw of very few stimuli can leave an RDM without variance; its agreement is then not defined.
        length = np.linalg.norm(weighted, axis=1, keepdims=True)
        unit = np.divide(weighted, length, out=np.full_like(weighted, np.nan), where=length > 0)
        r = unit[: self.n_models] @ unit[self.n_models :].T
        return np.concatenate([r[:, :-1].mean(axis=1), r[:, -1]])

    def _ranks(self, weights: FloatArray) -> FloatArray:
        ranks = np.empty((len(self.order), len(weights)))
        for row, order in zip(ranks, self.order, strict=True):
            totals = np.bincount(order, weights=weights)
            row[:] = (np.cumsum(totals) - totals / 2)[order]
        return ranks


def _permuted_agreement(
    models: FloatArray, references: FloatArray, comparison: str, n_permutations: int, seed: int
) -> FloatArray:
    """Return (n_permutations, n_models): mean agreement with the stimuli of the models permuted."""
    n_stimuli = models.shape[-1]
    rows, columns = np.triu_indices(n_stimuli, k=1)
    model_units = _unit_pairs(models, comparison)
    mean_unit = _unit_pairs(references, comparison).mean(axis=0)
    squares = np.zeros((len(models), n_stimuli, n_stimuli))
    squares[:, rows, columns] = squares[:, columns, rows] = model_units
    rng = np.random.default_rng(seed)
    null = np.empty((n_permutations, len(models)))
    for number in range(n_permutations):
        order = rng.permutation(n_stimuli)
        null[number] = squares[:, order[rows], order[columns]] @ mean_unit
    return null


def _unit_pairs(rdms: FloatArray, comparison: str) -> FloatArray:
    """Return pairs on the scale of the comparison, centred, of length 1: their products are correlations."""
    pairs = upper_triangle(rdms)
    scaled = np.asarray(rankdata(pairs, axis=-1)) if comparison == "spearman" else pairs
    centred = scaled - scaled.mean(axis=-1, keepdims=True)
    return centred / np.linalg.norm(centred, axis=-1, keepdims=True)


def _matrix(features: Mapping[str, ArrayLike], layer: str, n_stimuli: int) -> NDArray:
    matrix = getattr(features, "matrix", None)
    values = np.asarray(features[layer] if matrix is None else matrix(layer))
    if values.ndim < 2 or len(values) != n_stimuli:
        raise ValueError(
            f"features[{layer!r}] has shape {values.shape}; reference_rdms have {n_stimuli} stimuli: "
            f"({n_stimuli}, ...) is needed"
        )
    return values.reshape(n_stimuli, -1)
