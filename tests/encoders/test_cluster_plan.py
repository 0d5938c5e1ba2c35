"""The plan on paper: its arithmetic by hand, and the page against the program."""

from pathlib import Path

import numpy as np
import pytest

from benchmarks import plan
from benchmarks.ridge import count_operations
from encoders.estimators.ridge import RidgeEncoder

PAGE = Path(__file__).parents[2] / "docs" / "cluster.md"


def test_the_page_has_the_numbers_of_the_program() -> None:
    page = PAGE.read_text(encoding="utf-8")
    for table in (
        plan.size_table(10_000),
        plan.hour_table(10_000, 50, 20.0, 0.5),
        plan.check_table(),
        plan.parts_table(10_000),
    ):
        assert table in page


def test_rates_are_those_of_the_benchmarks() -> None:
    measured = (PAGE.parent / "benchmarks.md").read_text(encoding="utf-8").replace("**", "")
    for (n, p, v), seconds in plan.RIDGE_SECONDS.items():
        assert f"| {n} x {p} x {v} | cogmodels | {seconds:.2f} |" in measured
    for (n, p, v, n_draws), seconds in plan.BANDED_SECONDS.items():
        assert f"| {n} x {p} x {v}, {n_draws} | cogmodels | {seconds:.2f} |" in measured
    assert f"| `extract_features`, `mean` | {plan.RESNET50_IMAGES_S} |" in measured
    assert f"| float32 | disk | 320 | {plan.ATTENTION_IMAGES_S} |" in measured


def test_bytes_by_hand() -> None:
    table = plan.size_table(10_000)
    for text in ("215.510", "107.755", "0.224", "1.196", "13.107 | 104.86", "0.805", "5.369 | 42.95"):
        assert text in table
    assert 73_000 * 961 * 768 * 4 == 215_510_016_000
    assert 10_000 * 327_684 * 4 == 13_107_360_000


def test_operations_by_hand() -> None:
    # 12 blocks: 24 T d^2 + 4 T^2 d = 13.62e9 + 2.84e9 at T = 962, d = 768
    assert plan.vit_operations() == pytest.approx(12 * (13.618e9 + 2.843e9), rel=1e-3)
    # Keys folded into the queries of 16 heads, forwards and backwards; then decoder and readout, and two gradients.
    by_hand = 2 * 4 * 961 * 768 * (50 * 16) + 3 * (4 * 50 * 768 * (768 + 1024) + 2 * 768 * 40_000)
    assert plan.attention_operations(50, 40_000) == by_hand == 5_733_580_800


def test_the_model_of_ridge_meets_what_it_was_made_from() -> None:
    model = plan.RidgeModel.measured()
    for shape in ((1000, 768, 1000), (5000, 768, 4000)):
        assert sum(model.seconds(*shape)) == pytest.approx(plan.RIDGE_SECONDS[shape])
    other = (1000, 4096, 1000)
    assert sum(model.seconds(*other)) == pytest.approx(plan.RIDGE_SECONDS[other], rel=0.25)
    repeated = model.repeated_seconds(8000, 768)
    assert repeated == pytest.approx(
        model.seconds(8000, 768, 0)[1] + count_operations(8000, 768, 0) / model.product_rate
    )


@pytest.mark.parametrize("n_features", [768, 4096])
def test_a_fold_is_cut_as_the_plan_says(n_features: int) -> None:
    # Views of one number: shapes are all that is looked at.
    X = np.broadcast_to(np.float32(0), (8000, n_features))
    Y = np.broadcast_to(np.float32(0), (8000, plan.N_VERTICES))
    _, parts = RidgeEncoder().divide_voxels(X, Y, np.arange(8000))
    assert len(parts) == pytest.approx(plan.count_parts(8000, n_features), rel=0.15)


def test_hours_on_many_cores_go_in_rounds_of_pieces() -> None:
    rows = {}
    for line in plan.hour_table(10_000, 50, 20.0, 0.5).splitlines()[2:]:
        what, _, pieces, core, spread, _ = (
            cell.strip().replace(",", "") for cell in line.strip("|").split("|")
        )
        rows[what.split(" ")[0]] = int(pieces), float(core), float(spread)
    pieces, core, spread = rows["attention"]
    assert (pieces, round(core / pieces, 2)) == (40, spread)  # fewer pieces than cores
    pieces, core, spread = rows["null"]
    assert (pieces, round(core / 50, 2)) == (800, spread)
