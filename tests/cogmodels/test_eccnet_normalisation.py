"""Features relative to what the display commonly shows: against an oracle, and what must and must not change them."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cogmodels.search.eccnet import EccNet
from cogmodels.search.ivsn import IVSN
from cogmodels.search.modulation import modulate
from cogmodels.search.normalisation import normalise
from cogmodels.search.priority_maps import cells_within
from tests.cogmodels.eccnet_cases import array_display, small_backbone, small_network
from tests.cogmodels.test_eccnet import PAIRS, published_map
from tests.oracles import eccnet as oracle

KINDS = ("places", "channels", "standardised", "whitened")
SHOWN = (slice(2, 9), slice(1, 11))


def agreement(features, kernel, kind, shown=SHOWN):
    given = (torch.tensor(np.ascontiguousarray(each))[None] for each in (features, kernel))
    return modulate(*normalise(*given, shown, kind)).numpy()


def drawn(seed=0, n_channels=6, size=(2, 2)):
    """Return rectified features (n_channels, 11, 12) of unequal strength, and a kernel."""
    rng = np.random.default_rng(seed)
    strength = rng.uniform(0.1, 5, (n_channels, 1, 1))
    features, kernel = rng.normal(size=(n_channels, 11, 12)), rng.normal(size=(n_channels, *size))
    return strength * np.maximum(features, 0), strength * np.maximum(kernel, 0)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [(1, 1), (2, 3)])
def test_products_of_normalised_features(kind, size):
    features, kernel = drawn(size=size)
    expected = oracle.modulate(*oracle.normalise(features, kernel, SHOWN, kind))
    np.testing.assert_allclose(agreement(features, kernel, kind), expected, atol=1e-10)


def test_none_leaves_features_as_they_are():
    given = tuple(torch.tensor(each)[None] for each in drawn())
    assert normalise(*given, SHOWN, "none") == given


@pytest.mark.parametrize("kind", KINDS)
def test_more_channels_than_places(kind):
    features, kernel = drawn(n_channels=40)
    shown = (slice(3, 6), slice(3, 6))
    expected = oracle.modulate(*oracle.normalise(features, kernel, shown, kind))
    np.testing.assert_allclose(agreement(features, kernel, kind, shown), expected, atol=1e-10)


@given(st.sampled_from(KINDS), st.floats(1e-3, 1e3), st.integers(0, 1000))
@settings(max_examples=40, deadline=None)
def test_units_do_not_matter(kind, factor, seed):
    features, kernel = drawn(seed)
    np.testing.assert_allclose(
        agreement(factor * features, factor * kernel, kind),
        agreement(features, kernel, kind),
        rtol=1e-6,
        atol=1e-8,
    )


@given(st.sampled_from(("standardised", "whitened")), st.integers(0, 1000))
@settings(max_examples=20, deadline=None)
def test_what_all_places_share_does_not_matter(kind, seed):
    features, kernel = drawn(seed)
    shared = np.random.default_rng(seed).normal(size=(len(features), 1, 1))
    moved = agreement(features + shared, kernel + shared, kind)
    np.testing.assert_allclose(moved, agreement(features, kernel, kind), atol=1e-8)


def test_whitening_does_not_depend_on_which_channels_say_it():
    features, kernel = drawn()
    turn = np.linalg.qr(np.random.default_rng(1).normal(size=(6, 6)))[0]
    turned = (np.einsum("cd,dij->cij", turn, each) for each in (features, kernel))
    np.testing.assert_allclose(
        agreement(*turned, "whitened"), agreement(features, kernel, "whitened"), atol=1e-9
    )


@pytest.mark.parametrize("kind", KINDS)
def test_a_weak_target_is_found_among_strong_distractors(kind):
    """Distractors drive a channel that the target shares so strongly that raw products are highest at them."""
    rng = np.random.default_rng(2)
    features = 0.01 * rng.uniform(size=(8, 11, 12))
    target, distractor = np.zeros(8), np.zeros(8)
    target[[0, 1]], distractor[[0, 2, 3]] = 1, 4
    places = [(row, column) for row in (2, 5, 8) for column in (1, 4, 7, 10)]
    for place in places:
        features[:, *place] += distractor
    features[:, 5, 4] += target - distractor
    kernel = target[:, None, None]
    raw, relative = (agreement(features, kernel, each) for each in ("none", kind))
    assert raw[5, 4] < raw[2, 1]
    assert np.unravel_index(relative.argmax(), relative.shape) == (5, 4)


@pytest.mark.parametrize("kind", KINDS)
def test_an_empty_display_gives_a_flat_map(kind):
    features = np.zeros((3, 11, 12))
    features[:, 10, 0] = 1  # beside the display
    np.testing.assert_array_equal(agreement(features, np.ones((3, 1, 1)), kind), 0)


@pytest.mark.parametrize("kind", KINDS)
def test_attention_is_that_of_normalised_features(kind):
    """Seen through a window of which only a part is computed, and at a gaze that puts the display beside its middle."""
    display, gaze = array_display(128), (101.5, 48.5)
    model = EccNet(small_backbone(), layers=PAIRS, normalisation=kind)
    state = model.begin(display)
    assert state.network.in_parts
    got = model.priority(state, gaze)
    top, left = (192 - int(gaze[1])), (192 - int(gaze[0]))
    shown = tuple(
        slice(*(np.searchsorted(16 * np.arange(24) + 8, [first, first + 128]))) for first in (top, left)
    )

    def relative(features, kernel):
        return oracle.normalise(features, kernel, shown, kind)

    attention, side = published_map(small_network(), display, gaze, PAIRS, relative=relative)
    whole = oracle.over_pixels(attention - attention.min(), side, 0, 16)
    expected = whole[top : top + 128, left : left + 128]
    np.testing.assert_allclose(got, expected, atol=1e-4 * np.ptp(expected))


def test_every_network_can_be_normalised():
    display = array_display()
    maps = []
    for kind in ("none", *KINDS):
        model = IVSN(small_backbone("gated"), normalisation=kind)
        maps.append(model.priority(model.begin(display), (60.0, 60.0)))
        assert np.isfinite(maps[-1]).all()
    assert all(np.abs(each - maps[0]).max() > 1e-3 for each in maps[1:])


def test_places_of_the_display():
    # middles at -2, 2, 6, 10, 14
    assert cells_within(12, -4.0, 4.0, 5) == slice(1, 4)
    assert cells_within(2, -4.0, 4.0, 5) == slice(1, 2)  # no middle lies there: the nearest


def test_unknown_kinds_are_refused():
    with pytest.raises(ValueError, match="normalisation is 'divisive'; allowed: 'none', 'places'"):
        EccNet(small_backbone(), normalisation="divisive")
