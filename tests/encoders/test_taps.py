import numpy as np
import pytest
import torch
from torch import nn

from encoders.taps import tap_layers
from tests.encoders.tapped_networks import (
    CompositeNet,
    InplaceNet,
    LoopNet,
    SharedNet,
    VitCifar10,
    seeded,
)
from tests.oracles.layer_outputs import plain_layer_outputs


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).standard_normal(shape).astype(np.float32))


def test_outputs_are_those_of_a_plain_pass_even_when_overwritten_later() -> None:
    network, x = seeded(InplaceNet), draw(4, 3, 8, 8)
    layers = ["conv", "norm", "act", "conv2", "head"]
    expected = plain_layer_outputs(network, {"x": x}, layers)
    with tap_layers(network, layers) as taps:
        for _ in range(2):
            outputs = taps(x)
            assert list(outputs) == layers
            for layer in layers:
                torch.testing.assert_close(outputs[layer], expected[layer][0], rtol=0, atol=0)
    # The ReLU overwrites the output of the normalisation: a reference to it would hold no negative value.
    assert (outputs["norm"] < 0).any()
    assert not (outputs["act"] < 0).any()


def test_pass_stops_after_the_last_wanted_layer() -> None:
    network, x = seeded(InplaceNet), draw(2, 3, 8, 8)
    seen: list[str] = []
    for name, part in network.named_children():
        part.register_forward_hook(lambda *_, name=name: seen.append(name))
    with tap_layers(network, ["norm", "conv"]) as taps:
        taps(x)
        assert seen == ["conv", "norm", "act", "conv2", "drop", "head"]  # counts the calls
        seen.clear()
        taps(x)
    assert seen == ["conv", "norm"]


def test_final_layer_is_the_last_to_answer_not_the_last_named() -> None:
    network, x = seeded(InplaceNet), draw(2, 3, 8, 8)
    with tap_layers(network, ["head", "conv"]) as taps:
        assert [list(taps(x)) for _ in range(2)] == [["head", "conv"]] * 2


def test_every_call_of_a_shared_module_is_kept() -> None:
    network, x = seeded(SharedNet), draw(5, 4)
    first = torch.tanh(network.a(x))
    second = torch.tanh(network.b(first))
    third = torch.tanh(network.c(second))
    with tap_layers(network, ["act", "b"]) as taps:
        for _ in range(2):
            outputs = taps(x)
            assert list(outputs) == ["act#0", "act#1", "act#2", "b"]
            for name, expected in zip(["act#0", "act#1", "act#2"], [first, second, third], strict=True):
                torch.testing.assert_close(outputs[name], expected, rtol=0, atol=0)


def test_another_number_of_calls_is_refused() -> None:
    network = seeded(LoopNet)
    with tap_layers(network, ["cell", "out"]) as taps:
        assert list(taps(draw(2, 3, 3))) == ["cell#0", "cell#1", "cell#2", "out"]
        for length in (4, 2):
            with pytest.raises(ValueError, match=f"'cell' was called {length} times in this pass and 3"):
                taps(draw(2, length, 3))
        assert list(taps(draw(5, 3, 3))) == ["cell#0", "cell#1", "cell#2", "out"]


def test_another_number_of_calls_is_refused_when_values_decide() -> None:
    class Doubling(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.step = nn.Identity()

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            while x.max() < 8:
                x = self.step(2 * x)
            return x

    with tap_layers(Doubling(), ["step"]) as taps:
        assert list(taps(torch.full((2, 1), 2.0))) == ["step#0", "step#1"]
        for start, calls in ((1.0, 3), (4.0, 1)):
            with pytest.raises(ValueError, match=f"called {calls} times in this pass and 2 times"):
                taps(torch.full((2, 1), start))


def test_composite_outputs_are_named_by_place() -> None:
    network, x = seeded(CompositeNet), draw(2, 5, 3)
    with tap_layers(network, ["lstm", "attention", "pair"]) as taps:
        outputs = taps(x=x)
    with torch.no_grad():
        hidden, (state, cell) = network.lstm(x)
    assert list(outputs) == [
        "lstm[0]",
        "lstm[1][0]",
        "lstm[1][1]",
        "attention",
        "pair[double]",
        "pair[nested][0]",
    ]
    for name, expected in (("lstm[0]", hidden), ("lstm[1][0]", state), ("lstm[1][1]", cell)):
        torch.testing.assert_close(outputs[name], expected, rtol=0, atol=0)
    torch.testing.assert_close(outputs["pair[double]"], 2 * outputs["attention"])
    torch.testing.assert_close(outputs["pair[nested][0]"], outputs["attention"] + 1)


def test_model_output_of_transformers_is_named_by_key() -> None:
    from transformers import BertConfig, BertModel

    config = BertConfig(
        vocab_size=20, hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8
    )
    outer = nn.Module()
    outer.bert = BertModel(config).eval()
    outer.forward = lambda ids: outer.bert(ids)  # type: ignore[method-assign]
    with tap_layers(outer, ["bert"]) as taps:
        assert list(taps(torch.tensor([[1, 2, 3]]))) == ["bert[last_hidden_state]", "bert[pooler_output]"]


def test_layers_without_floats_or_calls_are_refused() -> None:
    network, x = seeded(CompositeNet), draw(2, 5, 3)
    with tap_layers(network, ["integers"]) as taps, pytest.raises(ValueError, match="without a floating"):
        taps(x)
    # The fused attention takes the weights of out_proj and never calls it.
    with (
        tap_layers(network, ["attention.out_proj", "lstm"]) as taps,
        pytest.raises(ValueError, match=r"\['attention.out_proj'\] were never called"),
    ):
        taps(x)


@pytest.mark.parametrize("enabled", [True, False])
def test_inner_layers_of_a_transformer_encoder_answer(enabled: bool) -> None:
    network, x = seeded(VitCifar10), draw(3, 3, 32, 32)
    layers = ["transformer.layers.0.linear1", "transformer.layers.3", "transformer.layers.5.norm2"]
    expected = plain_layer_outputs(network, {"x": x}, layers)
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(enabled)
    try:
        with tap_layers(network, layers) as taps:
            outputs = taps(x)
            assert torch.backends.mha.get_fastpath_enabled() is enabled
        for layer in layers:
            torch.testing.assert_close(outputs[layer], expected[layer][0], rtol=0, atol=1e-5)
        with tap_layers(network, ["transformer"]) as taps:
            torch.testing.assert_close(taps(x)["transformer"], outputs[layers[-1]], rtol=0, atol=1e-5)
    finally:
        torch.backends.mha.set_fastpath_enabled(before)


def test_padded_transformer_encoder_gives_padded_tensors() -> None:
    # With a padding mask the fused path hands nested tensors from layer to layer.
    encoder = seeded(VitCifar10).transformer
    tokens, padding = draw(3, 6, 128), torch.arange(6) >= torch.tensor([[6], [4], [2]])
    with tap_layers(encoder, ["layers.1", "layers.4.linear1"]) as taps:
        outputs = taps(tokens, src_key_padding_mask=padding)
        alone = taps(tokens[2:, :2])
    assert {name: tuple(tensor.shape) for name, tensor in outputs.items()} == {
        "layers.1": (3, 6, 128),
        "layers.4.linear1": (3, 6, 256),
    }
    for name, tensor in alone.items():
        torch.testing.assert_close(outputs[name][2:, :2], tensor, rtol=0, atol=1e-5)


def test_hooks_modes_and_gradients_are_as_before() -> None:
    network, x = seeded(InplaceNet), draw(2, 3, 8, 8)
    network.train()
    network.norm.eval()
    modes = [part.training for part in network.modules()]
    mean = network.norm.running_mean.clone()
    with tap_layers(network, ["drop", "head"]) as taps:
        first, second = taps(x), taps(x)
        assert not network.training
    torch.testing.assert_close(first["drop"], second["drop"], rtol=0, atol=0)
    assert not first["head"].requires_grad
    assert [part.training for part in network.modules()] == modes
    assert torch.equal(network.norm.running_mean, mean)
    assert not any(part._forward_hooks for part in network.modules())
    with pytest.raises(RuntimeError), tap_layers(network, ["head"]) as taps:
        taps(draw(2, 1, 8, 8))  # one channel where three are wanted
    assert not any(part._forward_hooks for part in network.modules())
    assert network(x).requires_grad


def test_network_that_catches_exceptions_is_still_stopped() -> None:
    class Cautious(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.Linear(3, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            try:
                return self.inner(x)
            except Exception:
                return torch.zeros(1)

    network, x = Cautious().eval(), draw(2, 3)
    with tap_layers(network, ["inner"]) as taps:
        taps(x)
        torch.testing.assert_close(taps(x)["inner"], network.inner(x))


def test_transform_is_called_inside_the_hook_and_its_result_kept() -> None:
    network, x = seeded(SharedNet), draw(5, 4)
    points = []

    def column_means(point, tensor):  # type: ignore[no-untyped-def]
        points.append(point.candidate_names)
        return tensor.mean(dim=0)

    with tap_layers(network, ["act"], column_means) as taps:
        assert taps(x)["act#2"].shape == (2,)
    assert points == [("act#0", "act"), ("act#1", "act"), ("act#2", "act")]


def test_wrong_names_are_refused_before_any_pass() -> None:
    network = seeded(InplaceNet)
    with pytest.raises(KeyError, match=r"unknown layer 'con'.*'conv'"), tap_layers(network, ["con"]):
        pass
    with pytest.raises(ValueError, match="each only once"), tap_layers(network, ["conv", "conv"]):
        pass
    with pytest.raises(ValueError, match="at least one layer"), tap_layers(network, []):
        pass
    with pytest.raises(TypeError, match=r"write \['conv'\]"), tap_layers(network, "conv"):
        pass
