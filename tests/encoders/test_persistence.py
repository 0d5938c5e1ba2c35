"""Encoders to folders and back, to the bit, and nothing read that should not be."""

import hashlib
import json
import pickle

import numpy as np
import pytest
from sklearn.base import BaseEstimator
from sklearn.linear_model import Ridge

from encoders.estimators.ridge import RidgeEncoder
from encoders.persistence import load_encoder, read_metadata, register_encoder, save_encoder


@register_encoder
class KeepsEverything(BaseEstimator):
    """Learns one value of each kind that can be kept."""

    def __init__(self, folds=5, scale=1.0):
        self.folds = folds
        self.scale = scale

    def fit(self, values):
        self.values_ = values
        self._cache = object()
        return self


def data(dtype=np.float32):
    rng = np.random.default_rng(0)
    return rng.standard_normal((40, 6)).astype(dtype), rng.standard_normal((40, 9)).astype(dtype)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    "params",
    [
        {},
        {"alphas": [0.1, 1.0, 1e9], "cv": 3, "scale_features": True},
        {"alphas": np.logspace(-2, 2, 5), "fit_intercept": False},
        {"alphas": 2.5},
        {"cv": [(np.arange(20), np.arange(20, 40)), (np.arange(20, 40), np.arange(20))]},
    ],
)
def test_a_ridge_encoder_comes_back_to_the_bit(tmp_path, dtype, params):
    X, Y = data(dtype)
    encoder = RidgeEncoder(**params).fit(X, Y)
    assert save_encoder(encoder, tmp_path / "encoder") == tmp_path / "encoder"
    back = load_encoder(tmp_path / "encoder")
    assert type(back) is RidgeEncoder
    assert set(vars(back)) == set(vars(encoder))
    assert back.predict(X).tobytes() == encoder.predict(X).tobytes()
    for name in ("coef_", "intercept_", "alphas_", "alpha_grid_"):
        ours, theirs = getattr(back, name), getattr(encoder, name)
        assert ours.dtype == theirs.dtype
        np.testing.assert_array_equal(ours, theirs)
    assert repr(back.get_params()) == repr(encoder.get_params())
    np.testing.assert_array_equal(back.fit(X, Y).coef_, encoder.coef_)


def test_plain_values_tuples_scalars_and_memory_order_come_back(tmp_path):
    kept = {
        "tuple": (1, 2.5, None, "text", True),
        "nested": [{"a": [np.arange(3)]}, (np.float32(0.1), np.int64(7))],
        "not finite": [float("nan"), float("inf"), -float("inf")],
        "tiny": 5e-324,
        "bool": np.array([True, False]),
        "columns": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        "zero dimensions": np.array(3.0),
        "empty": np.zeros((0, 4), dtype=np.float16),
    }
    save_encoder(KeepsEverything(folds=(3, 4)).fit(kept), tmp_path / "encoder")
    back = load_encoder(tmp_path / "encoder")
    assert back.folds == (3, 4)
    assert not hasattr(back, "_cache")
    assert list(back.values_) == list(kept)
    assert back.values_["tuple"] == kept["tuple"]
    assert back.values_["nested"][0]["a"][0].tolist() == [0, 1, 2]
    assert isinstance(back.values_["nested"][1], tuple)
    assert type(back.values_["nested"][1][0]) is np.float32
    np.testing.assert_array_equal(back.values_["not finite"], kept["not finite"])
    assert back.values_["tiny"] == 5e-324
    for name in ("bool", "columns", "zero dimensions", "empty"):
        ours, theirs = back.values_[name], kept[name]
        assert (ours.dtype, ours.shape) == (theirs.dtype, theirs.shape)
        assert ours.flags.f_contiguous == theirs.flags.f_contiguous
        np.testing.assert_array_equal(ours, theirs)


def test_metadata_stand_beside_it_and_a_later_encoder_replaces_it_whole(tmp_path):
    X, Y = data()
    save_encoder(RidgeEncoder(alphas=1.0).fit(X, Y), tmp_path / "encoder", {"layer": "blocks.3", "n": [1, 2]})
    assert read_metadata(tmp_path / "encoder") == {"layer": "blocks.3", "n": [1, 2]}
    save_encoder(RidgeEncoder(alphas=9.0).fit(X, Y), tmp_path / "encoder")
    assert read_metadata(tmp_path / "encoder") == {}
    assert load_encoder(tmp_path / "encoder").alphas == 9.0
    assert [path.name for path in tmp_path.iterdir()] == ["encoder"]


def test_a_folder_with_something_else_is_left_alone(tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(FileExistsError, match="something other than an encoder"):
        save_encoder(RidgeEncoder().fit(*data()), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_what_cannot_be_kept_is_named_and_leaves_nothing_behind(tmp_path):
    with pytest.raises(TypeError, match=r"learnt\.values_\.1 is .* \(set\), which cannot be saved"):
        save_encoder(KeepsEverything().fit([1, {2}]), tmp_path / "encoder")
    with pytest.raises(TypeError, match=r"learnt\.values_ is .* \(ndarray\)"):
        save_encoder(KeepsEverything().fit(np.array([None])), tmp_path / "encoder")
    with pytest.raises(ValueError, match="not fitted"):
        save_encoder(RidgeEncoder(), tmp_path / "encoder")
    with pytest.raises(KeyError, match="unknown encoder class 'Ridge'; did you mean 'RidgeEncoder'"):
        save_encoder(Ridge().fit(*data()), tmp_path / "encoder")
    with pytest.raises(ValueError, match="NaN"):
        save_encoder(RidgeEncoder().fit(*data()), tmp_path / "encoder", {"score": float("nan")})
    assert not list(tmp_path.iterdir())


def test_a_name_is_registered_once():
    with pytest.raises(ValueError, match="'RidgeEncoder' is already registered"):
        register_encoder(type("RidgeEncoder", (BaseEstimator,), {}))


@pytest.fixture
def saved(tmp_path):
    return save_encoder(RidgeEncoder(alphas=[1.0, 2.0]).fit(*data()), tmp_path / "encoder", {"layer": "a"})


def change_json(folder, change):
    content = json.loads((folder / "encoder.json").read_text())
    change(content)
    (folder / "encoder.json").write_text(json.dumps(content))


@pytest.mark.parametrize("name", ["encoder.json", "arrays.safetensors"])
@pytest.mark.parametrize("share", [0.0, 0.3, 0.99])
def test_a_truncated_file_is_named(saved, name, share):
    content = (saved / name).read_bytes()
    (saved / name).write_bytes(content[: int(share * len(content))])
    with pytest.raises(ValueError, match=rf"{name} is .*truncated"):
        load_encoder(saved)


def test_a_flipped_bit_in_the_arrays_is_found(saved):
    content = bytearray((saved / "arrays.safetensors").read_bytes())
    content[-3] ^= 1
    (saved / "arrays.safetensors").write_bytes(content)
    with pytest.raises(ValueError, match="its sha256 differs"):
        load_encoder(saved)


@pytest.mark.parametrize("name", ["encoder.json", "arrays.safetensors"])
def test_a_missing_file_is_named(saved, name):
    (saved / name).unlink()
    with pytest.raises(FileNotFoundError, match=name):
        load_encoder(saved)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda c: c.update({"class": "os.system"}), KeyError, "unknown encoder class 'os.system'"),
        (lambda c: c.update({"class": "KeepsEverything"}), ValueError, "has no alphas"),
        (lambda c: c.update(format="something"), ValueError, "describes no encoder"),
        (lambda c: c.update(version=99), ValueError, "has version 99, this program reads 1"),
        (lambda c: c.pop("learnt"), ValueError, "learnt missing or of the wrong kind"),
        (lambda c: c["learnt"].update(predict="x"), ValueError, "has no predict"),
        (lambda c: c["learnt"].update(__class__="x"), ValueError, "has no __class__"),
        (lambda c: c["learnt"].update(coef_={"array": "gone"}), ValueError, "gone"),
        (lambda c: c["learnt"].update(coef_={"import": "os"}), ValueError, "unknown kind of value 'import'"),
        (lambda c: c["learnt"].update(coef_={}), ValueError, "holds no sound encoder"),
        (lambda c: c["params"].update(device={"tuple": 3}), ValueError, "holds no sound encoder"),
    ],
)
def test_a_changed_description_is_refused(saved, change, error, message):
    change_json(saved, change)
    with pytest.raises(error, match=message):
        load_encoder(saved)


def test_a_pickle_in_place_of_the_arrays_is_not_opened(saved):
    class Bomb:
        def __reduce__(self):
            return (pytest.fail, ("a pickle was opened",))

    (saved / "arrays.safetensors").write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(ValueError, match="sha256"):
        load_encoder(saved)
    digest = hashlib.sha256((saved / "arrays.safetensors").read_bytes()).hexdigest()
    change_json(saved, lambda content: content.update(arrays_sha256=digest))
    with pytest.raises(ValueError, match="holds no sound encoder"):
        load_encoder(saved)
