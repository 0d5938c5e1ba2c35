"""Models of visual search; people's scanpaths have the same form."""

from cogmodels.search.scanpaths import Scanpaths

__all__ = ["Scanpaths"]
