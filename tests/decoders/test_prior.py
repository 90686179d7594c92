"""The diffusion prior against its equations, and on a planted map."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from neuro.decoders._prior_network import PriorNetwork, rotate
from neuro.decoders.prior import PRIOR_PRESETS, DiffusionPrior
from neuro.errors import ShapeMismatch

pytest.importorskip("diffusers", reason="the prior's schedule and samplers are those of diffusers (extra: decode)")

N, D = 3, 8


def make(**changes):
    settings = {"depth": 1, "heads": 2, "dim_head": 4, "timesteps": 50, "generator": torch.Generator().manual_seed(1)}
    return DiffusionPrior(N, D, **{**settings, **changes})


@pytest.fixture
def tokens():
    generator = torch.Generator().manual_seed(0)
    return tuple(torch.randn(6, N, D, generator=generator) for _ in range(2))


class _Knows(torch.nn.Module):
    """A network that knows the clean tokens."""

    def __init__(self, x0):
        super().__init__()
        self.x0 = x0

    def forward(self, noisy, t, brain, keep_brain=None, keep_image=None, keep_tokens=None):
        return self.x0


def test_mindeye2_prior_has_the_printed_number_of_parameters():
    settings = {k: PRIOR_PRESETS["mindeye2"][k] for k in ("n_tokens", "dim", "heads", "dim_head")}
    with torch.device("meta"):
        network = PriorNetwork(depth=6, **settings)
    rotary_frequencies = 16  # counted as parameters upstream, fixed here
    assert sum(p.numel() for p in network.parameters()) + rotary_frequencies == 259_865_216


@pytest.mark.parametrize("name", PRIOR_PRESETS)
def test_presets_run_at_small_size(name, tokens):
    prior = DiffusionPrior.preset(name, n_tokens=N, dim=D, depth=1, heads=2, dim_head=4)
    assert prior.timesteps == 100
    assert prior.sampling_steps == (20 if name == "mindeye2" else 100)
    assert prior.sample(tokens[0], steps=2).shape == (6, N, D)
    loss = prior.loss(*tokens, torch.Generator().manual_seed(0))
    loss.backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in prior.parameters())


@pytest.mark.parametrize("sampler", ["ddpm", "ddim"])
@pytest.mark.parametrize("steps", [1, 7, 50])
def test_with_a_perfect_network_sampling_returns_the_clean_tokens_from_any_start(sampler, steps, tokens):
    prior = make(sampler=sampler, scale=4.0)
    prior.network = _Knows(tokens[1] * 4.0)
    for start in (None, 100 * tokens[0]):
        torch.testing.assert_close(prior.sample(tokens[0], steps=steps, start=start), tokens[1], atol=1e-4, rtol=1e-4)


def test_noised_tokens_have_the_variance_of_the_schedule():
    prior = make()
    t = torch.arange(50).repeat_interleave(4000)
    noise = torch.randn(len(t), 1, generator=torch.Generator().manual_seed(0))
    x = prior.add_noise(torch.full((len(t), 1), 3.0), t, noise).reshape(50, 4000)
    torch.testing.assert_close(x.var(1), 1 - prior.noise_levels, rtol=0.12, atol=1e-3)
    torch.testing.assert_close(x.mean(1), 3 * prior.noise_levels.sqrt(), rtol=0, atol=0.06)


def test_the_schedule_is_the_cosine_from_clean_to_noise():
    levels = make(timesteps=100).noise_levels.double()
    f = torch.cos((torch.arange(101, dtype=torch.float64) / 100 + 0.008) / 1.008 * torch.pi / 2) ** 2
    torch.testing.assert_close(levels[:-1], f[1:-1] / f[0], rtol=1e-3, atol=1e-6)
    assert levels[0] > 0.999
    assert levels[-1] < 1e-5
    assert (levels.diff() < 0).all()


@pytest.mark.parametrize("memory", [False, True])
def test_dropping_always_ignores_the_brain(memory, tokens):
    prior = make(memory=memory, drop_brain=1.0)
    losses = [prior.loss(b, tokens[1], torch.Generator().manual_seed(3)) for b in (tokens[0], 5 - tokens[0])]
    assert torch.equal(*losses)
    keeps = make(memory=memory, drop_brain=0.0)
    losses = [keeps.loss(b, tokens[1], torch.Generator().manual_seed(3)) for b in (tokens[0], 5 - tokens[0])]
    assert not torch.equal(*losses)


def test_dropping_the_image_always_ignores_the_noise_level():
    prior = make(drop_image=1.0, drop_brain=0.0)
    x, t = torch.randn(2, 4, N, D, generator=torch.Generator().manual_seed(0)), torch.full((4,), 3)
    nothing = torch.zeros(4, dtype=torch.bool)
    guesses = [prior.network(z, t, x[0], keep_image=nothing) for z in (x[1], -x[1])]
    assert torch.equal(*guesses)


@pytest.mark.parametrize("memory", [False, True])
def test_guidance_one_is_conditional_and_zero_is_not(memory, tokens):
    prior = make(memory=memory)
    brain, other = tokens
    assert torch.equal(prior.sample(brain, guidance=0.0, steps=5), prior.sample(other, guidance=0.0, steps=5))
    assert not torch.equal(prior.sample(brain, steps=5), prior.sample(other, steps=5))
    near = prior.sample(brain, guidance=1.0 + 1e-6, steps=5)  # takes the long way
    torch.testing.assert_close(near, prior.sample(brain, guidance=1.0, steps=5), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("sampler", ["ddpm", "ddim"])
def test_each_item_has_its_own_noise_whatever_the_batch(sampler, tokens):
    prior, brain = make(sampler=sampler), tokens[0]
    whole = prior.sample(brain, seeds=[3, 1, 4, 1, 5, 9], steps=4)
    order = [4, 0, 2]
    torch.testing.assert_close(prior.sample(brain[order], seeds=[5, 3, 4], steps=4), whole[order])
    assert not torch.allclose(prior.sample(brain, seeds=8, steps=4), prior.sample(brain, seeds=9, steps=4))


def test_hidden_brain_tokens_are_not_looked_at(tokens):
    network = make(memory=True).network
    t, keep = torch.full((6,), 10), torch.tensor([True, False, True]).expand(6, -1)
    changed = tokens[0].clone()
    changed[:, 1] += 10
    guesses = [network(tokens[1], t, b, keep_tokens=keep) for b in (tokens[0], changed)]
    assert torch.equal(*guesses)
    assert not torch.equal(network(tokens[1], t, tokens[0]), network(tokens[1], t, changed))


def test_rotated_products_depend_on_distance_only():
    q, k = torch.randn(2, 1, 8, generator=torch.Generator().manual_seed(0))
    Q, K = rotate(q.expand(10, 8)), rotate(k.expand(10, 8))
    products = Q @ K.T
    for shift in (-3, 0, 4):
        along = products.diagonal(shift)
        torch.testing.assert_close(along, along[:1].expand_as(along))
    torch.testing.assert_close(Q.norm(dim=1), q.norm().expand(10))


def test_building_and_sampling_leave_the_global_state_alone(tokens):
    before = torch.get_rng_state()
    prior = make()
    prior.sample(tokens[0], steps=2)
    prior.loss(*tokens, torch.Generator().manual_seed(0))
    assert torch.equal(before, torch.get_rng_state())
    for a, b in zip(prior.parameters(), make().parameters(), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("memory", [False, True])
def test_on_a_planted_linear_map_the_prior_beats_predicting_the_mean(memory):
    generator = torch.Generator().manual_seed(0)
    n_tokens, dim, train, steps = 2, 16, 512, 200
    z = torch.randn(train + 128, 4, generator=generator)
    brain, image = (
        (z @ torch.randn(4, n_tokens * dim, generator=generator) / 2).reshape(-1, n_tokens, dim) for _ in range(2)
    )
    prior = DiffusionPrior(
        n_tokens, dim, depth=1, heads=2, dim_head=16, timesteps=20, sampler="ddim", sampling_steps=5, memory=memory,
        drop_brain=0.05, drop_image=0.1, generator=generator,
    )  # fmt: skip
    optimizer = torch.optim.AdamW(prior.parameters())
    for step in range(steps):
        rows = torch.randint(train, (96,), generator=generator)
        for group in optimizer.param_groups:
            group["lr"] = 1e-2 * min(1, step / 20) * (1 - step / steps)
        optimizer.zero_grad()
        prior.loss(brain[rows], image[rows], generator).backward()
        optimizer.step()
    truth = image[train:]

    def r2(tokens):
        drawn = prior.sample(tokens, seeds=range(128))
        return 1 - (drawn - truth).square().sum() / (truth - image[:train].mean(0)).square().sum()

    assert r2(brain[train:]) > 0.7
    assert r2(brain[train:].flip(0)) < 0


def test_settings_come_from_a_recipe_and_unknown_ones_are_named():
    prior = DiffusionPrior.from_settings({"output": "a", "target": "b", "depth": 2, "heads": 2, "dim_head": 4}, N, D)
    assert len(prior.network.layers) == 2
    with pytest.raises(ValueError, match="no setting 'dept'; did you mean 'depth'"):
        DiffusionPrior.from_settings({"dept": 2}, N, D)


def test_what_cannot_be_is_refused(tokens):
    with pytest.raises(ShapeMismatch, match=r"works on tokens \(n, 3, 8\), got \(6, 8, 3\)"):
        make().sample(tokens[0].transpose(1, 2))
    with pytest.raises(ShapeMismatch, match="one for each of 6 items, got 2"):
        make().sample(tokens[0], seeds=[1, 2])
    with pytest.raises(ValueError, match="drop_brain is a probability"):
        make(drop_brain=1.2)
    with pytest.raises(ValueError, match="needs memory=True"):
        make(drop_tokens=0.6)
    with pytest.raises(ValueError, match="at most the 50 timesteps"):
        make(sampling_steps=60)
    with pytest.raises(ValueError, match="steps must be at most 50"):
        make().sample(tokens[0], steps=51)
    assert np.shape(make().sample(tokens[0][:0])) == (0, N, D)
