"""Figures of attention show the numbers that they are given; the page speaks of them only where there are any."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import PathCollection
from matplotlib.figure import Figure
from matplotlib.text import Text

from analyses.experiments.attention_summary import ATTENTION
from analyses.experiments.run_folder import write_netcdf
from analyses.interpretation import lesion_effect, query_order
from analyses.report import write_report
from analyses.report.attention_figures import attention_heads, attention_maps, mean_attention_maps
from analyses.report.attention_reading import query_of_heads
from analyses.report.encoder_figures import data_size_curve, encoder_comparison, lesion_effects
from analyses.report.query_figures import attention_eccentricity, query_similarity_matrix
from analyses.report.word_figures import attention_words
from tests.analyses.attention_maps import QUERIES, SENTENCES, planted_summary, planted_texts
from tests.analyses.page import Page
from tests.analyses.run_folder import simulate_results, write_run_folder
from tests.analyses.test_interpretation_lesions import planted

FIGURES = (
    attention_maps,
    attention_heads,
    mean_attention_maps,
    query_similarity_matrix,
    attention_eccentricity,
)


@pytest.fixture(scope="module")
def summary() -> xr.Dataset:
    return planted_summary()


def wide_summary() -> xr.Dataset:
    """Fifty queries with long names, eight heads, wide images."""
    rng = np.random.default_rng(0)
    attention = rng.dirichlet(np.full(60, 0.3), (12, 50, 8)).astype(np.float32)
    similarity = np.corrcoef(rng.standard_normal((50, 30)))
    return xr.Dataset(
        {
            "attention": (("stimulus", "query", "head", "token"), attention),
            "mean_attention": (("query", "token"), attention.mean(axis=(0, 2))),
            "entropy_bits": ("query", rng.uniform(0, 6, 50)),
            "query_similarity": (("query", "other_query"), similarity),
            "image": (("stimulus", "y", "x", "rgb"), rng.integers(0, 256, (12, 96, 160, 3), np.uint8)),
        },
        coords={
            "stimulus_id": ("stimulus", [f"coco_{i:012}$" for i in range(12)]),
            "query": [f"LH {'very long region ' * (i % 3)}{i}$_^" for i in range(50)],
            "row": ("token", np.repeat(np.arange(6), 10)),
            "column": ("token", np.tile(np.arange(10), 6)),
        },
    )


def drawn(figure: Figure) -> np.ndarray:
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3]


def undrawn(figure: Figure) -> set[int]:
    """Labels of ticks beyond the ends of their axis, which exist and are not drawn."""
    found = set()
    for ax in figure.axes:
        for axis in (ax.xaxis, ax.yaxis):
            low, high = sorted(axis.get_view_interval())
            margin = 1e-6 * (high - low)
            for tick in [*axis.get_major_ticks(), *axis.get_minor_ticks()]:
                if not ax.axison or not low - margin <= tick.get_loc() <= high + margin:
                    found |= {id(tick.label1), id(tick.label2)}
    return found


def check_writing(figure: Figure) -> np.ndarray:
    """Draw, and hold that no words reach beyond the page or stand on one another."""
    picture = drawn(figure)
    renderer = figure.canvas.get_renderer()  # type: ignore[attr-defined]
    hidden = undrawn(figure)
    boxes = []
    for text in figure.findobj(Text):
        written = text.get_visible() and text.get_text().strip() and id(text) not in hidden
        if written and not text.get_rotation() % 90:
            boxes.append((text.get_text(), text.get_window_extent(renderer)))
    page = figure.bbox
    for words, box in boxes:
        assert box.x0 > page.x0 - 1, words
        assert box.x1 < page.x1 + 1, words
        assert box.y0 > page.y0 - 1, words
        assert box.y1 < page.y1 + 1, words
    for (one, first), (other, second) in combinations(boxes, 2):
        across = min(first.x1, second.x1) - max(first.x0, second.x0)
        along = min(first.y1, second.y1) - max(first.y0, second.y0)
        assert across < 2 or along < 2, (one, other)
    return picture


def images(ax: Axes) -> list[np.ndarray]:
    return [np.asarray(image.get_array()) for image in ax.images]


@pytest.mark.parametrize("draw", FIGURES)
@pytest.mark.parametrize("size", ["small", "large"])
def test_figures_write_nothing_over_anything(draw, size: str, summary: xr.Dataset) -> None:
    settings = dict(mpl.rcParams)
    figure = draw(summary if size == "small" else wide_summary())
    assert (check_writing(figure) < 250).any(axis=2).mean() > 0.02
    assert dict(mpl.rcParams) == settings


def test_other_figures_write_nothing_over_anything() -> None:
    check_writing(attention_words(planted_texts()))
    check_writing(encoder_comparison(comparison_table()))
    check_writing(data_size_curve(size_table()))
    check_writing(data_size_curve(size_table().query("condition == 'moving'")))
    check_writing(lesion_effects(planted_effect()))


def test_maps_lie_over_their_images_query_by_query(summary: xr.Dataset) -> None:
    figure = attention_maps(summary, queries=[0, 3], stimuli=[1, 4, 5])
    panels = np.array([ax for ax in figure.axes if ax.images]).reshape(3, 3)
    np.testing.assert_array_equal(images(panels[0, 2])[0], summary["image"].values[5])
    overlay = images(panels[1, 1])[1][..., :3]
    weights = summary["attention"].values[4, 0].mean(axis=0) * 64
    most = (summary["attention"].values[[1, 4, 5], 0].mean(axis=1) * 64).max()
    expected = mpl.colormaps["inferno"](weights.reshape(8, 8) / most)[..., :3]
    np.testing.assert_allclose(overlay, expected, atol=2e-2)
    # The most attended place is the brightest and hides its image most.
    assert images(panels[1, 1])[1][..., 3].argmax() == weights.argmax()


def test_even_attention_does_not_look_strong(summary: xr.Dataset) -> None:
    figure = attention_maps(summary, queries=[QUERIES.index("even")], stimuli=[0])
    shown = images([ax for ax in figure.axes if ax.images][1])[1]
    np.testing.assert_allclose(shown[0, 0, :3], mpl.colormaps["inferno"](0.25)[:3], atol=0.01)


def test_heads_are_those_of_the_query_whose_heads_differ_most(summary: xr.Dataset) -> None:
    broad = summary["attention"].values
    gaps = [np.var(broad[:, q], axis=1).sum() for q in range(len(QUERIES))]
    assert query_of_heads(summary) == int(np.argmax(gaps))
    titles = [ax.get_ylabel() for ax in attention_heads(summary).axes]
    assert "head 1" in titles
    assert "head 2" in titles


def test_mean_maps_are_octaves_around_even(summary: xr.Dataset) -> None:
    figure = mean_attention_maps(summary)
    for query, name in enumerate(QUERIES):
        expected = np.log2(np.clip(summary["mean_attention"].values[query] * 64, 1 / 8, 8))
        np.testing.assert_allclose(images(figure.axes[query])[0], expected.reshape(8, 8), atol=1e-6)
        assert name in figure.axes[query].get_title(loc="left")


def test_similarity_is_drawn_in_the_order_of_its_labels(summary: xr.Dataset) -> None:
    ax = query_similarity_matrix(summary).axes[0]
    order = query_order(summary["query_similarity"].values)
    np.testing.assert_array_equal(images(ax)[0], summary["query_similarity"].values[np.ix_(order, order)])
    assert [label.get_text() for label in ax.get_yticklabels()] == [QUERIES[i] for i in order]


def test_eccentricity_is_in_degrees_where_the_size_is_known(summary: xr.Dataset) -> None:
    left, right = attention_eccentricity(summary).axes
    names = [label.get_text() for label in right.get_yticklabels()]
    assert names[0] == "fovea"
    assert names[-1] == "periphery"
    even = dict(zip(names, right.collections[0].get_offsets(), strict=True))["even"][0]
    assert even == pytest.approx(8 * (np.sqrt(2) + np.arcsinh(1)) / 6, rel=2e-3)
    assert "deg" in left.get_xlabel()
    unknown = summary.copy()
    del unknown.attrs["image_size_deg"]
    left, right = attention_eccentricity(unknown).axes
    assert "image widths" in left.get_xlabel()
    np.testing.assert_allclose(right.collections[0].get_offsets()[:, 0].max(), 3.74 / 8, atol=0.01)


def test_words_are_darkest_where_attention_is_strongest() -> None:
    texts = planted_texts()
    ax = attention_words(texts, queries=[1], stimuli=[0]).axes[0]
    shades = [np.mean(patch.get_facecolor()[:3]) for patch in ax.patches]
    assert len(shades) == len(SENTENCES[0].split())
    assert int(np.argmin(shades)) == 0  # the second query attends to the beginning


ENCODERS = ("attention, voxel queries", "spatial x feature", "ridge, flattened")


def comparison_table() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    rows = [
        {
            "encoder": e,
            "dataset": d,
            "r": r,
            "lower": r - 0.05,
            "upper": r + 0.04,
            "ceiling": 0.8,
            "null": 0.05,
        }
        for d in ("v4-natural 210325", "v4-natural 201025", "digits69", "haxby-slice")
        for e, r in zip(
            ("attention, voxel queries", "spatial x feature", "ridge, flattened"),
            rng.uniform(0.1, 0.7, 3),
            strict=True,
        )
    ]
    return pd.DataFrame(rows)


def size_table() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    return pd.DataFrame(
        [
            {
                "condition": c,
                "encoder": e,
                "n_images": n,
                "seed": s,
                "r": n / (n + k) + rng.normal(0, 0.02),
                "ceiling": 0.9,
            }
            for c in ("moving", "fixed", "global")
            for e, k in (("attention", 800), ("ridge", 300))
            for n in (250, 500, 1000, 2000, 4000)
            for s in range(3)
        ]
    ).assign(ceiling=0.9)


def planted_effect():
    X, encoder = planted(60)
    groups = {"first": np.array([True, False]), "second": np.array([False, True])}
    return lesion_effect(encoder, X, k=2, voxel_groups=groups, n_bootstrap=50)


def test_comparison_shows_each_score_in_its_panel_and_marks_the_highest() -> None:
    table = comparison_table()
    figure = encoder_comparison(table)
    for ax, (dataset, rows) in zip(figure.axes, table.groupby("dataset", sort=False), strict=False):
        assert ax.get_title(loc="left") == dataset
        offsets = ax.collections[-1].get_offsets()
        np.testing.assert_allclose(offsets[:, 0], rows["r"])
        np.testing.assert_array_equal(offsets[:, 1], [2, 1, 0])
        colours = ax.collections[-1].get_facecolors()
        assert int(np.argmax(colours[:, 0])) == int(np.argmax(rows["r"]))


def test_comparison_shows_a_null_below_zero_where_it_is() -> None:
    figure = encoder_comparison(comparison_table().assign(null=-0.12))
    ticks = figure.axes[0].collections[0].get_segments()
    assert [segment[0][0] for segment in ticks] == [-0.12] * 3
    assert figure.axes[0].get_xlim()[0] < -0.12


def test_comparison_without_intervals_ceilings_or_nulls_claims_none() -> None:
    figure = encoder_comparison(comparison_table()[["encoder", "dataset", "r"]])
    words = " ".join(text.get_text() for text in figure.findobj(Text))
    assert "interval" not in words
    assert "ceiling" not in words
    assert "null" not in words


def test_size_curve_is_the_mean_over_seeds_with_its_t_interval() -> None:
    table = size_table().query("condition == 'moving' and encoder == 'ridge'").drop(columns="condition")
    ax = data_size_curve(table).axes[0]
    by_size = table.groupby("n_images")["r"]
    bars = ax.containers[0]
    np.testing.assert_allclose(np.asarray(bars.lines[0].get_ydata(), float), by_size.mean())
    segments = bars.lines[2][0].get_segments()
    half = np.array([(segment[1, 1] - segment[0, 1]) / 2 for segment in segments])
    # 4.303 is the 97.5th percentile of t with 2 degrees of freedom.
    np.testing.assert_allclose(half, 4.303 * by_size.std() / np.sqrt(3), rtol=1e-3)


def test_lesions_are_drawn_as_measured() -> None:
    effect = planted_effect()
    figure = lesion_effects(effect)
    np.testing.assert_allclose(images(figure.axes[0])[0], effect.specific.to_numpy())
    scattered = [c.get_offsets()[:, 0] for c in figure.axes[1].collections if isinstance(c, PathCollection)]
    drawn_points = np.concatenate(scattered)
    np.testing.assert_allclose(np.sort(drawn_points), np.sort(effect.table["specific"]))


def test_tables_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="lacks the columns r"):
        encoder_comparison(comparison_table().drop(columns="r"))
    with pytest.raises(ValueError, match="more than once"):
        encoder_comparison(pd.concat([comparison_table()] * 2))
    with pytest.raises(ValueError, match="two rows"):
        data_size_curve(pd.concat([size_table()] * 2))
    with pytest.raises(ValueError, match="not positive"):
        data_size_curve(size_table().assign(n_images=lambda t: t["n_images"] - 250))
    with pytest.raises(ValueError, match="no rows"):
        data_size_curve(size_table()[:0])
    with pytest.raises(ValueError, match="word"):
        attention_words(planted_summary(5))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    return write_run_folder(folder, simulate_results(n_voxels=40, layers=("net:a",), n_folds=2))


def test_the_page_shows_attention_only_where_the_run_has_it(run: Path, summary: xr.Dataset) -> None:
    before = write_report(run).read_text(encoding="utf-8")
    assert "attend" not in Page(before).text
    write_netcdf(summary, run / ATTENTION)
    page = Page(write_report(run).read_text(encoding="utf-8"))
    names = {
        "attention_maps",
        "attention_heads",
        "mean_attention_maps",
        "attention_eccentricity",
        "query_similarity",
    }
    assert names <= {path.stem for path in (run / "figures").iterdir()}
    assert "attention_words" not in {path.stem for path in (run / "figures").iterdir()}
    for fact in ("vgg16:features.22", "PlantedRouting", "fitted on all samples", "over all 40 stimuli"):
        assert fact in page.text
    assert any(tag == "details" for tag, _ in page.tags)
    (run / ATTENTION).unlink()
    assert write_report(run).read_text(encoding="utf-8") == before
    assert not names & {path.stem for path in (run / "figures").iterdir()}


def test_the_page_shows_words_of_texts(run: Path) -> None:
    write_netcdf(planted_texts(), run / ATTENTION)
    page = Page(write_report(run).read_text(encoding="utf-8"))
    assert "Which words queries attend to" in page.text
    assert "eccentricity" not in page.text
    (run / ATTENTION).unlink()
