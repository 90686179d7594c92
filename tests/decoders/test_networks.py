import numpy as np
import pytest
import torch

from neuro.decoders.metrics.networks import (
    NETWORKS,
    FeatureReader,
    load_reader,
    perceptual_distance,
    perceptual_network,
    read_features,
)
from neuro.errors import CorruptFile, MissingWeights, ShapeMismatch, UnknownLayer

IMAGENET = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1), torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)


@pytest.fixture(autouse=True)
def empty_caches(tmp_path, monkeypatch):
    """No weights anywhere, and no network to fetch them from."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", lambda *_args, **_more: None)


@pytest.fixture(scope="module")
def torchvision():
    try:
        import torchvision
    except Exception as error:
        pytest.skip(f"torchvision does not work here: {error}")
    return torchvision


@pytest.fixture
def images():
    return torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))


def hooks(module):
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in module.modules())


@pytest.mark.parametrize("name", [n for n in NETWORKS if n != "phantom_clip"])
def test_missing_weights_name_what_to_download_and_where_to_put_it(name, tmp_path):
    with pytest.raises(MissingWeights) as error:
        load_reader(name)
    text = str(error.value)
    assert NETWORKS[name].url in text
    assert NETWORKS[name].file in text
    assert f"networks={{{name!r}: callable}}" in text
    with pytest.raises(MissingWeights, match="is not there"):
        load_reader(name, weights=tmp_path)


def test_the_two_weights_of_efficientnet_are_different_files():
    assert "bac287d4" in NETWORKS["effnet_v1"].file
    assert "c27df63c" in NETWORKS["effnet_v2"].file


@pytest.mark.parametrize("name", ["alexnet2", "alexnet5", "inception", "effnet_v1", "effnet_v2", "swav"])
def test_urls_and_input_sizes_are_torchvisions_own(torchvision, name):
    spec = NETWORKS[name]
    if name == "swav":
        assert spec.url.endswith(spec.file)
        return
    weights = torchvision.models.get_model_weights(spec.model.partition(":")[2])[spec.weights]
    assert weights.url == spec.url
    preset = weights.transforms()
    assert (preset.crop_size[0], tuple(preset.mean), tuple(preset.std)) == (spec.size, spec.mean, spec.std)


def test_alexnet_layers_are_its_second_and_fifth_convolution_after_relu(torchvision, images):
    second, fifth = (load_reader(name, pretrained=False) for name in ("alexnet2", "alexnet5"))
    with torch.no_grad():
        x = (images - IMAGENET[0]) / IMAGENET[1]
        first_five = second.network.features[:5](x).flatten(1)
        first_twelve = fifth.network.features[:12](x).flatten(1)
    torch.testing.assert_close(second(images), first_five)
    torch.testing.assert_close(fifth(images), first_twelve)
    assert second(images).min() == 0
    convolutions = [type(m).__name__ for m in second.network.features[:12]]
    assert (convolutions[:5].count("Conv2d"), convolutions.count("Conv2d")) == (2, 5)
    assert "untrained" in second.label
    assert second.name is None


def test_weights_are_read_from_a_folder_under_their_published_name(torchvision, images, tmp_path):
    with torch.random.fork_rng():
        torch.manual_seed(3)
        net = torchvision.models.efficientnet_b1(weights=None).eval()
    torch.save(net.state_dict(), tmp_path / NETWORKS["effnet_v2"].file)
    reader = load_reader("effnet_v2", tmp_path)
    with torch.no_grad():
        x = (images - IMAGENET[0]) / IMAGENET[1]
        expected = net.avgpool(net.features(x)).flatten(1)
    torch.testing.assert_close(reader(images), expected, rtol=1e-4, atol=1e-5)
    assert reader.name == "effnet_v2"
    with pytest.raises(MissingWeights, match="bac287d4"):
        load_reader("effnet_v1", tmp_path)
    torch.save({"a": torch.zeros(1)}, tmp_path / NETWORKS["effnet_v1"].file)
    with pytest.raises(CorruptFile, match="tensors missing"):
        load_reader("effnet_v1", tmp_path)


def test_swav_takes_the_trunk_out_of_the_published_checkpoint(torchvision, images, tmp_path):
    with torch.random.fork_rng():
        torch.manual_seed(1)
        net = torchvision.models.resnet50(weights=None).eval()
    state = {f"module.{k}": v for k, v in net.state_dict().items() if not k.startswith("fc.")}
    path = tmp_path / NETWORKS["swav"].file
    torch.save({**state, "module.prototypes.weight": torch.zeros(3, 2)}, path)
    reader = load_reader("swav", tmp_path)
    net.fc = torch.nn.Identity()
    with torch.no_grad():
        expected = net((images - IMAGENET[0]) / IMAGENET[1])
    torch.testing.assert_close(reader(images), expected, rtol=1e-4, atol=1e-4)
    torch.save({k: v for k, v in state.items() if "layer3" not in k}, path)
    with pytest.raises(CorruptFile, match="does not hold SwAV"):
        load_reader("swav", tmp_path)


def test_phantom_clip_and_its_untrained_twin_are_at_hand(images):
    from neuro.features.phantom_clip import load_phantom_clip

    model, _, _ = load_phantom_clip()
    reader, twin = load_reader("phantom_clip"), load_reader("phantom_clip", pretrained=False)
    mean, std = torch.tensor([0.45, 0.45, 0.43]).view(3, 1, 1), torch.tensor([0.24, 0.23, 0.25]).view(3, 1, 1)
    with torch.no_grad():
        expected = model.encode_image((images - mean) / std)
    torch.testing.assert_close(reader(images), expected, rtol=1e-4, atol=1e-5)
    assert reader(images).shape == twin(images).shape == (2, 128)
    assert not torch.allclose(reader(images), twin(images))


def test_no_hook_stays_even_if_the_network_fails(images):
    net = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.ReLU(inplace=True), torch.nn.Flatten())
    reader = FeatureReader(net, "0")
    first, again = reader(images), reader(images)
    torch.testing.assert_close(first, again)
    torch.testing.assert_close(first, net[0](images).flatten(1).detach())
    assert hooks(net) == 0
    with pytest.raises(RuntimeError):
        reader(torch.zeros(2, 5, 8, 8))
    assert hooks(net) == 0


def test_unknown_and_unused_layers_are_named(images):
    net = torch.nn.Sequential(torch.nn.Flatten())
    with pytest.raises(UnknownLayer, match="no layer 'fc'"):
        FeatureReader(net, "fc")
    net.spare = torch.nn.Identity()
    net.forward = lambda x: net[0](x)
    with pytest.raises(UnknownLayer, match="takes no part"):
        FeatureReader(net, "spare")(images)


def test_the_callers_random_state_is_left_alone(torchvision):
    before = torch.get_rng_state()
    load_reader("alexnet2", pretrained=False)
    assert torch.equal(before, torch.get_rng_state())


def test_features_are_checked_batch_by_batch(rng):
    x = rng.random((5, 3, 8, 8)).astype(np.float32)
    batches = [x[:3], x[3:]]
    np.testing.assert_allclose(read_features(lambda b: b.mean((2, 3)), batches), x.mean((2, 3)), atol=1e-6)
    with pytest.raises(ShapeMismatch, match="one row of features per image"):
        read_features(lambda b: b[:1], batches)
    with pytest.raises(ValueError, match="NaN or infinite features"):
        read_features(lambda b: b / 0 * 0, batches)


@pytest.mark.real
def test_a_real_network_is_read_as_its_authors_read_it(real_data):
    timm = pytest.importorskip("timm", reason="needs timm")
    from safetensors.torch import load_file

    net = timm.create_model("mobilenetv2_100", num_classes=1001, pad_type="same").eval()
    net.load_state_dict(load_file(real_data / "mobilenetv2_imagenet" / "mobilenetv2_100_imagenet1001.safetensors"))
    reader = FeatureReader(net, mean=(0.5,) * 3, std=(0.5,) * 3, size=224, label="MobileNetV2")
    logits = reader(torch.full((1, 3, 224, 224), 0.5))
    np.testing.assert_allclose(logits[0, :4].numpy(), [-0.2202, -0.6809, 0.6067, 0.4683], atol=2e-4)
    assert logits.argmax() == 893


def test_lpips_is_zero_for_equal_images_and_grows_with_noise(rng):
    pytest.importorskip("lpips", reason="needs lpips: pip install 'neuro[metrics]'")
    network = perceptual_network("lpips", pretrained=False)
    true = rng.random((3, 3, 48, 48)).astype(np.float32)
    steps = [np.clip(true + s * rng.standard_normal(true.shape), 0, 1).astype(np.float32) for s in (0, 0.1, 0.5)]
    values = [perceptual_distance(x, true, network=network, size=64) for x in steps]
    assert values[0].value == pytest.approx(0, abs=1e-7)
    assert values[1].value < values[2].value
    assert not values[0].higher_is_better
    assert "untrained" in values[0].protocol
    assert values[0].chance > 0


def test_lpips_takes_torchvisions_alexnet(torchvision, rng, tmp_path):
    lpips = pytest.importorskip("lpips", reason="needs lpips: pip install 'neuro[metrics]'")
    with pytest.raises(MissingWeights, match="alexnet-owt-7be5be79"):
        perceptual_network("lpips")
    with torch.random.fork_rng():
        torch.manual_seed(5)
        net = torchvision.models.alexnet(weights=None).eval()
    features = {k: v for k, v in net.state_dict().items() if k.startswith("features")}
    torch.save(features, tmp_path / "alexnet-owt-7be5be79.pth")
    distance = perceptual_network("lpips", tmp_path)
    a, b = (torch.tensor(rng.random((2, 3, 64, 64)), dtype=torch.float32) for _ in range(2))
    maps = []
    shift, scale = torch.tensor([-0.030, -0.088, -0.188]), torch.tensor([0.458, 0.448, 0.450])
    for x in (a, b):
        x, taps = (2 * x - 1 - shift.view(3, 1, 1)) / scale.view(3, 1, 1), []
        with torch.no_grad():
            for i, layer in enumerate(net.features[:12]):
                x = layer(x).clone()
                if i in (1, 4, 7, 9, 11):
                    taps.append(x / (x.norm(dim=1, keepdim=True) + 1e-10))
        maps.append(taps)
    state = torch.load(f"{lpips.__path__[0]}/weights/v0.1/alex.pth", map_location="cpu", weights_only=True)
    expected = sum(
        ((p - q) ** 2 * state[f"lin{i}.model.1.weight"]).sum(1).mean((1, 2))
        for i, (p, q) in enumerate(zip(*maps, strict=True))
    )
    torch.testing.assert_close(distance(a, b), expected, rtol=1e-4, atol=1e-6)


def test_dreamsim_says_what_it_needs_and_takes_a_network(rng):
    x = rng.random((3, 3, 32, 32)).astype(np.float32)
    try:
        import dreamsim  # noqa: F401
    except ImportError:
        with pytest.raises(ModuleNotFoundError, match="pip install dreamsim"):
            perceptual_network("dreamsim")
    else:
        with pytest.raises(MissingWeights, match="dreamsim/releases"):
            perceptual_network("dreamsim")
    result = perceptual_distance(x, x, "dreamsim", network=lambda a, b: (a - b).abs().mean((1, 2, 3)))
    assert result.value == 0
    assert "224x224" in result.protocol
    with pytest.raises(ShapeMismatch, match="one distance per pair"):
        perceptual_distance(x, x, "dreamsim", network=lambda a, b: a - b)
