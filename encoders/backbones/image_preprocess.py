"""From pictures to a batch, with the arithmetic of torchvision's transforms on PIL images."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from stimuli.stimulus_set import StimulusSet

Interpolation = Literal["nearest", "bilinear", "bicubic", "lanczos", "box", "hamming"]

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class ImagePreprocess:
    """Resize, crop from the centre, bring to [0, 1], subtract a mean and divide by a standard deviation.

    8-bit images are resized by PIL in 8 bits, as torchvision and timm do; float images channel by channel in
    float32, kept within [0, 1].

    Parameters
    ----------
    resize
        An integer: the length of the short side in pixels, the aspect ratio is kept. A pair: rows and columns
        exactly. None: the image's own size.
    crop
        Rows and columns cut from the centre (an integer: a square), or None. Where the image is smaller, it
        is padded with `background`.
    interpolation
        PIL's filter for resizing.
    mean, std
        Per channel (red, green, blue) for values in [0, 1]: ``(x / 255 - mean) / std``.
    background
        Red, green and blue in [0, 1] of the padding.
    crop_rounding
        Where the crop starts when the margin is odd: ``"round"`` half to even (torchvision, timm) or
        ``"floor"`` (transformers).
    input_name
        The argument of the network's forward that takes the batch; None for the first one.
    """

    resize: int | tuple[int, int] | None = None
    crop: int | tuple[int, int] | None = None
    interpolation: Interpolation = "bilinear"
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD
    background: tuple[float, float, float] = (0.0, 0.0, 0.0)
    crop_rounding: Literal["round", "floor"] = "round"
    input_name: str | None = None
    modality: ClassVar[Literal["image"]] = "image"

    def __post_init__(self) -> None:
        for name in ("resize", "crop"):
            object.__setattr__(self, name, _check_size(name, getattr(self, name)))
        for name in ("mean", "std", "background"):
            values = tuple(float(value) for value in getattr(self, name))
            if len(values) != 3 or not np.isfinite(values).all() or (name == "std" and min(values) <= 0):
                kind = "three positive numbers" if name == "std" else "three finite numbers"
                raise ValueError(f"{name} must be {kind} (red, green, blue), got {getattr(self, name)!r}")
            object.__setattr__(self, name, values)
        for name, allowed in (
            ("interpolation", ("nearest", "bilinear", "bicubic", "lanczos", "box", "hamming")),
            ("crop_rounding", ("round", "floor")),
        ):
            if getattr(self, name) not in allowed:
                raise ValueError(f"{name} must be one of {', '.join(allowed)}, got {getattr(self, name)!r}")

    def __call__(self, stimuli: StimulusSet, indices: Sequence[int] | np.ndarray) -> dict[str, Tensor]:
        """Return ``{input_name: (n, 3, row, column) float32}`` for the stimuli at `indices`.

        Raises
        ------
        ValueError
            The set has no images, or images of different sizes stay different after resizing and cropping.
        """
        if not stimuli.has_images:
            raise ValueError(
                "this network takes images and the stimulus set has none: give StimulusSet(images=...)"
            )
        batch = [self.transform(stimuli.image(int(index))) for index in indices]
        shapes = {tuple(image.shape[1:]) for image in batch}
        if len(shapes) > 1:
            ids = [str(stimuli.stimulus_ids[int(i)]) for i in indices]
            first = next(k for k, image in enumerate(batch) if image.shape != batch[0].shape)
            raise ValueError(
                f"images of one batch must end in one size, got {ids[0]!r} {tuple(batch[0].shape[1:])} and "
                f"{ids[first]!r} {tuple(batch[first].shape[1:])} (row, column); set resize=(rows, columns)"
            )
        return {self.input_name or "x": torch.stack(batch)}

    def transform(self, image: np.ndarray) -> Tensor:
        """Return one image ``(row, column, 3)``, uint8 or float in [0, 1], as float32 (3, row, column)."""
        image = self._cropped(self._resized(image))
        values = torch.tensor(image).permute(2, 0, 1)
        values = values.float().div(255) if image.dtype == np.uint8 else values.float()
        mean, std = (torch.tensor(v, dtype=torch.float32).view(3, 1, 1) for v in (self.mean, self.std))
        return values.sub(mean).div(std).contiguous()

    def describe(self) -> dict[str, Any]:
        """Return all settings as JSON values; the network does not see the name of its argument."""
        settings = {key: list(v) if isinstance(v, tuple) else v for key, v in asdict(self).items()}
        del settings["input_name"]
        return {"kind": "image", **settings}

    def _resized(self, image: np.ndarray) -> np.ndarray:
        if self.resize is None:
            return image
        rows, columns = image.shape[:2]
        if isinstance(self.resize, tuple):
            new_rows, new_columns = self.resize
        elif columns <= rows:
            new_rows, new_columns = int(self.resize * rows / columns), self.resize
        else:
            new_rows, new_columns = self.resize, int(self.resize * columns / rows)
        if (rows, columns) == (new_rows, new_columns):
            return image
        size, method = (new_columns, new_rows), Image.Resampling[self.interpolation.upper()]
        if image.dtype == np.uint8:
            return np.asarray(Image.fromarray(image).resize(size, method))
        channels = [
            Image.fromarray(np.ascontiguousarray(c)).resize(size, method) for c in np.moveaxis(image, 2, 0)
        ]
        return np.clip(np.stack([np.asarray(c) for c in channels], axis=2), 0.0, 1.0)

    def _cropped(self, image: np.ndarray) -> np.ndarray:
        if self.crop is None:
            return image
        wanted = self.crop if isinstance(self.crop, tuple) else (self.crop, self.crop)
        missing = [max(size - have, 0) for size, have in zip(wanted, image.shape[:2], strict=True)]
        if any(missing):
            scale = 255 if image.dtype == np.uint8 else 1
            padded_size = [have + more for have, more in zip(image.shape[:2], missing, strict=True)]
            padded = np.empty((*padded_size, 3), image.dtype)
            padded[:] = np.round(np.multiply(self.background, scale)) if scale == 255 else self.background
            top, left = missing[0] // 2, missing[1] // 2
            padded[top : top + image.shape[0], left : left + image.shape[1]] = image
            image = padded
        halve = round if self.crop_rounding == "round" else int
        top, left = (halve((have - size) / 2) for size, have in zip(wanted, image.shape[:2], strict=True))
        return image[top : top + wanted[0], left : left + wanted[1]]


def _check_size(name: str, size: Any) -> int | tuple[int, int] | None:
    if size is None:
        return None
    sizes = tuple(size) if isinstance(size, tuple | list) else (size,)
    whole = all(isinstance(n, int | np.integer) and not isinstance(n, bool) and n > 0 for n in sizes)
    if not whole or (isinstance(size, tuple | list) and len(sizes) != 2):
        raise ValueError(f"{name} must be a positive integer, a pair (rows, columns) or None, got {size!r}")
    return int(size) if len(sizes) == 1 else (int(sizes[0]), int(sizes[1]))
