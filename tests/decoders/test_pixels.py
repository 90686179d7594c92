import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy.ndimage import gaussian_filter1d

from neuro.decoders.metrics.pixels import pixcorr, resize_images, ssim
from neuro.errors import ShapeMismatch

skimage = pytest.importorskip("skimage", reason="SSIM needs scikit-image: pip install 'neuro[metrics]'")


@pytest.fixture(scope="module")
def photographs():
    """Astronaut, coffee and chelsea at 425 pixels, and the same blurred and noisy."""
    from skimage import data
    from skimage.filters import gaussian
    from skimage.transform import resize

    rng = np.random.default_rng(0)
    true, degraded = [], []
    for name in ("astronaut", "coffee", "chelsea"):
        try:
            x = getattr(data, name)().astype(float)
        except Exception as error:
            pytest.skip(f"skimage.data.{name} is not here and could not be fetched: {error}")
        x = resize(x, (425, 425), anti_aliasing=True)
        x = (x - x.min()) / (x.max() - x.min())
        true.append(x)
        degraded.append(np.clip(gaussian(x, sigma=6, channel_axis=-1) + 0.05 * rng.standard_normal(x.shape), 0, 1))
    return tuple(np.stack(z).transpose(0, 3, 1, 2) for z in (degraded, true))


@pytest.mark.parametrize(
    ("protocol", "expected"),
    [("ssim2d", [0.301568, 0.342146, 0.371493]), ("ssim_columnwise", [0.355330, 0.402156, 0.431607])],
)
def test_both_historical_ssims_of_three_photographs(photographs, protocol, expected):
    result = ssim(*photographs, protocol=protocol, n_chance=0)
    np.testing.assert_allclose(result.per_item, expected, atol=1e-6)
    assert protocol in result.protocol


def test_columnwise_ssim_is_the_mean_of_one_dimensional_ones(rng):
    recon, true = rng.random((2, 1, 3, 30, 14))
    gray = [np.tensordot(z[0].transpose(1, 2, 0), [0.2125, 0.7154, 0.0721], 1) for z in (recon, true)]

    def smooth(z):
        return gaussian_filter1d(z, 1.5, axis=0, truncate=3.5)

    mx, my = (smooth(z) for z in gray)
    vx, vy, vxy = (
        smooth(a * b) - c
        for a, b, c in ((gray[0], gray[0], mx * mx), (gray[1], gray[1], my * my), (gray[0], gray[1], mx * my))
    )
    local = (2 * mx * my + 1e-4) * (2 * vxy + 9e-4) / ((mx**2 + my**2 + 1e-4) * (vx + vy + 9e-4))
    assert ssim(recon, true, "ssim_columnwise").value == pytest.approx(local[5:-5].mean(), abs=1e-6)


@pytest.mark.parametrize("protocol", ["ssim2d", "ssim_columnwise", "ssim_rgb"])
def test_ssim_of_an_image_with_itself_and_of_two_constants(rng, protocol):
    x = rng.random((2, 3, 20, 24))
    assert ssim(x, x, protocol).value == pytest.approx(1)
    a, b = 0.3, 0.6
    flat = [np.full((2, 3, 20, 20), v) for v in (a, b)]
    expected = (2 * a * b + 1e-4) / (a * a + b * b + 1e-4)
    assert expected == pytest.approx(0.800044, abs=5e-7)
    assert ssim(*flat, protocol).value == pytest.approx(expected, abs=1e-9)


def test_rgb_ssim_is_the_mean_of_that_of_each_colour(rng):
    recon, true = rng.random((2, 2, 3, 16, 16))
    single = [ssim(*(np.repeat(z[:, c : c + 1], 3, 1) for z in (recon, true))).per_item for c in range(3)]
    np.testing.assert_allclose(ssim(recon, true, "ssim_rgb").per_item, np.mean(single, axis=0), atol=1e-8)


@settings(max_examples=12, deadline=None)
@given(seed=st.integers(0, 2**31), gain=st.floats(0.05, 1), shift=st.floats(0, 1))
def test_pixcorr_ignores_positive_affine_maps_and_turns_with_negation(seed, gain, shift):
    rng = np.random.default_rng(seed)
    recon, true = rng.random((2, 3, 3, 9, 8))
    before = pixcorr(recon, true).per_item
    mapped = gain * recon + shift * (1 - gain)
    np.testing.assert_allclose(pixcorr(mapped, true).per_item, before, atol=1e-5)
    np.testing.assert_allclose(pixcorr(1 - recon, true).per_item, -before, atol=1e-5)
    np.testing.assert_allclose(pixcorr(1 - recon, true, "absolute").per_item, np.abs(before), atol=1e-5)


def test_pixcorr_is_pearson_over_all_colours_and_its_chance_the_wrong_pairs(rng):
    true = rng.random((70, 3, 6, 7))
    recon = np.clip(0.5 * true + 0.5 * rng.random(true.shape), 0, 1)
    c = np.array([[np.corrcoef(r.ravel(), t.ravel())[0, 1] for t in true] for r in recon])
    result = pixcorr(recon, true)
    np.testing.assert_allclose(result.per_item, np.diagonal(c), atol=1e-6)
    assert result.chance == pytest.approx(c[~np.eye(70, dtype=bool)].mean(), abs=1e-6)


def test_the_absolute_variant_hides_a_negative_and_says_its_name(rng):
    x = rng.random((4, 3, 12, 12))
    assert pixcorr(1 - x, x).value == pytest.approx(-1)
    hidden = pixcorr(1 - x, x, "absolute")
    assert hidden.value == pytest.approx(1)
    assert hidden.metric == "absolute_pixcorr"
    assert 0 < hidden.chance < 0.2


def test_an_image_of_one_colour_value_is_undefined_and_counted(rng):
    x = rng.random((3, 3, 12, 12)).astype(np.float32)
    flat = x.copy()
    flat[1] = 0.3
    result = pixcorr(flat, x)
    assert result.details["undefined_items"] == 1
    assert result.value == pytest.approx(1, abs=1e-6)
    assert np.isfinite(result.chance)


@pytest.mark.parametrize("antialias", [True, False])
@pytest.mark.parametrize("method", ["tensor_bilinear", "tensor_bicubic"])
def test_tensor_resizing_is_torchvisions_with_antialiasing_said(rng, method, antialias):
    transforms = pytest.importorskip("torchvision.transforms.v2.functional")
    from torchvision.transforms import InterpolationMode

    x = rng.random((2, 3, 40, 30), dtype=np.float32)
    mode = InterpolationMode[method.split("_")[1].upper()]
    theirs = transforms.resize(torch.tensor(x), [17, 23], interpolation=mode, antialias=antialias)
    np.testing.assert_allclose(resize_images(x, (17, 23), method, antialias), theirs.numpy(), atol=1e-6)


def test_antialiasing_matters_and_is_part_of_the_protocol(rng):
    x = rng.random((2, 3, 64, 64))
    with_it, without = (resize_images(x, 16, antialias=a) for a in (True, False))
    assert without.std() > 1.5 * with_it.std()
    names = {pixcorr(x, x, size=16, antialias=a).protocol for a in (True, False)}
    assert len(names) == 2


def test_pil_resizing_goes_through_eight_bits(rng):
    eight = rng.integers(0, 256, (1, 30, 20, 3), dtype=np.uint8)
    theirs = np.asarray(Image.fromarray(eight[0]).resize((11, 13), Image.Resampling.BICUBIC))
    ours = resize_images(eight.transpose(0, 3, 1, 2) / 255.0, (13, 11), "pil_bicubic")
    np.testing.assert_allclose(ours[0].transpose(1, 2, 0) * 255, theirs, atol=1e-4)
    with pytest.raises(ValueError, match="PIL always antialiases"):
        resize_images(eight.transpose(0, 3, 1, 2) / 255.0, 8, "pil_bicubic", antialias=False)


def test_reconstructions_of_another_size_are_brought_to_that_of_the_true_images(rng):
    true = np.repeat(np.repeat(rng.random((2, 3, 12, 12)), 2, -1), 2, -2)
    small = true[..., ::2, ::2]
    result = pixcorr(small, true)
    assert result.value > 0.8
    assert "24x24" in result.protocol
    np.testing.assert_allclose(result.per_item, pixcorr(resize_images(small, 24), true).per_item, atol=1e-6)


def test_tensors_give_the_same_as_arrays_and_nothing_is_written_to(rng):
    recon, true = rng.random((2, 3, 3, 16, 16)).astype(np.float32)
    before = recon.copy()
    for measure in (pixcorr, ssim):
        assert measure(torch.tensor(recon), torch.tensor(true)).value == measure(recon, true).value
    assert np.array_equal(recon, before)


def test_bad_images_are_refused_in_words(rng):
    x = rng.random((2, 3, 16, 16))
    with pytest.raises(ValueError, match="Divide 8-bit images by 255"):
        pixcorr((x * 255).astype(np.uint8), x)
    with pytest.raises(ValueError, match=r"recon must lie in \[0, 1\], item 0"):
        pixcorr(x * 255, x)
    nan = x.copy()
    nan[1, 0, 0, 0] = np.nan
    with pytest.raises(ValueError, match=r"NaN or infinite pixels.*item 1"):
        ssim(nan, x)
    with pytest.raises(ShapeMismatch, match="recon has 2 items, true 1"):
        ssim(x, x[:1])
    with pytest.raises(ShapeMismatch, match="must be RGB images"):
        pixcorr(x[:, 0], x)
    with pytest.raises(ShapeMismatch, match="window is 11"):
        ssim(x[..., :10, :10], x[..., :10, :10])
    with pytest.raises(ValueError, match="ssim2d"):
        ssim(x, x, "2d")


def test_one_pair_has_no_interval_and_no_chance(rng):
    x = rng.random((1, 3, 16, 16))
    for measure in (pixcorr, ssim):
        result = measure(x, x)
        assert (result.ci, result.chance) == (None, None)
