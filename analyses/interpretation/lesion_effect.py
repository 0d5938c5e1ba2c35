"""What a model loses when the tokens that a query attends to are taken away."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from analyses.interpretation.encoder_attention import name_queries, read_attention
from analyses.interpretation.lesions import Replace, check_mean_token, replace_tokens, tokens_taken
from analyses.statistics.bootstrap import UnitSums, check_rois, mean_by_roi
from encoders.scores import correlation_score
from encoders.solvers.checks import check_choice
from encoders.tokens import TokenSource, as_token_source

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class LesionEffect:
    """What lesions of the tokens that each query attends to do to each voxel, against as many random tokens.

    Attributes
    ----------
    query_names, group_names : tuple of str
        Of the queries that were lesioned; of the groups of voxels.
    r_intact : (n_voxels,) array
        Held-out r with all tokens. 1 where no responses were given: predictions are then compared with themselves.
    r_drop : (n_queries, n_voxels) array
        ``r_intact`` less r without the attended tokens; r counts as 0 where the prediction no longer varies.
    r_drop_random : (n_random, n_voxels) array
        The same without random tokens, one row a seed.
    response_drop : (n_queries, n_voxels) array
        Mean over samples of the intact less the lesioned prediction, in units of the responses.
    response_drop_random : (n_random, n_voxels) array
    table : DataFrame
        One row a query and group: ``query``, ``group``, ``r_intact``, ``drop`` (attended), ``drop_random`` (mean over
        seeds), ``specific`` (their difference) and its bootstrap interval over units ``lower``, ``upper``; means over
        the voxels of the group.
    samples : (n_bootstrap, n_queries, n_groups) array
        ``specific`` on each draw of units.
    confidence : float
    """

    query_names: tuple[str, ...]
    group_names: tuple[str, ...]
    r_intact: FloatArray
    r_drop: FloatArray
    r_drop_random: FloatArray
    response_drop: FloatArray
    response_drop_random: FloatArray
    table: pd.DataFrame
    samples: FloatArray
    confidence: float

    @property
    def specific(self) -> pd.DataFrame:
        """The dissociation matrix: ``specific`` by query (rows) and group (columns)."""
        values = self.table["specific"].to_numpy().reshape(len(self.query_names), len(self.group_names))
        return pd.DataFrame(
            values,
            index=pd.Index(self.query_names, name="query"),
            columns=pd.Index(self.group_names, name="group"),
        )

    def double_dissociation(self, first: tuple[str, str], second: tuple[str, str]) -> pd.DataFrame:
        """Compare two (query, group) pairs crosswise.

        Parameters
        ----------
        first, second : (query, group)
            Names. A double dissociation is there when both intervals lie above 0: each lesion hurts its own group
            more than the other's.

        Returns
        -------
        DataFrame
            Two rows, the lesion of each query: ``difference`` of the specific drop in its own and in the other group,
            ``lower``, ``upper``. The difference is zero in expectation where a lesion hurts both alike; groups that
            are predicted better can also lose more.

        Raises
        ------
        KeyError
            A name is unknown.
        """
        places = []
        for query, group in (first, second):
            if query not in self.query_names or group not in self.group_names:
                raise KeyError(
                    f"({query!r}, {group!r}) is not among queries {self.query_names} and groups {self.group_names}"
                )
            places.append((self.query_names.index(query), self.group_names.index(group)))
        specific, rows = self.specific.to_numpy(), []
        shares = (0.5 - self.confidence / 2, 0.5 + self.confidence / 2)
        for (row, own), (_, other) in (places, places[::-1]):
            draws = self.samples[:, row, own] - self.samples[:, row, other]
            lower, upper = np.nanquantile(draws, shares)
            rows.append((specific[row, own] - specific[row, other], lower, upper))
        index = pd.Index([first[0], second[0]], name="query")
        return pd.DataFrame(rows, index=index, columns=["difference", "lower", "upper"])


def lesion_effect(
    encoder: Any,
    X: Any,
    Y: ArrayLike | None = None,
    *,
    attention: ArrayLike | None = None,
    queries: Sequence[int] | None = None,
    query_names: Sequence[str] | None = None,
    voxel_groups: Mapping[str, ArrayLike] | None = None,
    units: ArrayLike | None = None,
    fraction: float | None = None,
    k: int | None = None,
    replace: Replace = "remove",
    mean_token: ArrayLike | None = None,
    n_random: int = 5,
    n_bootstrap: int = 1000,
    confidence: float = 0.95,
    batch_rows: int = 128,
    seed: int = 0,
) -> LesionEffect:
    """Take away what each query attends to, and see which voxels are predicted worse.

    Parameters
    ----------
    encoder : fitted encoder
        With `predict(X)` of tokens; and `attention(X)`, or `spatial_maps()` for maps that are fixed, unless
        `attention` is given.
    X : TokenSource or array
        Tokens of samples that the encoder was not fitted to. They are read `batch_rows` at a time.
    Y : (n_samples, n_voxels) array, optional
        Measured responses. Without them, predictions are compared with the intact ones.
    attention : (n_samples, n_queries[, n_heads], n_tokens) array, optional
        Taken instead of the encoder's own: to lesion one encoder by another's attention. Of all queries.
    queries : sequence of int, optional
        Numbers of the queries that are lesioned, one after the other; all when None.
    query_names : sequence of str, optional
        Of these queries; the encoder's own when None.
    voxel_groups : mapping of str to (n_voxels,) bool array, optional
        Voxels whose scores are averaged, e.g. ROIs; all as ``"all"`` when None.
    units : (n_samples,) array, optional
        Independent unit of each sample, drawn together by the bootstrap; each sample its own when None.
    fraction, k, replace
        As in `lesion_tokens`; a tenth of the tokens when neither `fraction` nor `k` is given.
    mean_token : (n_channels,) array, optional
        As in `lesion_tokens`: that over X when None.
    n_random : int
        Random lesions of the same size, each with a seed of its own.
    n_bootstrap, confidence, seed
        Draws of units for the intervals, their coverage, and the seed of everything.
    batch_rows : int
        Samples predicted at once.

    Returns
    -------
    LesionEffect

    Raises
    ------
    ValueError
        Shapes do not match, fewer than 2 units or random lesions than 1, or as `lesion_tokens`.
    TypeError
        The encoder has no attention and none is given.

    Notes
    -----
    Attended tokens are compared with as many random ones, since any loss of tokens lowers predictions. Attention is
    not importance by itself (Jain & Wallace 2019, NAACL, 3543-3556): this test asks for the importance.
    """
    source = as_token_source(X)
    n_samples = len(source)
    if n_random < 1 or batch_rows < 1 or n_bootstrap < 2:
        raise ValueError(
            f"n_random is {n_random}, batch_rows {batch_rows} and n_bootstrap {n_bootstrap}; at least 1, 1 and 2 are"
            " needed"
        )
    taken = tokens_taken(0.1 if fraction is None and k is None else fraction, k)
    check_choice("replace", replace, ("mean", "remove"))
    fill = np.full(source.shape[2], np.nan)
    if replace == "mean":
        fill = check_mean_token(mean_token, source)
    batches = [np.arange(s, min(s + batch_rows, n_samples)) for s in range(0, n_samples, batch_rows)]
    rng = np.random.default_rng(seed)
    ties = rng.random(source.shape[:2])

    def predict(scores: NDArray[Any] | None, noise: FloatArray) -> FloatArray:
        parts = []
        for rows in batches:
            tokens = np.array(source.read(rows))
            if scores is not None:
                replace_tokens(tokens, scores[rows], noise[rows], taken, fill)
            parts.append(np.asarray(encoder.predict(as_token_source(tokens, source.grid)), dtype=np.float64))
        return np.concatenate([part.reshape(len(part), -1) for part in parts])

    intact = predict(None, ties)
    measured = intact if Y is None else np.asarray(Y, dtype=np.float64).reshape(len(Y), -1)  # type: ignore[arg-type]
    if measured.shape != intact.shape:
        raise ValueError(
            f"Y has shape {measured.shape} and predictions {intact.shape}; give the responses to X"
        )
    labels = np.arange(n_samples) if units is None else np.asarray(units)
    groups = check_rois(voxel_groups, intact.shape[1])
    maps, names = _maps_of_queries(encoder, source, attention, queries, query_names, batches)
    counts = _bootstrap_counts(labels, n_bootstrap, rng)

    has_score = np.isfinite(correlation_score(measured, intact))

    def scores_of(predicted: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        sums = UnitSums(measured, predicted, labels)

        def correlations(drawn: FloatArray, columns: slice) -> FloatArray:
            # What does not vary predicts nothing: a voxel that loses all it reads has r = 0, not an unknown one.
            return np.where(has_score[columns], np.nan_to_num(sums.correlations(drawn, columns)), np.nan)

        r = np.where(has_score, np.nan_to_num(correlation_score(measured, predicted)), np.nan)
        return r, (intact - predicted).mean(axis=0), mean_by_roi(correlations, counts, groups)

    r_intact, _, intact_by_group = scores_of(intact)
    random = [
        scores_of(predict(np.zeros(source.shape[:2]), rng.random(source.shape[:2]))) for _ in range(n_random)
    ]
    lesioned = [scores_of(predict(maps[:, query], ties)) for query in range(maps.shape[1])]
    r_drop, r_drop_random = (r_intact - np.stack([parts[0] for parts in runs]) for runs in (lesioned, random))
    drop = intact_by_group - np.stack([parts[2] for parts in lesioned], axis=0)
    drop_random = intact_by_group - np.mean([parts[2] for parts in random], axis=0)
    specific = np.moveaxis(drop - drop_random, 0, 1)  # (1 + n_bootstrap, n_queries, n_groups)
    shares = (0.5 - confidence / 2, 0.5 + confidence / 2)
    lower, upper = np.nanquantile(specific[1:], shares, axis=0)
    shape = (len(names), len(groups))
    table = pd.DataFrame(
        {
            "query": np.repeat(names, len(groups)),
            "group": np.tile(list(groups), len(names)),
            "r_intact": np.broadcast_to(intact_by_group[0], shape).ravel(),
            "drop": drop[:, 0].ravel(),
            "drop_random": np.broadcast_to(drop_random[0], shape).ravel(),
            "specific": specific[0].ravel(),
            "lower": lower.ravel(),
            "upper": upper.ravel(),
        }
    )
    return LesionEffect(
        query_names=tuple(names.tolist()),
        group_names=tuple(groups),
        r_intact=r_intact,
        r_drop=r_drop,
        r_drop_random=r_drop_random,
        response_drop=np.stack([parts[1] for parts in lesioned]),
        response_drop_random=np.stack([parts[1] for parts in random]),
        table=table,
        samples=specific[1:],
        confidence=confidence,
    )


def _bootstrap_counts(labels: NDArray[Any], n_bootstrap: int, rng: np.random.Generator) -> FloatArray:
    """How often each unit is drawn, (1 + n_bootstrap, n_units); the first row is every unit once."""
    n_units = len(np.unique(labels))
    if n_units < 2:
        raise ValueError(f"units holds {n_units} unit; an interval needs at least 2, better 20")
    drawn = rng.multinomial(n_units, np.full(n_units, 1 / n_units), size=n_bootstrap)
    return np.vstack([np.ones(n_units), drawn]).astype(np.float64)


def _maps_of_queries(
    encoder: Any,
    source: TokenSource,
    attention: ArrayLike | None,
    queries: Sequence[int] | None,
    query_names: Sequence[str] | None,
    batches: list[NDArray[np.intp]],
) -> tuple[NDArray[np.float32], np.ndarray]:
    """Attention of the wanted queries, heads averaged, (n_samples, n_queries, n_tokens), and their names."""
    if attention is not None:
        given = np.asarray(attention, dtype=np.float32)
        given = given.mean(axis=2) if given.ndim == 4 else given
        if (
            given.ndim != 3
            or (given.shape[0], given.shape[2]) != source.shape[:2]
            or not np.isfinite(given).all()
        ):
            raise ValueError(
                f"attention has shape {np.shape(attention)} for tokens {source.shape}; finite weights (n_samples,"
                " n_queries[, n_heads], n_tokens) of these samples are needed"
            )
        maps = given if queries is None else given[:, list(queries)]
    else:
        maps = np.concatenate(
            [read_attention(encoder, source[rows], queries).mean(axis=2) for rows in batches]
        )
    return maps, name_queries(encoder, queries, maps.shape[1], query_names)
