"""Encoders find planted routing: attention follows objects, a fixed map its place, the mean token everything.

The slow test holds the encoders to every claim on three seeds; the fast ones to the same on fewer pictures.
"""

import numpy as np
import pandas as pd
import pytest

from analyses.datasets.simulated_routing import RoutingKind, TokenScenes, plant_routing, token_scenes
from benchmarks.planted_routing import (
    ATTENTION,
    CEILING,
    FLAT_RIDGE,
    IDEAL,
    MEAN_RIDGE,
    SPATIAL,
    answer,
    bounding_boxes,
    claims,
    differences,
    judge_maps,
    measure,
)
from encoders.scores import correlation_score

N_TRAIN = 700
HELD_OUT = slice(N_TRAIN, None)


@pytest.fixture(scope="module")
def scenes() -> TokenScenes:
    return token_scenes(N_TRAIN + 400, seed=7)


def _scores(scenes: TokenScenes, kind: RoutingKind, names: tuple[str, ...]) -> dict[str, dict[str, float]]:
    data = plant_routing(scenes, kind, seed=7)
    rows = {}
    for name in names:
        given = answer(name, data, N_TRAIN, HELD_OUT, seed=0)
        r = correlation_score(data.responses[HELD_OUT], given.predicted).mean()
        rows[name] = {"r": float(r), **judge_maps(data, given.maps, HELD_OUT)}
    return rows


def test_attention_follows_objects_that_move(scenes: TokenScenes) -> None:
    found = _scores(scenes, "content", (ATTENTION, SPATIAL, MEAN_RIDGE, FLAT_RIDGE, IDEAL, CEILING))
    for other in (SPATIAL, MEAN_RIDGE, FLAT_RIDGE):
        assert found[ATTENTION]["r"] >= found[other]["r"] + 0.10
    assert found[ATTENTION]["pointing"] >= 0.9
    # Nobody beats an observer who is told where to look, and no observer the ceiling.
    assert found[ATTENTION]["r"] <= found[IDEAL]["r"] <= found[CEILING]["r"]
    assert found[CEILING]["r"] == pytest.approx(0.8, abs=0.01)
    # The same maps point at nothing in other pictures; a map that is fixed cannot follow.
    assert found[ATTENTION]["pointing_chance"] < 0.2
    assert found[SPATIAL]["pointing"] < 0.3


def test_attention_and_a_fixed_map_tie_where_the_field_is_fixed(scenes: TokenScenes) -> None:
    found = _scores(scenes, "fixed", (ATTENTION, SPATIAL, MEAN_RIDGE))
    assert abs(found[ATTENTION]["r"] - found[SPATIAL]["r"]) <= 0.02
    assert found[ATTENTION]["r"] >= found[MEAN_RIDGE]["r"] + 0.10
    for name in (ATTENTION, SPATIAL):
        assert found[name]["field_r"] >= 0.9
        assert found[name]["peak_off_tokens"] <= 1


def test_the_mean_token_ties_where_the_code_is_global(scenes: TokenScenes) -> None:
    found = _scores(scenes, "global", (ATTENTION, MEAN_RIDGE))
    assert abs(found[ATTENTION]["r"] - found[MEAN_RIDGE]["r"]) <= 0.02


def test_boxes_hold_the_objects_and_nothing_more(scenes: TokenScenes) -> None:
    masks = scenes.scenes.masks[:50, 1]
    for mask, (left, top, right, bottom) in zip(masks, bounding_boxes(masks).astype(int), strict=True):
        assert mask[top:bottom, left:right].sum() == mask.sum()
        assert mask[top].any()
        assert mask[bottom - 1].any()
        assert mask[:, left].any()
        assert mask[:, right - 1].any()


def test_true_maps_score_full_marks_and_shuffled_ones_do_not(scenes: TokenScenes) -> None:
    shape = (400, 3, 8, 8)
    content, fixed = (plant_routing(scenes, kind, seed=7) for kind in ("content", "fixed"))
    truth = content.routing[HELD_OUT].reshape(shape)
    assert judge_maps(content, truth, HELD_OUT)["pointing"] > 0.97
    assert judge_maps(content, truth[::-1], HELD_OUT)["pointing"] < 0.2
    field = fixed.routing[HELD_OUT].reshape(shape)
    found = judge_maps(fixed, field, HELD_OUT)
    assert found["field_r"] == pytest.approx(1)
    assert found["peak_off_tokens"] == 0
    assert judge_maps(fixed, field[..., ::-1, ::-1], HELD_OUT)["peak_off_tokens"] >= 1


def test_differences_are_paired_and_averaged_over_seeds() -> None:
    draws = np.random.default_rng(0).standard_normal(1000)
    names = {
        ATTENTION: 0.1,
        SPATIAL: 0.0,
        "probe (ep)": 0.0,
        MEAN_RIDGE: 0.0,
        FLAT_RIDGE: 0.0,
        IDEAL: 0.0,
        CEILING: 0.0,
    }
    table = pd.DataFrame(
        [
            {
                "kind": "content",
                "n_train": 9,
                "seed": s,
                "encoder": name,
                "r": 0.5 + more * s,
                "draws": draws + more * s,
            }
            for s in (1, 2, 3)
            for name, more in names.items()
        ]
    )
    row = differences(table).set_index("opponent").loc[SPATIAL]
    # Draws that all contestants share leave nothing of themselves in the interval.
    assert row[["difference", "lower", "upper"]].tolist() == pytest.approx([0.2, 0.2, 0.2])
    assert row[["lowest_seed", "highest_seed"]].tolist() == pytest.approx([0.1, 0.3])


@pytest.mark.slow
def test_every_claim_holds_on_three_seeds() -> None:
    rows = list(measure(("content", "fixed", "global"), (2000,), (0, 1, 2), 600))
    table = pd.DataFrame(rows)
    held = claims(table, differences(table), 2000)
    assert len(held) == 10
    assert [claim for claim in held if not claim["met"]] == []
