"""IVSN: the deepest features of a network, equally sharp everywhere."""

from typing import Any

from cogmodels.search.eccnet import EccNet
from encoders.backbones import Backbone


class IVSN(EccNet):
    """Looks where the deepest features resemble the target's, equally sharp everywhere (Zhang et al. 2018).

    The pools of the network are its own, and one pair of layers is compared.

    Parameters
    ----------
    backbone, weights, policy, name, device
        As for `EccNet`.
    **settings
        Others of `EccNet`.

    References
    ----------
    Zhang, Feng, Ma, Lim, Zhao & Kreiman (2018). Finding any Waldo with zero-shot invariant and efficient visual search.
    Nature Communications, 9, 3730.
    """

    def __init__(
        self, backbone: str | Backbone = "torchvision/vgg16", *, name: str = "ivsn", **settings: Any
    ) -> None:
        super().__init__(backbone, name=name, **{"eccentricity": False, "layers": "last", **settings})
