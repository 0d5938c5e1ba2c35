"""Displays of visual search experiments: drawn paradigms, scenes and arrays of objects."""

from stimuli.search_displays.arrays import object_array, shelf
from stimuli.search_displays.display import SearchDisplay
from stimuli.search_displays.displays import SearchDisplays
from stimuli.search_displays.natural import scene_displays
from stimuli.search_displays.paradigms import list_paradigms, make_paradigm

__all__ = [
    "SearchDisplay",
    "SearchDisplays",
    "list_paradigms",
    "make_paradigm",
    "object_array",
    "scene_displays",
    "shelf",
]
