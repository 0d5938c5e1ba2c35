"""Where voxels and neurons look, by the maps of routed encoders: do they agree between halves, layers and models?

Run ``python -m benchmarks.maps v4-natural`` or ``digits69``. Needs COGMODELS_DATA. Prints Markdown.

V4: maps of each neuron from an early and a late layer (SqueezeNet's features.6, 13 x 13 places, and features.11, 6 x 6;
EfficientNet-Lite0's blocks.2, 14 x 14, and blocks.4, 7 x 7), fitted to two halves of the images (every other one).
Agreement is the correlation of two maps of one neuron on a common grid; beside it stands that of maps of different
neurons, which shows what all neurons of an array share. Centres of mass are compared over neurons. V1-V3: the map that
all voxels share over SqueezeNet's features.2 is compared with the energy of the weights of a ridge on pixels.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from itertools import combinations
from typing import Any

import numpy as np

from analyses.datasets import load_dataset
from analyses.interpretation import upsample_maps
from benchmarks.encoders import SETTINGS, networks, settings_of, squeezenet_weights
from encoders import (
    AttentionEncoder,
    RidgeEncoder,
    SpatialFeatureEncoder,
    Training,
    extract_features,
    load_backbone,
)
from encoders.solvers.checks import check_choice

COMMON = (26, 26)  # places of the common grid
NARROW = "EfficientNet-Lite0"  # settings for maps as narrow as the 96 channels of features.2


def make_encoder(kind: str, queries: str, network: str) -> SpatialFeatureEncoder | AttentionEncoder:
    """Return an encoder with the settings of `benchmarks.encoders`."""
    check_choice("kind", kind, ("spatial", "attention"))
    options, training = settings_of(network, "one query" if (kind, queries) == ("attention", "all") else kind)
    encoder = SpatialFeatureEncoder if kind == "spatial" else AttentionEncoder
    return encoder(queries, training=Training(**training), **options)


def read_maps(encoder: SpatialFeatureEncoder | AttentionEncoder, tokens: np.ndarray) -> np.ndarray:
    """Return the map of each query (n_queries, n_tokens) of a fitted encoder, the mean over images and heads."""
    if isinstance(encoder, SpatialFeatureEncoder):
        return encoder.spatial_maps()
    return encoder.attention(tokens).mean(axis=(0, 2))


def correlate_rows(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return the correlations (n, n) of the rows of two arrays (n, n_places)."""
    a, b = (rows - rows.mean(axis=1, keepdims=True) for rows in (a, b))
    a, b = (rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (a, b))
    return a @ b.T


def describe_pair(a: np.ndarray, b: np.ndarray) -> str:
    """Say how maps (n_neurons, row, column) agree: the same neuron, other neurons, and centres over neurons."""
    table = correlate_rows(a.reshape(len(a), -1), b.reshape(len(b), -1))
    same, other = np.diag(table), table[~np.eye(len(table), dtype=bool)]
    identified = (table.argmax(axis=1) == np.arange(len(table))).mean()
    centres = [_centres(maps) for maps in (a, b)]
    r = [np.corrcoef(centres[0][:, axis], centres[1][:, axis])[0, 1] for axis in (0, 1)]
    return (
        f"{np.median(same):.2f} | {np.median(other):.2f} | {identified:.0%} ({1 / len(table):.0%}) |"
        f" {r[0]:.2f}, {r[1]:.2f}"
    )


def _centres(maps: np.ndarray) -> np.ndarray:
    """Centre of mass (n_neurons, 2) as a share of the height and the width."""
    weights = maps / maps.sum(axis=(1, 2), keepdims=True)
    rows, columns = ((np.arange(n) + 0.5) / n for n in maps.shape[1:])
    return np.stack(
        [(weights.sum(axis=2) * rows).sum(axis=1), (weights.sum(axis=1) * columns).sum(axis=1)], axis=1
    )


def maps_of(kind: str, network: str, tokens: np.ndarray, Y: np.ndarray) -> np.ndarray:
    """Fit an encoder and return the map of each neuron on the common grid (n_neurons, row, column)."""
    maps = read_maps(make_encoder(kind, "voxel", network).fit(tokens, Y), tokens)
    return np.asarray(upsample_maps(maps.reshape(-1, *tokens.shape[2:]), COMMON, "bilinear"))


def v4(session: str, network: str) -> None:
    """Print the agreement of maps of one session."""
    data = load_dataset("v4-natural", session)
    given = networks()[network]
    backbone = load_backbone(given["backbone"], weights=given.get("weights", "cache"))
    backbone = replace(backbone, preprocess=replace(backbone.preprocess, resize=None, crop=None))
    layers = [given["layers"][0], given["layers"][-1]]
    features = extract_features(backbone, data.stimuli, layers, reduction="none", progress=False)
    assert data.responses is not None
    order, Y = data.stimulus_index, np.asarray(data.responses.values, dtype=np.float32)
    halves = (slice(0, None, 2), slice(1, None, 2))
    maps: dict[tuple[str, str, int], np.ndarray] = {}
    for kind in ("spatial", "attention"):
        for layer in layers:
            tokens = np.asarray(features[layer][:])[order]
            for number, half in enumerate(halves):
                maps[kind, layer, number] = maps_of(kind, network, tokens[half], Y[half])
    print(f"\n{session}, {network}: {Y.shape[1]} neurons, {len(Y)} images\n")
    print(
        "| maps | compared with | same neuron | other neurons | identified (chance) | centres: row, column |"
    )
    print("|---|---|---|---|---|---|")
    for kind in ("spatial", "attention"):
        for layer in layers:
            a, b = maps[kind, layer, 0], maps[kind, layer, 1]
            print(f"| {kind}, {layer} | other half of the images | {describe_pair(a, b)} |")
        for first, second in combinations(layers, 2):
            # Other images as well: nothing but the neuron is shared.
            a, b = maps[kind, first, 0], maps[kind, second, 1]
            print(f"| {kind}, {first} | {second}, other half | {describe_pair(a, b)} |", flush=True)
    for layer in layers:
        a, b = maps["spatial", layer, 0], maps["attention", layer, 1]
        print(f"| spatial, {layer} | attention, other half | {describe_pair(a, b)} |")


def digits() -> None:
    """Print how the map that all voxels share lies to the energy of pixel ridge weights."""
    data = load_dataset("digits69")
    assert data.responses is not None
    Y = np.asarray(data.responses.values, dtype=np.float32)
    images = np.stack([data.stimuli.image(number) for number in range(len(data.stimuli))])[..., 0] / 255.0
    pixels = images[data.stimulus_index].reshape(len(Y), -1).astype(np.float32)
    backbone = load_backbone("torchvision/squeezenet1_0", weights=squeezenet_weights())
    backbone = replace(backbone, preprocess=replace(backbone.preprocess, resize=(56, 56), crop=None))
    features = extract_features(backbone, data.stimuli, ["features.2"], reduction="none", progress=False)
    tokens = np.asarray(features["features.2"][:])[data.stimulus_index]
    energy: dict[Any, np.ndarray] = {}
    shared: dict[Any, np.ndarray] = {}
    everything, odd, even = slice(None), slice(0, None, 2), slice(1, None, 2)
    for name, rows in {"all": everything, "odd": odd, "even": even}.items():
        ridge = RidgeEncoder().fit(pixels[rows], Y[rows])
        # Voxels without signal carry no weight: their inner score is not above zero.
        counted = np.clip(ridge.cv_scores_.max(axis=0), 0, None)
        energy[name] = ((ridge.coef_**2) * counted).sum(axis=1).reshape(28, 28)
        for kind in ("spatial", "attention"):
            found = read_maps(make_encoder(kind, "all", NARROW).fit(tokens[rows], Y[rows]), tokens[rows])
            shared[kind, name] = np.asarray(
                upsample_maps(found.reshape(1, *tokens.shape[2:]), (28, 28), "bilinear")
            )[0]
    ink = pixels.std(axis=0).reshape(28, 28)

    def r(a: np.ndarray, b: np.ndarray) -> float:
        return float(np.corrcoef(a.ravel(), b.ravel())[0, 1])

    print("\n| map | pixel ridge weights | spread of the ink | itself, other half of the images |")
    print("|---|---|---|---|")
    print(
        f"| pixel ridge weights | - | {r(energy['all'], ink):.2f} | {r(energy['odd'], energy['even']):.2f} |"
    )
    for kind in ("spatial", "attention"):
        found = shared[kind, "all"]
        halves = r(shared[kind, "odd"], shared[kind, "even"])
        print(f"| {kind} | {r(found, energy['all']):.2f} | {r(found, ink):.2f} | {halves:.2f} |")


def main() -> None:
    """Parse the command line and run."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("dataset", choices=("v4-natural", "digits69"))
    parser.add_argument("--subject", default="201025", help="session of v4-natural")
    parser.add_argument("--network", default="SqueezeNet", choices=tuple(SETTINGS))
    arguments = parser.parse_args()
    if arguments.dataset == "digits69":
        digits()
    else:
        v4(arguments.subject, arguments.network)


if __name__ == "__main__":
    main()
