"""Masked autoencoders of responses, in a row and on flat maps."""

from __future__ import annotations

import pytest
import torch

from neuro.decoders._blocks import built
from neuro.decoders.masked_autoencoder import MaskedAutoencoder
from neuro.errors import ShapeMismatch


@pytest.fixture
def draw():
    return torch.Generator().manual_seed(0)


def small(shape, generator=None, **changes):
    sizes = {"width": 16, "depth": 1, "n_heads": 2, "decoder_width": 8, "decoder_depth": 1, "decoder_heads": 2}
    return built(lambda: MaskedAutoencoder(shape, patch=4, **{**sizes, **changes}), generator)


@pytest.mark.parametrize("shape", [(30,), (32,), (8, 12), (9, 7)])
def test_patches_come_back_as_they_were(shape, draw):
    model = small(shape if len(shape) == 2 else shape[0])
    x = torch.randn(3, *shape, generator=draw)
    patches = model.patches(x)
    assert patches.shape == (3, model.n_patches, 4 ** len(shape))
    assert torch.equal(model.unpatch(patches), x)


def test_a_patch_of_a_map_is_a_square_of_it(draw):
    x = torch.randn(1, 8, 12, generator=draw)
    assert torch.equal(small((8, 12)).patches(x)[0, 4], x[0, 4:8, 4:8].flatten())


def test_published_encoders_give_257_tokens_of_1024():
    with torch.device("meta"):
        model = MaskedAutoencoder((256, 256), depth=1, decoder_depth=1)
        assert model.encode(torch.empty(2, 256, 256)).shape == (2, 257, 1024)


def test_masks_hide_the_stated_share_and_each_patch_equally_often(draw):
    model = small(400)
    keep, hidden = model.draw_masks(2000, draw)
    assert keep.shape == (2000, 25)
    assert hidden.sum(1).eq(75).all()
    assert not hidden.gather(1, keep).any()
    assert hidden.float().mean(0).sub(0.75).abs().max() < 0.05  # 5 standard errors


def test_hidden_patches_do_not_reach_the_encoder_or_the_reconstruction(draw):
    model = small(32, draw)
    x = torch.randn(2, 32, generator=draw)
    out = model(x, torch.Generator().manual_seed(1))
    changed = model.patches(x).clone()
    changed[out["hidden"]] += 5
    again = model(model.unpatch(changed), torch.Generator().manual_seed(1))
    assert torch.equal(again["hidden"], out["hidden"])
    assert torch.equal(again["reconstruction"], out["reconstruction"])
    assert again["loss"] > out["loss"]


def test_loss_is_the_squared_error_of_hidden_patches(draw):
    model = small(32, draw)
    x = torch.randn(2, 32, generator=draw)
    out = model(x, draw)
    error = (model.patches(out["reconstruction"]) - model.patches(x)) ** 2
    torch.testing.assert_close(out["loss"], error[out["hidden"]].mean())


def test_places_outside_cortex_and_filled_up_ones_do_not_count(draw):
    model = small((8, 8), draw)
    valid = torch.zeros(8, 8, dtype=torch.bool)
    valid[:4] = True
    x = torch.randn(2, 8, 8, generator=draw)
    seen, seed = model(x, torch.Generator().manual_seed(2), valid), torch.Generator().manual_seed(2)
    error = ((seen["reconstruction"] - x) ** 2)[model.unpatch(seen["hidden"][..., None].expand(-1, -1, 16)) & valid]
    torch.testing.assert_close(model(x, seed, valid)["loss"], error.mean())

    ragged = small(30, draw)
    y = torch.randn(2, 30, generator=draw)
    out = ragged(y, draw)
    hidden = ragged.unpatch(out["hidden"][..., None].expand(-1, -1, 4))
    torch.testing.assert_close(out["loss"], ((out["reconstruction"] - y) ** 2)[hidden].mean())


def test_pretraining_learns_what_can_be_inferred_from_other_patches(draw):
    """Every patch of a response repeats one of four patterns: hidden patches are known from any other."""
    model = small(32, draw, depth=2, decoder_depth=2, mlp_ratio=2.0)
    patterns = torch.randn(4, 4, generator=draw)
    optimiser = torch.optim.AdamW(model.parameters(), lr=6e-3)

    def batch(n):
        return patterns[torch.randint(4, (n,), generator=draw)].repeat(1, 8)

    for _ in range(120):
        optimiser.zero_grad()
        model(batch(48), draw)["loss"].backward()
        optimiser.step()
    x = batch(200)
    with torch.no_grad():
        loss = model(x, draw)["loss"]
    assert loss < 0.1 * x.var()


def test_encoder_weights_are_those_that_encoding_uses(draw):
    model = small(32, draw)
    model.encode(torch.randn(2, 32, generator=draw)).square().sum().backward()
    used = {id(p) for p in model.parameters() if p.grad is not None}
    assert used == {id(p) for p in model.encoder_parameters}


def test_normalised_targets_ignore_the_scale_of_a_patch(draw):
    model = small(32, draw, normalise=True)
    x = torch.randn(2, 32, generator=draw)
    seed = lambda: torch.Generator().manual_seed(3)  # noqa: E731
    _, hidden = model.draw_masks(2, seed())
    scaled = model.patches(x).clone()
    scaled[hidden] = 7 * scaled[hidden] + 1
    torch.testing.assert_close(model(x, seed())["loss"], model(model.unpatch(scaled), seed())["loss"])


def test_bad_sizes_are_refused():
    with pytest.raises(ValueError, match="between 0 and 1"):
        small(32, mask_ratio=1.0)
    with pytest.raises(ShapeMismatch, match="multiples of the heads"):
        small(32, n_heads=3)
    with pytest.raises(ShapeMismatch, match=r"shape \(32,\), got \(30,\)"):
        small(32).patches(torch.zeros(1, 30))
