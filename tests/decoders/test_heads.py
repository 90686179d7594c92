"""Heads: token grids, hints that are silent at the start, and the way back to responses."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import gelu, layer_norm

from neuro.decoders._blocks import built, count_parameters
from neuro.decoders.heads import Builder, ControlHint, SemanticTokens, TokenHead, TokenProjector
from neuro.errors import ShapeMismatch


@pytest.fixture
def draw():
    return torch.Generator().manual_seed(0)


def test_token_head_is_linear_and_lays_tokens_out_in_rows(draw):
    head = built(lambda: TokenHead(6, n_tokens=4, dim=3), draw)
    e = torch.randn(5, 6, generator=draw)
    assert head(e).shape == (5, 4, 3)
    torch.testing.assert_close(head(e)[:, 2], e @ head.weight[6:9].T + head.bias[6:9])


def test_projector_treats_every_token_alike(draw):
    projector = built(lambda: TokenProjector(6, 10), draw)
    tokens = torch.randn(2, 5, 6, generator=draw)
    torch.testing.assert_close(projector(tokens)[:, 3], projector(tokens[:, 3]))
    h = projector[2](gelu(layer_norm(tokens, (6,))))
    h = projector[5](gelu(layer_norm(h, (10,))))
    torch.testing.assert_close(projector(tokens), projector[8](gelu(layer_norm(h, (10,)))))


@pytest.mark.parametrize(("dim", "hidden", "count"), [(768, 2048, 7_354_624), (1664, None, 8_321_664)])
def test_projectors_have_the_published_number_of_weights(dim, hidden, count):
    with torch.device("meta"):
        assert count_parameters(TokenProjector(dim, hidden)) == count


def test_mindbridge_heads_and_builder_have_the_published_numbers_of_weights():
    with torch.device("meta"):
        heads = count_parameters(TokenHead(2048, 257, 768)) + count_parameters(TokenHead(2048, 77, 768))
        assert heads == 525_593_088
        assert count_parameters(Builder()) == 18_907_264


@pytest.mark.parametrize("make", [lambda f: f(), lambda f: built(f)])
def test_control_hint_is_zero_at_the_start_and_learns(make, draw):
    head = make(lambda: ControlHint(n_tokens=5, dim=8, channels=6, size=4))
    tokens = torch.randn(3, 5, 8, generator=draw)
    hint = head(tokens)
    assert hint.shape == (3, 6, 4, 4)
    assert not hint.any()
    (hint - 1).square().sum().backward()
    assert head.zero.bias.grad.any()
    assert head.zero.weight.grad.any()
    with pytest.raises(ShapeMismatch, match="5 tokens"):
        head(tokens[:, :4])


def test_semantic_tokens_are_normalised_and_the_parallel_branch_says_nothing_at_first(draw):
    head = built(lambda: SemanticTokens(n_tokens=5, dim=8, n_out=3, hidden=4), draw)
    tokens = torch.randn(2, 5, 8, generator=draw)
    text = head(tokens)
    torch.testing.assert_close(text, layer_norm(head.project(head.mix(tokens)), (8,)))
    before = {k: v.clone() for k, v in head.state_dict().items()}
    state = torch.get_rng_state()
    head.add_parallel()
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(head(tokens), text)
    assert all(torch.equal(head.state_dict()[k], v) for k, v in before.items())
    assert torch.equal(head.parallel[0][0].weight, head.mix[0].weight)
    assert head.parallel[0][0].weight is not head.mix[0].weight
    (head(tokens) * torch.randn(text.shape, generator=draw)).sum().backward()
    assert head.parallel[-1].weight.grad.any()


def test_builder_starts_as_its_linear_part(draw):
    builder = built(lambda: Builder(6, 12, 3), draw)
    e = torch.randn(4, 6, generator=draw)
    assert torch.equal(builder(e), builder.expand(e))
