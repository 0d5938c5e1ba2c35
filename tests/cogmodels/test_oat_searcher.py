"""The searcher whose probabilities are known."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cogmodels.search.oat.searcher import ShelfSearcher, simulate_shelves
from stimuli.search_displays import SearchDisplays

SHELF = simulate_shelves(1, (2, 4))[0]


def slow_step(searcher, display, fixated):
    """The rule in words, object by object, on a grid whose start is the centre."""
    n, target = len(display.items), display.target_item
    vectors, places = display.features, display.items[["row", "column"]].to_numpy()
    here = places[fixated[-1]] if fixated else (np.array(display.grid_shape) - 1) / 2
    weight = [
        np.exp(
            searcher.similarity_weight
            * (v @ vectors[target] / np.linalg.norm(v) / np.linalg.norm(vectors[target]))
            - ((p - here) ** 2).sum() / (2 * searcher.sigma_cells**2)
        )
        for v, p in zip(vectors, places, strict=True)
    ]
    groups = {
        "stay": set(fixated[-1:]),
        "seen": set(fixated[:-1]) - set(fixated[-1:]),
        "new": set(range(n)) - set(fixated),
    }
    shares = {
        "stay": searcher.refixation,
        "seen": searcher.revisit,
        "new": 1 - searcher.refixation - searcher.revisit,
    }
    total = sum(shares[name] for name, group in groups.items() if group)
    stop = 0.0
    if fixated:
        stop = searcher.recognition if fixated[-1] == target else searcher.giving_up
    chances = [0.0] * n + [stop]
    for name, group in groups.items():
        for item in group:
            chances[item] = (1 - stop) * shares[name] / total * weight[item] / sum(weight[i] for i in group)
    return chances


@settings(deadline=None)
@given(st.lists(st.integers(0, 7), max_size=12), st.floats(0, 6), st.floats(0.5, 4))
def test_step_probabilities_follow_the_rule(fixated, similarity_weight, sigma_cells):
    searcher = ShelfSearcher(similarity_weight=similarity_weight, sigma_cells=sigma_cells)
    found = searcher.step_probabilities(SHELF, fixated)
    np.testing.assert_allclose(found, slow_step(searcher, SHELF, fixated), atol=1e-12)
    assert found.sum() == pytest.approx(1)


def test_searches_are_drawn_from_these_probabilities():
    searcher = ShelfSearcher()
    paths = searcher.search(SearchDisplays([SHELF]), n_rollouts=4000)
    counts = Counter(tuple(objects) for objects in paths.objects())
    firsts = np.bincount([path[0] for path in counts.elements()], minlength=9) / 4000
    np.testing.assert_allclose(firsts, searcher.step_probabilities(SHELF, []), atol=0.03)
    for path, count in counts.most_common(3):
        steps = [searcher.step_probabilities(SHELF, path[:t])[c] for t, c in enumerate((*path, 8))]
        chance = np.prod(steps)
        assert count / 4000 == pytest.approx(chance, abs=4 * np.sqrt(chance / 4000))
    whole = searcher.log_likelihoods(paths, SearchDisplays([SHELF]))
    objects = paths.objects()[0]
    by_hand = [searcher.step_probabilities(SHELF, objects[:t])[c] for t, c in enumerate([*objects, 8])]
    np.testing.assert_allclose(np.exp(whole[0]), by_hand)


def test_a_search_ends_on_the_target_or_gives_up():
    displays = simulate_shelves(20, (3, 9), seed=1)
    paths = ShelfSearcher(max_fixations=5).search(displays, n_rollouts=3, seed=2)
    targets = {display.display_id: display.target_item for display in displays}
    for row, objects in zip(paths.trials.itertuples(), paths.objects(), strict=True):
        assert row.found == (objects[-1] == targets[row.display])
        assert len(objects) <= 5
    assert paths.observers == ["searcher#0", "searcher#1", "searcher#2"]
    sure = ShelfSearcher(recognition=1, giving_up=0, max_fixations=500).search(displays)
    assert sure.trials["found"].all()


def test_where_there_is_nowhere_to_go_it_stops():
    (lonely,) = simulate_shelves(1, (1, 1))
    searcher = ShelfSearcher(refixation=0, revisit=0, recognition=0)
    np.testing.assert_array_equal(searcher.step_probabilities(lonely, [0]), [0, 1])


def test_shelves_hold_no_object_twice_and_depend_on_the_seed():
    one, again, other = (
        simulate_shelves(5, (3, 9)),
        simulate_shelves(5, (3, 9)),
        simulate_shelves(5, (3, 9), seed=1),
    )
    assert one.content_hash == again.content_hash != other.content_hash
    for display in one:
        assert len(np.unique(display.features[:, :12], axis=0)) == 27
        np.testing.assert_array_equal(display.features[:, :12].sum(1), 2)
        np.testing.assert_array_equal(display.target_features, display.features[display.target_item])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ShelfSearcher(refixation=0.6, revisit=0.4), "leave something for new"),
        (lambda: ShelfSearcher(recognition=1.2), "recognition is 1.2"),
        (lambda: ShelfSearcher(sigma_cells=0), "sigma_cells"),
        (lambda: simulate_shelves(0), "at least one display"),
        (lambda: simulate_shelves(1, (6, 14)), "1 to 36 cells"),
        (lambda: ShelfSearcher().search([replace(SHELF, features=None)]), "lacks a grid, features"),
        (lambda: ShelfSearcher().search([]), "displays is empty"),
    ],
)
def test_what_cannot_be_searched_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
