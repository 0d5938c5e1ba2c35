import numpy as np
import pytest
import torch

from encoders.routing.attention import CrossAttention, Memory, Pool, cheaper_way
from encoders.routing.attention_network import AttentionNetwork
from encoders.routing.chunks import chunk_slices
from encoders.routing.positions import Positions
from encoders.training.seeding import set_generator
from tests.oracles.attention import attention_network, sine_codes

MASKS = np.array([[1, 1, 0, 0, 1], [0, 1, 1, 0, 0], [0, 1, 0, 1, 1]], bool)
PLAIN: dict = {"grid": (2, 3), "n_channels": 8, "masks": MASKS, "n_heads": 2, "d_feedforward": 7}
CONFIGS = {
    "as published": PLAIN,
    "mean of overlaps": PLAIN | {"overlap": "mean"},
    "no feed-forward, one head": PLAIN | {"n_heads": 1, "d_feedforward": None},
    "voxels": PLAIN | {"masks": None, "query_chunk": 2},
    "projection": PLAIN | {"d_model": 12, "n_channels": 5},
    "words": PLAIN | {"grid": None},
    "learned positions": PLAIN | {"positions": "learned"},
    "no positions": PLAIN | {"positions": "none"},
    "two decoder layers": PLAIN | {"n_decoder_layers": 2, "d_model": 12},
    "two encoder layers": PLAIN
    | {"n_encoder_layers": 2, "d_model": 12, "n_decoder_layers": 2, "query_chunk": 1},
}
MASK = np.array([[1, 1, 1, 1, 1, 1], [1, 0, 1, 1, 0, 0], [0, 0, 0, 1, 0, 0]], bool)


def make(grid, n_channels, masks, way=None, seed=0, **options):
    n_voxels = 5
    network = AttentionNetwork(
        6,
        n_channels,
        grid,
        masks,
        n_voxels,
        torch.Generator().manual_seed(seed),
        way=way,
        dropout=0.0,
        **options,
    ).double()
    rng = np.random.default_rng(seed)
    with torch.no_grad():  # biases and norms away from where they start
        for value in network.parameters():
            value += 0.3 * torch.from_numpy(rng.standard_normal(tuple(value.shape)))
    tokens = rng.standard_normal((3, 6, n_channels))
    return network, tokens


def oracle(
    network, tokens, mask, grid, masks, n_heads, n_encoder_layers=0, n_decoder_layers=1, overlap="sum", **_
):
    weights = {name: value.detach().numpy() for name, value in network.state_dict().items()}
    # The first layer's norm sees zeros: its scale can be anything.
    weights["decoder.0.norm.bias"] = weights.pop("decoder.0.shift")
    weights["decoder.0.norm.weight"] = np.random.default_rng(9).standard_normal(weights["queries"].shape[1])
    codes = network.positions.codes()
    codes = 0 if codes is None else codes.detach().numpy()
    order = np.arange(5) if masks is None else network.readout.voxels.numpy()
    return attention_network(
        tokens, mask, weights, codes, masks, n_heads, n_encoder_layers, n_decoder_layers, overlap, order
    )


@pytest.mark.parametrize("mask", [None, MASK], ids=["whole", "padded"])
@pytest.mark.parametrize("way", ["folded", "projected"])
@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_predictions_and_maps_are_those_written_down(config, way, mask):
    network, tokens = make(way=way, **config)
    if config.get("positions", "sine") == "sine":
        width = config.get("d_model", config["n_channels"])
        np.testing.assert_allclose(network.positions.codes(), sine_codes(6, config["grid"], width), atol=1e-6)
    expected, maps = oracle(network, tokens, mask, **config)
    given = torch.from_numpy(tokens if mask is None else tokens * mask[..., None])
    seen = None if mask is None else torch.from_numpy(mask)
    np.testing.assert_allclose(network(given, seen).detach(), expected, atol=1e-9)
    found = network.attention(given, seen).detach()
    np.testing.assert_allclose(found, maps, atol=1e-9)
    np.testing.assert_allclose(
        network.attention(given, seen, torch.tensor([2, 0])).detach(), maps[:, [2, 0]], atol=1e-9
    )
    if mask is not None:
        assert (found.numpy().transpose(0, 3, 1, 2)[~mask] == 0).all()


@pytest.mark.parametrize("way", ["folded", "projected"])
@pytest.mark.parametrize("name", ["as published", "voxels", "two encoder layers"])
def test_gradients_are_the_slopes_of_what_is_written_down(name, way):
    config = CONFIGS[name]
    network, tokens = make(way=way, **config)
    tokens *= MASK[..., None]
    rng = np.random.default_rng(1)
    direction = rng.standard_normal((3, 5))
    (network(torch.from_numpy(tokens), torch.from_numpy(MASK)) * torch.from_numpy(direction)).sum().backward()
    for parameter, value in network.named_parameters():
        step = torch.from_numpy(rng.standard_normal(tuple(value.shape)))
        sides = []
        for sign in (1, -1):
            with torch.no_grad():
                value += sign * 1e-5 * step
            sides.append((oracle(network, tokens, MASK, **config)[0] * direction).sum())
            with torch.no_grad():
                value -= sign * 1e-5 * step
        slope = (sides[0] - sides[1]) / 2e-5
        assert float((value.grad * step).sum()) == pytest.approx(slope, rel=1e-5, abs=1e-6), parameter


@pytest.mark.parametrize("name", CONFIGS)
def test_both_ways_and_chunks_have_the_same_gradients(name):
    config = CONFIGS[name]
    gradients = []
    for way, chunk in (("folded", None), ("projected", None), ("folded", 1), ("projected", 2)):
        network, tokens = make(way=way, **config | {"query_chunk": chunk})
        network(torch.from_numpy(tokens)).square().sum().backward()
        gradients.append([value.grad for value in network.parameters()])
    for others in gradients[1:]:
        torch.testing.assert_close(gradients[0], others, atol=1e-9, rtol=1e-7)


@pytest.mark.parametrize("images", ["share their queries", "have queries each"])
@pytest.mark.parametrize("positions", [True, False])
def test_pooling_has_the_gradients_of_its_formula(images, positions):
    rng = torch.Generator().manual_seed(0)
    lead = (3,) if images == "have queries each" else ()

    def draw(*shape):
        return torch.randn(shape, generator=rng, dtype=torch.float64, requires_grad=True)

    tokens, queries = draw(3, 6, 4), draw(*lead, 5, 4)
    of_positions = draw(*lead, 5, 6) if positions else None
    for mask in (None, torch.from_numpy(MASK)):
        torch.autograd.gradcheck(
            lambda x, u, p, m=mask: Pool.apply(x, u, p, m), (tokens, queries, of_positions)
        )
    # one image after another, as on a CPU where there are many scores
    large, u = torch.randn(2, 400, 4, generator=rng), torch.randn(400, 4, generator=rng).requires_grad_()
    weights = (u @ large.mT).softmax(-1)
    torch.testing.assert_close(Pool.apply(large, u, None, None), weights @ large)
    direction = torch.randn(2, 400, 4, generator=rng)
    (mine,) = torch.autograd.grad((Pool.apply(large, u, None, None) * direction).sum(), u)
    (theirs,) = torch.autograd.grad((weights @ large * direction).sum(), u)
    torch.testing.assert_close(mine, theirs, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("way", ["folded", "projected"])
def test_attention_is_that_of_torch(way):
    generator = torch.Generator().manual_seed(0)
    mine = CrossAttention(12, 3, generator, way)
    theirs = torch.nn.MultiheadAttention(12, 3, batch_first=True)
    theirs.load_state_dict(
        {
            "in_proj_weight": torch.cat([mine.query.weight, mine.key.weight, mine.value.weight]),
            # a bias of keys changes nothing
            "in_proj_bias": torch.cat([mine.query.bias, torch.randn(12), mine.value.bias]),
            "out_proj.weight": mine.out.weight,
            "out_proj.bias": mine.out.bias,
        }
    )
    tokens, queries = torch.randn(2, 7, 12), torch.randn(4, 12)
    shared = mine.prepare(Memory(tokens, None, None, Positions("none", 7, None, 12, generator)), 4)
    expected = theirs(queries.expand(2, -1, -1), tokens, tokens)[0]
    torch.testing.assert_close(shared(queries), expected)


def test_the_cheaper_way_is_chosen():
    # 50 queries x 16 heads over 961 tokens: 2.45 and 2.49 G multiplications an image; a query a voxel needs keys once.
    assert cheaper_way(50, 16, 768, 768, 961) == "folded"
    assert cheaper_way(60, 16, 768, 768, 961) == "projected"
    assert cheaper_way(39_548, 16, 768, 768, 961) == "projected"
    assert cheaper_way(1, 1, 768, 768, 961) == "folded"


def dropout_gradients(chunk):
    network, tokens = make(**PLAIN | {"query_chunk": chunk, "masks": None})
    for part in network.modules():
        if hasattr(part, "p"):
            part.p = 0.5
    generator = torch.Generator().manual_seed(3)
    set_generator(network, generator)
    tokens = torch.from_numpy(tokens)
    predicted = network(tokens)
    state = generator.get_state()
    value = float(predicted.detach().square().sum())
    predicted.square().sum().backward()
    assert torch.equal(generator.get_state(), state)  # as if nothing had been drawn again
    return network, tokens, value


def test_dropout_drops_the_same_when_chunks_are_computed_again():
    network, tokens, value = dropout_gradients(2)
    # the slope of what was computed with these very masks
    step = torch.randn(
        network.readout.weight.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64
    )
    slopes = []
    for sign in (1, -1):
        with torch.no_grad():
            network.readout.weight += sign * 1e-6 * step
        set_generator(network, torch.Generator().manual_seed(3))
        slopes.append(float(network(tokens).detach().square().sum()))
        with torch.no_grad():
            network.readout.weight -= sign * 1e-6 * step
    slope = (slopes[0] - slopes[1]) / 2e-6
    assert float((network.readout.weight.grad * step).sum()) == pytest.approx(slope, rel=1e-5)
    assert value == pytest.approx(dropout_gradients(2)[2])


def kept_numbers(network, tokens):
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda x: kept.append(x.numel()) or x, lambda x: x):
        network(tokens)
    return sum(kept)


def test_kept_memory_of_voxel_queries_does_not_grow_with_their_number():
    for n_voxels in (64, 256):
        network = AttentionNetwork(
            100,
            8,
            (10, 10),
            None,
            n_voxels,
            torch.Generator().manual_seed(0),
            n_heads=4,
            query_chunk=16,
            dropout=0.0,
        )
        # beside parameters: keys, values and tokens of two images
        parameters = sum(p.numel() for p in network.parameters())
        assert kept_numbers(network, torch.randn(2, 100, 8)) - 2 * parameters < 10 * 2 * 100 * 8


def test_chunks_cover_everything_once():
    for n, size in ((10, 3), (1, 5), (7, 7), (39_548, 2179)):
        slices = chunk_slices(n, size)
        assert [i for part in slices for i in range(part.start, part.stop)] == list(range(n))
        assert max(part.stop - part.start for part in slices) <= size


def test_bfloat16_stays_near_float32():
    rng = np.random.default_rng(0)
    network, _ = make(**PLAIN)
    network = network.float()
    tokens = torch.from_numpy(rng.standard_normal((3, 6, 8))).float()
    expected = network(tokens)
    for way in ("folded", "projected"):
        network.decoder[0].attention.way = way
        with torch.autocast("cpu", torch.bfloat16):
            found = network(tokens)
        found.square().sum().backward()
        assert found.dtype == torch.float32
        found, expected = found.detach(), expected.detach()
        assert float((found - expected).abs().max()) < 0.05 * float(expected.abs().max())
        assert all(torch.isfinite(value.grad).all() for value in network.parameters())


def test_first_weights_come_from_the_generator_alone():
    torch.manual_seed(0)
    before = torch.get_rng_state()
    first, second = (
        AttentionNetwork(
            6, 8, (2, 3), MASKS, 5, torch.Generator().manual_seed(5), positions="learned", d_feedforward=4
        )
        for _ in range(2)
    )
    assert torch.equal(torch.get_rng_state(), before)
    for one, other in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(one, other)


def test_published_numbers_of_parameters():
    # 50 queries x 768; 39548 vertices; the published layer of 6,305,536 weights (final norm included) less what
    # takes no part: attention among queries, its norm, a bias of keys, which softmax ignores, and the scale of the
    # norm of zeros.
    masks = np.zeros((50, 39_548), bool)
    masks[np.arange(39_548) % 50, np.arange(39_548)] = True
    with torch.device("cpu"):
        network = AttentionNetwork(
            961,
            768,
            (31, 31),
            masks,
            39_548,
            torch.Generator().manual_seed(0),
            n_heads=16,
            d_feedforward=1024,
        )
    sizes = {name: sum(p.numel() for p in part.parameters()) for name, part in network.named_children()}
    assert network.queries.numel() == 38_400
    assert sizes["readout"] == 39_548 * 769 == 30_412_412
    attention, feedforward, norm = 4 * 768 * 769, 2 * 768 * 1024 + 1024 + 768, 2 * 768
    published = 2 * attention + feedforward + 3 * norm + norm
    assert published == 6_305_536
    assert sizes["decoder"] + sizes["norm"] == published - attention - norm - 2 * 768
