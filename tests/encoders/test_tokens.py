"""Tokens read by rows equal plain indexing, wherever they lie; what no encoder can use is named."""

from pathlib import Path

import numpy as np
import pytest
import torch
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st

from encoders.backbones.backbone import Backbone
from encoders.extraction import extract_features
from encoders.tokens import as_token_source
from stimuli import StimulusSet
from tests.encoders.tapped_networks import PaddedTexts, TokenNet, seeded

FORMS = {"one token": (11, 6), "tokens": (11, 4, 6), "map": (11, 6, 2, 3)}
HOMES = ["numpy", "torch", "zarr"]


def values(shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def put(array, home, chunk_rows=3, store=None):
    if home == "numpy":
        return array
    if home == "torch":
        return torch.from_numpy(array)
    chunks = (chunk_rows, *array.shape[1:])
    return zarr.array(array, chunks=chunks, store=store, fill_value=np.nan, write_empty_chunks=True)


def tokens_one_by_one(array):
    """Each token of each sample by itself, (n, n_tokens, n_channels)."""
    if array.ndim == 2:
        return np.array([[row] for row in array])
    if array.ndim == 3:
        return array.copy()
    n, _, n_rows, n_columns = array.shape
    return np.array([[array[i, :, r, c] for r in range(n_rows) for c in range(n_columns)] for i in range(n)])


@pytest.mark.parametrize("home", HOMES)
@pytest.mark.parametrize("form", FORMS)
def test_every_form_in_every_home_reads_as_tokens(form, home):
    array = values(FORMS[form])
    source = as_token_source(put(array, home))
    expected = tokens_one_by_one(array)
    assert source.shape == expected.shape
    assert len(source) == 11
    assert source.grid == ((2, 3) if form == "map" else None)
    assert source.chunk_rows == (3 if home == "zarr" else None)
    for rows in (None, [4], [7, 2, 2, 0], slice(2, 9, 3), slice(3, 6)):
        read = source.read(rows)
        np.testing.assert_array_equal(read, expected if rows is None else expected[rows])
        assert read.dtype == np.float32
        assert read.flags.c_contiguous
    assert as_token_source(source) is source


@pytest.mark.parametrize("home", HOMES)
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_choices_of_rows_compose_as_in_numpy(home, data):
    array = values((11, 2, 3))
    source, expected = as_token_source(put(array, home)), array
    for _ in range(data.draw(st.integers(1, 3))):
        n = len(expected)
        numbers = (
            st.lists(st.integers(-n, n - 1), min_size=1, max_size=15).map(np.array) if n else st.nothing()
        )
        masks = st.lists(st.booleans(), min_size=n, max_size=n).map(lambda bits: np.array(bits, dtype=bool))
        rows = data.draw(st.one_of(numbers, masks, st.slices(n)))
        source, expected = source[rows], expected[rows]
        assert source.shape == expected.shape
        if not n:
            break
    np.testing.assert_array_equal(source.read(), expected)
    if len(expected):
        again = data.draw(st.lists(st.integers(0, len(expected) - 1), min_size=1, max_size=9))
        np.testing.assert_array_equal(source.read(again), expected[again])
        pieces = source.blocks(n_bytes=data.draw(st.integers(1, 300)))
        assert sorted(np.concatenate(pieces).tolist()) == list(range(len(expected)))
        if home == "zarr":
            chunks = [set(source.chunk_of(piece).tolist()) for piece in pieces]
            assert sum(map(len, chunks)) == len(set().union(*chunks))  # no chunk in two pieces


@pytest.mark.parametrize("dtype", ["float64", "float16", "int16", "uint16", "uint8", ">f4", "bool"])
def test_other_numbers_become_float32(dtype):
    array = (10 * values((5, 2, 3))).astype(dtype)
    array.flags.writeable = False
    read = as_token_source(array).read([3, 1])
    assert read.dtype == np.float32
    np.testing.assert_array_equal(read, array[[3, 1]].astype(np.float32))
    half = torch.from_numpy(values((5, 2, 3))).bfloat16()
    np.testing.assert_array_equal(as_token_source(half).read(), half.float().numpy())
    np.testing.assert_array_equal(as_token_source(values((5, 2, 3))[::-1]).read(), values((5, 2, 3))[::-1])


class CountingStore(zarr.storage.DirectoryStore):
    """A folder that counts how often each chunk is read."""

    def __init__(self, folder: Path) -> None:
        super().__init__(str(folder))
        self.reads: list[str] = []

    def __getitem__(self, key):
        if key[0].isdigit():
            self.reads.append(key)
        return super().__getitem__(key)


def test_each_chunk_is_read_once_a_call_and_only_if_needed(tmp_path):
    store = CountingStore(tmp_path)
    array = values((40, 2, 3))
    source = as_token_source(put(array, "zarr", chunk_rows=4, store=store))
    store.reads.clear()
    view = source[np.random.default_rng(0).permutation(40)][5:30]
    assert store.reads == []
    rows = np.random.default_rng(1).integers(0, 25, 50)
    view.read(rows)
    wanted = {f"{row // 4}.0.0" for row in np.random.default_rng(0).permutation(40)[5:30][rows]}
    assert sorted(store.reads) == sorted(wanted)
    store.reads.clear()
    source.check()
    assert sorted(store.reads) == sorted(f"{chunk}.0.0" for chunk in range(10))


def test_in_memory_nothing_is_copied():
    array = values((6, 2, 3))
    assert np.shares_memory(as_token_source(array)[2:5].read(), array)
    assert np.shares_memory(as_token_source(torch.from_numpy(array)).read(), array)
    before = array.copy()
    source = as_token_source(array)
    source.scaled(np.ones(3), np.full(3, 2.0)).read()
    array[0, 1] = np.nan
    assert source.read_batch()[1] is not None
    assert np.isnan(array[0, 1]).all()  # zeros in place of padding stand in the batch alone
    np.testing.assert_array_equal(array[1:], before[1:])


@pytest.mark.parametrize("home", HOMES)
def test_padding_gives_a_mask_and_zeros(home):
    array = values((7, 3, 4))
    array[2, 1:] = np.nan
    array[5, 0] = np.nan
    source = as_token_source(put(array, home))
    source.check()
    tokens, mask = source[[5, 2, 0]].read_batch()
    assert mask.tolist() == [[False, True, True], [True, False, False], [True, True, True]]
    np.testing.assert_array_equal(tokens.numpy(), np.nan_to_num(array[[5, 2, 0]]))
    assert np.isnan(source.read([5])[0, 0]).all()
    assert source.read_batch([0, 1])[1] is None
    scaled, mask = source.scaled(np.full(4, 3.0), np.full(4, 2.0)).read_batch([2])
    np.testing.assert_allclose(scaled.numpy()[0, 0], (array[2, 0] - 3) / 2, rtol=1e-6)
    assert not scaled.numpy()[0, 1:].any()


@pytest.mark.parametrize("home", HOMES)
@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        ((slice(3, 5), 1, 0), np.nan, r"NaN in some channels and not in others in 2 rows \(3, 4\)"),
        ((4, 1, 2), np.inf, r"infinite values \(as float32\) in 1 row \(4\)"),
        ((2,), np.nan, r"no token: all are NaN in 1 row \(2\)"),
    ],
)
def test_what_no_encoder_can_use_is_named_by_its_rows(home, place, value, message):
    array = values((7, 3, 4))
    array[place] = value
    source = as_token_source(put(array, home))
    with pytest.raises(ValueError, match=message):
        source.check()
    with pytest.raises(ValueError, match=message):  # rows of X, not of the view
        source[::-1].read_batch()
    source[[0, 1, 6]].check()


def test_a_part_that_was_checked_does_not_vouch_for_the_rest():
    array = values((6, 2, 3))
    array[5, 0] = np.nan
    source = as_token_source(array)
    source[:5].check()
    assert source.read_batch([5])[1].tolist() == [[False, True]]


def test_values_beyond_float32_are_refused_though_they_are_finite_in_float64():
    with pytest.raises(ValueError, match="infinite values"):
        as_token_source(np.full((3, 2), 1e300)).check()
    large = np.full((4, 3), 3e38, dtype=np.float32)  # the sum overflows, the values do not
    assert as_token_source(large).read_batch()[1] is None


@pytest.mark.parametrize("home", HOMES)
def test_the_hash_follows_values_rows_grid_and_scale(home):
    array = values((8, 4, 3))
    other = array.copy()
    other[7, 3, 2] += 1e-3
    of = {
        "same": as_token_source(put(array, home)),
        "value": as_token_source(put(other, home)),
        "shape": as_token_source(put(array.reshape(8, 3, 4), home)),
        "rows": as_token_source(put(array, home))[:7],
        "order": as_token_source(put(array, home))[[1, 0, *range(2, 8)]],
        "grid": as_token_source(put(array, home), grid=(2, 2)),
        "scale": as_token_source(put(array, home)).scaled(np.zeros(3), np.ones(3)),
    }
    hashes = {name: source.content_hash for name, source in of.items()}
    assert len(set(hashes.values())) == len(of)
    assert as_token_source(put(array, home)).content_hash == hashes["same"]
    assert of["rows"].content_hash == hashes["rows"]


def test_scaled_tokens_read_as_said():
    array, mean, scale = values((6, 2, 3)), np.array([1.0, -2.0, 0.0]), np.array([2.0, 0.5, 1.0])
    source = as_token_source(array).scaled(mean, scale)
    np.testing.assert_allclose(source[[4, 4, 1]].read(), ((array - mean) / scale)[[4, 4, 1]], rtol=1e-6)
    with pytest.raises(ValueError, match="scaled already"):
        source.scaled(mean, scale)
    with pytest.raises(ValueError, match=r"scale has shape \(1,\); \(3,\) is needed"):
        as_token_source(array).scaled(mean, [1.0])


def test_stored_features_are_read_by_rows_with_their_padding(tmp_path):
    backbone = Backbone("words", seeded(TokenNet), PaddedTexts(), "text", ("linear",), "")
    texts = StimulusSet(list("abcdef"), texts=["a bb", "c", "d d d d d", "e ee", "f", "g g"])
    options = {"reduction": "none", "batch_size": 2, "progress": False}
    memory = extract_features(backbone, texts, **options)
    stored = extract_features(backbone, texts, store=tmp_path, chunk_size=2, **options)
    source = as_token_source(stored["linear"])
    assert source.chunk_rows == 2
    tokens, mask = source.read_batch([5, 0, 2, 5])
    np.testing.assert_array_equal(mask.numpy(), stored.token_masks["linear"][[5, 0, 2, 5]])
    np.testing.assert_array_equal(tokens.numpy(), np.nan_to_num(memory["linear"][[5, 0, 2, 5]]))
    # The store knows its chunks by their hashes: nothing has to be read for it.
    again = extract_features(backbone, texts, store=tmp_path, chunk_size=2, **options)
    assert as_token_source(again["linear"]).content_hash == source.content_hash
    other = extract_features(backbone, texts[::-1], store=tmp_path, chunk_size=2, **options)
    assert as_token_source(other["linear"]).content_hash != source.content_hash


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        (np.zeros(3), ValueError, r"X has shape \(3,\)"),
        (np.zeros((3, 0, 2)), ValueError, "none of them 0"),
        (np.zeros((2, 2), dtype=complex), TypeError, "complex128; tokens must be real"),
        (np.array([["a", "b"]]), TypeError, "tokens must be real"),
        (torch.zeros(2, 2, dtype=torch.complex64), TypeError, "tokens must be real"),
    ],
)
def test_what_is_no_tokens_is_refused(given, error, message):
    with pytest.raises(error, match=message):
        as_token_source(given)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (3, "a slice, a vector of row numbers or a boolean mask"),
        ([0.5], "a slice, a vector"),
        ([[0]], "a slice, a vector"),
        ([0, 4], "rows names 0 to 4; rows run from 0 to 3"),
        ([-5], "rows run from 0 to 3"),
        ([True, False], "mask of length 2, but there are 4 rows"),
    ],
)
def test_rows_that_are_not_there_are_refused(rows, message):
    with pytest.raises(IndexError, match=message):
        as_token_source(np.zeros((4, 2)))[rows]


def test_a_grid_must_fit():
    array = values((3, 6, 2))
    assert as_token_source(array, grid=(2, 3)).grid == (2, 3)
    assert as_token_source(array, grid=(2, 3))[1:].grid == (2, 3)
    with pytest.raises(ValueError, match=r"grid is \(2, 2\), but there are 6 tokens a sample"):
        as_token_source(array, grid=(2, 2))
    with pytest.raises(ValueError, match="that lie in 2 x 3 places"):
        as_token_source(values((3, 4, 2, 3)), grid=(3, 2))
