"""Drawing: areas and places of what is drawn against geometry and against point counting."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stimuli.search_displays.drawing import band_profile, blend, coverage
from stimuli.search_displays.items import FLIPS, bar, curve, disc, letter, line
from tests.oracles.search_displays import ITEMS, covered_by_points, flipped, measured, unturned

coordinates = st.floats(1, 39, allow_nan=False).map(lambda value: round(value, 3))
triangles = st.lists(st.tuples(coordinates, coordinates), min_size=3, max_size=3).map(np.array)


def area_of(corners: np.ndarray) -> float:
    x, y = corners.T
    return abs(float(x @ np.roll(y, -1) - y @ np.roll(x, -1))) / 2


def edge_error(covered: np.ndarray) -> float:
    """Shares are off by up to 1/200 in each pixel that an edge crosses."""
    return float(((covered > 0) & (covered < 1)).sum() / 200)


class TestCoverage:
    @settings(max_examples=80, deadline=None)
    @given(triangles)
    def test_area_of_a_triangle(self, corners: np.ndarray) -> None:
        covered = coverage([corners], 40, 40)
        assert covered.min() >= 0
        assert covered.max() <= 1
        assert covered.sum() == pytest.approx(area_of(corners), abs=0.01 + edge_error(covered))

    @settings(max_examples=40, deadline=None)
    @given(triangles, st.integers(0, 5), st.integers(0, 5))
    def test_whole_pixels_move_it_and_change_nothing(
        self, corners: np.ndarray, right: int, down: int
    ) -> None:
        moved = coverage([corners + np.array([right, down])], 46, 46)
        np.testing.assert_array_equal(moved[down:, right:][:40, :40], coverage([corners], 40, 40))

    def test_whole_and_half_pixels(self) -> None:
        covered = coverage([np.array([[1, 1], [3.5, 1], [3.5, 2.25], [1, 2.25]])], 5, 4)
        expected = np.outer([0, 1, 0.25, 0], [0, 1, 1, 0.5, 0])
        np.testing.assert_allclose(covered, expected, atol=1 / 255)

    def test_two_outlines_that_touch(self) -> None:
        left, right = (
            np.array([[0, 0], [1.5, 0], [1.5, 2], [0, 2]]),
            np.array([[1.5, 0], [3, 0], [3, 2], [1.5, 2]]),
        )
        np.testing.assert_allclose(coverage([left, right], 3, 2), 1, atol=1 / 255)

    def test_y_points_down(self) -> None:
        covered = coverage([np.array([[0, 0], [4, 0], [4, 1], [0, 1]])], 4, 4)
        np.testing.assert_array_equal(covered, np.repeat([[1], [0], [0], [0]], 4, axis=1))


class TestBandProfile:
    @settings(max_examples=60, deadline=None)
    @given(
        st.lists(st.integers(0, 255), min_size=1, max_size=20),
        st.floats(1, 60, allow_nan=False),
        st.integers(1, 64),
    )
    def test_against_many_points(self, levels: list[int], length_px: float, n_px: int) -> None:
        at = (np.arange(n_px * 400) + 0.5) / 400 - n_px / 2
        band = np.clip(np.floor((at / length_px + 0.5) * len(levels)), 0, len(levels) - 1).astype(int)
        expected = np.array(levels)[band].reshape(n_px, 400).mean(axis=1)
        # A band edge may fall between two of the 400 points.
        np.testing.assert_allclose(band_profile(levels, length_px, n_px), expected, atol=256 * 20 / 400)

    def test_by_hand(self) -> None:
        np.testing.assert_allclose(band_profile([0, 100], 3, 5), [0, 0, 50, 100, 100])


def test_blend_rounds_once() -> None:
    picture = blend((10, 20, 30), np.full((1, 3), 200.0), np.array([[0.0, 1.0, 0.5]]))
    np.testing.assert_array_equal(picture, [[[10, 20, 30], [200, 200, 200], [105, 110, 115]]])


def ink_of(picture: np.ndarray, background: int, paint: int) -> np.ndarray:
    assert (picture == picture[:, :, :1]).all()
    return (picture[:, :, 0].astype(float) - background) / (paint - background)


TURNED = [
    *((bar, "bar", 69, 255, 0, angle) for angle in (0, -20, -80, -60, -40, 20, 40, 60, 80)),
    *((line, "line", 48, 0, 255, angle) for angle in (-45, -90, -135, 180)),
    *((curve, "curve", 48, 0, 255, angle) for angle in (-45, -90, -135, 180)),
]


class TestItems:
    """Each item against its set of points, which shares no outline with it."""

    @pytest.mark.parametrize(("make", "name", "size_px", "background", "paint", "angle"), TURNED)
    @pytest.mark.parametrize("px_per_degree", [30.0, 17.3])
    def test_turned(
        self,
        make: object,
        name: str,
        size_px: int,
        background: int,
        paint: int,
        angle: float,
        px_per_degree: float,
    ) -> None:
        item = make(angle)  # type: ignore[operator]
        ink = ink_of(item.draw(size_px, px_per_degree, (background,) * 3), background, paint)
        expected = covered_by_points(unturned(ITEMS[name], angle), size_px, px_per_degree)
        assert item.orientation_deg == angle
        np.testing.assert_allclose(ink, expected, atol=0.05)
        assert ink.sum() == pytest.approx(expected.sum(), abs=0.1 + edge_error(ink))

    @pytest.mark.parametrize("kind", ["T", "L", "cross", "non_cross"])
    @pytest.mark.parametrize("flip", list(FLIPS))
    @pytest.mark.parametrize("px_per_degree", [30.0, 11.7])
    def test_flipped(self, kind: str, flip: str, px_per_degree: float) -> None:
        item = letter(kind, flip)
        size_px = int(np.ceil(5.9 * px_per_degree))
        ink = ink_of(item.draw(size_px, px_per_degree, (255, 255, 255)), 255, 0)
        expected = covered_by_points(flipped(ITEMS[kind], flip), size_px, px_per_degree, n=12)
        assert (item.kind, item.flip) == (kind, flip)
        np.testing.assert_allclose(ink, expected, atol=0.06)
        # Ten strokes long each way, 19 squares of a stroke: the junction counts once.
        assert ink.sum() == pytest.approx(19 * (0.55 * px_per_degree) ** 2, rel=2e-3)

    @pytest.mark.parametrize("px_per_degree", [30.0, 60.0, 12.5])
    @pytest.mark.parametrize("angle", [-80, -20, 20, 40])
    def test_tilted_bar_measures_2_by_03_degrees(self, angle: float, px_per_degree: float) -> None:
        size_px = int(2.4 * px_per_degree)
        found = measured(ink_of(bar(angle).draw(size_px, px_per_degree, (255, 255, 255)), 255, 0))
        assert found["length"] / px_per_degree == pytest.approx(2, abs=0.002)
        assert found["width"] / px_per_degree == pytest.approx(0.3, abs=0.002)
        assert found["orientation_deg"] == pytest.approx(angle, abs=0.05)
        assert (found["x"], found["y"]) == pytest.approx((size_px / 2, size_px / 2), abs=0.02)

    @pytest.mark.parametrize("px_per_degree", [30.0, 60.0, 12.5, 7.3])
    def test_upright_bar_measures_2_by_03_degrees(self, px_per_degree: float) -> None:
        ink = ink_of(bar(0).draw(int(2.4 * px_per_degree), px_per_degree, (255, 255, 255)), 255, 0)
        middle = len(ink) // 2
        assert ink[middle].sum() == pytest.approx(0.3 * px_per_degree, abs=0.02)
        assert ink[:, middle].sum() == pytest.approx(2 * px_per_degree, abs=0.02)

    def test_line_measures_12_by_02_degrees(self) -> None:
        found = measured(ink_of(line(-45).draw(48, 30, (0, 0, 0)), 0, 255))
        assert (found["length"] / 30, found["width"] / 30) == pytest.approx((1.2, 0.2), abs=0.002)
        assert found["orientation_deg"] == pytest.approx(
            45, abs=0.05
        )  # level, then 45 clockwise: 45 left of upright

    def test_curve_has_the_area_of_its_stroke(self) -> None:
        ink = ink_of(curve(180).draw(48, 30, (0, 0, 0)), 0, 255)
        assert ink.sum() / 900 == pytest.approx(
            1.3 / 6 + np.pi / 144, rel=2e-3
        )  # the arc, and two half discs

    @pytest.mark.parametrize("side", ["top", "bottom", "left", "right"])
    def test_disc_has_16_bands_and_its_bright_side(self, side: str) -> None:
        turn = {"top": 2, "bottom": 0, "left": 3, "right": 1}[side]
        picture = np.rot90(
            disc(side).draw(32, 30, (27, 27, 27))[:, :, 0].astype(float), -turn
        )  # bright side down
        covered = covered_by_points(ITEMS["disc"], 32, 30)
        band = ((np.arange(32 * 400) + 0.5) / 400 - 16) / 31.2 * 16 + 8
        profile = (17 * np.clip(np.floor(band), 0, 15)).reshape(32, 400).mean(axis=1)
        expected = (1 - covered) * 27 + covered * profile[:, None]
        np.testing.assert_allclose(picture, expected, atol=5)
        assert disc(side).kind == f"bright_{side}"

    def test_disc_at_high_resolution_shows_every_level(self) -> None:
        column = disc("bottom").draw(320, 300, (27, 27, 27))[:, 160, 0]
        assert set(range(0, 256, 17)) <= set(column.tolist())

    def test_mirrored_discs_are_mirrored_pixels(self) -> None:
        pictures = {
            side: disc(side).draw(32, 30, (27, 27, 27)) for side in ("top", "bottom", "left", "right")
        }
        np.testing.assert_array_equal(pictures["top"], pictures["bottom"][::-1])
        np.testing.assert_array_equal(pictures["left"], pictures["right"][:, ::-1])
        np.testing.assert_array_equal(pictures["right"], pictures["bottom"].transpose(1, 0, 2))

    def test_flipped_letters_are_flipped_pixels(self) -> None:
        for kind in ("T", "L", "cross", "non_cross"):
            upright, upside_down = (
                letter(kind, flip).draw(70, 11.7, (255, 255, 255)) for flip in ("none", "up_down")
            )
            np.testing.assert_array_equal(upside_down, upright[::-1])
