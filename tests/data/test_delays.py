"""Delays: planted ones come back, responses peak when they should, and nothing crosses a run."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import gamma
from sklearn.utils.estimator_checks import parametrize_with_checks

from neuro.data import Delayer, convolve_hrf, downsample_to_tr, fir_delays, hrf_kernel, time_splits
from neuro.errors import EmptySelection, ShapeMismatch

MIXES_ROWS = "delays look at neighbouring rows, which is their purpose"


@parametrize_with_checks(
    [Delayer()],
    expected_failed_checks=lambda e: {
        "check_methods_sample_order_invariance": MIXES_ROWS,
        "check_methods_subset_invariance": MIXES_ROWS,
    },
)
def test_sklearn_protocol(estimator, check):
    check(estimator)


def test_planted_delays_are_recovered(rng):
    """y(t) = 2 x(t - 1) - x(t - 4): least squares on the copies finds exactly these weights, in their places."""
    X = rng.standard_normal((200, 3))
    W = {1: rng.standard_normal((3, 2)), 4: rng.standard_normal((3, 2))}
    Y = sum(np.concatenate([np.zeros((d, 2)), (X @ w)[:-d]]) for d, w in W.items())
    delayer = Delayer(range(6))
    found = delayer.by_delay(np.linalg.lstsq(delayer.fit_transform(X), Y, rcond=None)[0].T)
    assert found.shape == (2, 6, 3)
    for d in range(6):
        np.testing.assert_allclose(found[:, d], W[d].T if d in W else 0, atol=1e-10)


@given(
    lengths=st.lists(st.integers(1, 7), min_size=1, max_size=4),
    delays=st.lists(st.integers(-5, 9), min_size=1, max_size=4, unique=True),
)
@settings(deadline=None, max_examples=60)
def test_no_delay_crosses_a_run(lengths, delays):
    """Every run alone gives what all runs give together."""
    runs = np.repeat(np.arange(len(lengths)), lengths)
    X = np.arange(1.0, 1 + 2 * len(runs)).reshape(-1, 2)
    whole = fir_delays(X, delays, runs)
    for run in range(len(lengths)):
        np.testing.assert_array_equal(whole[runs == run], fir_delays(X[runs == run], delays))
    for k, delay in enumerate(delays):
        for t in range(len(X)):
            source = t - delay
            inside = 0 <= source < len(X) and runs[source] == runs[t]
            np.testing.assert_array_equal(whole[t, 2 * k : 2 * k + 2], X[source] if inside else 0)


def test_tensors_and_dtypes_are_kept(rng):
    X = rng.standard_normal((20, 3)).astype(np.float32)
    runs = np.repeat([0, 1], 10)
    expected = fir_delays(X, [0, 2], runs)
    assert expected.dtype == np.float32
    found = fir_delays(torch.from_numpy(X), [0, 2], torch.from_numpy(runs))
    np.testing.assert_array_equal(found.numpy(), expected)
    delayer = Delayer([0, 2]).fit(torch.from_numpy(X))
    np.testing.assert_array_equal(delayer.transform(torch.from_numpy(X), runs).numpy(), expected)


def test_inputs_are_left_alone(rng):
    X = rng.standard_normal((10, 2))
    before = X.copy()
    fir_delays(X, [0, 1])[:] = 0
    convolve_hrf(X, 1.0)[:] = 0
    np.testing.assert_array_equal(X, before)


def two_gammas(t, name):
    """The published formulas: SPM's, and Glover's of 1999 as nilearn rounds it."""
    if name == "spm":
        return gamma.pdf(t, 6) - gamma.pdf(t, 16) / 6
    return gamma.pdf(t, 6 / 0.9, scale=0.9) - 0.48 * gamma.pdf(t, 12 / 0.9, scale=0.9)


@pytest.mark.parametrize("tr", [0.1, 0.5, 1.0, 2.0])
@pytest.mark.parametrize(("name", "peak", "dip"), [("spm", 5.0, 15.75), ("glover", 5.0, 12.3)])
def test_responses_are_the_published_ones(tr, name, peak, dip):
    h = hrf_kernel(tr, name)
    np.testing.assert_allclose(h.sum(), 1)
    expected = two_gammas(np.arange(len(h)) * tr, name)
    np.testing.assert_allclose(h, expected / expected.sum(), atol=0.02 * h.max())
    assert abs(tr * h.argmax() - peak) <= max(tr / 2, 0.1) + 1e-9
    assert abs(tr * h.argmin() - dip) <= max(tr / 2, 0.1) + 1e-9


def test_convolution_is_the_sum_of_shifted_responses(rng):
    X = rng.standard_normal((40, 2))
    h = hrf_kernel(2.0, "glover")
    expected = sum(v * np.concatenate([np.zeros((k, 2)), X[: 40 - k]]) for k, v in enumerate(h))
    np.testing.assert_allclose(convolve_hrf(X, 2.0, "glover"), expected, atol=1e-12)
    np.testing.assert_allclose(convolve_hrf(X, 2.0, h), expected, atol=1e-12)
    # the long kernels of fine sampling go through Fourier space
    long = rng.standard_normal((500, 1))
    exact = np.convolve(long[:, 0], hrf_kernel(0.1))[:500]
    np.testing.assert_allclose(convolve_hrf(long, 0.1)[:, 0], exact, atol=1e-12)


def test_a_constant_keeps_its_value_and_an_impulse_peaks_after_five_seconds():
    found = convolve_hrf(np.ones((600, 1)), 0.1)
    np.testing.assert_allclose(found[-1], 1, atol=1e-9)
    impulse = np.zeros((600, 1))
    impulse[100] = 1
    assert convolve_hrf(impulse, 0.1)[:, 0].argmax() == pytest.approx(150, abs=1)


def test_no_response_crosses_a_run(rng):
    X, runs = rng.standard_normal((60, 2)), np.repeat(["b", "a", "c"], 20)
    whole = convolve_hrf(X, 1.0, runs=runs)
    for run in "abc":
        np.testing.assert_allclose(whole[runs == run], convolve_hrf(X[runs == run], 1.0), atol=1e-12)


def test_scans_average_their_frames(rng):
    X = rng.standard_normal((60, 3))
    np.testing.assert_allclose(downsample_to_tr(X, fps=15, tr=2), X.reshape(2, 30, 3).mean(1))
    # 2.5 frames per scan: the middle frame counts half in both
    weights = np.array([[1, 1, 0.5, 0, 0], [0, 0, 0.5, 1, 1]]) / 2.5
    np.testing.assert_allclose(downsample_to_tr(X[:5], fps=2.5, tr=1), weights @ X[:5])
    np.testing.assert_allclose(downsample_to_tr(X[:3], fps=0.5, tr=1), X[:3].repeat(2, axis=0))
    np.testing.assert_allclose(downsample_to_tr(X, fps=15, tr=2, n_trs=1), X[:30].mean(0)[None])


@given(n=st.integers(1, 200), fps=st.floats(0.3, 40), tr=st.floats(0.2, 5))
@settings(deadline=None, max_examples=60)
def test_downsampling_keeps_constants_and_lines(n, fps, tr):
    if round(n / (fps * tr), 6) < 1:
        return
    time = (np.arange(n) + 0.5) / fps
    found = downsample_to_tr(np.column_stack([np.ones(n), time]), fps, tr)
    np.testing.assert_allclose(found[:, 0], 1)
    inside = slice(0, len(found) - 1)  # the last scan may end half a frame after the last frame
    middles = (np.arange(len(found)) + 0.5) * tr
    np.testing.assert_allclose(found[inside, 1], middles[inside], atol=0.5 / fps + 1e-9)


@given(n=st.integers(12, 80), n_folds=st.integers(2, 6), purge=st.integers(0, 3), n_runs=st.integers(1, 8))
@settings(deadline=None, max_examples=80)
def test_blocks_cover_everything_once_and_keep_their_distance(n, n_folds, purge, n_runs):
    runs = np.sort(np.arange(n) % n_runs)
    splits = time_splits(n, n_folds, purge, runs)
    np.testing.assert_array_equal(np.concatenate([test for _, test in splits]), np.arange(n))
    for train, test in splits:
        assert (np.diff(test) == 1).all()
        for t in test:
            near = train[(np.abs(train - t) <= purge) & (runs[train] == runs[t])]
            assert not len(near)
        far = [
            t
            for t in range(n)
            if t not in set(test) and not any(runs[t] == runs[u] and abs(t - u) <= purge for u in test)
        ]
        np.testing.assert_array_equal(train, far)
        if n_runs >= n_folds:
            assert not set(runs[train]) & set(runs[test])


def test_purging_stops_the_leak_of_delays(rng):
    """With a gap as long as the longest delay no held-out row shares a frame with a training row."""
    n, delays = 60, [0, 1, 2, 3]
    frames = np.arange(1.0, n + 1)[:, None]
    X = fir_delays(frames, delays)
    for purge, leaks in ((3, False), (0, True)):
        shared = [
            np.intersect1d(X[train][X[train] > 0], X[test][X[test] > 0]).size
            for train, test in time_splits(n, 4, purge)
        ]
        assert (max(shared) > 0) == leaks


def test_splits_serve_an_encoder(rng):
    from neuro.encoders import RidgeCV

    X = rng.standard_normal((60, 3))
    Y = X @ rng.standard_normal((3, 2)) + 3 * rng.standard_normal((60, 2))
    encoder = RidgeCV(1.0, cv=time_splits(60, 4, purge=2)).fit(X, Y)
    assert len(encoder.splits_) == 4


@pytest.mark.parametrize(
    ("delays", "message"),
    [
        ([], "whole numbers"),
        ([1.5], "whole numbers"),
        ("2", "whole numbers"),
        ([1, 1], "must differ"),
        ([[1]], "whole"),
    ],
)
def test_bad_delays(delays, message):
    with pytest.raises(ValueError, match=message):
        fir_delays(np.ones((5, 1)), delays)


def test_bad_input():
    X = np.ones((6, 2))
    with pytest.raises(ShapeMismatch, match="n_rows, n_features"):
        fir_delays(np.ones(5), [1])
    with pytest.raises(ShapeMismatch, match="one run for each of 6 rows"):
        fir_delays(X, [1], runs=[0, 0])
    with pytest.raises(ValueError, match="run 0 comes in 2 pieces"):
        fir_delays(X, [1], runs=[0, 0, 1, 1, 0, 0])
    with pytest.raises(ValueError, match="'spm' or 'glover'"):
        convolve_hrf(X, 1.0, "gamma")
    with pytest.raises(ShapeMismatch, match="hrf must be"):
        convolve_hrf(X, 1.0, np.ones((2, 2)))
    with pytest.raises(ShapeMismatch, match="finite"):
        convolve_hrf(X, 1.0, [1.0, np.nan])
    with pytest.raises(ValueError, match="tr must be above 0"):
        convolve_hrf(X, 0)
    with pytest.raises(ValueError, match="tr must be below 32"):
        hrf_kernel(40.0)
    with pytest.raises(ValueError, match="fps must be above 0"):
        downsample_to_tr(X, -1, 1)
    with pytest.raises(ValueError, match="tr must be above 0"):
        downsample_to_tr(X, 1, float("nan"))
    with pytest.raises(ShapeMismatch, match=r"4 scans of 1 s need 8 frames at 2 per second, got 6"):
        downsample_to_tr(X, 2, 1, n_trs=4)
    with pytest.raises(EmptySelection, match="less than one scan"):
        downsample_to_tr(X, 10, 2)
    with pytest.raises(ValueError, match="n_trs"):
        downsample_to_tr(X, 2, 1, n_trs=0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n": 1}, "n must be"),
        ({"n": 20, "n_folds": 1}, "n_folds must be"),
        ({"n": 20, "purge": -1}, "purge must be"),
        ({"n": 3, "n_folds": 4}, "at least 4 scans, got 3"),
        ({"n": 20, "n_folds": 2, "purge": 10}, "leaves none of 20"),
        ({"n": 20, "runs": np.zeros(3)}, "one run for each of 20"),
    ],
)
def test_bad_splits(arguments, message):
    with pytest.raises(ValueError, match=message):
        time_splits(**arguments)


def test_delayer_names_wrong_widths(rng):
    delayer = Delayer([1, 2]).fit(rng.standard_normal((10, 3)))
    with pytest.raises(ShapeMismatch, match="6 columns, 2 delays of 3 features"):
        delayer.by_delay(np.ones((4, 5)))
    with pytest.raises(ShapeMismatch, match=r"\(n_trs, 3\)"):
        delayer.transform(torch.ones(10, 2))
