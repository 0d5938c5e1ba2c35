"""Ridge encoding model: from features to voxel responses, a penalty per voxel."""

from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, MultiOutputMixin, RegressorMixin
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from encoders.scores import correlation_score, r2_score
from encoders.solvers.checks import Folds, as_tensor, check_alphas, check_finite, working_dtype
from encoders.solvers.ridge import Score, Search, Solver, solve_ridge, solve_ridge_cv

# Penalties as multiples of the mean eigenvalue of X'X.
RELATIVE_ALPHAS = np.logspace(-4, 4, 17)
RELATIVE_ALPHAS.flags.writeable = False


class RidgeEncoder(MultiOutputMixin, RegressorMixin, BaseEstimator):
    """Linear encoding model with a ridge penalty per voxel, chosen by cross-validation inside `fit`.

    Parameters
    ----------
    alphas : None, float or array-like (n_alphas,)
        Penalties to choose from. None takes `RELATIVE_ALPHAS` times the mean of the eigenvalues of X'X (X centred)
        that can be other than null: the sum of squares of X over the smaller of its sides. The same shrinkage is
        then on offer whatever the unit, the number and the scale of the features. The grid reaches from next to
        none to what suits a voxel of which a ten-thousandth part can be explained. A single penalty is used as it
        is, without cross-validation.
    cv : int or list of (train, test)
        Inner folds, as in `solve_ridge_cv`.
    fit_intercept : bool
        Whether to centre features and responses inside each training fold.
    scale_features : bool
        Whether to divide each feature by its standard deviation over the samples given to `fit`; constant features
        are left as they are. The inner folds share this scale: it knows no responses, and no row that `fit` has
        not been given.
    solver : {"auto", "primal", "dual"}
        As in `solve_ridge_cv`.
    search : {"full", "interpolate"}
        As in `solve_ridge_cv`.
    cv_score : {"r2", "correlation"}
        Score by which the inner folds rank penalties, as `score` in `solve_ridge_cv`.
    device : str
        Torch device that the fit runs on. What was learnt is kept in NumPy arrays.
    dtype : {None, "float32", "float64"}
        Precision of the fit; None takes the wider of the inputs.
    target_chunk : int, optional
        Voxels fitted at once.

    Attributes
    ----------
    coef_ : ndarray (n_features, n_voxels)
        Weights for the features as given to `fit`, before scaling. Without the voxel dimension, like all that
        follows, where Y was a vector.
    intercept_ : ndarray (n_voxels,)
    alphas_ : ndarray (n_voxels,)
        Penalty of each voxel (on the scaled features where `scale_features`).
    alpha_grid_ : ndarray (n_alphas,)
        Penalties that were tried.
    cv_scores_ : ndarray (n_alphas, n_voxels) or None
        Mean held-out score of the inner folds; None where a single penalty was given.
    n_features_in_ : int

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> X = rng.standard_normal((100, 5))
    >>> Y = X @ rng.standard_normal((5, 3)) + rng.standard_normal((100, 3))
    >>> encoder = RidgeEncoder().fit(X[:80], Y[:80])
    >>> encoder.correlation(X[80:], Y[80:]) > 0.8
    array([ True,  True,  True])
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
        one_voxel = (Y if isinstance(Y, Tensor) else np.asarray(Y)).ndim == 1

        def keep(values: Any) -> np.ndarray:
            return np.asarray(values[..., 0] if one_voxel else values)

        self.coef_ = keep(coef.cpu().numpy())
        self.intercept_ = keep(solution.intercept_.cpu().numpy())
        self.alphas_ = keep(solution.alphas_.cpu().numpy())
        scores = solution.cv_scores_
        self.cv_scores_ = None if scores is None else keep(scores.cpu().numpy())
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
        """Return Pearson's r (n_voxels,) of measured and predicted responses; NaN where either is constant."""
        return correlation_score(np.asarray(Y), self.predict(X))


def _as_matrix(Y: Any) -> Any:
    if Y is None:
        raise ValueError("RidgeEncoder requires y to be passed, but the target y is None")
    values = Y if isinstance(Y, Tensor) else np.asarray(Y)
    return as_tensor(values.reshape(-1, 1) if values.ndim == 1 else values, "Y")


def _default_alphas(features: Any) -> np.ndarray:
    sum_squares = float(features.double().var(0, correction=0).sum()) * features.shape[0]
    return RELATIVE_ALPHAS * (sum_squares / min(features.shape) or 1.0)
