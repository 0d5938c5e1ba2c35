"""Factorised encoding model: a spatial map a query and a feature vector a voxel, the same for all images."""

from collections.abc import Sequence
from typing import Any, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import softmax
from sklearn.utils.validation import check_is_fitted
from torch import nn

from encoders.estimators.trained import TrainedEncoder
from encoders.persistence import register_encoder
from encoders.routing.queries import check_query_names, choose_queries, count_queries, query_masks
from encoders.routing.readout import Overlap
from encoders.routing.spatial import SpatialNetwork
from encoders.solvers.checks import check_choice
from encoders.training.settings import Training


@register_encoder
class SpatialFeatureEncoder(TrainedEncoder):
    """Encoding model with a fixed receptive field: where times what.

    ``pred[v] = w_v . (sum_t map_q(t) x_t) + b_v``, where the map of a query is a softmax over tokens and does not
    depend on the image. It is what attention routing is compared with (Adeli, Sun & Kriegeskorte 2025, arXiv
    2505.17329), after the factorised readouts of Klindt et al. (2017, NeurIPS) and St-Yves & Naselaris (2018,
    NeuroImage 180).

    Parameters
    ----------
    queries : {"voxel", "all"} or array of bool (n_queries, n_voxels)
        A map for each voxel, one for all, or one for each mask of voxels; masks may overlap, and a voxel outside all
        of them is an error.
    query_names : sequence of str, optional
        One a query.
    overlap : {"sum", "mean"}
        What a voxel in several masks predicts: the sum of what it reads through their maps, or the mean.
    map_lr_factor : float
        How many times the learning rate of feature vectors that of the maps is. AdamW moves every number by about the
        learning rate a step, and the logit of one place among many has farthest to go: with few hundred images maps
        otherwise stay even.
    training : Training, optional
        Settings of training.

    Attributes
    ----------
    members_, cv_scores_, best_epoch_, history_, token_mean_, token_scale_, y_mean_, y_scale_, n_tokens_, n_channels_,
    grid_
        As in `TrainedEncoder`.

    Examples
    --------
    >>> import numpy as np
    >>> from encoders.training.settings import Training
    >>> rng = np.random.default_rng(0)
    >>> tokens = rng.standard_normal((400, 9, 6)).astype(np.float32)
    >>> Y = tokens[:, 4] @ rng.standard_normal((6, 3))  # voxels look at token 4
    >>> encoder = SpatialFeatureEncoder(training=Training(lr=0.05)).fit(tokens[:300], Y[:300])
    >>> encoder.correlation(tokens[300:], Y[300:]) > 0.9
    array([ True,  True,  True])
    >>> encoder.spatial_maps().argmax(axis=1)
    array([4, 4, 4])
    """

    def __init__(
        self,
        queries: Any = "voxel",
        query_names: Sequence[str] | None = None,
        overlap: Overlap = "sum",
        map_lr_factor: float = 1.0,
        training: Training | None = None,
    ) -> None:
        self.queries = queries
        self.query_names = query_names
        self.overlap = overlap
        self.map_lr_factor = map_lr_factor
        self.training = training

    def make_module(
        self,
        n_tokens: int,
        n_channels: int,
        grid: tuple[int, int] | None,
        n_outputs: int,
        generator: torch.Generator,
    ) -> nn.Module:
        """Return a new network with weights drawn from the generator.

        Raises
        ------
        ValueError
            For queries that do not fit the voxels, names that do not fit the queries, an unknown `overlap`, or a
            factor that is not positive.
        """
        if not (np.isfinite(self.map_lr_factor) and self.map_lr_factor > 0):
            raise ValueError(
                f"map_lr_factor is {self.map_lr_factor!r}; it must be a positive number, as 1 or 30"
            )
        masks = query_masks(self.queries, n_outputs)
        check_query_names(self.query_names, n_outputs if masks is None else len(masks))
        check_choice("overlap", self.overlap, get_args(Overlap))
        return SpatialNetwork(
            n_tokens, n_channels, masks, n_outputs, self.overlap, generator, self.map_lr_factor
        )

    def spatial_maps(self, queries: Any = None) -> NDArray[np.float32]:
        """Return the maps (n_queries, n_tokens), averaged over members; each sums to 1.

        Where the tokens lie in the image, ``maps.reshape(-1, *encoder.grid_)`` lays them out.

        Parameters
        ----------
        queries : sequence of int, str or bool, optional
            Which queries: numbers, names or a mask; all where None.

        Raises
        ------
        sklearn.exceptions.NotFittedError
            Before `fit`.
        KeyError
            For an unknown name of a query.
        ValueError
            If a number is out of range.
        """
        check_is_fitted(self)
        chosen = choose_queries(queries, count_queries(self.queries, self.n_outputs_), self.query_names)
        maps = [softmax(member["logits"][chosen].astype(np.float64), axis=1) for member in self.members_]
        return np.mean(maps, axis=0).astype(np.float32)
