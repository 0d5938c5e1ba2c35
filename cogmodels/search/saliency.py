"""Graph-based visual saliency (Harel, Koch & Perona 2006, NIPS 19), in closed form.

Both chains of the paper walk on graphs whose edges weigh the same in both directions (the second one after each row
is scaled), so that their equilibrium is the share of weight that meets at a node: nothing is iterated.
"""

from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

# The longer side of the maps, and the width of the Gaussian of distance as a share of it: the paper says between a
# tenth and a fifth of the map's width.
MAP_SIZE = 32
DISTANCE_SHARE = 0.15
PYRAMID_LEVELS = (2, 3, 4)
ORIENTATIONS_DEG = (0, 45, 90, 135)
# Cycles per pixel of the Gabor filters at each level of the pyramid.
_GABOR_FREQUENCY = 0.25


def graph_saliency(image: np.ndarray) -> np.ndarray:
    """Return the bottom-up saliency of an image.

    Channels are intensity (the mean of R, G, B), colour (R - G and B - (R + G) / 2) and orientation (energy of Gabor
    filters at 0, 45, 90, 135 deg), at three levels of a Gaussian pyramid; maps are averaged within, and added across,
    channels. Nodes at the edges have fewer neighbours, so that the map favours the middle.

    Parameters
    ----------
    image : ndarray of uint8 (n_rows, n_columns, 3)

    Returns
    -------
    ndarray of float64 (n_map_rows, n_map_columns)
        The longer side is 32; sums to 1, or is 0 everywhere where nothing stands out from anything.
    """
    shape = map_shape(image.shape[0], image.shape[1])
    saliency = np.zeros(shape)
    for maps in _feature_maps(image, shape):
        saliency += np.mean([concentrate(activate(feature)) for feature in maps], axis=0)
    total = saliency.sum()
    return saliency / total if total > 0 else saliency


def map_shape(n_rows: int, n_columns: int) -> tuple[int, int]:
    """Return rows and columns of the saliency map of an image, at least two each."""
    scale = MAP_SIZE / max(n_rows, n_columns)
    return max(2, round(n_rows * scale)), max(2, round(n_columns * scale))


def activate(feature: np.ndarray) -> np.ndarray:
    """Return where a feature map is unlike its surround (section 3.1): the equilibrium of a Markov chain.

    From node i to node j leads an edge of weight ``|M(i) - M(j)| F(i, j)``, F a Gaussian of their distance. (The paper
    offers the difference beside the logarithm of the ratio; it is defined at 0.)

    Parameters
    ----------
    feature : ndarray (n_rows, n_columns)

    Returns
    -------
    ndarray (n_rows, n_columns)
        Sums to 1; 0 everywhere where the map is constant.
    """
    flat = feature.ravel()
    degree = np.einsum("ij,ij->i", np.abs(flat[:, None] - flat), _closeness(*feature.shape))
    total = degree.sum()
    # What is left of a constant map is rounding.
    if total <= 1e-9 * max(1.0, np.abs(flat).max()) * flat.size:
        return np.zeros(feature.shape)
    return (degree / total).reshape(feature.shape)


def concentrate(activation: np.ndarray) -> np.ndarray:
    """Return an activation map drawn together (section 3.2): edges from i to j weigh ``A(j) F(i, j)``.

    Returns
    -------
    ndarray (n_rows, n_columns)
        Sums to 1; 0 everywhere where `activation` is.
    """
    flat = activation.ravel()
    mass = flat * (_closeness(*activation.shape) @ flat)
    total = mass.sum()
    return (mass / total if total > 0 else mass).reshape(activation.shape)


@lru_cache(maxsize=4)
def _closeness(n_rows: int, n_columns: int) -> "NDArray[np.float64]":
    """Return F, the Gaussian of distance between all pairs of nodes, 1 from a node to itself."""
    rows, columns = np.divmod(np.arange(n_rows * n_columns), n_columns)
    squared = (rows[:, None] - rows) ** 2 + (columns[:, None] - columns) ** 2
    sigma = DISTANCE_SHARE * max(n_rows, n_columns)
    weights = np.exp(-squared / (2 * sigma**2))
    weights.flags.writeable = False
    return weights


def _feature_maps(image: np.ndarray, shape: tuple[int, int]) -> list[list[np.ndarray]]:
    """Return the maps of each channel, one list a channel, at the resolution of the saliency map."""
    from skimage.filters import gabor_kernel
    from skimage.transform import pyramid_gaussian, resize

    channels: list[list[np.ndarray]] = [[], [], []]
    kernels = [gabor_kernel(_GABOR_FREQUENCY, theta=np.deg2rad(angle)) for angle in ORIENTATIONS_DEG]
    levels = list(pyramid_gaussian(image / 255.0, max_layer=max(PYRAMID_LEVELS), channel_axis=-1))
    for level in PYRAMID_LEVELS:
        picture = levels[min(level, len(levels) - 1)]
        intensity = picture.mean(axis=2)
        red, green, blue = np.moveaxis(picture, 2, 0)
        channels[0].append(intensity)
        channels[1] += [red - green, blue - (red + green) / 2]
        channels[2] += [_energy(intensity, kernel) for kernel in kernels]
    return [[resize(one, shape, order=1, anti_aliasing=True) for one in maps] for maps in channels]


def _energy(intensity: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """Return the amplitude of a complex filter's answer; the kernel has no answer to a constant."""
    from scipy.signal import oaconvolve

    balanced = kernel - np.abs(kernel) * (kernel.sum() / np.abs(kernel).sum())
    half = np.array(kernel.shape) // 2
    padded = np.pad(intensity, [(size, size) for size in half], mode="edge")
    return np.abs(oaconvolve(padded, balanced, mode="valid"))
