"""Recipes over ridge decoders: published settings, planted truth, and what reaches the generator."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.linear_model import Ridge as SklearnRidge

from neuro.data import Responses, Voxels
from neuro.decoders.decoded import Decoded
from neuro.decoders.generators.base import Generator
from neuro.decoders.recipes.brain_captioning import brain_captioning
from neuro.decoders.recipes.brain_diffuser import RegionNorms, brain_diffuser, region_conditions
from neuro.decoders.recipes.kamitani import VGG19_LAYERS, Inversion, fit_pictures, kamitani
from neuro.decoders.recipes.takagi import FEATURE_GRID, LATENT_GRID, MODES, STREAMS, takagi_nishimoto
from neuro.errors import EmptySelection, ShapeMismatch, SplitLeakage, UnknownROI


class Recorder(Generator):
    """A generator that notes what it was asked for."""

    size = (4, 4)

    def generate(self, condition, init=None, **settings):
        self.condition, self.settings = dict(condition), settings
        return super().generate(condition, init, **settings)

    def _draw(self, condition, init, count, steps, guidance, generators):
        self.count = count
        return torch.zeros(len(generators), 3, 4, 4)


SHAPES = {
    "low_level": (2, 4, 4),
    "depth_low_level": (2, 4, 4),
    "image_tokens": (3, 6),
    "text_tokens": (4, 6),
    "caption_states": (3, 6),
    "structure": (10,),
    "depth_states": (2, 3, 4),
}


@pytest.fixture
def study(rng):
    """80 training and 10 test images, 60 voxels, targets that are linear in the responses of some region."""
    X = rng.standard_normal((90, 60))
    source = {"low_level": slice(0, 30), "text_tokens": slice(30, 40)}
    targets = {}
    for name, shape in SHAPES.items():
        seen = X[:, source.get(name, slice(None))]
        flat = seen @ rng.standard_normal((seen.shape[1], int(np.prod(shape)))) + 2
        targets[name] = flat.reshape(90, *shape)
    rois = {name: np.isin(np.arange(60) // 10, part) for name, part in (("early", [0, 1, 2]), ("ventral", [3]))}
    rois |= {name: np.arange(60) // 10 == 4 for name in STREAMS if name not in rois}
    return X[:80], {k: v[:80] for k, v in targets.items()}, X[80:], {k: v[80:] for k, v in targets.items()}, rois


def systems(preset="phantom"):
    yield brain_diffuser(preset)
    yield brain_captioning(preset)
    yield kamitani(preset)
    for mode in MODES:
        yield takagi_nishimoto(preset, mode)


# Published settings


def test_brain_diffuser_has_the_published_penalties_and_generation():
    system = brain_diffuser("nsd")
    latents, tokens = system.parts
    assert latents.decoder.alpha == 5e4
    assert tokens.decoder.alpha == {"image_tokens": 6e4, "text_tokens": 1e5}
    assert latents.decoder.standardize
    assert tokens.decoder.standardize
    g = system.generation
    assert (g.steps, g.guidance, g.strength, g.init) == (50, 7.5, 0.75, "low_level")
    assert g.mixing == {"image_tokens": 0.6, "text_tokens": 0.4}
    assert latents.decoder.rescaling == "none"
    assert brain_diffuser("nsd", rescaling="transductive").parts[0].decoder.rescaling == "transductive"


def test_takagi_nishimoto_decodes_latents_from_early_and_text_from_ventral_cortex():
    system = takagi_nishimoto("nsd")
    found = {part.targets: (part.roi, part.decoder.alpha) for part in system.parts}
    assert found == {("low_level",): ("early", LATENT_GRID), ("text_tokens",): ("ventral", LATENT_GRID)}
    depth = takagi_nishimoto("nsd", "depth")
    assert [part.roi for part in depth.parts] == ["early", STREAMS, STREAMS]
    assert depth.parts[2].decoder.alpha == FEATURE_GRID == (1e4, 2e4, 4e4)
    g = system.generation
    assert (g.steps, g.guidance, g.strength, g.n) == (50, 5.0, 0.8, 5)
    assert takagi_nishimoto("nsd", "text").generation.condition == ("prompt",)


def test_brain_captioning_has_the_published_penalty_and_three_controls():
    system = brain_captioning("nsd")
    assert system.parts[0].decoder.alpha == 6e4
    g = system.generation
    assert (g.steps, g.guidance) == (30, 9.0)
    assert dict(g.mixing) == {"depth": 0.7, "instruct-pix2pix": 0.2, "shuffle": 0.5}


def test_kamitani_has_500_voxels_and_19_layers():
    decoder = kamitani("nsd").parts[0].decoder
    assert (decoder.n_select, decoder.alpha) == (500, 100.0)
    assert (len(VGG19_LAYERS), VGG19_LAYERS[0], VGG19_LAYERS[15], VGG19_LAYERS[-1]) == (19, "conv1_1", "conv5_4", "fc8")
    assert Inversion().learning_rate[0] == 2.0
    assert (Inversion().steps, Inversion().momentum, Inversion().decay) == (200, 0.9, 0.01)


# Fitting and decoding


@pytest.mark.parametrize("system", list(systems()), ids=lambda s: f"{s.name}:{'+'.join(s.targets)}")
def test_every_recipe_decodes_planted_features(study, system):
    X, targets, X_new, truth, rois = study
    wanted = {name: targets[name] for name in system.targets or targets}
    decoded = system.fit(X, wanted, ids=np.arange(80), rois=rois).decode(X_new, ids=np.arange(80, 90), rois=rois)
    assert set(decoded) == set(wanted)
    for name in wanted:
        assert decoded[name].shape == truth[name].shape
        assert np.corrcoef(decoded[name].ravel(), truth[name].ravel())[0, 1] > 0.2
    assert decoded.provenance["system"] == system.name
    assert decoded.provenance["rescaling"] == "none"
    with pytest.raises(SplitLeakage):
        system.decode(X_new, ids=np.arange(75, 85), rois=rois)


@pytest.mark.parametrize("system", list(systems()), ids=lambda s: f"{s.name}:{'+'.join(s.targets)}")
def test_no_recipe_lets_test_items_see_one_another(study, system):
    X, targets, X_new, _, rois = study
    system.fit(X, {name: targets[name] for name in system.targets or targets}, rois=rois)
    few, more = (system.decode(X_new[:k], rois=rois) for k in (4, 10))
    for name in few:
        np.testing.assert_allclose(few[name], more[name][:4], rtol=1e-8, atol=1e-8)


def test_a_part_reads_its_region_only(study):
    X, targets, X_new, _, rois = study
    wanted = {name: targets[name] for name in MODES["latents"]}
    decoded = takagi_nishimoto("phantom").fit(X, wanted, rois=rois).decode(X_new, rois=rois)
    blind = X_new.copy()
    blind[:, rois["ventral"]] = 0
    other = takagi_nishimoto("phantom").fit(X, wanted, rois=rois).decode(blind, rois=rois)
    np.testing.assert_array_equal(decoded["low_level"], other["low_level"])
    assert not np.allclose(decoded["text_tokens"], other["text_tokens"])


def test_responses_bring_their_own_regions(study):
    X, targets, X_new, _, rois = study
    table = pd.DataFrame({"streams": np.where(rois["early"], "early", np.where(rois["ventral"], "ventral", ""))})
    voxels = Voxels(60, atlases={"streams": table["streams"].to_numpy()})
    train = Responses(X, pd.DataFrame({"stimulus": np.arange(80)}), voxels)
    test = Responses(X_new, pd.DataFrame({"stimulus": np.arange(80, 90)}), voxels)
    wanted = {name: targets[name] for name in MODES["latents"]}
    ours = takagi_nishimoto("phantom").fit(train, wanted).decode(test)
    by_mask = takagi_nishimoto("phantom").fit(X, wanted, rois=rois).decode(X_new, rois=rois)
    np.testing.assert_array_equal(ours.ids, np.arange(80, 90))
    np.testing.assert_allclose(ours["text_tokens"], by_mask["text_tokens"], rtol=1e-3, atol=1e-3)


def test_missing_targets_and_regions_are_named(study):
    X, targets, X_new, _, _ = study
    with pytest.raises(EmptySelection, match="'text_tokens' is missing"):
        brain_diffuser("phantom").fit(X, {k: targets[k] for k in ("low_level", "image_tokens")})
    with pytest.raises(UnknownROI, match="region 'early' is needed"):
        takagi_nishimoto("phantom").fit(X, targets)
    with pytest.raises(ValueError, match="preset must be 'nsd' or 'phantom'"):
        brain_captioning("small")
    with pytest.raises(ValueError, match="not fitted yet"):
        kamitani("phantom").decode(X_new)


# Generation


def test_generators_get_the_published_settings(study):
    X, targets, X_new, _, rois = study
    system = takagi_nishimoto("nsd", device="cpu")
    system.parts = takagi_nishimoto("phantom").parts
    decoded = system.fit(X, {k: targets[k] for k in MODES["latents"]}, rois=rois).decode(X_new, rois=rois)
    generator = Recorder()
    pictures = system.reconstruct(generator, decoded, seed=3)
    assert pictures.shape == (10, 5, 3, 4, 4)
    assert generator.count == 40
    assert generator.settings["guidance"] == 5.0
    assert generator.settings["seed"] == 3
    assert generator.settings["ids"] == list(range(10))
    assert set(generator.condition) == {"low_level", "text_tokens"}
    assert system.reconstruct(generator, decoded, steps=10, n=2).shape == (10, 2, 3, 4, 4)
    assert generator.count == 8


def test_what_is_made_of_decoded_features_is_given_as_condition(study):
    decoded = Decoded({"image_tokens": np.zeros((2, 3, 6))}, [4, 5])
    system, generator = brain_captioning("nsd"), Recorder()
    controls = {name: np.zeros((2, 4, 4)) for name in system.generation.mixing}
    with pytest.raises(EmptySelection, match="'prompt' was neither decoded nor given"):
        system.reconstruct(generator, decoded, controls)
    system.reconstruct(generator, decoded, {"prompt": ["a dog", "a cat"], **controls})
    assert generator.condition["prompt"] == ["a dog", "a cat"]
    with pytest.raises(ValueError, match="has no pipeline"):
        kamitani("phantom").reconstruct(generator, decoded)


def test_captions_are_written_from_decoded_tokens():
    class Captioner:
        def caption(self, tokens, **settings):
            return [f"{tokens.shape[1:]} {settings['max_new_tokens']}" for _ in tokens]

    system = brain_captioning("phantom")
    decoded = Decoded({"image_tokens": np.zeros((2, 3, 6))}, [4, 5])
    assert system.caption(Captioner(), decoded) == ["(3, 6) 25"] * 2
    with pytest.raises(EmptySelection, match="written from image_tokens"):
        system.caption(Captioner(), Decoded({"low_level": np.zeros((2, 3))}, [4, 5]))


# Pictures of regions (Brain-Diffuser)


@pytest.fixture
def fitted_diffuser(study):
    X, targets, *_ = study
    system = brain_diffuser("phantom")
    return system.fit(X, {name: targets[name] for name in system.targets}), study


def test_region_patterns_pass_through_the_weights(fitted_diffuser):
    system, (X, targets, _, _, rois) = fitted_diffuser
    chosen = {name: rois[name] for name in ("early", "ventral")}
    conditions = region_conditions(system, chosen)
    np.testing.assert_array_equal(conditions.ids, ["early", "ventral"])
    Z = (X - X.mean(0)) / X.std(0, ddof=1)
    norms = RegionNorms()
    for name, length in (("image_tokens", norms.image_tokens), ("text_tokens", norms.text_tokens)):
        Y = targets[name].reshape(80, -1)
        change = np.stack([mask.astype(float) for mask in chosen.values()]) @ SklearnRidge(alpha=3e2).fit(Z, Y).coef_.T
        change = change.reshape(2, *targets[name].shape[1:])
        change *= length / np.linalg.norm(change, axis=-1, keepdims=True)
        np.testing.assert_allclose(conditions[name], change + targets[name].mean(0), rtol=1e-3, atol=1e-3)
    lengths = np.linalg.norm((conditions["low_level"] - targets["low_level"].mean(0)).reshape(2, -1), axis=1)
    np.testing.assert_allclose(lengths, norms.low_level_again, rtol=1e-5)


def test_latents_standardised_across_regions_depend_on_which_were_asked_for(fitted_diffuser):
    system, (_, _, _, _, rois) = fitted_diffuser
    two = {name: rois[name] for name in ("early", "ventral")}
    three = {**two, "lateral": rois["lateral"]}
    each = [region_conditions(system, chosen).select(["early"]) for chosen in (two, three)]
    across = [region_conditions(system, chosen, low_level="across").select(["early"]) for chosen in (two, three)]
    np.testing.assert_allclose(each[0]["low_level"], each[1]["low_level"], rtol=1e-6)
    assert not np.allclose(across[0]["low_level"], across[1]["low_level"])
    np.testing.assert_allclose(across[0]["image_tokens"], across[1]["image_tokens"], rtol=1e-6)
    with pytest.raises(ValueError, match="at least two"):
        region_conditions(system, {"early": rois["early"]}, low_level="across")
    with pytest.raises(ShapeMismatch, match="boolean mask with some voxels"):
        region_conditions(system, {"none": np.zeros(60, bool)})


# Pictures fitted to decoded features (Kamitani)


def toy_networks():
    g = torch.Generator().manual_seed(0)
    draw, look = torch.rand(12, 3 * 8 * 8, generator=g), torch.randn(192, 30, generator=g) / 14

    def generator(z):
        return torch.sigmoid(z @ draw - 2).reshape(-1, 3, 8, 8)

    def features(pictures):
        flat = pictures.flatten(1) @ look
        return {"one": flat[:, :20].reshape(-1, 4, 5), "two": 100 * torch.tanh(flat[:, 20:])}

    return generator, features


def test_descent_finds_a_picture_with_the_decoded_features():
    generator, features = toy_networks()
    z = torch.rand(3, 12, generator=torch.Generator().manual_seed(5))
    truth = generator(z)
    decoded = Decoded({k: v.numpy() for k, v in features(truth).items()}, ["a", "b", "c"])
    settings = Inversion(steps=150, learning_rate=(0.05, 1e-4), n_latents=12, decay=0.0)
    pictures, losses = fit_pictures(decoded, features, generator, settings=settings)
    start = fit_pictures(
        decoded, features, generator, settings=Inversion(steps=1, learning_rate=(0.0, 0.0), n_latents=12)
    )
    assert pictures.shape == (3, 3, 8, 8)
    assert np.all(losses < 0.05 * start[1])
    assert np.abs(pictures - truth.numpy()).mean() < 0.5 * np.abs(start[0] - truth.numpy()).mean()
    alone, _ = fit_pictures(decoded.select(["c"]), features, generator, settings=settings)
    np.testing.assert_array_equal(alone[0], pictures[2])


def test_every_layer_weighs_alike_whatever_its_scale():
    generator, features = toy_networks()
    wanted = {"one": np.ones((1, 4, 5)), "two": np.full((1, 10), 100.0)}
    _, losses = fit_pictures(
        wanted,
        lambda p: {k: 0 * v for k, v in features(p).items()},
        generator,
        settings=Inversion(steps=1, n_latents=12),
    )
    assert losses[0] == pytest.approx(1.0)
    with pytest.raises(ShapeMismatch, match="features must return 'two'"):
        fit_pictures(wanted, lambda p: {"one": features(p)["one"]}, generator, settings=Inversion(n_latents=12))
