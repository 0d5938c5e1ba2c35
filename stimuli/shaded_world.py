"""A small world of bumps and dents under a light: pictures whose labels can only be told by who knows the light.

A height field is shaded by Lambert's law. A bump under light from above and a dent under light from below give the
same picture, pixel for pixel (`shade_heights`): whoever learns to tell them apart learns where the light is. As things
outside are more often convex than hollow, so are these (`bump_fraction`); with as many dents as bumps, worlds lit from
above and from below would hold the same pictures under exchanged labels.
"""

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.ndimage import gaussian_filter

from stimuli.files import unknown_name_message
from stimuli.stimulus_set import StimulusSet

LIGHTS: dict[str, float] = {"right": 0.0, "above": 90.0, "left": 180.0, "below": 270.0}
"""Directions to the light in the picture, in degrees counter-clockwise from the right."""
ANY_LIGHT = "any"

_CHUNK_IMAGES = 256
_TEXTURE_BLUR_PX = 1.5

SHAPES: dict[str, Callable[[NDArray[np.float32], NDArray[np.float32]], NDArray[Any]]] = {
    "dome": lambda u, v: 1 - (u**2 + v**2),
    "cone": lambda u, v: 1 - np.hypot(u, v),
    "ring": lambda u, v: 1 - ((np.hypot(u, v) - 0.6) / 0.4) ** 2,
    "ridge": lambda u, v: 1 - (u**2 + (v / 0.4) ** 2),
    "pyramid": lambda u, v: 1 - math.sqrt(2) * np.maximum(np.abs(u), np.abs(v)),
}
"""Height over the plane as a function of place in units of the radius; the plane begins where it falls to 0."""


@dataclass(frozen=True)
class ShadedWorld:
    """What a world looks like; `draw` gives pictures of it.

    Parameters
    ----------
    light : {"above", "below", "left", "right", "any"} or float
        Where the light comes from on average: a name, or degrees counter-clockwise from the right. "any": every
        direction is equally likely.
    light_spread_deg : float
        Standard deviation over pictures of the light's direction around `light` (normal); 0: it never moves.
    light_slant_deg : (float, float)
        Least and greatest angle between the light and the line of sight.
    bump_fraction : float
        Share of objects that are bumps; the others are dents.
    shapes : tuple of str
        Of `SHAPES`, all equally frequent.
    size_px : int
        Side of a picture.
    diameter_px : (float, float)
        Least and greatest diameter of an object, which lies whole in the picture. Uniform, like all ranges.
    depth : (float, float)
        Least and greatest height (or depth) of an object, in units of its radius.
    ambient : float
        Share of the light that comes from everywhere.
    albedo : (float, float)
        Least and greatest mean reflectance of the surface.
    texture_contrast : float
        Standard deviation of the reflectance over the surface, in units of its mean.

    Raises
    ------
    KeyError
        For unknown names; near matches are listed.
    TypeError, ValueError
        For settings of the wrong type or out of range; the message says what is allowed.

    Notes
    -----
    The spread, the share of bumps and the ranges are assumptions, not measurements of scenes.
    """

    light: str | float = "above"
    light_spread_deg: float = 25.0
    light_slant_deg: tuple[float, float] = (35.0, 65.0)
    bump_fraction: float = 0.8
    shapes: tuple[str, ...] = tuple(SHAPES)
    size_px: int = 64
    diameter_px: tuple[float, float] = (16.0, 48.0)
    depth: tuple[float, float] = (0.2, 0.6)
    ambient: float = 0.2
    albedo: tuple[float, float] = (0.5, 0.9)
    texture_contrast: float = 0.1

    def __post_init__(self) -> None:
        if isinstance(self.light, str) and self.light not in (*LIGHTS, ANY_LIGHT):
            hint = "a number is taken as degrees counter-clockwise from the right"
            raise KeyError(unknown_name_message("light", self.light, [*LIGHTS, ANY_LIGHT], hint))
        if not isinstance(self.light, str):
            _check_number("light", self.light, -math.inf, math.inf)
        if isinstance(self.shapes, str) or not self.shapes or len(set(self.shapes)) < len(self.shapes):
            raise ValueError(
                f"shapes is {self.shapes!r}; it must be a tuple of different names: {', '.join(SHAPES)}"
            )
        object.__setattr__(self, "shapes", tuple(self.shapes))
        for name in self.shapes:
            if name not in SHAPES:
                raise KeyError(unknown_name_message("shape", name, SHAPES))
        if isinstance(self.size_px, bool) or not isinstance(self.size_px, int | np.integer):
            raise TypeError(f"size_px is {self.size_px!r}; it must be a whole number of pixels")
        _check_number("size_px", self.size_px, 8, 4096)
        _check_number("light_spread_deg", self.light_spread_deg, 0, math.inf)
        for name, highest in (("bump_fraction", 1.0), ("ambient", 1.0), ("texture_contrast", 0.5)):
            _check_number(name, getattr(self, name), 0, highest)
        limits = {
            "light_slant_deg": (0, 90),
            "diameter_px": (4, self.size_px),
            "depth": (0, 2),
            "albedo": (0, 1),
        }
        for name, (low, high) in limits.items():
            values = getattr(self, name)
            if isinstance(values, str | int | float) or len(values) != 2:
                raise TypeError(f"{name} is {values!r}; it must be a pair (least, greatest)")
            for value in values:
                _check_number(name, value, low, high)
            if values[0] > values[1]:
                raise ValueError(f"{name} is {values!r}; the least must come first")
            object.__setattr__(self, name, (float(values[0]), float(values[1])))

    @property
    def light_deg(self) -> float | None:
        """Mean direction to the light, degrees counter-clockwise from the right; None for any direction."""
        if self.light == ANY_LIGHT:
            return None
        return LIGHTS[self.light] if isinstance(self.light, str) else float(self.light)

    def describe(self) -> dict[str, Any]:
        """Return all settings as JSON values."""
        return {key: list(v) if isinstance(v, tuple) else v for key, v in asdict(self).items()}

    def draw(self, n_images: int, seed: int = 0) -> StimulusSet:
        """Return pictures of single objects on a plane.

        Worlds that differ in their light alone give, under the same seed, the same objects in the same places.

        Parameters
        ----------
        n_images : int
        seed : int

        Returns
        -------
        StimulusSet
            Grey images (row, column), uint8. Attributes: `label` (``"bump dome"``, ...), `relief` ("bump", "dent"),
            `shape`, `light_deg`, `light_slant_deg`, `x_px`, `y_px` (centre), `diameter_px`, `turn_deg`, `depth` (in
            radii, positive for dents too) and `albedo`.

        Raises
        ------
        ValueError
            If `n_images` is less than 1.
        """
        if n_images < 1:
            raise ValueError(f"n_images is {n_images}; it must be at least 1")
        rng = np.random.default_rng(seed)
        objects = self._draw_objects(n_images, rng)
        images = np.empty((n_images, self.size_px, self.size_px), np.uint8)
        for start in range(0, n_images, _CHUNK_IMAGES):
            rows = slice(start, start + _CHUNK_IMAGES)
            images[rows] = self._picture({name: values[rows] for name, values in objects.items()}, rng)
        images.flags.writeable = False
        label = [
            f"{relief} {shape}" for relief, shape in zip(objects["relief"], objects["shape"], strict=True)
        ]
        ids = [f"{number:06d}" for number in range(n_images)]
        name = f"shaded world, light {self.light}, seed {seed}"
        return StimulusSet(ids, images=images, attributes={"label": label, **objects}, name=name)

    def _draw_objects(self, n: int, rng: np.random.Generator) -> dict[str, NDArray[Any]]:
        diameter = rng.uniform(*self.diameter_px, n)
        margin = diameter / 2
        turned = self.light_spread_deg * rng.standard_normal(n)
        anywhere = rng.uniform(0, 360, n)  # drawn in any case: the light shall change nothing else
        light = anywhere if self.light_deg is None else self.light_deg + turned
        return {
            "relief": np.where(rng.random(n) < self.bump_fraction, "bump", "dent"),
            "shape": np.array(self.shapes)[rng.integers(len(self.shapes), size=n)],
            "light_deg": light % 360,
            "light_slant_deg": rng.uniform(*self.light_slant_deg, n),
            "x_px": rng.uniform(margin, self.size_px - margin),
            "y_px": rng.uniform(margin, self.size_px - margin),
            "diameter_px": diameter,
            "turn_deg": rng.uniform(0, 360, n),
            "depth": rng.uniform(*self.depth, n),
            "albedo": rng.uniform(*self.albedo, n),
        }

    def _picture(self, objects: dict[str, NDArray[Any]], rng: np.random.Generator) -> NDArray[np.uint8]:
        signs = np.where(objects["relief"] == "bump", 1.0, -1.0)
        radius = objects["diameter_px"] / 2
        heights = object_heights(
            objects["shape"],
            objects["x_px"],
            objects["y_px"],
            radius,
            signs * objects["depth"] * radius,
            objects["turn_deg"],
            self.size_px,
        )
        shaded = shade_heights(heights, objects["light_deg"], objects["light_slant_deg"], self.ambient)
        grain = gaussian_filter(
            rng.standard_normal(shaded.shape, dtype=np.float32), (0, _TEXTURE_BLUR_PX, _TEXTURE_BLUR_PX)
        )
        grain /= grain.std(axis=(1, 2), keepdims=True)
        reflectance = objects["albedo"][:, None, None] * (1 + self.texture_contrast * grain)
        return np.rint(255 * np.clip(shaded * reflectance, 0, 1)).astype(np.uint8)


def object_heights(
    shapes: ArrayLike,
    x_px: ArrayLike,
    y_px: ArrayLike,
    radius_px: ArrayLike,
    height_px: ArrayLike,
    turn_deg: ArrayLike,
    size_px: int,
) -> NDArray[np.float32]:
    """Return height fields of objects on a plane, one a picture.

    Parameters
    ----------
    shapes : (n,) str
        Of `SHAPES`.
    x_px, y_px : (n,)
        Centres; the centre of the upper left pixel is (0.5, 0.5).
    radius_px, height_px : (n,)
        Radius, and height above the plane, negative for dents.
    turn_deg : (n,)
        By how much the object is turned, counter-clockwise.
    size_px : int
        Side of the picture.

    Returns
    -------
    (n, size_px, size_px) float32
        Height towards the observer in pixels; 0 on the plane.
    """
    names = np.asarray(shapes)
    centre = (np.arange(size_px, dtype=np.float32) + 0.5)[None]
    x, y, radius, height, turn = (
        np.asarray(values, dtype=np.float32)[:, None, None]
        for values in (x_px, y_px, radius_px, height_px, turn_deg)
    )
    right, up = centre[:, None, :] - x, y - centre[:, :, None]
    cosine, sine = np.cos(np.radians(turn)), np.sin(np.radians(turn))
    u, v = (cosine * right + sine * up) / radius, (cosine * up - sine * right) / radius
    profile = np.empty((len(names), size_px, size_px), np.float32)
    for name in np.unique(names):
        rows = names == name
        profile[rows] = SHAPES[str(name)](u[rows], v[rows])
    return height * np.maximum(profile, 0)


def shade_heights(
    heights: NDArray[Any], light_deg: ArrayLike, light_slant_deg: ArrayLike, ambient: float = 0.0
) -> NDArray[np.float32]:
    """Return how bright matt surfaces look under a distant light (Lambert's law), without cast shadows.

    Parameters
    ----------
    heights : (n, row, column)
        Height towards the observer, in pixels.
    light_deg : (n,) or float
        Direction to the light in the picture, degrees counter-clockwise from the right: 90 is above.
    light_slant_deg : (n,) or float
        Angle between the light and the line of sight, in degrees.
    ambient : float
        Share of the light that comes from everywhere.

    Returns
    -------
    (n, row, column) float32
        ``ambient + (1 - ambient) * max(0, normal . light)``, in [0, 1], for a reflectance of 1.

    Notes
    -----
    Turning the relief inside out turns the light around: ``shade_heights(h, t, s) == shade_heights(-h, t + 180, s)``.
    """
    down, right = np.gradient(np.asarray(heights, dtype=np.float32), axis=(1, 2))
    tilt, slant = (
        np.radians(np.broadcast_to(np.asarray(values, dtype=np.float64), len(heights)))[:, None, None]
        for values in (light_deg, light_slant_deg)
    )
    towards = [np.cos(tilt) * np.sin(slant), np.sin(tilt) * np.sin(slant), np.cos(slant)]
    to_right, to_above, to_observer = (part.astype(np.float32) for part in towards)
    # The surface normal is (-dz/dx, -dz/dy, 1) with y upwards, brought to length 1.
    facing = (to_observer - right * to_right + down * to_above) / np.sqrt(1 + right**2 + down**2)
    return (ambient + (1 - ambient) * np.maximum(facing, 0)).astype(np.float32)


def _check_number(name: str, value: Any, low: float, high: float) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float | np.integer | np.floating):
        raise TypeError(f"{name} is {value!r}; it must be a number")
    if not (math.isfinite(value) and low <= value <= high):
        limits = [f"at least {low:g}"] * (low > -math.inf) + [f"at most {high:g}"] * (high < math.inf)
        raise ValueError(f"{name} is {value!r}; it must be {' and '.join(limits) or 'finite'}")
