"""Pictures and the self-contained page of a run."""

from analyses.report.brain_figures import brain_map
from analyses.report.choice_figures import penalties, selected_layers
from analyses.report.figures import score_distribution, score_vs_ceiling
from analyses.report.html import write_report
from analyses.report.reading import layer_table, roi_table
from analyses.report.response_figures import best_and_worst_voxels
from analyses.report.roi_figures import layer_by_roi
from analyses.report.words import summarize

__all__ = [
    "best_and_worst_voxels",
    "brain_map",
    "layer_by_roi",
    "layer_table",
    "penalties",
    "roi_table",
    "score_distribution",
    "score_vs_ceiling",
    "selected_layers",
    "summarize",
    "write_report",
]
