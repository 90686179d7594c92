"""Simulated sensors: what is planted is there, and nothing else."""

from __future__ import annotations

import numpy as np
import pytest

from neuro.datasets.phantom.sensors import planted_course, sensor_positions, simulate_sensors
from neuro.errors import ShapeMismatch


@pytest.fixture
def images(rng):
    return rng.standard_normal((150, 12))


def test_without_noise_in_the_way_the_signal_is_components_times_patterns_times_course(images):
    with_signal, without = (simulate_sensors(images, snr=s, seed=3) for s in (2.0, 0.0))
    r = with_signal.responses[1]
    signal = r.to_numpy() - without.responses[1].to_numpy()
    planted = (with_signal.components[r.stimulus] @ with_signal.patterns[1])[:, :, None] * with_signal.course
    np.testing.assert_allclose(signal, 2 * planted, atol=2e-6)


def test_snr_is_the_ratio_of_sds_at_the_peak(images):
    a, b = (simulate_sensors(images, snr=s, n_sensors=64, n_repeats=8, seed=3) for s in (0.7, 0.0))
    noise = b.responses[1].to_numpy()
    signal = (a.responses[1].to_numpy() - noise)[:, :, a.course.argmax()]
    assert signal.std() == pytest.approx(0.7, rel=0.1)
    assert noise.std() == pytest.approx(1.0, rel=0.02)


def test_images_matter_only_within_the_interval(images):
    meg = simulate_sensors(images, snr=20.0, n_repeats=1, interval=(0.3, 0.5))
    r = meg.responses[1]
    Y, z = r.to_numpy(), meg.components[r.stimulus]
    weights = np.array([np.linalg.lstsq(z, Y[:, :, t], rcond=None)[0].std() for t in range(len(meg.times))])
    assert (meg.course[(meg.times < 0.3) | (meg.times >= 0.5)] == 0).all()
    assert weights[meg.course > 0.2].min() > 5 * weights[meg.course == 0].max()


def test_noise_is_autocorrelated_as_said(images):
    noise = simulate_sensors(images, snr=0, autocorrelation=0.6, n_sensors=40).responses[1].to_numpy()
    assert (noise[..., 1:] * noise[..., :-1]).mean() == pytest.approx(0.6, abs=0.02)


def test_idiosyncrasy_0_gives_all_subjects_one_set_of_patterns(images):
    same = simulate_sensors(images, n_subjects=3, idiosyncrasy=0).patterns
    own = simulate_sensors(images, n_subjects=3, idiosyncrasy=1).patterns
    np.testing.assert_allclose(same[1], same[3])
    assert np.abs(np.corrcoef(own[1].ravel(), own[2].ravel())[0, 1]) < 0.5


def test_a_subject_does_not_depend_on_how_many_there_are(images):
    one, two = simulate_sensors(images, n_subjects=1), simulate_sensors(images, n_subjects=2)
    np.testing.assert_array_equal(one.responses[1].to_numpy(), two.responses[1].to_numpy())
    assert not np.array_equal(two.responses[1].to_numpy(), two.responses[2].to_numpy())


def test_every_image_is_shown_as_often_as_said(images):
    r = simulate_sensors(images, n_repeats=3).responses[1]
    assert np.unique(r.stimulus, return_counts=True)[1].tolist() == [3] * 150
    assert r.trials.groupby("stimulus")["repeat"].agg(lambda v: sorted(v) == [0, 1, 2]).all()


def test_sensors_lie_apart_within_the_unit_square():
    p = sensor_positions(40)
    distance = np.linalg.norm(p[:, None] - p[None], axis=-1) + np.eye(40)
    assert (p > 0).all()
    assert (p < 1).all()
    assert distance.min() > 0.05


def test_impossible_requests_are_refused(images):
    with pytest.raises(ShapeMismatch, match="n_images >= 2"):
        simulate_sensors(images[:1])
    with pytest.raises(ValueError, match="no time lies within interval 5 to 6 s"):
        simulate_sensors(images, interval=(5, 6))
    with pytest.raises(ValueError, match="snr must be 0 or more"):
        simulate_sensors(images, snr=-1)
    with pytest.raises(ValueError, match="differ between images"):
        simulate_sensors(np.ones((4, 3)))
    with pytest.raises(ValueError, match="ascending"):
        planted_course([0.2, 0.1], (0.1, 0.2))
