"""Attentive probes on planted evidence: what one map, several maps and an average can find."""

import numpy as np
import pytest
import torch
from sklearn.base import clone, is_classifier
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import cross_val_score

from encoders import ProbeClassifier, ProbeEncoder, load_encoder, save_encoder
from encoders.checkpoints import FolderCheckpoint
from encoders.tokens import as_token_source
from encoders.training.settings import Training
from tests.oracles import poolers as oracle

FAST = Training(lr=0.01, n_epochs=25)
SHORT = Training(lr=0.01, n_epochs=2)
N_TOKENS, N_CHANNELS = 32, 16


def noise(n, rng, n_tokens=N_TOKENS):
    return rng.standard_normal((n, n_tokens, N_CHANNELS)).astype(np.float32)


def one_patch(n, seed, n_tokens=100):
    """One token, anywhere, has a marker (channel 0) and the class (channel 1)."""
    rng = np.random.default_rng(seed)
    X, rows = noise(n, rng, n_tokens), np.arange(n)
    side, place = rng.integers(0, 2, n), rng.integers(0, n_tokens, n)
    X[rows, place, 0] += 8
    X[rows, place, 1] += 4 * (2 * side - 1)
    return X, np.array(["left", "right"])[side], place


def two_parts(n, seed, n_kinds=4):
    """Two tokens, anywhere, marked as first and second (channels 0 and 1), say their kind in the same channels."""
    rng = np.random.default_rng(seed)
    X, rows = noise(n, rng), np.arange(n)
    kinds = rng.integers(0, n_kinds, (n, 2))
    places = rng.permuted(np.tile(np.arange(N_TOKENS), (n, 1)), axis=1)[:, :2]
    for part in range(2):
        X[rows, places[:, part], part] += 8
        X[rows, places[:, part], 2 + kinds[:, part]] += rng.uniform(4, 10, n)
    return X, kinds[:, 0] * n_kinds + kinds[:, 1]


def two_signals(n, seed, n_signals=4):
    """Two marked tokens, anywhere, each carry signals in the same channels; a voxel for each signal of each."""
    rng = np.random.default_rng(seed)
    X, rows = noise(n, rng), np.arange(n)
    signals = rng.standard_normal((n, 2, n_signals))
    places = rng.permuted(np.tile(np.arange(N_TOKENS), (n, 1)), axis=1)[:, :2]
    for part in range(2):
        X[rows, places[:, part], part] += 10
        X[rows, places[:, part], 2 : 2 + n_signals] += 3 * signals[:, part]
    return X, signals.reshape(n, -1), places


class TestPlanted:
    @pytest.mark.parametrize("seed", [0, 1, 2])
    def test_evidence_in_one_patch_is_found_by_attention_and_lost_in_the_average(self, seed):
        X, y, _ = one_patch(600, seed)
        X_new, y_new, place = one_patch(1000, seed + 100)
        average = ProbeClassifier("mean", training=FAST).fit(X, y)
        probe = ProbeClassifier("ep", n_queries=4, training=FAST).fit(X, y)
        # A mean of 100 tokens of unit noise holds evidence of 4 / 100 with noise of 1 / 10: d' / 2 is 0.4, which
        # no linear readout can turn into more than Phi(0.4) = .655 right.
        assert average.score(X_new, y_new) < 0.70
        assert probe.score(X_new, y_new) > 0.97
        # Some queries look for one class only: together they point at the patch.
        together = probe.attention(X_new)[:, :, 0].mean(axis=1)
        assert (together.argmax(axis=1) == place).mean() > 0.9

    @pytest.mark.parametrize("seed", [0, 1, 2])
    def test_two_parts_need_two_queries(self, seed):
        (X, y), (X_new, y_new) = two_parts(1000, seed), two_parts(1000, seed + 100)
        right = {m: ProbeClassifier(n_queries=m, training=FAST).fit(X, y).score(X_new, y_new) for m in (1, 2)}
        assert right[2] > 0.95
        assert right[1] < right[2] - 0.15

    @pytest.mark.parametrize("seed", [0, 1, 2])
    def test_two_signals_in_the_same_channels_need_two_queries(self, seed):
        """One map mixes both as w a + (1 - w) b: mean r over voxels of at most sqrt(1 / 2), plus the little that
        attention to content adds."""
        (X, Y, _), (X_new, Y_new, places) = two_signals(1000, seed), two_signals(1000, seed + 100)
        probes = {m: ProbeEncoder(n_queries=m, training=FAST).fit(X, Y) for m in (1, 2)}
        r = {m: probe.correlation(X_new, Y_new).mean() for m, probe in probes.items()}
        assert r[2] > 0.9
        assert r[1] < 0.72
        found = probes[2].attention(X_new)[:, :, 0].argmax(axis=2)
        either_way = [(found == places[:, order]).mean() for order in ([0, 1], [1, 0])]
        assert max(either_way) > 0.9

    @pytest.mark.parametrize("pooler", ["multihead", "aim", "abmilp"])
    def test_other_attentive_poolers_find_the_patch_too(self, pooler):
        (X, y, _), (X_new, y_new, _) = one_patch(600, 0), one_patch(1000, 100)
        probe = ProbeClassifier(pooler, n_heads=4, training=FAST).fit(X, y)
        assert probe.score(X_new, y_new) > 0.95

    def test_evidence_in_the_first_token_is_for_cls(self):
        rng = np.random.default_rng(0)
        X, y = noise(800, rng), rng.integers(0, 3, 800)
        X[np.arange(800), 0, y] += 4
        cls = ProbeClassifier("cls", training=FAST).fit(X[:500], y[:500])
        average = ProbeClassifier("mean", training=FAST).fit(X[:500], y[:500])
        assert cls.score(X[500:], y[500:]) > 0.95
        assert average.score(X[500:], y[500:]) < 0.7

    def test_where_the_code_is_global_the_average_is_as_good(self):
        rng = np.random.default_rng(0)
        X, weights = noise(1500, rng), rng.standard_normal((N_CHANNELS, 6))
        X += rng.standard_normal((1500, 1, N_CHANNELS)).astype(np.float32)
        Y = X.mean(axis=1) @ weights + rng.standard_normal((1500, 6))
        r = {
            pooler: ProbeEncoder(pooler, n_queries=4, training=FAST)
            .fit(X[:1000], Y[:1000])
            .correlation(X[1000:], Y[1000:])
            .mean()
            for pooler in ("mean", "ep")
        }
        assert r["mean"] > 0.9
        assert abs(r["ep"] - r["mean"]) < 0.02


class TestVoxels:
    def fitted(self, pooler="ep", **options):
        X, Y, _ = two_signals(120, 0)
        return ProbeEncoder(pooler, n_queries=4, n_heads=4, training=SHORT, **options).fit(X, Y), X, Y

    @pytest.mark.parametrize("output_divisor", [1, 2])
    def test_predictions_are_those_of_the_learnt_arrays(self, output_divisor):
        """Scale, attend, average, map values, norm, read out, scale back: by hand from what was learnt."""
        probe, X, _ = self.fitted(output_divisor=output_divisor)
        w = {name: array.astype(float) for name, array in probe.members_[0].items()}
        for row in range(5):
            x = (X[row].astype(float) - probe.token_mean_[0]) / probe.token_scale_[0]
            maps = oracle.ep_maps(x, w["pooler.queries"])
            pooled = oracle.cross_attention(x, maps, w["pooler.values"])
            normed = (pooled - w["norm.running_mean"]) / np.sqrt(w["norm.running_var"] + 1e-6)
            out = (w["head.weight"] @ normed + w["head.bias"]) * probe.y_scale_[0] + probe.y_mean_[0]
            np.testing.assert_allclose(probe.predict(X[row : row + 1])[0], out, atol=1e-4)
            np.testing.assert_allclose(probe.attention(X[row : row + 1])[0, :, 0], maps, atol=1e-6)

    @pytest.mark.parametrize(
        ("pooler", "n_maps"),
        [("ep", 4), ("mean", 1), ("cls", 1), ("abmilp", 1), ("aim", 4), ("simpool", 1), ("multihead", 4)],
    )
    def test_every_pooler_fits_predicts_attends_and_is_kept(self, tmp_path, pooler, n_maps):
        probe, X, Y = self.fitted(pooler)
        assert probe.predict(X).shape == Y.shape
        maps = probe.attention(X)
        assert maps.shape == (120, n_maps, 1, N_TOKENS)
        np.testing.assert_allclose(maps.sum(axis=3), 1, atol=1e-5)
        save_encoder(probe, tmp_path / "probe")
        back = load_encoder(tmp_path / "probe")
        assert back.predict(X).tobytes() == probe.predict(X).tobytes()
        assert back.attention(X).tobytes() == maps.tobytes()
        again = clone(probe).fit(X, Y)
        assert again.predict(X).tobytes() == probe.predict(X).tobytes()
        assert again.get_params() == probe.get_params()

    def test_attention_is_averaged_over_members(self):
        X, Y, _ = two_signals(90, 0)
        probe = ProbeEncoder(n_queries=4, training=Training(lr=0.01, n_epochs=2, n_members=3)).fit(X, Y)
        each = []
        for member, module in enumerate(probe.modules()):
            tokens = torch.from_numpy((X - probe.token_mean_[member]) / probe.token_scale_[member])
            with torch.no_grad():
                each.append(module.pooler.attention(tokens, None).numpy())
        np.testing.assert_allclose(probe.attention(X)[:, :, 0], np.mean(each, axis=0), atol=1e-6)
        assert np.abs(each[0] - each[1]).max() > 1e-4

    def test_maps_lie_over_the_image(self):
        X, Y, _ = two_signals(60, 0)
        image_map = X.transpose(0, 2, 1).reshape(60, N_CHANNELS, 4, 8)
        of_map = ProbeEncoder(n_queries=4, training=SHORT).fit(image_map, Y)
        of_tokens = ProbeEncoder(n_queries=4, training=SHORT).fit(as_token_source(X, grid=(4, 8)), Y)
        maps = of_map.attention_maps(image_map)
        assert maps.shape == (60, 4, 1, 4, 8)
        np.testing.assert_array_equal(maps[:, :, :, 1, 3], of_map.attention(X)[:, :, :, 11])
        assert of_tokens.attention_maps(X).tobytes() == maps.tobytes()
        with pytest.raises(ValueError, match=r"unknown how these tokens lie.*grid=\(n_rows, n_columns\)"):
            ProbeEncoder(n_queries=4, training=SHORT).fit(X, Y).attention_maps(X)
        with pytest.raises(NotFittedError):
            ProbeEncoder().attention_maps(X)

    @pytest.mark.parametrize("pooler", ["ep", "mean", "aim", "simpool"])
    def test_padding_changes_nothing(self, pooler):
        X, Y, _ = two_signals(100, 0)
        padded = np.concatenate([X, np.full((100, 3, N_CHANNELS), np.nan, np.float32)], axis=1)
        settings = {"pooler": pooler, "n_queries": 4, "n_heads": 4, "training": SHORT}
        short, long = ProbeEncoder(**settings).fit(X, Y), ProbeEncoder(**settings).fit(padded, Y)
        np.testing.assert_allclose(long.predict(padded), short.predict(X), atol=1e-4)
        assert (long.attention(padded)[..., N_TOKENS:] == 0).all()

    def test_a_fit_that_was_killed_goes_on_to_the_same_bits(self, tmp_path):
        """Statistics of both batch norms of AIM are part of what goes on."""
        X, Y, _ = two_signals(100, 0)
        probe = ProbeEncoder("aim", n_heads=4, training=Training(lr=0.01, n_epochs=4))
        whole = clone(probe).fit(X, Y)
        checkpoint = FolderCheckpoint(tmp_path, {})

        def kill(done, total, text):
            if done == 2:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            clone(probe).fit(X, Y, checkpoint=checkpoint, progress=kill)
        resumed = clone(probe).fit(X, Y, checkpoint=checkpoint)
        assert resumed.predict(X).tobytes() == whole.predict(X).tobytes()

    def test_bfloat16_learns_the_same(self):
        X, Y, _ = two_signals(600, 0)
        X_new, Y_new, _ = two_signals(300, 100)
        r = {
            precision: ProbeEncoder(n_queries=2, training=Training(lr=0.01, n_epochs=20, precision=precision))
            .fit(X, Y)
            .correlation(X_new, Y_new)
            .mean()
            for precision in ("float32", "bfloat16")
        }
        assert r["float32"] > 0.85
        assert abs(r["bfloat16"] - r["float32"]) < 0.03


class TestClasses:
    def test_scikit_learn_takes_it_for_a_classifier(self):
        X, y, _ = one_patch(90, 0, n_tokens=5)
        probe = ProbeClassifier(n_queries=4, training=SHORT)
        assert is_classifier(probe)
        assert len(cross_val_score(probe, X, y, cv=3)) == 3
        with pytest.raises(NotFittedError):
            probe.predict(X)
        assert not hasattr(probe.fit(X, y), "correlation")

    @pytest.mark.parametrize(
        "labels",
        [["cat", "dog", "ship"], [3, 5, 11], np.array(["b", "a", "longer name"], dtype=object)],
        ids=["text", "numbers", "objects"],
    )
    def test_three_classes_by_their_labels(self, tmp_path, labels):
        rng = np.random.default_rng(0)
        codes = rng.integers(0, 3, 500)
        X, y = noise(500, rng, 6), np.asarray(labels)[codes]
        X[np.arange(500), 2, codes] += 6
        probe = ProbeClassifier("ep", n_queries=4, training=FAST).fit(X[:400], y[:400])
        assert probe.classes_.tolist() == sorted(labels)
        assert probe.score(X[400:], y[400:]) > 0.9
        logits, p = probe.decision_function(X[400:]), probe.predict_proba(X[400:])
        np.testing.assert_allclose(p.sum(axis=1), 1, atol=1e-12)
        odds = np.exp(logits.astype(float))
        np.testing.assert_allclose(p, odds / odds.sum(axis=1, keepdims=True), atol=1e-6)
        np.testing.assert_array_equal(probe.predict(X[400:]), probe.classes_[p.argmax(axis=1)])
        assert probe.cv_scores_.shape == (1, 3)
        save_encoder(probe, tmp_path / "probe")
        back = load_encoder(tmp_path / "probe")
        assert back.classes_.dtype == probe.classes_.dtype
        np.testing.assert_array_equal(back.predict(X), probe.predict(X))
        assert back.predict_proba(X).tobytes() == probe.predict_proba(X).tobytes()

    def test_two_classes_have_one_decision(self):
        X, y, _ = one_patch(200, 0, n_tokens=4)
        probe = ProbeClassifier(n_queries=2, training=FAST).fit(X, y)
        decision, p = probe.decision_function(X), probe.predict_proba(X)
        assert decision.shape == (200,)
        np.testing.assert_allclose(p[:, 1], 1 / (1 + np.exp(-decision.astype(float))), atol=1e-6)
        np.testing.assert_array_equal(probe.predict(X) == "right", decision > 0)

    def test_members_agree_by_mean_logits(self):
        X, y, _ = one_patch(120, 0, n_tokens=4)
        probe = ProbeClassifier(n_queries=2, training=Training(lr=0.01, n_epochs=3, n_members=3)).fit(X, y)
        each = []
        for member, module in enumerate(probe.modules()):
            tokens = torch.from_numpy((X - probe.token_mean_[member]) / probe.token_scale_[member])
            with torch.no_grad():
                each.append(module(tokens, None).numpy().astype(float))
        odds = np.exp(np.mean(each, axis=0))
        np.testing.assert_allclose(probe.predict_proba(X), odds / odds.sum(1, keepdims=True), atol=1e-5)


class TestBadInput:
    X, Y, _ = two_signals(40, 0)

    def test_a_map_has_no_cls_token(self):
        image_map = self.X.transpose(0, 2, 1).reshape(40, N_CHANNELS, 4, 8)
        with pytest.raises(
            ValueError, match="'cls' needs a CLS token, but the tokens are the 4 x 8 places of a map"
        ):
            ProbeEncoder("cls").fit(image_map, self.Y)

    def test_names_and_numbers_are_refused_before_training(self):
        with pytest.raises(ValueError, match="unknown pooler 'simpol'; did you mean 'simpool'"):
            ProbeEncoder("simpol").fit(self.X, self.Y)
        with pytest.raises(ValueError, match=r"n_queries 32 does not divide the 16 channels.*1, 2, 4, 8, 16"):
            ProbeEncoder().fit(self.X, self.Y)
        with pytest.raises(ValueError, match=r"n_heads 12 does not divide the 16 channels"):
            ProbeClassifier("aim").fit(self.X, np.arange(40) % 2)
        with pytest.raises(ValueError, match="output_divisor is 2, but pooler 'mean'"):
            ProbeEncoder("mean", output_divisor=2).fit(self.X, self.Y)

    @pytest.mark.parametrize("probe", [ProbeEncoder(n_queries=4), ProbeClassifier(n_queries=4)])
    def test_tokens_that_are_nan_in_part_are_refused(self, probe):
        damaged = self.X.copy()
        damaged[3, 2, 1] = np.nan
        Y = self.Y if isinstance(probe, ProbeEncoder) else np.arange(40) % 2
        with pytest.raises(ValueError, match=r"NaN in some channels.*\(3\)"):
            clone(probe).fit(damaged, Y)
        fitted = clone(probe).set_params(training=SHORT).fit(self.X, Y)
        with pytest.raises(ValueError, match=r"NaN in some channels.*\(3\)"):
            fitted.predict(damaged)
        with pytest.raises(
            ValueError, match=r"X has 31 tokens of 16 channels; Probe\w+ was fitted on 32 of 16"
        ):
            fitted.predict(self.X[:, 1:])

    def test_responses_and_labels(self):
        damaged = self.Y.copy()
        damaged[0, 2] = np.nan
        with pytest.raises(ValueError, match="Y is NaN or infinite in 1 of 8 voxels"):
            ProbeEncoder(n_queries=4).fit(self.X, damaged)
        probe = ProbeClassifier(n_queries=4)
        with pytest.raises(ValueError, match="one class only"):
            probe.fit(self.X, np.zeros(40, int))
        with pytest.raises(ValueError, match="continuous"):
            probe.fit(self.X, self.Y[:, 0])
        with pytest.raises(ValueError, match="1d array"):
            probe.fit(self.X, self.Y)
        with pytest.raises(ValueError, match="X has 40 rows and Y has 39"):
            probe.fit(self.X, np.arange(39) % 2)
