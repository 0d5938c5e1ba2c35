"""Attentive probes of frozen networks: for voxels, and for classes."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import softmax
from sklearn.base import ClassifierMixin
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, column_or_1d
from torch import Tensor, nn

from encoders.checkpoints import Checkpoint
from encoders.estimators.trained import TrainedEncoder
from encoders.persistence import register_encoder
from encoders.routing.pooler import Pooler
from encoders.routing.poolers import ClsPooler, find_pooler
from encoders.routing.probe_network import Probe
from encoders.training.loop import TrainingProgress
from encoders.training.settings import Training


class _AttentiveProbe(TrainedEncoder):
    """What probes for voxels and for classes share."""

    def __init__(
        self,
        pooler: str | type[Pooler] = "ep",
        n_queries: int = 32,
        output_divisor: int = 1,
        n_heads: int = 12,
        training: Training | None = None,
    ) -> None:
        self.pooler = pooler
        self.n_queries = n_queries
        self.output_divisor = output_divisor
        self.n_heads = n_heads
        self.training = training

    def make_module(
        self,
        n_tokens: int,
        n_channels: int,
        grid: tuple[int, int] | None,
        n_outputs: int,
        generator: torch.Generator,
    ) -> nn.Module:
        """Return a new probe with weights drawn from the generator.

        Raises
        ------
        ValueError
            For an unknown pooler, "cls" on tokens that are the places of a map, or numbers that do not divide the
            channels; the message names those that do.
        """
        kind = find_pooler(self.pooler)
        if issubclass(kind, ClsPooler) and grid is not None:
            raise ValueError(
                f"pooler 'cls' needs a CLS token, but the tokens are the {grid[0]} x {grid[1]} places of a map: take "
                "'mean', 'ep' or another pooler, or features of a layer that has a CLS token"
            )
        return Probe(
            kind,
            n_channels,
            n_outputs,
            n_queries=self.n_queries,
            output_divisor=self.output_divisor,
            n_heads=self.n_heads,
            generator=generator,
        )

    def attention(self, X: Any) -> NDArray[np.float32]:
        """Return the weights of tokens, (n_samples, n_queries, 1, n_tokens), averaged over members.

        Each query's weights sum to one, and padding has exactly none. There are `n_queries` maps for "ep", one a head
        for "aim" and "multihead" (the axis of heads stays 1: each map has values of its own), one for the others.

        Raises
        ------
        sklearn.exceptions.NotFittedError
            Before `fit`.
        ValueError
            If tokens or channels are other than in `fit`.
        """
        return self.average_over_members(X, _attend)[:, :, None, :]

    def attention_maps(self, X: Any) -> NDArray[np.float32]:
        """Return `attention` over the image, (n_samples, n_queries, 1, n_rows, n_columns).

        Raises
        ------
        ValueError
            If it is unknown how tokens lie in the image.
        """
        grid = self.known_grid()  # refused before the work
        weights = self.attention(X)
        return weights.reshape(*weights.shape[:3], *grid)


@register_encoder
class ProbeEncoder(_AttentiveProbe):
    """Encoding model that pools tokens by attention and reads all voxels from the one pooled vector.

    Pooling, a batch norm without weights, and a linear head, trained together (Psomas et al. 2025, arXiv
    2506.10178). With "mean" or "cls" it is the linear probe. Tokens are used as they are given: leave out a CLS token
    (``X[:, 1:]``) to attend to patches only, as published.

    Parameters
    ----------
    pooler : {"ep", "mean", "cls", "abmilp", "aim", "simpool", "multihead"} or subclass of Pooler
        - "ep": efficient probing, `n_queries` learned queries that attend to the tokens themselves, each with values
          of its own;
        - "mean", "cls": average token, first token. Whether the first token is a CLS token, only you know; places of
          a map are refused;
        - "abmilp": attention by a small network (Ilse et al. 2018);
        - "aim": multi-head cross-attention of a learned query behind a batch norm (El-Nouby et al. 2024);
        - "simpool": the average token asks (Psomas et al. 2023);
        - "multihead": multi-head cross-attention of a learned query.
    n_queries : int
        Queries of "ep"; it must divide n_channels / output_divisor.
    output_divisor : int
        The pooled vector has n_channels / output_divisor channels ("ep", "aim" and "multihead").
    n_heads : int
        Heads of "aim" and "multihead"; it must divide n_channels / output_divisor.
    training : Training, optional
        Settings of training. The published probes were trained by LARS on augmented images; here it is AdamW on
        stored features, as for every trained encoder.

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
    >>> tokens = rng.standard_normal((300, 9, 8)).astype(np.float32)
    >>> Y = tokens.mean(axis=1) @ rng.standard_normal((8, 4))
    >>> probe = ProbeEncoder("mean", training=Training(lr=0.01)).fit(tokens[:200], Y[:200])
    >>> probe.correlation(tokens[200:], Y[200:]) > 0.9
    array([ True,  True,  True,  True])
    """


@register_encoder
class ProbeClassifier(ClassifierMixin, _AttentiveProbe):
    """Classifier that pools tokens by attention: what a frozen network knows about labels (Psomas et al. 2025).

    Pooling, a batch norm without weights, and a linear head, trained together by cross-entropy; the epoch is chosen
    by accuracy on validation rows, which `fit` holds out.

    Parameters
    ----------
    pooler, n_queries, output_divisor, n_heads, training
        As in `ProbeEncoder`.

    Attributes
    ----------
    classes_ : ndarray (n_classes,)
        Labels, sorted.
    cv_scores_ : ndarray (1, n_classes)
        Share of each class that was right on the validation rows; NaN for classes without validation rows.
    members_, best_epoch_, history_, token_mean_, token_scale_, n_tokens_, n_channels_, grid_
        As in `TrainedEncoder`.
    """

    def fit(
        self,
        X: Any,
        y: Any,
        groups: Any = None,
        *,
        checkpoint: Checkpoint | None = None,
        progress: TrainingProgress | None = None,
    ) -> "ProbeClassifier":
        """Train all members.

        Parameters
        ----------
        X : TokenSource or array
            Tokens, as `as_token_source` takes them.
        y : array (n_samples,)
            Labels: text, whole numbers or booleans.
        groups, checkpoint, progress
            As in `TrainedEncoder.fit`.

        Raises
        ------
        ValueError, TypeError
            For labels that are no classes or all the same, and as `TrainedEncoder.fit`.
        """
        labels = column_or_1d(y)
        check_classification_targets(labels)
        classes, codes = np.unique(labels, return_inverse=True)
        if len(classes) < 2:
            raise ValueError(f"y holds one class only ({classes[0]!r}); at least 2 are needed")
        self.classes_ = np.array(classes.tolist())  # text in an array of text, not of objects
        self._fit_members(X, codes, len(classes), "cross_entropy", groups, checkpoint, progress)
        return self

    def predict(self, X: Any) -> NDArray:
        """Return the most probable label of each sample, (n_samples,)."""
        best = self._logits(X).argmax(axis=1)
        return self.classes_[best]

    def predict_proba(self, X: Any) -> NDArray[np.float64]:
        """Return the probability of each class, (n_samples, n_classes), in the order of `classes_`.

        With several members it is their geometric mean, normalised.
        """
        return softmax(self._logits(X).astype(np.float64), axis=1)

    def decision_function(self, X: Any) -> NDArray[np.float32]:
        """Return logits, averaged over members, (n_samples, n_classes).

        For two classes (n_samples,): the logit of the second less that of the first.
        """
        logits = self._logits(X)
        return logits[:, 1] - logits[:, 0] if logits.shape[1] == 2 else logits

    @property
    def correlation(self) -> Any:
        """Classes have no correlation with predictions."""
        raise AttributeError(
            "ProbeClassifier predicts classes, not responses: score(X, y) gives its accuracy"
        )

    def _logits(self, X: Any) -> NDArray[np.float32]:
        check_is_fitted(self)
        return self.average_over_members(X, lambda module, tokens, mask: module(tokens, mask))


def _attend(module: nn.Module, tokens: Tensor, mask: Tensor | None) -> Tensor:
    assert isinstance(module, Probe)
    return module.pooler.attention(tokens, mask)
