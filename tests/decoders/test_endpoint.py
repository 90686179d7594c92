"""Endpoint error of flow: closed forms, baselines, and flow that is known because it was planted."""

import numpy as np
import pytest
import torch

from neuro.decoders.metrics.endpoint import endpoint_error
from neuro.errors import EmptySelection, ShapeMismatch
from neuro.features.flow import optical_flow

FIVE = np.array([3.0, 4.0])  # pixels: a shift of length 5


@pytest.fixture
def flow(rng):
    return rng.standard_normal((6, 8, 9, 2)) + np.array([1.0, -0.5])


def test_the_error_of_the_truth_is_zero(flow):
    r = endpoint_error(flow, flow)
    assert r.value == 0
    assert r.details["gain_over_zero_flow"] == 1
    assert not r.higher_is_better


def test_zero_flow_against_a_shift_of_three_and_four_pixels_errs_by_five():
    truth = np.zeros((3, 5, 5, 2)) + FIVE
    r = endpoint_error(np.zeros_like(truth), truth)
    assert r.value == pytest.approx(5)
    assert r.details["zero_flow"] == pytest.approx(5)
    assert r.details["gain_over_zero_flow"] == pytest.approx(0)


def test_baselines_are_the_scores_of_zero_and_mean_flow(flow):
    r = endpoint_error(flow + 1, flow)
    assert r.value == pytest.approx(np.sqrt(2))
    assert r.details["zero_flow"] == pytest.approx(endpoint_error(np.zeros_like(flow), flow).value)
    mean = np.broadcast_to(flow.mean(0), flow.shape)
    assert r.details["mean_flow"] == pytest.approx(endpoint_error(mean, flow).value)
    given = endpoint_error(flow, flow, mean_flow=[1.0, -0.5])
    constant = np.broadcast_to([1.0, -0.5], flow.shape)
    assert given.details["mean_flow"] == pytest.approx(endpoint_error(constant, flow).value)
    assert "training" in given.details["mean_flow_source"]
    assert "items scored" in r.details["mean_flow_source"]


def test_chance_is_the_error_against_the_flow_of_other_items(flow):
    r = endpoint_error(flow, flow)
    assert r.chance > 1
    constant = np.zeros_like(flow) + np.array([1.0, 2.0])
    shifted = endpoint_error(constant + FIVE, constant)
    assert shifted.chance == pytest.approx(shifted.value)
    assert endpoint_error(flow[:1], flow[:1]).chance is None


def test_only_valid_pixels_count(flow, rng):
    valid = rng.random(flow.shape[:-1]) < 0.6
    pred, truth = flow.copy(), flow + FIVE
    truth[~valid] = np.nan
    pred[~valid] = np.inf
    r = endpoint_error(pred, truth, valid=valid)
    assert r.value == pytest.approx(5)
    assert np.isfinite(r.details["mean_flow"])
    with pytest.raises(ValueError, match="valid=False"):
        endpoint_error(pred, truth)
    valid[2] = False
    with pytest.raises(EmptySelection, match="item 2 has no valid pixel"):
        endpoint_error(pred, truth, valid=valid)


def test_each_item_weighs_the_same(flow):
    valid = np.ones(flow.shape[:-1], dtype=bool)
    valid[0, 1:] = False
    pred = flow.copy()
    pred[0] += FIVE
    r = endpoint_error(pred, flow, valid=valid)
    np.testing.assert_allclose(r.per_item, [5, 0, 0, 0, 0, 0], atol=1e-12)
    assert r.value == pytest.approx(5 / 6)


def test_tensors_and_clips_are_taken_and_nothing_is_changed(flow):
    clips = flow[:, None].repeat(3, 1)
    before = clips.copy()
    assert endpoint_error(torch.tensor(clips) + 1, torch.tensor(clips)).value == pytest.approx(np.sqrt(2))
    np.testing.assert_array_equal(clips, before)


def test_a_planted_shift_is_recovered_and_beats_zero_flow(rng):
    noise = rng.random((72, 72))
    kernel = np.hanning(9)[:, None] * np.hanning(9)
    spectrum = np.fft.rfft2(noise) * np.fft.rfft2(kernel, noise.shape)
    texture = np.fft.irfft2(spectrum, noise.shape)
    texture = ((texture - texture.min()) / np.ptp(texture)).astype(np.float32)
    shift = (2, 1)  # right, down
    frames = np.stack([texture, np.roll(texture, (shift[1], shift[0]), axis=(0, 1))])[:, 4:-4, 4:-4]
    estimated = np.asarray(optical_flow(frames))
    truth = np.broadcast_to(np.array(shift, dtype=float), estimated.shape)
    valid = np.zeros(estimated.shape[:-1], dtype=bool)
    valid[:, 8:-8, 8:-8] = True
    r = endpoint_error(estimated, truth, valid=valid)
    assert r.value < 0.05
    assert r.details["zero_flow"] == pytest.approx(np.sqrt(5))
    assert r.details["gain_over_zero_flow"] > 0.97


def test_wrong_shapes_say_what_to_do(flow):
    with pytest.raises(ShapeMismatch, match="Move the axis"):
        endpoint_error(flow.transpose(0, 3, 1, 2), flow.transpose(0, 3, 1, 2))
    with pytest.raises(ShapeMismatch, match="one shape"):
        endpoint_error(flow, flow[:, :4])
    with pytest.raises(ShapeMismatch, match="valid must be"):
        endpoint_error(flow, flow, valid=np.ones((6, 8)))
    with pytest.raises(ShapeMismatch, match="mean_flow must be"):
        endpoint_error(flow, flow, mean_flow=np.ones(3))
    with pytest.raises(ShapeMismatch, match=r"height, width, 2"):
        endpoint_error(np.zeros((3, 2)), np.zeros((3, 2)))
