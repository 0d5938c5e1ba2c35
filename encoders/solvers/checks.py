"""What the ridge solvers accept, checked before any work starts."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from scipy.sparse import issparse

from stimuli.files import unknown_name_message

Folds = int | Sequence[tuple[Any, Any]]
IndexPairs = list[tuple[np.ndarray, np.ndarray]]


def as_tensor(array: Any, name: str) -> torch.Tensor:
    """Return a matrix as a tensor on the array's own device, without a copy where none is needed.

    Raises
    ------
    TypeError
        If the array is sparse or does not hold numbers.
    ValueError
        If it is complex, not a matrix, or has no rows or no columns.
    """
    if issparse(array):
        raise TypeError(f"{name} is a sparse matrix; sparse input is not supported, pass {name}.toarray()")
    tensor = array.detach() if isinstance(array, torch.Tensor) else _from_numpy(array, name)
    if tensor.is_complex():
        raise ValueError(f"{name} is {tensor.dtype}. Complex data not supported: pass real numbers")
    if tensor.ndim != 2:
        raise ValueError(
            f"{name} has shape {tuple(tensor.shape)}; it must be a matrix with one row a sample. Reshape your data "
            f"with {name}[:, None] if it is a single column, {name}[None] if it is a single sample"
        )
    for size, what in zip(tensor.shape, ("sample", "feature" if name == "X" else "voxel"), strict=True):
        if size == 0:
            raise ValueError(
                f"{name} has 0 {what}(s) (shape={tuple(tensor.shape)}) while a minimum of 1 is required."
            )
    return tensor


def _from_numpy(array: Any, name: str) -> torch.Tensor:
    values = np.asarray(array)
    if values.dtype == object:
        if values.ndim == 0:
            raise TypeError(f"{name} is {type(array).__name__}; it must be an array of real numbers")
        values = values.astype(np.float64)
    if values.dtype.kind not in "fiubc":
        raise TypeError(f"{name} holds {values.dtype}; it must hold real numbers (float32 or float64)")
    # torch has no long doubles, and computes little with wide unsigned integers.
    if values.dtype.kind == "f" and values.dtype.itemsize > 8:
        values = values.astype(np.float64)
    if values.dtype.kind == "u" and values.dtype.itemsize > 1:
        values = values.astype(np.int64)
    if not values.flags.writeable or not values.dtype.isnative or any(step < 0 for step in values.strides):
        values = values.astype(values.dtype.newbyteorder("="))  # torch reads no such arrays: a copy
    return torch.from_numpy(values)


def working_dtype(X: torch.Tensor, Y: torch.Tensor, dtype: Any = None) -> torch.dtype:
    """Choose float32 or float64: the wider of the two inputs unless `dtype` says otherwise."""
    allowed = {"float32": torch.float32, "float64": torch.float64}
    if dtype is not None:
        name = str(dtype).removeprefix("torch.") if isinstance(dtype, torch.dtype) else np.dtype(dtype).name
        if name not in allowed:
            raise ValueError(f"dtype is {name}; it must be float32 or float64")
        return allowed[name]
    floats = [t.dtype for t in (X, Y) if t.is_floating_point()]
    if not floats or torch.float64 in floats:
        return torch.float64
    return torch.float32


def check_finite(array: torch.Tensor, name: str) -> None:
    """Raise a ValueError that counts NaN and infinite entries and names the first ones.

    The sums of the columns are looked at first, because they are cheap and carry any NaN or infinity along.
    """
    if not array.is_floating_point() or bool(torch.isfinite(array.mean(0)).all()):
        return
    bad = ~torch.isfinite(array)
    count = int(bad.sum())
    if not count:  # sums of large finite numbers overflowed
        return
    first = [tuple(int(i) for i in index) for index in bad.nonzero()[:3]]
    columns = int(bad.any(0).sum())
    raise ValueError(
        f"{name} has {count} NaN or infinite entries in {columns} of {array.shape[1]} columns, the first at "
        f"(row, column) {', '.join(map(str, first))}; leave these rows or columns out, or fill them"
    )


def check_alphas(alphas: Any) -> np.ndarray:
    """Return penalties as a float64 vector; raise a ValueError unless all are positive and finite."""
    values = np.atleast_1d(np.asarray(alphas, dtype=np.float64))
    if values.ndim != 1 or values.size == 0:
        raise ValueError(f"alphas has shape {values.shape}; give one penalty or a vector of penalties")
    bad = ~(np.isfinite(values) & (values > 0))
    if bad.any():
        raise ValueError(
            f"alphas must be positive and finite; {int(bad.sum())} of {values.size} are not, the first is "
            f"{values[bad][0]}. For a nearly unpenalised fit take a penalty that is small beside the "
            "largest eigenvalue of X'X"
        )
    return values


def check_same_rows(X: torch.Tensor, Y: torch.Tensor) -> None:
    """Raise a ValueError unless X and Y have as many rows."""
    if X.shape[0] != Y.shape[0]:
        raise ValueError(f"X has {X.shape[0]} rows and Y has {Y.shape[0]}; both must have one row a sample")


def check_choice(name: str, value: Any, allowed: Sequence[str]) -> None:
    """Raise a ValueError unless the argument `name` is one of the `allowed` words."""
    if value not in allowed:
        raise ValueError(unknown_name_message(name, value, allowed))


def check_device(device: str | torch.device) -> torch.device:
    """Return the device; raise a ValueError if this machine does not offer it."""
    try:
        place = torch.device(device)
        torch.empty(1, device=place)
    except (RuntimeError, AssertionError) as error:
        raise ValueError(f'device {str(device)!r} is not to be had here ({error}); "cpu" always is') from None
    return place


def constant_columns(array: torch.Tensor) -> torch.Tensor:
    """Return which columns hold one value only, (n_columns,) bool.

    Three rows are looked at first: few columns agree there and have to be read in full.
    """
    constant = (array[0] == array[-1]) & (array[0] == array[len(array) // 2])
    candidates = constant.nonzero()[:, 0]
    constant[candidates] = (array[:, candidates] == array[0, candidates]).all(0)
    return constant
