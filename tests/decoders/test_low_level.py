"""Heads that predict latents of a picture."""

from __future__ import annotations

import pytest
import torch

from neuro.decoders._blocks import built, count_parameters
from neuro.decoders.low_level import LatentHead, SemanticMerge, vae_decoder
from neuro.errors import ShapeMismatch

pytest.importorskip("diffusers", reason="the low-level head needs diffusers: pip install 'neuro[decode]'")


@pytest.fixture
def draw():
    return torch.Generator().manual_seed(0)


@pytest.fixture
def small(draw):
    return built(lambda: LatentHead(10, (4, 16, 16), 32, (32, 32, 64), dropout=0.3, map_channels=8), draw)


@pytest.mark.parametrize(("blocks", "side", "count"), [((64, 128, 256), 16, 6_841_668), ((32, 64, 128), 7, 1_750_692)])
def test_vae_decoders_have_the_published_sizes(blocks, side, count):
    with torch.device("meta"):
        decoder = vae_decoder(64, 4, blocks)
        latents = decoder(torch.empty(1, 64, side, side))
    assert count_parameters(decoder) == count
    assert latents.shape == (1, 4, 4 * side, 4 * side)


def test_mindeye2_head_adds_the_published_number_of_weights():
    with torch.device("meta"):
        head = LatentHead(4096, (4, 28, 28), 64, (32, 64, 128), dropout=0.3, map_channels=512)
        out = head(torch.empty(2, 4096))
    assert count_parameters(head) == 1_903_020_028 - 1_887_861_400
    assert out["low_level"].shape == (2, 4, 28, 28)
    assert out["low_level_maps"].shape == (2, 49, 512)


def test_coarse_map_is_normalised_over_the_whole_map(small, draw):
    small.eval()
    e = torch.randn(3, 10, generator=draw)
    h = small.expand(e).unflatten(1, (32, 4, 4))
    mean, var = h.mean((1, 2, 3), keepdim=True), h.var((1, 2, 3), keepdim=True, correction=0)
    torch.testing.assert_close(small.coarse(e), (h - mean) / (var + 1e-5) ** 0.5)


def test_maps_are_there_only_where_asked_for_and_do_not_touch_latents(small, draw):
    small.eval()
    e = torch.randn(3, 10, generator=draw)
    out = small(e)
    assert out["low_level"].shape == (3, 4, 16, 16)
    assert out["low_level_maps"].shape == (3, 16, 8)
    small.maps = None
    assert set(small(e)) == {"low_level"}
    assert torch.equal(small(e)["low_level"], out["low_level"])


def test_each_item_is_decoded_on_its_own(small, draw):
    small.eval()
    e = torch.randn(4, 10, generator=draw)
    torch.testing.assert_close(small(e)["low_level"][2:3], small(e[2:3])["low_level"], atol=1e-5, rtol=1e-4)


def test_latents_that_do_not_fit_the_decoder_are_refused():
    with pytest.raises(ShapeMismatch, match="multiple of 4"):
        LatentHead(10, (4, 18, 18))
    with pytest.raises(ShapeMismatch, match="multiples of 32"):
        LatentHead(10, (4, 16, 16), 32, (16, 32, 64))


def test_weights_of_the_head_come_from_the_generator_alone():
    state = torch.get_rng_state()
    make = lambda: built(lambda: LatentHead(10, (4, 8, 8), 32, (32, 32)), torch.Generator().manual_seed(5))  # noqa: E731
    one, two = make(), make()
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True))
    assert all(torch.isfinite(p).all() for p in one.parameters())


def test_merge_adds_meaning_to_the_blur_and_can_do_without_the_blur(draw):
    merge = built(lambda: SemanticMerge(6, drop=0.4), draw).eval()
    low, semantic = torch.randn(2, 5, 6, generator=draw)
    torch.testing.assert_close(merge(low, semantic), merge.block(low + semantic))
    torch.testing.assert_close(merge(None, semantic), merge.block(merge.null + semantic))


def test_merge_drops_the_blur_in_the_stated_share_of_training_steps_only(draw):
    merge = built(lambda: SemanticMerge(6, drop=0.4, dropout=0.0), draw)
    low, semantic = torch.randn(2, 5, 6, generator=draw)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        dropped = sum(torch.equal(merge(low, semantic), merge(None, semantic)) for _ in range(500))
    assert dropped / 500 == pytest.approx(0.4, abs=0.07)
    merge.eval()
    assert not any(torch.equal(merge(low, semantic), merge(None, semantic)) for _ in range(20))
