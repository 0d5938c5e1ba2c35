"""Measures of scanpaths: how alike two are, where and how fast people look, and how well people tell each other."""

from analyses.metrics.scanpath.behaviour import behaviour_delta, behaviour_statistics, search_ratio
from analyses.metrics.scanpath.ceiling import (
    RULES,
    Agreement,
    human_ceiling,
    model_agreement,
    share_of_ceiling,
)
from analyses.metrics.scanpath.dtw import dtw
from analyses.metrics.scanpath.found import FoundCurve, area_under_found, found_by_fixation, found_curve
from analyses.metrics.scanpath.grouping import Grouping
from analyses.metrics.scanpath.maps import (
    fixation_map,
    fixation_map_similarity,
    nss,
    teacher_forced_similarity,
)
from analyses.metrics.scanpath.multimatch import MULTIMATCH, multimatch
from analyses.metrics.scanpath.scanmatch import scanmatch, substitution_scores
from analyses.metrics.scanpath.sequences import edit_distance, fixation_clusters, sequence_score

__all__ = [
    "MULTIMATCH",
    "RULES",
    "Agreement",
    "FoundCurve",
    "Grouping",
    "area_under_found",
    "behaviour_delta",
    "behaviour_statistics",
    "dtw",
    "edit_distance",
    "fixation_clusters",
    "fixation_map",
    "fixation_map_similarity",
    "found_by_fixation",
    "found_curve",
    "human_ceiling",
    "model_agreement",
    "multimatch",
    "nss",
    "scanmatch",
    "search_ratio",
    "sequence_score",
    "share_of_ceiling",
    "substitution_scores",
    "teacher_forced_similarity",
]
