"""The six paradigms: what stands where, in which pose, how often, and that pixels say the same as tables."""

import csv
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from stimuli import SearchDisplay, SearchDisplays, list_paradigms, make_paradigm
from stimuli.search_displays.layout import balanced_draws, choose_cells, jitter_in_cells
from tests.oracles.search_displays import ITEMS, covered_by_points, flipped, unturned

# Gupta et al. (2021): side of the display in degrees, grid, grey level, set sizes, side of an item at 30 px a degree.
PUBLISHED = {
    "curvature": (11.3, 6, 0, (8, 16, 32), 48),
    "lighting_direction": (6.6, 4, 27, (1, 6, 12), 32),
    "intersection": (20.5, 3, 255, (3, 6, 9), 177),
    "t_and_l": (20.5, 3, 255, (3, 6, 9), 177),
    "orientation_homogeneous": (11.3, 4, 255, (1, 4, 8, 12), 69),
    "orientation_heterogeneous": (11.3, 4, 255, (1, 4, 8, 12), 69),
}
# Target, then what it may stand among.
CONDITIONS = {
    "curve_in_lines": ("curve", {"line"}),
    "line_in_curves": ("line", {"curve"}),
    "top_down": ("bright_top", {"bright_bottom"}),
    "left_right": ("bright_left", {"bright_right"}),
    "non_cross": ("non_cross", {"cross"}),
    "cross": ("cross", {"non_cross"}),
    "T_in_Ls": ("T", {"L"}),
    "L_in_Ts": ("L", {"T"}),
    "20_in_0": ("bar_-20", {"bar_0"}),
    "0_in_20": ("bar_0", {"bar_-20"}),
    "0_in_mixed": ("bar_0", {f"bar_{angle}" for angle in (-80, -60, -40, -20, 20, 40, 60, 80)}),
    "20_in_mixed": ("bar_-20", {f"bar_{angle}" for angle in (-80, -60, -40, 0, 20, 40, 60, 80)}),
}


@pytest.fixture(scope="module")
def displays() -> dict[str, SearchDisplays]:
    return {name: make_paradigm(name, 4, seed=3) for name in list_paradigms()}


def picture_of(display: SearchDisplay, item: int) -> np.ndarray:
    left, top, width, height = display.boxes_px[item]
    assert (left, top, width, height) == (int(left), int(top), int(width), int(height))
    return display.read_image()[int(top) : int(top + height), int(left) : int(left + width)]


def expected_ink(
    kind: str, orientation_deg: float, flip: str, size_px: int, px_per_degree: float
) -> np.ndarray:
    name = "disc" if kind.startswith("bright") else kind.split("_")[0] if kind.startswith("bar") else kind
    return covered_by_points(
        flipped(unturned(ITEMS[name], orientation_deg), flip), size_px, px_per_degree, n=8
    )


class TestAsPublished:
    def test_names(self) -> None:
        assert list_paradigms() == list(PUBLISHED)

    @pytest.mark.parametrize("name", list(PUBLISHED))
    def test_display(self, displays: dict[str, SearchDisplays], name: str) -> None:
        side_deg, grid, grey, set_sizes, item_px = PUBLISHED[name]
        assert sorted({display.set_size for display in displays[name]}) == list(set_sizes)  # type: ignore[type-var]
        for display in displays[name]:
            assert (display.width_px, display.height_px) == (round(side_deg * 30),) * 2
            assert (display.grid_shape, display.background, display.px_per_degree) == (
                (grid, grid),
                (grey,) * 3,
                30,
            )
            assert display.start_px == (display.width_px / 2, display.height_px / 2)
            assert (display.items[["width_px", "height_px"]] == item_px).all(axis=None)
            assert (display.paradigm, display.target_present) == (name, True)

    @pytest.mark.parametrize("name", list(PUBLISHED))
    def test_targets_and_distractors(self, displays: dict[str, SearchDisplays], name: str) -> None:
        for display in displays[name]:
            target, others = CONDITIONS[display.condition]
            kinds = display.items["kind"].tolist()
            assert kinds.pop(display.target_item) == target
            assert set(kinds) <= others
            assert len(kinds) == display.set_size - 1  # type: ignore[operator]

    def test_conditions_and_set_sizes_of_the_human_table(
        self, displays: dict[str, SearchDisplays], real_data: Path
    ) -> None:
        """kreimanlab/VisualSearchAsymmetry 2e41a9e, digitised human reaction times."""
        ours = {
            (name, display.condition, display.set_size)
            for name, several in displays.items()
            for display in several
        }
        renamed = {"letter": "t_and_l", "cross_in_non_crosses": "cross", "non_cross_in_crosses": "non_cross"}
        with open(real_data / "search_asymmetry" / "human_rt.csv", newline="") as file:
            people = {
                (
                    renamed.get(row["experiment"], row["experiment"]),
                    renamed.get(row["condition"], row["condition"]),
                    int(row["set_size"]),
                )
                for row in csv.DictReader(file)
            }
        assert ours == people

    @pytest.mark.parametrize("name", list(PUBLISHED))
    def test_pixels_are_what_the_table_says(self, displays: dict[str, SearchDisplays], name: str) -> None:
        grey = PUBLISHED[name][2]
        paint = 255 if name == "curvature" else 0
        oracle: dict[tuple, np.ndarray] = {}
        for display in displays[name]:
            rest = display.read_image().astype(float)
            for row, item in display.items.iterrows():
                key = (item["kind"], item["orientation_deg"], item["flip"])
                if key not in oracle:
                    oracle[key] = expected_ink(*key, int(item["width_px"]), 30.0)
                picture = picture_of(display, row)
                if name == "lighting_direction":
                    assert np.abs(picture[oracle[key] == 0] - float(grey)).max() <= 3  # but for slivers
                else:
                    ink = (picture[:, :, 0].astype(float) - grey) / (paint - grey)
                    np.testing.assert_allclose(ink, oracle[key], atol=0.1)
                left, top, width, height = display.boxes_px[row].astype(int)
                rest[top : top + height, left : left + width] = grey
            assert (rest == grey).all()

    @pytest.mark.parametrize("name", list(PUBLISHED))
    def test_target_image_is_the_target_as_it_stands(
        self, displays: dict[str, SearchDisplays], name: str
    ) -> None:
        for display in displays[name]:
            np.testing.assert_array_equal(
                display.read_target_image(), picture_of(display, display.target_item)
            )

    def test_poses_in_even_numbers(self) -> None:
        for display in make_paradigm("curvature", 5):
            counts = display.items["orientation_deg"].value_counts()
            assert counts.to_dict() == dict.fromkeys((-45.0, -90.0, -135.0, 180.0), display.set_size / 4)
        for display in make_paradigm("orientation_heterogeneous", 20, set_sizes=12):
            distractors = display.items["kind"].drop(index=display.target_item)
            assert sorted(distractors.value_counts()) == [1] * 5 + [2] * 3
        for display in make_paradigm("orientation_heterogeneous", 20, set_sizes=8):
            assert display.items["kind"].is_unique

    def test_all_flips_come_about_equally_often(self) -> None:
        several = make_paradigm("t_and_l", 60, set_sizes=9)
        flips = [flip for display in several for flip in display.items["flip"]]
        counts = np.unique(flips, return_counts=True)[1]
        assert len(counts) == 4
        assert stats.chisquare(counts).pvalue > 1e-3
        targets = [display.items["flip"][display.target_item] for display in several]
        assert stats.chisquare(np.unique(targets, return_counts=True)[1]).pvalue > 1e-3


class TestLayout:
    @pytest.mark.parametrize("name", list(PUBLISHED))
    @pytest.mark.parametrize("px_per_degree", [30.0, 23.7])
    def test_items_lie_in_different_cells(self, name: str, px_per_degree: float) -> None:
        for display in make_paradigm(name, 3, px_per_degree=px_per_degree):
            boxes, cells = display.boxes_px, display.cells_px
            assert (boxes[:, :2] >= cells[:, :2] - 1e-6).all()
            assert (boxes[:, :2] + boxes[:, 2:] <= cells[:, :2] + cells[:, 2:] + 1e-6).all()
            assert not display.items.duplicated(["row", "column"]).any()

    def test_places_cells_and_targets_are_uniform(self) -> None:
        """Over 2,000 displays of four bars: chi-squared tests at 0.001 each."""
        places, cells, targets = [], [], []
        for seed in range(2000):
            rng = np.random.default_rng(seed)
            chosen = choose_cells(rng, (4, 4), 4)
            corners = jitter_in_cells(rng, chosen, (4, 4), (339, 339), (69, 69))
            cells.append(chosen @ (4, 1))
            # Cells of 84.75 px: from 0 to 84 in the first row, 15 or 16 places each way.
            places.append(corners[chosen[:, 0] == 0, 1])
        for display in make_paradigm(
            "orientation_homogeneous", 400, conditions="20_in_0", set_sizes=8, px_per_degree=4
        ):
            targets.append(display.target_item)
        for values, n in ((np.concatenate(places), 16), (np.concatenate(cells), 16), (np.array(targets), 8)):
            counts = np.bincount(values, minlength=n)
            assert len(counts) == n
            assert stats.chisquare(counts).pvalue > 1e-3

    def test_items_larger_than_cells(self) -> None:
        with pytest.raises(ValueError, match=r"50 x 20 px do not fit into cells of 30 x 30 px"):
            jitter_in_cells(np.random.default_rng(0), np.array([[0, 0]]), (3, 3), (90, 90), (50, 20))

    def test_balanced_draws(self) -> None:
        for n in range(30):
            counts = np.bincount(balanced_draws(np.random.default_rng(n), 8, n), minlength=8)
            assert counts.sum() == n
            assert np.ptp(counts) <= 1


class TestSeeds:
    def test_a_display_depends_on_its_own_number_alone(self) -> None:
        several = make_paradigm("t_and_l", 3, px_per_degree=5, seed=7)
        alone = make_paradigm("t_and_l", 2, conditions=["L_in_Ts"], set_sizes=[6], px_per_degree=5, seed=7)
        assert alone.content_hash == several.select(alone.display_ids).content_hash

    def test_seeds_and_numbers_differ(self) -> None:
        one, other = (
            make_paradigm("curvature", 2, set_sizes=8, px_per_degree=5, seed=seed) for seed in (0, 1)
        )
        pictures = {display.read_image().tobytes() for display in (*one, *other)}
        assert len(pictures) == 8

    @pytest.mark.parametrize("name", list(PUBLISHED))
    def test_absent_differs_at_the_target_alone(self, name: str) -> None:
        present = make_paradigm(name, 3, seed=2)
        absent = make_paradigm(name, 3, target_present=False, seed=2)
        for with_target, without in zip(present, absent, strict=True):
            assert (without.target_item, without.target_present) == (None, False)
            assert without.display_id == with_target.display_id + "-absent"
            target = with_target.target_item
            assert set(without.items["kind"]) <= CONDITIONS[without.condition][1]
            same = with_target.items.index != target
            assert without.items[same].equals(with_target.items[same])
            left, top, width, height = with_target.boxes_px[target].astype(int)
            pictures = [display.read_image() for display in (with_target, without)]
            for picture in pictures:
                picture[top : top + height, left : left + width] = 0
            np.testing.assert_array_equal(*pictures)
            np.testing.assert_array_equal(without.read_target_image(), with_target.read_target_image())


class TestArguments:
    def test_scale(self) -> None:
        small, large = (make_paradigm("curvature", 1, px_per_degree=px)[0] for px in (10, 60))
        assert (small.width_px, large.width_px, large.items["width_px"][0]) == (113, 678, 96)

    def test_one_condition_and_any_number_of_items(self) -> None:
        several = make_paradigm(
            "curvature", 1, conditions="line_in_curves", set_sizes=(1, 36), px_per_degree=5
        )
        assert [(display.condition, display.set_size) for display in several] == [
            ("line_in_curves", 1),
            ("line_in_curves", 36),
        ]

    def test_unknown_names(self) -> None:
        with pytest.raises(KeyError, match="did you mean 'curvature'"):
            make_paradigm("curvatur")
        with pytest.raises(KeyError, match="did you mean 'T_in_Ls'"):
            make_paradigm("t_and_l", conditions=["T_in_L"])

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"n_displays": 0}, "n_displays must be a whole number from 1, got 0"),
            ({"n_displays": 2.0}, "n_displays must be"),
            ({"set_sizes": 37}, "set_sizes must be a whole number from 1 to 36, got 37"),
            ({"set_sizes": [8, 8]}, "must be different"),
            ({"conditions": []}, "at least one"),
            ({"px_per_degree": 1}, "px_per_degree must lie in 4 to 200"),
            ({"px_per_degree": float("nan")}, "px_per_degree must lie in 4 to 200"),
            ({"seed": -1}, "seed must be a whole number from 0"),
        ],
    )
    def test_out_of_range(self, arguments: dict, message: str) -> None:
        with pytest.raises(ValueError, match=message):
            make_paradigm("curvature", **{"n_displays": 1, **arguments})
