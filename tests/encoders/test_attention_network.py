"""The routing decoder against published numbers and against the equations written out in numpy."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path

import numpy as np
import pytest
import torch

from neuro.encoders._attention_network import Readout, RoutingDecoder, RoutingNetwork, sine_positions
from neuro.encoders._queries import resolve_queries


@pytest.fixture(scope="module")
def golden():
    """Outputs of the published models on small formula-made inputs, or a skip that says where they were looked for."""
    candidates = [os.environ.get("NEURO_GOLDEN"), Path(__file__).parents[2].parent / "shared" / "golden"]
    for path in candidates:
        if path and (Path(path) / "transformers.json").is_file():
            return json.loads((Path(path) / "transformers.json").read_text())
    pytest.skip("golden numbers not found: set NEURO_GOLDEN to the folder that holds transformers.json")


def formula(c, *shape):
    return torch.cos(0.31 * torch.arange(math.prod(shape), dtype=torch.float64) + c).reshape(shape)


def published_weights(case):
    """Parameter k in the order of names is 0.1 sin(0.7 i + k), plus 1 for the weight of a layer norm."""
    weights = {}
    for k, (name, shape) in enumerate(sorted(case["state_dict_sorted"].items())):
        i = torch.arange(math.prod(shape), dtype=torch.float64)
        is_norm = ".norm" in name and name.endswith("weight")
        weights[name.removeprefix("decoder.").removeprefix("layers.0.")] = (
            0.1 * torch.sin(0.7 * i + k) + is_norm
        ).reshape(shape)
    return weights


def published_inputs(d):
    memory, positions = formula(0.0, 2, d, 3, 3), formula(2.0, 2, d, 3, 3)
    return formula(1.0, 4, d), memory.flatten(2).transpose(1, 2), positions.flatten(2).transpose(1, 2)


def check_published(decoder, names, case, d):
    weights = published_weights(case)
    decoder.load_state_dict(
        {ours: weights[theirs] if isinstance(theirs, str) else theirs for ours, theirs in names.items()}
    )
    with torch.no_grad():
        out = decoder.eval()(*published_inputs(d))
    assert list(out.shape) == case["out_shape"][1:]
    np.testing.assert_allclose(out[0, 0], case["out_first_query"], rtol=0, atol=1e-8)
    np.testing.assert_allclose(out[1, 3], case["out_last_query"], rtol=0, atol=1e-8)
    np.testing.assert_allclose(out.sum(), case["out_sum"], rtol=0, atol=1e-8)


def both(ours, theirs):
    return {f"{ours}.{kind}": f"{theirs}.{kind}" for kind in ("weight", "bias")}


def transformer_names(weights):
    names = both("attention.out", "multihead_attn.out_proj")
    for kind in ("weight", "bias"):
        stacked = weights[f"multihead_attn.in_proj_{kind}"].chunk(3)
        names |= {f"attention.{part}.{kind}": w for part, w in zip(("query", "key", "value"), stacked, strict=True)}
    return names | both("norm1", "norm1") | both("norm3", "norm3") | both("norm_out", "norm") | feed_forward()


def feed_forward():
    return both("linear1", "linear1") | both("linear2", "linear2")


def test_tben_transformer(golden):
    case = golden["tben_transformer"]
    decoder = RoutingDecoder(16, n_heads=4, n_hidden=12).double()
    check_published(decoder, transformer_names(published_weights(case)), case, 16)


def test_tben_custom_transformer_16heads(golden):
    case = golden["tben_custom_transformer_16heads"]
    decoder = RoutingDecoder(32, n_heads=16, n_hidden=12, variant="raw_values").double()
    names = both("attention.query", "cross_attn.q_proj") | both("attention.key", "cross_attn.k_proj")
    names |= both("attention.out", "cross_attn.c_proj") | both("norm3", "norm3") | feed_forward()
    check_published(decoder, names, case, 32)


def test_tben_sine_pos(golden):
    case = golden["tben_sine_pos"]
    positions = sine_positions(3, 3, 16)
    np.testing.assert_allclose(positions[0], case["at_0_0"], rtol=0, atol=1e-6)
    np.testing.assert_allclose(positions[1 * 3 + 2], case["at_1_2"], rtol=0, atol=1e-6)
    np.testing.assert_allclose(positions.sum(), case["sum"], rtol=0, atol=1e-4)


# the same equations, written out head by head and query by query


def layer_norm(x, weight, bias):
    return (x - x.mean()) / np.sqrt(x.var() + 1e-5) * weight + bias


def attend(w, prefix, n_heads, asked, keys, values, project):
    q, k = asked @ w[f"{prefix}.query.weight"].T + w[f"{prefix}.query.bias"], []
    k = np.array([w[f"{prefix}.key.weight"] @ key + w[f"{prefix}.key.bias"] for key in keys])
    v = np.array([w[f"{prefix}.value.weight"] @ x + w[f"{prefix}.value.bias"] for x in values]) if project else values
    size = len(q) // n_heads
    mixed, maps = np.empty(len(q)), []
    for h in range(n_heads):
        here = slice(h * size, (h + 1) * size)
        logits = np.array([q[here] @ key[here] for key in k]) / np.sqrt(size)
        share = np.exp(logits - logits.max())
        share /= share.sum()
        mixed[here] = sum(s * x[here] for s, x in zip(share, v, strict=True))
        maps.append(share)
    return w[f"{prefix}.out.weight"] @ mixed + w[f"{prefix}.out.bias"], np.array(maps)


def decode(decoder, queries, tokens, positions):
    w = {k: v.numpy() for k, v in decoder.state_dict().items()}
    heads, full = decoder.attention.n_heads, decoder.variant == "transformer"
    start = np.zeros_like(queries)
    asked = queries
    if full:
        normed = np.array([layer_norm(t, w["norm1.weight"], w["norm1.bias"]) for t in start])
        asked = normed + queries
    out, maps = np.empty((len(tokens), *queries.shape)), []
    for b, memory in enumerate(tokens):
        for r in range(len(queries)):
            routed, share = attend(w, "attention", heads, asked[r], memory + positions, memory, full)
            t = start[r] + routed
            hidden = w["linear1.weight"] @ layer_norm(t, w["norm3.weight"], w["norm3.bias"]) + w["linear1.bias"]
            t = t + w["linear2.weight"] @ np.maximum(hidden, 0) + w["linear2.bias"]
            out[b, r] = layer_norm(t, w["norm_out.weight"], w["norm_out.bias"]) if full else t
            maps.append(share)
    return out, np.array(maps).reshape(len(tokens), len(queries), heads, -1).swapaxes(1, 2)


def small(variant="transformer"):
    torch.manual_seed(0)
    decoder = RoutingDecoder(12, 3, 7, variant=variant).double().eval()
    with torch.no_grad():
        for p in decoder.parameters():
            p += 0.3 * torch.randn_like(p)
    return decoder, torch.randn(4, 12).double(), torch.randn(2, 6, 12).double(), sine_positions(2, 3, 12)


@pytest.mark.parametrize("variant", ["transformer", "raw_values"])
def test_decoder_is_its_equations(variant):
    decoder, queries, tokens, positions = small(variant)
    with torch.no_grad():
        out, maps = decoder(queries, tokens, positions), decoder.routing(queries, tokens, positions)
    expected, shares = decode(decoder, queries.numpy(), tokens.numpy(), positions.numpy())
    np.testing.assert_allclose(out, expected, atol=1e-12)
    np.testing.assert_allclose(maps, shares, atol=1e-12)
    np.testing.assert_allclose(maps.sum(-1), 1)


@pytest.mark.parametrize("variant", ["transformer", "raw_values"])
def test_queries_do_not_hear_one_another(variant):
    decoder, queries, tokens, positions = small(variant)
    changed = queries.clone()
    changed[1] += torch.arange(12)
    with torch.no_grad():
        gap = (decoder(queries, tokens, positions) - decoder(changed, tokens, positions)).abs().amax((0, 2))
    assert gap[[0, 2, 3]].max() < 1e-12 < 1e-3 < gap[1]


def test_moving_tokens_with_their_positions_changes_nothing_and_without_them_does():
    decoder, queries, tokens, positions = small()
    order = torch.tensor([3, 1, 5, 0, 4, 2])
    with torch.no_grad():
        out = decoder(queries, tokens, positions)
        np.testing.assert_allclose(decoder(queries, tokens[:, order], positions[order]), out, atol=1e-12)
        assert (decoder(queries, tokens[:, order], positions) - out).abs().max() > 1e-3


def test_published_size_holds_no_idle_weights():
    decoder = RoutingDecoder(768, 16, 1024)
    assert sum(p.numel() for p in decoder.parameters()) == 3_941_632  # 3.94 of the 6.35 million published


def test_positions_written_out():
    code = sine_positions(2, 5, 12)
    for r in range(2):
        for c in range(5):
            for axis, (at, length) in enumerate(((r + 1, 2), (c + 1, 5))):
                for j in range(6):
                    u = 2 * math.pi * at / (length + 1e-6) / 10000 ** (2 * (j // 2) / 6)
                    expected = math.cos(u) if j % 2 else math.sin(u)
                    assert code[r * 5 + c, axis * 6 + j] == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("n_queries", [2, 5])
def test_readout_is_the_masked_sum_whichever_way_it_is_computed(rng, n_queries):
    masks = rng.random((n_queries, 30)) < (0.9 if n_queries == 2 else 0.5)  # few mixtures, many mixtures
    queries = resolve_queries(masks, None, 30)
    readout, out = Readout(queries.member, queries.patterns, 8), torch.randn(3, len(queries), 8)
    shares = torch.from_numpy(np.stack([queries.voxels(q) for q in range(len(queries))])).float()
    shares = shares / shares.sum(0)
    np.testing.assert_array_equal(shares[:n_queries].numpy() > 0, masks)
    expected = torch.einsum("rv,vc,brc->bv", shares, readout.weight[readout.back], out) + readout.bias
    torch.testing.assert_close(readout(out), expected)


def test_one_query_per_voxel_needs_no_mixtures():
    queries = resolve_queries("voxels", None, 9)
    readout, out = Readout(queries.member, queries.patterns, 8), torch.randn(3, 9, 8)
    torch.testing.assert_close(readout(out), (out * readout.weight).sum(-1) + readout.bias)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"n_channels": 10, "n_heads": 4}, "10 channels and 4 heads"),
        ({"n_channels": 8, "n_heads": 4, "variant": "custom"}, "'transformer' or 'raw_values'"),
    ],
)
def test_impossible_decoders_are_refused(arguments, words):
    with pytest.raises(ValueError, match=words):
        RoutingDecoder(**arguments)


def test_odd_channels_have_no_positions():
    with pytest.raises(ValueError, match="even number of channels, got 9"):
        RoutingNetwork(9, (2, 2), resolve_queries("one", None, 3), None, n_heads=3)
