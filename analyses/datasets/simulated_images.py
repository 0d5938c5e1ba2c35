"""Textured images made by code, and plain features of them with rows and columns."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

N_ORIENTATIONS = 4
WAVELENGTHS_PX = (6.0, 12.0)


def textured_images(n_images: int, side_px: int = 64, seed: int = 0) -> NDArray[np.uint8]:
    """Make grey pictures of clouds (1/f noise) with oriented patches in them.

    Parameters
    ----------
    n_images : int
        Number of pictures.
    side_px : int
        Side in pixels.
    seed : int
        Picture i depends on the seed and on i alone.

    Returns
    -------
    ndarray of uint8, shape (n_images, side_px, side_px)
    """
    return np.stack([_texture(side_px, np.random.default_rng([seed, i])) for i in range(n_images)])


def _texture(side_px: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    frequency = np.hypot(np.fft.fftfreq(side_px)[:, None], np.fft.fftfreq(side_px)[None, :])
    frequency[0, 0] = np.inf  # the mean is set below
    clouds = np.fft.ifft2(np.fft.fft2(rng.standard_normal((side_px, side_px))) / frequency).real
    picture = 0.12 * clouds / clouds.std()
    rows, columns = np.mgrid[:side_px, :side_px] / side_px
    for _ in range(6):
        row, column = rng.uniform(0, 1, size=2)
        angle, phase = rng.uniform(0, np.pi), rng.uniform(0, 2 * np.pi)
        cycles = side_px / rng.uniform(WAVELENGTHS_PX[0], WAVELENGTHS_PX[-1])
        along = (rows - row) * np.sin(angle) + (columns - column) * np.cos(angle)
        envelope = np.exp(-((rows - row) ** 2 + (columns - column) ** 2) / (2 * 0.12**2))
        picture += rng.uniform(0.15, 0.4) * envelope * np.cos(2 * np.pi * cycles * along + phase)
    return np.round(255 * np.clip(0.5 + picture, 0, 1)).astype(np.uint8)


def gabor_energy(images: NDArray[np.uint8], grid: int = 8) -> NDArray[np.float64]:
    """Give the energy of quadrature Gabor filters, averaged within the cells of a grid.

    Parameters
    ----------
    images : ndarray of shape (n_images, side, side)
        Grey pictures, 0 to 255.
    grid : int
        Cells along each side; has to divide the side.

    Returns
    -------
    ndarray of shape (n_images, 8, grid, grid)
        Channels are wavelengths (6, then 12 pixels) x orientations (0, 45, 90, 135 degrees), as in
        Adelson & Bergen (1985): the root of the summed squares of an even and an odd filter.
    """
    values = images / 255.0
    side = images.shape[-1]
    spectrum = np.fft.fft2(values - values.mean(axis=(1, 2), keepdims=True))
    energies = []
    for wavelength in WAVELENGTHS_PX:
        for orientation in range(N_ORIENTATIONS):
            # A one-sided Gaussian in frequency is an even and an odd filter in one complex number.
            transfer = _gabor_transfer(side, wavelength, np.pi * orientation / N_ORIENTATIONS)
            energies.append(_pool(np.abs(np.fft.ifft2(spectrum * transfer)), grid))
    return np.stack(energies, axis=1)


def pooled_brightness(images: NDArray[np.uint8], grid: int = 8) -> NDArray[np.float64]:
    """Give the mean brightness, 0 to 1, within the cells of a grid.

    Parameters
    ----------
    images : ndarray of shape (n_images, side, side)
        Grey pictures, 0 to 255.
    grid : int
        Cells along each side; has to divide the side.

    Returns
    -------
    ndarray of shape (n_images, 1, grid, grid)
    """
    return _pool(images / 255.0, grid)[:, None]


def _gabor_transfer(side: int, wavelength_px: float, angle: float) -> NDArray[np.float64]:
    rows, columns = np.fft.fftfreq(side)[:, None], np.fft.fftfreq(side)[None, :]
    peak = 1 / wavelength_px
    bandwidth = peak / 2.5
    distance = (rows - peak * np.sin(angle)) ** 2 + (columns - peak * np.cos(angle)) ** 2
    return np.exp(-distance / (2 * bandwidth**2))


def _pool(values: NDArray[np.float64], grid: int) -> NDArray[np.float64]:
    n, side, _ = values.shape
    return values.reshape(n, grid, side // grid, grid, side // grid).mean(axis=(2, 4))
