"""RidgeDecoder: closed forms, planted truth, memory, leaks, and bad input."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.linear_model import Ridge as SklearnRidge

from neuro.data import Responses
from neuro.decoders.linear import RidgeDecoder, plan_ridge
from neuro.errors import (
    CorruptFile,
    EmptySelection,
    ShapeMismatch,
    SplitLeakage,
    UnknownStimulus,
    UnknownSubject,
)
from neuro.features.store import Features, LayerRows
from neuro.linear import AlphaAtBoundaryWarning, RidgeCV


@pytest.fixture(params=["wide", "long"])
def data(request):
    """X (n, V) with an offset and unequal scales; tokens (n, 4, 5); in the dual and in the primal regime."""
    rng = np.random.default_rng(3)
    n, v = (30, 55) if request.param == "wide" else (60, 12)
    X = rng.standard_normal((n + 9, v)) * np.linspace(0.5, 3, v) + 2
    tokens = (X @ rng.standard_normal((v, 20)) + rng.standard_normal((n + 9, 20)) - 7).reshape(-1, 4, 5)
    return X[:n], tokens[:n], X[n:], tokens[n:]


def per_token_sklearn(X, tokens, X_new, alpha):
    fits = [SklearnRidge(alpha=alpha).fit(X, tokens[:, i]) for i in range(tokens.shape[1])]
    return np.stack([fit.predict(X_new) for fit in fits], axis=1)


# Closed forms


def test_orthonormal_responses_shrink_every_weight_alike(rng):
    X = np.linalg.qr(rng.standard_normal((40, 6)) - 0.0)[0]
    X = np.linalg.qr(X - X.mean(0))[0]  # orthonormal columns of mean zero
    X -= X.mean(0)
    Y = rng.standard_normal((40, 9))
    decoder = RidgeDecoder(alpha=3.0).fit(X, Y)
    weights = decoder.respond(np.eye(6))["targets"]
    np.testing.assert_allclose(weights, X.T @ Y / 4, atol=1e-12)
    np.testing.assert_allclose(decoder.intercepts()["targets"], Y.mean(0), atol=1e-12)


@pytest.mark.parametrize("alpha", [1e-3, 10.0, 6e4])
def test_all_tokens_at_once_are_sklearns_fits_token_by_token(data, alpha):
    X, tokens, X_new, _ = data
    ours = RidgeDecoder(alpha=alpha).fit(X, {"image_tokens": tokens}).predict(X_new)["image_tokens"]
    np.testing.assert_allclose(ours, per_token_sklearn(X, tokens, X_new, alpha), rtol=1e-10, atol=1e-10)


def test_tokens_are_their_flattened_columns(data):
    X, tokens, X_new, _ = data
    shaped = RidgeDecoder(alpha=5.0).fit(X, tokens).predict(X_new)["targets"]
    flat = RidgeDecoder(alpha=5.0).fit(X, tokens.reshape(len(X), -1)).predict(X_new)["targets"]
    np.testing.assert_array_equal(shaped.reshape(len(X_new), -1), flat)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_primal_is_dual(data, dtype):
    X, tokens, X_new, _ = (a.astype(dtype) for a in data)
    one, two = (RidgeDecoder(alpha=2.0, form=f).fit(X, tokens).predict(X_new)["targets"] for f in ("primal", "dual"))
    assert one.dtype == two.dtype == dtype
    np.testing.assert_allclose(one, two, rtol=1e-9 if dtype == np.float64 else 2e-3, atol=1e-9)


@pytest.mark.parametrize("alpha", [1e-9, 1e-2, 1e3])
def test_single_precision_agrees_with_double_down_to_tiny_penalties(data, alpha):
    X, tokens, X_new, _ = data
    double = RidgeDecoder(alpha=alpha).fit(X, tokens).predict(X_new)["targets"]
    single = RidgeDecoder(alpha=alpha).fit(X.astype(np.float32), tokens.astype(np.float32)).predict(X_new)["targets"]
    assert np.abs(single - double).max() < 1e-3 * np.abs(double).max()


@pytest.mark.filterwarnings("ignore::neuro.linear.AlphaAtBoundaryWarning")
def test_a_grid_gives_every_target_the_penalty_of_its_own_cross_validation(data):
    X, tokens, X_new, _ = data
    grid = np.logspace(-2, 6, 9)
    oracle = RidgeCV(grid, cv=4).fit(X, tokens.reshape(len(X), -1))
    decoder = RidgeDecoder(alpha=grid, cv=4).fit(X, {"image_tokens": tokens})
    assert len(np.unique(oracle.alpha_)) > 1
    np.testing.assert_array_equal(decoder.alpha_[None]["image_tokens"], oracle.alpha_)
    ours = decoder.predict(X_new)["image_tokens"].reshape(len(X_new), -1)
    np.testing.assert_allclose(ours, oracle.predict(X_new), rtol=1e-8, atol=1e-8)


def test_a_narrow_grid_is_said_once_for_all_blocks(data):
    X, tokens, _, _ = data
    with pytest.warns(AlphaAtBoundaryWarning, match="grid of penalties for 'image_tokens'.*columns") as caught:
        RidgeDecoder(alpha=[1e5, 1e6], cv=4, memory_limit=3000).fit(X, {"image_tokens": tokens})
    assert len(caught) == 1


def test_penalties_by_name_are_separate_fits(data):
    X, tokens, X_new, _ = data
    both = RidgeDecoder(alpha={"a": 3.0, "b": 1e4}).fit(X, {"a": tokens, "b": tokens[:, 0]}).predict(X_new)
    for name, alpha, Y in (("a", 3.0, tokens), ("b", 1e4, tokens[:, 0])):
        alone = RidgeDecoder(alpha=alpha).fit(X, {name: Y}).predict(X_new)
        np.testing.assert_array_equal(both[name], alone[name])


def test_standardised_is_ridge_on_z_scores_of_the_training_set(data):
    X, tokens, X_new, _ = data
    mean, sd = X.mean(0), X.std(0, ddof=1)
    ours = RidgeDecoder(alpha=7.0, standardize=True).fit(X, tokens).predict(X_new)["targets"]
    expected = per_token_sklearn((X - mean) / sd, tokens, (X_new - mean) / sd, 7.0)
    np.testing.assert_allclose(ours, expected, rtol=1e-9, atol=1e-9)


def test_constant_voxels_weigh_nothing(data):
    X, tokens, X_new, _ = data
    with_constant = RidgeDecoder(alpha=7.0, standardize=True).fit(np.c_[X, np.full(len(X), 900.0)], tokens)
    without = RidgeDecoder(alpha=7.0, standardize=True).fit(X, tokens)
    shifted = np.c_[X_new, np.full(len(X_new), -5.0)]
    expected = without.predict(X_new)["targets"]
    np.testing.assert_allclose(with_constant.predict(shifted)["targets"], expected, rtol=1e-9, atol=1e-9)


@pytest.mark.filterwarnings("ignore::neuro.linear.AlphaAtBoundaryWarning")
@pytest.mark.parametrize("alpha", [4.0, [4.0, 400.0]])
def test_penalised_intercept_is_the_mean_shrunk_by_n_over_n_plus_alpha(data, alpha):
    X, tokens, _, _ = data
    decoder = RidgeDecoder(alpha=alpha, penalize_intercept=True).fit(X, tokens)
    used = np.broadcast_to(decoder.alpha_[None]["targets"], 20).reshape(4, 5)
    expected = tokens.mean(0) * len(X) / (len(X) + used)
    np.testing.assert_allclose(decoder.intercepts()["targets"], expected, rtol=1e-12)
    np.testing.assert_allclose(decoder.predict(X.mean(0)[None])["targets"][0], expected, rtol=1e-9)
    free = RidgeDecoder(alpha=alpha).fit(X, tokens).intercepts()["targets"]
    np.testing.assert_allclose(free, tokens.mean(0), rtol=1e-12)


def test_penalised_intercept_is_ridge_with_a_column_of_ones(data):
    X, tokens, X_new, _ = data
    mean, alpha = X.mean(0), 6.0
    ones, ones_new = np.c_[X - mean, np.ones(len(X))], np.c_[X_new - mean, np.ones(len(X_new))]
    expected = SklearnRidge(alpha=alpha, fit_intercept=False).fit(ones, tokens.reshape(len(X), -1)).predict(ones_new)
    ours = RidgeDecoder(alpha=alpha, penalize_intercept=True).fit(X, tokens).predict(X_new)["targets"]
    np.testing.assert_allclose(ours.reshape(len(X_new), -1), expected, rtol=1e-9)


def test_predictions_lie_in_the_span_of_the_training_targets(rng):
    X, Y, X_new = rng.standard_normal((12, 30)), rng.standard_normal((12, 200)), rng.standard_normal((50, 30))
    centred = RidgeDecoder(alpha=1.0).fit(X, Y).predict(X_new)["targets"] - Y.mean(0)
    basis = np.linalg.svd(Y - Y.mean(0), full_matrices=False)[2][:11]
    assert np.abs(centred - centred @ basis.T @ basis).max() < 1e-12
    assert np.linalg.matrix_rank(centred) <= 11


# Memory


@pytest.mark.filterwarnings("ignore::neuro.linear.AlphaAtBoundaryWarning")
@pytest.mark.parametrize("alpha", [30.0, [1.0, 30.0, 1e5]])
@pytest.mark.parametrize("keep", ["coordinates", "targets"])
@pytest.mark.parametrize("memory_limit", [2**30, 20_000, 3_000])
def test_chunks_and_what_is_kept_change_nothing(data, tmp_path, alpha, keep, memory_limit):
    X, tokens, X_new, _ = data
    np.save(tmp_path / "tokens.npy", tokens.astype(np.float32))
    on_disk = np.load(tmp_path / "tokens.npy", mmap_mode="r")
    X = X.astype(np.float32)
    reference = RidgeDecoder(alpha=alpha).fit(X, tokens.astype(np.float32)).predict(X_new)["targets"]
    decoder = RidgeDecoder(alpha=alpha, keep=keep, memory_limit=memory_limit).fit(X, on_disk)
    held = decoder.models_[None].targets["targets"]
    assert (held.coordinates is None) == (keep == "targets")
    to_file = decoder.predict(X_new, folder=tmp_path / "out")["targets"]
    assert isinstance(to_file, np.memmap)
    np.testing.assert_allclose(to_file, reference, rtol=1e-4, atol=1e-4)
    np.testing.assert_array_equal(decoder.predict(X_new)["targets"], to_file)


def test_targets_on_disk_are_not_copied(data, tmp_path):
    X, tokens, _, _ = data
    np.save(tmp_path / "tokens.npy", tokens)
    model = RidgeDecoder().fit(X, np.load(tmp_path / "tokens.npy", mmap_mode="r")).models_[None]
    assert model.targets["targets"].coordinates is None
    assert RidgeDecoder().fit(X, tokens).models_[None].targets["targets"].coordinates.shape == (
        20,
        min(29, 12) if len(X) == 60 else 29,
    )


def test_plan_counts_what_is_kept(data):
    X, tokens, _, _ = data
    X, tokens = X.astype(np.float32), tokens.astype(np.float32)
    model = RidgeDecoder().fit(X, tokens).models_[None]
    plan = plan_ridge(len(X), X.shape[1], 20, n_test=9)
    assert plan.kept == model.targets["targets"].coordinates.nbytes
    names = ("rows",) if plan.form == "dual" else ("left", "right")
    assert plan.factors == sum(getattr(model.factor, name).nbytes for name in names)
    assert plan.form == model.factor.form
    assert plan.peak >= plan.responses + plan.factors + plan.kept
    assert "GB" in str(plan)


def test_a_store_of_features_is_found_by_ids_and_read_in_half_precision(data):
    X, tokens, X_new, _ = data
    ids = [f"im{i}" for i in range(len(X))]
    order = np.random.default_rng(0).permutation(len(X))
    flat = tokens.reshape(len(X), -1).astype(np.float16)
    features = Features(np.array(ids)[order], {"tokens": LayerRows(flat[order])}, {"tokens": (4, 5)}, {})
    found = RidgeDecoder(alpha=2.0).fit(X, features, ids=ids).predict(X_new)["tokens"]
    expected = RidgeDecoder(alpha=2.0).fit(X.astype(np.float32), flat.astype(np.float32)).predict(X_new)["targets"]
    assert found.shape == (9, 4, 5)
    np.testing.assert_allclose(found.reshape(9, -1), expected, rtol=1e-3, atol=1e-3)


# Subjects, repeats, ids


def test_single_trials_find_their_targets_by_id(rng):
    X, Y = rng.standard_normal((30, 7)), rng.standard_normal((10, 4))
    ids = np.tile(np.arange(100, 110), 3)
    spread = RidgeDecoder(alpha=1.0).fit(X, Y[ids - 100], ids=ids)
    found = RidgeDecoder(alpha=1.0).fit(X, Y, ids=ids, target_ids=np.arange(100, 110))
    X_new = rng.standard_normal((3, 7))
    np.testing.assert_array_equal(spread.predict(X_new)["targets"], found.predict(X_new)["targets"])
    with pytest.raises(UnknownStimulus, match="3 training items have no target, first 109"):
        RidgeDecoder().fit(X, Y[:9], ids=ids, target_ids=np.arange(100, 109))


def test_averaging_voxels_is_averaging_outputs_for_a_linear_decoder(data):
    X, tokens, X_new, _ = data
    ids = np.array([901, 902, 903, 901, 902, 901, 904, 904, 905])
    by_voxels, by_outputs = (
        RidgeDecoder(alpha=3.0, average_repeats=how).fit(X, tokens).predict(X_new, ids) for how in ("voxels", "outputs")
    )
    np.testing.assert_array_equal(by_voxels.ids, [901, 902, 903, 904, 905])
    np.testing.assert_allclose(by_voxels["targets"], by_outputs["targets"], rtol=1e-10, atol=1e-10)
    alone = RidgeDecoder(alpha=3.0).fit(X, tokens).predict(X_new[[0, 3, 5]].mean(0)[None])["targets"][0]
    np.testing.assert_allclose(by_voxels["targets"][0], alone, rtol=1e-10)
    assert by_outputs.provenance["average_repeats"] == "outputs"


def test_several_subjects_are_separate_fits(rng):
    X = {1: rng.standard_normal((25, 6)), "two": rng.standard_normal((20, 9))}
    ids = {1: np.arange(25), "two": np.arange(5, 25)}
    Y = rng.standard_normal((25, 3))
    decoder = RidgeDecoder(alpha=1.0).fit(X, {"y": Y}, ids=ids, target_ids=np.arange(25))
    for subject, rows in ids.items():
        new = rng.standard_normal((4, X[subject].shape[1]))
        alone = RidgeDecoder(alpha=1.0).fit(X[subject], {"y": Y[rows]}).predict(new)
        decoded = decoder.predict(new, subject=subject)
        assert decoded.subject == subject
        np.testing.assert_allclose(decoded["y"], alone["y"], rtol=1e-12)
    own = RidgeDecoder(alpha=1.0).fit(X, {1: {"y": Y}, "two": {"y": Y[5:]}})
    new = rng.standard_normal((4, 9))
    np.testing.assert_array_equal(own.predict(new, subject="two")["y"], decoder.predict(new, subject="two")["y"])


def test_responses_name_subject_and_stimuli(rng):
    Y = rng.standard_normal((12, 3))
    train = Responses(rng.standard_normal((12, 5)), pd.DataFrame({"stimulus": np.arange(12)}), subject=4)
    test = Responses(rng.standard_normal((6, 5)), pd.DataFrame({"stimulus": [50, 51, 52] * 2}), subject=4)
    decoder = RidgeDecoder().fit(train, {"y": Y})
    decoded = decoder.predict(test)
    assert decoded.subject == 4
    np.testing.assert_array_equal(decoded.ids, [50, 51, 52])
    other = Responses(rng.standard_normal((6, 5)), pd.DataFrame({"stimulus": [50, 51, 52] * 2}), subject=5)
    with pytest.raises(UnknownSubject, match="subject 5 was not fitted; there is 4"):
        decoder.predict(other)


# Rescaling: who may know what


@pytest.mark.parametrize("policy", ["none", "train_fold", "reference", "transductive"])
def test_only_the_transductive_policy_lets_test_items_see_one_another(data, policy):
    X, tokens, X_new, _ = data
    decoder = RidgeDecoder(alpha=500.0, rescaling=policy, reference_sd=2.0 if policy == "reference" else None)
    decoder.fit(X, tokens)
    few, more = decoder.predict(X_new[:5])["targets"], decoder.predict(X_new)["targets"][:5]
    changed = not np.allclose(few, more, rtol=1e-9, atol=1e-9)
    assert changed == (policy == "transductive")
    if policy == "transductive":
        with pytest.raises(ValueError, match="one item"):
            decoder.predict(X_new[:1])
    else:
        np.testing.assert_allclose(decoder.predict(X_new[:1])["targets"], more[:1], rtol=1e-9, atol=1e-9)


def test_transductive_output_has_the_spread_of_the_training_targets(data):
    X, tokens, X_new, _ = data
    decoded = RidgeDecoder(alpha=500.0, rescaling="transductive").fit(X, tokens).predict(X_new)
    np.testing.assert_allclose(decoded["targets"].mean(0), tokens.mean(0), rtol=1e-10)
    np.testing.assert_allclose(decoded["targets"].std(0, ddof=1), tokens.std(0, ddof=1), rtol=1e-10)
    assert decoded.provenance["rescaling"] == "transductive"
    assert decoded.provenance["leaks"]


def test_train_fold_statistics_come_from_fits_that_left_the_stimulus_out(rng):
    X, W = rng.standard_normal((600, 6)), rng.standard_normal((6, 3))
    ids = np.repeat(np.arange(300), 2)
    Y = X @ W + 3
    decoder = RidgeDecoder(alpha=1000.0, rescaling="train_fold").fit(X, Y, ids=ids)
    held_out = decoder.held_out_statistics_[None]["targets"]
    fold = np.random.default_rng(0).permutation(300) % 5
    predicted = np.empty_like(Y)
    for k in range(5):
        inside = fold[ids] == k
        predicted[inside] = SklearnRidge(alpha=1000.0).fit(X[~inside], Y[~inside]).predict(X[inside])
    np.testing.assert_allclose(held_out.mean, predicted.mean(0), rtol=1e-9)
    np.testing.assert_allclose(held_out.sd, predicted.std(0, ddof=1), rtol=1e-9)
    X_new = rng.standard_normal((2000, 6))
    spread = decoder.predict(X_new)["targets"].std(0)
    shrunk = RidgeDecoder(alpha=1000.0).fit(X, Y).predict(X_new)["targets"].std(0)
    overshoot = (600 / 1600) / (480 / 1480)  # fits to four fifths of the items shrink more than the one to all
    np.testing.assert_allclose(spread / (X_new @ W).std(0), overshoot, rtol=0.07)
    assert np.all(shrunk < 0.6 * Y.std(0))


# Planted end to end


def identification(predicted, truth):
    """Share of the other items that a decoded item is less similar to than to its own truth."""
    C = np.corrcoef(truth, predicted)[: len(truth), len(truth) :]
    own = np.diag(C)
    return float((own > C).sum(0).mean() / (len(truth) - 1))


def planted(snr, shuffle=False, seed=0):
    rng = np.random.default_rng(seed)
    n, n_test, v = 300, 60, 80
    tokens = rng.standard_normal((n + n_test, 3, 8))
    signal = tokens.reshape(len(tokens), -1) @ rng.standard_normal((24, v))
    X = snr * signal / signal.std() + rng.standard_normal(signal.shape)
    train = rng.permutation(n) if shuffle else np.arange(n)
    decoder = RidgeDecoder(alpha=100.0).fit(X[:n], {"image_tokens": tokens[train]})
    found = decoder.predict(X[n:])["image_tokens"]
    return identification(found.reshape(n_test, -1), tokens[n:].reshape(n_test, -1))


def test_identification_rises_with_the_planted_signal():
    scores = [planted(snr) for snr in (0.03, 0.1, 0.3, 1.0)]
    assert scores == sorted(scores)
    assert scores[0] < 0.75
    assert scores[-1] > 0.98


def test_identification_is_at_chance_when_pairs_are_shuffled():
    scores = [planted(1.0, shuffle=True, seed=seed) for seed in range(12)]
    error = np.std(scores, ddof=1) / np.sqrt(len(scores))
    assert abs(np.mean(scores) - 0.5) < 3 * error
    assert np.ptp(scores) < 0.35


def test_score_is_sklearns_r2_averaged_over_columns(data):
    X, tokens, X_new, truth = data
    ours = RidgeDecoder(alpha=3.0).fit(X, {"image_tokens": tokens}).score(X_new, {"image_tokens": truth})
    flat = SklearnRidge(alpha=3.0).fit(X, tokens.reshape(len(X), -1))
    assert isinstance(ours, float)
    assert ours == pytest.approx(flat.score(X_new, truth.reshape(len(X_new), -1)), abs=1e-10)


# Files


@pytest.mark.filterwarnings("ignore::neuro.linear.AlphaAtBoundaryWarning")
@pytest.mark.parametrize("keep", ["coordinates", "targets"])
def test_saved_decoder_decodes_the_same(data, tmp_path, keep):
    X, tokens, X_new, _ = data
    decoder = RidgeDecoder(alpha={"t": [1.0, 50.0]}, standardize=True, rescaling="train_fold", keep=keep)
    decoder.fit({"s1": X, 2: X[:, :9]}, {"t": tokens}, ids={"s1": np.arange(len(X)), 2: np.arange(len(X))})
    decoder.save(tmp_path / "decoder")
    loaded = RidgeDecoder.load(tmp_path / "decoder")
    for subject, new in (("s1", X_new), (2, X_new[:, :9])):
        one, two = (d.predict(new, np.arange(500, 509), subject) for d in (decoder, loaded))
        np.testing.assert_allclose(one["t"], two["t"], rtol=1e-12)
        assert two.provenance["rescaling"] == "train_fold"
    with pytest.raises(SplitLeakage):
        loaded.predict(X_new, np.arange(9), "s1")
    assert not [p for p in (tmp_path / "decoder").iterdir() if p.suffix not in (".json", ".npy", ".safetensors")]


@pytest.mark.parametrize("victim", ["0-0.npy", "0.safetensors"])
def test_damaged_files_are_named(data, tmp_path, victim):
    X, tokens, _, _ = data
    folder = RidgeDecoder().fit(X, tokens).save(tmp_path / "decoder")
    whole = (folder / victim).read_bytes()
    (folder / victim).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(CorruptFile, match="incomplete"):
        RidgeDecoder.load(folder)
    (folder / victim).unlink()
    with pytest.raises(CorruptFile, match="incomplete"):
        RidgeDecoder.load(folder)


# Bad input


def test_voxel_count_of_another_subject_is_refused(data):
    X, tokens, X_new, _ = data
    decoder = RidgeDecoder().fit(X, tokens)
    with pytest.raises(ShapeMismatch, match=rf"fitted with {X.shape[1]} voxels, X has {X.shape[1] - 2}"):
        decoder.predict(X_new[:, 2:])


def test_training_stimuli_are_refused_in_the_test_set(data):
    X, tokens, X_new, _ = data
    decoder = RidgeDecoder().fit(X, tokens, ids=np.arange(len(X)))
    with pytest.raises(SplitLeakage, match="2 of 9 test stimuli were in the training set"):
        decoder.predict(X_new, ids=[0, 1, *range(1000, 1007)])
    assert decoder.predict(X, np.arange(len(X)), allow_training=True)["targets"].shape == tokens.shape


def test_unknown_subject_and_ambiguous_subject_are_refused(data):
    X, tokens, X_new, _ = data
    decoder = RidgeDecoder().fit({1: X, 2: X}, {1: tokens, 2: tokens})
    with pytest.raises(UnknownSubject, match="subject 3 was not fitted; there is 1, 2"):
        decoder.predict(X_new, subject=3)
    with pytest.raises(UnknownSubject, match="subject None"):
        decoder.predict(X_new)


def test_other_bad_input_is_named(data):
    X, tokens, X_new, _ = data
    with pytest.raises(ShapeMismatch, match=r"have (29|59) rows for"):
        RidgeDecoder().fit(X, tokens[1:])
    broken = tokens.copy()
    broken[2, 1, 3] = np.inf
    with pytest.raises(ValueError, match=r"1 of the columns 0 to 20, first 8\. Half precision"):
        RidgeDecoder().fit(X, broken)
    holes = X.copy()
    holes[1, 4] = np.nan
    with pytest.raises(ValueError, match=r"in 1 of \d+ voxels \(the first is 4\)"):
        RidgeDecoder().fit(holes, tokens)
    with pytest.raises(ShapeMismatch, match="names no penalty for target 'targets'"):
        RidgeDecoder(alpha={"target": 1.0}).fit(X, tokens)
    with pytest.raises(ValueError, match="above 0"):
        RidgeDecoder(alpha=-1.0).fit(X, tokens)
    with pytest.raises(ValueError, match="reference_sd"):
        RidgeDecoder(rescaling="reference").fit(X, tokens)
    with pytest.raises(EmptySelection, match="at least 5 groups"):
        RidgeDecoder(rescaling="train_fold").fit(X[:4], tokens[:4])
    with pytest.raises(ValueError, match="not fitted"):
        RidgeDecoder().predict(X_new)
    with pytest.raises(ShapeMismatch, match="one row per item"):
        RidgeDecoder().fit(X, tokens[:, 0, 0])


def test_inputs_are_left_alone_and_fitted_state_does_not_follow_them(data):
    X, tokens, X_new, _ = (a.copy() for a in data)
    before = [a.copy() for a in (X, tokens, X_new)]
    decoder = RidgeDecoder(alpha=2.0, standardize=True).fit(X, tokens)
    first = decoder.predict(X_new)["targets"].copy()
    for a, b in zip((X, tokens, X_new), before, strict=True):
        np.testing.assert_array_equal(a, b)
    X[:], tokens[:] = 0, 0
    np.testing.assert_array_equal(decoder.predict(X_new)["targets"], first)


def test_tensors_are_read_too(data):
    X, tokens, X_new, _ = data
    arrays = RidgeDecoder().fit(X, tokens).predict(X_new)["targets"]
    tensors = RidgeDecoder().fit(torch.from_numpy(X), torch.from_numpy(tokens)).predict(torch.from_numpy(X_new))
    np.testing.assert_array_equal(arrays, tensors["targets"])
