import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from encoders.backbones.backbone import Backbone
from encoders.backbones.image_preprocess import ImagePreprocess
from encoders.backbones.registry import load_backbone
from encoders.extraction import extract_features
from encoders.reductions import GridReduction
from stimuli import StimulusSet
from tests.encoders.tapped_networks import (
    CompositeNet,
    InplaceNet,
    LoopNet,
    PaddedTexts,
    RowsOfTable,
    SharedNet,
    TokenNet,
    VitCifar10,
    seeded,
    table_backbone,
)
from tests.oracles.layer_outputs import plain_layer_outputs
from tests.oracles.reductions import mean_tokens

TEXTS = ["a bb ccc", "dddd", "a a a a a a", "ee fffff g", "hh iii", "jjjjjj a bb ccc dddd"]


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).standard_normal(shape).astype(np.float32))


def pictures(n: int, size: int = 48, seed: int = 0) -> StimulusSet:
    pixels = np.random.default_rng(seed).integers(0, 256, (n, size, size, 3), dtype=np.uint8)
    return StimulusSet([f"picture{i}" for i in range(n)], images=pixels)


def sentences(texts: list[str] = TEXTS) -> StimulusSet:
    return StimulusSet([f"text{i}" for i in range(len(texts))], texts=texts)


def words(side: str = "right") -> Backbone:
    return Backbone("words", seeded(TokenNet), PaddedTexts(side), "text", ("linear",), "made by a test")


def assert_equal_to_plain_passes(backbone: Backbone, stimuli: StimulusSet, layers: list[str]) -> None:
    """Compare each layer with a pass of each stimulus alone, so without padding, by other code."""
    # As the user's network would run, with torch's fused paths as they are.
    alone = [
        plain_layer_outputs(backbone.module, backbone.preprocess(stimuli, [row]), layers)
        for row in range(len(stimuli))
    ]
    fingerprint = backbone.fingerprint
    features = extract_features(backbone, stimuli, layers, reduction="none", batch_size=3, progress=False)
    assert replace(backbone).fingerprint == fingerprint  # computed afresh
    for layer in layers:
        for row, outputs in enumerate(alone):
            (expected,) = outputs[layer]
            expected = expected[0] if isinstance(expected, tuple) else expected  # attention and no weights
            got = features[layer][row]
            if layer in features.token_masks:
                assert np.isnan(got[~features.token_masks[layer][row]]).all()
                got = got[features.token_masks[layer][row]]
            scale = max(1.0, float(expected.abs().max()))
            np.testing.assert_allclose(got, expected[0].numpy(), rtol=0, atol=1e-5 * scale, err_msg=layer)


def test_efficientnet_gives_what_a_plain_pass_gives() -> None:
    backbone = load_backbone("efficientnet_lite0")
    assert_equal_to_plain_passes(
        backbone, pictures(4), ["bn1", "blocks.2", "blocks.5.0.conv_dw", "global_pool"]
    )


def test_squeezenet_gives_what_a_plain_pass_gives(real_data: Path) -> None:
    weights = real_data / "weights" / "squeezenet1_0_imagenet.safetensors"
    backbone = load_backbone("torchvision/squeezenet1_0", weights=weights)
    # features.0 is overwritten by the ReLU behind it, and so is each squeeze.
    layers = ["features.0", "features.4", "features.7.squeeze", "classifier.1"]
    assert_equal_to_plain_passes(backbone, pictures(4, 100), layers)


def test_vision_transformer_of_the_users_own_gives_what_a_plain_pass_gives(real_data: Path) -> None:
    module = VitCifar10()
    module.load_state_dict(load_file(real_data / "weights" / "vit_cifar10.safetensors"))
    backbone = load_backbone(module, preprocess=ImagePreprocess(resize=32, crop=32))
    layers = ["patch_embed.proj", "transformer.layers.0.self_attn", "transformer.layers.2", "mlp_head.0"]
    assert_equal_to_plain_passes(backbone, pictures(4), layers)


def test_sentence_encoder_gives_what_a_plain_pass_gives() -> None:
    backbone = load_backbone("minilm")
    layers = ["embeddings", "encoder.layer.0.intermediate", "encoder.layer.5"]
    texts = ["A cat.", "The quick brown fox jumps over the lazy dog.", "Red", "Two small houses by the sea."]
    assert_equal_to_plain_passes(backbone, sentences(texts), layers)


def test_language_model_gives_what_a_plain_pass_gives(real_data: Path) -> None:
    backbone = load_backbone(f"hf/{real_data / 'weights' / 'stories260k'}")
    names = backbone.layer_names()
    layers = [name for name in names if name.endswith(("layers.0.mlp", "layers.1", "layers.4", "norm"))]
    assert len(layers) >= 4
    texts = ["Once upon a time there was a girl.", "Tom", "The dog ran. It was happy.", "She said no"]
    assert_equal_to_plain_passes(backbone, sentences(texts), layers)


@pytest.mark.parametrize("channels_last", [None, True, False])
def test_memory_layout_changes_rounding_only_and_is_put_back(channels_last: bool | None) -> None:
    network, table = seeded(InplaceNet), draw(7, 3, 9, 9)
    expected = plain_layer_outputs(network, {"x": table}, ["norm", "conv2"])
    layouts = {name: tensor.stride() for name, tensor in network.named_parameters()}
    network.train()
    seen = []
    handle = network.conv.register_forward_hook(
        lambda _m, inputs, _o: seen.append(inputs[0].is_contiguous(memory_format=torch.channels_last))
    )
    backbone, stimuli = table_backbone(network, table)
    features = extract_features(
        backbone, stimuli, ["norm", "conv2"], reduction="none", channels_last=channels_last, progress=False
    )
    handle.remove()
    assert seen == [channels_last is not False]
    for layer in ("norm", "conv2"):
        np.testing.assert_allclose(features[layer], expected[layer][0], rtol=0, atol=1e-5)
        assert features.dims[layer] == ("stimulus", "channel", "row", "column")
        assert features[layer].flags.c_contiguous
    assert {name: tensor.stride() for name, tensor in network.named_parameters()} == layouts
    assert network.training


@pytest.mark.parametrize("reduction", ["none", "flatten", "mean", "grid:2", "projection:32"])
@pytest.mark.parametrize("batch_size", [1, 3, 100])
def test_images_do_not_depend_on_the_batch_size(reduction: str, batch_size: int) -> None:
    backbone, stimuli = table_backbone(seeded(InplaceNet), draw(10, 3, 9, 9))
    sizes = [4, batch_size]
    one, other = (
        extract_features(backbone, stimuli, ["norm"], reduction=reduction, batch_size=size, progress=False)
        for size in sizes
    )
    np.testing.assert_allclose(one["norm"], other["norm"], rtol=0, atol=1e-5)


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("batch_size", [1, 2, 6])
def test_texts_depend_neither_on_the_batch_nor_on_the_padded_side(side: str, batch_size: int) -> None:
    # The oracle: each text alone, so without any padding.
    network = seeded(TokenNet)
    alone = []
    for text in TEXTS:
        ids = torch.tensor([[len(word) for word in text.split()]])
        alone.append(network.linear(network.embedding(ids))[0].detach().numpy())
    backbone, stimuli = words(side), sentences()
    options = {"batch_size": batch_size, "progress": False}
    tokens = extract_features(backbone, stimuli, reduction="none", **options)
    assert tokens["linear"].shape == (6, 6, 3)
    assert tokens.token_masks["linear"].sum(1).tolist() == [len(text.split()) for text in TEXTS]
    for row, expected in enumerate(alone):
        np.testing.assert_allclose(tokens["linear"][row, : len(expected)], expected, rtol=0, atol=1e-6)
        assert np.isnan(tokens["linear"][row, len(expected) :]).all()
    flat = extract_features(backbone, stimuli, reduction="flatten", **options)["linear"]
    np.testing.assert_array_equal(tokens.matrix("linear"), flat)
    assert np.isfinite(flat).all()
    by_hand = {
        "cls": np.array([each[0] for each in alone]),
        "last": np.array([each[-1] for each in alone]),
        "mean": np.array([mean_tokens(each, np.ones(len(each))) for each in alone]),
    }
    for name, expected in by_hand.items():
        reduced = extract_features(backbone, stimuli, reduction=name, **options)
        np.testing.assert_allclose(reduced["linear"], expected, rtol=0, atol=1e-6)
        assert not reduced.token_masks
    projected = [
        extract_features(backbone, stimuli, reduction="projection:8", batch_size=size, progress=False)[
            "linear"
        ]
        for size in (batch_size, 4)
    ]
    np.testing.assert_allclose(*projected, rtol=0, atol=1e-6)


def test_token_axes_that_are_not_the_texts_are_refused_unless_named() -> None:
    backbone, stimuli = words(), sentences()
    with pytest.raises(ValueError, match=r"'halved' gives 3 tokens where the texts have 6.*latent"):
        extract_features(backbone, stimuli, ["halved"], layer_dims={"halved": "stimulus channel token"})
    dims = {"halved": "stimulus channel latent"}
    same_length = sentences(["a bb ccc dd", "b cc d e", "f g h i"])
    features = extract_features(
        backbone, same_length, ["halved"], reduction="mean", layer_dims=dims, progress=False
    )
    assert features["halved"].shape == (3, 3)
    assert features.dims["halved"] == ("stimulus", "channel")
    with pytest.raises(ValueError, match=r"gives \(3, 3\) values for the stimuli from 'text2'.*\(2, 3\)"):
        extract_features(
            backbone,
            sentences(["a b c d", "a b c d", "a b c d e f"]),
            ["halved"],
            reduction="none",
            layer_dims=dims,
            batch_size=2,
            progress=False,
        )


def test_layers_called_again_and_composite_outputs_are_named() -> None:
    network, table = seeded(SharedNet), draw(5, 4)
    backbone, stimuli = table_backbone(network, table)
    features = extract_features(backbone, stimuli, ["act", "b"], batch_size=2, progress=False)
    assert list(features) == ["act#0", "act#1", "act#2", "b"]
    with torch.no_grad():
        np.testing.assert_allclose(features["act#2"], network(table), rtol=0, atol=1e-6)
    network, table = seeded(CompositeNet), draw(5, 6, 3)
    backbone, stimuli = table_backbone(network, table)
    dims = {"lstm[1][0]": "token stimulus channel", "lstm[1][1]": "token stimulus channel"}
    features = extract_features(
        backbone, stimuli, ["lstm"], reduction="none", layer_dims=dims, batch_size=2, progress=False
    )
    with torch.no_grad():
        hidden, (state, cell) = network.lstm(table)
    np.testing.assert_allclose(features["lstm[0]"], hidden, rtol=0, atol=1e-6)
    np.testing.assert_allclose(features["lstm[1][0]"], state.transpose(0, 1), rtol=0, atol=1e-6)
    np.testing.assert_allclose(features["lstm[1][1]"], cell.transpose(0, 1), rtol=0, atol=1e-6)


def test_loops_of_different_length_are_refused() -> None:
    class Lengthening(RowsOfTable):
        def __call__(
            self, stimuli: StimulusSet, indices: Sequence[int] | np.ndarray
        ) -> dict[str, torch.Tensor]:
            return {"x": super().__call__(stimuli, indices)["x"][:, : 2 + indices[0] // 2]}

    backbone, stimuli = table_backbone(seeded(LoopNet), draw(4, 3, 3))
    backbone = replace(backbone, preprocess=Lengthening(draw(4, 3, 3)))
    with pytest.raises(ValueError, match="was called 3 times in this pass and 2"):
        extract_features(backbone, stimuli, ["cell"], batch_size=2, progress=False)


def test_channels_last_maps_are_refused_until_named() -> None:
    class Swin(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stage = nn.ModuleList([nn.Identity(), nn.Identity()])

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.stage[1](self.stage[0](x.permute(0, 2, 3, 1)))

    table = draw(3, 5, 4, 4)
    backbone, stimuli = table_backbone(Swin(), table)
    layers = ["stage.0", "stage.1"]
    with pytest.raises(ValueError, match=r"looks channels-last.*stimulus row column channel"):
        extract_features(backbone, stimuli, layers, progress=False)
    features = extract_features(
        backbone, stimuli, layers, layer_dims={"stage.*": "stimulus row column channel"}, progress=False
    )
    np.testing.assert_array_equal(features["stage.1"], table.flatten(1))
    with pytest.raises(KeyError, match="unknown layer in layer_dims 'stag'"):
        extract_features(backbone, stimuli, layers, layer_dims={"stag": "stimulus row"}, progress=False)
    with pytest.raises(ValueError, match="must name each axis once and one of them 'stimulus'"):
        extract_features(backbone, stimuli, layers, layer_dims={"stage.1": "row column"}, progress=False)
    with pytest.raises(ValueError, match="name 2 axes"):
        extract_features(
            backbone, stimuli, ["stage.1"], layer_dims={"stage.1": "stimulus row"}, progress=False
        )


def test_other_ranks_become_tokens_when_named() -> None:
    table = draw(3, 2, 4, 5, 6)
    backbone, stimuli = table_backbone(nn.Sequential(nn.Identity()), table)
    backbone.module.forward = lambda x: backbone.module[0](x)  # type: ignore[method-assign]
    with pytest.raises(ValueError, match="neither vectors, tokens nor maps: name the axes"):
        extract_features(backbone, stimuli, ["0"], progress=False)
    dims = {"0": "stimulus channel frame row column"}
    features = extract_features(backbone, stimuli, ["0"], reduction="none", layer_dims=dims, progress=False)
    assert features.dims["0"] == ("stimulus", "token", "channel")
    np.testing.assert_array_equal(features["0"], table.flatten(2).transpose(1, 2))


def test_stimulus_axis_is_not_mistaken_when_the_batch_is_as_long_as_the_tokens() -> None:
    class TimeFirst(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.Linear(3, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.inner(x.transpose(0, 1)).transpose(0, 1)

    backbone, stimuli = table_backbone(seeded(TimeFirst), draw(8, 4, 3))
    for batch_size in (3, 4):
        with pytest.raises(ValueError, match="'token stimulus channel'"):
            extract_features(backbone, stimuli, ["inner"], batch_size=batch_size, progress=False)
    dims = {"inner": "token stimulus channel"}
    features = extract_features(
        backbone, stimuli, ["inner"], reduction="none", layer_dims=dims, batch_size=4, progress=False
    )
    with torch.no_grad():
        expected = backbone.module(backbone.preprocess(stimuli, range(8))["x"])
    np.testing.assert_allclose(features["inner"], expected, rtol=0, atol=1e-6)
    # Where the stimulus does come first the same coincidence is no error.
    square, stimuli = table_backbone(seeded(SharedNet), draw(12, 4))
    assert extract_features(square, stimuli, ["b"], batch_size=6, progress=False)["b"].shape == (12, 6)


def test_bfloat16_rounds_and_is_kept_in_float32() -> None:
    backbone, stimuli = table_backbone(seeded(InplaceNet), draw(6, 3, 9, 9))
    exact = extract_features(backbone, stimuli, ["conv2"], progress=False)["conv2"]
    rounded = extract_features(backbone, stimuli, ["conv2"], dtype="bfloat16", progress=False)["conv2"]
    assert rounded.dtype == np.float32
    error = np.abs(rounded - exact).max() / np.abs(exact).max()
    assert 1e-4 < error < 2e-2  # bfloat16 has 8 significant bits


def test_each_layer_may_have_its_own_reduction() -> None:
    backbone, stimuli = table_backbone(seeded(InplaceNet), draw(6, 3, 9, 9))
    layers = ["norm", "conv2", "head"]
    features = extract_features(
        backbone,
        stimuli,
        layers,
        reduction={"norm": "mean", "conv2": GridReduction(2), "head": "flatten"},
        progress=False,
    )
    assert [features[layer].shape for layer in layers] == [(6, 6), (6, 32), (6, 5)]
    assert features.matrix("conv2").dtype == np.float32
    assert features.provenance["reductions"]["conv2"] == {"name": "grid", "size": 2}
    assert features.provenance["backbone"]["fingerprint"] == backbone.fingerprint
    with pytest.raises(KeyError, match="unknown layer 'nor'; did you mean 'norm'"):
        features["nor"]
    with pytest.raises(ValueError, match=r"no reduction for layers \['head'\]"):
        extract_features(backbone, stimuli, layers, reduction={"norm": "mean", "conv2": "mean"})
    with pytest.raises(KeyError, match="unknown layer in reduction 'hed'"):
        extract_features(backbone, stimuli, ["head"], reduction={"hed": "mean"})


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"layers": ["conv3"]}, KeyError, "unknown layer 'conv3'; did you mean 'conv"),
        ({"layers": "conv"}, TypeError, r"write \['conv'\]"),
        ({"layers": []}, ValueError, "at least one name"),
        ({"layers": ["conv", "conv"]}, ValueError, "each only once"),
        ({"dtype": "float16"}, ValueError, "dtype must be 'float32' or 'bfloat16', got 'float16'"),
        ({"batch_size": 0}, ValueError, "batch_size must be a positive integer, got 0"),
        ({"chunk_size": -1}, ValueError, "chunk_size must be a positive integer, got -1"),
        ({"device": "warp"}, ValueError, "device 'warp' cannot be used here"),
        ({"reduction": "meen"}, ValueError, "unknown reduction 'meen'; did you mean 'mean'"),
        ({"reduction": "cls"}, ValueError, "layer 'conv': reduction 'cls' needs tokens"),
    ],
)
def test_wrong_arguments_are_refused(arguments: dict, error: type, message: str) -> None:
    backbone, stimuli = table_backbone(seeded(InplaceNet), draw(4, 3, 9, 9))
    with pytest.raises(error, match=message):
        extract_features(backbone, stimuli, **{"layers": ["conv"], "progress": False, **arguments})


def test_wrong_stimuli_and_values_are_refused_by_name() -> None:
    network, table = seeded(InplaceNet), draw(4, 3, 9, 9)
    backbone, stimuli = table_backbone(network, table)
    with pytest.raises(ValueError, match="table takes images"):
        extract_features(backbone, sentences(), ["conv"])
    with pytest.raises(ValueError, match="stimuli is empty"):
        extract_features(backbone, stimuli[[]], ["conv"])
    backbone.preprocess.table[2, 0, 0, 0] = float("nan")
    with pytest.raises(ValueError, match=r"layer 'conv' gives NaN or infinity for 1 stimuli .* first '2'"):
        extract_features(backbone, stimuli, ["conv"], reduction="mean", progress=False)
    assert not network.conv._forward_hooks


MEMORY_CODE = """
import resource, sys, numpy as np, torch
torch.set_num_threads(1)
from encoders import extract_features
from tests.encoders.tapped_networks import InplaceNet, seeded, table_backbone
table = torch.zeros(1, 3, 64, 64).expand(int(sys.argv[1]), -1, -1, -1)
backbone, stimuli = table_backbone(seeded(InplaceNet), table)
extract_features(backbone, stimuli, ["norm"], store=sys.argv[2], progress=False)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""


@pytest.mark.slow
def test_memory_does_not_grow_with_the_number_of_stimuli(tmp_path: Path) -> None:
    peaks = [
        int(
            subprocess.run(
                [sys.executable, "-c", MEMORY_CODE, str(n), str(tmp_path / str(n))],
                cwd=Path(__file__).parents[2],
                capture_output=True,
                text=True,
                check=True,
            ).stdout
        )
        for n in (200, 2000)
    ]
    # Features of 1,800 more stimuli take 169 MiB.
    assert peaks[1] - peaks[0] < 50


def test_images_of_several_sizes_need_a_reduction_of_one_size() -> None:
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 256, (size, size, 3), dtype=np.uint8) for size in (12, 12, 16, 16)]
    stimuli = StimulusSet(list("abcd"), images=images)
    backbone = Backbone(
        "net", seeded(InplaceNet), ImagePreprocess(input_name="x"), "image", ("conv",), "test"
    )
    means = extract_features(backbone, stimuli, ["conv"], reduction="mean", batch_size=2, progress=False)
    assert means["conv"].shape == (4, 6)
    with pytest.raises(ValueError, match=r"from 'c' on .* such as 'mean'"):
        extract_features(backbone, stimuli, ["conv"], batch_size=2, progress=False)


def test_interrupted_passes_leave_the_network_as_it_was() -> None:
    network, table = seeded(InplaceNet), draw(8, 3, 9, 9)
    backbone, stimuli = table_backbone(network, table)
    layouts = [tensor.stride() for tensor in network.parameters()]
    fingerprint = backbone.fingerprint

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    handle = network.norm.register_forward_hook(interrupt)
    with pytest.raises(KeyboardInterrupt):
        extract_features(backbone, stimuli, ["conv2"], batch_size=2, progress=False)
    handle.remove()
    assert not any(part._forward_hooks for part in network.modules())
    assert [tensor.stride() for tensor in network.parameters()] == layouts
    assert backbone.fingerprint == fingerprint
