"""Neural decoders on planted brains: several people, streams, leaks, new subjects, files."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from neuro.decoders._neural_data import Batches, SubjectTrials, TargetRows
from neuro.decoders._neural_losses import Batch, DecoderSystem, batch_losses
from neuro.decoders._neural_task import DecodingTask, mean_reciprocal_rank
from neuro.decoders.mixing import apply_mix
from neuro.decoders.neural import NeuralDecoder
from neuro.decoders.recipes.contrastive import contrastive_recipe
from neuro.decoders.recipes.mindbridge import mindbridge_recipe
from neuro.decoders.recipes.mindeye2 import mindeye2_recipe
from neuro.decoders.recipes.settings import LossTerm
from neuro.decoders.training import Place
from neuro.errors import (
    CorruptFile,
    EmptySelection,
    MissingWeights,
    ShapeMismatch,
    SplitLeakage,
    StaleStore,
    UnknownStimulus,
    UnknownSubject,
)

N_IMAGES, D = 260, 6
TEST = np.arange(200, 260)
VOXELS = {1: 30, 2: 24, 3: 36}


@pytest.fixture(scope="module")
def brains():
    """Images with unit targets, and per subject two noisy repeats of linear responses to every image."""
    rng = np.random.default_rng(0)
    Y = rng.standard_normal((N_IMAGES, D)).astype(np.float32)
    X = {}
    for subject, v in VOXELS.items():
        signal = Y @ rng.standard_normal((D, v)).astype(np.float32)
        X[subject] = np.repeat(signal, 2, 0) + 1.5 * rng.standard_normal((2 * N_IMAGES, v)).astype(np.float32)
    return X, Y, np.repeat(np.arange(N_IMAGES), 2)


def recipe(**changes):
    return contrastive_recipe(D, **{"width": 32, "dropout": 0.1, "epochs": 6, "batch_size": 40, "learning_rate": 5e-3,
                                    "temperature": 0.1, **changes})  # fmt: skip


def training(brains, subjects=(1,), images=200):
    X, Y, ids = brains
    rows = ids < images
    return {s: X[s][rows] for s in subjects}, {"image_embedding": Y}, {s: ids[rows] for s in subjects}


def held_out(brains, subject):
    X, _, ids = brains
    rows = np.isin(ids, TEST)
    return X[subject][rows], ids[rows], subject


def rank_score(decoder, brains, subject=1):
    decoded = decoder.predict(*held_out(brains, subject))
    true = torch.from_numpy(brains[1][decoded.ids])
    return mean_reciprocal_rank(torch.from_numpy(decoded["image_embedding"].copy()), true)


@pytest.fixture(scope="module")
def fitted(brains):
    X, targets, ids = training(brains, (1, 2))
    return NeuralDecoder(recipe()).fit(X, targets, ids, test_ids=TEST)


def weights(decoder):
    return {k: v.numpy().copy() for k, v in decoder.system_.state_dict().items()}


def test_contrast_finds_the_images_of_every_subject_and_shuffled_pairs_do_not(brains, fitted):
    scores = [rank_score(fitted, brains, s) for s in (1, 2)]
    X, targets, ids = training(brains)
    shuffled = {"image_embedding": np.random.default_rng(1).permutation(targets["image_embedding"][:200])}
    control = rank_score(NeuralDecoder(recipe()).fit(X, shuffled, ids), brains)
    by_chance = np.mean(1 / np.arange(1, len(TEST) + 1))
    assert min(scores) > 0.6
    assert abs(control - by_chance) < 0.06


def test_training_reports_its_split_its_scores_and_its_origin(fitted):
    assert len(fitted.validation_ids_) == 20
    assert not set(fitted.validation_ids_) & set(fitted.train_ids_)
    assert not set(TEST) & {*fitted.validation_ids_, *fitted.train_ids_}
    assert fitted.training_.best_score == max(row["validation_score"] for row in fitted.training_.history)
    assert fitted.provenance_["recipe"]["name"] == "contrastive"
    assert fitted.provenance_["n_train"] == 180


def test_repeats_average_in_outputs_or_voxels(brains, fitted):
    x, ids, _ = held_out(brains, 1)
    singles = fitted.predict(x, np.arange(1000, 1000 + len(x)), 1)["image_embedding"]
    outputs = fitted.predict(x, ids, 1)
    np.testing.assert_allclose(outputs["image_embedding"], singles.reshape(-1, 2, D).mean(1), rtol=1e-4, atol=1e-5)
    voxels = fitted.predict(x, ids, 1, average_repeats="voxels")
    mean = fitted.predict(x.reshape(-1, 2, x.shape[1]).mean(1), TEST, 1)
    np.testing.assert_allclose(voxels["image_embedding"], mean["image_embedding"], rtol=1e-4, atol=1e-5)
    assert not np.allclose(voxels["image_embedding"], outputs["image_embedding"])
    assert outputs.provenance["rescaling"] == "none"


def test_a_prediction_does_not_depend_on_its_neighbours(brains, fitted):
    x, ids, _ = held_out(brains, 1)
    whole = fitted.predict(x, ids, 1)["image_embedding"]
    np.testing.assert_allclose(fitted.predict(x[:2], ids[:2], 1)["image_embedding"], whole[:1], rtol=1e-5, atol=1e-6)
    order = np.random.default_rng(0).permutation(len(x))
    shuffled = fitted.predict(x[order], ids[order], 1, batch_size=7)
    np.testing.assert_allclose(shuffled.select(TEST)["image_embedding"], whole, rtol=1e-5, atol=1e-6)


def test_the_same_seed_gives_the_same_decoder_and_inputs_stay_as_they_were(brains):
    X, targets, ids = training(brains)
    copies = X[1].copy(), targets["image_embedding"].copy(), ids[1].copy()
    decoders = [NeuralDecoder(recipe(epochs=2, mix_until=0.5, loss="bimixco_then_soft_clip"), random_state=s)
                .fit(X, targets, ids) for s in (0, 0, 1)]  # fmt: skip
    a, b, c = (weights(d) for d in decoders)
    assert all(np.array_equal(a[k], b[k]) for k in a)
    assert not all(np.array_equal(a[k], c[k]) for k in a)
    for before, after in zip(copies, (X[1], targets["image_embedding"], ids[1]), strict=True):
        np.testing.assert_array_equal(before, after)


def test_an_interrupted_fit_goes_on_to_the_same_decoder(brains, tmp_path):
    X, targets, ids = training(brains, (1, 2))
    settings = {"recipe": recipe(epochs=3, mix_until=0.5, loss="bimixco_then_soft_clip"), "checkpoint_every": 2}

    def stop(report):
        if report["step"] == 15:
            raise KeyboardInterrupt

    whole = NeuralDecoder(**settings).fit(X, targets, ids)
    with pytest.raises(KeyboardInterrupt):
        NeuralDecoder(**settings).fit(X, targets, ids, folder=tmp_path, progress=stop)
    again = NeuralDecoder(**settings).fit(X, targets, ids, folder=tmp_path)
    a, b = weights(whole), weights(again)
    assert all(np.array_equal(a[k], b[k]) for k in a)
    other = {s: x + 1 for s, x in X.items()}
    with pytest.raises(StaleStore, match="other task"):
        NeuralDecoder(**settings).fit(other, targets, ids, folder=tmp_path)


def test_a_saved_decoder_is_the_same_decoder(brains, fitted, tmp_path):
    fitted.save(tmp_path / "decoder")
    loaded = NeuralDecoder.load(tmp_path / "decoder", recipe())
    x = held_out(brains, 2)
    np.testing.assert_array_equal(loaded.predict(*x)["image_embedding"], fitted.predict(*x)["image_embedding"])
    assert loaded.training_ == fitted.training_
    assert loaded.provenance_ == fitted.provenance_
    with pytest.raises(SplitLeakage):
        loaded.predict(brains[0][1][:4], [0, 0, 1, 1], 1)
    with pytest.raises(StaleStore, match="another recipe: epochs"):
        NeuralDecoder.load(tmp_path / "decoder", recipe(epochs=7))
    (tmp_path / "decoder" / "weights.safetensors").write_bytes(b"torn")
    with pytest.raises(CorruptFile, match=r"weights\.safetensors"):
        NeuralDecoder.load(tmp_path / "decoder", recipe())
    with pytest.raises(MissingWeights, match=r"decoder\.json is missing"):
        NeuralDecoder.load(tmp_path / "nowhere", recipe())


def test_a_new_subject_changes_nothing_for_others_and_learns_by_reset_tuning(brains, tmp_path):
    X, targets, ids = training(brains, (1, 2))
    decoder = NeuralDecoder(recipe(), validation=0.2).fit(X, targets, ids, test_ids=TEST)
    known = held_out(brains, 1)
    before, said = weights(decoder), decoder.predict(*known)["image_embedding"].copy()
    decoder.add_subject(3, VOXELS[3])
    np.testing.assert_array_equal(decoder.predict(*known)["image_embedding"], said)
    untrained = rank_score(decoder, brains, 3)
    few, _, few_ids = training(brains, (3,), images=40)
    decoder.reset_tune(
        3, few[3], targets, few_ids[3], test_ids=TEST, source=X, source_ids=ids, epochs=12, folder=tmp_path
    )
    np.testing.assert_array_equal(decoder.predict(*known)["image_embedding"], said)
    after = weights(decoder)
    changed = {k for k in before if not np.array_equal(before[k], after[k])}
    assert not changed
    assert {k for k in after if k not in before} == {k for k in after if ".adapters.3." in k}
    tuned = rank_score(decoder, brains, 3)
    assert tuned > untrained + 0.2
    assert all(p.requires_grad for p in decoder.system_.parameters())
    alone = NeuralDecoder(recipe(epochs=30, batch_size=16), validation=0.2).fit({3: few[3]}, targets, {3: few_ids[3]})
    assert tuned > rank_score(alone, brains, 3)


def test_fine_tuning_everything_changes_shared_weights(brains):
    X, targets, ids = training(brains)
    decoder = NeuralDecoder(recipe(epochs=1)).fit(X, targets, ids)
    before = weights(decoder)
    new, _, new_ids = training(brains, (2,), images=60)
    decoder.reset_tune(2, new[2], targets, new_ids[2], parts="all", epochs=1)
    after = weights(decoder)
    assert any("trunk" in k and not np.array_equal(before[k], after[k]) for k in before)
    assert decoder.subjects_ == ["1", "2"]


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_prior_contrast_and_low_level_train_together_and_name_their_outputs(brains, rng):
    pytest.importorskip("diffusers", reason="the prior and the latent head are diffusers' (extra: decode)")
    X, _, ids = training(brains)
    targets = {
        "image_tokens": rng.standard_normal((N_IMAGES, 3, 4), dtype=np.float32),
        "low_level": rng.standard_normal((N_IMAGES, 4, 8, 8), dtype=np.float32),
    }
    sizes = {"n_tokens": 3, "dim": 4, "width": 16, "n_blocks": 1, "latent_shape": (4, 8, 8), "block_channels": (32, 32)}
    small = mindeye2_recipe("phantom", **sizes)
    prior = {**small.prior, "depth": 1, "heads": 2, "dim_head": 4, "timesteps": 10, "sampling_steps": 3}
    small = small.with_settings(epochs=2, batch_size=60, prior=prior)
    decoder = NeuralDecoder(small).fit(X, targets, ids, test_ids=TEST)
    x, test_ids, _ = held_out(brains, 1)
    decoded = decoder.predict(x, test_ids, 1)
    assert {k: v.shape[1:] for k, v in decoded.items()} == {
        "image_tokens": (3, 4),
        "retrieval_tokens": (3, 4),
        "low_level": (4, 8, 8),
    }
    assert all(np.isfinite(v).all() for v in decoded.values())
    some = decoder.predict(x[::-1][:8], test_ids[::-1][:8], 1)
    np.testing.assert_allclose(some["image_tokens"], decoded.select(some.ids)["image_tokens"], rtol=1e-3, atol=1e-3)
    assert not np.allclose(decoder.predict(x, test_ids, 1, seed=1)["image_tokens"], decoded["image_tokens"])
    assert {"contrastive", "prior", "low_level"} <= set(decoder.training_.history[0])
    with pytest.raises(ShapeMismatch, match=r"'contrastive_tokens' is \(3, 4\) per image.*\(2, 4\)"):
        NeuralDecoder(small).fit(X, {**targets, "image_tokens": targets["image_tokens"][:, :2]}, ids)


def test_losses_of_a_network_s_own_take_part(brains, rng):
    X, _, ids = training(brains, (1, 2))
    targets = {k: rng.standard_normal((N_IMAGES, 2, 4), dtype=np.float32) for k in ("image_tokens", "text_tokens")}
    small = mindbridge_recipe("phantom", width=16, n_pooled=20, bottleneck=4, n_blocks=1, n_tokens=2, dim=4,
                              n_text_tokens=2, text_dim=4).with_settings(epochs=1, batch_size=40)  # fmt: skip
    decoder = NeuralDecoder(small).fit(X, targets, ids)
    assert {"cycle", "reconstruction"} <= set(decoder.training_.history[0])


def place(epoch=0, n_epochs=4):
    return Place(epoch, 0, n_epochs, 5, seed=0)


def test_each_epoch_shows_another_repeat_of_each_image_once(brains):
    X, _, ids = brains
    trials = SubjectTrials(1, X[1], ids)
    for kind, per_epoch in (("cycle", 1), ("single", 2)):
        batches = Batches([trials], [np.arange(200)], [40], kind)
        assert batches.n_batches == 5 * per_epoch
        seen = [batches.of(0, epoch, b, 0) for epoch in (0, 1) for b in range(batches.n_batches)]
        assert all(len(set(images)) == 40 for images, _ in seen)
        images, repeats = (np.concatenate(parts) for parts in zip(*seen, strict=True))
        pairs = np.unique(np.stack([images, repeats % 2]), axis=1)
        assert pairs.shape[1] == 400
    row = trials.read(np.array([7, 3]), np.array([1, 0]))
    np.testing.assert_array_equal(row, X[1][[15, 6]])
    np.testing.assert_allclose(trials.read(np.array([7, 3])), [X[1][14:16].mean(0), X[1][6:8].mean(0)], rtol=1e-5)


def test_a_smaller_subject_goes_round_until_the_larger_is_through(brains):
    X, _, ids = brains
    trials = [SubjectTrials(s, X[s], ids) for s in (1, 2)]
    batches = Batches(trials, [np.arange(200), np.arange(30)], [20, 20], "cycle")
    assert batches.n_batches == 10
    assert [len(set(batches.of(1, 0, b, 0)[0])) for b in range(10)] == [20] * 10


def test_only_the_rows_of_a_batch_are_read(brains):
    X, targets, ids = training(brains)

    class Watched:
        def __init__(self, array):
            self.array, self.shape, self.dtype, self.most = array, array.shape, array.dtype, 0

        def __getitem__(self, key):
            self.most = max(self.most, len(key))
            return self.array[key]

    watched = Watched(targets["image_embedding"])
    small = recipe(epochs=1, batch_size=16)
    decoder = NeuralDecoder(small, validation=0.05).fit(X, {"image_embedding": watched}, ids)
    assert watched.most == 16
    plain = NeuralDecoder(small, validation=0.05).fit(X, targets, ids)
    a, b = weights(decoder), weights(plain)
    assert all(np.array_equal(a[k], b[k]) for k in a)


def test_memory_maps_and_functions_serve_as_targets(brains, tmp_path):
    X, targets, ids = training(brains)
    np.save(tmp_path / "y.npy", targets["image_embedding"])
    np.save(tmp_path / "x.npy", X[1])
    maps = np.load(tmp_path / "x.npy", mmap_mode="r"), np.load(tmp_path / "y.npy", mmap_mode="r")
    decoders = [NeuralDecoder(recipe(epochs=1)).fit({1: x}, {"image_embedding": y}, ids) for x, y in
                ((X[1], targets["image_embedding"]), maps,
                 (X[1], lambda names, rng: targets["image_embedding"][names]))]  # fmt: skip
    first, *others = (weights(d) for d in decoders)
    for other in others:
        assert all(np.array_equal(first[k], other[k]) for k in first)


def test_regression_targets_are_mixed_as_the_inputs_are_and_contrastive_ones_are_not(brains):
    X, targets, ids = training(brains, (1, 2))
    mixed = recipe(loss="bimixco_then_soft_clip", mix_until=1.0).with_settings(
        losses=(LossTerm("fit", "mse", "embedding", "image_embedding"),)
    )
    trials = [SubjectTrials(s, X[s], ids[s]) for s in (1, 2)]
    task = DecodingTask(mixed, trials, TargetRows(targets), np.arange(200), np.array([], int), "cycle")
    network = mixed.network({1: 30, 2: 24}).eval()
    batch = task.draw(DecoderSystem(network), place())
    partners, shares = batch.mix
    assert (shares < 1).any()
    assert ((partners < 20) == (torch.arange(40) < 20)).all()  # nobody mixes with another subject
    expected = apply_mix(batch.targets["image_embedding"], partners, shares)
    loss = batch_losses(mixed, DecoderSystem(network), batch, place())["fit"]
    torch.testing.assert_close(loss, (batch.joined["embedding"] - expected).square().mean())
    images = [task.batches.of(s, 0, 0, 0) for s in (0, 1)]
    for s, (numbers, repeats) in enumerate(images):
        own = slice(20 * s, 20 * s + 20)
        x = torch.from_numpy(trials[s].read(numbers, repeats))
        torch.testing.assert_close(
            batch.inputs[str(s + 1)], apply_mix(x, partners[own] - 20 * s, shares[own]), rtol=1e-5, atol=1e-5
        )
        torch.testing.assert_close(
            batch.targets["image_embedding"][own], torch.from_numpy(targets["image_embedding"][numbers])
        )


def test_terms_switch_from_mixing_to_soft_clip_with_their_weights_and_temperatures():
    two = recipe(loss="bimixco_then_soft_clip", mix_until=0.5)
    options = {"temperature": 0.1, "start": 0.004, "end": 0.0075, "weight_after": 3.0}
    two = two.with_settings(losses=(LossTerm("c", "bimixco_then_soft_clip", "embedding", "y", 1.0, options),))
    generator = torch.Generator().manual_seed(0)
    pred, target = (torch.randn(8, D, generator=generator) for _ in range(2))
    batch = Batch({"1": pred}, {"1": {"embedding": pred}}, {"y": target})
    from neuro.decoders.losses import soft_clip
    from neuro.decoders.mixing import bimixco

    system = DecoderSystem(torch.nn.Identity())
    for epoch, tau in ((5, 0.004), (9, 0.0075)):
        loss = batch_losses(two, system, batch, place(epoch, 10))["c"]
        torch.testing.assert_close(loss, 3 * soft_clip(pred, target, tau))
    batch.mix = torch.arange(8), torch.full((8,), 0.5)
    loss = batch_losses(two, system, batch, place(2, 10))["c"]
    torch.testing.assert_close(loss, bimixco(pred, target, *batch.mix, 0.1))


def test_what_leaks_is_refused(brains, fitted):
    X, Y, ids = brains
    with pytest.raises(SplitLeakage, match="60 of 260 training stimuli are test stimuli"):
        NeuralDecoder(recipe()).fit({1: X[1]}, {"image_embedding": Y}, {1: ids}, test_ids=TEST)
    with pytest.raises(SplitLeakage, match="1 of 1 images were in training or validation, first \\[3\\]"):
        fitted.predict(X[1][6:8], [3, 3], 1)
    assert fitted.predict(X[1][6:8], [3, 3], 1, allow_training=True).ids.tolist() == [3]
    new, _, new_ids = training(brains, (3,))
    with pytest.raises(SplitLeakage, match="test stimuli"):
        fitted.reset_tune(3, X[3], {"image_embedding": Y}, ids, test_ids=TEST)
    with pytest.raises(SplitLeakage, match="test stimuli"):
        fitted.reset_tune(3, new[3], {"image_embedding": Y}, new_ids[3], test_ids=TEST, source={1: X[1]},
                          source_ids={1: ids})  # fmt: skip
    assert fitted.subjects_ == ["1", "2"]


def test_what_cannot_be_is_refused_before_training(brains, fitted):
    X, targets, ids = training(brains)
    Y = targets["image_embedding"]
    fit = NeuralDecoder(recipe()).fit
    bad = X[1].copy()
    bad[3, 4] = np.nan
    with pytest.raises(UnknownSubject, match="does not know subject 7; it knows 1, 2"):
        fitted.predict(X[1], subject=7)
    with pytest.raises(UnknownSubject, match="say whose responses"):
        fitted.predict(X[1])
    with pytest.raises(ShapeMismatch, match="knows subject 1 with 30 voxels, got 29"):
        fitted.predict(X[1][:, 1:], subject=1)
    with pytest.raises(ValueError, match="needs targets image_embedding"):
        fit(X, {"tokens": Y}, ids)
    with pytest.raises(ShapeMismatch, match=r"'embedding' is \(6,\) per image, target 'image_embedding' \(5,\)"):
        fit(X, {"image_embedding": Y[:, :5]}, ids)
    with pytest.raises(UnknownStimulus, match="100 of 200 training stimuli have no target, first 100"):
        fit(X, {"image_embedding": Y[:100]}, ids)
    with pytest.raises(ShapeMismatch, match="stimulus of each of 400 trials"):
        fit(X, targets, {1: ids[1][:-1]})
    with pytest.raises(UnknownSubject, match="ids name subject 5"):
        fit(X, targets, {5: ids[1]})
    with pytest.raises(ValueError, match="NaN or infinity in 1 of 30 voxels, first 4"):
        fit({1: bad}, targets, ids)
    with pytest.raises(ValueError, match="not fitted yet"):
        NeuralDecoder(recipe()).predict(X[1])
    with pytest.raises(EmptySelection, match="at least two images"):
        NeuralDecoder(recipe(batch_size=1)).fit(X, targets, ids)
    with pytest.raises(ValueError, match="share is the new subject's part"):
        fitted.reset_tune(1, X[1], targets, ids[1], source={2: brains[0][2][:400]}, source_ids={2: ids[1]}, share=1.0)


def test_responses_name_their_subject_and_stimuli(brains):
    pd = pytest.importorskip("pandas")
    from neuro.data import Responses

    X, targets, ids = training(brains)
    table = pd.DataFrame({"stimulus": ids[1], "subject": 1})
    named = NeuralDecoder(recipe(epochs=1)).fit([Responses(X[1], trials=table)], targets)
    plain = NeuralDecoder(recipe(epochs=1)).fit(X, targets, ids)
    a, b = weights(named), weights(plain)
    assert all(np.array_equal(a[k], b[k]) for k in a)


def test_reciprocal_rank_counts_ties_half():
    assert mean_reciprocal_rank(torch.eye(5), torch.eye(5)) == 1
    same = torch.ones(5, 3)
    assert mean_reciprocal_rank(same, same) == pytest.approx(1 / 3)
    worst = torch.eye(2).flip(0)
    assert mean_reciprocal_rank(worst, torch.eye(2)) == 0.5
