"""Optical flow of textures whose motion is known, and summaries of known flow."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter, map_coordinates

from neuro.errors import ShapeMismatch
from neuro.features import drifting_grating, end_point_error, flow_features
from neuro.features.flow import _catmull_rom, optical_flow, warp

SIDE = 64


def texture(seed=0, sd=1.5):
    values = gaussian_filter(np.random.default_rng(seed).standard_normal((160, 160)), sd, mode="wrap")
    return (values - values.min()) / np.ptp(values)


def movie(source, n=2, seed=0):
    """Frames of a texture; ``source(x, y, t)`` says where, from the centre, the pixel (x, y) of frame t came from."""
    y, x = np.mgrid[:SIDE, :SIDE] - (SIDE - 1) / 2
    surface = texture(seed)
    at = [source(x, y, t) for t in range(n)]
    return np.array([map_coordinates(surface, [v + 80, u + 80], order=3, mode="grid-wrap") for u, v in at]).clip(0, 1)


def moved(motion, n=2, seed=0):
    return movie(lambda x, y, t: (x - motion[0] * t, y - motion[1] * t), n, seed)


def turned(degrees, zoom=1.0, n=2):
    """Clockwise as seen, with the flow of every pixel."""
    a = np.deg2rad(degrees)

    def source(x, y, t):
        c, s = np.cos(a * t) / zoom**t, np.sin(a * t) / zoom**t
        return x * c + y * s, y * c - x * s

    y, x = np.mgrid[:SIDE, :SIDE] - (SIDE - 1) / 2
    c, s = np.cos(a) * zoom, np.sin(a) * zoom
    return movie(source, n), np.stack([x * c - y * s - x, x * s + y * c - y], -1)


@pytest.mark.parametrize("motion", [(0.3, 0.1), (1.5, -0.7), (-2.2, 0), (4, 3)])
def test_translation_is_found(motion):
    found = optical_flow(moved(motion, n=3))
    assert found.shape == (2, SIDE, SIDE, 2)
    assert found.dtype == np.float32
    error = end_point_error(found, np.array(motion))
    assert np.median(error) < 0.03
    assert error.mean() < 0.05


def test_large_motion_is_found_through_the_pyramid():
    frames = moved((-7, 5))
    error = end_point_error(optical_flow(frames), np.array([-7, 5]))
    assert np.median(error) < 0.1
    assert np.median(end_point_error(optical_flow(frames, n_levels=1), np.array([-7, 5]))) > 2


@pytest.mark.parametrize(("degrees", "zoom"), [(1, 1), (3, 1), (6, 1), (0, 1.05), (2, 0.97)])
def test_rotation_and_expansion_are_found(degrees, zoom):
    frames, truth = turned(degrees, zoom)
    error = end_point_error(optical_flow(frames)[0], truth)
    assert np.median(error) < 0.03
    assert error.mean() < 0.06


def test_an_object_moves_and_its_background_stays():
    frames, surface = moved((0, 0)), texture(5)
    for t in range(2):
        frames[t, 20:44, 16 + 2 * t : 40 + 2 * t] = surface[:24, :24]
    found = optical_flow(frames)[0]
    np.testing.assert_allclose(np.median(found[26:38, 24:34], (0, 1)), [2, 0], atol=0.05)
    np.testing.assert_allclose(np.median(found[:12], (0, 1)), 0, atol=0.02)


def test_flow_has_the_direction_of_a_grating():
    found = optical_flow(drifting_grating(90, 4, 1, n_frames=3, fps=16))  # 1 px upwards per frame
    np.testing.assert_allclose(np.median(found, axis=(0, 1, 2)), [0, -1], atol=0.05)


def test_nothing_moves_where_nothing_can_be_seen():
    assert not optical_flow(np.full((3, 32, 32), 0.5)).any()
    still = np.repeat(texture()[None, :32, :32], 3, 0)
    np.testing.assert_allclose(optical_flow(still), 0, atol=1e-6)


def test_time_and_mirrors_turn_flow():
    frames = moved((1.2, -0.6))
    there = optical_flow(frames)[0, 8:-8, 8:-8]
    back = optical_flow(frames[::-1])[0, 8:-8, 8:-8]
    assert np.median(end_point_error(back, -there)) < 0.05
    mirrored = optical_flow(frames[:, :, ::-1])[0, 8:-8, 8:-8][:, ::-1]
    np.testing.assert_allclose(mirrored * [-1, 1], there, atol=1e-3)


def test_kinds_of_input_agree():
    frames = (moved((1, 0.5), n=6) * 255).astype(np.uint8)
    found = optical_flow(frames)
    tensor = optical_flow(torch.from_numpy(frames))
    assert isinstance(tensor, torch.Tensor)
    np.testing.assert_array_equal(tensor, found)
    np.testing.assert_allclose(optical_flow(np.repeat(frames[..., None], 3, -1)), found, atol=0.02)
    np.testing.assert_allclose(optical_flow(frames, batch_size=2), found, atol=1e-5)
    np.testing.assert_allclose(optical_flow(frames / 255), found, atol=0.02)


@settings(max_examples=30, deadline=None)
@given(st.floats(0, 1), st.floats(-2, 2), st.floats(-2, 2), st.floats(-2, 2))
def test_interpolation_reproduces_parabolas(t, a, b, c):
    weights = np.array(_catmull_rom(t))
    x = np.arange(-1, 3)
    assert weights @ (a + b * x + c * x**2) == pytest.approx(a + b * t + c * t**2, abs=1e-9)


def test_warping_reads_ahead_and_knows_the_border():
    image = torch.arange(30.0).reshape(1, 1, 5, 6)
    flow = torch.zeros(1, 2, 5, 6)
    flow[:, 0] = 1
    found, inside = warp(image, flow)
    np.testing.assert_allclose(found[0, 0, :, :-1], image[0, 0, :, 1:], atol=1e-5)
    assert inside[0, 0].all(0).tolist() == [True] * 5 + [False]


# Summaries


def test_summaries_of_translation():
    flow = np.zeros((2, 12, 16, 2))
    flow[0] = [3, -4]  # right and up
    features, columns = flow_features(flow, grid=(2, 4), n_directions=8)
    assert features.shape == (2, 2 * 4 * 11)
    table = dict(zip(columns, features[0], strict=True))
    for r in range(2):
        for c in range(4):
            assert table[f"speed_{r}_{c}"] == 5
            assert table[f"direction_45_{r}_{c}"] == 5
            assert table[f"divergence_{r}_{c}"] == table[f"curl_{r}_{c}"] == 0
    assert sum(v for k, v in table.items() if k.startswith("direction")) == 5 * 8
    assert not features[1].any()


@pytest.mark.parametrize(("vector", "name"), [((1, 0), "0"), ((0, -1), "90"), ((-1, 0), "180"), ((0, 1), "270")])
def test_directions_are_those_of_motion(vector, name):
    features, columns = flow_features(np.broadcast_to(vector, (1, 8, 8, 2)), grid=1, n_directions=4)
    assert features[0, columns.index(f"direction_{name}_0_0")] == 1


def test_divergence_and_curl_are_those_of_linear_flow():
    y, x = np.mgrid[:16, :16] - 7.5
    expand, turn = 0.1, 0.3
    right, up = expand * x + turn * y, expand * -y + turn * x  # y downwards: counter-clockwise is (y, x) as seen
    features, columns = flow_features(np.stack([right, -up], -1)[None], grid=2)
    for cell in ("0_0", "0_1", "1_0", "1_1"):
        assert features[0, columns.index(f"divergence_{cell}")] == pytest.approx(2 * expand, rel=1e-5)
        assert features[0, columns.index(f"curl_{cell}")] == pytest.approx(2 * turn, rel=1e-5)


def test_curl_of_a_turning_texture():
    frames, _ = turned(3)
    features, columns = flow_features(optical_flow(frames), grid=1)
    assert features[0, columns.index("curl_0_0")] == pytest.approx(-2 * np.sin(np.deg2rad(3)), rel=0.1)
    assert features[0, columns.index("divergence_0_0")] == pytest.approx(0, abs=0.01)


def test_cells_need_not_divide_the_frame(rng):
    flow = rng.standard_normal((1, 11, 13, 2))
    features, columns = flow_features(flow, grid=(3, 4))
    speed = np.hypot(*flow[0].transpose(2, 0, 1))
    assert features[0, columns.index("speed_1_2")] == pytest.approx(speed[3:7, 6:9].mean(), rel=1e-5)
    np.testing.assert_array_equal(flow_features(torch.from_numpy(flow), grid=(3, 4))[0], features)


# What is refused


@pytest.mark.parametrize(
    ("frames", "options", "message"),
    [
        (np.zeros((1, 32, 32)), {}, "at least 2 frames"),
        (np.zeros((2, 12, 32)), {}, "16 x 16 pixels, got 2 of 12 x 32"),
        (np.zeros((2, 3, 32, 32)), {}, "colours come last"),
        (np.full((2, 32, 32), np.nan), {}, "must be finite"),
        (np.full((2, 32, 32), 200.0), {}, "divide by 255"),
        (np.zeros((2, 32, 32)), {"window": 0}, "window must be above 0"),
        (np.zeros((2, 32, 32)), {"n_warps": 0}, "n_warps must be"),
        (np.zeros((2, 32, 32)), {"n_levels": 0}, "n_levels must be"),
    ],
)
def test_bad_movies_are_refused(frames, options, message):
    with pytest.raises(ValueError, match=message):
        optical_flow(frames, **options)


def test_bad_flow_is_refused():
    with pytest.raises(ShapeMismatch, match=r"flow must be \(n, height, width, 2\), got \(2, 2, 8, 8\)"):
        flow_features(np.zeros((2, 2, 8, 8)))
    with pytest.raises(ValueError, match="flow must be finite: 2 numbers"):
        flow_features(np.where(np.arange(2) >= 0, np.nan, np.zeros((1, 1, 1, 2))))
    with pytest.raises(ShapeMismatch, match="cells must hold 2 x 2 pixels"):
        flow_features(np.zeros((1, 8, 8, 2)), grid=5)
