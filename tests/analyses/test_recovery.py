"""What is planted in a simulated subject comes out of a whole run: layer, weights, ceiling, receptive field."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d

from analyses.datasets import Dataset, load_dataset, simulate_subject
from analyses.experiments.config import EncodingConfig, FeatureSpace
from analyses.experiments.encoding import run_encoding
from encoders import load_backbone, load_encoder
from encoders.backbones.image_preprocess import ImagePreprocess
from encoders.persistence import read_metadata
from stimuli import StimulusSet

LAYERS = ("conv1", "conv2", "conv3")
N_STIMULI, N_REPEATS, N_SILENT, N_NOISY, N_CLEAR = 800, 4, 4, 16, 8
# Ceilings of the mean over repeats: voxels that respond to nothing, those of a usual study, and nearly noiseless ones.
CEILING = np.concatenate([np.zeros(N_SILENT), np.linspace(0.5, 0.95, N_NOISY), np.full(N_CLEAR, 0.995)])
SILENT = slice(0, N_SILENT)
RESPONSIVE = slice(N_SILENT, None)
CLEAR = slice(-N_CLEAR, None)


class ConvNet(nn.Module):
    """Three layers, of which each says little about the next: the sign is lost in between."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 6, 3, padding=1)
        self.conv2 = nn.Conv2d(6, 6, 3, stride=2, padding=1)
        self.conv3 = nn.Conv2d(6, 6, 3, stride=2, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv3(self.conv2(self.conv1(x).abs()).abs())


@dataclass
class PlantedRun:
    """A finished run and the subject that it was about."""

    out: Path
    results: xr.Dataset
    subject: Dataset
    features: np.ndarray


def features_of(network: ConvNet, images: np.ndarray) -> dict[str, np.ndarray]:
    """Layers by hand, each averaged over the quarters of the image: (n_stimuli, 24)."""
    with torch.no_grad():
        first = network.conv1((torch.from_numpy(images).float().permute(0, 3, 1, 2) / 255 - 0.5) / 0.25)
        second = network.conv2(first.abs())
        third = network.conv3(second.abs())
    maps = zip(LAYERS, (first, second, third), strict=True)
    return {layer: adaptive_avg_pool2d(values, 2).flatten(1).numpy() for layer, values in maps}


@pytest.fixture(scope="module", params=["conv1", pytest.param("conv2", marks=pytest.mark.slow), "conv3"])
def planted(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> PlantedRun:
    torch.manual_seed(0)
    network = ConvNet()
    images = np.random.default_rng(0).integers(0, 256, (N_STIMULI, 8, 8, 3), dtype=np.uint8)
    features = features_of(network, images)
    stimuli = StimulusSet([f"noise{number:03}" for number in range(N_STIMULI)], images=images)
    subject = simulate_subject(
        features,
        request.param,
        stimuli=stimuli,
        n_voxels=len(CEILING),
        noise_ceiling_r=CEILING,
        n_repeats=N_REPEATS,
        seed=LAYERS.index(request.param),
    )
    space = FeatureSpace(backbone="net", layers=LAYERS, reduction="grid:2")
    config = EncodingConfig(dataset="simulated", spaces=(space,), null="none", n_bootstrap=50)
    preprocess = ImagePreprocess(mean=(0.5,) * 3, std=(0.25,) * 3)
    out = tmp_path_factory.mktemp("planted") / request.param
    backbone = load_backbone(network, preprocess=preprocess, name="net")
    results = run_encoding(config, out, dataset=subject, backbones={"net": backbone}, progress=False)
    return PlantedRun(out, results, subject, features[request.param])


def test_planted_layer_wins_in_every_fold(planted: PlantedRun) -> None:
    position = LAYERS.index(planted.subject.truth["layer"])
    assert (planted.results["selected_layer"].values[:, RESPONSIVE] == position).all()
    r = planted.results["r"].values
    np.testing.assert_allclose(r[-1, RESPONSIVE], r[position, RESPONSIVE], rtol=1e-5)
    others = [number for number in range(3) if number != position]
    assert (r[others][:, RESPONSIVE].mean(axis=1) < 0.7 * r[position, RESPONSIVE].mean()).all()


def test_weights_are_recovered_within_5_percent(planted: PlantedRun) -> None:
    assert (
        read_metadata(planted.out / "encoder")["parts"][0]["label"] == f"net:{planted.subject.truth['layer']}"
    )
    encoder = load_encoder(planted.out / "encoder")
    found, truth = encoder.coef_[:, CLEAR], planted.subject.truth["weights"][:, CLEAR]
    assert np.linalg.norm(found - truth) < 0.05 * np.linalg.norm(truth)
    error = encoder.predict(planted.features) - planted.subject.truth["signal"]  # of variance 1
    assert np.sqrt((error[:, CLEAR] ** 2).mean()) < 0.05
    # A voxel that responds to nothing gets next to no weights, on the scale of those that respond.
    assert np.linalg.norm(encoder.coef_[:, SILENT], axis=0).max() < 0.2 * np.linalg.norm(truth, axis=0).mean()


def test_noise_ceiling_is_recovered_within_5_percent(planted: PlantedRun) -> None:
    """On average over voxels; in each voxel, and where nothing repeats, as well as so many repeats allow.

    The share of variance that repeats is 1 - MSW / MSB, two independent mean squares of Gaussian noise: its standard
    error is (1 - share) sqrt(2 / df_between + 2 / df_within).
    """
    assert planted.results.attrs["evaluation_unit"] == "stimulus average"
    found = planted.results["noise_ceiling_r"].values
    assert abs(found[RESPONSIVE].mean() / CEILING[RESPONSIVE].mean() - 1) < 0.05
    standard_error = (1 - CEILING**2) * np.sqrt(2 / (N_STIMULI - 1) + 2 / (N_STIMULI * (N_REPEATS - 1)))
    deviation = (planted.results["explainable_variance"].values - CEILING**2) / standard_error
    assert np.abs(deviation).max() < 4
    assert abs(deviation.mean()) < 4 / np.sqrt(len(CEILING))


def test_planted_layer_reaches_the_ceiling_and_no_more(planted: PlantedRun) -> None:
    layer = f"net:{planted.subject.truth['layer']}"
    normalized = planted.results["r_normalized"].sel(layer=layer).values[RESPONSIVE]
    assert 0.95 < normalized.mean() < 1.01
    assert np.abs(planted.results["r"].sel(layer=layer).values[SILENT]).max() < 0.1


@pytest.mark.parametrize(("layer", "least_normalized"), [("pixels", 0.95), ("gabor", 0.7)])
def test_receptive_fields_are_where_they_were_planted(
    layer: str, least_normalized: float, tmp_path: Path
) -> None:
    """Brightness, or Gabor energy, in Gaussian receptive fields; read by bases that were not used to plant them."""
    grid, n_voxels = 8, 15
    options = {"planted_layer": layer, "n_stimuli": 400, "n_voxels": n_voxels, "noise_ceiling_r": 0.9}
    options["kind"] = "averages"
    spaces = (
        FeatureSpace(backbone=f"pixels:{grid}", label="pixels"),
        FeatureSpace(backbone="gabor:64", layers=(f"scales.cpi_{grid}",), label="gabor"),
    )
    config = EncodingConfig(
        dataset="simulated", dataset_options=options, spaces=spaces, null="none", n_bootstrap=50
    )
    results = run_encoding(config, tmp_path / "run", progress=False)
    position = ("pixels", "gabor").index(layer)
    assert (results["selected_layer"].values == position).all()
    # Other filters than the planted ones cannot explain all; pixels on the planted grid nearly do.
    assert least_normalized < results["r_normalized"].values[position].mean() < 1.02
    weights = load_encoder(tmp_path / "run" / "encoder").coef_.reshape(-1, grid, grid, n_voxels)
    strength = np.abs(weights.sum(axis=0)) if layer == "pixels" else np.sqrt((weights**2).sum(axis=0))
    strength = np.where(strength >= strength.max(axis=(0, 1)) / 2, strength, 0)
    strength /= strength.sum(axis=(0, 1))
    place = (np.arange(grid) + 0.5) / grid
    found = np.stack([place @ strength.sum(axis=1), place @ strength.sum(axis=0)], axis=1)
    field = load_dataset("simulated", **options).truth["receptive_field"]
    distance = np.linalg.norm(found - field["centre"], axis=1)
    assert distance.mean() < 0.5 / grid  # half a cell of the grid
    assert distance.max() < field["sd"]
