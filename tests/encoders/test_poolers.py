"""Poolers of attentive probing against keys and values written out, published sizes, and padding."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from encoders.routing.pooler import BatchNorm, equivalent_queries
from encoders.routing.poolers import EpPooler, MeanPooler, Pooler, find_pooler, pooler_resolver
from encoders.routing.probe_network import Probe, count_parameters
from tests.oracles import poolers as oracle

NAMES = ("ep", "mean", "cls", "abmilp", "aim", "simpool", "multihead")
LEARNED_VALUES = ("ep", "aim", "multihead")


def make(name, n_channels=12, n_queries=4, output_divisor=1, n_heads=3, seed=0, scale=1.0) -> Pooler:
    """Give a pooler in float64 whose maps are far from uniform."""
    pooler = find_pooler(name)(
        n_channels, n_queries, output_divisor, n_heads, torch.Generator().manual_seed(seed)
    ).double()
    generator = torch.Generator().manual_seed(seed + 1)
    with torch.no_grad():
        for weights in pooler.parameters():
            weights.copy_(torch.randn(weights.shape, generator=generator, dtype=torch.float64) * scale)
    return pooler


def draw(n=5, n_tokens=7, n_channels=12, seed=0) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).standard_normal((n, n_tokens, n_channels)))


def numbers(pooler: Pooler) -> dict[str, np.ndarray]:
    return {name: value.detach().numpy() for name, value in pooler.named_parameters()}


def test_names_are_those_of_the_paper_and_near_ones_are_told():
    assert set(pooler_resolver.options) == set(NAMES)
    assert find_pooler("SimPool") is find_pooler("simpool")
    assert find_pooler(MeanPooler) is MeanPooler
    with pytest.raises(ValueError, match=r"unknown pooler 'multi-heads'; did you mean 'multihead'"):
        find_pooler("multi-heads")
    with pytest.raises(ValueError, match="unknown pooler '3'; allowed: 'abmilp', 'aim'"):
        find_pooler(3)  # type: ignore[arg-type]


class TestOracles:
    @pytest.mark.parametrize("output_divisor", [1, 3])
    def test_efficient_probing(self, output_divisor):
        pooler, tokens = make("ep", output_divisor=output_divisor), draw()
        w = numbers(pooler)
        maps, pooled = pooler.attention(tokens).detach(), pooler(tokens).detach()
        for x, found, vector in zip(tokens.numpy(), maps, pooled, strict=True):
            expected = oracle.ep_maps(x, w["queries"])
            np.testing.assert_allclose(found, expected, atol=1e-12)
            np.testing.assert_allclose(vector, oracle.cross_attention(x, expected, w["values"]), atol=1e-12)
        assert pooled.shape == (5, 12 // output_divisor)

    def test_multihead(self):
        pooler, tokens = make("multihead"), draw()
        w = numbers(pooler)
        maps, pooled = pooler.attention(tokens).detach(), pooler(tokens).detach()
        for x, found, vector in zip(tokens.numpy(), maps, pooled, strict=True):
            expected = oracle.multihead_maps(x, w["keys"], w["query"], 3)
            np.testing.assert_allclose(found, expected, atol=1e-12)
            np.testing.assert_allclose(vector, oracle.cross_attention(x, expected, w["values"]), atol=1e-12)

    def test_multihead_is_that_of_torch(self):
        """The same attention in torch.nn.MultiheadAttention, whose further weights are set to do nothing."""
        pooler, tokens = make("multihead"), draw()
        peer = torch.nn.MultiheadAttention(12, 3, bias=False, batch_first=True, dtype=torch.float64)
        with torch.no_grad():
            peer.in_proj_weight.copy_(torch.cat([torch.eye(12), pooler.keys, pooler.values.flatten(0, 1)]))
            peer.out_proj.weight.copy_(torch.eye(12))
            query = pooler.query.expand(5, 1, 12)
            expected, maps = peer(query, tokens, tokens, average_attn_weights=False)
            torch.testing.assert_close(pooler(tokens), expected[:, 0], atol=1e-12, rtol=0)
            torch.testing.assert_close(pooler.attention(tokens), maps[:, :, 0], atol=1e-12, rtol=0)

    def test_aim_norms_all_tokens_of_the_batch_first(self):
        pooler, tokens = make("aim").train(), draw()
        w = numbers(pooler)
        normed = oracle.batch_norm(tokens.reshape(35, 12).numpy()).reshape(5, 7, 12)
        pooled = pooler(tokens).detach()
        for x, vector in zip(normed, pooled, strict=True):
            maps = oracle.multihead_maps(x, w["keys"], w["query"], 3)
            np.testing.assert_allclose(vector, oracle.cross_attention(x, maps, w["values"]), atol=1e-10)

    def test_aim_norms_new_tokens_by_what_training_saw(self):
        pooler, tokens = make("aim").train(), draw()
        for _ in range(200):
            pooler(tokens)
        rows = tokens.reshape(35, 12).numpy()
        np.testing.assert_allclose(pooler.norm.running_mean, rows.mean(0), atol=1e-8)
        new, w = draw(seed=1)[:1], numbers(pooler)
        normed = (new[0].numpy() - rows.mean(0)) / np.sqrt(rows.var(0, ddof=1) + 1e-6)
        maps = oracle.multihead_maps(normed, w["keys"], w["query"], 3)
        expected = oracle.cross_attention(normed, maps, w["values"])
        np.testing.assert_allclose(pooler.eval()(new)[0].detach(), expected, atol=1e-6)

    def test_abmilp(self):
        pooler, tokens = make("abmilp"), draw()
        w = numbers(pooler)
        for x, vector in zip(tokens.numpy(), pooler(tokens).detach(), strict=True):
            weights = oracle.abmilp_map(x, w["hidden_weight"], w["hidden_bias"], w["score_weight"])
            np.testing.assert_allclose(vector, weights @ x, atol=1e-12)

    def test_simpool(self):
        pooler, tokens = make("simpool"), draw()
        w = numbers(pooler)
        maps, pooled = pooler.attention(tokens).detach(), pooler(tokens).detach()
        for x, found, vector in zip(tokens.numpy(), maps, pooled, strict=True):
            weights, expected = oracle.simpool(
                x, w["query_weight"], w["keys"], w["norm.weight"], w["norm.bias"]
            )
            np.testing.assert_allclose(found[0], weights, atol=1e-12)
            np.testing.assert_allclose(vector, expected, atol=1e-12)

    def test_mean_and_cls(self):
        tokens = draw()
        torch.testing.assert_close(make("mean")(tokens), tokens.mean(1))
        torch.testing.assert_close(make("cls")(tokens), tokens[:, 0])

    def test_a_probe_norms_what_is_pooled_before_the_linear_head(self):
        probe, tokens = Probe("mean", 12, 3).double().train(), draw()
        with torch.no_grad():
            probe.head.weight.copy_(torch.from_numpy(np.random.default_rng(2).standard_normal((3, 12))))
            probe.head.bias.copy_(torch.tensor([1.0, 2.0, 3.0]))
        normed = oracle.batch_norm(tokens.numpy().mean(1))
        expected = normed @ probe.head.weight.detach().numpy().T + [1.0, 2.0, 3.0]
        np.testing.assert_allclose(probe(tokens).detach(), expected, atol=1e-10)


class TestChangeOfVariables:
    """Multi-head attention and efficient probing attend alike for u_j = sqrt(M) W_Kj^T q_j."""

    @given(
        n_heads=st.sampled_from([1, 2, 3, 4, 6, 12]),
        n_tokens=st.integers(1, 20),
        dtype=st.sampled_from([torch.float64, torch.float32]),
        seed=st.integers(0, 2**31),
    )
    @settings(max_examples=60, deadline=None)
    def test_maps_are_identical(self, n_heads, n_tokens, dtype, seed):
        rng = np.random.default_rng(seed)
        tokens, query = rng.standard_normal((n_tokens, 12)), rng.standard_normal(12)
        keys = rng.standard_normal((12, 12)) / np.sqrt(12)
        probe = EpPooler(12, n_heads, 1, 1, torch.Generator()).to(dtype)
        with torch.no_grad():
            probe.queries.copy_(
                equivalent_queries(torch.tensor(keys, dtype=dtype), torch.tensor(query, dtype=dtype), n_heads)
            )
            maps = probe.attention(torch.tensor(tokens, dtype=dtype)[None])[0]
        expected = oracle.multihead_maps(tokens, keys, query, n_heads)
        np.testing.assert_allclose(maps, expected, atol=1e-6 if dtype == torch.float32 else 1e-12)

    def test_vit_b_sized(self):
        """At the size of ViT-B, 12 heads, the maps of both agree within 1e-6 in float32."""
        rng = np.random.default_rng(0)
        tokens, query = rng.standard_normal((196, 768)), rng.standard_normal(768)
        keys = rng.standard_normal((768, 768)) / np.sqrt(768)
        probe = EpPooler(768, 12, 1, 1, torch.Generator())
        with torch.no_grad():
            probe.queries.copy_(equivalent_queries(torch.tensor(keys), torch.tensor(query), 12))
            maps = probe.attention(torch.tensor(tokens, dtype=torch.float32)[None])[0]
        np.testing.assert_allclose(maps, oracle.multihead_maps(tokens, keys, query, 12), atol=1e-6)

    def test_values_after_pooling_are_values_of_all_tokens_pooled(self):
        """W_Vj (X^T a_j) in float32 against every value written out, at the size of ViT-B: within 1e-6."""
        tokens = np.random.default_rng(0).standard_normal((50, 768))
        pooler = EpPooler(768, 32, 1, 1, torch.Generator().manual_seed(0))
        w = {name: values.astype(float) for name, values in numbers(pooler).items()}
        expected = oracle.cross_attention(tokens, oracle.ep_maps(tokens, w["queries"]), w["values"])
        pooled = pooler(torch.tensor(tokens, dtype=torch.float32)[None])[0].detach()
        np.testing.assert_allclose(pooled, expected, atol=1e-6)

    @pytest.mark.parametrize("n_tokens", [1, 9])
    def test_one_blind_query_that_keeps_values_is_mean_pooling(self, n_tokens):
        pooler, tokens = make("ep", n_queries=1), draw(n_tokens=n_tokens)
        with torch.no_grad():
            pooler.queries.zero_()
            pooler.values.copy_(torch.eye(12)[None])
            torch.testing.assert_close(pooler(tokens), tokens.mean(1))

    @given(seed=st.integers(0, 2**31), n_queries=st.sampled_from([1, 2, 4]))
    @settings(max_examples=25, deadline=None)
    def test_tokens_in_another_order_pool_to_the_same(self, seed, n_queries):
        tokens = draw(seed=seed)
        order = torch.from_numpy(np.random.default_rng(seed).permutation(7))
        for name in NAMES:
            if name != "cls":
                pooler = make(name, n_queries=n_queries).eval()
                torch.testing.assert_close(pooler(tokens[:, order]), pooler(tokens))


class TestPadding:
    @pytest.mark.parametrize("name", NAMES)
    @pytest.mark.parametrize("training", [False, True])
    def test_padding_has_no_weight_and_no_effect(self, name, training):
        tokens, mask = draw(), torch.ones(5, 7, dtype=torch.bool)
        mask[1, 4:] = False
        mask[3, 0] = False
        others = tokens.clone()
        others[~mask] = 1e6
        results = []
        for values in (tokens, others):
            pooler = make(name).train(training)
            maps = pooler.attention(values, mask)
            assert (maps.transpose(1, 2)[~mask] == 0).all()
            torch.testing.assert_close(maps.sum(2), torch.ones_like(maps[:, :, 0]))
            results.append((maps, pooler(values, mask)))
        torch.testing.assert_close(results[0], results[1], rtol=0, atol=0)

    @pytest.mark.parametrize("name", NAMES)
    def test_padded_stimuli_pool_as_short_ones(self, name):
        tokens, mask = draw(), torch.ones(5, 7, dtype=torch.bool)
        mask[:, 4:] = False
        padded, short = make(name).train(), make(name).train()
        torch.testing.assert_close(padded(tokens, mask), short(tokens[:, :4]))
        # what AIM's norm learns for later must not hold padding either
        torch.testing.assert_close(padded.state_dict(), short.state_dict())

    def test_cls_is_the_first_token_that_is_there(self):
        tokens, mask = draw(n=2), torch.ones(2, 7, dtype=torch.bool)
        mask[1, :2] = False
        torch.testing.assert_close(make("cls")(tokens, mask), torch.stack([tokens[0, 0], tokens[1, 2]]))


class TestParameterCounts:
    def built(self, *args, **options):
        return sum(weights.numel() for weights in Probe(*args, **options).parameters())

    @pytest.mark.parametrize(
        ("name", "options", "published", "rounded_to"),
        [
            # Psomas et al. 2025: the log of the reference run prints 1,383,400; the others from the paper.
            ("ep", {"n_queries": 32}, 1_383_400, 1),
            ("ep", {"n_queries": 12}, 1_368_000, 1_000),
            ("ep", {"n_queries": 64}, 1_408_000, 1_000),
            ("ep", {"n_queries": 48, "output_divisor": 8}, 207_600, 100),
            ("mean", {}, 769_000, 1),
            ("cls", {}, 769_000, 1),
            ("aim", {"n_heads": 12}, 1_950_000, 10_000),
        ],
    )
    def test_published_for_vit_b_and_1000_classes(self, name, options, published, rounded_to):
        count = count_parameters(name, 768, 1000, **options)
        assert round(count / rounded_to) * rounded_to == published
        assert count == self.built(name, 768, 1000, **options)

    @given(
        name=st.sampled_from(NAMES),
        n_maps=st.sampled_from([1, 2, 4]),
        output_divisor=st.sampled_from([1, 2, 4]),
        n_outputs=st.integers(1, 30),
    )
    @settings(max_examples=40, deadline=None)
    def test_every_pooler_has_as_many_as_counted(self, name, n_maps, output_divisor, n_outputs):
        options = {"n_queries": n_maps, "n_heads": n_maps}
        if name in LEARNED_VALUES:
            options["output_divisor"] = output_divisor
        assert count_parameters(name, 16, n_outputs, **options) == self.built(name, 16, n_outputs, **options)

    def test_formula(self):
        d, m, divisor, c = 384, 24, 2, 17
        expected = m * d + d * (d // divisor) + (d // divisor) * c + c
        assert count_parameters("ep", d, c, n_queries=m, output_divisor=divisor) == expected


class TestWeights:
    @pytest.mark.parametrize("name", NAMES)
    def test_first_weights_follow_the_generator_alone(self, name):
        torch.manual_seed(0)
        before = torch.random.get_rng_state()
        first = Probe(name, 12, 3, n_queries=4, n_heads=3, generator=torch.Generator().manual_seed(5))
        torch.testing.assert_close(torch.random.get_rng_state(), before, rtol=0, atol=0)
        torch.manual_seed(1)
        again = Probe(name, 12, 3, n_queries=4, n_heads=3, generator=torch.Generator().manual_seed(5))
        torch.testing.assert_close(first.state_dict(), again.state_dict(), rtol=0, atol=0)
        other = Probe(name, 12, 3, n_queries=4, n_heads=3, generator=torch.Generator().manual_seed(6))
        assert not torch.equal(first.head.weight, other.head.weight)

    @pytest.mark.parametrize(("name", "weights"), [("ep", "queries"), ("aim", "query")])
    def test_queries_start_at_a_fiftieth_of_a_normal_draw(self, name, weights):
        pooler = Probe(name, 4096, 1, n_queries=32, n_heads=1).pooler
        assert getattr(pooler, weights).std().item() == pytest.approx(0.02, rel=0.05)

    @pytest.mark.parametrize("name", NAMES)
    def test_every_weight_has_a_gradient(self, name):
        probe = Probe(name, 12, 3, n_queries=4, n_heads=3).double()
        (probe(draw()) ** 3).sum().backward()
        for what, weights in probe.named_parameters():
            assert weights.grad is not None, what
            assert weights.grad.abs().max() > 0, what

    def test_a_batch_of_one_is_normed_by_what_came_before(self):
        norm, rows = BatchNorm(3).double().train(), draw(n=1, n_tokens=50, n_channels=3)[0]
        norm(rows)
        mean, var = norm.running_mean.clone(), norm.running_var.clone()
        one = norm(rows[:1])
        torch.testing.assert_close(one, (rows[:1] - mean) / (var + 1e-6).sqrt())
        torch.testing.assert_close(norm.running_mean, mean, rtol=0, atol=0)
        assert torch.isfinite(Probe("aim", 12, 2, n_heads=3).train()(draw(n=1, n_tokens=1).float())).all()


class TestBadArguments:
    def test_queries_that_do_not_divide_the_output_are_told_what_would(self):
        with pytest.raises(
            ValueError,
            match=r"n_queries 5 does not divide the 6 channels.*12 of a token / output_divisor 2.*1, 2, 3, 6",
        ):
            Probe("ep", 12, 3, n_queries=5, output_divisor=2)
        with pytest.raises(
            ValueError, match=r"n_heads 12 does not divide the 128 channels.*1, 2, 4, 8, 16, 32, 64, 128"
        ):
            count_parameters("multihead", 128, 3)
        with pytest.raises(
            ValueError, match=r"output_divisor 5 does not divide the 12 channels.*1, 2, 3, 4, 6, 12"
        ):
            Probe("ep", 12, 3, output_divisor=5)

    @pytest.mark.parametrize("name", sorted(set(NAMES) - set(LEARNED_VALUES)))
    def test_without_value_weights_nothing_gets_shorter(self, name):
        with pytest.raises(
            ValueError, match=f"output_divisor is 2, but pooler '{name}' has no value weights"
        ):
            Probe(name, 12, 3, output_divisor=2)

    @pytest.mark.parametrize("argument", ["n_queries", "output_divisor", "n_heads"])
    @pytest.mark.parametrize("value", [0, -1, 2.0, True, None])
    def test_numbers_are_positive_integers(self, argument, value):
        with pytest.raises(ValueError, match=f"{argument} is {value}; it must be a positive integer"):
            Probe("ep", 12, 3, **{argument: value})
