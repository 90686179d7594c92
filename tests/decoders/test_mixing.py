"""Mixing: what goes in stays as it was, and the loss asks for what was mixed."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from neuro.decoders.losses import info_nce
from neuro.decoders.mixing import apply_mix, bimixco, draw_mix, join_blocks, mixco, mixing_matrix
from neuro.errors import EmptySelection, ShapeMismatch

N = 10


@pytest.fixture
def pair():
    generator = torch.Generator().manual_seed(0)
    return tuple(torch.randn(N, 6, generator=generator, dtype=torch.float64) for _ in range(2))


PERMUTATIONS = {
    "identity": np.arange(N),
    "reversed": np.arange(N)[::-1].copy(),
    "with own partners": np.array([0, 1, 3, 2, 4, 5, 7, 6, 9, 8]),
    "random": np.random.default_rng(1).permutation(N),
}


@pytest.mark.parametrize("name", PERMUTATIONS)
def test_with_all_shares_one_bimixco_is_info_nce_whatever_the_partners(name, pair):
    loss = bimixco(*pair, PERMUTATIONS[name], np.ones(N), 0.006)
    torch.testing.assert_close(loss, info_nce(*pair, 0.006))
    assert loss > 1  # an assignment in place of a sum makes it 0 for the identity


@pytest.mark.parametrize("name", PERMUTATIONS)
def test_with_all_shares_zero_bimixco_is_info_nce_of_permuted_targets(name, pair):
    pred, target = pair
    partner = PERMUTATIONS[name]
    torch.testing.assert_close(bimixco(pred, target, partner, np.zeros(N), 0.1), info_nce(pred, target[partner], 0.1))


def test_bimixco_is_linear_in_the_shares(pair):
    partner, share = PERMUTATIONS["with own partners"], np.random.default_rng(2).random(N)
    ends = [bimixco(*pair, partner, np.full(N, b), 0.1) for b in (0.0, 1.0)]
    torch.testing.assert_close(bimixco(*pair, partner, np.full(N, 0.3), 0.1), 0.7 * ends[0] + 0.3 * ends[1])
    S = torch.nn.functional.normalize(pair[0]) @ torch.nn.functional.normalize(pair[1]).T / 0.1
    rows, columns = S.log_softmax(1), S.log_softmax(0)
    total = 0.0
    for i in range(N):
        j = partner[i]
        total += share[i] * (rows[i, i] + columns[i, i]) + (1 - share[i]) * (rows[i, j] + columns[i, j])
    torch.testing.assert_close(bimixco(*pair, partner, share, 0.1), -total / (2 * N))


def test_rows_of_the_mixing_matrix_sum_to_one_even_for_own_partners():
    share = torch.rand(N, generator=torch.Generator().manual_seed(0))
    for partner in PERMUTATIONS.values():
        M = mixing_matrix(torch.from_numpy(partner), share)
        torch.testing.assert_close(M.sum(1), torch.ones(N))
        torch.testing.assert_close(M @ torch.arange(N).float(), apply_mix(torch.arange(N).float(), partner, share))


@pytest.mark.parametrize("kind", ["numpy", "torch"])
def test_inputs_are_left_as_they_are_and_outputs_are_of_their_kind(kind, rng):
    array = rng.standard_normal((N, 3, 2)).astype(np.float32)
    x = array.copy() if kind == "numpy" else torch.from_numpy(array.copy())
    mixed, partner, share = mixco(x, rng=3, probability=1.0)
    assert type(mixed) is type(partner) is type(share) is type(x)
    assert mixed.dtype == x.dtype
    np.testing.assert_array_equal(np.asarray(x), array)
    b = np.asarray(share)[:, None, None]
    np.testing.assert_allclose(np.asarray(mixed), b * array + (1 - b) * array[np.asarray(partner)], rtol=1e-6)


def test_targets_mix_in_the_same_proportion(rng):
    x, latents = rng.standard_normal((N, 4)), rng.standard_normal((N, 2, 3, 3))
    mixed, partner, share = mixco(x, rng=0, probability=1.0)
    together = apply_mix(np.concatenate([x, latents.reshape(N, -1)], 1), partner, share)
    np.testing.assert_allclose(together[:, :4], mixed)
    np.testing.assert_allclose(together[:, 4:], apply_mix(latents, partner, share).reshape(N, -1))


def test_shares_follow_their_distribution():
    partner, share = draw_mix(20_000, 0, 0.15, 1.0)
    assert sorted(partner.tolist()) == list(range(20_000))
    assert share.mean() == pytest.approx(0.5, abs=0.01)
    assert share.var() == pytest.approx(0.25 / 1.3, abs=0.005)  # of Beta(.15, .15)
    assert (draw_mix(20_000, 0, 1.0, 0.3)[1] < 1).mean() == pytest.approx(0.3, abs=0.01)
    assert (draw_mix(50, 0, probability=0.0)[1] == 1).all()


def test_the_same_seed_draws_the_same_mix_and_the_global_state_is_untouched():
    states = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    first, again, other = (mixco(np.eye(N), rng=s, probability=1.0) for s in (1, 1, 2))
    for a, b in zip(first, again, strict=True):
        np.testing.assert_array_equal(a, b)
    assert not np.array_equal(first[0], other[0])
    torches = [mixco(np.eye(N), torch.Generator().manual_seed(5), probability=1.0)[0] for _ in range(2)]
    np.testing.assert_array_equal(*torches)
    assert torch.equal(states[0], torch.get_rng_state())
    np.testing.assert_array_equal(states[1], np.random.get_state()[1])  # noqa: NPY002


@pytest.mark.parametrize("n", [2, 3, 10])
def test_a_derangement_leaves_nobody_with_itself(n):
    for seed in range(30):
        assert (draw_mix(n, seed, derangement=True)[0] != np.arange(n)).all()


def test_subjects_mixed_within_themselves_are_block_offset_permutations(rng):
    sizes = (4, 3, 5)
    blocks = [rng.standard_normal((n, 6)) for n in sizes]
    mixed, partners, shares = zip(*(mixco(b, rng=i, probability=1.0) for i, b in enumerate(blocks)), strict=True)
    partner, share = join_blocks(list(zip(partners, shares, strict=True)))
    np.testing.assert_allclose(apply_mix(np.concatenate(blocks), partner, share), np.concatenate(mixed))
    start = np.repeat([0, 4, 7], sizes)
    assert (partner >= start).all()
    assert (partner < start + np.repeat(sizes, sizes)).all()
    M = mixing_matrix(torch.from_numpy(partner), torch.from_numpy(share))
    for first, n in ((0, 4), (4, 3), (7, 5)):  # nobody's share falls on another subject's image
        torch.testing.assert_close(M[first : first + n, first : first + n].sum(1), torch.ones(n))
    tensors = join_blocks([(torch.from_numpy(p), torch.from_numpy(s)) for p, s in zip(partners, shares, strict=True)])
    assert tensors[0].tolist() == partner.tolist()


def test_a_right_prediction_of_a_mixed_brain_scores_better_than_of_either_image():
    target = torch.eye(N)
    share = torch.full((N,), 0.5)
    partner = torch.roll(torch.arange(N), 1)
    predictions = {"mixed": apply_mix(target, partner, share), "own": target, "partner": target[partner]}
    loss = {name: float(bimixco(p, target, partner, share, 0.1)) for name, p in predictions.items()}
    assert loss["mixed"] < min(loss["own"], loss["partner"])


def test_what_cannot_be_mixed_is_refused(pair):
    with pytest.raises(ValueError, match="beta must be above 0, got 0"):
        mixco(np.eye(3), 0, beta=0)
    with pytest.raises(ValueError, match=r"between 0 and 1, got 1\.5"):
        mixco(np.eye(3), 0, probability=1.5)
    with pytest.raises(EmptySelection, match="needs 2 items, got 1"):
        mixco(np.eye(1), 0, derangement=True)
    with pytest.raises(ShapeMismatch, match="10 items need as many partners"):
        apply_mix(pair[0], np.arange(3), np.ones(3))
    with pytest.raises(ShapeMismatch, match="10 predictions need as many"):
        bimixco(*pair, np.arange(3), np.ones(3))
