"""Preprocessing equals the libraries' own, and torch's fast resize differs from PIL by one grey level."""

import numpy as np
import pytest
import torch
from PIL import Image

from neuro.errors import ShapeMismatch
from neuro.features.preprocess import CallablePreprocess, Preprocess, as_preprocess

SIZES = [(40, 48), (61, 37), (64, 64), (33, 90)]


@pytest.fixture
def assorted(rng):
    """Pictures of several sizes, smooth enough to be like photographs."""
    out = []
    for h, w in SIZES:
        noise = Image.fromarray(rng.integers(0, 256, (h // 6, w // 6, 3), dtype=np.uint8))
        out.append(np.asarray(noise.resize((w, h), Image.Resampling.BICUBIC)))
    return out


@pytest.mark.parametrize("resize_mode", ["shortest", "squash", "longest"])
@pytest.mark.parametrize("size", [32, 48])
@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
def test_pil_resize_is_open_clips_own_transform(assorted, resize_mode, size, interpolation):
    from open_clip.transform import PreprocessCfg, image_transform_v2

    cfg = PreprocessCfg(size=size, resize_mode=resize_mode, interpolation=interpolation)
    theirs = image_transform_v2(cfg, is_train=False)
    ours = Preprocess((size, size), cfg.mean, cfg.std, interpolation, resize_mode, resize="pil")(assorted)
    expected = torch.stack([theirs(Image.fromarray(image)) for image in assorted])
    torch.testing.assert_close(ours, expected, atol=2e-6, rtol=0)


@pytest.mark.parametrize(("mode", "fit"), [("center", "shortest"), ("squash", "squash"), ("border", "longest")])
@pytest.mark.parametrize("crop_pct", [0.875, 0.95, 1.0])
def test_pil_resize_is_timms_own_transform(assorted, mode, fit, crop_pct):
    from timm.data import create_transform

    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    theirs = create_transform(
        (3, 32, 32), interpolation="bicubic", mean=mean, std=std, crop_pct=crop_pct, crop_mode=mode
    )
    fill = tuple(round(255 * m) for m in mean)
    base = Preprocess((32, 32), mean, std, "bicubic", fit, fill=fill, resize="pil")
    ours = base.with_options(crop_pct=crop_pct)(assorted)
    expected = torch.stack([theirs(Image.fromarray(image)) for image in assorted])
    torch.testing.assert_close(ours, expected, atol=2e-6, rtol=0)


@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
def test_torch_resize_is_within_one_grey_level_of_pil_when_shrinking(assorted, interpolation):
    fast = Preprocess((24, 24), interpolation=interpolation).pixels(assorted).int()
    exact = Preprocess((24, 24), interpolation=interpolation, resize="pil").pixels(assorted).int()
    assert (fast - exact).abs().max() <= 1
    assert (fast != exact).float().mean() < 0.02


def test_nearest_resize_is_the_same_in_torch_and_pil(assorted):
    fast = Preprocess((24, 24), interpolation="nearest").pixels(assorted)
    assert torch.equal(fast, Preprocess((24, 24), interpolation="nearest", resize="pil").pixels(assorted))


@pytest.mark.real
@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
def test_photographs_shrink_within_one_grey_level_of_pil(real_data, interpolation):
    files = sorted((real_data / "natural_images" / "kodak24").glob("*.png"))[:4]
    images = [np.asarray(Image.open(f).convert("RGB")) for f in files]
    fast = Preprocess((224, 224), interpolation=interpolation).pixels(images).int()
    exact = Preprocess((224, 224), interpolation=interpolation, resize="pil").pixels(images).int()
    assert (fast - exact).abs().max() <= 1
    assert (fast != exact).float().mean() < 0.005


def test_a_batch_of_sizes_equals_one_by_one(assorted):
    to_input = Preprocess((32, 32))
    torch.testing.assert_close(to_input(assorted), torch.cat([to_input([image]) for image in assorted]), rtol=0, atol=0)


def test_pictures_of_the_right_size_are_only_normalised(pictures):
    to_input = Preprocess((40, 48), mean=0.25, std=0.5, resize_to=(40, 48), fit="squash")
    expected = (pictures.transpose(0, 3, 1, 2) / 255 - 0.25) / 0.5
    np.testing.assert_allclose(to_input(list(pictures)).numpy(), expected, atol=1e-6)


def test_the_callers_pictures_are_untouched(pictures):
    before = pictures.copy()
    Preprocess((24, 24))(list(pictures))
    np.testing.assert_array_equal(pictures, before)


def test_a_new_size_keeps_the_crop_share():
    assert Preprocess((224, 224), resize_to=(256, 256)).with_options(size=112).resize_to == (128, 128)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"means": 0.5}, "did you mean 'mean'"),
        ({"std": 0}, "std must be positive"),
        ({"crop_pct": 1.5}, "crop_pct"),
        ({"interpolation": "cubic"}, "interpolation must be 'bicubic'"),
        ({"interpolation": "lanczos"}, "resize='pil'"),
        ({"mean": (1, 2)}, "one per colour"),
    ],
)
def test_bad_options_say_what_is_wrong(options, said):
    with pytest.raises(ValueError, match=said):
        Preprocess((32, 32)).with_options(**options)


def test_float_or_grey_pictures_are_refused():
    with pytest.raises(ShapeMismatch, match="uint8"):
        Preprocess((8, 8))([np.zeros((8, 8, 3))])
    with pytest.raises(ShapeMismatch, match="uint8"):
        Preprocess((8, 8))([np.zeros((8, 8), np.uint8)])


def test_a_function_of_pil_images_is_taken_and_its_size_probed():
    from torchvision import transforms

    function = transforms.Compose([transforms.Resize((20, 30)), transforms.ToTensor()])
    own = as_preprocess(function, None)
    assert isinstance(own, CallablePreprocess)
    assert own.size == (20, 30)
    assert "0x" not in str(own.to_dict())


def test_a_network_without_preprocessing_must_be_told():
    with pytest.raises(ValueError, match="preprocess="):
        as_preprocess(None, None)
    with pytest.raises(ValueError, match="input_size"):
        as_preprocess("imagenet", None)
    assert as_preprocess("symmetric", None, 32).mean == (0.5, 0.5, 0.5)
