"""Pixels are the pixels; Gabor energy is what the sum over pixels says."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from encoders.backbones import load_backbone
from encoders.backbones.plain import GaborPyramid
from stimuli import StimulusSet
from tests.oracles.gabor import gabor_energy


def grating(
    size: int, frequency_cpi: float, angle_rad: float, phase: float, amplitude: float
) -> torch.Tensor:
    y, x = (np.mgrid[:size, :size] + 0.5) / size
    wave = np.cos(2 * np.pi * frequency_cpi * (x * np.cos(angle_rad) + y * np.sin(angle_rad)) + phase)
    return torch.tensor(np.stack([0.5 + amplitude * wave] * 3)[None], dtype=torch.float32)


def test_pixels_are_handed_on_in_0_to_1() -> None:
    images = np.random.default_rng(0).integers(0, 256, (3, 5, 7, 3), dtype=np.uint8)
    stimuli = StimulusSet(["a", "b", "c"], images=images)
    backbone = load_backbone("pixels")
    answer = backbone.module(**backbone.preprocess(stimuli, [2, 0]))
    np.testing.assert_allclose(answer.numpy(), np.moveaxis(images[[2, 0]], 3, 1) / 255, rtol=0, atol=1e-7)
    assert backbone.default_layers == ("pixels",)
    backbone.check_layers(backbone.default_layers)


def test_pixels_of_a_size_are_resized_by_pil() -> None:
    image = np.random.default_rng(1).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    backbone = load_backbone("pixels:14")
    batch = backbone.preprocess(StimulusSet(["a"], images=image[None]), [0])
    expected = np.asarray(Image.fromarray(image).resize((14, 14), Image.Resampling.BILINEAR)) / 255
    np.testing.assert_allclose(batch["x"][0].permute(1, 2, 0).numpy(), expected, rtol=0, atol=1e-7)
    assert backbone.fingerprint != load_backbone("pixels").fingerprint


@pytest.mark.parametrize("spec", ["pixels:0", "pixels:-3", "pixels:big", "gabor:2"])
def test_sizes_that_make_no_sense_are_refused(spec: str) -> None:
    with pytest.raises(ValueError, match=r"SIZE"):
        load_backbone(spec)


def test_networks_without_weights_refuse_a_file() -> None:
    with pytest.raises(ValueError, match="no weights to load"):
        load_backbone("gabor", weights="some.safetensors")


@settings(max_examples=15, deadline=None)
@given(
    seed=st.integers(0, 1000),
    frequency=st.sampled_from([1, 3, 4]),
    n_orientations=st.integers(1, 5),
    bandwidth=st.floats(0.5, 2.0),
)
def test_energy_equals_the_sum_over_pixels(
    seed: int, frequency: int, n_orientations: int, bandwidth: float
) -> None:
    size = 16
    image = np.random.default_rng(seed).random((1, 3, size, size)).astype(np.float32)
    pyramid = GaborPyramid([frequency], n_orientations, size, bandwidth)
    maps = pyramid(torch.tensor(image)).reshape(n_orientations, frequency, frequency).numpy()
    luminance = np.tensordot([0.299, 0.587, 0.114], image[0].astype(float), axes=1)
    for k in range(n_orientations):
        for row in range(frequency):
            for column in range(frequency):
                expected = gabor_energy(
                    luminance,
                    frequency,
                    np.pi * k / n_orientations,
                    (row + 0.5) / frequency,
                    (column + 0.5) / frequency,
                    bandwidth,
                )
                assert maps[k, row, column] == pytest.approx(expected, rel=1e-4, abs=1e-6)


@settings(max_examples=20, deadline=None)
@given(phase=st.floats(0, 6.28), amplitude=st.floats(0.05, 0.5), orientation=st.integers(0, 7))
def test_a_planted_grating_wins_with_its_amplitude_whatever_its_phase(
    phase: float, amplitude: float, orientation: int
) -> None:
    pyramid = GaborPyramid(size=64, frequencies_cpi=[4, 8, 16])
    image = grating(64, 8, orientation * np.pi / 8, phase, amplitude)
    luminance = (image * pyramid.luminance_weights).sum(1)
    centre = {name: scale(luminance - luminance.mean())[0, :, 3, 3] for name, scale in pyramid.scales.items()}
    assert int(centre["cpi_8"].argmax()) == orientation
    assert float(centre["cpi_8"].max()) == pytest.approx(amplitude, rel=0.01)
    assert float(centre["cpi_4"].max()) < 0.2 * amplitude
    assert float(centre["cpi_16"].max()) < 0.5 * amplitude


@settings(max_examples=20, deadline=None)
@given(brightness=st.floats(0, 0.5), contrast=st.floats(0.1, 1.0))
def test_energy_ignores_brightness_and_scales_with_contrast(brightness: float, contrast: float) -> None:
    pyramid = GaborPyramid(size=32, frequencies_cpi=[1, 2, 4])
    image = torch.rand((1, 3, 32, 32), generator=torch.Generator().manual_seed(0)) * 0.5
    energy, changed = pyramid(image), pyramid(image * contrast + brightness)
    torch.testing.assert_close(changed, energy * contrast, rtol=1e-3, atol=1e-5)


def test_the_named_layers_of_the_gabor_pyramid_are_as_documented() -> None:
    backbone = load_backbone("gabor")
    assert backbone.default_layers == ("energy",)
    backbone.check_layers(["scales.cpi_1", "scales.cpi_32", "energy"])
    assert backbone.module(torch.rand(2, 3, 128, 128)).shape == (2, 8 * (1 + 4 + 16 + 64 + 256 + 1024))
    with pytest.raises(ValueError, match="frequencies_cpi"):
        GaborPyramid([2, 2.5])
    with pytest.raises(ValueError, match="n_orientations"):
        GaborPyramid(n_orientations=0)
