"""Models of visual search; people's scanpaths have the same form."""

from cogmodels.search.baselines import CenterBias, Chance, NearestFirst, PixelTemplate, Saliency
from cogmodels.search.eccnet import EccNet
from cogmodels.search.ivsn import IVSN
from cogmodels.search.oat.oat import OAT
from cogmodels.search.observer import PriorityModel, SearchModel
from cogmodels.search.policy import SearchPolicy
from cogmodels.search.reaction_time import RTFit, fit_rt, fixations_to_rt_ms, reaction_times
from cogmodels.search.scanpaths import Scanpaths

__all__ = [
    "IVSN",
    "OAT",
    "CenterBias",
    "Chance",
    "EccNet",
    "NearestFirst",
    "PixelTemplate",
    "PriorityModel",
    "RTFit",
    "Saliency",
    "Scanpaths",
    "SearchModel",
    "SearchPolicy",
    "fit_rt",
    "fixations_to_rt_ms",
    "reaction_times",
]
