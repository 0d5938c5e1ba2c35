"""Ridge encoding model: from features to voxel responses, a penalty per voxel."""

import math
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, MultiOutputMixin, RegressorMixin, clone
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from encoders.scores import correlation_score, r2_score
from encoders.solvers.blocks import arrange_folds
from encoders.solvers.checks import Folds, as_tensor, check_alphas, check_finite, working_dtype
from encoders.solvers.folds import resolve_folds
from encoders.solvers.ridge import Score, Search, Solver, chunk_width, solve_ridge, solve_ridge_cv

# Penalties as multiples of the mean eigenvalue of X'X.
RELATIVE_ALPHAS = np.logspace(-4, 4, 17)
RELATIVE_ALPHAS.flags.writeable = False

# Voxels of a part, in sides of the smaller matrix: with some 1.3 a part takes as long as its decompositions.
VOXELS_PER_SIDE = 2


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
    voxel_chunk_ : int
        Voxels that were fitted, and are predicted, at once.
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
        features, responses = as_tensor(X, "X"), as_responses(Y)
        precision = working_dtype(features, responses, self.dtype)
        check_finite(features, "X")
        scale = None
        if self.scale_features:
            scale = features.to(precision).std(0, correction=0)
            scale[scale == 0] = 1
            features = features / scale
        grid = check_alphas(default_alphas(features) if self.alphas is None else self.alphas)
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
        self.voxel_chunk_ = solution.voxel_chunk
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
        return predict_in_chunks(features, self.coef_, self.intercept_, self.voxel_chunk_)

    def divide_voxels(
        self, X: Any, Y: Any, train: np.ndarray, groups: Any = None
    ) -> tuple["RidgeEncoder", list[slice]]:
        """Divide the voxels so that fits to the parts have, together, the bits of one fit to all.

        Rounding depends on how many voxels a product takes at once: parts are whole chunks, of the width that one fit
        would choose.

        Parameters
        ----------
        X : array-like (n_samples, n_features)
        Y : array-like (n_samples, n_voxels)
        train : ndarray of int (n_train,)
            Rows that will be fitted.
        groups : array-like (n_train,), optional
            As in `fit`, of these rows.

        Returns
        -------
        encoder : RidgeEncoder
            Unfitted; fit it to the parts instead of this one.
        parts : list of slice
            As many voxels each as it takes for a part to cost more than the decompositions that all parts repeat. A
            single penalty, which is mostly decomposition, is not divided.
        """
        n_samples, (n_features, n_voxels) = len(train), (X.shape[1], Y.shape[1])
        if self.alphas is not None and np.size(self.alphas) == 1:
            return self, [slice(0, n_voxels)]
        layouts = arrange_folds(n_samples, resolve_folds(n_samples, self.cv, groups))
        precision = working_dtype(as_tensor(X[:1], "X"), as_tensor(Y[:1], "Y"), self.dtype)
        width = self.target_chunk or chunk_width(n_samples, n_features, n_voxels, layouts, precision)
        n_chunks = math.ceil(n_voxels / width)
        n_parts = max(1, n_voxels // (VOXELS_PER_SIDE * min(n_samples, n_features)))
        step = width * math.ceil(n_chunks / min(n_parts, n_chunks))
        parts = [slice(start, min(start + step, n_voxels)) for start in range(0, n_voxels, step)]
        return clone(self).set_params(target_chunk=width), parts

    def score(self, X: Any, Y: Any) -> float:
        """Return R2 on new samples, averaged over voxels; constant voxels are left out."""
        return float(np.nanmean(r2_score(np.asarray(Y), self.predict(X))))

    def correlation(self, X: Any, Y: Any) -> np.ndarray:
        """Return Pearson's r (n_voxels,) of measured and predicted responses; NaN where either is constant."""
        return correlation_score(np.asarray(Y), self.predict(X))


def predict_in_chunks(
    features: Tensor, coef: np.ndarray, intercept: np.ndarray, voxel_chunk: int
) -> np.ndarray:
    """Return features @ coef + intercept, in the precision of `coef`, some voxels at a time."""
    rows = features.cpu().numpy().astype(coef.dtype, copy=False)
    if coef.ndim == 1:
        return rows @ coef + intercept
    predicted = np.empty((len(rows), coef.shape[1]), dtype=coef.dtype)
    for start in range(0, coef.shape[1], voxel_chunk):
        part = slice(start, start + voxel_chunk)
        # Contiguous: a product's bits may depend on how far apart the rows lie.
        predicted[:, part] = rows @ np.ascontiguousarray(coef[:, part]) + intercept[part]
    return predicted


def as_responses(Y: Any) -> Tensor:
    """Return responses as a matrix; a vector is one voxel."""
    if Y is None:
        raise ValueError("fit requires y to be passed, but the target y is None: give the responses")
    values = Y if isinstance(Y, Tensor) else np.asarray(Y)
    return as_tensor(values.reshape(-1, 1) if values.ndim == 1 else values, "Y")


def default_alphas(features: Tensor) -> np.ndarray:
    """Return `RELATIVE_ALPHAS` times the mean of the eigenvalues of X'X that can be other than null."""
    sum_squares = float(features.double().var(0, correction=0).sum()) * features.shape[0]
    return RELATIVE_ALPHAS * (sum_squares / min(features.shape) or 1.0)
