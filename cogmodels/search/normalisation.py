"""Features of a display and of a target, relative to what the display commonly shows.

The product of raw features prefers whatever drives many channels strongly. Responses in visual cortex are divided by
pooled activity instead (Carandini & Heeger 2012), so that what is common is suppressed and what is rare stands out, as
in accounts of search by the gain of channels (Navalpakkam & Itti 2007) or by templates in the noise of the display.
"""

from typing import Any, Literal, get_args

import torch
from torch import Tensor

Normalisation = Literal["none", "places", "channels", "standardised", "whitened"]
Places = tuple[slice, slice]


def check_normalisation(normalisation: Any) -> Normalisation:
    """Return a kind of normalisation; refuse all else.

    Raises
    ------
    ValueError
        The kind is unknown.
    """
    if normalisation not in get_args(Normalisation):
        allowed = ", ".join(map(repr, get_args(Normalisation)))
        raise ValueError(f"normalisation is {normalisation!r}; allowed: {allowed}")
    return normalisation


def normalise(
    features: Tensor, kernel: Tensor, shown: Places, normalisation: Normalisation
) -> tuple[Tensor, Tensor]:
    """Return features and kernel whose products over channels are those of the normalised ones.

    With means taken over the places that show the display, and a constant s in each that is the mean of what is
    divided by, so that there is nothing to be set, the features x of display and target both become

    - "none": x.
    - "places": x / (s + |x|), |x| the root mean square over the channels of a place and s its mean over places.
    - "channels": x / (s + e), e the root mean square of each channel over places and s its mean over channels.
    - "standardised": (x - m) / (s + d), m the mean and d the standard deviation of each channel.
    - "whitened": (C + s I)^(-1/2) (x - m), C the covariance of the channels and s the mean of its diagonal: the
      product is the linear template that best tells a known target from places like those of the display.

    Parameters
    ----------
    features : Tensor (1, n_channels, n_rows, n_columns)
        Of the search display.
    kernel : Tensor (1, n_channels, n_kernel_rows, n_kernel_columns)
        Features of the target.
    shown : (slice, slice)
        Rows and columns of `features` that show the display; at least one place.
    normalisation : {"none", "places", "channels", "standardised", "whitened"}

    Returns
    -------
    features, kernel : Tensor
        Shaped as given. Where the display shows nothing (s is 0), the kernel is 0.

    References
    ----------
    Carandini & Heeger (2012). Normalization as a canonical neural computation. Nature Reviews Neuroscience, 13, 51-62.
    Navalpakkam & Itti (2007). Search goal tunes visual features optimally. Neuron, 53, 605-617.
    """
    if normalisation == "none":
        return features, kernel
    if normalisation == "places":
        strengths = [each.square().mean(1, keepdim=True).sqrt() for each in (features, kernel)]
        constant = strengths[0][(..., *shown)].mean()
        if not constant > 0:
            return features, torch.zeros_like(kernel)
        return features / (constant + strengths[0]), kernel / (constant + strengths[1])
    n_channels = features.shape[1]
    seen = features[(..., *shown)].reshape(n_channels, -1)  # (n_channels, n_places)
    if normalisation == "channels":
        return features, _divided(kernel, seen.square().mean(1).sqrt())
    mean = seen.mean(1).view(1, n_channels, 1, 1)
    away = seen - mean.view(n_channels, 1)
    features, kernel = features - mean, kernel - mean
    if normalisation == "standardised":
        return features, _divided(kernel, away.square().mean(1).sqrt())
    covariance = away @ away.T / away.shape[1]
    constant = covariance.diagonal().mean()
    if not constant > 0:
        return features, torch.zeros_like(kernel)
    covariance.diagonal().add_(constant)
    # (C + s I)^(-1/2) on both sides of the product is its inverse on one.
    solved = torch.cholesky_solve(kernel[0].reshape(n_channels, -1), torch.linalg.cholesky(covariance))
    return features, solved.reshape(kernel.shape)


def _divided(kernel: Tensor, strength: Tensor) -> Tensor:
    """Divide by what both sides of a product are divided by, once for each."""
    constant = strength.mean()
    if not constant > 0:
        return torch.zeros_like(kernel)
    return kernel / (constant + strength).square().view(1, -1, 1, 1)
