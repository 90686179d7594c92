"""The phantom's movies: flow that is exact, motion independent of content, and voxels whose tuning comes back."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.ndimage import map_coordinates
from scipy.stats import kstest

from neuro.data import Clips, convolve_hrf, time_splits
from neuro.datasets.phantom import CATEGORIES, load_movie, render_clips, simulate_movie_responses, write_movie
from neuro.datasets.phantom._movie_paths import KINDS, sample_path
from neuro.datasets.phantom._movie_voxels import direction_tuning, speed_tuning
from neuro.encoders import BandedRidgeCV, RidgeCV
from neuro.errors import DataNotDownloaded, ShapeMismatch


@pytest.fixture(scope="module")
def movies():
    return render_clips(30, n_frames=20, size=48, fps=10, seed=1)


@pytest.fixture(scope="module")
def scanned(movies):
    return simulate_movie_responses(movies, 60, n_repeats=4, seed=2)


def test_flow_warps_each_frame_to_the_next(movies):
    """What is still visible has, at the place that the flow names, the colour it had."""
    rows, columns = np.mgrid[:48, :48]
    for i, kind in enumerate(movies.motion["kind"]):
        pixels = movies.clips.frames(i).astype(float)
        seen, flow = movies.visible(i), movies.flow[i]
        assert seen.mean() > 0.6
        at = [rows + flow[..., 1], columns + flow[..., 0]]
        warped = [
            np.stack([map_coordinates(f[..., c], [y, x], order=3, mode="nearest") for c in range(3)], -1)
            for f, y, x in zip(pixels[1:], *at, strict=True)
        ]
        error = np.abs(np.stack(warped) - pixels[:-1])[seen].mean()
        unwarped = np.abs(pixels[1:] - pixels[:-1])[seen].mean()
        assert error < 2, (i, kind)  # of 255
        if kind == "static":
            np.testing.assert_array_equal(flow, 0)
            assert (pixels == pixels[0]).all()
        elif kind in ("camera", "both"):
            assert error < 0.4 * unwarped, (i, kind)


def test_the_moving_object_itself_follows_its_flow(movies):
    """Inside the object alone: the flow is right there too, and not that of the background."""
    rows, columns = np.mgrid[:48, :48]
    ratios = []
    for i in np.flatnonzero(movies.motion["kind"] == "object"):
        inside = movies.visible(i) & movies.masks[i][:-1]
        if inside.sum() < 200:
            continue
        grey = movies.clips.frames(i).mean(-1)
        flow = movies.flow[i]
        pairs = zip(grey[1:], rows + flow[..., 1], columns + flow[..., 0], strict=True)
        warped = np.stack([map_coordinates(f, [y, x], order=3, mode="nearest") for f, y, x in pairs])
        assert np.abs(flow[~movies.masks[i][:-1]]).max() == 0
        ratios.append(np.abs(warped - grey[:-1])[inside].mean() / np.abs(grey[1:] - grey[:-1])[inside].mean())
    assert len(ratios) > 5
    assert np.median(ratios) < 0.25


def test_masks_move_with_the_object(movies):
    """The mask's middle travels with the velocity of the table, y upward, while the object is wholly in view."""
    per_degree = 48 / 8.4
    checked = 0
    for i, row in movies.motion.iterrows():
        mask = movies.masks[i].astype(float)
        edge = mask[:, [0, -1]].sum() + mask[:, :, [0, -1]].sum()
        if row["kind"] not in ("object", "static") or edge or not mask.any():
            continue
        y, x = (np.einsum("tyx,yx->t", mask, grid) / mask.sum((1, 2)) for grid in np.mgrid[:48, :48])
        velocity = np.array([np.polyfit(np.arange(20), x, 1)[0], -np.polyfit(np.arange(20), y, 1)[0]]) * 10 / per_degree
        np.testing.assert_allclose(velocity, row[["velocity_x", "velocity_y"]].astype(float), atol=0.1)
        checked += 1
    assert checked >= 3


def test_what_moves_is_independent_of_what_is_shown():
    paths = [sample_path(3, i, 2.0) for i in range(60)]
    category = pd.Series([p.scene[p.scene.main].category for p in paths])
    kind = pd.Series([p.kind for p in paths])
    assert (category.value_counts() == 10).all()
    assert set(category) == set(CATEGORIES)
    assert kind.value_counts().to_dict() == {"object": 24, "static": 12, "camera": 12, "both": 12}
    assert set(KINDS) == set(kind)
    for p in paths:
        assert bool(p.velocity_x or p.velocity_y) == (p.kind in ("object", "both"))
        assert bool(p.pan_x or p.pan_y) == (p.kind in ("camera", "both"))
        assert p.kind in ("camera", "both") or p.zoom == 0
        assert not p.scene[p.scene.main].is_background


def test_directions_are_uniform():
    paths = [sample_path(0, i, 2.0) for i in range(300)]
    for x, y in (("velocity_x", "velocity_y"), ("pan_x", "pan_y")):
        angles = [np.arctan2(getattr(p, y), getattr(p, x)) for p in paths if getattr(p, x) or getattr(p, y)]
        assert kstest(angles, "uniform", args=(-np.pi, 2 * np.pi)).pvalue > 0.01


def test_captions_tell_the_motion():
    for i in range(20):
        path = sample_path(5, i, 2.0)
        told = path.captions()
        assert len(told) == 5
        if path.kind == "static":
            assert all(t.endswith("nothing moves") for t in told)
        if path.kind == "object":
            along = abs(path.velocity_x) > abs(path.velocity_y)
            word = ("right" if path.velocity_x > 0 else "left") if along else ("up" if path.velocity_y > 0 else "down")
            assert all(t.endswith(f"moving {word}") for t in told)
        assert ("zooms" in told[0]) == (path.zoom != 0)


@pytest.mark.parametrize("seconds", [0.5, 2.0, 12.0])
def test_the_camera_stays_inside_its_world(seconds):
    """The world is 1.8 pictures wide: flow would be wrong where nothing was painted."""
    for i in range(60):
        path = sample_path(9, i, seconds)
        half = 4.2 * np.exp(abs(path.zoom) * seconds / 2)
        for pan in (path.pan_x, path.pan_y):
            assert half + abs(pan) * seconds / 2 <= 1.8 * 4.2


def test_a_clip_depends_on_seed_and_number_alone(movies):
    few = render_clips(3, n_frames=20, size=48, fps=10, seed=1)
    np.testing.assert_array_equal(few.clips.frames(2), movies.clips.frames(2))
    np.testing.assert_array_equal(few.flow, movies.flow[:3])
    pd.testing.assert_frame_equal(few.motion, movies.motion.iloc[:3])
    other = render_clips(2, n_frames=20, size=48, fps=10, seed=2)
    assert not np.array_equal(other.clips.frames(0), movies.clips.frames(0))
    chosen = movies.select([4, 2])
    np.testing.assert_array_equal(chosen.flow[1], movies.flow[2])
    assert chosen.motion["stimulus"].tolist() == chosen.clips.ids.tolist() == [4, 2]


@pytest.mark.slow
def test_processes_render_the_same_clips():
    one, two = (render_clips(3, n_frames=5, size=24, seed=1, n_jobs=k) for k in (1, 2))
    assert one.clips.fingerprint() == two.clips.fingerprint()


def test_flow_in_pixels_scales_with_size_and_rate():
    small, large = (render_clips(6, n_frames=8, size=s, fps=10, seed=4) for s in (32, 64))
    camera = np.flatnonzero((small.motion["kind"] == "camera") & (small.motion["zoom"] == 0))
    assert len(camera)
    for i in camera:
        np.testing.assert_allclose(2 * small.flow[i][:, 0, 0], large.flow[i][:, 0, 0], rtol=1e-5)
        expected = -small.motion.loc[i, ["pan_x", "pan_y"]].to_numpy(float) * [1, -1] * 32 / 8.4 / 10
        outside = ~small.masks[i][0]
        np.testing.assert_allclose(small.flow[i][0][outside], np.tile(expected, (outside.sum(), 1)), rtol=1e-5)


def test_tuning_has_the_stated_shape():
    angles = np.radians(np.arange(0, 360, 1))
    velocity = np.stack([np.cos(angles), -np.sin(angles)], -1)  # y downward
    tuned = direction_tuning(velocity, np.array([90.0]))[:, 0]
    assert tuned.argmax() == 90
    assert tuned.max() == pytest.approx(1)
    assert 86 <= (tuned > 0.5).sum() <= 88
    speeds = np.geomspace(0.1, 30, 500)
    answer = speed_tuning(np.stack([speeds, 0 * speeds], -1), np.array([3.0]))[:, 0]
    assert speeds[answer.argmax()] == pytest.approx(3, rel=0.02)
    assert speed_tuning(np.zeros((1, 2)), np.array([3.0])) == 0


def test_planted_ncsnr_comes_back_from_repeats(scanned):
    found, planted = scanned.responses.ncsnr(), scanned.truth["ncsnr"]
    assert np.corrcoef(found, planted)[0, 1] > 0.95
    assert np.median(found / planted) == pytest.approx(1, abs=0.06)


def test_repeats_scatter_around_the_signal_with_correlated_noise(scanned):
    mean = scanned.responses.average_repeats().to_numpy(float)
    ncsnr = scanned.truth["ncsnr"].to_numpy()
    noise = mean - ncsnr * scanned.signal
    np.testing.assert_allclose(noise.var(), 1 / 4, rtol=0.1)
    within = scanned.runs[1:] == scanned.runs[:-1]
    lag = (noise[1:] * noise[:-1])[within].mean() / noise.var()
    assert lag == pytest.approx(0.3, abs=0.05)
    np.testing.assert_allclose(scanned.signal.std(0), 1)
    np.testing.assert_allclose(scanned.signal.mean(0), 0, atol=1e-12)


def planted_flow_by_direction(movies, places=4, n=8):
    """Share of pixels in each place that move towards each of n directions: (n_clips, n_frames, places^2 * n)."""
    flow, side = movies.flow, movies.flow.shape[2] // places
    moving = np.hypot(flow[..., 0], flow[..., 1]) > 0.05
    direction = np.round(np.arctan2(-flow[..., 1], flow[..., 0]) / (2 * np.pi / n)).astype(int) % n
    hits = [(direction == k) & moving for k in range(n)]
    shape = (*flow.shape[:2], places, side, places, side)
    maps = np.stack([h.reshape(shape).mean((3, 5)) for h in hits], -1)
    return np.concatenate([maps, maps[:, -1:]], axis=1).reshape(len(flow), flow.shape[1] + 1, -1)


def test_direction_preference_is_recovered_from_responses(movies, scanned):
    """Ridge weights on the direction of flow point where each voxel prefers, after the response is accounted for."""
    X = convolve_hrf(scanned.timeline(planted_flow_by_direction(movies)), scanned.tr, runs=scanned.runs)
    X = (X - X.mean(0)) / (X.std(0) + 1e-9)
    Y = scanned.responses.average_repeats().to_numpy()
    encoder = RidgeCV(np.logspace(-1, 8, 10), cv=time_splits(len(Y), 4, 10, scanned.runs))
    weights = encoder.fit(X, Y, groups=scanned.runs).coef_
    preferred = np.degrees(np.angle(weights @ np.exp(1j * np.radians(np.tile(np.arange(8) * 45, 16)))))
    motion = (scanned.truth["kind"] == "motion").to_numpy()
    error = np.abs((preferred - scanned.truth["direction"].to_numpy() + 180) % 360 - 180)[motion]
    assert np.median(error) < 20  # chance is 90
    undelayed = RidgeCV(np.logspace(-1, 8, 10), cv=time_splits(len(Y), 4, 10, scanned.runs))
    raw = scanned.timeline(planted_flow_by_direction(movies))
    wrong = undelayed.fit((raw - raw.mean(0)) / (raw.std(0) + 1e-9), Y, groups=scanned.runs).best_score_
    assert (encoder.best_score_ > wrong)[motion].mean() > 0.9


def test_motion_energy_finds_the_planted_directions(movies, scanned):
    """The same from pixels alone: filters that know nothing of the generator."""
    from neuro.features.motion_energy import MotionEnergy

    pyramid = MotionEnergy(fps=10, size=(48, 48), spatial_frequencies=(0, 2, 4, 8))
    filters = pyramid.filters
    used = ((filters["temporal_frequency"] > 0) & filters["direction"].notna()).to_numpy()
    energy = np.stack([np.asarray(pyramid.transform(frames))[:, used] for _, frames in movies.clips])
    X = convolve_hrf(scanned.timeline(energy, blank=energy.min((0, 1))), scanned.tr, runs=scanned.runs)
    X = (X - X.mean(0)) / X.std(0)
    Y = scanned.responses.average_repeats().to_numpy()
    splits = time_splits(len(Y), 4, 10, scanned.runs)
    weights = RidgeCV(np.logspace(-1, 8, 10), cv=splits).fit(X, Y, groups=scanned.runs).coef_
    preferred = np.degrees(np.angle(weights @ np.exp(1j * np.radians(filters["direction"][used].to_numpy()))))
    motion = (scanned.truth["kind"] == "motion").to_numpy()
    error = np.abs((preferred - scanned.truth["direction"].to_numpy() + 180) % 360 - 180)[motion]
    assert np.median(error) < 30


def test_measured_flow_agrees_with_the_planted_one(movies):
    """Pyramidal Lucas-Kanade from pixels: far nearer to the truth than no flow, wherever something moves."""
    from neuro.features import optical_flow

    ratios = []
    for i in np.flatnonzero(movies.motion["kind"] != "static")[:12]:
        seen, truth = movies.visible(i), movies.flow[i]
        found = np.asarray(optical_flow(movies.clips.frames(i)))
        moving = seen & (np.linalg.norm(truth, axis=-1) > 0.1)
        if moving.sum() < 200:
            continue
        error = np.linalg.norm(found - truth, axis=-1)[moving].mean()
        ratios.append(error / np.linalg.norm(truth, axis=-1)[moving].mean())
    assert len(ratios) > 6
    assert np.median(ratios) < 0.4


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::neuro.encoders.AlphaAtBoundaryWarning")
def test_motion_and_static_bands_win_their_voxels():
    """Motion energy against the category that is shown: each explains what the other cannot, in its own voxels."""
    from neuro.encoders import unique_variance
    from neuro.features.motion_energy import MotionEnergy

    movies = render_clips(72, n_frames=20, size=32, fps=10, seed=6)
    scanned = simulate_movie_responses(movies, 60, n_runs=4, n_repeats=4, seed=2)
    energy = MotionEnergy(fps=10, size=(32, 32), spatial_frequencies=(0, 2, 4, 8)).transform_clips(movies.clips)
    category = movies.motion["category"].to_numpy()[:, None] == np.array(CATEGORIES)
    X = {}
    for name, features in {"static": category.astype(float), "motion": energy - energy.min((0, 1))}.items():
        band = convolve_hrf(scanned.timeline(features), scanned.tr, runs=scanned.runs)
        X[name] = band - band.mean(0)
    Y = scanned.responses.average_repeats().to_numpy()
    encoder = BandedRidgeCV(cv=3, band_weights=[[1, 1], [1, 0.03], [0.03, 1]])
    found = unique_variance(encoder, X, Y, cv=4, groups=scanned.runs)
    ahead = found.of("motion") > found.of("static")
    kind = scanned.truth["kind"].to_numpy()
    assert ahead[kind == "motion"].mean() > 0.85
    assert ahead[kind == "category"].mean() < 0.15


def test_kinds_answer_to_what_they_should(movies, scanned):
    """Motion voxels are silent in static clips, category voxels are not; joint voxels need their category to move."""
    from neuro.datasets.phantom._movie_voxels import drives

    answers = drives(movies, scanned.truth, np.random.default_rng(0))
    assert answers.min() >= 0
    kind = scanned.truth["kind"].to_numpy()
    static = (movies.motion["kind"] == "static").to_numpy()
    assert answers[static][..., kind != "category"].max() == 0
    assert answers[static][..., kind == "category"].max() > 0
    category = movies.motion["category"].to_numpy()
    for v in np.flatnonzero(kind == "category"):
        mine = category == scanned.truth.loc[v, "category"]
        assert answers[mine, :, v].mean() > 2 * answers[~mine, :, v].mean()
    assert scanned.truth.loc[kind == "motion", "category"].eq("none").all()
    assert scanned.truth.loc[kind == "category", "direction"].isna().all()
    assert dict(zip(*np.unique(kind, return_counts=True), strict=True)) == {"motion": 30, "category": 18, "joint": 12}


def test_timeline_shows_each_clip_when_it_was_on(movies, scanned):
    """A feature that numbers the clips gives the column `clip` back."""
    number = np.arange(1.0, 31)[:, None]
    found = scanned.timeline(number)[:, 0]
    expected = np.where(scanned.points["clip"] >= 0, scanned.points["clip"] + 1, 0)
    np.testing.assert_allclose(found, expected)
    seconds = np.broadcast_to((np.arange(20) + 0.5)[None, :, None] / 10, (30, 20, 1))
    time = scanned.timeline(seconds)[:, 0]
    onsets = scanned.events.set_index(["run", "clip"])["onset"]
    for i, point in scanned.points[scanned.points["clip"] >= 0].iterrows():
        assert time[i] == pytest.approx(point["time"] - onsets[point["run"], point["clip"]] + 0.5)
    chosen = movies.select([7, 3, 5])
    part = simulate_movie_responses(chosen, 6, n_runs=1, n_repeats=1)
    order = part.timeline(np.array([[7.0], [3.0], [5.0]]))[:, 0]
    np.testing.assert_allclose(order, np.maximum(part.points["clip"], 0))


def test_response_function_and_seed(movies):
    few = movies.select([0, 1, 2, 3, 4, 5])
    given = simulate_movie_responses(few, 5, n_runs=2, n_repeats=1, hrf=[0, 0, 1.0], seed=3)
    direct = simulate_movie_responses(few, 5, n_runs=2, n_repeats=1, hrf=[1.0], seed=3)
    for run in (0, 1):
        here = given.runs == run
        late, early = given.signal[here], direct.signal[here]
        # two scans later, up to the mean and scale that both are given
        for v in range(5):
            assert np.corrcoef(late[2:, v], early[:-2, v])[0, 1] == pytest.approx(1)
    again = simulate_movie_responses(few, 5, n_runs=2, n_repeats=1, hrf=[1.0], seed=3)
    np.testing.assert_array_equal(again.responses.to_numpy(), direct.responses.to_numpy())
    other = simulate_movie_responses(few, 5, n_runs=2, n_repeats=1, hrf=[1.0], seed=4)
    assert not np.array_equal(other.responses.to_numpy(), direct.responses.to_numpy())
    fixed = simulate_movie_responses(few, 5, n_runs=2, n_repeats=1, ncsnr=0.7)
    assert set(fixed.truth["ncsnr"]) <= {0.7, 0.0}


def test_files_give_everything_back(tmp_path, movies, scanned):
    folder = write_movie(tmp_path / "movie", movies, scanned)
    loaded, found = load_movie(folder)
    assert isinstance(loaded.clips, Clips)
    assert loaded.clips.captions() == movies.clips.captions()
    assert loaded.clips.fps == 10
    np.testing.assert_array_equal(loaded.clips[[3, 1]], movies.clips[[3, 1]])
    np.testing.assert_array_equal(loaded.flow, movies.flow)
    np.testing.assert_array_equal(loaded.masks, movies.masks)
    pd.testing.assert_frame_equal(loaded.motion, movies.motion)
    assert found is not None
    for name in ("points", "truth", "events"):
        pd.testing.assert_frame_equal(getattr(found, name), getattr(scanned, name))
    np.testing.assert_array_equal(found.responses.to_numpy(), scanned.responses.to_numpy())
    np.testing.assert_array_equal(found.signal, scanned.signal)
    assert (found.tr, found.fps) == (1.0, 10.0)
    np.testing.assert_array_equal(found.timeline(np.ones((30, 1))), scanned.timeline(np.ones((30, 1))))
    assert load_movie(write_movie(tmp_path / "silent", movies.select([1])))[1] is None
    assert not [p.name for p in tmp_path.iterdir() if p.name.startswith(".")]


def test_missing_movies_are_named(tmp_path):
    with pytest.raises(DataNotDownloaded, match=r"no movie\.json"):
        load_movie(tmp_path)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n_clips": 0}, "n_clips must be"),
        ({"n_clips": 1, "n_frames": 1}, "n_frames must be an integer of at least 2"),
        ({"n_clips": 1, "size": 8}, "size must be an integer of at least 16"),
        ({"n_clips": 1, "fps": 0}, "fps must be above 0"),
        ({"n_clips": 1, "fps": "10"}, "fps must be above 0"),
        ({"n_clips": 1, "seed": -1}, "seed must be"),
    ],
)
def test_bad_clips_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        render_clips(**arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n_voxels": 0}, "n_voxels must be"),
        ({"shares": (1, 0)}, "three numbers"),
        ({"shares": (0, 0, 0)}, "three numbers"),
        ({"shares": (1, -1, 1)}, "three numbers"),
        ({"tr": 0}, "tr must be above 0"),
        ({"gap": -1}, "gap must be 0 s or more"),
        ({"n_runs": 31}, "at least as many clips, got 30"),
        ({"n_repeats": 0}, "n_repeats must be"),
        ({"ncsnr": 0}, "ncsnr must be above 0"),
        ({"ncsnr": (2, 1)}, "ncsnr must be above 0"),
        ({"hrf": "gamma"}, "'spm' or 'glover'"),
        ({"autocorrelation": 1}, "between -1 and 1"),
    ],
)
def test_bad_simulations_are_refused(movies, arguments, message):
    with pytest.raises(ValueError, match=message):
        simulate_movie_responses(movies, **arguments)


def test_bad_shapes_are_refused(movies, scanned):
    from dataclasses import replace

    with pytest.raises(ShapeMismatch, match="30 clips, 20 frames"):
        scanned.timeline(np.ones((30, 19, 2)))
    with pytest.raises(ShapeMismatch, match="30 clips"):
        scanned.timeline(np.ones((29, 2)))
    with pytest.raises(ShapeMismatch, match="need flow"):
        replace(movies, flow=movies.flow[:, 1:])
    with pytest.raises(ValueError, match="read-only"):
        movies.flow[0] = 0
    with pytest.raises(ShapeMismatch, match="29 rows for 30 clips"):
        replace(movies, motion=movies.motion.iloc[:29])
