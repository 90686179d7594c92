"""Linear decoders on real recordings: contrast patterns from V1 (Miyawaki 2008), categories of objects (Haxby 2001)."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest
import scipy.io
import scipy.signal

from neuro.decoders.linear import RidgeDecoder
from neuro.decoders.voxel_selection import VoxelSelectionDecoder

pytestmark = pytest.mark.real


@pytest.fixture(scope="module")
def figures(real_data):
    """Voxel patterns (80, 797), images (80, 10, 10), figure (80,) and repeat (80,) of each block."""
    m = scipy.io.loadmat(real_data / "miyawaki2008_figure_V1" / "V1_mean_figure.mat")
    images = m["I2"].T.reshape(80, 10, 10).transpose(0, 2, 1).astype(float)
    figure = np.unique(m["I2"].T, axis=0, return_inverse=True)[1].reshape(-1)
    repeat = np.array([np.count_nonzero(figure[:i] == figure[i]) for i in range(80)])
    return m["R2"].T, images, figure, repeat


@pytest.fixture(scope="module")
def objects(real_data):
    """Mean pattern (96, 530) of each category in each run, category (96,), run (96,)."""
    root = real_data / "haxby2001_sub001_reduced"
    mask = np.asarray(nib.load(root / "mask_1slice.nii.gz").dataobj) > 0
    series = np.asarray(nib.load(root / "bold_1slice_all12runs.nii.gz").dataobj)[mask].T.astype(float)
    lines = [line.split() for line in (root / "attributes_literal.txt").read_text().splitlines()]
    label, run = np.array([x[0] for x in lines]), np.array([int(x[1]) for x in lines])
    for r in range(12):
        block = scipy.signal.detrend(series[run == r], axis=0)
        sd = block.std(0)
        series[run == r] = (block - block.mean(0)) / np.where(sd > 0, sd, 1)
    names = sorted(set(label) - {"rest"})
    patterns = np.stack([series[(run == r) & (label == c)].mean(0) for r in range(12) for c in names])
    return patterns, np.tile(np.arange(8), 12), np.repeat(np.arange(12), 8)


def held_out(make, X, Y, groups):
    """Predictions (n, ...) for each group by a decoder fitted to the others."""
    out = np.empty(Y.shape)
    for g in np.unique(groups):
        inside = groups == g
        decoder = make().fit(X[~inside], Y[~inside], groups=groups[~inside])
        out[inside] = decoder.predict(X[inside])["targets"]
    return out


def nearest_mean(X, labels, groups):
    right = []
    for g in np.unique(groups):
        inside = groups == g
        means = np.stack([X[~inside & (labels == c)].mean(0) for c in np.unique(labels)])
        likeness = np.corrcoef(means, X[inside])[: len(means), len(means) :]
        right.extend(likeness.argmax(0) == labels[inside])
    return float(np.mean(right))


def mean_pixel_correlation(decoded, shown):
    return float(np.mean([np.corrcoef(a.ravel(), b.ravel())[0, 1] for a, b in zip(decoded, shown, strict=True)]))


def identified(decoded, images, figure):
    """Share of reconstructions that correlate most with the figure that was shown, of all ten."""
    shown = np.stack([images[figure == f][0].ravel() for f in range(10)])
    return float(np.mean(np.corrcoef(shown, decoded.reshape(80, -1))[:10, 10:].argmax(0) == figure))


def test_ten_figures_are_told_apart_on_a_left_out_repeat(figures):
    X, _, figure, repeat = figures
    votes = held_out(lambda: RidgeDecoder(alpha=100.0), X, np.eye(10)[figure], repeat)
    assert np.mean(votes.argmax(1) == figure) == pytest.approx(0.95, abs=0.01)
    means = []
    for r in range(8):  # the simplest decoder beside it, on the same folds
        train = repeat != r
        Z = (X - X[train].mean(0)) / X[train].std(0)
        likeness = np.corrcoef(np.stack([Z[train & (figure == f)].mean(0) for f in range(10)]), Z[~train])[:10, 10:]
        means.extend(likeness.argmax(0) == figure[~train])
    assert np.mean(means) == pytest.approx(0.85, abs=0.01)


def test_figures_never_seen_are_reconstructed(figures):
    X, images, figure, _ = figures
    plain = held_out(lambda: RidgeDecoder(alpha=1000.0, standardize=True), X, images, figure)
    assert mean_pixel_correlation(plain, images) == pytest.approx(0.746, abs=0.01)
    selected = held_out(lambda: VoxelSelectionDecoder(n_select=100), X, images, figure)
    assert mean_pixel_correlation(selected, images) == pytest.approx(0.803, abs=0.01)
    # a figure that was not trained on looks like a blend of those that were: better than chance, far from solved
    assert identified(plain, images, figure) == pytest.approx(0.21, abs=0.03)
    assert identified(selected, images, figure) == pytest.approx(0.325, abs=0.03)


def test_reconstructions_of_a_left_out_repeat_are_identified(figures):
    X, images, figure, repeat = figures
    plain = held_out(lambda: RidgeDecoder(alpha=1000.0, standardize=True), X, images, repeat)
    selected = held_out(lambda: VoxelSelectionDecoder(n_select=100), X, images, repeat)
    assert identified(plain, images, figure) == pytest.approx(0.80, abs=0.03)
    assert identified(selected, images, figure) == pytest.approx(0.90, abs=0.03)


def test_shuffled_figures_are_at_chance(figures):
    X, _, figure, repeat = figures
    scores = []
    for seed in range(5):
        shuffled = np.random.default_rng(seed).permutation(figure)
        votes = held_out(lambda: RidgeDecoder(alpha=100.0), X, np.eye(10)[shuffled], repeat)
        scores.append(np.mean(votes.argmax(1) == shuffled))
    assert np.mean(scores) < 0.2


def test_eight_categories_of_a_left_out_run(objects):
    X, category, run = objects
    assert nearest_mean(X, category, run) == pytest.approx(0.625, abs=0.01)
    fixed = held_out(lambda: RidgeDecoder(alpha=100.0, standardize=True), X, np.eye(8)[category], run)
    assert np.mean(fixed.argmax(1) == category) == pytest.approx(0.854, abs=0.03)
    within_runs = np.concatenate([np.random.default_rng(r).permutation(8) for r in range(12)])
    control = held_out(lambda: RidgeDecoder(alpha=100.0, standardize=True), X, np.eye(8)[within_runs], run)
    assert np.mean(control.argmax(1) == within_runs) < 0.25


@pytest.mark.filterwarnings("ignore::neuro.linear.AlphaAtBoundaryWarning")
def test_penalties_chosen_on_left_out_runs_do_as_well(objects):
    X, category, run = objects
    chosen = held_out(
        lambda: RidgeDecoder(alpha=np.logspace(0, 6, 13), cv=11, standardize=True), X, np.eye(8)[category], run
    )
    assert np.mean(chosen.argmax(1) == category) == pytest.approx(0.854, abs=0.03)
