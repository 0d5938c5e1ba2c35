"""Contrast energy of one Gabor wavelet, summed over all pixels as the textbook writes it."""

import numpy as np


def gabor_energy(
    image: np.ndarray,
    frequency_cpi: float,
    angle_rad: float,
    row: float,
    column: float,
    bandwidth_octaves: float,
) -> float:
    """Return the root of even squared plus odd squared, in units of a grating's amplitude.

    `image` is square luminance; `row` and `column` are the wavelet's centre in image widths.
    """
    size = len(image)
    y, x = (np.mgrid[:size, :size] + 0.5) / size
    ratio = 2**bandwidth_octaves
    sd = np.sqrt(np.log(2) / 2) / np.pi * (ratio + 1) / (ratio - 1) / frequency_cpi
    envelope = np.exp(-((x - column) ** 2 + (y - row) ** 2) / (2 * sd**2))
    envelope /= 2 * np.pi * sd**2 * size**2
    phase = 2 * np.pi * frequency_cpi * ((x - column) * np.cos(angle_rad) + (y - row) * np.sin(angle_rad))
    even, odd = ((image - image.mean()) * envelope * wave(phase) for wave in (np.cos, np.sin))
    return float(2 * np.hypot(even.sum(), odd.sum()))
