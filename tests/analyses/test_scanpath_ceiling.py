"""Human ceilings and agreement of models: every rule against loops, resampling against explicit copies."""

import numpy as np
import pytest

from analyses.datasets import load_dataset
from analyses.metrics.scanpath import (
    MULTIMATCH,
    RULES,
    human_ceiling,
    model_agreement,
    multimatch,
    scanmatch,
    share_of_ceiling,
)
from analyses.metrics.scanpath.resampling import draw_counts
from cogmodels.search import Scanpaths
from tests.oracles import scanpath as oracle

SIZE = (200, 100)
PEOPLE, DISPLAYS = ("ann", "bob", "cay", "dan", "eve"), ("w", "x", "y", "z")


def trials(seed=0, share=0.8, repeats=1, shortest=1, observers=PEOPLE):
    """Scanpaths of people who did not see every display, with durations and objects."""
    rng = np.random.default_rng(seed)
    who = [(o, d) for o in observers for d in DISPLAYS if rng.random() < share for _ in range(repeats)]
    lengths = rng.integers(shortest, 8, len(who))
    return Scanpaths.from_lists(
        [rng.uniform(0, SIZE, (n, 2)) for n in lengths],
        [o for o, _ in who],
        [d for _, d in who],
        durations_ms=[rng.uniform(100, 400, n) for n in lengths],
        objects=[rng.integers(0, 4, n) for n in lengths],
    )


def total_length(a, b):
    """A symmetric score of whole scanpaths whose value loops can compute."""
    return np.array([len(p) + len(q) for p, q in zip(a, b, strict=True)])


def lengths_of(paths):
    """Numbers of fixations by observer and display, one a trial."""
    lengths = {}
    for observer, display, n in paths.trials[["observer", "display", "n_fixations"]].itertuples(index=False):
        lengths.setdefault((observer, display), []).append(n)
    return lengths


def loop_score(paths):
    """Score of two people on a display, None where there is no such pair; mean over their repeats."""
    lengths = lengths_of(paths)

    def score(teller, told, display):
        one, other = lengths.get((teller, display)), lengths.get((told, display))
        if teller == told or not one or not other:
            return None
        return sum(p + q for p in one for q in other) / (len(one) * len(other))

    return score


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("seed", range(3))
def test_rules_equal_loops(rule, seed):
    paths = trials(seed)
    ceiling = human_ceiling(paths, total_length, rule, n_bootstrap=2)
    assert ceiling.names == ("total_length",)
    expected = oracle.agreement(PEOPLE, DISPLAYS, rule, loop_score(paths))
    np.testing.assert_allclose(ceiling.estimate, expected)
    assert (ceiling.observers, ceiling.displays) == (PEOPLE, DISPLAYS)


def test_rules_differ_unless_everyone_saw_everything():
    uneven, even = trials(0, 0.6), trials(0, 1.1)
    values = [
        [human_ceiling(p, total_length, rule, n_bootstrap=2).estimate[0] for rule in RULES]
        for p in (uneven, even)
    ]
    assert len(np.unique(np.round(values[0], 9))) == 3
    np.testing.assert_allclose(values[1], values[1][0])


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("resample", ["both", "observers", "displays"])
def test_draws_equal_explicit_copies(rule, resample):
    paths = trials(4)
    ceiling = human_ceiling(paths, total_length, rule, resample=resample, n_bootstrap=12, seed=5)
    people, scenes = draw_counts(5, 4, 12, resample, 5)
    score = loop_score(paths)
    for person, scene, sample in zip(people, scenes, ceiling.samples, strict=True):
        copies = np.repeat(PEOPLE, person.astype(int)), np.repeat(DISPLAYS, scene.astype(int))
        np.testing.assert_allclose(sample, oracle.agreement(*copies, rule, score))
    # Draws of one person only have no pairs.
    np.testing.assert_allclose(ceiling.lower, np.nanquantile(ceiling.samples, 0.025, axis=0))


def test_repeats_count_for_a_person_once_when_one_is_left_out():
    paths = trials(1, repeats=2)
    ceiling = human_ceiling(paths, total_length, n_bootstrap=2)
    expected = oracle.agreement(PEOPLE, DISPLAYS, "leave-one-observer-out", loop_score(paths))
    np.testing.assert_allclose(ceiling.estimate, expected)
    # A pair of people with two trials each has four pairs, and no pair within a person.
    once = human_ceiling(trials(1), total_length, n_bootstrap=2)
    assert once.n_pairs > 0
    counts = paths.trials.groupby("display")["observer"].nunique()
    assert ceiling.n_pairs == 4 * (counts * (counts - 1) // 2).sum()


def pair_score(paths, compare):
    """Score of two people on a display by `compare(i, j, display)` of their trials, each pair once."""
    rows = {
        key: i
        for i, key in enumerate(paths.trials[["observer", "display"]].itertuples(index=False, name=None))
    }
    known = {}

    def score(teller, told, display):
        i, j = rows.get((teller, display)), rows.get((told, display))
        if teller == told or i is None or j is None:
            return None
        if (i, j) not in known:
            known[i, j] = compare(i, j, display)
        return known[i, j]

    return score


def test_metrics_by_name_equal_their_functions():
    paths = trials(2, shortest=3)
    places, durations = paths.arrays(), paths.durations()
    five = pair_score(
        paths, lambda i, j, _: multimatch([places[i]], [places[j]], SIZE, [durations[i]], [durations[j]])[0]
    )
    ceiling = human_ceiling(paths, "multimatch", size_px=SIZE, n_bootstrap=2)
    assert ceiling.names == MULTIMATCH
    for column, value in enumerate(ceiling.estimate):

        def one(teller, told, display, column=column):
            values = five(teller, told, display)
            return None if values is None else values[column]

        np.testing.assert_allclose(value, oracle.agreement(PEOPLE, DISPLAYS, "leave-one-observer-out", one))
    sizes = {name: (200, 100) if name == "w" else (300, 100) for name in DISPLAYS}
    timed = pair_score(
        paths,
        lambda i, j, display: scanmatch(
            [places[i]], [places[j]], sizes[display], [durations[i]], [durations[j]], bin_ms=50
        )[0],
    )
    value = human_ceiling(paths, "scanmatch", "pooled", size_px=sizes, bin_ms=50, n_bootstrap=2).estimate
    np.testing.assert_allclose(value, oracle.agreement(PEOPLE, DISPLAYS, "pooled", timed))
    for name in ("sequence_score", "edit_distance", "dtw"):
        assert human_ceiling(paths, name, n_bootstrap=2).names == (name,)


def test_people_who_repeat_one_scanpath_reach_one():
    path = np.array([[10.0, 10], [50, 60], [90, 20], [150, 80]])
    names = [(o, d) for o in PEOPLE for d in DISPLAYS]
    paths = Scanpaths.from_lists([path] * len(names), *(list(part) for part in zip(*names, strict=True)))
    ceiling = human_ceiling(paths, "multimatch", size_px=SIZE, n_bootstrap=20)
    np.testing.assert_allclose(ceiling.estimate, [1, 1, 1, 1, np.nan])
    np.testing.assert_allclose(ceiling.lower[:4], 1)
    assert ceiling.n_undefined.tolist() == [0, 0, 0, 0, ceiling.n_pairs]


def test_short_scanpaths_are_counted_and_left_out():
    paths = trials(3)
    lengths = paths.trials["n_fixations"]
    ceiling = human_ceiling(paths, "multimatch", size_px=SIZE, n_bootstrap=20)
    assert (lengths < 3).any()
    assert 0 < ceiling.n_undefined[0] < ceiling.n_pairs
    kept = Scanpaths.concat(
        [
            paths.select(observers=o, displays=d)
            for o, d, n in paths.trials[["observer", "display", "n_fixations"]].itertuples(index=False)
            if n >= 3
        ]
    )
    alone = human_ceiling(kept, "multimatch", size_px=SIZE, n_bootstrap=20)
    np.testing.assert_allclose(ceiling.estimate, alone.estimate)
    assert ceiling.to_frame()["n_undefined"].tolist() == ceiling.n_undefined.tolist()


def test_start_counts_where_it_is_asked_for():
    rng = np.random.default_rng(8)
    names = [(o, d) for o in PEOPLE for d in DISPLAYS]
    moved = [rng.uniform(0, SIZE, (n, 2)) for n in rng.integers(2, 6, len(names))]
    centre = np.array([[100.0, 50]])
    who = [list(part) for part in zip(*names, strict=True)]
    whole = [np.concatenate([centre, path]) for path in moved]
    paths = Scanpaths.from_lists(whole, *who, start=True)
    settings = {"size_px": SIZE, "n_bootstrap": 5}
    without, kept = (human_ceiling(paths, "multimatch", start=start, **settings) for start in (False, True))
    np.testing.assert_array_equal(
        without.samples, human_ceiling(Scanpaths.from_lists(moved, *who), "multimatch", **settings).samples
    )
    np.testing.assert_array_equal(
        kept.samples, human_ceiling(Scanpaths.from_lists(whole, *who), "multimatch", **settings).samples
    )
    assert without.n_undefined[0] > 0 == kept.n_undefined[0]
    with pytest.raises(ValueError, match="start of agreement and ceiling differ"):
        share_of_ceiling(without, kept)


@pytest.mark.parametrize("rule", RULES)
def test_model_agreement_equals_loops(rule):
    people, model = trials(6), trials(7, share=1.1, observers=("net#0", "net#1"))
    mine, theirs = lengths_of(model), lengths_of(people)

    def score(teller, told, display):
        # Told once by the model, not once by each of the people that the loops go through.
        if teller != PEOPLE[0] or (told, display) not in theirs:
            return None
        return np.mean([mine[name, display] for name in model.observers]) + theirs[told, display][0]

    value = model_agreement(model, people, total_length, rule, n_bootstrap=2)
    np.testing.assert_allclose(value.estimate, oracle.agreement(PEOPLE, DISPLAYS, rule, score))
    assert value.n_pairs == 2 * len(people)


def test_model_that_is_a_person_more_reaches_the_ceiling():
    """Truth known: model and people are draws of one searcher, so its share is 1."""
    rng = np.random.default_rng(0)
    centres = {name: rng.uniform(20, 80, (5, 2)) * (2, 1) for name in "abcdefghijklmnop"}

    def searcher(names, noise):
        who = [(o, d) for o in names for d in centres]
        paths = [centres[d] + rng.normal(0, noise, (5, 2)) for _, d in who]
        return Scanpaths.from_lists(paths, *(list(part) for part in zip(*who, strict=True)))

    people, peer, worse = searcher([f"p{i}" for i in range(12)], 6), searcher(["m"], 6), searcher(["m"], 25)
    ceiling = human_ceiling(people, "scanmatch", size_px=SIZE)
    shares = [
        share_of_ceiling(model_agreement(model, people, "scanmatch", size_px=SIZE), ceiling).iloc[0]
        for model in (peer, worse)
    ]
    assert shares[0]["lower"] < 1 < shares[0]["upper"]
    assert 0.95 < shares[0]["share"] < 1.05
    assert shares[1]["upper"] < 0.95


def test_people_agree_on_a_scene_more_than_across_scenes(real_data):
    """Interiors, 57 people: what their scanpaths share goes with the scene, whatever the rule."""
    data = load_dataset("interiors")
    paths, display = data.scanpaths, data.displays[0]
    size = (display.width_px, display.height_px)
    names = paths.displays
    turned = dict(zip(names, names[1:] + names[:1], strict=True))
    half = paths.observers[::2]
    # Every other person is said to have seen the next scene.
    table = paths.table.copy()
    moved = table["observer"].isin(half)
    table.loc[moved, "display"] = table.loc[moved, "display"].map(turned)
    across, within = (
        model_agreement(
            Scanpaths(one[moved].assign(observer="m", trial=np.cumsum(one[moved]["fixation"].diff() <= 0))),
            Scanpaths(one[~moved]),
            "scanmatch",
            size_px=size,
            n_bootstrap=200,
        )
        for one in (table, paths.table)
    )
    assert across.upper[0] < within.lower[0]
    values = [human_ceiling(paths, "scanmatch", rule, size_px=size, n_bootstrap=2) for rule in RULES]
    # 57 people who saw most scenes: the rules differ by less than a hundredth here.
    assert np.ptp([value.estimate[0] for value in values]) < 0.01
    assert abs(values[0].estimate[0] - within.estimate[0]) < 0.02
    counts = paths.trials.groupby("display")["observer"].count()
    assert values[0].n_pairs == (counts * (counts - 1) // 2).sum()


def test_bad_input_is_named():
    paths = trials(0)
    for call, message in (
        (lambda: human_ceiling(paths.select("ann"), total_length), "no display was seen by two people"),
        (
            lambda: human_ceiling(paths, total_length, "leave-one-out"),
            "did you mean 'leave-one-observer-out'",
        ),
        (lambda: human_ceiling(paths, "multimach", size_px=SIZE), "did you mean 'multimatch'"),
        (
            lambda: human_ceiling(paths, "multimatch", size_px={"w": SIZE}),
            "unknown display 'x'.*size_px lacks it",
        ),
        (lambda: human_ceiling(paths, lambda a, b: np.ones(3)), r"metric returned shape \(3,\)"),
        (lambda: human_ceiling(paths.select(displays="w"), total_length), "1 of the displays"),
        (
            lambda: model_agreement(Scanpaths.from_lists([[(1, 1)]], "m", "q"), paths, total_length),
            "share no display",
        ),
    ):
        with pytest.raises(ValueError, match=message):
            call()
    ceiling = human_ceiling(paths, total_length, n_bootstrap=5)
    for other, message in (
        (human_ceiling(paths, total_length, "pooled", n_bootstrap=5), "rule of agreement and ceiling differ"),
        (human_ceiling(paths, total_length, n_bootstrap=6), "5 and 6 draws"),
    ):
        with pytest.raises(ValueError, match=message):
            share_of_ceiling(ceiling, other)
