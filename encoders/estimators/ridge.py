"""Ridge encoding model: from features to voxel responses, a penalty per voxel."""

from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, MultiOutputMixin, RegressorMixin
from sklearn.utils.validation import check_is_fitted

from encoders.scores import correlation_score, r2_score
from encoders.solvers.checks import Folds, as_tensor, check_alphas, check_finite, working_dtype
from encoders.solvers.ridge import Score, Search, Solver, solve_ridge, solve_ridge_cv

# Penalties as multiples of the mean squared norm of a centred sample.
RELATIVE_ALPHAS = np.logspace(-4, 4, 17)
RELATIVE_ALPHAS.flags.writeable = False


class RidgeEncoder(MultiOutputMixin, RegressorMixin, BaseEstimator):
    """Linear encoding model with a ridge penalty per voxel, chosen by cross-validation inside `fit`.

    Parameters
    ----------
    alphas : None, float or array-like (n_alphas,)
        Penalties to choose from. None takes `RELATIVE_ALPHAS` times n_samples times the mean variance of a feature
        times n_features / min(n_samples, n_features), which is the mean of the eigenvalues of X'X that are not null:
        the same shrinkage is then on offer whatever the unit and the number of the features. A single penalty is used
        as it is, without cross-validation.
    cv : int or list of (train, test)
        Inner folds, as in `solve_ridge_cv`.
    fit_intercept : bool
        Whether to centre features and responses inside each training fold.
    scale_features : bool
        Whether to divide each feature by its standard deviation over the samples given to `fit`; constant features
        are left as they are. The inner folds share the scale, which holds no responses.
    solver : {"auto", "primal", "dual"}
    search : {"full", "interpolate"}
    cv_score : {"r2", "correlation"}
        What the inner folds compare penalties by.
    device : str
        Torch device that the fit runs on. What was learnt is kept in NumPy arrays.
    dtype : {None, "float32", "float64"}
        Precision of the fit; None takes the wider of the inputs.
    target_chunk : int, optional
        Voxels fitted at once.

    Attributes
    ----------
    coef_ : ndarray (n_features, n_voxels)
        Weights for the features as given to `fit`, before scaling.
    intercept_ : ndarray (n_voxels,)
    alphas_ : ndarray (n_voxels,)
        Penalty of each voxel (for scaled features where `scale_features`).
    alpha_grid_ : ndarray (n_alphas,)
        Penalties that were tried.
    cv_scores_ : ndarray (n_alphas, n_voxels) or None
        Mean held-out score of the inner folds; None where a single penalty was given.
    n_features_in_ : int
    """

    def __init__(
        self,
        alphas: Any = None,
        cv: Folds = 5,
        fit_intercept: bool = True,
        scale_features: bool = False,
        solver: Solver = "auto",
        search: Search = "full",
        cv_score: Score = "r2",
        device: str = "cpu",
        dtype: Any = None,
        target_chunk: int | None = None,
    ) -> None:
        self.alphas = alphas
        self.cv = cv
        self.fit_intercept = fit_intercept
        self.scale_features = scale_features
        self.solver = solver
        self.search = search
        self.cv_score = cv_score
        self.device = device
        self.dtype = dtype
        self.target_chunk = target_chunk

    def fit(self, X: Any, Y: Any, groups: Any = None) -> "RidgeEncoder":
        """Choose a penalty for each voxel by the inner folds and fit all samples.

        Parameters
        ----------
        X : array-like (n_samples, n_features)
            Features: NumPy array, tensor or xarray.DataArray.
        Y : array-like (n_samples, n_voxels) or (n_samples,)
            Responses.
        groups : array-like (n_samples,), optional
            Run, or repeated stimulus, of each sample; the inner folds keep groups whole.

        Returns
        -------
        RidgeEncoder
            Itself, fitted.

        Raises
        ------
        ValueError, TypeError
            As `solve_ridge_cv`.
        """
        features, responses = as_tensor(X, "X"), _as_matrix(Y)
        precision = working_dtype(features, responses, self.dtype)
        check_finite(features, "X")
        scale = None
        if self.scale_features:
            scale = features.to(precision).std(0, correction=0)
            scale[scale == 0] = 1
            features = features / scale
        grid = check_alphas(_default_alphas(features) if self.alphas is None else self.alphas)
        common: dict[str, Any] = {
            "fit_intercept": self.fit_intercept,
            "solver": self.solver,
            "device": self.device,
            "dtype": precision,
            "target_chunk": self.target_chunk,
        }
        if grid.size == 1:
            solution = solve_ridge(features, responses, grid, **common)
        else:
            solution = solve_ridge_cv(
                features,
                responses,
                grid,
                self.cv,
                groups=groups,
                search=self.search,
                score=self.cv_score,
                **common,
            )
        coef = solution.coef_ if scale is None else solution.coef_ / scale.to(solution.coef_.device)[:, None]
        squeeze = (lambda a: a[..., 0]) if np.ndim(Y) == 1 else (lambda a: a)
        self.coef_ = squeeze(coef.cpu().numpy())
        self.intercept_ = squeeze(solution.intercept_.cpu().numpy())
        self.alphas_ = squeeze(solution.alphas_.cpu().numpy())
        scores = solution.cv_scores_
        self.cv_scores_ = None if scores is None else squeeze(scores.cpu().numpy())
        self.alpha_grid_ = grid
        self.n_features_in_ = features.shape[1]
        return self

    def predict(self, X: Any) -> np.ndarray:
        """Return predicted responses (n_samples, n_voxels), or (n_samples,) where Y was a vector.

        Raises
        ------
        sklearn.exceptions.NotFittedError
            Before `fit`.
        ValueError
            If X has other features than in `fit`, or holds NaN or infinite entries.
        """
        check_is_fitted(self)
        features = as_tensor(X, "X")
        if features.shape[1] != self.n_features_in_:
            raise ValueError(
                f"X has {features.shape[1]} features, but RidgeEncoder is expecting {self.n_features_in_} "
                "features as input, as in fit"
            )
        check_finite(features, "X")
        return features.cpu().numpy().astype(self.coef_.dtype, copy=False) @ self.coef_ + self.intercept_

    def score(self, X: Any, Y: Any) -> float:
        """Return R2 on new samples, averaged over voxels; constant voxels are left out."""
        return float(np.nanmean(r2_score(np.asarray(Y), self.predict(X))))

    def correlation(self, X: Any, Y: Any) -> np.ndarray:
        """Return the Pearson correlation (n_voxels,) of measured and predicted responses; NaN where constant."""
        return correlation_score(np.asarray(Y), self.predict(X))


def _as_matrix(Y: Any) -> Any:
    values = Y if hasattr(Y, "ndim") else np.asarray(Y)
    return as_tensor(values.reshape(-1, 1) if values.ndim == 1 else values, "Y")


def _default_alphas(features: Any) -> np.ndarray:
    variance = float(features.double().var(0, correction=0).sum())
    n_samples, n_features = features.shape
    return RELATIVE_ALPHAS * (n_samples * variance / min(n_samples, n_features) or 1.0)
