"""Models of visual search; people's scanpaths have the same form."""

from cogmodels.search.observer import PriorityModel, SearchModel
from cogmodels.search.policy import SearchPolicy
from cogmodels.search.scanpaths import Scanpaths

__all__ = ["PriorityModel", "Scanpaths", "SearchModel", "SearchPolicy"]
