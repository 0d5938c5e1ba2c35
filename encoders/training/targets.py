"""What a network shall learn: responses or classes, and the rows it is trained and stopped by."""

from typing import Literal

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from encoders.training.batches import Positions
from stimuli.files import count_of, hash_array

Loss = Literal["mse", "cross_entropy"]


class Targets:
    """Responses (n_samples, n_voxels) or classes (n_samples,), scaled a batch at a time: no copy of all of them."""

    def __init__(
        self,
        Y: ArrayLike,
        loss: Loss,
        scaling: tuple[NDArray, NDArray] | None,
        n_samples: int,
        device: torch.device,
    ) -> None:
        self.classes = loss == "cross_entropy"
        self.device = device
        self.values = np.asarray(Y)
        self.scaling = None
        wanted = 1 if self.classes else 2
        if self.values.ndim != wanted or len(self.values) != n_samples:
            shape = f"({n_samples},)" if self.classes else f"({n_samples}, n_voxels)"
            raise ValueError(
                f"Y has shape {self.values.shape}; {shape} is needed, one row a row of the tokens"
            )
        if self.classes and (self.values.dtype.kind not in "iu" or self.values.min() < 0):
            raise ValueError("Y must hold classes as whole numbers from 0 for cross_entropy")
        if not self.classes:
            check_targets(self.values)
            if self.values.dtype.kind != "f" or not self.values.dtype.isnative:
                self.values = self.values.astype(
                    np.float32
                )  # torch reads neither wide unsigned nor foreign numbers
        if scaling is not None:
            self.scaling = tuple(
                torch.as_tensor(part, dtype=torch.float32, device=device) for part in scaling
            )

    def rows(self, rows: Positions) -> Tensor:
        """Return the targets of some rows on the device, float32 or int64."""
        values = torch.from_numpy(self.values[rows])
        if self.classes:
            return values.to(self.device, torch.int64)
        values = values.to(self.device, torch.float32)
        if self.scaling is not None:
            values = (values - self.scaling[0]).div_(self.scaling[1])
        return values

    @property
    def content_hash(self) -> str:
        """Hash of values and scaling."""
        scaling = (
            "" if self.scaling is None else "".join(hash_array(part.cpu().numpy()) for part in self.scaling)
        )
        return hash_array(self.values) + scaling


def check_targets(Y: NDArray) -> None:
    """Raise an error unless responses are finite real numbers."""
    if Y.dtype.kind not in "fiub":
        raise TypeError(f"Y holds {Y.dtype}; responses must be real numbers")
    if not np.isfinite(Y).all():
        bad = int((~np.isfinite(Y)).any(axis=0).sum())
        raise ValueError(
            f"Y is NaN or infinite in {bad} of {Y.shape[1]} voxels: leave these voxels out first"
        )


def check_rows(
    train: ArrayLike, held_out: ArrayLike, n_samples: int, n_needed: int
) -> tuple[Positions, Positions]:
    """Return the rows to train on and those to stop by, or refuse them; `n_needed` of the latter make a score."""
    checked = []
    for name, rows in (("train_rows", np.asarray(train)), ("validation_rows", np.asarray(held_out))):
        if rows.ndim != 1 or not rows.size or rows.dtype.kind not in "iu":
            raise ValueError(f"{name} must be a non-empty vector of row numbers")
        if rows.min() < 0 or rows.max() >= n_samples or len(np.unique(rows)) < len(rows):
            raise ValueError(f"{name} must name each of its rows once, from 0 to {n_samples - 1}")
        checked.append(rows.astype(np.intp))
    chosen, stops = checked
    shared = np.intersect1d(chosen, stops)
    if shared.size:
        raise ValueError(
            f"train_rows and validation_rows share {count_of(shared.size, 'row')} (first {shared[0]}): rows that "
            "choose the epoch must not be trained on"
        )
    if len(stops) < n_needed:
        raise ValueError(
            f"validation_rows has {count_of(len(stops), 'row')}; a correlation needs at least {n_needed}: hold "
            "out more (validation_fraction, n_members)"
        )
    return chosen, stops
