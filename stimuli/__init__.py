"""Stimulus sets: what models and people are shown."""

from stimuli.files import (
    atomic_write,
    hash_array,
    hash_file,
    near_matches,
    read_json,
    safe_member_path,
    unknown_name_message,
    write_json,
)
from stimuli.images import read_image
from stimuli.search_displays import (
    SearchDisplay,
    SearchDisplays,
    list_paradigms,
    make_paradigm,
    object_array,
    scene_displays,
    shelf,
)
from stimuli.stimulus_set import StimulusSet

__all__ = [
    "SearchDisplay",
    "SearchDisplays",
    "StimulusSet",
    "atomic_write",
    "hash_array",
    "hash_file",
    "list_paradigms",
    "make_paradigm",
    "near_matches",
    "object_array",
    "read_image",
    "read_json",
    "safe_member_path",
    "scene_displays",
    "shelf",
    "unknown_name_message",
    "write_json",
]
