"""``Encoder`` is the estimator on the extractor's features; its derivative, its parts, its files."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from safetensors.torch import load_file, save_file
from sklearn.exceptions import NotFittedError
from sklearn.preprocessing import StandardScaler
from torch import nn

from neuro.data import Responses, Stimuli, Voxels
from neuro.encoders import (
    AttentionEncoder,
    BandedRidgeCV,
    Encoder,
    FactorisedEncoder,
    InContextConfig,
    InContextEncoder,
    KernelRidgeCV,
    MultipleKernelRidgeCV,
    ReceptiveFieldRidgeCV,
    Ridge,
    RidgeCV,
    StackedRidgeCV,
    receptive_field_grid,
)
from neuro.encoders._encoder_network import source_of, weights_to_open
from neuro.encoders._encoder_pixels import TOLERANCE, preprocess_tensor
from neuro.encoders._in_context_network import InContextNetwork
from neuro.errors import CorruptFile, ShapeMismatch, UnknownModel, UnknownROI
from neuro.features import Extractor, GaborPyramid, PixelStatistics, Preprocess, SparseProjection
from neuro.features.models import DEFAULT


class Tiny(nn.Module):
    """Maps of 4 x 4, then the same places as tokens behind a class token; smooth, so that derivatives exist."""

    def __init__(self, activation: type[nn.Module] = nn.Softplus):
        super().__init__()
        self.maps = nn.Conv2d(3, 6, 4, 4)
        self.act = activation()
        self.cls = nn.Parameter(torch.randn(1, 1, 6))
        self.mix = nn.Linear(6, 6)
        self.head = nn.Linear(6, 5)

    def forward(self, x):
        x = self.act(self.maps(x)).flatten(2).transpose(1, 2)
        x = self.mix(torch.cat([self.cls.expand(len(x), -1, -1), x], 1))
        return self.head(x.mean(1))


def tiny(seed=0, activation=nn.Softplus):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Tiny(activation).eval()


def extractor(module=None, **changes):
    options = {"preprocess": "imagenet", "input_size": 16, "device": "cpu", "batch_size": 7, **changes}
    return Extractor(tiny() if module is None else module, **options)


def smooth(n, height, width, seed=1):
    """Pictures of a few waves, uint8."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width] / max(height, width)
    waves = rng.uniform(1, 5, (n, 3, 2))
    phase = rng.uniform(0, 6, (n, 3, 1, 1))
    pictures = 0.5 + 0.4 * np.sin(6 * (waves[..., :1, None] * x + waves[..., 1:, None] * y) + phase)
    return (255 * pictures.transpose(0, 2, 3, 1)).round().astype(np.uint8)


PICTURES = smooth(40, 16, 16)
PIXELS = torch.from_numpy(PICTURES).permute(0, 3, 1, 2).double() / 255
Y = np.random.default_rng(2).standard_normal((40, 5))


def features(source, *layers, shaped=False):
    found = source.extract(PICTURES, layers=list(layers), progress=False)
    X = {name: found[name][:] for name in layers}
    X = {k: x.reshape(len(x), *found.layers[k]) for k, x in X.items()} if shaped else X
    return X if len(layers) > 1 else X[layers[0]]


ALPHAS = (10.0,)  # responses are noise: there is nothing to choose by
LINEAR = {
    "ridge": (Ridge(3.0), ["maps"]),
    "ridge in dual form": (RidgeCV(ALPHAS, form="dual"), ["maps"]),
    "one voxel": (RidgeCV(ALPHAS), ["maps"]),
    "kernel ridge": (KernelRidgeCV(ALPHAS), ["maps"]),
    "banded": (BandedRidgeCV(ALPHAS, n_iter=4), ["maps", "mix"]),
    "bands in another order": (BandedRidgeCV(ALPHAS, n_iter=4), ["mix", "maps"]),
    "multiple kernels": (MultipleKernelRidgeCV(ALPHAS, n_iter=3), ["maps", "mix"]),
    "stacked": (StackedRidgeCV(ALPHAS), ["maps", "mix"]),
}


@pytest.mark.parametrize("name", LINEAR)
def test_encoder_is_the_estimator_on_the_extractors_features(name):
    estimator, layers = LINEAR[name]
    source = extractor(pool={"maps": "spatial:2", "mix": "mean"})
    X = features(source, *layers)
    estimator.fit(X, Y[:, 0] if name == "one voxel" else Y)
    expected = estimator.predict(X).reshape(len(X if len(layers) == 1 else PICTURES), -1)
    encoder = Encoder(source, estimator, layer=sorted(layers) if len(layers) > 1 else layers[0])
    assert encoder.n_voxels == expected.shape[1]
    predicted = encoder(PICTURES)
    assert isinstance(predicted, np.ndarray)
    np.testing.assert_allclose(predicted, expected, atol=1e-5)
    as_tensor = encoder(PIXELS.float())
    assert isinstance(as_tensor, torch.Tensor)
    np.testing.assert_allclose(as_tensor.numpy(), expected, atol=1e-5)
    np.testing.assert_allclose(encoder(PIXELS).numpy(), expected, atol=1e-4)


SPATIAL = {
    "attention": AttentionEncoder({"a": [0, 1], "b": [2, 3, 4]}, n_heads=2, n_hidden=8, epochs=1, n_runs=2),
    "factorised": FactorisedEncoder(epochs=1),
    "receptive fields": ReceptiveFieldRidgeCV(receptive_field_grid(2.0, n_sizes=2, smallest=0.2)),
}


@pytest.mark.parametrize("pool", [None, "tokens"])
@pytest.mark.parametrize("name", SPATIAL)
def test_encoders_over_tokens_are_the_estimator_and_come_back_from_files(name, pool, tmp_path):
    estimator, layer = SPATIAL[name], "maps" if pool is None else "mix"
    source = extractor(pool=pool)
    X = features(source, layer, shaped=True)
    X = X[:, 1:] if pool == "tokens" else X  # without the class token
    expected = estimator.fit(X, Y).predict(X)
    encoder = Encoder(source, estimator, layer=layer)
    np.testing.assert_allclose(encoder(PICTURES), expected, atol=1e-5)
    pixels = PIXELS[:3].float().requires_grad_(True)
    predicted = encoder(pixels)
    np.testing.assert_allclose(predicted.detach().numpy(), expected[:3], atol=1e-5)
    predicted[0, 1].backward()
    assert pixels.grad is not None
    assert float(pixels.grad[0].abs().max()) > 0
    assert float(pixels.grad[1:].abs().max()) == 0
    part = encoder.select([3, 1])
    np.testing.assert_allclose(part(PICTURES), expected[:, [3, 1]], atol=1e-5)
    part.save(tmp_path / "e")
    again = Encoder.load(tmp_path / "e", module=tiny(), device="cpu")
    np.testing.assert_array_equal(again(PICTURES), part(PICTURES))
    assert type(again.estimator) is type(estimator)


def test_layers_of_token_estimators_go_by_name():
    source = extractor(pool={"maps": None, "mix": "tokens"})
    X = features(source, "maps", "mix", shaped=True)
    given = {"shallow": X["maps"], "deep": X["mix"][:, 1:]}
    estimator = FactorisedEncoder(epochs=1).fit(given, Y)
    encoder = Encoder(source, estimator, layer={"deep": "mix", "shallow": "maps"})
    np.testing.assert_allclose(encoder(PICTURES), estimator.predict(given), atol=1e-5)
    with pytest.raises(ShapeMismatch, match="must name the estimator's inputs"):
        Encoder(source, estimator, layer={"deep": "mix"})
    with pytest.raises(ShapeMismatch, match="layer=\\{name: layer\\}"):
        Encoder(source, estimator, layer=["mix", "maps"])


@given(
    st.tuples(st.integers(9, 50), st.integers(9, 50)),
    st.sampled_from(["shortest", "squash", "longest"]),
    st.sampled_from(["bicubic", "bilinear", "nearest"]),
    st.sampled_from([1.0, 0.8]),
)
@settings(max_examples=60, deadline=None)
def test_preprocessing_of_tensors_is_that_of_pictures(shape, fit, interpolation, crop_pct):
    how = Preprocess((16, 20), fit=fit, interpolation=interpolation, fill=(120, 30, 200))
    how = how.with_options(crop_pct=crop_pct)
    pictures = np.random.default_rng(0).integers(0, 256, (2, *shape, 3), dtype=np.uint8)
    floats = torch.from_numpy(pictures).permute(0, 3, 1, 2).double() / 255
    expected, found = how(list(pictures)), preprocess_tensor(floats, how)
    assert found.shape == expected.shape
    difference = (found - expected).abs() * torch.tensor(how.std).view(1, 3, 1, 1)
    resized = how.resized_shape(*shape) != shape and interpolation != "nearest"
    assert float(difference.max()) <= (TOLERANCE if resized else 1e-6)


@given(
    st.tuples(st.integers(9, 50), st.integers(9, 50)),
    st.sampled_from(["bicubic", "bilinear", "nearest", "lanczos"]),
)
@settings(max_examples=30, deadline=None)
def test_preprocessing_of_tensors_is_that_of_pil(shape, interpolation):
    how = Preprocess((16, 20), fit="squash", interpolation=interpolation, resize="pil")
    pictures = 40 + smooth(2, *shape) // 2  # nowhere near black or white
    floats = torch.from_numpy(pictures).permute(0, 3, 1, 2).double() / 255
    difference = (preprocess_tensor(floats, how) - how(list(pictures))).abs() * torch.tensor(how.std).view(1, 3, 1, 1)
    assert float(difference.max()) <= (1e-6 if interpolation == "nearest" or shape == (16, 20) else TOLERANCE)


@pytest.mark.parametrize(
    "options",
    [
        {"pool": {"maps": "mean", "mix": "mean"}},
        {"pool": {"maps": "spatial:2", "mix": "cls"}, "project": {"mix": None, "maps": SparseProjection(8, 1)}},
        {"pool": "tokens", "preprocess": {"normalise": "clip", "fit": "longest", "interpolation": "bilinear"}},
    ],
)
def test_derivative_is_that_of_finite_differences(options):
    source = extractor(**options)
    X = features(source, "maps", "mix")
    encoder = Encoder(source, BandedRidgeCV(n_iter=3).fit(X, Y), layer=["maps", "mix"])
    pixels = 0.2 + 0.6 * torch.rand(1, 3, 11, 19, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    assert encoder(pixels).dtype == torch.float64
    assert torch.autograd.gradcheck(encoder, pixels.requires_grad_(True), fast_mode=True)
    weights = torch.tensor([0.5, -1.0, 0.0, 2.0, 1.0], dtype=torch.float64)
    found = encoder.gradient(pixels.detach(), weights)
    for place in [(0, 0, 0, 0), (0, 1, 5, 9), (0, 2, 10, 18)]:
        step = torch.zeros_like(pixels)
        step[place] = 1e-5
        change = ((encoder(pixels + step) - encoder(pixels - step)) @ weights).item() / 2e-5
        assert found[place].item() == pytest.approx(change, rel=1e-5, abs=1e-9)


def test_principal_components_are_differentiated_and_stored(tmp_path):
    plain = extractor(pool=None)
    pca = plain.fit_pca(PICTURES, 4, layers=["maps"], progress=False)
    source = plain.with_options(project=pca)
    encoder = Encoder(source, RidgeCV().fit(features(source, "maps"), Y), layer="maps")
    pixels = PIXELS[:1].clone().requires_grad_(True)
    assert torch.autograd.gradcheck(encoder, pixels, fast_mode=True)
    encoder.save(tmp_path / "e")
    again = Encoder.load(tmp_path / "e", module=tiny(), device="cpu")
    np.testing.assert_array_equal(again(PICTURES), encoder(PICTURES))
    assert again.extractor.layer_specs(["maps"]) == source.layer_specs(["maps"])


@pytest.fixture
def encoder():
    voxels = Voxels(pd.DataFrame({"ncsnr": np.arange(5.0)}), atlases={"floc-faces": ["FFA-1", "", "OFA", "FFA-1", ""]})
    options = {"voxels": voxels, "ceiling": np.linspace(0.1, 0.5, 5)}
    return Encoder.fit(PICTURES, Y, extractor=extractor(pool="spatial:2"), layer="maps", **options)


def test_regions_are_columns_and_share_the_network(encoder):
    whole = encoder(PICTURES)
    part = encoder.roi("FFA-1")
    np.testing.assert_allclose(part(PICTURES), whole[:, [0, 3]], atol=1e-12)
    assert part.extractor is encoder.extractor
    assert part.n_voxels == len(part.voxels) == 2
    np.testing.assert_array_equal(part.ceiling, [0.1, 0.4])
    one = part.select(np.array([False, True]))
    np.testing.assert_allclose(one(PICTURES), whole[:, [3]], atol=1e-12)
    assert one.index.tolist() == [3]
    assert one.card["output"] == {"n_voxels": 1, "index": [3], "rois": {"floc-faces:FFA-1": 1}}
    np.testing.assert_array_equal(encoder(PICTURES), whole)  # views leave it as it is
    with pytest.raises(UnknownROI, match="did you mean 'FFA-1'"):
        encoder.roi("FFA1")


def test_pictures_come_in_many_forms(encoder):
    expected = encoder(PICTURES[:3])
    np.testing.assert_array_equal(encoder(Stimuli.from_array(PICTURES[:3])), expected)
    np.testing.assert_array_equal(encoder([Image.fromarray(p) for p in PICTURES[:3]]), expected)
    np.testing.assert_array_equal(encoder(list(PICTURES[:3])), expected)
    np.testing.assert_allclose(encoder(Image.fromarray(PICTURES[0])), expected[:1], atol=1e-6)
    np.testing.assert_allclose(encoder(PICTURES[0]), expected[:1], atol=1e-6)
    sizes = [smooth(1, 16, 16)[0], smooth(1, 30, 24)[0]]
    np.testing.assert_allclose(encoder(sizes), np.concatenate([encoder(s) for s in sizes]), atol=1e-6)
    np.testing.assert_allclose(encoder(PICTURES)[:3], expected, atol=1e-6)  # whatever the batch


def test_gradient_takes_pictures_and_weights_per_image(encoder):
    found = encoder.gradient(PICTURES[:9])
    assert found.shape == (9, 16, 16, 3)
    as_tensor = encoder.gradient(PIXELS[:9].float())
    np.testing.assert_allclose(found, as_tensor.permute(0, 2, 3, 1).numpy(), atol=1e-7)
    weights = torch.eye(5)[torch.arange(9) % 5]
    each = encoder.gradient(PIXELS[:9], weights)
    np.testing.assert_allclose(each[6], encoder.gradient(PIXELS[6:7], weights[1])[0], atol=1e-12)
    with pytest.raises(ShapeMismatch, match="weights must be"):
        encoder.gradient(PIXELS[:9], np.ones(4))
    pixels = PIXELS[:1].clone().requires_grad_(True)
    with torch.no_grad():
        assert not encoder(pixels).requires_grad
        assert encoder.gradient(pixels).abs().max() > 0
    assert not any(p.requires_grad for p in encoder.extractor.network.module.parameters())  # the network is frozen


def test_fit_standardises_by_the_rows_it_was_given_and_keeps_the_scaling():
    source = extractor(pool="spatial:2")
    X = features(source, "maps").astype(np.float64)
    mean, sd = X.mean(0), X.std(0)
    expected = RidgeCV().fit(((X - mean) / sd).astype(np.float32), Y)
    encoder = Encoder.fit(PICTURES, Y, extractor=source, layer="maps")
    np.testing.assert_allclose(encoder.estimator.alpha_, expected.alpha_, rtol=1e-4)
    other = smooth(6, 16, 16, seed=9)
    Z = (source.extract(other, layers=["maps"], progress=False)["maps"][:] - mean) / sd
    np.testing.assert_allclose(encoder(other), expected.predict(Z), atol=1e-5)
    by_hand = Encoder(source, expected, layer="maps", scaler=StandardScaler().fit(X))
    np.testing.assert_allclose(by_hand(other), encoder(other), atol=1e-5)
    assert not np.allclose(Encoder(source, expected, layer="maps")(other), encoder(other), atol=1e-2)


def test_fit_keeps_repeats_of_a_stimulus_together():
    shown = np.repeat(np.arange(40), 2)[np.random.default_rng(0).permutation(80)]
    data = Y[shown] + 0.1 * np.random.default_rng(1).standard_normal((80, 5))
    responses = Responses(data, pd.DataFrame({"stimulus": shown}), Voxels(5))
    encoder = Encoder.fit(PICTURES, responses, extractor=extractor(), layer="mix")
    twice = Encoder.fit(PICTURES[shown], data, extractor=extractor(), layer="mix")
    for one, stimulus in ((encoder, shown), (twice, shown)):
        for train, held_out in one.estimator.splits_:
            assert not set(stimulus[train]) & set(stimulus[held_out])
    assert encoder.ceiling is not None
    np.testing.assert_allclose(encoder.ceiling, responses.noise_ceiling())
    assert twice.ceiling is None


@pytest.mark.parametrize("name", ["banded", "columns", "tokens", "in context"])
def test_fit_gives_every_kind_of_estimator_what_it_takes(name):
    torch.manual_seed(0)
    network = InContextNetwork(InContextConfig(6, 20, 1, n_heads=4, ffn=8, min_context=5))
    options = {
        "banded": (BandedRidgeCV(n_iter=3), ["maps", "mix"], "mean"),
        "columns": (RidgeCV(), ["maps", "mix"], "mean"),
        "tokens": (FactorisedEncoder(epochs=1), ["maps", "mix"], "tokens"),
        "in context": (InContextEncoder(network, normalize=True), "maps", "mean"),
    }
    estimator, layer, pool = options[name]
    encoder = Encoder.fit(PICTURES, Y, extractor=extractor(pool=pool), layer=layer, estimator=estimator)
    assert encoder.card["scaled"] == (["maps", "mix"] if name in ("banded", "columns") else [])
    assert not hasattr(estimator, "coef_")  # a copy was fitted
    if name == "banded":
        assert encoder.estimator.band_names_ == ("maps", "mix")
    if name == "in context":
        X = features(extractor(), "maps")
        np.testing.assert_allclose(encoder(PICTURES), encoder.estimator.predict(X), atol=1e-5)
        pixels = PIXELS[:1].clone().requires_grad_(True)
        assert torch.autograd.gradcheck(encoder, pixels, fast_mode=True)
        strict = InContextEncoder(network).fit(X / np.linalg.norm(X, axis=1, keepdims=True), Y)
        with pytest.raises(ValueError, match="unit length"):
            Encoder(extractor(), strict, layer="maps")(PICTURES)
    np.testing.assert_allclose(encoder(PIXELS).numpy(), encoder(PICTURES), atol=1e-4)


def test_card_says_what_one_must_know(encoder):
    card = encoder.card
    assert card["input"]["range"] == [0.0, 1.0]
    assert card["input"]["colour_order"] == "RGB"
    assert card["input"]["size"] == [16, 16]
    assert card["ceiling"] == {"unit": "share of variance", "mean": pytest.approx(0.3), "median": pytest.approx(0.3)}
    assert card["output"]["rois"] == {"floc-faces:FFA-1": 2, "floc-faces:OFA": 1}
    assert card["network"]["hash"] == encoder.extractor.network.identity["weights"]
    assert card["license"] is None  # nobody says
    assert {"neuro", "torch"} <= set(card["versions"])
    json.dumps(card)
    licensed = Encoder(encoder.extractor, encoder.estimator, layer="maps", license="CC-BY-4.0")
    assert licensed.card["license"] == "CC-BY-4.0"


READ = """
import sys, numpy as np
from neuro.encoders import Encoder
pictures = np.load(sys.argv[1])
for folder in sys.argv[2:]:
    np.save(folder + ".npy", Encoder.load(folder, device="cpu")(pictures))
"""


@pytest.mark.slow
def test_another_process_opens_the_networks_and_gives_the_same_numbers(tmp_path):
    sources = {
        "layer2": Extractor("timm:resnet10t", pretrained=None, seed=3, input_size=32, project=16, device="cpu"),
        "layer1": Extractor("phantom-clip", device="cpu"),
        "energy": GaborPyramid(size=16, orientations=2, scales=(2, 4), grid=2),
    }
    np.save(tmp_path / "pictures.npy", PICTURES)
    parts = {}
    for layer, source in sources.items():
        parts[layer] = Encoder.fit(PICTURES, Y, extractor=source, layer=layer).select([4, 0, 2])
        parts[layer].save(tmp_path / layer)
        kinds = {p.suffix for p in (tmp_path / layer).rglob("*") if p.is_file()}
        assert kinds <= {".json", ".safetensors", ".tsv", ".npy"}
    files = [str(tmp_path / name) for name in ("pictures.npy", *parts)]
    subprocess.run([sys.executable, "-W", "error", "-c", READ, *files], check=True)
    for layer, part in parts.items():
        np.testing.assert_array_equal(np.load(tmp_path / f"{layer}.npy"), part(PICTURES))


def test_files_keep_everything_and_replace_what_stood_there(encoder, tmp_path):
    encoder.save(tmp_path / "e")
    encoder.roi("FFA-1").save(tmp_path / "e")
    again = Encoder.load(tmp_path / "e", module=tiny(), device="cpu")
    np.testing.assert_array_equal(again(PICTURES), encoder.roi("FFA-1")(PICTURES))
    np.testing.assert_array_equal(again.ceiling, encoder.ceiling[[0, 3]])
    assert again.index.tolist() == [0, 3]
    assert again.voxels.table["ncsnr"].tolist() == [0.0, 3.0]
    assert again.roi("FFA-1").n_voxels == 2
    assert again.card == encoder.roi("FFA-1").card
    assert again.estimator is None
    again.save(tmp_path / "f")  # what was read can be written
    np.testing.assert_array_equal(Encoder.load(tmp_path / "f", module=tiny(), device="cpu")(PICTURES), again(PICTURES))


def test_network_that_is_not_the_same_is_refused(tmp_path):
    encoder = Encoder.fit(PICTURES, Y, extractor=extractor(), layer="mix")
    encoder.save(tmp_path / "e")
    with pytest.raises(UnknownModel, match="module="):
        Encoder.load(tmp_path / "e")
    with pytest.raises(UnknownModel, match="other weights"):
        Encoder.load(tmp_path / "e", module=tiny(seed=1))
    with pytest.raises(UnknownModel, match="does not compute what it did"):
        Encoder.load(tmp_path / "e", module=tiny(activation=nn.Tanh))
    with pytest.raises(UnknownModel, match="leave out pretrained"):
        Encoder.load(tmp_path / "e", module=tiny(), pretrained="weights.safetensors")
    source = Extractor("timm:resnet10t", pretrained=None, input_size=32, device="cpu")
    Encoder.fit(PICTURES, Y, extractor=source, layer="layer1").save(tmp_path / "f")
    with pytest.raises(UnknownModel, match="leave out module"):
        Encoder.load(tmp_path / "f", module=tiny())


@pytest.mark.parametrize(
    ("name", "weights", "expected"),
    [
        ("timm:resnet50", "tag a1_in1k", "a1_in1k"),
        ("timm:resnet50.a1_in1k", "tag a1_in1k", DEFAULT),
        ("open_clip:ViT-B-32", "tag laion2b_s34b_b79k", "laion2b_s34b_b79k"),
        ("torchvision:alexnet", "tag IMAGENET1K_V1", "IMAGENET1K_V1"),
        ("phantom-clip", "shipped with neuro", DEFAULT),
        ("timm:resnet10t", "untrained, seed 3", None),
        ("Tiny", "as given", DEFAULT),
        ("Tiny", "as given, declared untrained", None),
    ],
)
def test_weights_are_asked_of_the_library_as_they_were(name, weights, expected):
    recipe = {"name": name, "source": source_of(name), "weights": weights, "trained": "untrained" not in weights}
    assert weights_to_open(recipe, None) is expected or weights_to_open(recipe, None) == expected


def test_weights_from_a_file_and_functions_of_the_user_are_asked_for_again(tmp_path):
    weights = tmp_path / "weights.safetensors"
    save_file(tiny(seed=5).state_dict(), weights)

    def half(image):
        return torch.from_numpy(np.array(image)).permute(2, 0, 1).float() / 255 - 0.5

    source = extractor(pretrained=weights, preprocess=half)
    encoder = Encoder.fit(PICTURES, Y, extractor=source, layer="mix")
    encoder.save(tmp_path / "e")
    assert str(tmp_path) not in (tmp_path / "e" / "encoder.json").read_text()  # paths are nobody's business
    with pytest.raises(UnknownModel, match=r"file weights\.safetensors: give its path with pretrained="):
        Encoder.load(tmp_path / "e", module=tiny(), preprocess=half)
    with pytest.raises(UnknownModel, match="again with preprocess="):
        Encoder.load(tmp_path / "e", module=tiny(), pretrained=weights)
    again = Encoder.load(tmp_path / "e", module=tiny(), pretrained=weights, preprocess=half, device="cpu")
    np.testing.assert_array_equal(again(PICTURES), encoder(PICTURES))
    with pytest.raises(ValueError, match="cannot be differentiated"):
        again(PIXELS)


@pytest.mark.parametrize(
    ("name", "change", "error"),
    [
        ("weights", lambda t: t[:, 1:], "fitted to 23 features"),
        ("weights", lambda t: t[0], "weights must be"),
        ("bias", lambda t: t[1:], "weights must be"),
        ("scaler.0.mean", lambda t: t[1:], "scaler must have"),
        ("scaler.0.scale", torch.zeros_like, "scales above 0"),
        ("index", lambda t: t[1:], "index must be"),
        ("probe", lambda t: t[:, 1:], "probe must be"),
        ("ceiling", lambda t: t[1:], "ceiling must be"),
        ("probe", None, "not a whole encoder"),
    ],
)
def test_files_that_do_not_fit_each_other_are_refused(encoder, tmp_path, name, change, error):
    encoder.save(tmp_path / "e")
    path = tmp_path / "e" / "arrays.safetensors"
    arrays = load_file(path)
    if change is None:
        del arrays[name]
    else:
        arrays[name] = change(arrays[name]).contiguous()
    save_file(arrays, path)
    with pytest.raises(ValueError, match=error):
        Encoder.load(tmp_path / "e", module=tiny())


def test_folders_that_hold_no_encoder_are_refused(encoder, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"encoder\.json and arrays\.safetensors missing"):
        Encoder.load(tmp_path)
    encoder.save(tmp_path / "e")
    about = json.loads((tmp_path / "e" / "encoder.json").read_text())
    for text, error in [
        ("{", "damaged"),
        (json.dumps({**about, "format": "something else"}), "must say format"),
        (json.dumps({**about, "readout": {**about["readout"], "kind": "tokens", "class": "os"}}), "'os'; known are"),
        (json.dumps({k: v for k, v in about.items() if k != "network"}), "not a whole encoder"),
        (json.dumps({**about, "network": {"source": "control", "name": "eval"}}), "names the control 'eval'"),
    ]:
        (tmp_path / "e" / "encoder.json").write_text(text)
        with pytest.raises(CorruptFile, match=error):
            Encoder.load(tmp_path / "e", module=tiny())
    (tmp_path / "e" / "arrays.safetensors").write_bytes(b"no safetensors")
    with pytest.raises(CorruptFile, match="damaged"):
        Encoder.load(tmp_path / "e", module=tiny())


@pytest.mark.parametrize(
    ("images", "error"),
    [
        (torch.rand(2, 3, 16, 16) * 255, "Divide by 255"),
        (torch.randn(2, 3, 16, 16), "Do not normalise"),
        (torch.full((1, 3, 16, 16), torch.nan), "from 0 to 1"),
        (torch.zeros(2, 3, 16, 16, dtype=torch.uint8), "got uint8. Divide by 255"),
        (torch.rand(2, 16, 16, 3), "Permute the colours"),
        (torch.rand(3, 16, 16), "must be \\(n, 3, height, width\\)"),
        (np.random.default_rng(0).random((2, 16, 16, 3)), "got float64"),
        (np.zeros((2, 16, 16, 4), np.uint8), "uint8 arrays"),
        (np.zeros((16, 16), np.uint8), "uint8 arrays"),
        ([], "empty"),
        (Stimuli.from_texts(["a dog"]), "takes stimuli of kind image or clip, got text"),
    ],
)
def test_images_of_another_range_or_shape_are_refused(encoder, images, error):
    with pytest.raises(ValueError, match=error):
        encoder(images)


def test_parts_that_do_not_fit_are_refused_before_any_work(encoder):
    source = extractor(pool="spatial:2")
    fitted = RidgeCV().fit(features(source, "maps"), Y)
    with pytest.raises(NotFittedError, match="RidgeCV is not: call its fit"):
        Encoder(source, RidgeCV(), layer="maps")
    with pytest.raises(ShapeMismatch, match="fitted to 24 features, but layer 'head' gives 5"):
        Encoder(source, fitted, layer="head")
    with pytest.raises(ShapeMismatch, match="another layer, pooling, projection"):
        Encoder(source.with_options(pool="mean"), fitted, layer="maps")
    with pytest.raises(ValueError, match="no layer 'map'"):
        Encoder(source, fitted, layer="map")
    with pytest.raises(ValueError, match="layer must be named"):
        Encoder(source, fitted)
    with pytest.raises(ShapeMismatch, match="voxels must describe"):
        Encoder(source, fitted, layer="maps", voxels=[7, 8])
    with pytest.raises(ShapeMismatch, match="mean and a scale for each of the 24"):
        Encoder(source, fitted, layer="maps", scaler=(np.zeros(3), np.ones(3)))
    with pytest.raises(ValueError, match="scaler must name the layers"):
        Encoder(source, fitted, layer="maps", scaler={"mix": (np.zeros(24), np.ones(24))})
    rbf = KernelRidgeCV(kernel="rbf").fit(features(source, "maps"), Y)
    with pytest.raises(ValueError, match="linear weights"):
        Encoder(source, rbf, layer="maps")
    with pytest.raises(TypeError, match="must be an Extractor"):
        Encoder(tiny(), fitted, layer="maps")
    spatial = extractor(pool=None)
    attention = SPATIAL["factorised"].fit(features(spatial, "maps", shaped=True), Y)
    with pytest.raises(ShapeMismatch, match="grid of 4 x 4 and 6 channels, but layer 'maps' gives \\(6, 2, 2\\)"):
        Encoder(source, attention, layer="maps")
    with pytest.raises(ShapeMismatch, match="one row per stimulus"):
        Encoder.fit(PICTURES, Y[:5], extractor=source, layer="maps")


def test_controls_answer_to_pictures_only(tmp_path):
    encoder = Encoder.fit(PICTURES, Y, extractor=PixelStatistics(grid=2, size=16), layer="pixels")
    with pytest.raises(ValueError, match="give uint8"):
        encoder(PIXELS)
    encoder.save(tmp_path / "e")
    np.testing.assert_array_equal(Encoder.load(tmp_path / "e")(PICTURES), encoder(PICTURES))
