"""Optical flow decoded from responses, and pictures that move along it."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from neuro.decoders.animation import animate, reverse_flow, warp_frame
from neuro.decoders.flow_decoding import FlowDecoder, GatedMLP, pool_flow, upsample_flow
from neuro.decoders.metrics.endpoint import endpoint_error
from neuro.errors import ShapeMismatch
from neuro.features import optical_flow


@pytest.fixture
def picture(rng):
    """Smooth texture, 48 x 48 x 3, on 0..1."""
    from scipy.ndimage import gaussian_filter

    x = gaussian_filter(rng.standard_normal((48, 48, 3)), (1.5, 1.5, 0))
    return (x - x.min()) / (x.max() - x.min())


# Coarse and full


def test_cells_hold_the_mean_of_their_pixels(rng):
    flow = rng.standard_normal((3, 12, 8, 2))
    want = flow.reshape(3, 4, 3, 2, 4, 2).mean((2, 4))
    np.testing.assert_allclose(pool_flow(flow, (4, 2)), want)


def test_constant_flow_survives_pooling_and_upsampling_in_full_pixels():
    flow = np.broadcast_to([3.0, -4.0], (2, 16, 24, 2))
    coarse = pool_flow(flow, (4, 4))
    np.testing.assert_allclose(coarse, np.broadcast_to([3.0, -4.0], (2, 4, 4, 2)))
    np.testing.assert_allclose(upsample_flow(coarse, (16, 24)), flow)
    assert torch.is_tensor(pool_flow(torch.zeros(1, 4, 4, 2), (2, 2)))


# Decoding


def planted(rng, n=300, n_voxels=30, noise=0.3):
    """An object at one of four places moves with a velocity that only the brain knows; the place is in the picture."""
    velocity, place = rng.standard_normal((n, 2)), rng.integers(0, 4, n)
    flow = np.zeros((n, 8, 8, 2), np.float32)
    for i in range(n):
        row, column = divmod(int(place[i]), 2)
        flow[i, 4 * row : 4 * row + 4, 4 * column : 4 * column + 4] = velocity[i]
    x = velocity @ rng.standard_normal((2, n_voxels)) + noise * rng.standard_normal((n, n_voxels))
    return x, flow, np.eye(4)[place]


def test_ridge_recovers_flow_that_is_linear_in_the_responses(rng):
    velocity = rng.standard_normal((200, 2))
    flow = np.broadcast_to(velocity[:, None, None], (200, 8, 8, 2))
    x = velocity @ rng.standard_normal((2, 20)) + 0.05 * rng.standard_normal((200, 20))
    decoder = FlowDecoder((2, 2)).fit(x[:150], flow[:150])
    result = endpoint_error(
        decoder.predict(x[150:]), flow[150:], mean_flow=upsample_flow(decoder.mean_flow_[None], (8, 8))[0]
    )
    assert result.value < 0.05 * result.details["zero_flow"]
    assert decoder.score(x[150:], flow[150:]) > 0.95


def test_the_network_joins_what_the_brain_and_the_first_frame_know_and_ridge_cannot(rng):
    x, flow, frame = planted(rng)
    scores = {}
    for method in ("ridge", "mlp"):
        for side in (None, frame):
            train, test = (None if side is None else side[rows] for rows in (slice(0, 220), slice(220, None)))
            decoder = FlowDecoder((2, 2), method, width=48, dropout=0.0, epochs=50, learning_rate=8e-3)
            decoder.fit(x[:220], flow[:220], train)
            scores[method, side is not None] = decoder.score(x[220:], flow[220:], test)
    assert scores["mlp", True] > 0.6
    for other in (("ridge", False), ("ridge", True), ("mlp", False)):
        assert scores[other] < scores["mlp", True] - 0.3


def test_shuffled_responses_decode_no_better_than_no_motion(rng):
    x, flow, frame = planted(rng)
    decoder = FlowDecoder((2, 2), "ridge").fit(rng.permutation(x[:220]), flow[:220], frame[:220])
    assert decoder.score(x[220:], flow[220:], frame[220:]) < 0.02


def test_ridge_with_side_input_is_ridge_on_both_blocks(rng, ridge_by_hand):
    x, flow, frame = planted(rng, n=80)
    decoder = FlowDecoder((2, 2), alphas=[3.0], side_weight=2.0)
    decoder.fit(x, flow, frame)
    blocks = [(x - x.mean(0)) / x.std(0) / np.sqrt(30), 2 * (frame - frame.mean(0)) / frame.std(0) / 2]
    A, Y = np.concatenate(blocks, 1), pool_flow(flow, (2, 2)).reshape(80, -1).astype(float)
    W, b = ridge_by_hand(A, Y, 3.0)
    np.testing.assert_allclose(decoder.predict(x, frame, size=(2, 2)).reshape(80, -1), A @ W.T + b, atol=1e-5)


def test_same_seed_same_network_and_the_global_generator_is_left_alone(rng):
    x, flow, frame = planted(rng, n=60)
    state = torch.get_rng_state()
    said = [FlowDecoder((2, 2), "mlp", epochs=3).fit(x, flow, frame).predict(x, frame) for _ in range(2)]
    np.testing.assert_array_equal(said[0], said[1])
    assert torch.equal(state, torch.get_rng_state())


def test_a_prediction_does_not_depend_on_its_batch(rng):
    x, flow, frame = planted(rng, n=60)
    for method in ("ridge", "mlp"):
        decoder = FlowDecoder((2, 2), method, epochs=3).fit(x, flow, frame)
        together = decoder.predict(x, frame)
        np.testing.assert_allclose(decoder.predict(x[5:6], frame[5:6]), together[5:6], rtol=1e-4, atol=1e-6)


def test_repeats_of_a_clip_stay_on_one_side_of_validation(rng, monkeypatch):
    x, flow, frame = planted(rng, n=60)
    seen = {}
    original = FlowDecoder._train

    def spy(self, network, data, wanted, split):
        seen["split"] = split
        return original(self, network, data, wanted, split)

    monkeypatch.setattr(FlowDecoder, "_train", spy)
    clip = np.arange(60) // 3
    FlowDecoder((2, 2), "mlp", epochs=1).fit(x, flow, frame, groups=clip)
    assert not set(clip[seen["split"][0]]) & set(clip[seen["split"][1]])


def test_bad_input_of_the_decoder_is_refused(rng):
    x, flow, frame = planted(rng, n=40)
    decoder = FlowDecoder((2, 2), alphas=np.logspace(-6, 6, 13)).fit(x, flow, frame)
    with pytest.raises(ShapeMismatch, match="if, and only if"):
        decoder.predict(x)
    with pytest.raises(ShapeMismatch, match="fitted to 30 voxels, got 29"):
        decoder.predict(x[:, :29], frame)
    with pytest.raises(ShapeMismatch, match="finer than pictures"):
        FlowDecoder((9, 9)).fit(x, flow)
    with pytest.raises(ShapeMismatch, match="X has 39 rows, flow 40"):
        FlowDecoder((2, 2)).fit(x[:39], flow)
    with pytest.raises(ShapeMismatch, match=r"\(n, height, width, 2\)"):
        pool_flow(flow.transpose(0, 3, 1, 2), (2, 2))
    with pytest.raises(ValueError, match="method must be"):
        FlowDecoder((2, 2), "svr").fit(x, flow)


def test_gated_network_multiplies_its_inputs():
    network = GatedMLP([2, 3], 4, 5, dropout=0.0)
    assert network.write.in_features == 12
    assert GatedMLP([2], 4, 5).write.in_features == 4


# Moving pictures


def test_zero_flow_returns_the_frame(picture):
    np.testing.assert_allclose(warp_frame(picture, np.zeros((48, 48, 2))), picture, atol=1e-12)
    pixels = (255 * picture).round().astype(np.uint8)
    out = warp_frame(pixels, np.zeros((48, 48, 2)))
    assert out.dtype == np.uint8
    np.testing.assert_array_equal(out, pixels)


@pytest.mark.parametrize("shift", [(3, 0), (0, -2), (-4, 5)])
def test_whole_pixel_shifts_are_exact_where_the_picture_reaches(picture, shift):
    dx, dy = shift
    out = warp_frame(picture, np.broadcast_to(np.array(shift, float), (48, 48, 2)))
    want = np.roll(picture, (dy, dx), (0, 1))
    inner = (slice(max(dy, 0), 48 + min(dy, 0)), slice(max(dx, 0), 48 + min(dx, 0)))
    np.testing.assert_allclose(out[inner], want[inner], atol=1e-12)


@pytest.mark.parametrize("shift", [(2.0, 0.0), (-1.0, 2.0), (0.5, 0.25)])
def test_estimating_flow_after_warping_recovers_what_was_planted(picture, shift):
    flow = np.broadcast_to(np.array(shift), (48, 48, 2))
    found = optical_flow(np.stack([picture, warp_frame(picture, flow)]).astype(np.float32))[0]
    np.testing.assert_allclose(found[8:-8, 8:-8].mean((0, 1)), shift, atol=0.05)


def test_what_moves_more_is_in_front():
    frame = np.zeros((9, 9))
    frame[4, 2], frame[4, 5] = 1.0, 2.0
    flow = np.zeros((9, 9, 2))
    flow[4, 2] = (3, 0)  # lands on the other, which stands still
    assert warp_frame(frame, flow)[4, 5] == pytest.approx(1.0)


def test_what_is_uncovered_shows_what_stands_still_beside_it():
    flow = np.zeros((9, 9, 2))
    flow[3:6, 3:6] = (3, 0)
    backward, uncovered = reverse_flow(flow)
    assert uncovered.sum() == 9
    assert uncovered[3:6, 3:6].all()
    np.testing.assert_array_equal(backward[3:6, 6:9], np.broadcast_to([-3.0, 0.0], (3, 3, 2)))
    frame = np.full((9, 9), 0.3)
    frame[3:6, 3:6] = 1.0
    want = np.full((9, 9), 0.3)
    want[3:6, 6:9] = 1.0
    np.testing.assert_allclose(warp_frame(frame, flow), want)  # no copy of the object stays behind


def test_growing_pictures_have_no_gaps(picture):
    y, x = np.mgrid[:48, :48] - 23.5
    flow = 0.25 * np.stack([x, y], -1)
    _, uncovered = reverse_flow(flow)
    assert uncovered.mean() > 0.2
    out = warp_frame(picture, flow)
    from scipy.ndimage import map_coordinates

    where = [23.5 + y / 1.25, 23.5 + x / 1.25]
    want = np.stack([map_coordinates(picture[..., c], where, order=1) for c in range(3)], -1)
    assert np.abs(out - want).mean() < 0.01


def test_a_steady_shift_moves_the_picture_step_by_step_without_growing_blur(picture):
    clip = animate(picture, np.broadcast_to([1.0, 0.0], (48, 48, 2)), n_frames=6)
    assert clip.shape == (6, 48, 48, 3)
    for t in range(6):
        np.testing.assert_allclose(clip[t][:, 10:], np.roll(picture, t, 1)[:, 10:], atol=1e-12)
    half = animate(picture, np.broadcast_to([0.5, 0.0], (48, 48, 2)), n_frames=9)
    np.testing.assert_allclose(half[8][:, 10:], np.roll(picture, 4, 1)[:, 10:], atol=1e-9)  # resampled once


def test_steady_motion_goes_with_the_object_not_with_the_place():
    frame = np.zeros((16, 16))
    frame[6:10, 1:5] = 1.0
    flow = np.zeros((16, 16, 2))
    flow[6:10, 1:5] = (3, 0)
    clip = animate(frame, flow, n_frames=4)
    for t in range(4):
        want = np.zeros((16, 16))
        want[6:10, 1 + 3 * t : 5 + 3 * t] = 1.0
        assert (clip[t] * want).sum() == pytest.approx(16)  # the object is where it should be
    assert clip[3][:, :4].max() == 0.0


def test_a_clip_follows_changing_flow(picture):
    flows = np.zeros((2, 48, 48, 2))
    flows[0, ..., 0], flows[1, ..., 1] = 2.0, -3.0
    clip = animate(torch.from_numpy(picture), torch.from_numpy(flows))
    assert torch.is_tensor(clip)
    want = np.roll(picture, (-3, 2), (0, 1))
    np.testing.assert_allclose(clip[2].numpy()[:-4, 4:], want[:-4, 4:], atol=1e-12)


def test_input_is_not_written_to(picture):
    flow = np.ones((48, 48, 2))
    before = picture.copy(), flow.copy()
    animate(picture, flow, n_frames=3)
    np.testing.assert_array_equal(picture, before[0])
    np.testing.assert_array_equal(flow, before[1])


def test_bad_input_of_moving_pictures_is_refused(picture):
    with pytest.raises(ShapeMismatch, match="upsample_flow"):
        warp_frame(picture, np.zeros((8, 8, 2)))
    with pytest.raises(ShapeMismatch, match="2 flows make 3 frames"):
        animate(picture, np.zeros((2, 48, 48, 2)), n_frames=5)
    with pytest.raises(ShapeMismatch, match="finite"):
        warp_frame(picture, np.full((48, 48, 2), np.nan))
