from dataclasses import fields, replace

import numpy as np
import pytest
import torch

from neuro.decoders.metrics.identify import correlation_distance, expected_from_category, two_way_identification
from neuro.decoders.metrics.networks import NETWORKS, FeatureReader, load_reader
from neuro.decoders.metrics.pixels import pixcorr, resize_images, ssim
from neuro.decoders.metrics.protocols import PROTOCOLS, ImageProtocol, evaluate_images
from neuro.decoders.metrics.result import results_table
from neuro.errors import MissingWeights, MixedProtocols, ShapeMismatch

pytest.importorskip("skimage", reason="SSIM needs scikit-image: pip install 'neuro[metrics]'")


class Recorder:
    """A small random network that remembers what it was shown."""

    label = "random convolution"

    def __init__(self, seed=0):
        self.weights = torch.randn(6, 3, 5, 5, generator=torch.Generator().manual_seed(seed))
        self.seen = []

    def __call__(self, images):
        self.seen.append(images.clone())
        return torch.nn.functional.adaptive_avg_pool2d(torch.conv2d(images, self.weights).relu(), 4)


@pytest.fixture
def images(rng):
    """Eight smooth pictures of 40 pixels, and noisy reconstructions of 32."""
    true = resize_images(rng.random((8, 3, 6, 6)), 40, "tensor_bilinear")
    recon = np.clip(resize_images(true, 32) + 0.1 * rng.standard_normal((8, 3, 32, 32)), 0, 1)
    return recon.astype(np.float32), true


@pytest.fixture
def networks():
    def make(protocol, seed=0):
        return {use.metric: Recorder(seed) for use in PROTOCOLS[protocol].networks}

    return make


def test_the_table_of_protocols_is_as_published():
    p = PROTOCOLS
    assert set(p) == {"brain_diffuser", "mindeye", "mindeye2", "takagi", "brain_captioning", "phantom"}
    assert [p[n].test_set for n in ("brain_diffuser", "mindeye", "mindeye2", "takagi", "brain_captioning")] == [
        982,
        982,
        1000,
        982,
        982,
    ]
    assert [p[n].ssim for n in ("brain_diffuser", "mindeye", "mindeye2", "takagi")] == [
        "ssim_columnwise",
        "ssim2d",
        "ssim2d",
        None,
    ]
    assert [p[n].pre_resize for n in ("brain_diffuser", "mindeye", "mindeye2")] == [None, 256, 256]
    assert [p[n].pixel_size for n in ("brain_diffuser", "mindeye", "mindeye2")] == [425] * 3
    sizes = {n: {u.metric: u.size for u in p[n].networks} for n in p}
    assert set(sizes["brain_diffuser"].values()) == {224}
    assert sizes["mindeye"] == {
        "alexnet2": 256,
        "alexnet5": 256,
        "inception": 342,
        "clip": 224,
        "effnet": 255,
        "swav": 224,
    }
    assert sizes["mindeye2"] == sizes["mindeye"]
    used = {n: {u.metric: u.network for u in p[n].networks} for n in p}
    assert used["brain_diffuser"]["effnet"] == "effnet_v1"
    assert used["mindeye"]["effnet"] == used["mindeye2"]["effnet"] == "effnet_v2"
    assert used["brain_captioning"]["clip"] == "clip_b32"
    assert used["mindeye"]["clip"] == "clip"
    scores = {u.metric: u.score for u in p["mindeye"].networks}
    assert [m for m, s in scores.items() if s == "distance"] == ["effnet", "swav"]
    assert (p["takagi"].anchor, p["takagi"].ties, p["takagi"].samples) == ("true", "strict", "similarity")
    braincap = p["brain_captioning"]
    assert (braincap.anchor, braincap.ties, braincap.distractors, braincap.similarity, braincap.pixcorr) == (
        "true",
        "win",
        "one",
        "cosine",
        "absolute",
    )
    assert (p["mindeye2"].blend, p["mindeye"].blend) == (0.75, None)
    assert all(u.network in NETWORKS for q in p.values() for u in q.networks)


@pytest.mark.parametrize("name", list(PROTOCOLS))
def test_every_protocol_runs_and_every_number_says_what_it_is(name, images, networks):
    small = replace(PROTOCOLS[name], pixel_size=PROTOCOLS[name].pixel_size and 48)
    scores = evaluate_images(*images, small, networks(name), n_permutations=20)
    assert tuple(scores) == PROTOCOLS[name].metrics
    for result in scores.values():
        assert np.isfinite(result.value)
        assert result.protocol.startswith(name)
        assert result.n == 8
        assert result.chance is not None
        assert result.ci[0] <= result.value <= result.ci[1]
        assert "numpy" in result.versions
    text = str(scores)
    assert all(word in text for word in ("value", "ci_low", "chance", "protocol", *dict.fromkeys(scores)))


def test_networks_see_the_images_as_the_protocol_wants_them(images, networks):
    recon, true = images
    for name, size in (("mindeye", 342), ("brain_diffuser", 224)):
        nets = networks(name)
        evaluate_images(recon, true, name, nets, metrics=["inception"], batch_size=3)
        seen = nets["inception"].seen
        assert [len(x) for x in seen] == [3, 3, 2, 3, 3, 2]
        shown = torch.cat(seen).numpy()
        assert shown.shape == (16, 3, size, size)
        if name == "mindeye":
            small = resize_images(true, 256, "tensor_bilinear", antialias=False)
            expected = resize_images(small, size, "tensor_bilinear", antialias=False)
        else:
            expected = resize_images(true, size, "pil_bilinear")
        np.testing.assert_allclose(shown[:8], expected, atol=1e-6)


def test_metrics_of_a_protocol_are_those_computed_by_hand(images, networks):
    recon, true = images
    scores = evaluate_images(recon, true, "mindeye", networks("mindeye"))
    small = [resize_images(x, 256, antialias=False) for x in (recon, true)]
    how = {"size": 425, "antialias": False}
    assert scores["pixcorr"].value == pytest.approx(pixcorr(*small, **how).value, abs=1e-6)
    assert scores["ssim"].value == pytest.approx(ssim(*small, **how).value, abs=1e-6)
    net = Recorder()
    features = [net(torch.tensor(resize_images(x, 224, antialias=False))).numpy() for x in small]
    assert scores["clip"].value == two_way_identification(*features).value
    assert scores["swav"].value == pytest.approx(correlation_distance(*features).value, abs=1e-5)


def test_the_absolute_pixcorr_and_the_single_distractor_keep_their_names(images, networks):
    scores = evaluate_images(1 - images[0], images[1], "brain_captioning", networks("brain_captioning"))
    assert scores["pixcorr"].metric == "absolute_pixcorr"
    assert scores["pixcorr"].value > 0.5
    assert scores["clip"].chance == pytest.approx(0.5 + 1 / 16)


def test_several_samples_are_averaged_as_the_protocol_says(images, networks, rng):
    recon, true = images
    samples = np.clip(recon[:, None] + 0.3 * rng.standard_normal((8, 4, *recon.shape[1:])), 0, 1).astype(np.float32)
    with pytest.raises(ShapeMismatch, match=r"'mindeye' scores one reconstruction per image, got 4 samples"):
        evaluate_images(samples, true, "mindeye", networks("mindeye"))
    net = Recorder()
    at = {"takagi": 40, "phantom": 40}
    features = [net(torch.tensor(resize_images(x, at["takagi"]))).flatten(1).numpy() for x in samples.swapaxes(0, 1)]
    shown = net(torch.tensor(true)).flatten(1).numpy()
    c = np.mean([np.corrcoef(shown, f)[:8, 8:] for f in features], axis=0)
    own = np.diagonal(c)[:, None]
    takagi = evaluate_images(samples, true, "takagi", networks("takagi"), metrics=["clip"])["clip"]
    np.testing.assert_allclose(takagi.per_item, (c < own).sum(1) / 7, atol=1e-9)
    phantom = evaluate_images(samples, true, "phantom", networks("phantom"))
    singles = [evaluate_images(x, true, "phantom", networks("phantom")) for x in samples.swapaxes(0, 1)]
    for metric in phantom:
        assert phantom[metric].value == pytest.approx(np.mean([s[metric].value for s in singles]), abs=1e-6)
    assert phantom["clip"].details["samples"] == 4


def test_the_blend_is_scored_with_and_without_and_not_in_one_table(images, networks):
    recon, true = images
    blurry = resize_images(resize_images(true, 8), 24)
    with_it = evaluate_images(recon, true, "mindeye2", networks("mindeye2"), blurry=blurry, metrics=["pixcorr"])
    without = evaluate_images(recon, true, "mindeye2", networks("mindeye2"), metrics=["pixcorr"])
    assert with_it["pixcorr"].value > without["pixcorr"].value
    blend = 0.75 * resize_images(recon, 256, antialias=False) + 0.25 * resize_images(blurry, 256, antialias=False)
    by_hand = pixcorr(blend, resize_images(true, 256, antialias=False), size=425, antialias=False)
    assert with_it["pixcorr"].value == pytest.approx(by_hand.value, abs=1e-6)
    with pytest.raises(MixedProtocols, match="without the blurry blend"):
        results_table({"with": with_it, "without": without})
    with pytest.raises(ValueError, match="protocols with a blend"):
        evaluate_images(recon, true, "mindeye", networks("mindeye"), blurry=blurry)


def test_protocols_networks_and_test_sets_do_not_mix_in_one_table(images, networks):
    recon, true = images
    base = evaluate_images(recon, true, "mindeye", networks("mindeye"), metrics=["pixcorr", "clip"])
    assert len(results_table({"a": base, "b": base})) == 4
    mine = networks("mindeye")
    mine["clip"].label = "another network"
    others = [
        evaluate_images(recon, true, "brain_diffuser", networks("brain_diffuser"), metrics=["pixcorr"]),
        evaluate_images(recon, true, "mindeye", mine, metrics=["clip"]),
        evaluate_images(recon[:6], true[:6], "mindeye", networks("mindeye"), metrics=["pixcorr"]),
        evaluate_images(recon, true, replace(PROTOCOLS["mindeye"], antialias=True), metrics=["pixcorr"]),
    ]
    for other in others:
        with pytest.raises(MixedProtocols):
            results_table({"a": base, "b": other})
    assert "antialias=True" in others[-1]["pixcorr"].protocol


def test_a_changed_protocol_names_its_changes():
    published = PROTOCOLS["mindeye2"]
    assert published.label == "mindeye2"
    assert replace(published, blend=None, ties="half").label == "mindeye2 changed: blend=None, ties='half'"
    assert ImageProtocol("mine", "us", None, "none").label == "mine"
    for f in fields(ImageProtocol):
        if f.name == "name":
            continue
        other = {"samples": "metric", "blend": 0.3, "networks": ()}.get(f.name, "other")
        assert f.name in replace(published, **{f.name: other}).label


def test_only_the_published_network_goes_without_a_mention(images):
    recon, true = images
    official = load_reader("phantom_clip")
    named = FeatureReader(official.network, mean=official.mean, std=official.std, size=64, label="a copy")
    own = evaluate_images(recon, true, "phantom", metrics=["clip"])["clip"]
    given = evaluate_images(recon, true, "phantom", {"clip": official}, metrics=["clip"])["clip"]
    other = evaluate_images(recon, true, "phantom", {"clip": named}, metrics=["clip"])["clip"]
    assert own.protocol == given.protocol == "phantom"
    assert other.protocol == "phantom; clip by a copy"
    assert own.value == given.value == other.value


def test_the_phantom_protocol_needs_nothing_but_what_ships(images):
    scores = evaluate_images(*images, "phantom")
    assert set(scores) == {"pixcorr", "ssim", "clip", "clip_distance", "clip_untrained"}
    assert scores["clip"].details["network"].startswith("phantom-clip")
    assert scores["clip_untrained"].details["network"].startswith("phantom-clip, untrained")
    perfect = evaluate_images(images[1], images[1], "phantom")
    assert [perfect[m].value for m in ("pixcorr", "ssim", "clip")] == pytest.approx([1, 1, 1])
    assert perfect["clip_distance"].value == pytest.approx(0, abs=1e-5)


def test_reconstructions_of_other_images_are_at_chance_in_every_metric(rng):
    true = resize_images(rng.random((60, 3, 6, 6)), 32)
    recon = np.clip(true + 0.05 * rng.standard_normal(true.shape), 0, 1).astype(np.float32)
    nets = {m: Recorder() for m in ("clip", "clip_distance", "clip_untrained")}
    right = evaluate_images(recon, true, "phantom", nets)
    order = rng.permutation(60)
    assert (order != np.arange(60)).sum() > 50
    wrong = evaluate_images(recon[order], true, "phantom", nets)
    for metric, r in wrong.items():
        spread = np.std(r.per_item) / np.sqrt(60)
        assert abs(r.value - r.chance) < 4 * spread + 0.01
        assert abs(right[metric].value - right[metric].chance) > 8 * spread


def test_categories_split_identification_within_and_between(images, networks):
    kinds = ["face", "place"] * 4
    scores = evaluate_images(*images, "mindeye", networks("mindeye"), kinds, metrics=["clip", "swav"])
    parts = ("within_category", "between_categories", "expected_from_category")
    assert list(scores) == [
        "clip",
        *(f"clip_{p}" for p in ("between_categories", "within_category", "expected_from_category")),
        "swav",
    ]
    assert all(scores[f"clip_{p}"].protocol == scores["clip"].protocol for p in parts)
    assert expected_from_category(1.0, 2) == 0.75


def test_the_oracle_flag_reaches_every_result(images, networks):
    scores = evaluate_images(*images, "phantom", networks("phantom"), oracle=True)
    assert all(r.oracle for r in scores.values())
    assert "ORACLE" in repr(scores["clip"])


def test_missing_weights_stop_everything_before_anything_is_computed(images, tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(
        "neuro.decoders.metrics.protocols.pixcorr_of_batches", lambda *_a, **_k: pytest.fail("work was begun")
    )
    with pytest.raises(MissingWeights, match=r"no weights for alexnet2.*download\.pytorch\.org"):
        evaluate_images(*images, "mindeye")


def test_inputs_are_checked_in_words_and_left_alone(images, networks):
    recon, true = images
    nets = networks("mindeye")
    before = recon.copy()
    evaluate_images(torch.tensor(recon), torch.tensor(true), "mindeye", nets, metrics=["clip"])
    assert np.array_equal(recon, before)
    nan = recon.copy()
    nan[2] = np.nan
    with pytest.raises(ValueError, match="NaN or infinite pixels"):
        evaluate_images(nan, true, "mindeye", nets)
    with pytest.raises(ShapeMismatch, match="has 1 item, needs at least 2"):
        evaluate_images(recon[:1], true[:1], "mindeye", nets)
    with pytest.raises(ValueError, match="protocol must be"):
        evaluate_images(recon, true, "mindeye3", nets)
    with pytest.raises(ValueError, match="networks must be"):
        evaluate_images(recon, true, "mindeye", {"resnet": Recorder()})
    with pytest.raises(ValueError, match="metrics must be"):
        evaluate_images(recon, true, "takagi", nets, metrics=["ssim"])
    with pytest.raises(ShapeMismatch, match="one category for each"):
        evaluate_images(recon, true, "mindeye", nets, ["face"], metrics=["clip"])
