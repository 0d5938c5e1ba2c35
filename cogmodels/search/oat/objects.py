"""What a display gives to the network: its objects, the target, and where they are."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from encoders.solvers.checks import check_choice

if TYPE_CHECKING:
    from stimuli.search_displays import SearchDisplay

ObjectKind = Literal["features", "images"]
SMALLEST_CROP_PX = 29
"""Smaller crops leave nothing after the convolutions."""


@dataclass(frozen=True)
class DisplayTokens:
    """The objects of a display as the network takes them.

    Attributes
    ----------
    appearance : list of tensor
        Objects in order, then the target: (n_features,) float32, or crops (3, height, width) uint8.
    places : (n_objects, 3) int64 tensor
        Row, column, and number of the cell counted along the rows.
    start : (3,) int64 tensor
        The place where the gaze stands when the display comes.
    target : int
        The target's object; -1 where it is absent.
    """

    appearance: list[Tensor]
    places: Tensor
    start: Tensor
    target: int

    @property
    def n_objects(self) -> int:
        """Number of objects, without the target token."""
        return len(self.places)


def choose_kind(
    displays: Sequence["SearchDisplay"], objects: Literal["auto", "features", "images"]
) -> tuple[ObjectKind, int]:
    """Return what the objects of some displays look like to the network, and the length of recognition vectors.

    Parameters
    ----------
    displays : sequence of SearchDisplay
    objects : {"auto", "features", "images"}
        "auto" takes vectors where all displays have them, else images where all have them.

    Returns
    -------
    kind : {"features", "images"}
    n_features : int
        0 for images.

    Raises
    ------
    ValueError
        For an unknown word, displays without what is asked for, or vectors of several lengths.
    """
    check_choice("objects", objects, ("auto", "features", "images"))
    without_features = [display.display_id for display in displays if display.features is None]
    without_image = [display.display_id for display in displays if display.image is None]
    if objects == "images" or (objects == "auto" and without_features and not without_image):
        return "images", 0
    if without_features:
        shown = f" and {without_image[0]!r} no image" if without_image else ""
        raise ValueError(
            f"objects is {objects!r}, but display {without_features[0]!r} has no features{shown}: give all displays "
            "the one or the other"
        )
    widths = {display.features.shape[1] for display in displays if display.features is not None}
    if len(widths) > 1:
        raise ValueError(f"recognition vectors have {sorted(widths)} features; all must have one length")
    return "features", widths.pop()


def read_display(
    display: "SearchDisplay", kind: ObjectKind, n_features: int, crop_size_px: tuple[int, int] | None
) -> DisplayTokens:
    """Return the objects of a display as the network takes them.

    Parameters
    ----------
    display : SearchDisplay
        With ``row`` and ``column`` of its items.
    kind, n_features
        What the network was made for, as `choose_kind` returns it.
    crop_size_px : (width, height) or None
        Size to which crops are brought; None leaves them as they are.

    Raises
    ------
    ValueError
        For a display without grid or items, of another appearance than the network was made for, or whose target is
        neither shown nor among its items.
    """
    name = display.display_id
    items = display.items
    if not len(items) or display.grid_shape is None:
        raise ValueError(
            f"display {name!r} has {len(items)} items and grid_shape {display.grid_shape}; OAT reads objects in cells: "
            "give items with row and column (stimuli.search_displays: shelf, object_array)"
        )
    rows, columns = (items[side].to_numpy(dtype=np.int64) for side in ("row", "column"))
    n_columns = display.grid_shape[1]
    x, y = display.start_px or (display.width_px / 2, display.height_px / 2)
    start = (
        _nearest_line(items["y_px"].to_numpy(), rows, y),
        _nearest_line(items["x_px"].to_numpy(), columns, x),
    )
    appearance = _vectors(display, n_features) if kind == "features" else _crops(display, crop_size_px)
    return DisplayTokens(
        appearance=appearance,
        places=torch.from_numpy(np.column_stack([rows, columns, rows * n_columns + columns])),
        start=torch.tensor([*start, start[0] * n_columns + start[1]]),
        target=-1 if display.target_item is None else int(display.target_item),
    )


def _nearest_line(centres_px: np.ndarray, lines: np.ndarray, start_px: float) -> int:
    """Return the row or column whose items lie nearest; the later of two as near, as floor(n / 2) would be."""
    numbers = np.unique(lines)[::-1]
    apart = [abs(float(centres_px[lines == number].mean()) - start_px) for number in numbers]
    return int(numbers[np.argmin(np.round(apart, 6))])


def _vectors(display: "SearchDisplay", n_features: int) -> list[Tensor]:
    target = display.target_features
    if display.features is None or display.features.shape[1] != n_features:
        held = "no features" if display.features is None else f"{display.features.shape[1]} features"
        raise ValueError(f"display {display.display_id!r} has {held}; the model was made for {n_features}")
    if target is None and display.target_item is not None:
        target = display.features[display.target_item]
    if target is None:
        raise ValueError(f"display {display.display_id!r} does not say what is sought: give target_features")
    return list(torch.as_tensor(np.vstack([display.features, target]), dtype=torch.float32))


def _crops(display: "SearchDisplay", size_px: tuple[int, int] | None) -> list[Tensor]:
    if display.image is None:
        raise ValueError(f"display {display.display_id!r} has no image, which this model was made for")
    image = Image.fromarray(display.read_image())
    # The published target token is the crop of the target in the display; what the searcher was shown goes before it.
    boxes = [*display.boxes_px]
    crops = [image.crop((round(x), round(y), round(x + w), round(y + h))) for x, y, w, h in boxes]
    if display.target_image is not None:
        crops.append(Image.fromarray(display.read_target_image()))
    elif display.target_item is not None:
        crops.append(crops[display.target_item])
    else:
        raise ValueError(f"display {display.display_id!r} does not say what is sought: give target_image")
    if size_px is not None:
        crops = [crop.resize(size_px, Image.Resampling.BILINEAR) for crop in crops]
    smallest = min(min(crop.size) for crop in crops)
    if smallest < SMALLEST_CROP_PX:
        raise ValueError(
            f"display {display.display_id!r} has a crop of {smallest} px; at least {SMALLEST_CROP_PX} px are needed: "
            "set crop_size_px"
        )
    return [torch.from_numpy(np.array(crop)).permute(2, 0, 1).contiguous() for crop in crops]


class FeatureEmbedding(nn.Module):
    """A linear map of recognition vectors, for displays of which no image exists.

    Parameters
    ----------
    n_features, n_outputs : int
    """

    def __init__(self, n_features: int, n_outputs: int) -> None:
        super().__init__()
        self.linear = nn.Linear(n_features, n_outputs)

    def forward(self, appearance: Sequence[Tensor]) -> Tensor:
        """Return (n_objects, n_outputs) of as many vectors (n_features,)."""
        return self.linear(torch.stack(list(appearance)))

    def start(self) -> Tensor:
        """Return the appearance (n_outputs,) of the first decoder token: that of a vector of ones."""
        return self.linear(self.linear.weight.new_ones(self.linear.in_features))


class CropEmbedding(nn.Module):
    """The published network for image crops: two convolutions and a linear map.

    Parameters
    ----------
    n_outputs : int
    crop_size_px : (width, height) or None
        Size of all crops; may be None only with a pyramid.
    pyramid_levels : int, optional
        With p levels the last map is pooled by its maxima on grids of 1, 2, ..., 2 ** (p - 1) cells a side (spatial
        pyramid pooling, He et al. 2015), which suits crops of any size.

    Notes
    -----
    5 x 5 convolution to 16 channels, ReLU, maximum of 5 x 5; 3 x 3 convolution to 32 channels, ReLU, maximum of 3 x 3.
    A crop is scaled so that its smallest value is 0 and its largest 1.
    """

    def __init__(
        self,
        n_outputs: int,
        crop_size_px: tuple[int, int] | None = (93, 150),
        pyramid_levels: int | None = None,
    ) -> None:
        super().__init__()
        if crop_size_px is None and pyramid_levels is None:
            raise ValueError("crop_size_px is None: crops of any size need pyramid_levels, e.g. 3")
        width, height = self.crop_size_px = crop_size_px or (93, 150)
        if min(width, height) < SMALLEST_CROP_PX:
            raise ValueError(
                f"crop_size_px is {crop_size_px}; at least {SMALLEST_CROP_PX} px a side are needed"
            )
        self.convolutions = nn.Sequential(
            nn.Conv2d(3, 16, 5), nn.ReLU(), nn.MaxPool2d(5), nn.Conv2d(16, 32, 3), nn.ReLU(), nn.MaxPool2d(3)
        )
        if pyramid_levels is None:
            n_cells = (((height - 4) // 5 - 2) // 3) * (((width - 4) // 5 - 2) // 3)
            self.grids = nn.ModuleList([nn.Flatten()])
        else:
            if pyramid_levels < 1:
                raise ValueError(f"pyramid_levels is {pyramid_levels}; it must be at least 1, or None")
            sides = [2**level for level in range(pyramid_levels)]
            n_cells = sum(side**2 for side in sides)
            self.grids = nn.ModuleList(
                nn.Sequential(nn.AdaptiveMaxPool2d(side), nn.Flatten()) for side in sides
            )
        self.linear = nn.Linear(32 * n_cells, n_outputs)

    def forward(self, appearance: Sequence[Tensor]) -> Tensor:
        """Return (n_objects, n_outputs) of as many crops (3, height, width) uint8; crops of equal size go together."""
        by_size: dict[tuple[int, ...], list[int]] = {}
        for number, crop in enumerate(appearance):
            by_size.setdefault(tuple(crop.shape), []).append(number)
        parts = [
            self._embed(_min_max(torch.stack([appearance[i] for i in group]))) for group in by_size.values()
        ]
        order = torch.tensor([number for group in by_size.values() for number in group])
        return torch.cat(parts)[order.argsort()]

    def start(self) -> Tensor:
        """Return the appearance (n_outputs,) of the first decoder token: that of a crop of ones."""
        width, height = self.crop_size_px
        return self._embed(self.linear.weight.new_ones(1, 3, height, width))[0]

    def _embed(self, crops: Tensor) -> Tensor:
        maps = self.convolutions(crops)
        return self.linear(torch.cat([grid(maps) for grid in self.grids], dim=1))


def _min_max(crops: Tensor) -> Tensor:
    flat = crops.float().flatten(1)
    low, high = flat.amin(1, keepdim=True), flat.amax(1, keepdim=True)
    return ((flat - low) / (high - low).clamp(min=1)).view(crops.shape)
