"""Receptive fields of planted Gaussians."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from neuro.encoders import RidgeCV, receptive_field, weight_energy
from neuro.errors import ShapeMismatch


@pytest.fixture
def field():
    """Positions every 0.25 degrees out to 8 degrees, and a function that plants Gaussians on them."""
    axis = np.arange(-8, 8.01, 0.25)
    positions = np.stack(np.meshgrid(axis, axis, indexing="ij"), -1).reshape(-1, 2)

    def gaussians(x, y, size):
        distance = (positions[:, 0] - x[:, None]) ** 2 + (positions[:, 1] - y[:, None]) ** 2
        return np.exp(-distance / (2 * size[:, None] ** 2))

    return positions, gaussians


@pytest.mark.parametrize("threshold", [0.2, 0.5, 0.8])
def test_planted_gaussians_are_recovered(field, rng, threshold):
    positions, gaussians = field
    x, y, size = rng.uniform(-3, 3, 50), rng.uniform(-3, 3, 50), rng.uniform(0.7, 1.2, 50)
    found = receptive_field(gaussians(x, y, size) * rng.uniform(0.1, 9, (50, 1)), positions, threshold=threshold)
    np.testing.assert_allclose(found.x, x, atol=0.08)
    np.testing.assert_allclose(found.y, y, atol=0.08)
    np.testing.assert_allclose(found.size, size, rtol=0.12)


def test_noise_over_the_whole_field_does_not_pull_centres_inwards(field, rng):
    positions, gaussians = field
    x, y, size = np.array([5.0, -4.0]), np.array([-5.0, 3.0]), np.array([1.0, 1.5])
    found = receptive_field(gaussians(x, y, size) + rng.uniform(0, 0.2, (2, len(positions))), positions)
    np.testing.assert_allclose(found.x, x, atol=0.15)
    np.testing.assert_allclose(found.y, y, atol=0.15)
    np.testing.assert_allclose(found.size, size, rtol=0.25)


def test_moving_and_magnifying_the_field_moves_and_magnifies_the_fields(field, rng):
    positions, gaussians = field
    maps = gaussians(rng.uniform(-2, 2, 5), rng.uniform(-2, 2, 5), np.full(5, 1.0))
    a, b = receptive_field(maps, positions), receptive_field(7 * maps, 2 * positions + [100, -3])
    np.testing.assert_allclose(b.x, 2 * a.x + 100)
    np.testing.assert_allclose(b.y, 2 * a.y - 3)
    np.testing.assert_allclose(b.size, 2 * a.size, rtol=1e-9)


def test_uneven_sampling_is_undone_by_area(field):
    positions, gaussians = field
    maps = gaussians(np.array([0.5]), np.array([0.0]), np.array([1.0]))
    left = positions[:, 0] < 0.5
    keep = ~left | (np.round(positions * 4).sum(1) % 2 == 0)  # half of the positions on one side
    area = np.where(left, 2.0, 1.0)[keep]
    biased = receptive_field(maps[:, keep], positions[keep])
    even = receptive_field(maps[:, keep], positions[keep], area=area)
    assert abs(even.x[0] - 0.5) < 0.05 < abs(biased.x[0] - 0.5)


def test_voxels_without_a_map_are_nan_and_points_have_size_zero(field):
    positions, _ = field
    maps = np.zeros((3, len(positions)))
    maps[1, 7] = 2.0
    maps[2, 5] = np.nan
    found = receptive_field(maps, positions)
    assert np.isnan([found.x[0], found.y[0], found.size[0], found.x[2]]).all()
    np.testing.assert_allclose([found.x[1], found.y[1], found.size[1]], [*positions[7], 0])


def test_energy_sums_features_of_one_position_whatever_their_order(rng):
    positions = np.array([[1.0, 2.0], [0.0, 0.0], [1.0, 2.0], [3.0, 1.0]])
    coef = rng.standard_normal((5, 4))
    energy, different = weight_energy(torch.from_numpy(coef), positions)
    np.testing.assert_array_equal(different, [[0, 0], [1, 2], [3, 1]])
    square = coef**2
    np.testing.assert_allclose(energy, np.stack([square[:, 1], square[:, 0] + square[:, 2], square[:, 3]], 1))


@pytest.mark.filterwarnings("ignore::neuro.encoders.AlphaAtBoundaryWarning")
def test_encoder_of_a_voxel_that_pools_a_patch_finds_the_patch(rng):
    """Two features at each of 81 positions; voxels sum the energy under a Gaussian."""
    axis = np.linspace(-4, 4, 9)
    grid = np.stack(np.meshgrid(axis, axis), -1).reshape(-1, 2)
    positions = np.repeat(grid, 2, axis=0)
    X = rng.standard_normal((1500, len(positions)))
    x, y = np.array([-2.0, 1.0, 0.0]), np.array([1.0, 2.0, -2.0])
    W = np.exp(-((positions[:, 0] - x[:, None]) ** 2 + (positions[:, 1] - y[:, None]) ** 2) / (2 * 1.5**2))
    model = RidgeCV().fit(X, X @ W.T + 2 * rng.standard_normal((1500, 3)))
    found = receptive_field(*weight_energy(model.coef_, positions))
    np.testing.assert_allclose(found.x, x, atol=0.4)
    np.testing.assert_allclose(found.y, y, atol=0.4)
    np.testing.assert_allclose(found.size, 1.5 / np.sqrt(2), rtol=0.3)  # squared weights are narrower by sqrt(2)


def test_bad_input_is_refused(field):
    positions, _ = field
    maps = np.ones((2, len(positions)))
    with pytest.raises(ShapeMismatch, match="n_positions"):
        receptive_field(maps[:, 1:], positions)
    with pytest.raises(ShapeMismatch, match="n_features"):
        weight_energy(maps[:, 1:], positions)
    with pytest.raises(ValueError, match="must not be negative"):
        receptive_field(-maps, positions)
    with pytest.raises(ValueError, match="threshold must lie between 0 and 1, got 1"):
        receptive_field(maps, positions, threshold=1)
    with pytest.raises(ValueError, match="positions must be finite"):
        receptive_field(maps, positions * np.nan)
    with pytest.raises(ValueError, match="one positive number per position"):
        receptive_field(maps, positions, area=np.zeros(3))
