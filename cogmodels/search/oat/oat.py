"""OAT: searches learnt from scanpaths, over objects instead of pixels."""

import os
from collections.abc import Sequence
from dataclasses import fields
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from cogmodels.search.oat.network import Head, NetworkSizes, OATNetwork, initialise
from cogmodels.search.oat.objects import (
    CropEmbedding,
    DisplayTokens,
    FeatureEmbedding,
    choose_kind,
    read_display,
)
from cogmodels.search.oat.positional_table import PositionalCode, Positions
from cogmodels.search.oat.rollouts import search_display
from cogmodels.search.oat.training import (
    PUBLISHED_TRAINING,
    Searches,
    StopBy,
    TrainingProgress,
    step_logits,
    train_network,
)
from cogmodels.search.oat.trials import fixated_objects, hold_out, share_no_trial
from cogmodels.search.observer import SearchModel, check_search, join_paths
from cogmodels.search.policy import SearchPath
from cogmodels.search.scanpaths import Scanpaths
from encoders.checkpoints import Checkpoint
from encoders.persistence import load_encoder, register_encoder, save_encoder
from encoders.solvers.checks import check_choice, check_device
from encoders.training.seeding import make_generator
from encoders.training.settings import Training, as_training
from encoders.training.state import load_module_arrays

if TYPE_CHECKING:
    from stimuli.search_displays import SearchDisplay, SearchDisplays


@register_encoder
class OAT(SearchModel, BaseEstimator):
    """Object-level attention transformer: learns from scanpaths which object is fixated next, and when to stop.

    An encoder reads the objects of a display and, as one token more, the target; a decoder reads the fixations so far.
    The next fixation is the object whose encoded token is most like the decoder's state. To point at the target's own
    token is to stop. Neither the objects nor their number need be known from training.

    Parameters
    ----------
    d_model, n_layers, n_heads, d_feedforward, n_pointer_heads, dropout
        As in `NetworkSizes`; the defaults are the published ones. `OAT.small` suits one CPU core.
    objects : {"auto", "features", "images"}
        What objects look like: the displays' recognition vectors, or crops of their images. "auto" takes vectors where
        all displays have them.
    crop_size_px : (width, height) or None
        Size of the crops; None, with `pyramid_levels`, leaves them as they are.
    pyramid_levels : int, optional
        Levels of spatial pyramid pooling, published 2 to 4; None flattens the last map.
    positions : {"distance", "sinusoid", "index", "none"}
        How an object's place is said, as in `PositionalCode`; the others are there to be compared with.
    max_grid : int
        Most rows, and most columns, of any display.
    sigma : float
        Standard deviation of the Gaussian likeness of places, in cells.
    head : {"pointer", "vocabulary"}
        "vocabulary" knows object numbers instead of objects, and displays of no more than in training.
    reveal_target_position : bool
        Whether the target's token says where the target is. The published code does so: the model is then told what
        it should search for. False hides it.
    mark_fixated_target : bool
        Whether the decoder is told that a fixated object is the target, as published. Recognition is then perfect, from
        the fixation on.
    stop_by : {"delta", "loss"}
        What the validation trials choose the epoch by: Delta of rollouts, as published, or their cross-entropy.
    n_validation_rollouts : int
        Rollouts of each validation display, an epoch.
    training : Training, optional
        Rate, schedule, batches, epochs, clipping, patience, decay, `validation_fraction`, seed and device; other
        settings do not apply. None takes `PUBLISHED_TRAINING`.
    name : str
        What the observer is called in its scanpaths.

    Attributes
    ----------
    weights_ : dict of str to array
        Of the best epoch.
    history_ : dict of str to (n_epochs,) array
        ``train_loss``, ``validation_loss`` (nats a step), ``validation_score`` (less Delta, or less the loss), ``lr``.
    best_epoch_ : int
        From 0.
    max_length_ : int
        Fixations of the longest training trial: no search is longer.
    objects_ : str
        "features" or "images".
    n_features_ : int
        Of a recognition vector; 0 for images.
    vocabulary_size_ : int
        Objects of the largest training display.

    Notes
    -----
    The gaze starts in the cell nearest to the display's `start_px`; on a full grid and with the gaze in the centre that
    is cell (n_rows // 2, n_columns // 2), as published. Trials in which the gaze never moved are left out, and a
    fixation beside all objects counts for the nearest one.

    References
    ----------
    Fang, Yu, Zhang, van der Lans & Shi (2024), Oat: object-level attention transformer for gaze scanpath prediction,
    ECCV.
    """

    def __init__(
        self,
        d_model: int = 512,
        n_layers: int = 4,
        n_heads: int = 4,
        d_feedforward: int = 512,
        n_pointer_heads: int = 2,
        dropout: float = 0.1,
        objects: Literal["auto", "features", "images"] = "auto",
        crop_size_px: tuple[int, int] | None = (93, 150),
        pyramid_levels: int | None = None,
        positions: Positions = "distance",
        max_grid: int = 14,
        sigma: float = 2.0,
        head: Head = "pointer",
        reveal_target_position: bool = False,
        mark_fixated_target: bool = True,
        stop_by: StopBy = "delta",
        n_validation_rollouts: int = 10,
        training: Training | None = None,
        name: str = "OAT",
    ) -> None:
        self.d_model = d_model
        self.n_layers = n_layers
        self.n_heads = n_heads
        self.d_feedforward = d_feedforward
        self.n_pointer_heads = n_pointer_heads
        self.dropout = dropout
        self.objects = objects
        self.crop_size_px = crop_size_px
        self.pyramid_levels = pyramid_levels
        self.positions = positions
        self.max_grid = max_grid
        self.sigma = sigma
        self.head = head
        self.reveal_target_position = reveal_target_position
        self.mark_fixated_target = mark_fixated_target
        self.stop_by = stop_by
        self.n_validation_rollouts = n_validation_rollouts
        self.training = training
        self.name = name

    @classmethod
    def small(cls, **others: Any) -> "OAT":
        """Return an OAT that trains on one CPU core in minutes: 2 layers of 64, at a rate of 1e-3.

        Parameters
        ----------
        **others
            Any parameters, which go before.
        """
        training = Training(
            lr=1e-3, weight_decay=0.0, batch_size=20, n_epochs=60, clip_norm=1.0, patience_epochs=15
        )
        sizes: dict[str, Any] = {"d_model": 64, "n_layers": 2, "d_feedforward": 128, "training": training}
        return cls(**(sizes | others))

    def fit(
        self,
        scanpaths: Scanpaths,
        displays: "SearchDisplays",
        *,
        validation: "tuple[Scanpaths, SearchDisplays] | None" = None,
        checkpoint: Checkpoint | None = None,
        progress: TrainingProgress | None = None,
    ) -> "OAT":
        """Learn from trials, and stop by others.

        Parameters
        ----------
        scanpaths : Scanpaths
            Of people, or of any model.
        displays : SearchDisplays
            That were seen; others are left aside.
        validation : (Scanpaths, SearchDisplays), optional
            Trials that choose the epoch. None holds out all trials on `training.validation_fraction` of the displays.
        checkpoint : Checkpoint, optional
            A training with the same data and settings goes on from what lies there and ends in the same bits.
        progress : callable, optional
            Called after each epoch with epochs done, epochs at most, and how it went.

        Returns
        -------
        OAT
            Itself, fitted.

        Raises
        ------
        KeyError
            If a display that was seen is not among `displays`.
        ValueError
            For displays that are no grid or have no appearance, trials that are in both parts, and settings out of
            range.
        """
        settings = self._training()
        check_choice("stop_by", self.stop_by, ("delta", "loss"))
        check_device(settings.device)
        if self.n_validation_rollouts < 1:
            raise ValueError(f"n_validation_rollouts is {self.n_validation_rollouts}; at least 1 is needed")
        if validation is None:
            parts = hold_out(scanpaths, settings.validation_fraction, settings.seed)
            trained, validation = parts[0], (parts[1], displays)
        else:
            trained = scanpaths
            share_no_trial(scanpaths, validation[0])
        seen = [*displays.select(trained.displays), *validation[1].select(validation[0].displays)]
        self.objects_, self.n_features_ = choose_kind(seen, self.objects)
        self.vocabulary_size_ = max(len(display.items) for display in seen)
        train, held_out = self._read(trained, displays), self._read(*validation)
        self.max_length_ = max(map(len, train.sequences))
        network = self._build()
        initialise(network, make_generator(settings.seed, 0))
        result = train_network(
            network.to(settings.device),
            train,
            held_out,
            settings,
            stop_by=self.stop_by,
            n_validation_rollouts=self.n_validation_rollouts,
            checkpoint=checkpoint,
            progress=progress,
        )
        self.weights_, self.history_, self.best_epoch_ = result.state, result.history, result.best_epoch
        return self

    def search(
        self,
        displays: "SearchDisplays | Sequence[SearchDisplay]",
        *,
        n_rollouts: int = 1,
        seed: int = 0,
        progress: bool = False,
        sample: bool | None = None,
    ) -> Scanpaths:
        """Search displays, of this layout or another; see `SearchModel.search`.

        Parameters
        ----------
        displays : SearchDisplays
        n_rollouts : int
            Published: 1 ("single"), which always takes the likeliest step, or 100 ("multi"), which are drawn.
        seed : int
        progress : bool
        sample : bool, optional
            Whether steps are drawn from the probabilities; None draws where there are several rollouts.

        Returns
        -------
        Scanpaths
            Fixations at the centres of objects. The last one is `found` where it is on the target.

        Raises
        ------
        sklearn.exceptions.NotFittedError
            Before `fit`.
        ValueError
            For displays that are no grid, or look otherwise than in training, and without displays or rollouts.
        """
        check_is_fitted(self)
        check_search(displays, n_rollouts, seed)
        network, drawn = self._trained(), n_rollouts > 1 if sample is None else sample
        paths: dict[tuple[int, str], SearchPath] = {}
        shown = track(
            displays,
            f"{self.name} searches",
            console=Console(stderr=True),
            total=len(displays),
            disable=not progress,
        )
        for display in shown:
            found = search_display(
                network, display, self._tokens(display), self.max_length_, n_rollouts, seed if drawn else None
            )
            paths |= {(rollout, display.display_id): path for rollout, path in enumerate(found)}
        return join_paths(self.name, paths, n_rollouts)

    def step_probabilities(
        self, scanpaths: Scanpaths, displays: "SearchDisplays"
    ) -> list[NDArray[np.float64]]:
        """Return how likely every next step was in the model's eyes, given the true steps before it.

        Parameters
        ----------
        scanpaths : Scanpaths
        displays : SearchDisplays

        Returns
        -------
        list of (n_fixations + 1, n_objects + 1) arrays
            One a trial; the last column, and after all fixations the last step, is to stop. Trials in which the gaze
            never moved are left out.

        Raises
        ------
        sklearn.exceptions.NotFittedError, KeyError, ValueError
            As `search` and `fit`.
        """
        check_is_fitted(self)
        searches, network = self._read(scanpaths, displays), self._trained()
        network.eval()
        steps = []
        with torch.inference_mode():
            for trial in range(len(searches.sequences)):
                logits, _ = step_logits(network, searches, np.array([trial]))
                steps.append(logits[0].double().softmax(dim=-1).cpu().numpy())
        return steps

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write the fitted model into a folder of its own: weights as safetensors, settings as JSON.

        Raises
        ------
        FileExistsError, ValueError
            As `encoders.persistence.save_encoder`.
        """
        save_encoder(self, folder)

    @classmethod
    def load(cls, folder: str | os.PathLike[str]) -> "OAT":
        """Read what `save` wrote; it searches to the bit as what was saved.

        Raises
        ------
        FileNotFoundError, KeyError, ValueError
            As `encoders.persistence.load_encoder`; also where the folder holds something else.
        """
        model = load_encoder(folder)
        if not isinstance(model, cls):
            raise ValueError(
                f"{os.fspath(folder)} holds a {type(model).__name__}, not an OAT: load_encoder reads it"
            )
        try:
            model._trained()
        except (RuntimeError, AttributeError, TypeError) as error:
            raise ValueError(f"{os.fspath(folder)} holds no sound OAT ({error}): save it again") from error
        return model

    def _training(self) -> Training:
        return PUBLISHED_TRAINING if self.training is None else as_training(self.training)

    def _tokens(self, display: "SearchDisplay") -> DisplayTokens:
        return read_display(display, self.objects_, self.n_features_, self.crop_size_px)

    def _read(self, scanpaths: Scanpaths, displays: "SearchDisplays") -> Searches:
        shown = displays.select(scanpaths.displays)
        sequences, owner = fixated_objects(scanpaths, shown)
        return Searches([self._tokens(display) for display in shown], sequences, owner)

    def _build(self) -> OATNetwork:
        sizes = NetworkSizes(**{field.name: getattr(self, field.name) for field in fields(NetworkSizes)})
        half = sizes.d_model // 2
        # Modules draw first weights, all overwritten, from the generator of the whole process: leave it as it was.
        with torch.random.fork_rng(devices=[]):
            return OATNetwork(
                FeatureEmbedding(self.n_features_, half)
                if self.objects_ == "features"
                else CropEmbedding(half, self.crop_size_px, self.pyramid_levels),
                PositionalCode(self.positions, half, self.max_grid, self.sigma),
                sizes,
                self.head,
                self.vocabulary_size_,
                self.reveal_target_position,
                self.mark_fixated_target,
            )

    def _trained(self) -> OATNetwork:
        network = self._build()
        load_module_arrays(network, self.weights_)
        return network.to(self._training().device)
