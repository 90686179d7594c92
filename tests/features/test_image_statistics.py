"""Colour and pixel statistics against closed forms and plain numpy."""

import numpy as np
import pytest
import torch

from neuro.features.image_statistics import ColorStatistics, PixelStatistics, to_lab

SRGB = {  # CIELAB (D65) of sRGB corners, as tabulated everywhere
    (255, 255, 255): (100, 0, 0),
    (0, 0, 0): (0, 0, 0),
    (255, 0, 0): (53.24, 80.09, 67.20),
    (0, 255, 0): (87.73, -86.18, 83.18),
    (0, 0, 255): (32.30, 79.19, -107.86),
    (119, 119, 119): (50.03, 0, 0),
}


@pytest.mark.parametrize(("rgb", "lab"), SRGB.items())
def test_lab_is_the_tabulated_one(rgb, lab):
    found = to_lab(torch.tensor(rgb, dtype=torch.float32).view(1, 3, 1, 1) / 255).reshape(3)
    np.testing.assert_allclose(found, lab, atol=0.05)


def test_colour_is_measured_cell_by_cell():
    image = np.zeros((1, 64, 64, 3), np.uint8)
    image[0, :32, 32:] = (255, 0, 0)
    source = ColorStatistics(grid=2, size=64)
    found = dict(zip(source.columns["color"], source.extract(image, progress=False).rows("color")[0], strict=True))
    assert found["L_mean_0_1"] == pytest.approx(53.24, abs=0.05)
    assert found["chroma_0_1"] == pytest.approx(np.hypot(80.09, 67.20), abs=0.1)
    assert found["L_mean_0_0"] == found["chroma_1_0"] == 0
    assert found["L_sd_0_1"] == pytest.approx(0, abs=1e-3)


def test_spread_is_the_standard_deviation_in_the_cell(rng):
    image = rng.integers(0, 256, (1, 64, 64, 3), dtype=np.uint8)
    source = ColorStatistics(grid=4, size=64)
    found = dict(zip(source.columns["color"], source.extract(image, progress=False).rows("color")[0], strict=True))
    lab = to_lab(torch.from_numpy(image).permute(0, 3, 1, 2).float() / 255)[0, :, 16:32, 48:64].numpy()
    assert found["L_sd_1_3"] == pytest.approx(lab[0].std(), rel=1e-4)
    assert found["b_mean_1_3"] == pytest.approx(lab[2].mean(), abs=1e-3)


def test_moments_are_scipys(rng):
    from scipy import stats

    image = (rng.beta(2, 5, (1, 64, 64, 1)) * 255).astype(np.uint8).repeat(3, -1)
    source = PixelStatistics(size=64)
    found = dict(
        zip(source.columns["statistics"], source.extract(image, progress=False).rows("statistics")[0], strict=True)
    )
    x = image[0, ..., 0].ravel() / 255
    assert found["mean"] == pytest.approx(x.mean(), rel=1e-4)
    assert found["sd"] == pytest.approx(x.std(), rel=1e-4)
    assert found["skewness"] == pytest.approx(stats.skew(x), abs=1e-3)
    assert found["kurtosis"] == pytest.approx(stats.kurtosis(x, fisher=False), abs=1e-2)
    assert found["p95"] == pytest.approx(np.percentile(x, 95), abs=1e-3)


@pytest.mark.parametrize("exponent", [-2.0, -1.0, 0.0])
def test_the_spectral_slope_is_the_planted_one(exponent, rng):
    f = np.hypot(*np.meshgrid(np.fft.fftfreq(64, 1 / 64), np.fft.fftfreq(64, 1 / 64)))
    noise = np.fft.fft2(rng.normal(size=(20, 64, 64))) * np.maximum(f, 1) ** exponent
    x = np.fft.ifft2(noise).real
    x = (x - x.mean((1, 2), keepdims=True)) / x.std((1, 2), keepdims=True) * 30 + 128
    images = np.clip(x, 0, 255).astype(np.uint8)[..., None].repeat(3, -1)
    source = PixelStatistics(size=64)
    slopes = source.extract(images, progress=False).rows("statistics")[:, source.columns["statistics"].index("slope")]
    assert slopes.mean() == pytest.approx(exponent, abs=0.15)


def test_blank_images_are_finite_and_edges_have_a_direction():
    images = np.full((2, 64, 64, 3), 80, np.uint8)
    images[1, :, ::2] = 200  # vertical stripes: all change is horizontal
    source = PixelStatistics(size=64)
    found = source.extract(images, progress=False).rows("statistics")
    columns = source.columns["statistics"]
    assert np.isfinite(found).all()
    assert found[0, columns.index("sd")] == pytest.approx(0, abs=1e-6)
    assert found[0, columns.index("skewness")] == found[0, columns.index("kurtosis")] == 0
    assert found[1, columns.index("grad_x")] == pytest.approx(1)


def test_pixels_are_block_means(rng):
    images = rng.integers(0, 256, (3, 64, 64, 3), dtype=np.uint8)
    found = PixelStatistics(grid=8, size=64).extract(images, progress=False)
    expected = images.reshape(3, 8, 8, 8, 8, 3).mean((2, 4)).transpose(0, 3, 1, 2) / 255
    np.testing.assert_allclose(found.rows("pixels"), expected.reshape(3, -1), atol=1e-5)
    assert found.layers == {"statistics": (10,), "pixels": (192,)}


def test_a_grid_must_divide_the_size():
    with pytest.raises(ValueError, match="multiple of grid"):
        ColorStatistics(grid=5, size=64)
