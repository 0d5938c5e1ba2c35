"""eccNET written down in float64, place after place (Gupta et al. 2021)."""

import numpy as np


def average_pool_same(maps, size, stride):
    """Average (n_channels, n, n) over windows with "same" padding; what lies off the map is left out."""
    n_channels, n, _ = maps.shape
    n_out = -(-n // stride)
    before = max((n_out - 1) * stride + size - n, 0) // 2
    out = np.empty((n_channels, n_out, n_out))
    for i in range(n_out):
        for j in range(n_out):
            top, left = i * stride - before, j * stride - before
            window = maps[:, max(top, 0) : top + size, max(left, 0) : left + size]
            out[:, i, j] = window.mean((1, 2))
    return out


def ring_masks(n_out, deg2px, slope, fovea_deg=4, smallest=2):
    """Return (window, mask) of the fovea and of each ring, radii in places of a result of stride 2."""
    places = np.arange(n_out) - n_out // 2
    distance = np.hypot(places[:, None], places[None, :])
    radius, ring = round(fovea_deg * deg2px / 2), round(deg2px / 2)
    if radius > n_out / 2:
        return [(smallest, np.ones((n_out, n_out), bool))]
    masks = [(smallest, distance < radius)]
    while True:
        inner, radius = radius, radius + ring
        window = smallest + round(slope * (2 * radius - fovea_deg * deg2px))
        last = radius >= n_out / 2
        masks.append((window, (distance >= inner) & (last | (distance < radius))))
        if last:
            return masks


def eccentricity_pool(maps, deg2px, slope):
    """Sum the masked averages over all rings; `maps` (n_channels, n, n)."""
    masks = ring_masks(-(-maps.shape[1] // 2), deg2px, slope)
    assert (sum(mask.astype(int) for _, mask in masks) == 1).all()
    return sum(mask * average_pool_same(maps, window, 2) for window, mask in masks)


def modulate(features, kernel):
    """Convolve (n_channels, n, m) with a kernel (n_channels, k, l), zeros around, "same" padding."""
    n_rows, n_columns = features.shape[1:]
    out = np.zeros((n_rows, n_columns))
    for i, j in np.ndindex(n_rows, n_columns):
        for a, b in np.ndindex(*kernel.shape[1:]):
            row, column = i + a - (kernel.shape[1] - 1) // 2, j + b - (kernel.shape[2] - 1) // 2
            if 0 <= row < n_rows and 0 <= column < n_columns:
                out[i, j] += features[:, row, column] @ kernel[:, a, b]
    return out


def combine(maps):
    """Weigh maps, brought to [0, 1], by their highest value."""
    total = sum((m - m.min()) / (m.max() - m.min()) * m.max() for m in maps)
    return total / sum(m.max() for m in maps)


def gaussian(size, sd):
    """Return a Gaussian window (size, size); standard deviation 0 is 1, 2, 1."""
    line = (
        np.array([1.0, 2.0, 1.0]) if sd == 0 else np.exp(-((np.arange(size) - size // 2) ** 2) / (2 * sd**2))
    )
    return np.outer(line, line) / line.sum() ** 2


def sharpen(m, narrow, wide, n_repeats=3):
    """Add the difference between two blurred copies; the map is mirrored at its first and last places."""
    for _ in range(n_repeats):
        blurred = []
        for size, sd in (narrow, wide):
            half, window = size // 2, gaussian(size, sd)
            padded, copy = np.pad(m, half, mode="reflect"), np.empty_like(m)
            for i, j in np.ndindex(*m.shape):
                copy[i, j] = (padded[i : i + size, j : j + size] * window).sum()
            blurred.append(copy)
        m = m + blurred[0] - blurred[1]
    return m


def over_pixels(m, n_px, first_px, cell_px, n_points=64):
    """Let each pixel take the cells at many points along its rows and columns; cells go on beyond the map's edges."""
    points = np.arange(n_px)[:, None] + (np.arange(n_points) + 0.5) / n_points
    cells = np.clip(np.floor((points - first_px) / cell_px).astype(int), 0, len(m) - 1)
    shares = (cells[:, :, None] == np.arange(len(m))).mean(1)
    return np.einsum("ri,ij,cj->rc", shares, m, shares)


def normalise(features, kernel, shown, kind):
    """Normalise (n_channels, n, m) and (n_channels, k, l) by what some places of the first show."""
    seen = features[:, shown[0], shown[1]].reshape(len(features), -1)

    def column(values):
        return values[:, None, None]

    def rms(values, axis):
        return np.sqrt((values**2).mean(axis))

    mean = column(seen.mean(1))
    if kind == "places":
        s = rms(seen, 0).mean()
        return tuple(x / (s + rms(x, 0)) for x in (features, kernel))
    if kind == "channels":
        e = rms(seen, 1)
        return tuple(x / column(e.mean() + e) for x in (features, kernel))
    if kind == "standardised":
        d = seen.std(1)
        return tuple((x - mean) / column(d.mean() + d) for x in (features, kernel))
    covariance = np.cov(seen, bias=True)
    values, vectors = np.linalg.eigh(covariance)
    root = vectors / np.sqrt(values + np.trace(covariance) / len(covariance)) @ vectors.T
    return tuple(np.einsum("cd,dij->cij", root, x - mean) for x in (features, kernel))
