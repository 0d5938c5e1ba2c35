"""Features of several bands as one matrix, and which of its columns belong to which band."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Int64, Shaped
from scipy.sparse import issparse
from torch import Tensor

from encoders.solvers.checks import as_tensor
from stimuli.files import count_of, unknown_name_message


def join_bands(
    X: Any, bands: Any
) -> tuple[Shaped[Tensor, "n_samples n_features"], tuple[str, ...], Int64[np.ndarray, "n_features"]]:
    """Return one matrix of features, the names of the bands and the number of each column's band.

    Parameters
    ----------
    X : array-like (n_samples, n_features) or mapping of str to array-like (n_samples, n_features of the band)
    bands : None, or sequence
        Of a matrix: the widths of its bands, whole numbers that sum to the number of columns, or a label for each
        column, whose order of appearance is that of the bands. None is one band. Of a mapping: None.

    Raises
    ------
    TypeError, ValueError
        If a matrix does not hold real numbers, or bands do not fit.
    """
    if not isinstance(X, Mapping) or issparse(X):  # one kind of sparse matrix is a mapping
        features = as_tensor(X, "X")
        return features, *_bands_of_columns(bands, features.shape[1])
    if bands is not None:
        raise ValueError("bands is given, and X is a mapping, which has bands of its own: leave bands=None")
    if not X:
        raise ValueError("X is an empty mapping; give the features of at least one band")
    matrices = {str(name): as_tensor(values, f"X[{name!r}]") for name, values in X.items()}
    rows = {name: len(values) for name, values in matrices.items()}
    if len(set(rows.values())) > 1:
        raise ValueError(f"X has bands of {rows} rows; all must have one row a sample")
    widths = [values.shape[1] for values in matrices.values()]
    return torch.cat(list(matrices.values()), 1), tuple(matrices), np.repeat(np.arange(len(widths)), widths)


def join_known_bands(
    X: Any, names: Sequence[str], band_of: Int64[np.ndarray, "n_features"]
) -> Shaped[Tensor, "n_samples n_features"]:
    """Return new features as the matrix that was fitted.

    Parameters
    ----------
    X : array-like (n_samples, n_features) or mapping of band to array-like
    names, band_of
        As `join_bands` returned them.

    Raises
    ------
    ValueError
        If X has other bands, or other numbers of features.
    """
    if isinstance(X, Mapping) and not issparse(X):
        given, given_names, given_bands = join_bands(X, None)
        for name in given_names:
            if name not in names:
                raise ValueError(unknown_name_message("band", name, names))
        missing = [name for name in names if name not in given_names]
        if missing:
            raise ValueError(f"X lacks the bands {', '.join(missing)}; give every band that was fitted")
        columns = np.empty(len(band_of), dtype=np.int64)
        for number, name in enumerate(names):
            own, theirs = band_of == number, given_bands == given_names.index(name)
            if own.sum() != theirs.sum():
                raise ValueError(f"X[{name!r}] has {theirs.sum()} features, and had {own.sum()} in fit")
            columns[own] = np.flatnonzero(theirs)
        return given[:, torch.from_numpy(columns).to(given.device)]
    features = as_tensor(X, "X")
    if features.shape[1] != len(band_of):
        raise ValueError(
            f"X has {features.shape[1]} features, but BandedRidgeEncoder is expecting {len(band_of)} features as "
            "input, as in fit"
        )
    return features


def _bands_of_columns(bands: Any, n_features: int) -> tuple[tuple[str, ...], Int64[np.ndarray, "n_features"]]:
    if bands is None:
        return ("0",), np.zeros(n_features, dtype=np.int64)
    values = np.asarray(bands)
    if values.ndim != 1 or values.dtype.kind not in "iuUOS":
        raise ValueError(
            f"bands has shape {values.shape} and holds {values.dtype}; give the widths of the bands as whole numbers, "
            f"or a label for each of {count_of(n_features, 'feature')}"
        )
    widths = values.dtype.kind in "iu" and values.sum() == n_features
    if len(values) == n_features:
        if widths and n_features > 1:
            raise ValueError(
                f"bands holds {n_features} numbers that sum to {n_features}: they could be widths or labels. Give "
                "labels as text"
            )
        labels = [str(label) for label in values.tolist()]
        names = tuple(dict.fromkeys(labels))
        number = {name: position for position, name in enumerate(names)}
        return names, np.array([number[label] for label in labels], dtype=np.int64)
    if not widths:
        raise ValueError(
            f"bands has {len(values)} values, which are neither widths that sum to {n_features}, the number of "
            f"features, nor a label for each feature"
        )
    if (values < 1).any():
        raise ValueError(
            f"bands gives band {int((values < 1).argmax())} {int(values.min())} features; leave out bands without any"
        )
    return tuple(map(str, range(len(values)))), np.repeat(np.arange(len(values)), values)
