"""What the middle of a trained vision transformer knows about the classes of photographs, by four probes."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import binomtest
from sklearn.model_selection import StratifiedKFold

from encoders import ProbeClassifier, extract_features
from encoders.training.settings import Training

LAYER = "transformer.layers.2"  # the third of six blocks
TRAINING = Training(n_epochs=100, patience_epochs=20)
PROBES = {
    "mean": ProbeClassifier("mean", training=TRAINING),
    "cls": ProbeClassifier("cls", training=TRAINING),
    "ep": ProbeClassifier("ep", n_queries=32, training=TRAINING),
    "multihead": ProbeClassifier("multihead", n_heads=8, training=TRAINING),
}


@pytest.mark.slow
def test_probes_of_a_middle_layer_on_photographs_they_never_saw(real_data: Path) -> None:
    """1,000 CIFAR-10 photographs, 100 a class; each half is predicted by probes trained on the other half.

    The network was trained on other images of CIFAR-10. Its own readout, of the last block and fitted to 50,000 images,
    has 0.697 right (README of the data folder).
    """
    spec = importlib.util.spec_from_file_location("own_network", Path("examples/own_network.py").resolve())
    assert spec is not None
    assert spec.loader is not None
    example = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)
    pictures = example.read_pictures(real_data)
    features = extract_features(example.load(real_data), pictures, [LAYER], reduction="none", progress=False)
    tokens, classes = np.asarray(features[LAYER]), pictures.attributes["class"].to_numpy()
    assert tokens.shape == (1000, 65, 128)
    folds = list(StratifiedKFold(2, shuffle=True, random_state=0).split(tokens, classes))
    right = {}
    for name, probe in PROBES.items():
        # attention to patches only, as published; the first token is CLS
        X = tokens if name == "cls" else tokens[:, 1:]
        right[name] = np.zeros(1000, dtype=bool)
        for train, test in folds:
            predicted = probe.fit(X[train], classes[train]).predict(X[test])
            right[name][test] = predicted == classes[test]
        interval = binomtest(int(right[name].sum()), 1000).proportion_ci(method="wilson")
        print(f"{name}: {right[name].mean():.3f} [{interval.low:.3f}, {interval.high:.3f}], chance 0.100")
        assert interval.low > 0.4, name
    rng = np.random.default_rng(0)
    for name in ("mean", "cls", "multihead"):
        gain = right["ep"].astype(float) - right[name]
        low, high = np.quantile(gain[rng.integers(0, 1000, (2000, 1000))].mean(axis=1), [0.025, 0.975])
        print(f"ep - {name}: {gain.mean():+.3f} [{low:+.3f}, {high:+.3f}] (95 %, photographs resampled)")
        # One attentive pooler may not be told from another, but none of these loses to what it contains.
        assert high > 0, name
