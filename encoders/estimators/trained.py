"""What trained encoders share: validation rows, scaling, members, prediction in batches."""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted
from torch import Tensor, nn

from encoders.checkpoints import Checkpoint
from encoders.parameters import describe_parameters
from encoders.scores import correlation_score, r2_score
from encoders.solvers.checks import check_device
from encoders.tokens import TokenSource, as_token_source, scale_channels
from encoders.training.evaluation import precision_context, stored_batches
from encoders.training.loop import TrainingProgress, train
from encoders.training.seeding import make_generator
from encoders.training.settings import Training, as_training
from encoders.training.splits import member_folds
from encoders.training.state import load_module_arrays
from encoders.training.statistics import target_moments, token_moments
from encoders.training.targets import Loss, check_targets

_INIT = 0  # stream of the seed for initial weights


class TrainedEncoder(BaseEstimator, ABC):
    """Base of encoding models that are networks on tokens, trained by gradient.

    A subclass has a parameter `training` (`Training` or None) and gives `make_module`. Its `__init__` only keeps its
    parameters.

    Attributes
    ----------
    members_ : list of dict of str to ndarray
        Weights and buffers of each member's network.
    cv_scores_ : ndarray (1, n_voxels)
        Pearson's r on the validation rows in the epoch that they chose, averaged over members; NaN for a voxel that
        is constant there. The choice of the epoch makes it slightly optimistic.
    best_epoch_ : ndarray (n_members,)
        Counted from 0.
    history_ : list of dict of str to ndarray (n_epochs_done,)
        Of each member: ``train_loss``, ``validation_loss``, ``validation_score``, ``lr``.
    token_mean_, token_scale_ : ndarray (n_members, n_channels)
        What brings channels to mean 0 and standard deviation 1 over each member's training rows; 0 and 1 without
        `scale_tokens`.
    y_mean_, y_scale_ : ndarray (n_members, n_voxels)
        Likewise of voxels. A voxel that is constant in the training rows has scale 0: it is predicted as constant.
    n_tokens_, n_channels_ : int
    grid_ : tuple (n_rows, n_columns) or None
    """

    training: Training | None

    @abstractmethod
    def make_module(
        self,
        n_tokens: int,
        n_channels: int,
        grid: tuple[int, int] | None,
        n_outputs: int,
        generator: torch.Generator,
    ) -> nn.Module:
        """Return a new network with weights drawn from the generator.

        Called as ``module(tokens (b, n_tokens, n_channels), mask (b, n_tokens) bool or None) -> (b, n_outputs)``,
        with mask True at tokens and zeros where there is none. Refuses with a ValueError what does not fit.
        """

    def fit(
        self,
        X: Any,
        Y: Any,
        groups: Any = None,
        *,
        checkpoint: Checkpoint | None = None,
        progress: TrainingProgress | None = None,
    ) -> "TrainedEncoder":
        """Train all members.

        Parameters
        ----------
        X : TokenSource or array
            Tokens, as `as_token_source` takes them; features on disk are read in bounded memory.
        Y : array (n_samples, n_voxels) or (n_samples,)
            Responses.
        groups : array (n_samples,), optional
            Run, or repeated stimulus, of each sample: validation rows are whole groups.
        checkpoint : Checkpoint, optional
            Where the state after each epoch is kept; an interrupted fit goes on from there.
        progress : callable, optional
            Called with (epochs done, epochs at most, text) after each epoch.

        Returns
        -------
        TrainedEncoder
            Itself, fitted.

        Raises
        ------
        ValueError, TypeError
            For tokens, responses, groups or parameters that do not fit, before training starts.
        FloatingPointError
            If training diverges.
        """
        responses = np.asarray(Y)
        one_voxel = responses.ndim == 1
        if one_voxel:
            responses = responses[:, None]
        if responses.ndim != 2 or not responses.size:
            raise ValueError(f"Y has shape {responses.shape}; (n_samples, n_voxels) is needed")
        check_targets(responses)
        self._fit_members(X, responses, responses.shape[1], "mse", groups, checkpoint, progress)
        self.one_voxel_ = one_voxel
        return self

    def predict(self, X: Any) -> NDArray[np.float32]:
        """Return predicted responses (n_samples, n_voxels), averaged over members; (n_samples,) where Y was a vector.

        Raises
        ------
        sklearn.exceptions.NotFittedError
            Before `fit`.
        ValueError
            If tokens or channels are other than in `fit`.
        """
        predicted = self.average_over_members(
            X, lambda module, tokens, mask: module(tokens, mask), rescale=True
        )
        return predicted[:, 0] if self.one_voxel_ else predicted

    def score(self, X: Any, Y: Any) -> float:
        """Return R2 on new samples, averaged over voxels; constant voxels are left out."""
        return float(np.nanmean(r2_score(np.asarray(Y), self.predict(X))))

    def correlation(self, X: Any, Y: Any) -> NDArray[np.float64]:
        """Return Pearson's r (n_voxels,) of measured and predicted responses; NaN where either is constant."""
        return correlation_score(np.asarray(Y), self.predict(X))

    def modules(self) -> list[nn.Module]:
        """Return the fitted networks, one a member, in eval mode on the device of `training`.

        They take scaled tokens, ``(tokens - token_mean_[m]) / token_scale_[m]``, and give scaled responses.
        """
        check_is_fitted(self, "members_")
        training = as_training(self.training)
        modules = []
        for arrays in self.members_:
            module = self._new_module(training.seed)
            load_module_arrays(module, arrays)
            modules.append(module.to(check_device(training.device)).eval())
        return modules

    def average_over_members(
        self, X: Any, function: Callable[[nn.Module, Tensor, Tensor | None], Tensor], *, rescale: bool = False
    ) -> NDArray[np.float32]:
        """Return ``function(module, tokens, mask)`` for all rows, averaged over members; X is read once, in batches.

        Parameters
        ----------
        X : TokenSource or array
        function : callable
            Takes a member's network, scaled tokens (b, n_tokens, n_channels) and mask (b, n_tokens) or None, and
            returns a tensor whose first axis is b.
        rescale : bool
            Whether what it returns are responses, to be brought back to the units of Y.

        Returns
        -------
        (n_samples, ...) float32 array
        """
        modules = self.modules()
        source = self._check_tokens(X)
        training = as_training(self.training)
        device = torch.device(training.device)

        def on_device(array: NDArray) -> Tensor:
            return torch.from_numpy(np.asarray(array, dtype=np.float32)).to(device)

        back = list(zip(on_device(self.y_mean_), on_device(self.y_scale_), strict=True)) if rescale else None
        out: NDArray[np.float32] | None = None
        with torch.inference_mode():
            for rows, tokens, mask in stored_batches(source, training):
                total: Tensor | None = None
                for member, module in enumerate(modules):
                    scaled = tokens
                    if training.scale_tokens:
                        scaled = scale_channels(tokens, self.token_mean_[member], self.token_scale_[member])
                    if mask is not None:
                        scaled = scaled.masked_fill(~mask[:, :, None], 0.0)
                    with precision_context(training):
                        value = function(module, scaled, mask)
                    value = value.float()
                    if back is not None:
                        value = value * back[member][1] + back[member][0]
                    total = value if total is None else total + value
                assert total is not None
                answer = (total / len(modules)).cpu().numpy()
                if out is None:
                    out = np.empty((len(source), *answer.shape[1:]), dtype=np.float32)
                out[rows] = answer
        assert out is not None
        return out

    def known_grid(self) -> tuple[int, int]:
        """Return how the tokens given to `fit` lie in the image, (n_rows, n_columns).

        Raises
        ------
        sklearn.exceptions.NotFittedError
            Before `fit`.
        ValueError
            If it is unknown.
        """
        check_is_fitted(self)
        if self.grid_ is None:
            raise ValueError(
                "it is unknown how these tokens lie in the image: fit maps (n_samples, n_channels, n_rows, n_columns), "
                "or as_token_source(X, grid=(n_rows, n_columns)) without a CLS token"
            )
        return self.grid_

    def _fit_members(
        self,
        X: Any,
        targets: NDArray,
        n_outputs: int,
        loss: Loss,
        groups: Any,
        checkpoint: Checkpoint | None,
        progress: TrainingProgress | None,
    ) -> None:
        training = as_training(self.training)
        check_device(training.device)
        source = as_token_source(X)
        if len(targets) != len(source):
            raise ValueError(
                f"X has {len(source)} rows and Y has {len(targets)}; both must have one row a sample"
            )
        folds = member_folds(len(source), groups, training)
        _, self.n_tokens_, self.n_channels_ = source.shape
        self.grid_ = source.grid
        self.n_outputs_ = n_outputs
        self._new_module(training.seed)  # parameters that do not fit are refused before anything is read
        self._learn_scales(source, targets, [rows for rows, _ in folds], loss)
        results = []
        name = f"{type(self).__name__}/{describe_parameters(self)}"
        key = f"{type(self).__name__}/{hashlib.sha256(name.encode()).hexdigest()}"
        for member, (train_rows, validation_rows) in enumerate(folds):
            own = replace(training, seed=_member_seed(training.seed, member))
            scaled = source
            if training.scale_tokens:
                scaled = source.scaled(self.token_mean_[member], self.token_scale_[member])
            y_scale = self.y_scale_[member]
            result = train(
                self._new_module(own.seed),
                scaled,
                targets,
                train_rows,
                validation_rows,
                own,
                loss=loss,
                target_scaling=(self.y_mean_[member], np.where(y_scale == 0, np.float32(1), y_scale)),
                checkpoint=checkpoint,
                checkpoint_key=f"{key}/member{member}",
                progress=_name_member(progress, member, len(folds)),
            )
            results.append(result)
        self.members_ = [result.state for result in results]
        self.history_ = [result.history for result in results]
        self.best_epoch_ = np.array([result.best_epoch for result in results])
        self.cv_scores_ = _mean_known(np.array([result.validation_scores for result in results]))[None]

    def _learn_scales(
        self, source: TokenSource, targets: NDArray, train_rows: list[NDArray[np.intp]], loss: Loss
    ) -> None:
        training = as_training(self.training)
        shape = (len(train_rows), self.n_channels_)
        self.token_mean_, self.token_scale_ = np.zeros(shape, np.float32), np.ones(shape, np.float32)
        if training.scale_tokens:
            of_tokens = token_moments(source, train_rows)
            self.token_mean_[:] = [part.mean for part in of_tokens]
            self.token_scale_[:] = [np.where(part.std == 0, 1, part.std) for part in of_tokens]
        else:
            source.check()
        shape = (len(train_rows), self.n_outputs_)
        self.y_mean_, self.y_scale_ = np.zeros(shape, np.float32), np.ones(shape, np.float32)
        if loss != "mse":
            return
        for member, part in enumerate(target_moments(targets, train_rows)):
            constant = part.std == 0
            self.y_mean_[member] = np.where(constant | training.scale_targets, part.mean, 0)
            self.y_scale_[member] = np.where(constant, 0, part.std if training.scale_targets else 1)

    def _new_module(self, seed: int) -> nn.Module:
        generator = make_generator(seed, _INIT)
        return self.make_module(self.n_tokens_, self.n_channels_, self.grid_, self.n_outputs_, generator)

    def _check_tokens(self, X: Any) -> TokenSource:
        source = as_token_source(X)
        if source.shape[1:] != (self.n_tokens_, self.n_channels_):
            raise ValueError(
                f"X has {source.shape[1]} tokens of {source.shape[2]} channels; {type(self).__name__} was fitted on "
                f"{self.n_tokens_} of {self.n_channels_}"
            )
        return source


def _member_seed(seed: int, member: int) -> int:
    """Return the seed of a member: that of the encoder for the first, others far from it."""
    return seed if member == 0 else int(np.random.SeedSequence([seed, member]).generate_state(1)[0])


def _name_member(progress: TrainingProgress | None, member: int, n_members: int) -> TrainingProgress | None:
    if progress is None or n_members == 1:
        return progress
    return lambda done, total, text: progress(done, total, f"member {member + 1} of {n_members}: {text}")


def _mean_known(scores: NDArray) -> NDArray:
    """Return the mean over rows, (n_voxels,), of what is not NaN; NaN where nothing is known."""
    known = ~np.isnan(scores)
    total = np.where(known, scores, 0.0).sum(axis=0)
    return np.where(known.any(axis=0), total / np.maximum(known.sum(axis=0), 1), np.nan)
