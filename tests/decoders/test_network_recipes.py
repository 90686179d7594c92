"""Published systems as networks: sizes, outputs, what is silent at the start, and what belongs to one subject."""

from __future__ import annotations

import json
import time

import numpy as np
import pytest
import torch

from neuro.decoders._blocks import count_parameters
from neuro.decoders._control import ControlledUNet, control_copy
from neuro.decoders.recipes.mindbridge import (
    cycle_loss,
    mindbridge_network,
    mindbridge_recipe,
    reconstruction_loss,
    reset_tuning_parameters,
)
from neuro.decoders.recipes.mindeye import (
    mindeye_low_level_network,
    mindeye_low_level_recipe,
    mindeye_network,
    mindeye_recipe,
)
from neuro.decoders.recipes.mindeye2 import mindeye2_network, mindeye2_recipe
from neuro.decoders.recipes.neuropictor import neuropictor_network, neuropictor_recipe, swap_regions
from neuro.decoders.recipes.see_through import see_through_network, see_through_recipe
from neuro.decoders.recipes.settings import LOSS_KINDS, DecoderRecipe, LossTerm
from neuro.errors import EmptySelection, MissingWeights, ShapeMismatch, UnknownSubject

diffusers = pytest.importorskip("diffusers", reason="low-level heads need diffusers: pip install 'neuro[decode]'")

SUBJECT_1 = {1: 15_724}  # voxels of NSD's subject 1 in nsdgeneral
FOUR = {1: 15_724, 2: 14_278, 5: 13_039, 7: 12_682}
PEOPLE = {1: 60, 2: 45}

RECIPES = {
    "mindeye": mindeye_recipe,
    "mindeye_low_level": mindeye_low_level_recipe,
    "mindeye2": mindeye2_recipe,
    "see_through": see_through_recipe,
    "mindbridge": mindbridge_recipe,
    "neuropictor": neuropictor_recipe,
}
TOKENS, TEXT, LATENTS = (3, 5, 128), (3, 32, 128), (3, 8, 16, 16)
OUTPUTS = {
    "mindeye": {"prior_tokens": TOKENS, "contrastive_tokens": TOKENS},
    "mindeye_low_level": {"low_level": LATENTS},
    "mindeye2": {"prior_tokens": TOKENS, "contrastive_tokens": TOKENS, "low_level": LATENTS},
    "see_through": {
        "prior_tokens": TOKENS,
        "contrastive_tokens": TOKENS,
        "contrastive_cls": (3, 128),
        "low_level": LATENTS,
    },
    "mindbridge": {"embedding": (3, 256), "image_tokens": TOKENS, "text_tokens": TEXT},
    "neuropictor": {"brain_tokens": (3, 65, 128), "text_tokens": TEXT, "control": (3, 64, 16, 16)},
}


@pytest.fixture
def draw():
    return torch.Generator().manual_seed(0)


def on_meta(network, *arguments, **sizes):
    with torch.device("meta"):
        return network(*arguments, **sizes)


# published sizes


@pytest.mark.parametrize(
    ("network", "sizes", "count"),
    [
        (mindeye_network, {}, 947_579_904),
        (mindeye_network, {"n_tokens": 1}, 142_076_928),
        (mindeye2_network, {"low_level": False}, 1_887_861_400 + 64_409_600),
        (mindeye2_network, {}, 1_903_020_028 + 64_409_600),
        (mindeye2_network, {"low_level": False, "width": 1024}, 453_360_280 + 16_102_400),
    ],
)
def test_networks_of_subject_1_have_the_published_number_of_weights(network, sizes, count):
    assert count_parameters(on_meta(network, SUBJECT_1, **sizes)) == count


def test_mindbridge_of_four_subjects_has_the_published_number_of_weights():
    assert count_parameters(on_meta(mindbridge_network, FOUR)) == 693_579_264


@pytest.mark.parametrize("name", RECIPES)
def test_published_presets_are_built_without_memory_in_a_moment(name):
    recipe = RECIPES[name]("nsd")
    on_meta(recipe.network, FOUR)  # imports
    start = time.perf_counter()
    network = on_meta(recipe.network, FOUR)
    assert time.perf_counter() - start < 2
    assert all(weight.is_meta for weight in network.parameters())
    assert network.n_voxels == {str(s): n for s, n in FOUR.items()}


# every recipe


@pytest.mark.parametrize("name", RECIPES)
def test_small_networks_return_what_they_document(name, draw):
    network = RECIPES[name]("phantom").network(PEOPLE, draw)
    out = network(torch.randn(3, 45, generator=draw), subject=2)
    assert {k: tuple(v.shape) for k, v in out.items()} == OUTPUTS[name]
    assert all(torch.isfinite(v).all() for v in out.values())


@pytest.mark.parametrize("name", RECIPES)
@pytest.mark.parametrize("preset", ["nsd", "phantom"])
def test_losses_prior_and_decoded_arrays_name_outputs_that_exist(name, preset):
    recipe = RECIPES[name](preset)
    assert recipe.name == name
    outputs = on_meta(lambda: recipe.network(PEOPLE)(torch.empty(2, 60), 1))
    for term in recipe.losses:
        assert term.kind in LOSS_KINDS
        assert term.kind == "own" or term.output in outputs
    decoded = set(recipe.decoded.values()) - {"prior"}
    assert decoded <= set(outputs)
    assert ("prior" in recipe.decoded.values()) == (recipe.prior is not None)
    if recipe.prior is not None:
        assert recipe.prior["output"] in outputs
    json.dumps(recipe.describe())


@pytest.mark.parametrize("name", RECIPES)
def test_weights_come_from_the_given_generator_alone(name):
    build = RECIPES[name]("phantom").network
    state = torch.get_rng_state()
    one, two = (build(PEOPLE, torch.Generator().manual_seed(1)).state_dict() for _ in range(2))
    other = build(PEOPLE, torch.Generator().manual_seed(2)).state_dict()
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(one[k], two[k]) for k in one)
    assert any(not torch.equal(one[k], other[k]) for k in one)


@pytest.mark.parametrize("name", RECIPES)
def test_a_new_subject_leaves_weights_and_outputs_of_others_bit_equal(name, draw):
    network = RECIPES[name]("phantom").network(PEOPLE, draw).eval()
    x = torch.randn(3, 60, generator=draw)
    before, y = {k: v.clone() for k, v in network.state_dict().items()}, network(x, 1)
    network.add_subject("new", 30)
    after = network.state_dict()
    assert all(torch.equal(after[k], v) for k, v in before.items())
    assert all(torch.equal(a, y[k]) for k, a in network(x, 1).items())
    assert network(torch.randn(2, 30, generator=draw), "new")
    own = sum(p.numel() for p in network.subject_parameters("new"))
    assert count_parameters(network) == sum(v.numel() for v in before.values()) + own


@pytest.mark.parametrize("name", RECIPES)
def test_bad_input_is_refused_by_name(name):
    network = RECIPES[name]("phantom").network(PEOPLE)
    with pytest.raises(UnknownSubject, match="knows 1, 2"):
        network(torch.zeros(2, 60), 3)
    with pytest.raises(ShapeMismatch, match="subject 2 expects 45 voxels, got 60"):
        network(torch.zeros(2, 60), 2)
    with pytest.raises(EmptySelection, match="at least one subject"):
        RECIPES[name]("phantom").network({})
    with pytest.raises(ValueError, match="preset must be 'nsd' or 'phantom'"):
        RECIPES[name]("large").network(PEOPLE)


def test_a_misspelt_size_is_named():
    with pytest.raises(ValueError, match="did you mean 'width'"):
        mindeye_network(PEOPLE, "phantom", widht=3)


def test_settings_are_data_that_can_be_changed_and_described():
    recipe = mindeye_recipe("nsd")
    assert recipe.targets == ("image_tokens",)
    quick = recipe.with_settings(epochs=3)
    assert (quick.epochs, recipe.epochs) == (3, 240)
    assert quick.describe()["losses"][1]["weight"] == 30.0
    with pytest.raises(ValueError, match="did you mean 'epochs'"):
        recipe.with_settings(epoch=3)
    with pytest.raises(ValueError, match="kind must be"):
        LossTerm("a", "hinge", "b", "c")
    with pytest.raises(ValueError, match="schedule must be"):
        DecoderRecipe("a", "nsd", mindeye_network, (), 1, 1, 1e-3, schedule="linear")


def test_published_training_settings():
    assert [(r.epochs, r.batch_size) for r in (mindeye_recipe(), mindeye_low_level_recipe())] == [(240, 32), (120, 8)]
    assert [mindeye2_recipe(fine_tune=f).batch_size for f in (False, True)] == [42, 24]
    assert [mindbridge_recipe(n_subjects=n).learning_rate for n in (4, 1)] == [1.5e-4, 3e-4]
    assert mindeye_recipe().prior["scale"] == pytest.approx(768**0.5)
    assert [t.weight for t in neuropictor_recipe(fine_tune=True).losses] == [1.0, 0.1]


# MindEye and its successor


def test_contrastive_tokens_are_the_projected_prior_tokens(draw):
    network = mindeye_network(PEOPLE, "phantom", draw).eval()
    out = network(torch.randn(3, 60, generator=draw), 1)
    assert torch.equal(out["contrastive_tokens"], network.projector(out["prior_tokens"]))


def test_published_mindeye2_is_linear_up_to_its_tokens_and_the_small_one_is_not(draw):
    """Tokens of a mean of two responses are the mean of their tokens if, and only if, nothing in between bends."""
    x, y = torch.randn(2, 4, 60, generator=draw)

    def bend(**sizes):
        f = mindeye2_network(PEOPLE, "phantom", draw, low_level=False, **sizes).eval()
        tokens = [f(z, 1)["prior_tokens"] for z in (x, y, (x + y) / 2)]
        return float(((tokens[0] + tokens[1]) / 2 - tokens[2]).abs().max().detach())

    assert bend(separate_streams=True) < 1e-5
    assert bend(separate_streams=False) > 1e-3


def test_low_level_of_see_through_reads_meaning_too(draw):
    network = see_through_network(PEOPLE, "phantom", draw).eval()
    x, e = torch.randn(3, 60, generator=draw), torch.randn(3, 256, generator=draw)
    branch = network.low_level
    assert not torch.allclose(branch(x, e, 1)["low_level"], branch(x, 0 * e, 1)["low_level"])


# MindBridge


@pytest.fixture
def bridge(draw):
    return mindbridge_network({"a": 60, "b": 45, "c": 80}, "phantom", draw).eval()


def test_own_losses_are_the_means_of_reconstruction_and_cycle(bridge, draw):
    inputs = {"a": torch.randn(6, 60, generator=draw), "b": torch.randn(4, 45, generator=draw)}
    outputs = {s: bridge(x, s) for s, x in inputs.items()}
    losses = bridge.own_losses(inputs, outputs, {}, draw)
    e, pooled = outputs["a"]["embedding"], bridge.adapters.of("a").pool(inputs["a"])
    torch.testing.assert_close(
        reconstruction_loss(bridge, inputs["a"], e, "a"), ((bridge.builders(e, "a") - pooled) ** 2).mean()
    )
    rebuilt = [reconstruction_loss(bridge, x, outputs[s]["embedding"], s) for s, x in inputs.items()]
    torch.testing.assert_close(losses["reconstruction"], sum(rebuilt) / 2)
    possible = [
        (cycle_loss(bridge, e, a) + cycle_loss(bridge, outputs["b"]["embedding"], b)) / 2 for a in "bc" for b in "ac"
    ]
    assert any(torch.allclose(losses["cycle"], value) for value in possible)


def test_cycle_goes_through_another_brain_where_there_is_one(bridge, draw, monkeypatch):
    through = []
    real = bridge.builders.forward
    monkeypatch.setattr(bridge.builders, "forward", lambda e, s: through.append(str(s)) or real(e, s))
    x = torch.randn(2, 60, generator=draw)
    for _ in range(20):
        bridge.own_losses({"a": x}, {"a": bridge(x, "a")}, {}, draw)
    assert through[0::2] == ["a"] * 20  # reconstruction: its own brain
    assert set(through[1::2]) == {"b", "c"}  # cycle: never its own


def test_reset_tuning_changes_only_that_subjects_tensors(bridge, draw):
    bridge.add_subject("new", 33)
    bridge.train()
    before = {k: v.clone() for k, v in bridge.state_dict().items()}
    optimiser = torch.optim.AdamW(reset_tuning_parameters(bridge, "new"), lr=1e-2)
    inputs = {"a": torch.randn(8, 60, generator=draw), "new": torch.randn(8, 33, generator=draw)}
    for _ in range(2):
        optimiser.zero_grad()
        outputs = {s: bridge(x, s) for s, x in inputs.items()}
        own = bridge.own_losses(inputs, outputs, {}, draw)
        (sum(own.values()) + sum(o["image_tokens"].square().mean() for o in outputs.values())).backward()
        optimiser.step()
    changed = {k for k, v in bridge.state_dict().items() if not torch.equal(v, before[k])}
    mine = {k for k in before if k.startswith(("adapters.new.", "builders.new."))}
    assert changed == mine


def test_training_the_builders_makes_translated_responses_follow_the_other_persons(draw):
    """Two people who see the same eight numbers: after training, one brain predicts the other's responses."""
    W = {"a": torch.randn(8, 64, generator=draw), "b": torch.randn(8, 64, generator=draw)}
    network = mindbridge_network({"a": 64, "b": 64}, "phantom", draw, n_pooled=64, width=64, n_blocks=1).eval()
    optimiser = torch.optim.Adam(network.parameters(), lr=3e-3)
    for _ in range(150):
        z = torch.randn(64, 8, generator=draw)
        inputs = {s: z @ w for s, w in W.items()}
        e = {s: network.embed(x, s) for s, x in inputs.items()}
        own = network.own_losses(inputs, {s: {"embedding": v} for s, v in e.items()}, {}, draw)
        optimiser.zero_grad()
        (own["reconstruction"] + own["cycle"] + (e["a"] - e["b"]).square().mean()).backward()
        optimiser.step()
    z = torch.randn(200, 8, generator=draw)
    with torch.no_grad():
        translated = network.translate(z @ W["a"], "a", "b")
    r = [np.corrcoef(p, t)[0, 1] for p, t in zip(translated.T.numpy(), (z @ W["b"]).T.numpy(), strict=True)]
    assert np.median(r) > 0.9


def test_averaged_embeddings_of_people_are_decoded_like_one(bridge, draw):
    e = torch.randn(3, 256, generator=draw)
    assert torch.equal(bridge.decode(e)["image_tokens"], bridge.image(bridge.trunk(e)))
    x = torch.randn(3, 60, generator=draw)
    assert torch.equal(bridge(x, "a")["text_tokens"], bridge.decode(bridge.embed(x, "a"))["text_tokens"])


def test_pseudo_responses_have_the_voxels_of_the_person_asked_for(bridge, draw):
    e = torch.randn(3, 256, generator=draw)
    assert bridge.pseudo_responses(e, "b").shape == (3, 45)
    assert bridge.pseudo_responses(e, "b", voxels=False).shape == (3, 512)


def test_people_pooled_by_region_share_bins_and_a_new_person_brings_labels(draw):
    bins = {"V1": 20, "FFA": 12}
    labels = {1: ["V1"] * 40 + ["FFA"] * 20, 2: ["FFA"] * 15 + ["V1"] * 30}
    network = mindbridge_network(PEOPLE, "phantom", draw, regions=labels, n_pooled=bins)
    network.add_subject("r", 50, regions=["V1"] * 30 + ["FFA"] * 20)
    x = torch.zeros(1, 45)
    x[:, 15:] = 1.0  # V1 of subject 2 lies behind its FFA
    pooled = network.adapters.of(2).pool(x)
    assert torch.equal(pooled, torch.tensor([[1.0] * 20 + [0.0] * 12]))
    assert network.translate(x, 2, "r").shape == (1, 50)


# NeuroPictor


@pytest.fixture
def unet():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return diffusers.UNet2DConditionModel(
            sample_size=8,
            in_channels=4,
            out_channels=4,
            block_out_channels=(32, 64),
            layers_per_block=1,
            cross_attention_dim=32,
            attention_head_dim=8,
            norm_num_groups=8,
            down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
            up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        ).eval()


@pytest.fixture
def picture(draw, unet):
    sizes = {"map_size": 16, "patch": 8, "width": 32, "depth": 1, "decoder_width": 16, "n_text_tokens": 7}
    network = neuropictor_network(PEOPLE, "phantom", draw, hint_channels=32, latent_size=8, **sizes)
    network.attach(unet)
    return network.eval()


def test_control_copy_starts_as_the_bare_unet_whatever_the_hint(unet, draw):
    state = torch.get_rng_state()
    control = control_copy(unet)
    assert torch.equal(torch.get_rng_state(), state)
    z, text = torch.randn(3, 4, 8, 8, generator=draw), torch.randn(3, 7, 32, generator=draw)
    hint = torch.randn(3, 32, 8, 8, generator=draw)
    bare = unet(z, 11, encoder_hidden_states=text).sample
    assert torch.equal(ControlledUNet(unet, control, hint)(z, 11, text).sample, bare)
    with torch.no_grad():
        control.controlnet_mid_block.weight.normal_(generator=draw)
    assert not torch.equal(ControlledUNet(unet, control, hint)(z, 11, text).sample, bare)
    assert torch.equal(ControlledUNet(unet, control, hint, scale=0.0)(z, 11, text).sample, bare)


def test_control_copy_has_the_weights_of_diffusers_own(unet):
    ours = control_copy(unet).state_dict()
    with torch.random.fork_rng():
        theirs = diffusers.ControlNetModel.from_unet(unet).state_dict()
    theirs = {k: v for k, v in theirs.items() if not k.startswith("controlnet_cond_embedding")}
    assert set(ours) == set(theirs)
    assert all(torch.equal(ours[k], theirs[k]) for k in ours)


def test_network_with_zero_hint_leaves_the_unet_as_it_was(picture, unet, draw):
    out = picture(torch.randn(2, 60, generator=draw), 1)
    assert not out["control"].any()
    z = torch.randn(2, 4, 8, 8, generator=draw)
    steered = picture.controlled(out["control"])(z, 500, out["text_tokens"]).sample
    assert torch.equal(steered, unet(z, 500, encoder_hidden_states=out["text_tokens"]).sample)


def test_hint_is_repeated_for_both_halves_of_guidance(picture, draw):
    hint, z = torch.randn(2, 32, 8, 8, generator=draw), torch.randn(4, 4, 8, 8, generator=draw)
    with torch.no_grad():
        picture.control.controlnet_mid_block.weight.normal_(generator=draw)
        text = torch.randn(4, 7, 32, generator=draw)
        both = picture.controlled(hint)(z, 5, text).sample
        second = picture.controlled(hint)(z[2:], 5, text[2:]).sample
    torch.testing.assert_close(both[2:], second, atol=1e-5, rtol=1e-4)
    with pytest.raises(ShapeMismatch, match="no multiple of the 2"):
        picture.controlled(hint)(z[:3], 5, text[:3])


def test_diffusion_loss_trains_hint_text_and_copy_but_never_the_unet(picture, unet, draw):
    before = {k: v.clone() for k, v in unet.state_dict().items()}
    assert not any(p is q for p in unet.parameters() for q in picture.parameters())
    optimiser = torch.optim.AdamW(picture.parameters(), lr=1e-3)
    x, latents = torch.randn(4, 60, generator=draw), torch.randn(4, 4, 8, 8, generator=draw)
    for _ in range(3):
        optimiser.zero_grad()
        out = {1: picture(x, 1)}
        loss = picture.own_losses({1: x}, out, {1: {"low_level": latents}}, draw)["diffusion"]
        loss.backward()
        optimiser.step()
    assert torch.isfinite(loss)
    assert out[1]["control"].any()
    assert all(torch.equal(unet.state_dict()[k], v) for k, v in before.items())
    assert all(p.grad is None for p in unet.parameters())
    assert picture.semantic.project.weight.grad.any()
    assert picture.control.conv_in.weight.grad.any()


def test_diffusion_loss_at_the_start_is_that_of_the_bare_unet(picture, unet, draw):
    x, latents = torch.randn(4, 60, generator=draw), torch.randn(4, 4, 8, 8, generator=draw)
    out = picture(x, 1)
    loss = picture.own_losses({1: x}, {1: out}, {1: {"low_level": latents}}, torch.Generator().manual_seed(9))
    again = torch.Generator().manual_seed(9)
    t = torch.randint(1000, (4,), generator=again)
    noise = torch.randn(latents.shape, generator=again)
    beta = torch.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2
    alpha = (1 - beta).cumprod(0)[t, None, None, None]
    predicted = unet(alpha**0.5 * latents + (1 - alpha) ** 0.5 * noise, t, encoder_hidden_states=out["text_tokens"])
    torch.testing.assert_close(loss["diffusion"], (predicted.sample - noise).square().mean(), atol=1e-5, rtol=1e-4)


def test_a_unet_that_does_not_fit_and_a_missing_one_are_named(unet):
    network = neuropictor_network(PEOPLE, "phantom")
    with pytest.raises(ShapeMismatch, match="hint_channels=32 and width=32"):
        network.attach(unet)
    with pytest.raises(MissingWeights, match="attach"):
        network.controlled(torch.zeros(1, 64, 16, 16))


def test_recipe_given_a_unet_builds_a_network_of_its_sizes_that_steers_it(unet, draw):
    network = neuropictor_recipe("phantom", unet=unet, n_heads=2).network(PEOPLE, draw)
    out = network(torch.randn(2, 60, generator=draw), 1)
    assert out["control"].shape == (2, 32, 8, 8)
    assert out["text_tokens"].shape == (2, 32, 32)
    z = torch.randn(2, 4, 8, 8, generator=draw)
    assert network.controlled(out["control"])(z, 1, out["text_tokens"]).sample.shape == z.shape


def test_pretraining_counts_only_pixels_that_show_voxels(picture, draw):
    x = torch.randn(5, 60, generator=draw)
    seed = lambda: torch.Generator().manual_seed(4)  # noqa: E731
    maps = picture.adapters.of(1)
    shown = picture.embed(torch.ones(1, 60), 1)[0] > 0
    assert int(shown.sum()) == 60
    torch.testing.assert_close(picture.pretraining_loss(x, 1, seed()), picture.encoder(maps(x), seed(), shown)["loss"])


def test_swapping_a_region_takes_its_pixels_from_the_other_map(draw):
    a, b = torch.randn(2, 3, 6, 6, generator=draw)
    region = torch.zeros(6, 6, dtype=torch.bool)
    region[2:4] = True
    mixed = swap_regions(a, b, region)
    assert torch.equal(mixed[:, 2:4], b[:, 2:4])
    assert torch.equal(mixed[:, :2], a[:, :2])
    assert torch.equal(swap_regions(b, a, region)[:, 2:4], a[:, 2:4])
    with pytest.raises(ShapeMismatch, match="must agree"):
        swap_regions(a, b, region[:3])


def test_mindeye_low_level_returns_latents_of_stable_diffusion_at_full_size():
    network = on_meta(mindeye_low_level_network, SUBJECT_1)
    out = on_meta(lambda: network(torch.empty(2, 15_724), 1))
    assert out["low_level"].shape == (2, 4, 64, 64)
    assert out["low_level_maps"].shape == (2, 256, 512)


@pytest.mark.slow
def test_the_phantoms_unet_takes_a_control_copy_and_its_own_noise():
    """Its time embedding is wider than diffusers' ControlNet assumes, and it predicts velocities."""
    pytest.importorskip("diffusers", reason="needs diffusers: pip install 'neuro[decode]'")
    from neuro.decoders.generators import load_phantom_pipeline

    pipeline = load_phantom_pipeline()
    noise = {"unet": pipeline.unet, "scheduler": pipeline.scheduler}
    layout = np.arange(64).reshape(8, 8)
    recipe = neuropictor_recipe("phantom", **noise, pixels={1: layout}, map_size=8, patch=4, depth=1)
    network = recipe.network({"1": 64}, torch.Generator().manual_seed(0))
    assert network._frozen[1].config.prediction_type == "v_prediction"
    x, t = torch.randn(1, 8, 16, 16, generator=torch.Generator().manual_seed(0)), torch.tensor([500])
    states = torch.randn(1, pipeline.conditioning.n_tokens, 128, generator=torch.Generator().manual_seed(1))
    hint = network(torch.ones(1, 64), "1")["control"] + 1.0
    with torch.no_grad():
        steered = network.controlled(hint)(x, t, encoder_hidden_states=states).sample
        bare = pipeline.unet(x, t, encoder_hidden_states=states).sample
    torch.testing.assert_close(steered, bare, rtol=0, atol=0)


def test_subjects_are_found_by_number_and_by_text():
    from neuro.decoders.recipes._subject_network import by_name

    assert by_name({1: "a"}) == {1: "a", "1": "a"}
    assert by_name(None) == {}
