"""Trunks, block by block against their equations."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import gelu, layer_norm

from neuro.decoders._blocks import Attention, built, count_parameters
from neuro.decoders.trunks import Mixer, Perceiver, ResMLP, TokenSelfAttention
from neuro.errors import ShapeMismatch


@pytest.fixture
def draw():
    return torch.Generator().manual_seed(0)


def test_res_mlp_follows_its_equation(draw):
    trunk = built(lambda: ResMLP(6, n_blocks=2), draw).eval()
    x = torch.randn(3, 6, generator=draw)
    expected = x
    for block in trunk:
        expected = expected + gelu(layer_norm(block.f[0](expected), (6,)))
    torch.testing.assert_close(trunk(x), expected)


def test_activation_first_exchanges_norm_and_activation(draw):
    trunk = built(lambda: ResMLP(6, n_blocks=1, activation_first=True), draw).eval()
    x = torch.randn(3, 6, generator=draw)
    torch.testing.assert_close(trunk(x), x + layer_norm(gelu(trunk[0].f[0](x)), (6,)))


def test_res_mlp_of_mindbridge_has_the_published_number_of_weights():
    with torch.device("meta"):
        assert count_parameters(ResMLP(2048)) == 16_801_792


def published_mixer(trunk, x):
    """Two residual streams, one per orientation, each continued from its own last value."""
    stream_channels, stream_places = x, x.mT
    for mix_channels, mix_places in zip(trunk.channels, trunk.places, strict=True):
        x = mix_channels(x) + stream_channels
        stream_channels = x
        x = mix_places(x.mT) + stream_places
        stream_places = x
        x = x.mT
    return x.flatten(1)


def test_mixer_with_separate_streams_is_the_published_one(draw):
    trunk = built(lambda: Mixer(6, sequence=4, n_blocks=3, separate_streams=True), draw).eval()
    x = torch.randn(5, 4, 6, generator=draw)
    torch.testing.assert_close(trunk(x), published_mixer(trunk, x))


def test_mixer_with_one_stream_adds_every_step_to_the_same_sum(draw):
    trunk = built(lambda: Mixer(6, sequence=4, n_blocks=2), draw).eval()
    x = torch.randn(5, 4, 6, generator=draw)
    y = x
    for mix_channels, mix_places in zip(trunk.channels, trunk.places, strict=True):
        y = y + mix_channels(y)
        y = y + mix_places(y.mT).mT
    torch.testing.assert_close(trunk(x), y.flatten(1))


def test_published_mixer_of_sequence_one_is_the_input_plus_a_constant_and_trains_no_channel_weight(draw):
    trunk = built(lambda: Mixer(16, sequence=1, separate_streams=True), draw).eval()
    with torch.no_grad():  # as after training: norms that are no longer 1 and 0
        for block in trunk.places:
            block[0].bias.normal_(generator=draw)
    x = torch.randn(7, 16, generator=draw)
    shift = trunk(x) - x
    torch.testing.assert_close(shift, shift[:1, :1].expand_as(shift), atol=1e-5, rtol=0)
    trunk(x).square().sum().backward()
    assert all(p.grad is None or not p.grad.any() for p in trunk.channels.parameters())

    shared = built(lambda: Mixer(16, sequence=1), draw)
    shared(x).square().sum().backward()
    assert all(block[1].weight.grad.any() for block in shared.channels)


def test_attention_is_the_softmax_average_of_values(draw):
    attention = built(lambda: Attention(8, n_heads=2, head_width=3), draw)
    x, memory = torch.randn(2, 5, 8, generator=draw), torch.randn(2, 4, 8, generator=draw)
    k, v = attention.key_value(memory).chunk(2, -1)
    heads = []
    for h in range(2):
        s = slice(3 * h, 3 * h + 3)
        weights = (attention.query(x)[..., s] @ k[..., s].mT / 3**0.5).softmax(-1)
        heads.append(weights @ v[..., s])
    torch.testing.assert_close(attention(x, memory), attention.out(torch.cat(heads, -1)))


def test_token_attention_without_exchange_is_token_by_token(draw):
    trunk = built(lambda: TokenSelfAttention(12, 5, 7, channels=6, n_heads=2, attention_width=8, hidden=9), draw).eval()
    x = torch.randn(3, 12, generator=draw)
    y = trunk(x)
    assert y.shape == (3, 5, 7)
    with torch.no_grad():
        trunk.attention.f.out.weight.zero_()
        trunk.attention.f.out.bias.zero_()
    alone = trunk.out(trunk.unfold(x).unflatten(1, (5, 6)))
    torch.testing.assert_close(trunk(x), alone)
    assert not torch.allclose(y, alone)
    with pytest.raises(ShapeMismatch, match="multiple of n_heads"):
        TokenSelfAttention(12, attention_width=10, n_heads=4)


def test_perceiver_reads_any_number_of_tokens_in_any_order(draw):
    trunk = built(lambda: Perceiver(8, n_latents=3, depth=2, n_heads=2, head_width=4, memory_width=5), draw)
    tokens = torch.randn(2, 11, 5, generator=draw)
    y = trunk(tokens)
    assert y.shape == (2, 3, 8)
    torch.testing.assert_close(trunk(tokens.flip(1)), y)
    assert trunk(tokens[:, :4]).shape == (2, 3, 8)


def test_trunks_are_drawn_from_their_generator_alone():
    state = torch.get_rng_state()
    make = lambda seed: built(lambda: Perceiver(8, 3, 1, 2, 4), torch.Generator().manual_seed(seed))  # noqa: E731
    one, same, other = make(1), make(1), make(2)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), same.parameters(), strict=True))
    assert not torch.equal(one.latents, other.latents)
