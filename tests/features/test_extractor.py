"""Extractor: one network, many layers, every choice explicit and recorded."""

import numpy as np
import pytest
import torch

from neuro.data import Stimuli
from neuro.errors import EmptySelection, ShapeMismatch, UnknownLayer, UnknownStimulus
from neuro.features.extractor import Extractor
from neuro.features.pipeline import BadFeatures
from neuro.features.precision import compare_precision, has_amx
from neuro.features.projection import PCA, SparseProjection

SIZE = 16


@pytest.fixture
def extractor(toy):
    return Extractor(toy, preprocess="unit", input_size=SIZE, batch_size=5, device="cpu")


def test_features_are_the_networks_own_activations(toy, extractor, pictures):
    x = extractor.preprocess(list(pictures))
    with torch.no_grad():
        first = torch.nn.functional.conv2d(x, toy.conv1.weight, toy.conv1.bias, 2, 1)
        logits = toy(x)
    found = extractor.extract(pictures, layers=["conv1", "head"], progress=False)
    np.testing.assert_allclose(found.rows("conv1"), first.mean((2, 3)), atol=1e-5)
    np.testing.assert_allclose(found.rows("head"), logits, atol=1e-5)
    assert found.ids.tolist() == list(range(12))
    assert found.layers == {"conv1": (8,), "head": (5,)}


@pytest.mark.parametrize("batch_size", [1, 4, 12, 50])
def test_the_batch_size_does_not_matter(extractor, pictures, batch_size):
    one = extractor.extract(pictures, layers=["mix"], progress=False).rows("mix")
    other = extractor.with_options(batch_size=batch_size).extract(pictures, layers=["mix"], progress=False).rows("mix")
    np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


def test_rows_come_by_id_in_any_order_with_duplicates(extractor, stimuli):
    found = extractor.extract(stimuli, layers=["mix"], progress=False)
    ids = ["im07", "im00", "im07"]
    np.testing.assert_array_equal(found.rows("mix", ids), found.rows("mix")[[7, 0, 7]])
    np.testing.assert_array_equal(found.select(ids[:2])["mix"][:], found["mix"][[7, 0]])
    with pytest.raises(UnknownStimulus, match="did you mean 'im07'"):
        found.rows("mix", ["im77"])
    with pytest.raises(UnknownLayer, match="did you mean 'mix'"):
        found.rows("mux")


def test_features_in_memory_are_read_only_and_reads_are_copies(extractor, pictures):
    found = extractor.extract(pictures, layers=["mix"], progress=False)
    before = found.rows("mix")
    found["mix"][:][:] = 0
    found["mix"][2:4][:] = 0
    found["mix"][3][:] = 0
    np.testing.assert_array_equal(found.rows("mix"), before)
    with pytest.raises(ValueError, match="read-only"):
        found.ids[0] = 3


def test_pooling_can_differ_by_layer(extractor, pictures):
    mixed = extractor.with_options(pool={"conv1": "spatial:2", "body*": None})
    found = mixed.extract(pictures, layers=["conv1", "body", "mix"], progress=False)
    assert found.layers == {"conv1": (8, 2, 2), "body": (12, 4, 4), "mix": (12,)}
    assert found.maps("body").shape == (12, 12, 4, 4)
    np.testing.assert_allclose(found.maps("body").mean((2, 3)), mixed.with_options(pool="mean").extract(
        pictures, layers=["body"], progress=False).rows("body"), atol=1e-5)  # fmt: skip


def test_projection_in_the_pass_is_projection_afterwards(extractor, pictures):
    whole = extractor.with_options(pool=None).extract(pictures, layers=["conv1"], progress=False).rows("conv1")
    small = extractor.with_options(pool=None, project=32).extract(pictures, layers=["conv1", "head"], progress=False)
    np.testing.assert_allclose(small.rows("conv1"), whole @ SparseProjection(32).matrix(512).T, atol=1e-4)
    assert small.layers == {"conv1": (32,), "head": (5,)}
    assert small.manifest["layers"]["conv1"]["spec"]["project"]["seed"] == 0
    assert small.manifest["layers"]["head"]["spec"]["project"] is None


def test_pca_is_fitted_on_training_images_only_and_recorded(extractor, stimuli, pictures):
    train = stimuli.ids[:8]
    pcas = extractor.fit_pca(stimuli, 3, ids=train, layers=["mix"], progress=False)
    assert isinstance(pcas["mix"], PCA)
    assert pcas["mix"].fit_ids.tolist() == train.tolist()
    reduced = extractor.with_options(project=pcas).extract(stimuli, layers=["mix"], progress=False)
    whole = extractor.extract(stimuli, layers=["mix"], progress=False)
    np.testing.assert_allclose(reduced.rows("mix"), pcas["mix"].transform(whole.rows("mix")), atol=1e-5)
    assert reduced.manifest["layers"]["mix"]["spec"]["project"]["fit_images"] == 8
    # Test images leave no trace in the basis.
    changed = pictures.copy()
    changed[8:] = 255 - changed[8:]
    again = extractor.fit_pca(
        Stimuli.from_array(changed, ids=stimuli.ids), 3, ids=train, layers=["mix"], progress=False
    )
    np.testing.assert_array_equal(again["mix"].components, pcas["mix"].components)


def test_clips_are_the_mean_over_their_frames(extractor, pictures):
    clips = pictures.reshape(4, 3, *pictures.shape[1:])
    frames = extractor.extract(pictures, layers=["mix"], progress=False).rows("mix")
    found = extractor.with_options(batch_size=2).extract(clips, layers=["mix"], progress=False)
    np.testing.assert_allclose(found.rows("mix"), frames.reshape(4, 3, -1).mean(1), rtol=1e-5, atol=1e-6)
    assert found.manifest["identity"]["clips"] == "mean over frames"


def test_default_layers_are_the_building_blocks(extractor):
    assert extractor.units == ["conv1", "relu1", "body.0", "body.1", "relu@0", "mix", "relu@1", "head"]
    vit = Extractor(
        "timm:vit_tiny_patch16_224", pretrained=None, input_size=32, model_kwargs={"depth": 2}, device="cpu"
    )
    assert vit.units == ["patch_embed", "blocks.0", "blocks.1", "norm", "head"]


def test_unknown_and_unpoolable_layers_fail_before_any_work(toy, extractor):
    with pytest.raises(UnknownLayer, match="did you mean 'conv1'"):
        extractor.extract(np.zeros((1, 8, 8, 3), np.uint8), layers=["conv_1"])
    with pytest.raises(UnknownLayer, match="no layer asked for"):
        extractor.extract(np.zeros((1, 8, 8, 3), np.uint8), layers=[])
    with pytest.raises(ShapeMismatch, match="no class token"):
        Extractor(toy, preprocess="unit", input_size=SIZE, layers=["conv1"], pool="cls")
    with pytest.raises(EmptySelection):
        extractor.extract(np.zeros((0, 8, 8, 3), np.uint8))


def test_texts_and_floats_are_refused(extractor):
    with pytest.raises(ShapeMismatch, match="takes stimuli of kind image or clip, got text"):
        extractor.extract(Stimuli.from_texts(["a dog"]))
    with pytest.raises(ShapeMismatch, match="uint8"):
        extractor.extract(np.zeros((2, 8, 8, 3)))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"pool": "max"}, "pool must be"),
        ({"project": "pca"}, "project must be"),
        ({"precision": "int8"}, "precision must be"),
        ({"batch_size": 0}, "batch_size must be"),
        ({"dtype": "float64"}, "dtype must be"),
        ({"memory_format": "nhwc"}, "memory_format must be"),
        ({"model_kwargs": {"depth": 3}}, "model_kwargs belong"),
    ],
)
def test_bad_options_are_refused_at_once(toy, options, said):
    with pytest.raises(ValueError, match=said):
        Extractor(toy, preprocess="unit", input_size=SIZE, **options)


@pytest.mark.skipif(torch.cuda.is_available(), reason="has a GPU")
def test_a_gpu_that_is_not_there_is_an_error(toy):
    with pytest.raises(ValueError, match="torch sees no GPU"):
        Extractor(toy, preprocess="unit", input_size=SIZE, device="cuda")


def test_every_choice_is_in_the_manifest(toy, pictures):
    extractor = Extractor(
        toy, preprocess={"size": SIZE, "mean": 0.4, "std": 0.2}, precision="bfloat16", layers=["mix"], device="cpu"
    )
    manifest = extractor.extract(pictures, progress=False).manifest
    identity, info = manifest["identity"], manifest["info"]
    assert identity["precision"] == "bfloat16"
    assert identity["preprocess"]["mean"] == [0.4, 0.4, 0.4]
    assert identity["preprocess"]["resize"] == "torch"
    assert identity["network"]["weights"] == extractor.network.identity["weights"]
    assert identity["features_version"] == 1
    assert info["memory_format"] in ("contiguous", "channels_last")
    assert info["software"]["torch"] == torch.__version__
    assert manifest["layers"]["mix"]["spec"] == {"output": [12, 4, 4], "pool": "mean", "project": None}


@pytest.mark.parametrize("precision", ["bfloat16", "amp"])
def test_reduced_precision_is_close_and_leaves_the_float32_network_alone(extractor, pictures, precision):
    full = extractor.extract(pictures, layers=["body", "head"], progress=False)
    reduced = extractor.with_options(precision=precision).extract(pictures, layers=["body", "head"], progress=False)
    again = extractor.extract(pictures, layers=["body", "head"], progress=False)
    for layer in ("body", "head"):
        np.testing.assert_array_equal(again.rows(layer), full.rows(layer))
        assert not np.array_equal(reduced.rows(layer), full.rows(layer))
        error = np.linalg.norm(reduced.rows(layer) - full.rows(layer)) / np.linalg.norm(full.rows(layer))
        assert error < 0.02
    assert reduced.fingerprint != full.fingerprint


def test_compare_precision_measures_the_change(extractor, pictures):
    table = compare_precision(extractor, pictures, ("float32", "bfloat16"), layers=["body", "head"])
    same, reduced = table[table.precision == "float32"], table[table.precision == "bfloat16"]
    assert (same.relative_error == 0).all()
    np.testing.assert_allclose(same.cosine, 1)
    assert (reduced.relative_error > 0).all()
    assert reduced.set_index("layer").relative_error["body"] < 0.1
    assert reduced.set_index("layer").cosine["body"] > 0.99


def test_auto_precision_is_resolved_and_recorded(toy):
    extractor = Extractor(toy, preprocess="unit", input_size=SIZE, precision="auto", device="cpu")
    assert extractor.identity()["precision"] == ("bfloat16" if has_amx() else "float32")


def test_memory_layout_changes_speed_not_features(extractor, pictures):
    assert extractor.memory_format == "contiguous"
    found = []
    for name in ("contiguous", "channels_last"):
        other = extractor.with_options(memory_format=name)
        features = other.extract(pictures, layers=["mix"], progress=False)
        assert features.manifest["info"]["memory_format"] == name
        assert other._module.conv1.weight.is_contiguous(memory_format=other._layout)
        found.append(features.rows("mix"))
    a, b = found
    np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)


def test_threads_that_read_ahead_change_nothing(extractor, stimuli):
    one = extractor.extract(stimuli, layers=["mix"], progress=False).rows("mix")
    several = extractor.with_options(workers=3, batch_size=2)
    np.testing.assert_allclose(several.extract(stimuli, layers=["mix"], progress=False).rows("mix"), one, rtol=1e-5)


def test_convolutional_networks_run_channels_last(toy):
    assert Extractor("timm:resnet10t", pretrained=None, device="cpu").memory_format == "channels_last"
    assert Extractor("timm:vit_tiny_patch16_224", pretrained=None, device="cpu").memory_format == "contiguous"


def test_numbers_that_cannot_be_stored_are_refused(toy, pictures):
    with torch.no_grad():
        toy.head.bias.fill_(1e6)
    extractor = Extractor(toy, preprocess="unit", input_size=SIZE, dtype="float16", layers=["head"], device="cpu")
    with pytest.raises(BadFeatures, match=r"'head' of Toy reaches 1e\+06 .* float16"):
        extractor.extract(pictures, progress=False)
    with torch.no_grad():
        toy.head.bias.fill_(float("nan"))
    extractor = Extractor(toy, preprocess="unit", input_size=SIZE, layers=["head"], device="cpu")
    with pytest.raises(BadFeatures, match="infinite or undefined"):
        extractor.extract(pictures, progress=False)


def test_sizes_are_announced_before_the_work(extractor, pictures, capsys):
    extractor.extract(pictures, layers=["conv1", "mix"])
    assert "Toy: 12 stimuli x 2 layers: 960 B (float32)" in capsys.readouterr().err
    plan = extractor.with_options(dtype="float16").plan(pictures, ["mix"])
    assert plan.n_bytes == 12 * 12 * 2
    assert plan.shapes == {"mix": (12,)}


def test_more_than_the_memory_is_refused_with_a_way_out(extractor, monkeypatch, pictures):
    import os

    monkeypatch.setattr(os, "sysconf", lambda name: 16)
    with pytest.raises(MemoryError, match="give store=<folder>"):
        extractor.extract(pictures, layers=["mix"])


def test_read_gives_tensors_with_a_gradient(extractor):
    x = torch.randn(2, 3, SIZE, SIZE, requires_grad=True)
    extractor.read(x, ["mix"], grad=True)["mix"].sum().backward()
    assert float(x.grad.abs().sum()) > 0


def test_with_options_refuses_what_it_does_not_know(extractor):
    with pytest.raises(ValueError, match="does not understand \\['pretrained'\\]"):
        extractor.with_options(pretrained=None)


def test_a_corrupt_image_in_a_folder_is_named_and_the_rest_kept(extractor, tmp_path, pictures):
    from PIL import Image

    from neuro.errors import CorruptFile
    from neuro.features.store import FeatureStore

    folder = tmp_path / "images"
    folder.mkdir()
    for i, picture in enumerate(pictures):
        Image.fromarray(picture).save(folder / f"im{i:02d}.png")
    (folder / "im11.png").write_bytes((folder / "im11.png").read_bytes()[:200])
    with pytest.raises(CorruptFile, match=r"im11\.png"):
        extractor.extract(folder, store=tmp_path / "store", layers=["mix"], progress=False)
    kept = FeatureStore.open(tmp_path / "store")
    assert kept.finished("mix").tolist() == [f"im{i:02d}" for i in range(10)]  # two whole batches of five
    Image.fromarray(pictures[11]).save(folder / "im11.png")
    found = extractor.extract(folder, store=tmp_path / "store", layers=["mix"], progress=False)
    expected = extractor.extract(pictures, layers=["mix"], progress=False).rows("mix")
    np.testing.assert_allclose(found.rows("mix"), expected, rtol=1e-5, atol=1e-6)
