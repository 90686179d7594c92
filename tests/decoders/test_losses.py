"""Losses against their closed forms."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from neuro.decoders.losses import (
    cycle,
    gather_rows,
    info_nce,
    mse,
    mse_normalised,
    siglip,
    soft_clip,
    soft_cont,
    unit_rows,
)
from neuro.decoders.mixing import bimixco, join_blocks
from neuro.decoders.schedules import cosine_temperature, learning_rate
from neuro.errors import ShapeMismatch

PAIRWISE = {
    "info_nce": info_nce,
    "soft_clip": soft_clip,
    "siglip": siglip,
    "mse_normalised": mse_normalised,
    "bimixco": lambda p, t: bimixco(p, t, torch.arange(len(p)), torch.ones(len(p))),
}


@pytest.fixture
def pair():
    generator = torch.Generator().manual_seed(0)
    pred, target = (torch.randn(12, 5, 7, generator=generator, dtype=torch.float64) for _ in range(2))
    return pred, target


@pytest.mark.parametrize(("temperature", "expected"), [(1.0, 1.274009), (0.1, 3.17749e-4)])
def test_info_nce_of_orthonormal_pairs_is_its_closed_form(temperature, expected):
    eye = torch.eye(8, dtype=torch.float64)
    closed = math.log(1 + 7 * math.exp(-1 / temperature))
    assert closed == pytest.approx(expected, rel=1e-5)
    assert float(info_nce(eye, eye, temperature)) == pytest.approx(closed, rel=1e-9)


@pytest.mark.parametrize("n", [2, 8, 33])
def test_info_nce_of_identical_rows_is_the_log_of_their_number(n):
    same = torch.ones(n, 4)
    assert float(info_nce(same, same, 0.006)) == pytest.approx(math.log(n), rel=1e-6)


def test_info_nce_is_the_mean_of_its_two_directions_and_flattens_tokens(pair):
    pred, target = pair
    one, other = (info_nce(pred, target, 0.1, direction=d) for d in ("image_given_brain", "brain_given_image"))
    assert one != other
    torch.testing.assert_close(info_nce(pred, target, 0.1), (one + other) / 2)
    S = unit_rows(pred) @ unit_rows(target).T / 0.1
    by_hand = -(S.diagonal() - torch.logsumexp(S, 1)).mean()
    torch.testing.assert_close(one, by_hand)
    torch.testing.assert_close(other, info_nce(target, pred, 0.1, direction="image_given_brain"))


@pytest.mark.parametrize(("temperature", "expected"), [(1.0, 1.994301), (0.1, 0.0034947)])
def test_soft_clip_reaches_the_entropy_of_the_targets(temperature, expected):
    eye = torch.eye(8, dtype=torch.float64)
    assert float(soft_clip(eye, eye, temperature)) == pytest.approx(expected, rel=1e-5)


def test_soft_clip_is_never_below_the_entropy_of_the_targets(pair):
    pred, target = pair
    T = unit_rows(target)
    A = (T @ T.T / 0.2).softmax(1)
    floor = -(A * A.log()).sum(1).mean()
    torch.testing.assert_close(soft_clip(target, target, 0.2), floor)
    for scale in (0.01, 0.1, 1.0, 10.0):
        assert soft_clip(target + scale * pred, target, 0.2) > floor


def test_siglip_is_the_mean_over_items_of_its_pairs(pair):
    pred, target = (x[:4] for x in pair)
    total = 0.0
    for i, p in enumerate(unit_rows(pred)):
        for j, t in enumerate(unit_rows(target)):
            z = 3.0 * float(p @ t) - 1.0
            total += math.log1p(math.exp(-z if i == j else z))
    assert float(siglip(pred, target, 3.0, -1.0)) == pytest.approx(total / 4, rel=1e-9)


def test_mse_of_unit_vectors_is_twice_one_minus_cosine_over_their_length(pair):
    pred, target = pair
    cosine = (unit_rows(pred) * unit_rows(target)).sum(1).mean()
    torch.testing.assert_close(mse_normalised(pred, target), 2 * (1 - cosine) / 35)
    torch.testing.assert_close(mse_normalised(3 * pred, 0.1 * target), mse_normalised(pred, target))


def test_soft_cont_is_smallest_where_student_is_teacher(pair):
    teacher, other = pair
    augmented = teacher + 0.3 * other
    least = soft_cont(teacher, teacher, augmented, 0.2)
    t, a = (torch.nn.functional.normalize(x.flatten(0, 1), dim=1) for x in (teacher, augmented))
    entropy = [torch.distributions.Categorical(logits=z / 0.2).entropy().mean() for z in (t @ a.T, a @ t.T)]
    torch.testing.assert_close(least, sum(entropy) / 2)
    assert soft_cont(teacher + 0.1 * other.flip(0), teacher, augmented, 0.2) > least
    torch.testing.assert_close(soft_cont(5 * teacher, teacher, augmented, 0.2), least)


def test_cycle_through_an_inverse_is_zero_and_otherwise_the_mean_squared_error():
    generator = torch.Generator().manual_seed(1)
    W = torch.linalg.qr(torch.randn(9, 9, generator=generator)).Q[:, :4]  # voxels x embedding, orthonormal
    e = torch.randn(5, 4, generator=generator)
    assert float(cycle(e, lambda z: z @ W.T, lambda x: x @ W)) < 1e-12
    assert float(cycle(e, lambda z: z @ W.T, lambda x: 0 * x @ W)) == pytest.approx(float(e.square().mean()))


@pytest.mark.parametrize("name", PAIRWISE)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_losses_compute_in_float32_whatever_the_input_and_autocast(name, dtype, pair):
    pred, target = (x.to(dtype) for x in pair)
    wide = PAIRWISE[name](pred.float(), target.float())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        narrow = PAIRWISE[name](pred, target)
    assert narrow.dtype == torch.float32
    assert torch.equal(narrow, wide)


def test_soft_cont_computes_in_float32_under_autocast(pair):
    s, t = (x.float() for x in pair)
    outside = soft_cont(s, t, t + s)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(soft_cont(s, t, t + s), outside)


@pytest.mark.parametrize("name", PAIRWISE)
@pytest.mark.parametrize("make", ["zeros", "large", "one item"])
def test_losses_and_gradients_stay_finite_on_awkward_rows(name, make, pair):
    pred, target = (x.float() for x in pair)
    if make == "zeros":
        pred, target = torch.cat([0 * pred[:1], pred[1:]]), torch.cat([target[:1] * 0, target[1:]])
    if make == "large":
        pred, target = (65504 * x.sign() for x in (pred, target))  # the largest float16
    if make == "one item":
        pred, target = pred[:1], target[:1]
    pred.requires_grad_()
    loss = PAIRWISE[name](pred, target)
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(pred.grad).all()


@pytest.mark.parametrize("name", PAIRWISE)
def test_a_nan_is_not_hidden(name, pair):
    pred, target = (x.float() for x in pair)
    pred = pred.clone()
    pred[3, 0, 0] = float("nan")
    assert torch.isnan(PAIRWISE[name](pred, target))


@pytest.mark.parametrize("name", PAIRWISE)
def test_losses_leave_their_inputs_alone(name, pair):
    pred, target = pair
    before = pred.clone(), target.clone()
    PAIRWISE[name](pred, target)
    assert torch.equal(pred, before[0])
    assert torch.equal(target, before[1])


def test_what_does_not_match_is_refused(pair):
    pred, target = pair
    with pytest.raises(ShapeMismatch, match=r"12, 5, 7.*\(11, 5, 7\)"):
        info_nce(pred, target[1:])
    with pytest.raises(ShapeMismatch, match="as many numbers"):
        soft_clip(pred, target[:, :4])
    with pytest.raises(ShapeMismatch, match="at least one"):
        info_nce(pred[:0], target[:0])
    with pytest.raises(ShapeMismatch, match="one shape"):
        mse(pred, target[:, :4])
    with pytest.raises(ValueError, match="direction must be 'both'"):
        info_nce(pred, target, direction="forward")


def test_cosine_temperature_has_exact_ends_and_middle():
    taus = [cosine_temperature(k, 161, 0.004, 0.0075) for k in range(161)]
    assert taus[0] == 0.004
    assert taus[160] == 0.0075
    assert taus[80] == pytest.approx(0.00575, abs=1e-15)
    assert np.all(np.diff(taus) > 0)
    assert cosine_temperature(500, 161) == 0.0075
    assert cosine_temperature(0, 1) == 0.0075
    with pytest.raises(ValueError, match="above 0"):
        cosine_temperature(0, 10, start=0.0)


@pytest.mark.parametrize(("n", "warmup"), [(100, 0.3), (240, 2 / 240), (37, 0.1)])
def test_one_cycle_is_torch_s(n, warmup):
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([parameter], 1.0)
    peer = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, 3e-4, total_steps=n, pct_start=warmup, final_div_factor=1000, cycle_momentum=False
    )
    for step in range(n):
        assert learning_rate(step, n, 3e-4, warmup=warmup) == pytest.approx(peer.get_last_lr()[0], rel=1e-9)
        optimizer.step()
        if step < n - 1:
            peer.step()


@pytest.mark.parametrize("schedule", ["one_cycle", "cosine", "constant"])
def test_rates_peak_where_warm_up_ends(schedule):
    rates = np.array([learning_rate(k, 1000, 2.0, schedule, warmup=0.2) for k in range(1000)])
    assert rates.max() == pytest.approx(2.0, rel=1e-4)
    assert abs(int(rates.argmax()) - 200) <= 1
    assert np.all(np.diff(rates[:199]) > 0)
    assert rates[-1] == (2.0 if schedule == "constant" else pytest.approx(rates.min(), abs=2e-3))


def test_without_processes_gathering_changes_nothing(pair):
    pred, target = pair
    assert gather_rows(pred) is pred
    assert info_nce(pred, target, gather=True) == info_nce(pred, target)


N_PROCESSES, N_LOCAL = 2, 6


def _inputs():
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(N_PROCESSES * N_LOCAL, 8, generator=generator)
    target = torch.randn(N_PROCESSES * N_LOCAL, 5, generator=generator)
    W = torch.randn(8, 5, generator=generator) / 3
    rng = np.random.default_rng(4)
    mixes = [(torch.from_numpy(rng.permutation(N_LOCAL)), torch.from_numpy(rng.random(N_LOCAL, np.float32)))
             for _ in range(N_PROCESSES)]  # fmt: skip
    return x, target, W, mixes


def _loss(kind, pred, target, mix, gather):
    if kind == "bimixco":
        return bimixco(pred, target, *mix, 0.1, gather=gather)
    return {"info_nce": info_nce, "soft_clip": soft_clip, "siglip": siglip}[kind](pred, target, gather=gather)


def _worker(rank, folder):
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=N_PROCESSES)
    x, target, W, mixes = _inputs()
    own = slice(rank * N_LOCAL, (rank + 1) * N_LOCAL)
    out = {}
    for kind in ("info_nce", "soft_clip", "siglip", "bimixco"):
        weight = W.clone().requires_grad_()
        loss = _loss(kind, x[own] @ weight, target[own], mixes[rank], gather=True)
        loss.backward()
        grad = weight.grad.clone()
        torch.distributed.all_reduce(grad)
        out[kind] = np.concatenate([[loss.item()], (grad / N_PROCESSES).numpy().ravel()])
    np.savez(f"{folder}/rank{rank}.npz", **out)
    torch.distributed.destroy_process_group()


def test_two_processes_give_the_loss_and_gradient_of_one(tmp_path):
    torch.multiprocessing.spawn(_worker, args=(str(tmp_path),), nprocs=N_PROCESSES)
    x, target, W, mixes = _inputs()
    for kind in ("info_nce", "soft_clip", "siglip", "bimixco"):
        weight = W.clone().requires_grad_()
        loss = _loss(kind, x @ weight, target, join_blocks(mixes), gather=False)
        loss.backward()
        expected = np.concatenate([[loss.item()], weight.grad.numpy().ravel()])
        for rank in range(N_PROCESSES):
            with np.load(tmp_path / f"rank{rank}.npz") as found:
                np.testing.assert_allclose(found[kind], expected, rtol=1e-5, atol=1e-6)
