"""Motion energy against pymoten, gratings, and what must not change it; tuning curves; what movies are refused."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

import neuro.features._motion_filters as bank
from neuro.data.clips import Clips
from neuro.errors import DuplicateIds, EmptySelection, ShapeMismatch
from neuro.features import MotionEnergy, direction_tuning, drifting_grating, opponent_pooling, plaid, speed_tuning
from neuro.features._motion_input import luminance, read_clips
from neuro.features.image_statistics import to_lab

COARSE = (0, 2, 4, 8, 16)

# pymoten 0.1.3, its filters uncut (masklimit=-1), on the movie below: x, y, envelope, cycles per image, Hz, its label
# of direction; log(1e-5 + amplitude) in frames 0, 9 and 19.
PYMOTEN = [
    (0.5, 0.5, 0.3, 2, 4, 0, 5.35165, 4.79927, 5.71377),
    (0.5, 0.5, 0.3, 2, 2, 135, 7.26456, 7.90268, 7.74907),
    (0.5, 0.5, 0.3, 2, 0, 45, 5.855, 5.51687, 5.77862),
    (0.5, 0.5, 0.15, 4, 2, 270, 7.45606, 8.23105, 7.89833),
    (0.5, 0.5, 0.15, 4, 4, 315, 6.75881, 5.90068, 6.20019),
    (0.325, 0.7625, 0.075, 8, 4, 225, 0.88574, 0.79484, 2.19573),
    (0.85, 0.2375, 0.075, 8, 2, 0, 4.4666, 2.35845, 4.06422),
    (0.325, 0.5, 0.075, 8, 0, 135, 4.54165, 4.09066, 4.80521),
    (0.7625, 0.10625, 0.0375, 16, 4, 90, -0.30282, 0.00181, -0.07626),
    (0.85, 0.10625, 0.0375, 16, 2, 180, 2.17555, 2.96908, 2.89447),
    (0.675, 0.63125, 0.0375, 0, 0, 0, 7.75562, 8.28104, 8.06249),
    (0.7625, 0.63125, 0.0375, 0, 2, 0, 6.65213, 5.86493, 6.79118),
    (0.85, 0.63125, 0.0375, 0, 4, 0, 6.03625, 5.78753, 6.17803),
]


@pytest.fixture(scope="module")
def movie():
    t, y, x = np.arange(20)[:, None, None], *np.mgrid[:40, :60]
    waves = 0.2 * np.sin(0.3 * x - 0.5 * t + 0.01 * y * x) + 0.15 * np.cos(0.4 * y + 0.7 * t)
    return np.round((0.5 + waves + 0.1 * np.sin(0.9 * x + 0.2 * y - 1.1 * t)) * 255) / 255


@pytest.fixture(scope="module")
def pyramid():
    return MotionEnergy(24, (64, 64), spatial_frequencies=COARSE)


def at_centre(table):
    return (abs(table.x - 0.5) < 1e-9) & (abs(table.y - 0.5) < 1e-9)


@pytest.mark.parametrize(
    ("size", "frequencies", "n"),
    [
        ((64, 64), COARSE, 1380),
        ((576, 1024), COARSE, 2530),
        ((90, 180), COARSE, 2990),
        ((96, 96), (*COARSE, 32), 6555),  # as many as Nishimoto et al. (2011)
    ],
)
def test_there_are_as_many_filters_as_published(size, frequencies, n):
    found = MotionEnergy(24, size, spatial_frequencies=frequencies)
    table = found.filters
    assert len(table) == n
    assert not table.duplicated().any()
    assert table[["x", "y"]].to_numpy().min() >= 0
    assert table[["x", "y"]].to_numpy().max() <= 1


def test_default_frequencies_are_the_published_ones():
    assert MotionEnergy(24, (96, 96)).spatial_frequencies == (0, 2, 4, 8, 16, 32)
    assert len(MotionEnergy(24, (96, 96)).filters) == 6555


@pytest.mark.parametrize("row", PYMOTEN)
def test_responses_are_those_of_pymoten_whose_labels_are_turned(movie, row):
    x, y, size, sf, tf, label, *truth = row
    ours = MotionEnergy(15, (40, 60), spatial_frequencies=COARSE, luminance="luma", padding="zeros")
    table = ours.filters
    keep = np.isclose(table[["x", "y", "size"]], [x, y, size], atol=1e-5).all(1)
    keep &= (table.spatial_frequency == sf) & (table.temporal_frequency == tf)
    if sf > 0:
        keep &= table.direction == (label if tf == 0 else (label + 180) % 360)
    assert keep.sum() == 1
    found = ours.transform(movie)[[0, 9, 19]][:, keep.to_numpy().nonzero()[0][0]]
    np.testing.assert_allclose(found, truth, atol=2e-5)


@pytest.mark.parametrize("direction", [0, 45, 90, 225, 315])
@pytest.mark.parametrize(("sf", "tf"), [(4, 2), (8, 4), (16, 2)])
def test_a_grating_drives_the_filter_of_its_own_direction_most(pyramid, direction, sf, tf):
    table = pyramid.filters
    found = pyramid.transform(drifting_grating(direction, sf, tf))[12]
    same = (table.spatial_frequency == sf) & (table.temporal_frequency > 0) & at_centre(table)
    best = table[same].iloc[found[same].argmax()]
    assert (best.direction, best.temporal_frequency) == (direction, tf)
    opposite = same & (table.temporal_frequency == tf) & (table.direction == (direction + 180) % 360)
    assert found[same].max() - found[opposite][0] > 2  # e^2 in amplitude


def test_direction_is_that_of_a_thing_that_moves(pyramid):
    """A bar moves to the right, then to the left; a disc moves up."""
    frames = np.zeros((24, 64, 64), np.float32)
    for t in range(24):
        frames[t, :, 2 * t + 8 : 2 * t + 12] = 1
    table = pyramid.filters
    keep = (table.spatial_frequency == 4) & (table.temporal_frequency == 4) & at_centre(table)
    directions = table.direction[keep].to_numpy()
    for clip, truth in ((frames, 0), (frames[:, :, ::-1], 180), (frames.transpose(0, 2, 1)[:, ::-1], 90)):
        assert directions[pyramid.transform(clip)[10][keep].argmax()] == truth


def test_every_filter_prefers_its_own_frequencies(pyramid):
    """Over gratings of all frequencies in a filter's direction, its own give the largest response."""
    table = pyramid.filters
    keep = (at_centre(table) & (table.direction == 90) & (table.temporal_frequency > 0)).to_numpy().nonzero()[0]
    shown = [(sf, tf) for sf in (2, 4, 8, 16) for tf in (2, 4)]
    found = np.stack([pyramid.transform(drifting_grating(90, sf, tf))[12, keep] for sf, tf in shown])
    own = list(zip(table.spatial_frequency[keep], table.temporal_frequency[keep], strict=True))
    assert [shown[i] for i in found.argmax(0)] == own


def test_energy_does_not_depend_on_phase():
    pyramid = MotionEnergy(24, (64, 64), spatial_frequencies=(0, 8), compress="none")
    table = pyramid.filters
    keep = at_centre(table) & (table.direction == 0) & (table.temporal_frequency == 4)
    assert keep.sum() == 1
    found = [pyramid.transform(drifting_grating(0, 8, 4, phase=p))[12, keep].item() for p in range(0, 360, 30)]
    assert np.ptp(found) < 0.05 * np.mean(found)


@pytest.mark.parametrize("level", [0, 0.3, 1])
def test_a_blank_movie_gives_constants(pyramid, level):
    found = pyramid.transform(np.full((20, 64, 64), level, np.float32))
    np.testing.assert_allclose(found, np.broadcast_to(found[:1], found.shape), atol=1e-4)
    if level == 0:
        np.testing.assert_allclose(found, np.log(1e-5), rtol=1e-6)


def test_padding_with_zeros_makes_clips_begin_with_a_flash():
    grey = np.full((30, 32, 32), 0.5, np.float32)
    settings = {"fps": 24, "size": (32, 32), "spatial_frequencies": (0, 2), "compress": "none"}
    flicker = MotionEnergy(**settings).filters.eval("spatial_frequency == 0 and temporal_frequency == 4").to_numpy()
    edge, zeros = (MotionEnergy(**settings, padding=p).transform(grey)[:, flicker] for p in ("edge", "zeros"))
    assert np.ptp(edge) < 1e-2 * edge.mean()
    assert zeros[0].item() > 2 * zeros[15].item()
    np.testing.assert_allclose(zeros[10:20], edge[10:20], rtol=1e-4)


def test_small_memory_gives_the_same_numbers(movie, monkeypatch):
    settings = {"fps": 15, "size": (40, 60), "spatial_frequencies": COARSE}
    sizes = []
    whole = bank.filter_space

    def spy(frames, gx, gy):
        sizes.append(len(frames))
        return whole(frames, gx, gy)

    monkeypatch.setattr("neuro.features.motion_energy.filter_space", spy)
    small = MotionEnergy(**settings, memory_limit=200_000).transform(movie)
    assert max(sizes) < 5
    np.testing.assert_allclose(small, MotionEnergy(**settings).transform(movie), atol=1e-6)
    assert max(sizes) == 20


def test_separable_filters_are_the_gabor_functions_themselves(rng):
    """One filter as the plain triple sum over a window of frames."""
    pyramid = MotionEnergy(12, (24, 30), spatial_frequencies=(4,), luminance="luma", compress="none", padding="zeros")
    frames = rng.random((14, 24, 30))
    found = pyramid.transform(frames)
    assert pyramid.n_taps == 8
    y, x = np.linspace(0, 1, 24)[:, None], np.linspace(0, 1.25, 30)
    for i in (0, 5, 11, 17):
        row = pyramid.filters.iloc[i]
        a = np.deg2rad(row.direction)
        dx, dy = x - row.x * 1.25, row.y - y
        gabor = np.exp(-(dx**2 + dy**2) / (2 * 0.15**2) + 2j * np.pi * 4 * (dx * np.cos(a) + dy * np.sin(a)))
        lag = np.arange(8)  # frame 6 sees frames 9 (first) to 2 (last)
        wave = np.exp(2j * np.pi * row.temporal_frequency * (lag - 4) / 12 - (lag / 8 - 0.5) ** 2 / (2 * 0.3**2))
        z = (frames[9:1:-1] * 100 * gabor).sum((1, 2))
        np.testing.assert_allclose(found[6, i], abs((z * wave).sum()), rtol=1e-5)


def test_it_can_be_differentiated_with_respect_to_the_movie(pyramid):
    flat = torch.full((18, 64, 64), 0.5, dtype=torch.float64)
    flat += 0.2 * torch.from_numpy(drifting_grating(0, 8, 4, n_frames=18).astype(float) - 0.5)
    frames = flat.clone().requires_grad_()
    table = pyramid.filters
    left = (
        at_centre(table) & (table.direction == 180) & table.eval("spatial_frequency == 8 and temporal_frequency == 4")
    )
    i = int(left.to_numpy().argmax())
    value = pyramid.motion_energy(frames)[9, i]
    value.backward()
    step = 1e-4 * frames.grad / frames.grad.norm()
    with torch.no_grad():
        gain = pyramid.motion_energy(flat + step)[9, i] - pyramid.motion_energy(flat - step)[9, i]
    assert gain.item() == pytest.approx(2e-4 * frames.grad.norm().item(), rel=1e-3)


def test_gradients_are_finite_in_the_dark(pyramid):
    frames = torch.zeros(16, 64, 64, requires_grad=True)
    pyramid.motion_energy(frames).sum().backward()
    assert torch.isfinite(frames.grad).all()


def test_lightness_is_that_of_cielab(rng):
    rgb = torch.from_numpy(rng.random((2, 5, 7, 3), dtype=np.float32))
    found = luminance(rgb, "lstar")
    np.testing.assert_allclose(100 * found, to_lab(rgb.permute(0, 3, 1, 2))[:, 0], atol=2e-4)
    grey = rgb[..., :1].expand(-1, -1, -1, 3)
    for kind in ("lstar", "linear", "luma"):
        np.testing.assert_allclose(luminance(grey, kind), luminance(grey[..., 0], kind), atol=1e-6)
    assert luminance(torch.tensor([[[188]]], dtype=torch.uint8), "linear").item() == pytest.approx(0.503, abs=1e-3)


def test_kinds_of_input_agree(pyramid, rng):
    clip = rng.integers(0, 256, (16, 64, 64, 3), dtype=np.uint8)
    before = clip.copy()
    found = pyramid.transform(clip)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(clip, before)
    tensor = pyramid.transform(torch.from_numpy(clip))
    assert isinstance(tensor, torch.Tensor)
    np.testing.assert_array_equal(tensor, found)
    np.testing.assert_allclose(pyramid.transform(clip.astype(np.float32) / 255), found, atol=2e-3)
    clip.flags.writeable = False
    np.testing.assert_array_equal(pyramid.transform(clip[:, ::1]), found)
    np.testing.assert_array_equal(pyramid.transform(clip[::-1][::-1]), found)


def test_clips_are_transformed_one_by_one(pyramid, rng):
    clips = rng.integers(0, 256, (3, 17, 64, 64, 3), dtype=np.uint8)
    found = pyramid.transform_clips(clips, fps=24)
    np.testing.assert_array_equal(found, np.stack([pyramid.transform(c) for c in clips]))
    np.testing.assert_allclose(pyramid.transform_clips(clips, pool="mean"), found.mean(1), atol=1e-5)
    named = Clips.from_array(clips, ids=["a", "b", "c"], fps=24)
    np.testing.assert_array_equal(pyramid.transform_clips(named), found)
    ragged = pyramid.transform_clips([clips[0], clips[1, :16]], pool="mean")
    np.testing.assert_allclose(ragged[0], found[0].mean(0), atol=1e-5)


def test_larger_frames_are_resized(pyramid):
    large = drifting_grating(45, 8, 4, size=(128, 128))
    table = pyramid.filters
    keep = at_centre(table) & table.eval("spatial_frequency == 8 and temporal_frequency == 4")
    found = pyramid.transform(large)[12][keep]
    np.testing.assert_allclose(found.max(), pyramid.transform(drifting_grating(45, 8, 4))[12][keep].max(), atol=0.1)
    assert table.direction[keep].iloc[found.argmax()] == 45


# Tuning curves


def test_direction_and_speed_tuning_of_filters():
    pyramid = MotionEnergy(24, (64, 64), spatial_frequencies=(0, 8), compress="none")
    table = pyramid.filters
    unit = (
        at_centre(table) & table.eval("direction == 135 and spatial_frequency == 8 and temporal_frequency == 4")
    ).argmax()
    tuning = direction_tuning(pyramid, 8, sf=8, tf=4)
    assert tuning.preferred[unit] == 135
    flat = (at_centre(table) & table.eval("spatial_frequency == 0 and temporal_frequency == 4")).argmax()
    assert tuning.direction_selectivity[unit] > 0.9
    assert np.ptp(tuning.responses[:, flat]) < np.ptp(tuning.responses[:, unit])
    speeds = np.array([0.125, 0.25, 0.375, 0.5, 0.625, 0.75, 1])
    assert speed_tuning(pyramid, speeds, sf=8, direction=135).preferred[unit] == 4 / 8
    slow = (
        at_centre(table) & table.eval("direction == 135 and spatial_frequency == 8 and temporal_frequency == 2")
    ).argmax()
    assert speed_tuning(pyramid, speeds, sf=8, direction=135).preferred[slow] == 2 / 8


def test_speed_peaks_where_the_temporal_frequency_is_met():
    """A unit tuned to w and f peaks at w / sf when shown another sf: it is tuned to frequency, not to speed."""
    pyramid = MotionEnergy(24, (64, 64), spatial_frequencies=(8,), temporal_frequencies=(4,))
    unit = (at_centre(pyramid.filters) & (pyramid.filters.direction == 0)).argmax()
    for sf in (6, 8, 10):
        speeds = np.array([2, 3, 4, 5, 6]) / sf
        assert speed_tuning(pyramid, speeds, sf=sf, direction=0).preferred[unit] == pytest.approx(4 / sf)


@pytest.mark.parametrize("direction", [0, 90, 200])
def test_a_grating_moves_as_it_says(direction):
    """The movie is constant along its motion: what is at r is at r + v a frame later."""
    sf, tf, fps, n = 3, 4, 24, 48
    movie = drifting_grating(direction, sf, tf, size=(n, n), fps=fps, n_frames=2, contrast=0.6)
    v = tf / sf / fps * n  # pixels per frame
    y, x = np.mgrid[5 : n - 5, 5 : n - 5]
    from scipy.ndimage import map_coordinates

    a = np.deg2rad(direction)
    before = map_coordinates(movie[0], [y + v * np.sin(a), x - v * np.cos(a)], order=3)
    np.testing.assert_allclose(movie[1, 5:-5, 5:-5], before, atol=2e-3)
    assert (movie.min(), movie.max()) == pytest.approx((0.2, 0.8), abs=0.01)


def test_a_plaid_is_the_mean_of_its_gratings():
    a, b = drifting_grating(30, 4, 2), drifting_grating(150, 4, 2)
    np.testing.assert_allclose(plaid(90, 4, 2), (a + b) / 2, atol=1e-6)


def test_opponent_pooling_cancels_flicker_and_signs_direction():
    pyramid = MotionEnergy(24, (64, 64), spatial_frequencies=(8,), temporal_frequencies=(4,), compress="none")
    table = pyramid.filters
    right = drifting_grating(0, 8, 4)
    flicker = (right + drifting_grating(180, 8, 4)) / 2
    keep = at_centre(table).to_numpy()
    shown = np.stack([right, drifting_grating(180, 8, 4), drifting_grating(90, 8, 4), flicker])
    energy = pyramid.transform_clips(shown)[:, 12, keep] ** 2
    found = opponent_pooling(energy, table.direction[keep], at=(0, 90))
    assert found[0, 0] > 0.6
    np.testing.assert_allclose(found[1, 0], -found[0, 0], atol=1e-2)
    np.testing.assert_allclose(found[2], found[0, ::-1], atol=1e-2)
    np.testing.assert_allclose(found[3], 0, atol=1e-2)
    np.testing.assert_allclose(
        found[:, 0], opponent_pooling(energy * 7, table.direction[keep], at=(0,))[:, 0], atol=1e-9
    )
    places = opponent_pooling(
        pyramid.transform_clips(shown)[:, 12] ** 2,
        table.direction,
        at=(0, 90),
        group=list(zip(table.x, table.y, strict=True)),
    )
    assert places.shape == (4, len(table[["x", "y"]].drop_duplicates()), 2)


# What is refused


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"fps": 0}, "fps must be"),
        ({"fps": 2, "temporal_frequencies": (0, 1)}, "fps must be at least 3"),
        ({"fps": float("nan")}, "fps must be"),
        ({"size": 64}, r"size must be \(height, width\)"),
        ({"size": (64, 0)}, "width must be"),
        ({"spatial_frequencies": (0, 64)}, "between 0 and 31.5"),
        ({"spatial_frequencies": (0,)}, "must hold one above 0"),
        ({"spatial_frequencies": (2, 2)}, "differ from each other"),
        ({"temporal_frequencies": (0, 13)}, "between 0 and 12 .*half the frame rate"),
        ({"temporal_frequencies": ()}, "must lie between"),
        ({"n_directions": 5}, "must be even"),
        ({"compress": "sqrt"}, "compress must be 'log' or 'none'"),
        ({"luminance": "green"}, "luminance must be"),
        ({"padding": "wrap"}, "padding must be"),
    ],
)
def test_bad_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        MotionEnergy(**{"fps": 24, "size": (64, 64), "spatial_frequencies": COARSE, **options})


@pytest.mark.parametrize(
    ("frames", "error", "message"),
    [
        (np.zeros((15, 64, 64), np.uint8), ShapeMismatch, "at least 16 frames.*it has 15"),
        (np.zeros((20, 3, 64, 64), np.uint8), ShapeMismatch, "colours come last.*moveaxis"),
        (np.zeros((3, 20, 64, 64), np.uint8), ShapeMismatch, "colours come last"),
        (np.zeros((64, 64, 3), np.uint8), ShapeMismatch, "an axis of frames before"),
        (np.zeros((64, 64), np.uint8), ShapeMismatch, r"must be \(n_frames, height, width\)"),
        (np.zeros((0, 64, 64), np.uint8), ShapeMismatch, "must be"),
        (np.zeros((20, 64, 80), np.uint8), ShapeMismatch, "aspect ratio"),
        (np.zeros((20, 64, 64), np.int64), ValueError, "uint8, or floating point"),
        (torch.zeros((20, 64, 64), dtype=torch.int32), ValueError, "uint8, or floating point"),
        (np.full((20, 64, 64), 255.0), ValueError, "divide by 255"),
        (np.full((20, 64, 64), -1.0), ValueError, "on 0..1"),
        (np.where(np.arange(20)[:, None, None] == 7, np.nan, np.zeros((20, 64, 64))), ValueError, "1 of 20 .* frame 7"),
    ],
)
def test_bad_frames_are_refused(pyramid, frames, error, message):
    with pytest.raises(error, match=message):
        pyramid.transform(frames)


def collection(clips, ids, **more):
    class Collection(SimpleNamespace):
        def __len__(self):
            return len(clips)

        def __iter__(self):
            return iter(clips)

    return Collection(ids=ids, **more)


CLIP = np.zeros((16, 64, 64), np.uint8)


@pytest.mark.parametrize(
    ("clips", "options", "error", "message"),
    [
        (np.zeros((2, 16, 64, 64), np.uint8), {"fps": 25}, ValueError, r"25 frames per second .* made for 24"),
        (collection([CLIP, CLIP], ["a", "b"], fps=[24, 30]), {}, ValueError, "clip 'a' has 24 .* clip 'b' has 30"),
        (collection([CLIP], ["a"], fps=24), {"fps": 30}, ValueError, "fps is 30 .* play at 24"),
        (collection([CLIP, CLIP], ["a"], fps=24), {}, ShapeMismatch, "1 ids for 2 clips"),
        (collection([CLIP, CLIP], ["a", "a"], fps=24), {}, DuplicateIds, "unique"),
        ([CLIP, CLIP[:, :32, :32]], {}, ShapeMismatch, "clip 0 is 64 x 64 .* clip 1 .* 32 x 32"),
        ([CLIP, CLIP[:10]], {}, ShapeMismatch, "clip 1 must have at least 16 frames"),
        ([CLIP, np.zeros((17, 64, 64), np.uint8)], {}, ShapeMismatch, "clip 0 has 16 frames, clip 1 has 17"),
        (np.zeros((2, 3, 16, 64, 64), np.uint8), {}, ShapeMismatch, "n_clips, n_frames, height, width, 3"),
        (np.zeros((16, 64, 64, 3), np.uint8), {}, ShapeMismatch, r"clips\[None\]"),
        ([], {}, EmptySelection, "at least one"),
        ("clips.mp4", {}, ShapeMismatch, "got str"),
    ],
)
def test_bad_clips_are_refused(pyramid, clips, options, error, message):
    with pytest.raises(error, match=message):
        pyramid.transform_clips(clips, **options)


def test_short_clips_are_refused_before_any_is_read(pyramid):
    class Unread(SimpleNamespace):
        def __len__(self):
            return 2

        def __iter__(self):
            pytest.fail("was read")

    with pytest.raises(ShapeMismatch, match=r"clip 'b' must have at least 16 frames.* it has 9"):
        pyramid.transform_clips(Unread(ids=["a", "b"], fps=24, n_frames=np.array([20, 9])))


def test_clips_that_say_their_rate_are_believed():
    found = read_clips(collection([CLIP, CLIP], ["a", "b"], fps=np.array([24, 24])))
    assert (found.fps, found.ids, len(found)) == (24.0, ["a", "b"], 2)
    assert read_clips(CLIP[None]).fps is None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sf": 40}, "sf must lie between 0 and 32"),
        ({"tf": 13}, "tf must lie between 0 and 12"),
        ({"contrast": 1.5}, "grey levels must stay"),
        ({"mean": 0.9}, "grey levels must stay"),
        ({"n_frames": 0}, "n_frames must be"),
        ({"size": 5}, "size must be"),
    ],
)
def test_gratings_that_cannot_be_shown_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        drifting_grating(**{"direction": 0, "sf": 4, "tf": 2, **options})


def test_bad_energies_and_models_are_refused():
    with pytest.raises(ShapeMismatch, match="one angle per unit"):
        opponent_pooling(np.ones((3, 4)), np.zeros(3))
    with pytest.raises(ValueError, match="not their logarithms"):
        opponent_pooling(-np.ones((3, 4)), np.zeros(4))
    with pytest.raises(ShapeMismatch, match="model must return"):
        direction_tuning(lambda clips: clips, 4, 4, 2)
    with pytest.raises(ValueError, match="angle must lie"):
        plaid(0, 4, 2, angle=180)
