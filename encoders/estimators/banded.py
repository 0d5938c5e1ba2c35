"""Banded ridge encoding model: several feature spaces, a penalty per band and voxel."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, MultiOutputMixin, RegressorMixin
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from encoders.estimators.band_features import join_bands, join_known_bands
from encoders.estimators.ridge import as_responses, default_alphas
from encoders.persistence import register_encoder
from encoders.scores import correlation_score, r2_score
from encoders.solvers.banded import PenaltySearch, Search, solve_banded_ridge_cv
from encoders.solvers.checks import Folds, check_alphas, check_finite, working_dtype
from encoders.solvers.ridge import Score, Solver


@register_encoder
class BandedRidgeEncoder(MultiOutputMixin, RegressorMixin, BaseEstimator):
    """Linear encoding model with a ridge penalty per band of features and voxel, chosen inside `fit`.

    A voxel gives a feature space that says nothing about it a large penalty, and one that does a small one, whatever
    their sizes (Nunez-Elizalde, Huth & Gallant 2019, NeuroImage 197; Dupré la Tour et al. 2022, NeuroImage 264).

    Parameters
    ----------
    bands : None or sequence
        Of a matrix X: the widths of its bands as whole numbers, or a label for each column. None is one band, which is
        `RidgeEncoder`; None also where X is a mapping.
    alphas : None, float or array-like (n_alphas,)
        Overall penalties to choose from. None takes those of `RidgeEncoder`: multiples of the mean eigenvalue of X'X.
    n_draws : int
        Random weights of the bands to try; the first are equal ones.
    concentration : float or sequence of float
        Concentrations of the Dirichlet distributions that weights are drawn from, in turn: 1 is uniform, small ones
        give most of the weight to one band.
    search : {"random", "gradient"}
        "gradient" goes on from each voxel's best draw by descent on its inner held-out error. Few draws will then do.
    cv : int or list of (train, test)
        Inner folds, as in `solve_ridge_cv`.
    scale_features : bool
        Whether to divide each feature by its standard deviation over the samples given to `fit`; constant features
        are left as they are. Equal weights then mean equal penalties on features of equal variance.
    seed : int
        Of the draws.
    device : str
        Torch device that the fit runs on. What was learnt is kept in NumPy arrays.
    dtype : {None, "float32", "float64"}
        Precision of the fit; None takes the wider of the inputs.
    gammas : array-like (n_draws, n_bands), optional
        Weights to try instead of random ones.
    corners : bool
        Whether to add the draws that give one band all the weight.
    penalty_search : {"interpolate", "full"}
        How overall penalties are scored: `search` in `solve_ridge_cv`.
    cv_score : {"r2", "correlation"}
        Score by which the inner folds choose; a gradient search needs "r2".
    fit_intercept : bool
        Whether to centre features and responses inside each training fold.
    solver : {"auto", "primal", "dual"}
        As in `solve_ridge_cv`.
    target_chunk : int, optional
        Voxels fitted at once.

    Attributes
    ----------
    coef_ : ndarray (n_features, n_voxels)
        Weights for the features as given to `fit`, before scaling, bands of a mapping one after the other. Without
        the voxel dimension, like all that follows, where Y was a vector.
    intercept_ : ndarray (n_voxels,)
    alphas_ : ndarray (n_bands, n_voxels)
        Penalty of each band and voxel (on the scaled features where `scale_features`); infinite for a band to which
        the chosen draw gives no weight.
    overall_alphas_ : ndarray (n_voxels,)
        Overall penalty of each voxel, one of `alpha_grid_`; where a gradient search went on from it, the alpha for
        which the weights alpha / alpha_b of the bands sum to 1.
    alpha_grid_ : ndarray (n_alphas,)
        Overall penalties that were tried; each is divided by the weights of a draw.
    cv_scores_ : ndarray (n_draws, n_voxels) or (n_draws + 1, n_voxels)
        Mean held-out score of each draw at its best overall penalty; after a gradient search a last row with the
        score that it ended with.
    gammas_ : ndarray (n_draws, n_bands)
        Weights that were tried.
    band_names_ : tuple of str
    band_of_ : ndarray (n_features,)
        Number of the band of each feature.
    n_features_in_ : int

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> X = {"pixels": rng.standard_normal((100, 30)), "words": rng.standard_normal((100, 5))}
    >>> Y = X["words"] @ rng.standard_normal((5, 3)) + rng.standard_normal((100, 3))
    >>> encoder = BandedRidgeEncoder(n_draws=10).fit(X, Y)
    >>> pixels, words = encoder.alphas_
    >>> pixels > words
    array([ True,  True,  True])
    """

    def __init__(
        self,
        bands: Sequence[Any] | None = None,
        alphas: Any = None,
        n_draws: int = 20,
        concentration: float | Sequence[float] = (0.1, 1.0),
        search: Search = "random",
        cv: Folds = 5,
        scale_features: bool = False,
        seed: int = 0,
        device: str = "cpu",
        dtype: Any = None,
        gammas: Any = None,
        corners: bool = False,
        penalty_search: PenaltySearch = "interpolate",
        cv_score: Score = "r2",
        fit_intercept: bool = True,
        solver: Solver = "auto",
        target_chunk: int | None = None,
    ) -> None:
        self.bands = bands
        self.alphas = alphas
        self.n_draws = n_draws
        self.concentration = concentration
        self.search = search
        self.cv = cv
        self.scale_features = scale_features
        self.seed = seed
        self.device = device
        self.dtype = dtype
        self.gammas = gammas
        self.corners = corners
        self.penalty_search = penalty_search
        self.cv_score = cv_score
        self.fit_intercept = fit_intercept
        self.solver = solver
        self.target_chunk = target_chunk

    def fit(self, X: Any, Y: Any, groups: Any = None) -> "BandedRidgeEncoder":
        """Choose penalties for each voxel by the inner folds and fit all samples.

        Parameters
        ----------
        X : array-like (n_samples, n_features), or mapping of band to array-like (n_samples, n_features of the band)
            Features: NumPy arrays, tensors or xarray.DataArrays.
        Y : array-like (n_samples, n_voxels) or (n_samples,)
            Responses.
        groups : array-like (n_samples,), optional
            Run, or repeated stimulus, of each sample; the inner folds keep groups whole.

        Returns
        -------
        BandedRidgeEncoder
            Itself, fitted.

        Raises
        ------
        ValueError, TypeError
            As `solve_banded_ridge_cv`, or if `bands` does not fit X.
        """
        features, names, band_of = join_bands(X, self.bands)
        responses = as_responses(Y)
        precision = working_dtype(features, responses, self.dtype)
        check_finite(features, "X")
        scale = None
        if self.scale_features:
            scale = features.to(precision).std(0, correction=0)
            scale[scale == 0] = 1
            features = features / scale
        grid = check_alphas(default_alphas(features) if self.alphas is None else self.alphas)
        solution = solve_banded_ridge_cv(
            features,
            responses,
            band_of,
            grid,
            self.cv,
            groups=groups,
            gammas=self.gammas,
            n_draws=self.n_draws,
            concentration=self.concentration,
            corners=self.corners,
            search=self.search,
            penalty_search=self.penalty_search,
            score=self.cv_score,
            fit_intercept=self.fit_intercept,
            solver=self.solver,
            seed=self.seed,
            device=self.device,
            dtype=precision,
            target_chunk=self.target_chunk,
        )
        one_voxel = (Y if isinstance(Y, Tensor) else np.asarray(Y)).ndim == 1

        def keep(values: Tensor) -> np.ndarray:
            return np.asarray((values[..., 0] if one_voxel else values).cpu().numpy())

        coef = solution.coef_
        self.coef_ = keep(coef if scale is None else coef / scale.to(coef.device)[:, None])
        self.intercept_ = keep(solution.intercept_)
        self.alphas_ = keep(solution.alphas_)
        self.overall_alphas_ = keep(solution.overall_alphas_)
        self.cv_scores_ = keep(solution.cv_scores_)
        self.alpha_grid_ = grid
        self.gammas_ = solution.gammas_.cpu().numpy()
        self.band_names_ = names
        self.band_of_ = band_of
        self.n_features_in_ = features.shape[1]
        return self

    def predict(self, X: Any) -> np.ndarray:
        """Return predicted responses (n_samples, n_voxels), or (n_samples,) where Y was a vector.

        Raises
        ------
        sklearn.exceptions.NotFittedError
            Before `fit`.
        ValueError
            If X has other bands or features than in `fit`, or holds NaN or infinite entries.
        """
        return self._features(X) @ self.coef_ + self.intercept_

    def predict_bands(self, X: Any) -> np.ndarray:
        """Return what each band contributes, (n_bands, n_samples, n_voxels), or (n_bands, n_samples).

        The sum over bands is `predict` less the intercept. Bands are in the order of `band_names_`.

        Raises
        ------
        sklearn.exceptions.NotFittedError, ValueError
            As `predict`.
        """
        features = self._features(X)
        columns = [self.band_of_ == band for band in range(len(self.band_names_))]
        return np.stack([features[:, own] @ self.coef_[own] for own in columns])

    def _features(self, X: Any) -> np.ndarray:
        check_is_fitted(self)
        features = join_known_bands(X, self.band_names_, self.band_of_)
        check_finite(features, "X")
        return features.cpu().numpy().astype(self.coef_.dtype, copy=False)

    def score(self, X: Any, Y: Any) -> float:
        """Return R2 on new samples, averaged over voxels; constant voxels are left out."""
        return float(np.nanmean(r2_score(np.asarray(Y), self.predict(X))))

    def correlation(self, X: Any, Y: Any) -> np.ndarray:
        """Return Pearson's r (n_voxels,) of measured and predicted responses; NaN where either is constant."""
        return correlation_score(np.asarray(Y), self.predict(X))
