"""The transformer brain encoder: learned queries of voxels attend to tokens of a frozen network."""

from collections.abc import Sequence
from dataclasses import fields, replace
from typing import Any, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.utils.validation import check_is_fitted
from torch import Tensor, nn

from encoders.estimators.trained import TrainedEncoder
from encoders.persistence import register_encoder
from encoders.routing.attention_network import Activation, AttentionNetwork
from encoders.routing.positions import PositionKind
from encoders.routing.queries import check_query_names, choose_queries, count_queries, query_masks
from encoders.routing.readout import Overlap
from encoders.solvers.checks import check_choice
from encoders.tokens import as_token_source
from encoders.training.settings import Training
from stimuli.files import unknown_name_message

PUBLISHED: dict[str, Any] = {
    "d_model": 768,
    "n_heads": 16,
    "d_feedforward": 1024,
    "n_decoder_layers": 1,
    "n_encoder_layers": 0,
    "dropout": 0.1,
    "activation": "relu",
    "positions": "sine",
}
PUBLISHED_TRAINING = Training(
    lr=5e-4,
    weight_decay=1e-4,
    batch_size=16,
    n_epochs=15,
    schedule="step",
    lr_drop_epochs=100,
    lr_drop_factor=0.5,
    clip_norm=0.1,
    patience_epochs=None,
    scale_tokens=False,
    scale_targets=False,
)
_MOST_BYTES = 16 << 30
"""Attention weights that are returned at once."""


@register_encoder
class AttentionEncoder(TrainedEncoder):
    """Encoding model whose voxels read tokens through learned queries that attend to them.

    A query stands for an ROI, a parcel, a hemisphere, or a voxel. What it attends to depends on the content of the
    tokens, so that a receptive field can move with the image (Adeli, Sun & Kriegeskorte 2025, arXiv 2505.17329).
    Tokens X are keys, with position codes P added, and values, without. The target starts at zero; each decoder layer
    computes ``target += dropout(MHA(LN(target) + queries, X + P, X))`` and, with a feed-forward, ``target +=
    dropout(W2 relu(W1 LN(target)))``. A voxel is predicted by its own row of weights from the answers of those queries
    whose masks hold it. Queries do not attend to one another, and attention weights are not dropped.

    Parameters
    ----------
    queries : {"all", "voxel"} or array of bool (n_queries, n_voxels)
        One query for all voxels, one for each, or masks of voxels that may overlap; a voxel outside all masks is an
        error.
    query_names : sequence of str, optional
        One a query.
    overlap : {"sum", "mean"}
        What a voxel in several masks predicts: the sum of what its queries predict, as published, or their mean.
    d_model : int, optional
        Width of the model; tokens of other width are projected linearly. None takes the channels of the tokens.
    n_heads : int
        Heads of attention; they divide d_model. A single head can settle on a wrong token where several do not.
    d_feedforward : int, optional
        Width of the feed-forward; None leaves it out.
    n_decoder_layers : int
        At least 1. What later layers ask depends on the image.
    n_encoder_layers : int
        Layers of self-attention among tokens, in front.
    dropout : float
        Share dropped of what attention and feed-forward add, while training.
    activation : {"relu", "gelu"}
        Of the feed-forward.
    positions : {"sine", "learned", "none"}
        Codes that keys carry: by rows and columns where it is known how tokens lie in the image, else along the text.
    query_chunk : int, optional
        Queries in memory at a time. None takes as many as keep within 1 GiB a batch; the answers are the same.
    training : Training, optional
        Settings of training.

    Attributes
    ----------
    query_embeddings_ : ndarray (n_members, n_queries, d_model)
    members_, cv_scores_, best_epoch_, history_, token_mean_, token_scale_, y_mean_, y_scale_, n_tokens_, n_channels_,
    grid_
        As in `TrainedEncoder`.

    Examples
    --------
    >>> import numpy as np
    >>> from encoders.training.settings import Training
    >>> rng = np.random.default_rng(0)
    >>> tokens = rng.standard_normal((600, 9, 8)).astype(np.float32)
    >>> planted = rng.integers(0, 9, 600)  # an object moves about, and voxels read it wherever it is
    >>> tokens[np.arange(600), planted, 0] += 5
    >>> Y = tokens[np.arange(600), planted] @ rng.standard_normal((8, 4))
    >>> encoder = AttentionEncoder(d_model=32, n_heads=2, training=Training(lr=0.01, n_epochs=25))
    >>> encoder = encoder.fit(tokens[:500], Y[:500])
    >>> encoder.correlation(tokens[500:], Y[500:]).mean() > 0.8
    True
    >>> encoder.attention(tokens[500:]).shape
    (100, 1, 2, 9)
    """

    def __init__(
        self,
        queries: Any = "all",
        query_names: Sequence[str] | None = None,
        overlap: Overlap = "sum",
        d_model: int | None = None,
        n_heads: int = 1,
        d_feedforward: int | None = None,
        n_decoder_layers: int = 1,
        n_encoder_layers: int = 0,
        dropout: float = 0.1,
        activation: Activation = "relu",
        positions: PositionKind = "sine",
        query_chunk: int | None = None,
        training: Training | None = None,
    ) -> None:
        self.queries = queries
        self.query_names = query_names
        self.overlap = overlap
        self.d_model = d_model
        self.n_heads = n_heads
        self.d_feedforward = d_feedforward
        self.n_decoder_layers = n_decoder_layers
        self.n_encoder_layers = n_encoder_layers
        self.dropout = dropout
        self.activation = activation
        self.positions = positions
        self.query_chunk = query_chunk
        self.training = training

    @classmethod
    def published(cls, queries: Any = "all", **changes: Any) -> "AttentionEncoder":
        """Return an encoder as published for DINOv2 tokens (Adeli et al. 2025), with changes.

        Width 768, 16 heads, feed-forward 1024, ReLU, dropout 0.1, one decoder layer, sine positions; AdamW at 5e-4,
        weight decay 1e-4, batches of 16, 15 epochs of which the best is kept, steps of 0.5 (first after 100 epochs),
        gradients clipped at 0.1; neither tokens nor responses are scaled. Left out are weights that take no part
        there: self-attention among queries with its norm, the scale of a norm of zeros, and a bias of keys.

        Parameters
        ----------
        queries
            As above.
        **changes
            Parameters of this class, or settings of `Training`: ``published(masks, n_epochs=30, device="cuda")``.

        Raises
        ------
        TypeError
            For a name that is neither.
        """
        settings = {field.name for field in fields(Training)}
        parameters = set(cls().get_params(deep=False))
        for name in changes:
            if name not in settings | parameters:
                raise TypeError(unknown_name_message("parameter", name, sorted(settings | parameters)))
        training = changes.get("training") or PUBLISHED_TRAINING
        training = replace(training, **{name: value for name, value in changes.items() if name in settings})
        own = {name: value for name, value in changes.items() if name in parameters}
        return cls(queries, **{**PUBLISHED, **own, "training": training})

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
        ValueError, TypeError
            For parameters that do not fit the tokens or the voxels.
        """
        masks = query_masks(self.queries, n_outputs)
        check_query_names(self.query_names, n_outputs if masks is None else len(masks))
        self._check_parameters(n_channels)
        return AttentionNetwork(
            n_tokens,
            n_channels,
            grid,
            masks,
            n_outputs,
            generator,
            overlap=self.overlap,
            d_model=self.d_model,
            n_heads=self.n_heads,
            d_feedforward=self.d_feedforward,
            n_decoder_layers=self.n_decoder_layers,
            n_encoder_layers=self.n_encoder_layers,
            dropout=self.dropout,
            activation=self.activation,
            positions=self.positions,
            query_chunk=self.query_chunk,
        )

    @property
    def query_embeddings_(self) -> NDArray[np.float32]:
        """Learned queries of each member, (n_members, n_queries, d_model)."""
        check_is_fitted(self)
        return np.stack([member["queries"] for member in self.members_])

    def attention(self, X: Any, queries: Any = None) -> NDArray[np.float32]:
        """Return attention weights (n_samples, n_queries, n_heads, n_tokens) of the last decoder layer.

        Averaged over members; each sums to 1 over tokens, and padding has exactly none.

        Parameters
        ----------
        X : TokenSource or array
            Tokens, as in `predict`.
        queries : sequence of int, str or bool, optional
            Which queries: numbers, names or a mask; all where None. Choose some where each voxel has one.

        Raises
        ------
        sklearn.exceptions.NotFittedError
            Before `fit`.
        KeyError
            For an unknown name of a query.
        ValueError
            If tokens or channels are other than in `fit`, a number is out of range, or the weights are more than
            16 GiB.
        """
        check_is_fitted(self)
        chosen = choose_queries(queries, count_queries(self.queries, self.n_outputs_), self.query_names)
        source = as_token_source(X)
        n_bytes = 4 * len(source) * len(chosen) * self.n_heads * source.shape[1]
        if n_bytes > _MOST_BYTES:
            raise ValueError(
                f"attention of {len(source)} samples and {len(chosen)} queries takes {n_bytes / 2**30:.0f} GiB: choose "
                "queries=[...], or take fewer samples at a time"
            )

        def attend(module: nn.Module, tokens: Tensor, mask: Tensor | None) -> Tensor:
            assert isinstance(module, AttentionNetwork)
            return module.attention(tokens, mask, torch.from_numpy(chosen).to(tokens.device))

        return self.average_over_members(source, attend)

    def attention_maps(self, X: Any, queries: Any = None) -> NDArray[np.float32]:
        """Return `attention` over the image, (n_samples, n_queries, n_heads, n_rows, n_columns).

        Raises
        ------
        ValueError
            If it is unknown how tokens lie in the image; and as `attention`.
        """
        grid = self.known_grid()  # refused before the work
        weights = self.attention(X, queries)
        return weights.reshape(*weights.shape[:3], *grid)

    def _check_parameters(self, n_channels: int) -> None:
        check_choice("overlap", self.overlap, get_args(Overlap))
        check_choice("activation", self.activation, get_args(Activation))
        check_choice("positions", self.positions, get_args(PositionKind))
        for name, lowest, optional in (
            ("d_model", 1, True),
            ("n_heads", 1, False),
            ("d_feedforward", 1, True),
            ("n_decoder_layers", 1, False),
            ("n_encoder_layers", 0, False),
            ("query_chunk", 1, True),
        ):
            value = getattr(self, name)
            if value is None and optional:
                continue
            whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
            if not whole or value < lowest:
                raise ValueError(
                    f"{name} is {value!r}; it must be a whole number of at least {lowest}{', or None' * optional}"
                )
        width = n_channels if self.d_model is None else self.d_model
        if width % self.n_heads:
            source = "channels of the tokens" if self.d_model is None else "of d_model"
            near = [n for n in range(1, width + 1) if width % n == 0]
            raise ValueError(
                f"n_heads is {self.n_heads}, which does not divide the {width} {source}; these do: "
                f"{', '.join(map(str, near))}"
            )
