"""Networks by name: weights load completely or not at all, and random ones only on request."""

import pickle

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import save_file

from neuro.errors import CorruptFile, DownloadError, UnknownModel
from neuro.features.extractor import Extractor
from neuro.features.models import load_network, load_state_dict


@pytest.fixture(scope="module")
def small():
    """A small timm network with weights of its own."""
    torch.manual_seed(5)
    return timm.create_model("resnet10t", num_classes=3).eval()


@pytest.mark.parametrize("suffix", [".safetensors", ".pth", ".wrapped.pt", ".ddp.pt"])
def test_a_file_of_weights_gives_the_saved_network(small, tmp_path, suffix):
    state = {k: v.contiguous() for k, v in small.state_dict().items()}
    path = tmp_path / f"weights{suffix}"
    if suffix == ".safetensors":
        save_file(state, path)
    elif suffix == ".wrapped.pt":
        torch.save({"state_dict": state, "epoch": 3}, path)
    elif suffix == ".ddp.pt":
        torch.save({f"module.{k}": v for k, v in state.items()}, path)
    else:
        torch.save(state, path)
    network = load_network("timm:resnet10t", pretrained=path, model_kwargs={"num_classes": 3})
    x = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(network.module(x), small(x), rtol=0, atol=0)
    assert network.trained
    assert path.name in network.weights


def test_weights_of_another_shape_are_refused(small, tmp_path):
    save_file({k: v.contiguous() for k, v in small.state_dict().items()}, tmp_path / "w.safetensors")
    with pytest.raises(CorruptFile, match="2 of another shape") as error:
        load_network("timm:resnet10t", pretrained=tmp_path / "w.safetensors")
    assert "fc.weight is (3, 512) in the file, (1000, 512) in the network" in str(error.value)


def test_weights_with_missing_tensors_are_refused(small, tmp_path):
    state = {k: v.contiguous() for k, v in small.state_dict().items() if not k.startswith("fc")}
    save_file(state, tmp_path / "w.safetensors")
    with pytest.raises(CorruptFile, match=r"2 tensors missing \(first fc.bias\)"):
        load_network("timm:resnet10t", pretrained=tmp_path / "w.safetensors", model_kwargs={"num_classes": 3})


class _Opens:
    def __reduce__(self):
        return (open, ("pickle-was-executed", "w"))


def test_pickles_with_code_are_refused_and_not_executed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "raw.pth").write_bytes(pickle.dumps({"fc.weight": _Opens()}))
    torch.save({"fc.weight": _Opens()}, tmp_path / "zip.pth")
    (tmp_path / "noise.safetensors").write_bytes(b"\x80\x04 not tensors at all")
    for name in ("raw.pth", "zip.pth", "noise.safetensors"):
        with pytest.raises(CorruptFile):
            load_network("timm:resnet10t", pretrained=tmp_path / name)
    assert not (tmp_path / "pickle-was-executed").exists()


def test_a_missing_file_of_weights_is_named(tmp_path):
    for name in ("timm:resnet10t", "open_clip:ViT-B-32", "torchvision:alexnet"):
        with pytest.raises(FileNotFoundError, match="no file of weights at"):
            load_network(name, pretrained=str(tmp_path / "absent.safetensors"))
    with pytest.raises(FileNotFoundError):
        load_state_dict(tmp_path / "absent.pt")


def test_untrained_networks_follow_their_seed_and_leave_torchs_own_alone():
    torch.manual_seed(11)
    expected = torch.randn(3)
    torch.manual_seed(11)
    nets = [load_network("timm:resnet10t", pretrained=None, seed=s) for s in (0, 0, 1)]
    assert torch.equal(torch.randn(3), expected)
    prints = [n.identity["weights"] for n in nets]
    assert prints[0] == prints[1] != prints[2]
    assert not nets[0].trained
    assert nets[0].weights == "untrained, seed 0"


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("timm:resnet5", "did you mean 'resnet5"),
        ("timm:resnet50.a9_in1k", "resnet50 comes with"),
        ("open_clip:ViT-B-33", "did you mean 'ViT-B-32'"),
        ("torchvision:resnet5", "did you mean 'resnet50'"),
        ("tim:resnet50", "no library 'tim'; did you mean 'timm'"),
        ("resnet50", "did you mean 'timm:resnet50'"),
        ("phantomclip", "phantom-clip"),
    ],
)
def test_unknown_networks_name_the_nearest(name, said):
    with pytest.raises(UnknownModel, match=said):
        load_network(name, pretrained=None)


def test_open_clip_must_be_told_its_weights():
    with pytest.raises(ValueError, match=r"needs pretrained=: one of .*'openai'"):
        load_network("open_clip:ViT-B-32")
    with pytest.raises(UnknownModel, match=r"no weights 'openia'; did you mean 'openai'"):
        load_network("open_clip:ViT-B-32", pretrained="openia")


def test_weights_trained_with_quickgelu_run_with_quickgelu(monkeypatch):
    import open_clip

    asked = {}

    def create(name, **options):
        asked.update(options)
        raise RuntimeError("enough")

    monkeypatch.setattr(open_clip, "create_model", create)
    for tag, expected in (("openai", True), ("laion2b_s34b_b79k", None)):
        asked.clear()
        with pytest.raises(RuntimeError, match="enough"):
            load_network("open_clip:ViT-B-32", pretrained=tag)
        assert asked.get("force_quick_gelu") is expected
        assert asked["require_pretrained"] is True


def test_a_failed_download_says_what_to_do(monkeypatch):
    import open_clip.factory

    def fail(*_, **__):
        raise OSError("Connection refused")

    monkeypatch.setattr(open_clip.factory, "download_pretrained", fail)
    with pytest.raises(DownloadError, match="pretrained=None for an untrained network"):
        load_network("open_clip:ViT-B-32", pretrained="laion2b_s34b_b79k")


def test_open_clip_weights_from_a_file_and_preprocessing_from_the_model(tmp_path):
    import open_clip

    torch.manual_seed(3)
    whole = open_clip.create_model("ViT-S-32-alt").eval()
    save_file({k: v.contiguous() for k, v in whole.state_dict().items()}, tmp_path / "clip.safetensors")
    network = load_network("open_clip:ViT-S-32-alt", pretrained=tmp_path / "clip.safetensors")
    x = torch.randn(1, 3, 224, 224)
    with torch.no_grad():
        torch.testing.assert_close(network.module(x), whole.encode_image(x))
    assert network.preprocess.mean == open_clip.OPENAI_DATASET_MEAN
    assert network.preprocess.size == (224, 224)
    with pytest.raises(CorruptFile):
        load_network("open_clip:ViT-S-32", pretrained=tmp_path / "clip.safetensors")


def test_libraries_own_preprocessing_is_taken():
    vit = load_network("timm:vit_tiny_patch16_224", pretrained=None).preprocess
    assert (vit.mean, vit.interpolation, vit.resize_to) == ((0.5, 0.5, 0.5), "bicubic", (248, 248))
    alexnet = load_network("torchvision:alexnet", pretrained=None).preprocess
    assert (alexnet.size, alexnet.resize_to, alexnet.interpolation) == ((224, 224), (256, 256), "bilinear")
    other = load_network("timm:vit_tiny_patch16_224", pretrained=None, model_kwargs={"img_size": 96}).preprocess
    assert other.size == (96, 96)


def test_phantom_clip_and_its_untrained_twin_differ_in_weights_only(pictures):
    from PIL import Image

    from neuro.features.phantom_clip import load_phantom_clip

    model, transform, _ = load_phantom_clip()
    trained = Extractor("phantom-clip", layers=["output"], preprocess={"resize": "pil"}, device="cpu")
    with torch.no_grad():
        expected = model.encode_image(torch.stack([transform(Image.fromarray(p)) for p in pictures]))
    np.testing.assert_allclose(trained.extract(pictures, progress=False).rows("output"), expected, rtol=1e-3, atol=1e-3)
    twin = Extractor("phantom-clip", pretrained=None, seed=3, device="cpu")
    assert (twin.network.trained, twin.network.weights) == (False, "untrained, seed 3")
    assert dict(twin.layers) == dict(trained.layers)
    differing = {k for k, v in twin.network.identity.items() if trained.network.identity[k] != v}
    assert differing == {"weights"}
    with pytest.raises(ValueError, match="pretrained=True or None"):
        load_network("phantom-clip", pretrained="laion")


def test_a_users_module_is_copied(make_toy):
    mine = make_toy().train()
    network = load_network(mine)
    assert mine.training
    assert not network.module.training
    before = network.identity["weights"]
    with torch.no_grad():
        mine.head.weight.add_(1)
    assert load_network(mine).identity["weights"] != before
    assert network.identity["weights"] == before


def test_modules_without_values_are_refused(toy):
    with pytest.raises(ValueError, match="meta device"):
        load_network(toy.to("meta"))


@pytest.mark.real
def test_the_real_mobilenet_gives_its_known_answers(real_data):
    folder = real_data / "mobilenetv2_imagenet"
    extractor = Extractor(
        "timm:mobilenetv2_100",
        pretrained=folder / "mobilenetv2_100_imagenet1001.safetensors",
        model_kwargs={"num_classes": 1001, "pad_type": "same"},
        preprocess={
            "mean": 0.5,
            "std": 0.5,
            "interpolation": "bicubic",
            "fit": "squash",
            "crop_pct": 1.0,
            "resize": "pil",
        },
        layers=["blocks.4", "global_pool", "output"],
        device="cpu",
    )
    assert extractor.layers["blocks.4"] == (96, 14, 14)
    zero = extractor.read(torch.zeros(1, 3, 224, 224))["output"][0]
    np.testing.assert_allclose(zero[:4], [-0.2202, -0.6809, 0.6067, 0.4683], atol=1e-3)
    assert int(zero.argmax()) == 893

    picture = Image.open(real_data / "natural_images" / "kodak24" / "23.png").convert("RGB")
    side = min(picture.size)
    left, top = (picture.width - side) // 2, (picture.height - side) // 2
    square = np.asarray(picture.crop((left, top, left + side, top + side)))
    assert float(extractor.preprocess([square]).mean()) == pytest.approx(-0.1014, abs=1e-3)
    features = extractor.extract(square[None], progress=False)
    pooled, logits = features.rows("global_pool")[0], features.rows("output")[0]
    assert pooled.mean() == pytest.approx(0.1919, abs=1e-3)
    assert pooled.std() == pytest.approx(0.4045, abs=1e-3)
    assert int(logits.argmax()) == 89
    assert logits.max() == pytest.approx(9.120, abs=5e-3)
    assert float(torch.softmax(torch.tensor(logits), 0)[89]) == pytest.approx(0.870, abs=2e-3)

    fast = extractor.with_options(preprocess={"resize": "torch"})
    assert fast.extract(square[None], progress=False).rows("output").max() == pytest.approx(9.120, abs=0.05)
