"""The sentences and methods of a report: what a reader must be warned of, and which defaults were taken."""

from __future__ import annotations

import json

import pytest

from analyses.experiments.config import preset
from analyses.report import layer_table, summarize
from analyses.report.methods import methods_text
from analyses.report.words import caveats
from encoders.reductions import reduction_resolver
from tests.analyses.run_folder import hand_made

NAN = float("nan")
RULE = "ceiling of at least 0.1 and repeats that agree beyond chance (F test over stimuli, q <= 0.05)"


def test_the_ratio_is_over_voxels_of_the_rule() -> None:
    results = hand_made().assign_attrs(ceiling_rule=RULE)
    assert f"over the 2 voxels with a {RULE}." in summarize(results)
    assert f"only voxels with a {RULE} have a ratio" in " ".join(caveats(results))
    assert f"for voxels with a {RULE}." in methods_text(results, preset("demo"), {})
    results["r_normalized"].values[:] = NAN
    assert "; no voxel's repeats agree reliably enough for a ratio." in summarize(results)


@pytest.mark.parametrize("kind", ["trials", "averages"])
def test_stimuli_on_both_sides_of_a_fold_are_a_warning_and_no_ratio(kind: str) -> None:
    alone = {"grouping": "samples alone", "n_folds": 5, "kind": kind}
    results = hand_made().assign_attrs(alone, shared_stimuli=40)
    text = summarize(results)
    assert "Warning: 40 stimuli stand in both training and test" in text
    assert "memory for the very stimuli, not prediction of new ones" in text
    assert "ratio" not in text
    assert "remembered under the null too" in " ".join(caveats(results))
    methods = methods_text(results, preset("digits69"), {})
    assert "in 5 outer folds of single samples. In training and test alike 40 stimuli were shown" in methods
    assert "never divided" not in methods
    clean = hand_made().assign_attrs(alone, shared_stimuli=0)
    assert "Warning" not in summarize(clean)
    assert "mean ratio" in summarize(clean)
    assert "alike" not in methods_text(clean, preset("digits69"), {})


def test_series_that_repeat_their_stimuli_generalise_to_new_runs() -> None:
    results = hand_made().assign_attrs(kind="time_series", grouping="runs", n_folds=5, shared_stimuli=8)
    assert "Warning" not in summarize(results)
    methods = methods_text(results, preset("demo"), {})
    assert "never divided between training and test: runs." in methods
    assert (
        "8 stimuli were shown: scores generalise to new runs of the same stimuli, not to new stimuli."
        in methods
    )


def test_the_score_within_groups_is_told_with_its_bias() -> None:
    results = hand_made().assign_attrs(within="digit")
    results["r_within"] = (("layer", "neuroid"), [[0.0] * 5, [0.1, 0.3, 0.2, 0.0, NAN]])
    assert layer_table(results).loc["b", "mean_within"] == pytest.approx(0.15)
    text = summarize(results)
    assert "Among stimuli of the same digit, r is 0.150 on average. Without any signal" in text
    assert "below zero within groups" in text
    assert "Among stimuli" not in summarize(hand_made())


def test_methods_describe_the_reductions_that_were_taken() -> None:
    record = {
        "net": "projection:4096",
        "words": "mean",
        "pixels": "flatten",
        "other": "mean",
        "grids": "grid:4",
    }
    text = methods_text(hand_made().assign_attrs(reductions=json.dumps(record)), preset("demo"), {})
    assert "a sparse random projection to 4096 components of seed 0, where they had more" in text
    assert (
        "(Li, Hastie & Church 2006) (net), the mean over tokens or over the positions of a map (words and other)"
        in text
    )
    assert "flattening (pixels) and averaging maps to a grid of 4 x 4 (grids)." in text


def test_every_reduction_has_its_words() -> None:
    names = set(reduction_resolver.lookup_dict)
    for name in names:
        record = json.dumps({"net": name})
        assert "made one row a stimulus by" in methods_text(
            hand_made().assign_attrs(reductions=record), preset("demo"), {}
        )
