"""Figures show the numbers that they are given, where they belong."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

import matplotlib as mpl
import numpy as np
import pytest
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import PathCollection
from matplotlib.colors import to_hex, to_rgba
from matplotlib.figure import Figure
from matplotlib.text import Text

from analyses.geometry import SurfaceGeometry, VolumeGeometry
from analyses.report import (
    best_and_worst_voxels,
    brain_map,
    layer_by_roi,
    penalties,
    score_distribution,
    score_vs_ceiling,
    selected_layers,
    style,
)
from tests.analyses.geometries import back_of_fsaverage, half_slice, whole_brain
from tests.analyses.run_folder import simulate_results, simulate_time_series, simulate_trials

RESULT_FIGURES = (score_vs_ceiling, score_distribution, layer_by_roi, penalties, selected_layers)
MANY_LAYERS = tuple(f"torchvision/resnet50:layer{i}" for i in range(9))


def pixels(figure: Figure) -> np.ndarray:
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3]


def ink(figure: Figure) -> float:
    """Share of pixels that are not white."""
    return float((pixels(figure) < 250).any(axis=2).mean())


@pytest.mark.parametrize("draw", RESULT_FIGURES)
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"layers": MANY_LAYERS, "n_rois": 15, "n_folds": 3},
        {"layers": ("pixels",), "n_rois": 1, "n_voxels": 30},
        {"layers": ("net:$a$_^{", "net:" + "very.long." * 12), "n_rois": 5},
    ],
)
def test_figures_draw_small_and_large_runs(draw: Callable[[xr.Dataset], Figure], options: dict) -> None:
    settings, backend = dict(mpl.rcParams), mpl.get_backend()
    figure = draw(simulate_results(**options))
    assert ink(figure) > 0.02
    assert dict(mpl.rcParams) == settings
    assert mpl.get_backend() == backend
    assert all(ax.get_xlabel() or ax.get_ylabel() or figure.get_supxlabel() for ax in figure.axes[:1])


def writing(figure: Figure) -> str:
    """Every word in a figure."""
    return " ".join(text.get_text() for text in figure.findobj(Text))


@pytest.mark.parametrize("many", ["voxels", "neurons", "vertices"])
def test_figures_speak_of_what_was_measured(many: str) -> None:
    drawn = []
    for options in ({"n_voxels": 40}, {"n_voxels": 40, "layers": MANY_LAYERS, "n_rois": 15, "n_folds": 2}):
        results = simulate_results(**options)  # type: ignore[arg-type]
        results.attrs["neuroids"] = many
        drawn += [draw(results) for draw in RESULT_FIGURES]
    drawn.append(best_and_worst_voxels(simulate_trials(results).assign_attrs(neuroids=many)))
    one = {"vertices": "vertex"}.get(many, many[:-1])
    for figure in drawn:
        text = writing(figure)
        assert one in text or many in text
        assert many == "voxels" or "voxel" not in text


def points(ax: Axes) -> dict[str, np.ndarray]:
    """Positions of scattered points by colour."""
    groups = [c for c in ax.collections if isinstance(c, PathCollection)]
    return {to_hex(group.get_facecolor()[0]): np.asarray(group.get_offsets()) for group in groups}


def test_ceiling_figure_colours_exactly_the_significant_voxels() -> None:
    results = simulate_results(n_voxels=80)
    main = score_vs_ceiling(results).axes[0]
    drawn = points(main)
    kept = results["excluded"].values == ""
    passed = kept & (results["q_value"].values[-1] <= 0.05)
    for colour, mask in ((style.SCORE, passed), (style.NOT_SIGNIFICANT, kept & ~passed)):
        expected = np.column_stack([results["noise_ceiling_r"].values, results["r_evaluated"].values[-1]])[
            mask
        ]
        np.testing.assert_allclose(drawn[to_hex(to_rgba(colour))], expected)


def test_ceiling_figure_without_a_null_claims_no_significance() -> None:
    results = simulate_results(n_voxels=80).drop_vars("q_value")
    figure = score_vs_ceiling(results)
    assert not any("q ≤" in text.get_text() for ax in figure.axes for text in ax.texts)
    assert set(points(figure.axes[0])) == {to_hex(to_rgba(style.SCORE))}


def test_figures_name_what_they_lack() -> None:
    results = simulate_results(n_voxels=20)
    with pytest.raises(ValueError, match="noise_ceiling_r"):
        score_vs_ceiling(results.drop_vars("noise_ceiling_r"))
    with pytest.raises(ValueError, match="unknown"):
        score_vs_ceiling(results.assign(noise_ceiling_r=results["noise_ceiling_r"] * np.nan))
    with pytest.raises(ValueError, match="no positive penalty"):
        penalties(results.assign(alpha=results["alpha"] * np.nan))
    with pytest.raises(KeyError, match="wrong"):
        best_and_worst_voxels(simulate_trials(results), "wrong")


def test_time_courses_are_those_of_the_first_runs() -> None:
    results = simulate_results(n_voxels=20)
    predictions = simulate_time_series(results, n_runs=4)
    figure = best_and_worst_voxels(predictions)
    best = int(np.argmax(predictions["r"].values))
    second_run = predictions["run"].values == 1
    measured, predicted = figure.axes[1].lines[:2]
    np.testing.assert_allclose(measured.get_ydata(), predictions["measured"].values[second_run, best])
    np.testing.assert_allclose(predicted.get_ydata(), predictions["predicted"].values[-1][second_run, best])
    np.testing.assert_allclose(measured.get_xdata(), np.arange(second_run.sum()) * 2.5)
    assert len(figure.axes) == 8  # two best and two worst voxels, two runs


def test_blocks_are_shaded_where_stimuli_were_shown() -> None:
    predictions = simulate_time_series(simulate_results(n_voxels=20), n_runs=2)
    ax = best_and_worst_voxels(predictions).axes[0]
    shown = predictions["stimulus_id"].values[predictions["run"].values == 0] != ""
    spans = [(patch.get_x(), patch.get_x() + patch.get_width()) for patch in ax.patches]
    times = np.arange(shown.size) * 2.5
    shaded = np.array([any(start <= t < stop for start, stop in spans) for t in times])
    np.testing.assert_array_equal(shaded, shown)


def test_scatter_titles_carry_the_correlation() -> None:
    predictions = simulate_trials(simulate_results(n_voxels=20))
    titles = [ax.get_title("left") for ax in best_and_worst_voxels(predictions).axes]
    ranked = np.sort(predictions["r"].values)
    assert f"r = {ranked[-1]:.2f}" in titles[0]
    assert titles[0].startswith("best")
    assert titles[-1].startswith("worst")
    assert f"r = {ranked[0]:.2f}".replace("-", "−") in titles[-1]


def one_voxel(geometry: VolumeGeometry, voxel: int) -> xr.Dataset:
    r = np.zeros((1, len(geometry)))
    r[0, voxel] = 1.0
    return xr.Dataset({"r": (("layer", "neuroid"), r)}, coords={"layer": ["a"]})


def red_place(figure: Figure) -> np.ndarray:
    """Centre of the one red cell, as shares of the picture from the left and from below."""
    picture = np.asarray(figure.axes[0].images[0].get_array())
    red = (picture[..., 0] > 0.3) & (picture[..., 2] < 0.2) & (picture[..., 3] > 0)
    assert red.sum() == 1
    row, column = np.argwhere(red)[0]
    return np.array([(column + 0.5) / red.shape[1], (row + 0.5) / red.shape[0]])


@pytest.mark.parametrize("signs", [(1, 1), (-1, 1), (1, -1), (-1, -1)])
@pytest.mark.parametrize("axes", [(0, 1), (1, 0)])
def test_slices_put_left_left_and_front_up(signs: tuple[int, int], axes: tuple[int, int]) -> None:
    shape = [1, 1, 1]
    shape[0], shape[1] = 9, 9
    affine = np.zeros((4, 4))
    affine[axes[0], 0], affine[axes[1], 1], affine[2, 2], affine[3, 3] = (
        2.0 * signs[0],
        2.0 * signs[1],
        2.0,
        1.0,
    )
    geometry = VolumeGeometry(np.argwhere(np.ones(shape)), tuple(shape), affine)
    for voxel in (0, 5, 40, 77):
        world = affine @ [*geometry.voxel_indices[voxel], 1.0]
        centre = affine @ [4, 4, 0, 1.0]
        place = red_place(brain_map(one_voxel(geometry, voxel), geometry))
        # Right and front are where world coordinates grow.
        np.testing.assert_array_equal(np.sign(place - 0.5).round(6), np.sign((world - centre)[:2]))


def test_letters_are_drawn_only_where_the_affine_tells() -> None:
    geometry = half_slice(530)
    results = one_voxel(geometry, 3)
    letters = {text.get_text() for text in brain_map(results, geometry).axes[0].texts}
    assert {"L", "R", "A", "P", "20 mm"} <= letters
    unknown = VolumeGeometry(geometry.voxel_indices, geometry.shape, np.eye(4))
    letters = {text.get_text() for text in brain_map(results, unknown).axes[0].texts}
    assert not {"L", "R", "A", "P"} & letters
    assert any("voxels" in letter for letter in letters)


def test_excluded_voxels_are_not_given_a_colour_of_the_map() -> None:
    geometry = half_slice(530)
    results = simulate_results(n_voxels=530, n_excluded=40)
    picture = np.asarray(brain_map(results, geometry).axes[0].images[0].get_array())
    grey = np.isclose(picture, to_rgba(style.MISSING), atol=1e-3).all(axis=2)
    assert grey.sum() == 40
    assert (picture[..., 3] > 0).sum() == 530


def test_whole_volumes_are_drawn_as_slices_and_in_mni_as_glass_brain() -> None:
    geometry = whole_brain(3000)
    results = simulate_results(n_voxels=3000, n_folds=1)
    slices = brain_map(results, geometry)
    assert sum(bool(ax.images) for ax in slices.axes) == 12
    assert ink(slices) > 0.1
    mni = replace(geometry, space="MNI152NLin2009cAsym")
    glass = brain_map(results, mni)
    assert ink(glass) > 0.05
    assert not any(ax.get_title() for ax in glass.axes)


def test_a_glass_brain_hides_no_signal_behind_what_was_not_significant() -> None:
    geometry = replace(whole_brain(3000), space="MNI152")
    results = simulate_results(n_voxels=3000, n_folds=1, layers=("a",), choose=False, n_excluded=0)
    passing = geometry.voxel_indices[:, 0] % 3 == 0
    # Every line through the brain also meets voxels that are farther from zero and mean nothing.
    results["r"].values[:] = np.where(passing, 0.5, -0.9)
    results["q_value"].values[:] = np.where(passing, 0.01, 0.9)
    picture = pixels(brain_map(results, geometry)).astype(int)[:, :1050]  # without the colour bar
    assert ((picture[..., 0] - picture[..., 2]) > 60).mean() > 0.02
    assert ((picture[..., 2] - picture[..., 0]) > 60).mean() < 1e-3
    untested = pixels(brain_map(results.drop_vars("q_value"), geometry)).astype(int)[:, :1050]
    assert ((untested[..., 2] - untested[..., 0]) > 60).mean() > 0.02


def test_ratios_far_below_zero_hide_none_that_are_good() -> None:
    geometry = replace(whole_brain(3000), space="MNI152")
    results = simulate_results(n_voxels=3000, n_folds=1, layers=("a",), choose=False, n_excluded=0)
    good = geometry.voxel_indices[:, 0] % 3 == 0
    results["r_normalized"].values[:] = np.where(good, 0.95, -7.0)
    picture = pixels(brain_map(results.drop_vars("q_value"), geometry, "r_normalized")).astype(int)[:, :1050]
    yellow = (picture[..., 0] > 180) & (picture[..., 1] > 180) & (picture[..., 2] < 80)
    assert yellow.mean() > 0.02


def test_a_vertex_without_a_value_makes_no_hole() -> None:
    geometry = back_of_fsaverage(n_each=2500)
    results = simulate_results(n_voxels=5000, n_folds=1, layers=("a",), choose=False, n_excluded=0)
    results["r_normalized"].values[:] = 0.95
    whole = pixels(brain_map(results, geometry, "r_normalized")).astype(int)
    results["r_normalized"].values[:, np.random.default_rng(0).choice(5000, 250, replace=False)] = np.nan
    sparse = pixels(brain_map(results, geometry, "r_normalized")).astype(int)

    def yellow(picture: np.ndarray) -> float:
        return float(((picture[..., 0] > 180) & (picture[..., 2] < 80)).mean())

    # One vertex of twenty is in three triangles of twenty; all but those with two such corners stay.
    assert yellow(sparse) > 0.97 * yellow(whole)


@pytest.mark.parametrize("n_vertices", [10_242, 163_842])
def test_surfaces_are_drawn_on_both_hemispheres(n_vertices: int) -> None:
    geometry = back_of_fsaverage(n_vertices, n_each=300)
    figure = brain_map(simulate_results(n_voxels=600, n_folds=1), geometry, "r_normalized")
    assert len(figure.axes) == 7  # two hemispheres from three sides, and the colour bar
    assert ink(figure) > 0.1


def test_maps_refuse_what_they_cannot_show() -> None:
    results = simulate_results(n_voxels=100)
    with pytest.raises(ValueError, match="geometry has 90 voxels"):
        brain_map(results, half_slice(90))
    with pytest.raises(ValueError, match="variable is 'alpha'"):
        brain_map(results, half_slice(100), "alpha")
    with pytest.raises(KeyError, match="wrong"):
        brain_map(results, half_slice(100), layer="wrong")
    odd = SurfaceGeometry(200, 200, np.arange(50), np.arange(50), space="fsaverage")
    with pytest.raises(ValueError, match="10242, 40962, 163842"):
        brain_map(results, odd)


def test_forty_thousand_voxels_are_drawn_in_seconds() -> None:
    results = simulate_results(n_voxels=40_000, n_folds=2, n_permutations=20)
    predictions = simulate_trials(results, n_trials=10_000)
    started = time.process_time()
    for draw in RESULT_FIGURES:
        assert ink(draw(results)) > 0.02
    assert ink(best_and_worst_voxels(predictions)) > 0.02
    assert time.process_time() - started < 20
