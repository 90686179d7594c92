"""Gabor energies: closed-form answers for gratings."""

import numpy as np
import pytest

from neuro.errors import UnknownLayer
from neuro.features.gabor import GaborPyramid

SIZE = 64


def grating(sf, orientation, phase=0.0, amplitude=0.4, window=None):
    """Luminance 0.5 + amplitude cos(...), stripes at ``orientation`` degrees counter-clockwise from horizontal."""
    y, x = np.mgrid[:SIZE, :SIZE] / SIZE
    angle = np.deg2rad(orientation)
    across = -x * np.sin(angle) - y * np.cos(angle)  # y runs downwards
    wave = amplitude * np.cos(2 * np.pi * sf * across + phase)
    return 0.5 + (wave if window is None else wave * window)


@pytest.fixture(scope="module")
def pyramid():
    return GaborPyramid(size=SIZE, orientations=6, scales=(4, 8, 16), grid=4, compress="sqrt")


def channel(pyramid, energies, **where):
    table = pyramid.positions
    keep = np.ones(len(table), bool)
    for name, value in where.items():
        keep &= np.isclose(table[name], value)
    return energies[:, keep.nonzero()[0]]


def inner(pyramid):
    """Cells that do not touch the border."""
    table = pyramid.positions
    return (table.x.abs() < 0.25) & (table.y.abs() < 0.25)


@pytest.mark.parametrize("orientation", [0, 30, 60, 90, 120, 150])
@pytest.mark.parametrize("sf", [8, 16])
def test_a_grating_drives_its_own_channel_with_its_amplitude(pyramid, orientation, sf):
    found = pyramid.energy(grating(sf, orientation)[None])["energy"][0]
    table = pyramid.positions
    keep = inner(pyramid)
    best = table[keep].iloc[found[keep].argmax()]
    assert (best.orientation, best.sf) == (orientation, sf)
    own = found[keep & (table.orientation == orientation) & (table.sf == sf)]
    np.testing.assert_allclose(own, 0.4, rtol=0.06)


def test_energy_does_not_depend_on_phase(pyramid):
    images = np.stack([grating(8, 30, phase) for phase in np.linspace(0, 2 * np.pi, 9)[:-1]])
    found = pyramid.energy(images)["energy"]
    keep = (inner(pyramid) & (pyramid.positions.orientation == 30) & (pyramid.positions.sf == 8)).to_numpy()
    assert np.ptp(found[:, keep], axis=0).max() < 0.02 * found[:, keep].mean()


def test_energy_grows_with_the_square_of_contrast():
    pyramid = GaborPyramid(size=SIZE, orientations=4, scales=(8,), grid=4, compress="none")
    low, high = pyramid.energy(np.stack([grating(8, 45, amplitude=a) for a in (0.1, 0.3)]))["energy"]
    np.testing.assert_allclose(high, 9 * low, rtol=1e-3, atol=1e-7)


def test_tuning_has_the_stated_bandwidth():
    """A filter b = 1 octave wide answers at half height half an octave... from 2 / 3 to 4 / 3 of its frequency."""
    pyramid = GaborPyramid(size=SIZE, orientations=1, scales=(12,), grid=4)
    keep = inner(pyramid).to_numpy()
    at = [pyramid.energy(grating(f, 0)[None])["energy"][0, keep].mean() for f in (12, 8, 16)]
    np.testing.assert_allclose(np.array(at[1:]) / at[0], 0.5, atol=0.05)


@pytest.mark.parametrize("level", [0, 0.5, 1])
def test_blank_images_have_no_energy_whatever_their_level(level):
    found = GaborPyramid(size=SIZE).energy(np.full((1, SIZE, SIZE), level))["energy"]
    np.testing.assert_allclose(found, 0, atol=1e-5)


def test_positions_say_where_the_channel_looks():
    pyramid = GaborPyramid(size=SIZE, orientations=2, scales=(16,), grid=4, degrees=8.0)
    table = pyramid.positions
    assert (table.sf == 2).all()  # cycles per degree
    assert sorted(table.x.unique()) == [-3, -1, 1, 3]
    y, x = np.mgrid[:SIZE, :SIZE] / SIZE
    patch = np.exp(-((x - 0.875) ** 2 + (y - 0.125) ** 2) / 0.003)  # upper right
    found = pyramid.energy(grating(16, 90, window=patch)[None])["energy"][0]
    best = table.iloc[found.argmax()]
    assert (best.x, best.y, best.orientation) == (3, 3, 90)


def test_a_wavelet_grid_has_one_cell_per_cycle():
    pyramid = GaborPyramid(size=SIZE, orientations=3, scales=(2, 4, 8))
    assert pyramid.layers == {"energy": (252,), "sf_2": (12,), "sf_4": (48,), "sf_8": (192,)}
    assert len(pyramid.positions) == 252
    parts = pyramid.energy(grating(4, 0)[None])
    np.testing.assert_array_equal(parts["energy"], np.concatenate([parts[f"sf_{f}"] for f in (2, 4, 8)], 1))


def test_extract_is_the_same_interface_as_a_networks(pyramid, pictures, tmp_path):
    found = pyramid.extract(pictures, store=tmp_path / "gabor", layers=["sf_8"], progress=False)
    assert found.rows("sf_8").shape == (12, 6 * 16)
    np.testing.assert_allclose(found.rows("sf_8"), pyramid.extract(pictures, progress=False).rows("energy")[:, 96:192])
    with pytest.raises(UnknownLayer, match="did you mean 'sf_8'"):
        pyramid.extract(pictures, layers=["sf8"], progress=False)


def test_clips_are_the_mean_over_their_frames(pyramid, pictures):
    frames = pyramid.extract(pictures, progress=False).rows("energy")
    clips = pyramid.extract(pictures.reshape(6, 2, 40, 48, 3), progress=False).rows("energy")
    np.testing.assert_allclose(clips, frames.reshape(6, 2, -1).mean(1), rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize(
    "options", [{"scales": (40,)}, {"scales": ()}, {"grid": 0}, {"bandwidth": 5}, {"compress": "cube"}]
)
def test_bad_options_are_refused(options):
    with pytest.raises(ValueError, match="must be"):
        GaborPyramid(size=SIZE, **options)
