"""The transformer over parcels: causal, blind to padding; what is planted in time and content is learned."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from neuro.decoders.losses import info_nce
from neuro.decoders.neural import NeuralDecoder
from neuro.decoders.recipes.wave import wave_network, wave_recipe
from neuro.decoders.sequence_pretraining import SequenceModel, masked_loss, next_scan_loss, pretrain_sequences
from neuro.decoders.training import TrainingSettings, train
from neuro.decoders.wave import (
    ParcelGPT,
    WholeBrainContrast,
    augment,
    drop_inputs,
    pad_sequences,
    shuffle_times,
)
from neuro.errors import ShapeMismatch, UnknownSubject

pytest.importorskip("transformers", reason="needs transformers: pip install 'neuro[decode]'")


def seeded(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def encoder():
    return ParcelGPT(6, width=16, n_layers=2, n_heads=2, n_positions=12).eval()


def test_states_never_depend_on_later_scans(encoder):
    x = seeded(2, 8, 6)
    changed = x.clone()
    changed[:, 5:] += 100
    with torch.no_grad():
        a, b = (encoder.states(encoder.embed(v)) for v in (x, changed))
    torch.testing.assert_close(a[:, :5], b[:, :5])
    assert not torch.allclose(a[:, 5:], b[:, 5:])


def test_the_embedding_depends_on_every_scan_and_parcel(encoder):
    x = seeded(1, 8, 6).requires_grad_()
    encoder(x).square().sum().backward()
    assert (x.grad.abs() > 0).all()


def test_padding_does_not_matter_whatever_it_holds(encoder):
    sequences = [seeded(n, 6) for n in (3, 7, 5)]
    x, lengths = pad_sequences(sequences)
    garbage = x.clone()
    for i, n in enumerate(lengths):
        garbage[i, n:] = 1e3
    with torch.no_grad():
        alone = torch.cat([encoder(s[None]) for s in sequences])
        torch.testing.assert_close(encoder(x, lengths), alone, rtol=1e-4, atol=1e-6)
        torch.testing.assert_close(encoder(garbage, lengths), alone, rtol=1e-4, atol=1e-6)


def test_weights_come_from_the_seed_and_the_global_generator_is_left_alone():
    state = torch.get_rng_state()
    a, b, c = (ParcelGPT(4, 8, 1, 1, 6, seed=s) for s in (3, 3, 4))
    assert torch.equal(state, torch.get_rng_state())
    assert all(torch.equal(p, q) for p, q in zip(a.parameters(), b.parameters(), strict=True))
    assert not torch.equal(a.embed.weight, c.embed.weight)


def test_published_sizes():
    with torch.device("meta"):
        network = wave_network({1: 1024, 2: 1024}, "nsd")
    count = sum(p.numel() for p in network.parameters() if p.requires_grad)
    d = 768
    block = 12 * d * d + 13 * d  # attention, MLP, two norms
    assert count == (1024 * d + d) + d + 512 * d + 4 * block + 2 * d + 2 * (d * d + d) + 2


def test_contrast_is_the_mean_of_both_losses_at_the_learned_scales():
    brain, image, text = seeded(5, 4), seeded(6, 5, 4)[1], seeded(6, 5, 4)[2]
    contrast = WholeBrainContrast()
    want = (info_nce(brain, image, 0.07) + info_nce(brain, text, 0.07)) / 2
    torch.testing.assert_close(contrast(brain, image, text), want)
    contrast(brain, image, text).backward()
    assert (contrast.log_scales.grad.abs() > 0).all()
    with torch.no_grad():
        contrast.log_scales.fill_(math.log(1e6))
    torch.testing.assert_close(contrast.scales, torch.full((2,), 100.0))


def test_dropped_inputs_are_zero_in_the_share_asked_for_and_the_rest_as_it_was():
    x = seeded(50, 10, 20) + 10
    out = drop_inputs(x, 0.2, torch.Generator().manual_seed(1))
    assert (out == 0).float().mean().item() == pytest.approx(0.2, abs=0.02)
    assert torch.equal(out[out != 0], x[out != 0])
    assert drop_inputs(x, 0.0) is x


def test_time_is_shuffled_only_on_request():
    x = seeded(4, 9, 3)
    generator = torch.Generator().manual_seed(0)
    assert torch.equal(augment(x, drop=0.0, generator=generator), x)
    out = shuffle_times(x, generator)
    assert not torch.equal(out, x)
    torch.testing.assert_close(out.sort(1).values, x.sort(1).values)
    for row, original in zip(out, x, strict=True):  # whole scans move
        assert {tuple(v.tolist()) for v in row} == {tuple(v.tolist()) for v in original}


def rotations(rng, n, length, parcels=6):
    """Sequences that go on by a fixed rotation, with noise: the next scan follows from this one."""
    Q = np.linalg.qr(rng.standard_normal((parcels, parcels)))[0]
    x = rng.standard_normal((n, 1, parcels))
    for _ in range(length - 1):
        x = np.concatenate([x, x[:, -1:] @ Q], 1)
    return list(x + 0.1 * rng.standard_normal(x.shape))


def test_next_scan_loss_counts_valid_scans_only():
    model = SequenceModel(ParcelGPT(3, 8, 1, 1, 8)).eval()
    x, lengths = pad_sequences([seeded(5, 3), seeded(2, 3)])
    with torch.no_grad():
        together = next_scan_loss(model, x, lengths)
        a, b = (next_scan_loss(model, x[[i], :n], lengths[[i]]) for i, n in ((0, 5), (1, 2)))
    torch.testing.assert_close(together, (4 * a + 1 * b) / 5)


def test_masked_loss_counts_hidden_entries_and_does_not_see_them():
    model = SequenceModel(ParcelGPT(3, 8, 1, 1, 8)).eval()
    x, lengths = seeded(2, 5, 3), torch.tensor([5, 4])
    hidden = torch.zeros(2, 5, 3, dtype=torch.bool)
    hidden[0, 2, 1] = True
    hidden[1, 4, 0] = True  # padding: not counted
    changed = x.clone()
    changed[0, 2, 1] += 3
    with torch.no_grad():
        said = model(model.hide(x, hidden), lengths)
        torch.testing.assert_close(masked_loss(model, x, lengths, hidden), (said - x)[0, 2, 1].abs())
        torch.testing.assert_close(model(model.hide(changed, hidden), lengths), said)
    with pytest.raises(ValueError, match="no entry is hidden"):
        masked_loss(model, x, lengths, torch.zeros_like(hidden))


@pytest.mark.parametrize("objective", ["next", "masked"])
def test_pretraining_learns_planted_dynamics(rng, objective):
    model = SequenceModel(ParcelGPT(6, 32, 1, 2, 12, dropout=0.0))
    sequences = rotations(rng, 150, 8)
    run = pretrain_sequences(model, sequences, objective, n_steps=250, batch_size=32, learning_rate=5e-3, seed=1)
    assert run.validation < 0.6 * run.baseline
    assert np.mean(run.history[-20:]) < 0.6 * np.mean(run.history[:5])


def test_pretraining_finds_nothing_in_noise(rng):
    model = SequenceModel(ParcelGPT(4, 16, 1, 2, 10, dropout=0.0))
    run = pretrain_sequences(model, list(rng.standard_normal((60, 6, 4))), n_steps=60, batch_size=16)
    assert run.validation > 0.95 * run.baseline


def test_pretraining_is_repeatable_and_starts_the_decoder(rng):
    sequences = rotations(rng, 20, 6)
    network = wave_network({1: 6}, "phantom", width=16, n_heads=2, n_layers=1, n_positions=12, dim=4)
    before = network.encoder.gpt.h[0].mlp.c_fc.weight.detach().clone()
    histories = []
    for encoder in (network.encoder, ParcelGPT(6, 16, 1, 2, 12)):
        torch.manual_seed(len(histories))
        histories.append(pretrain_sequences(SequenceModel(encoder), sequences, n_steps=3, seed=2).history)
    assert histories[0] == histories[1]
    assert not torch.equal(network.encoder.gpt.h[0].mlp.c_fc.weight, before)


class Task:
    """All training trials in batches of 50."""

    n_batches = 5
    identity = {"task": "planted"}  # noqa: RUF012

    def __init__(self, recipe, x, image, text):
        self.recipe, self.x = recipe, x
        self.targets = {"image_embedding": image, "text_embedding": text}

    def losses(self, network, place):
        rows = place.rng(0).permutation(len(self.x))[:50]
        outputs = {1: network(self.x[rows], 1)}
        targets = {1: {k: v[rows] for k, v in self.targets.items()}}
        own = network.own_losses({1: self.x[rows]}, outputs, targets, torch.Generator())
        return {t.name: t.weight * own[t.output] for t in self.recipe.losses}

    def validate(self, network):
        return None


def planted(rng, n=350, parcels=12, dim=5):
    """Five scans that carry an image's vector in the third and fourth, a caption's vector half its own."""
    image = rng.standard_normal((n, dim))
    text = image + 0.7 * rng.standard_normal((n, dim))
    x = rng.standard_normal((n, 5, parcels))
    x[:, 2] += 2 * image @ rng.standard_normal((dim, parcels))
    x[:, 3] += image @ rng.standard_normal((dim, parcels))
    return tuple(torch.from_numpy(a).float() for a in (x, image, text))


def test_loop_learns_what_is_planted_and_retrieves_new_images_by_both_vectors(rng):
    x, image, text = planted(rng)
    recipe = wave_recipe("phantom", width=32, n_heads=2, n_layers=1, n_positions=8, dim=5)
    assert recipe.targets == ("image_embedding", "text_embedding")
    network = recipe.network({1: 12}, torch.Generator().manual_seed(0))
    settings = TrainingSettings(epochs=40, learning_rate=3e-3, weight_decay=0.03)
    train(network, Task(recipe, x[:250], image[:250], text[:250]), settings)
    with torch.no_grad():
        said = network(x[250:], 1)["image_embedding"].numpy()
    for truth, least in ((image, 0.85), (text, 0.75)):
        r = np.corrcoef(said, truth[250:].numpy())[:100, 100:]
        assert (r < np.diag(r)[:, None]).sum(1).mean() / 99 > least


def test_recipe_runs_through_the_neural_decoder_and_reads_a_new_person_without_training(rng):
    x, image, text = (a.numpy() for a in planted(rng, n=60))
    recipe = wave_recipe("phantom", width=16, n_heads=2, n_layers=1, dim=5).with_settings(epochs=1)
    decoder = NeuralDecoder(recipe).fit({1: x[:40]}, {"image_embedding": image, "text_embedding": text}, {1: range(40)})
    said = decoder.predict(x[40:], np.arange(40, 60), 1)["image_embedding"]
    decoder.add_subject(2, 12)
    np.testing.assert_array_equal(decoder.predict(x[40:], np.arange(40, 60), 2)["image_embedding"], said)


def test_augmentation_acts_in_training_only():
    network = wave_network({1: 6}, "phantom", width=16, n_heads=2, n_layers=1, dim=4, drop=0.5, dropout=0.0)
    x = seeded(3, 5, 6)
    with torch.no_grad(), torch.random.fork_rng():
        torch.manual_seed(0)
        assert torch.equal(*(network.eval()(x, 1)["image_embedding"] for _ in range(2)))
        assert not torch.equal(*(network.train()(x, 1)["image_embedding"] for _ in range(2)))


def test_bad_input_is_refused(encoder):
    with pytest.raises(ShapeMismatch, match=r"expected \(B, T, 6 parcels\)"):
        encoder(torch.zeros(2, 5, 7))
    with pytest.raises(ShapeMismatch, match="12 positions, CLS included, got 13"):
        encoder(torch.zeros(2, 12, 6))
    with pytest.raises(ShapeMismatch, match="from 1 to 5"):
        encoder(torch.zeros(2, 5, 6), torch.tensor([0, 5]))
    with pytest.raises(ShapeMismatch, match="5 parcels of every person, got 6"):
        wave_network({1: 5, 2: 6}, "phantom")
    network = wave_network({1: 5}, "phantom")
    with pytest.raises(UnknownSubject, match="no adapter for subject 2"):
        network(torch.zeros(1, 3, 5), 2)
    network.add_subject(2, 5)
    assert network.n_voxels == {"1": 5, "2": 5}
    with pytest.raises(ShapeMismatch, match="5 parcels of every person, got 6"):
        network.add_subject(3, 6)
    with pytest.raises(ShapeMismatch, match="at least 2 sequences"):
        pretrain_sequences(SequenceModel(encoder), [np.zeros((4, 6))])
    with pytest.raises(ValueError, match="objective must be"):
        pretrain_sequences(SequenceModel(encoder), [np.zeros((4, 6))] * 3, "sequence")
    with pytest.raises(ValueError, match="share must be at least 0"):
        drop_inputs(torch.zeros(1, 2, 3), 1.0)
    with pytest.raises(ShapeMismatch, match="equally many parcels"):
        pad_sequences([np.zeros((3, 2)), np.zeros((3, 4))])
