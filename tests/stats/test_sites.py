"""Integration sites: planted ones pass, every other kind fails at its own gate, and gates err as often as they say."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from neuro.errors import EmptySelection, ShapeMismatch, UnknownModel
from neuro.stats import compare_models, fdr, pearson_r
from neuro.stats.sites import CLASSES, SampledScores, agreeing_sites, sample_scores, site_test

MODELS = {"clip": "multimodal", "resnet": "vision", "bert": "language", "concat": "linear"}


def simulate(quality, n=300, n_times=None, seed=0):
    """Responses, and predictions of s.d. sqrt(q) correlation with them: quality[model] is (n_sites,)."""
    rng = np.random.default_rng(seed)
    n_sites = len(next(iter(quality.values())))
    shape = (n, n_sites) if n_times is None else (n, n_sites, n_times)
    Y = rng.standard_normal(shape)
    out = {}
    for name, r in quality.items():
        r = np.asarray(r, float) if n_times is None else np.asarray(r, float)[:, None]
        out[name] = r * Y + np.sqrt(1 - r**2) * rng.standard_normal(shape)
    return Y, out


@pytest.fixture(scope="module")
def planted():
    """Ten sites of each kind: integrating, and one for each gate that alone fails; ten of noise."""
    base = {"clip": 0.6, "resnet": 0.3, "bert": 0.3, "concat": 0.35, "clip-untrained": 0.1}
    kinds = ["integrates", "vision", "language", "linear", "trained", "noise"]
    quality = {m: np.repeat(base[m], 60).astype(float) for m in base}
    for kind, rival in (
        ("vision", "resnet"),
        ("language", "bert"),
        ("linear", "concat"),
        ("trained", "clip-untrained"),
    ):
        at = 10 * kinds.index(kind)
        quality[rival][at : at + 10] = 0.75
    for m in base:
        quality[m][50:] = 0
    Y, predictions = simulate(quality, n=600)
    return np.repeat(kinds, 10), Y, predictions


def test_each_kind_of_site_passes_and_fails_where_it_should(planted):
    kind, Y, predictions = planted
    scores = sample_scores(Y, predictions, n_bootstraps=500)
    found = site_test(scores, MODELS, {"clip": "clip-untrained"})
    alone = (found.sites["by_default"] == "multimodal").to_numpy()
    assert (found.sites["integrates"].to_numpy() & ~alone == (kind == "integrates")).all()
    gates = found.gates.pivot(index="site", columns="comparison", values="passes")
    for gate in ("vision", "language", "linear", "trained"):
        signal = kind != "noise"
        np.testing.assert_array_equal(gates[gate].to_numpy(bool)[signal], (kind != gate)[signal], err_msg=gate)
    np.testing.assert_array_equal(gates["untrained"].to_numpy(bool), kind == "trained")
    assert found.sites.loc[kind == "vision", "best"].eq("resnet").all()
    assert found.sites.loc[kind == "language", "best_class"].eq("language").all()
    summary = found.summary().set_index("comparison")
    assert summary.loc["integrates", "n_passes"] == 10
    assert summary.loc["integrates", "share"] == pytest.approx(10 / 60)


def test_sites_of_noise_do_not_integrate_even_by_default():
    """2.5 % of them seem predicted, and whoever seems so beats the others there: "predicted" is asked of all sites."""
    quality = {m: np.zeros(500) for m in MODELS}
    for m in quality:
        quality[m][:10] = 0.6 if m == "clip" else 0.3
    found = site_test(sample_scores(*simulate(quality, n=500), n_bootstraps=1000), MODELS)
    noise = found.sites["site"].to_numpy() >= 10
    assert found.sites["integrates"].to_numpy()[~noise].all()
    assert found.sites["integrates"].to_numpy()[noise].mean() <= 0.006
    seemed = found.gates[found.gates["comparison"] == "predicted"]
    assert seemed["p"].notna().all()
    assert 0.01 < (seemed["p"].to_numpy()[noise] < 0.025).mean() < 0.05


def test_gates_state_scores_differences_and_fdr(planted):
    _, Y, predictions = planted
    scores = sample_scores(Y, predictions, n_bootstraps=200)
    gates = site_test(scores, MODELS, {"clip": "clip-untrained"}).gates
    part = gates[(gates["comparison"] == "vision") & gates["p"].notna()]
    clip, resnet = (pearson_r(Y, predictions[m])[part["site"]] for m in ("clip", "resnet"))
    np.testing.assert_allclose(part["score_a"], clip)
    np.testing.assert_allclose(part["difference"], clip - resnet)
    assert ((part["low"] <= part["difference"]) & (part["difference"] <= part["high"])).all()
    for name in gates["comparison"].unique():
        rows = gates[gates["comparison"] == name]
        np.testing.assert_allclose(rows["q"], fdr(rows["p"].to_numpy(float)))
    np.testing.assert_array_equal(gates["passes"], gates["q"] <= 0.05)


def test_bootstrap_is_paired_and_agrees_with_the_comparison_of_two_models(planted):
    _, Y, predictions = planted
    scores = sample_scores(Y, predictions, n_bootstraps=400, seed=3)
    gates = site_test(scores, {"clip": "multimodal", "resnet": "vision"}).gates
    part = gates[gates["comparison"] == "vision"].head(50)
    other = compare_models(Y, predictions["clip"], predictions["resnet"], test="bootstrap", n_resamples=400, seed=3)
    np.testing.assert_allclose(part["low"], other.low[:50], atol=1e-6)
    np.testing.assert_allclose(part["high"], other.high[:50], atol=1e-6)


def test_equal_models_are_told_apart_as_often_as_the_level_says():
    """One-sided p of 400 sites where both models are as good: about 5 % below 0.05, and nothing survives FDR."""
    quality = {"clip": np.full(400, 0.4), "resnet": np.full(400, 0.4)}
    Y, predictions = simulate(quality, n=200, seed=1)
    gates = site_test(sample_scores(Y, predictions, n_bootstraps=400), {"clip": "multimodal", "resnet": "vision"}).gates
    p = gates.loc[gates["comparison"] == "vision", "p"].to_numpy()
    assert 0.02 < (p <= 0.05).mean() < 0.09
    assert 0.4 < np.mean(p) < 0.6
    assert gates.loc[gates["comparison"] == "vision", "passes"].mean() <= 0.01


def test_times_count_only_where_a_model_predicts():
    """Signal in 12 of 30 bins: these are averaged; a model with fewer than min_bins does not stand for its class."""
    n_times, on = 30, slice(9, 21)
    rng = np.random.default_rng(0)
    Y = rng.standard_normal((300, 3, n_times))
    guess = {m: rng.standard_normal(Y.shape) for m in MODELS}
    for m, r in (("clip", 0.6), ("resnet", 0.3), ("concat", 0.35)):
        guess[m][:, :2, on] = r * Y[:, :2, on] + np.sqrt(1 - r**2) * guess[m][:, :2, on]
    guess["bert"][:, 0, 9:13] += Y[:, 0, 9:13]
    found = site_test(sample_scores(Y, guess, n_bootstraps=300), MODELS, level=0.05)
    assert found.min_bins == 10
    row = found.sites.iloc[0]
    assert 12 <= row["bins_multimodal"] <= 15
    assert row["bins_language"] < 10
    assert found.sites["integrates"].tolist() == [True, True, False]
    gates = found.gates.set_index(["comparison", "site"])
    assert gates.loc[("vision", 0), "difference"] == pytest.approx(0.3, abs=0.08)
    assert np.isnan(gates.loc[("vision", 2), "p"])
    assert gates.loc[("vision", 2), "model_a"] == ""


def test_winning_by_default_is_counted_apart():
    quality = {m: np.array([0.5 if m == "clip" else 0.0, 0.5]) for m in MODELS}
    quality["clip"][1] = 0.8
    Y, predictions = simulate(quality)
    found = site_test(sample_scores(Y, predictions, n_bootstraps=300), MODELS)
    assert found.sites["by_default"].tolist() == ["multimodal", ""]
    assert found.sites["integrates"].tolist() == [True, True]
    summary = found.summary().set_index("comparison")["n_passes"]
    assert summary["integrates"] == summary["integrates by default"] == 1


def test_the_best_of_a_class_is_chosen_on_the_validation_events():
    quality = {"slip": np.full(6, 0.6), "clip": np.full(6, 0.5), "simclr": np.full(6, 0.3), "dino": np.full(6, 0.4)}
    classes = {"slip": "multimodal", "clip": "multimodal", "simclr": "vision", "dino": "vision"}
    Y, predictions = simulate(quality)
    scores = sample_scores(Y, predictions, n_bootstraps=200)
    swapped = {**scores, "slip": scores["clip"], "clip": scores["slip"]}
    plain = site_test(scores, classes, pairs=[("slip", "simclr")])
    chosen = site_test(scores, classes, validation=swapped)
    assert plain.sites["best"].eq("slip").all()
    assert chosen.sites["best"].eq("clip").all()
    vision = chosen.gates[chosen.gates["comparison"] == "vision"]
    assert vision["model_a"].eq("clip").all()
    np.testing.assert_allclose(vision["score_a"], scores["clip"].observed)
    assert set(plain.gates["comparison"]) == {"predicted", "vision", "best > second", "slip > simclr"}
    assert plain.gates[plain.gates["comparison"] == "slip > simclr"]["passes"].all()


def test_alignments_must_agree():
    first = {m: np.array([0.7 if m == "clip" else 0.3] * 3) for m in MODELS}
    second = {m: r.copy() for m, r in first.items()}
    second["concat"][1] = 0.8
    tests = [
        site_test(sample_scores(*simulate(q, seed=i), n_bootstraps=200), MODELS, alignment=label, sites=["a", "b", "c"])
        for i, (q, label) in enumerate([(first, "word onset"), (second, "scene cut")])
    ]
    found = agreeing_sites(*tests)
    assert found["word onset"].all()
    assert found["scene cut"].tolist() == [True, False, True]
    assert found["integrates"].tolist() == [True, False, True]
    assert found["site"].tolist() == ["a", "b", "c"]
    with pytest.raises(EmptySelection, match="at least two"):
        agreeing_sites(tests[0])
    other = site_test(sample_scores(*simulate(first), n_bootstraps=200), MODELS, sites=["a", "b", "x"])
    with pytest.raises(ShapeMismatch, match="other sites"):
        agreeing_sites(tests[0], other)


def test_groups_are_drawn_together_and_tensors_serve(planted):
    _, Y, predictions = planted
    groups = np.repeat(np.arange(200), 3)
    together = sample_scores(Y, predictions, n_bootstraps=50, groups=groups)["clip"]
    tensors = sample_scores(
        torch.from_numpy(Y), {"clip": torch.from_numpy(predictions["clip"])}, n_bootstraps=50, groups=groups
    )["clip"]
    np.testing.assert_allclose(tensors.samples, together.samples, atol=1e-5)
    np.testing.assert_allclose(tensors.observed, pearson_r(Y, predictions["clip"]))
    again = sample_scores(Y, predictions, n_bootstraps=50, groups=groups)["clip"]
    np.testing.assert_array_equal(again.samples, together.samples)


def test_results_do_not_hand_out_their_arrays():
    given = np.array([0.5, 0.1])
    found = SampledScores(given, np.zeros((3, 2)))
    given[0] = 9
    assert found.observed[0] == 0.5
    with pytest.raises(ValueError, match="read-only"):
        found.observed[0] = 1


def test_bad_scores(planted):
    _, Y, _ = planted
    with pytest.raises(EmptySelection, match="at least one model"):
        sample_scores(Y, {})
    with pytest.raises(ShapeMismatch, match=r"predictions of 'clip' have shape \(600, 3\)"):
        sample_scores(Y, {"clip": Y[:, :3]})
    with pytest.raises(ShapeMismatch, match="n_events, n_sites"):
        sample_scores(Y[:, 0], {"clip": Y[:, 0]})
    with pytest.raises(ShapeMismatch, match="expected observed"):
        SampledScores(np.zeros(3), np.zeros((10, 2)))


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"classes": {**MODELS, "clip": "joint"}}, ValueError, "class of a model must be 'multimodal'"),
        ({"classes": {"resnet": "vision"}}, ValueError, "at least one multimodal"),
        ({"classes": {**MODELS, "clap": "vision"}}, UnknownModel, "no scores of model 'clap'; did you mean 'clip'"),
        ({"controls": {"resnet": "clip-untrained"}}, ValueError, "controls are of multimodal"),
        ({"controls": {"clip": "resnet"}}, ValueError, "must be an untrained model"),
        ({"controls": {"clip": "nothing"}}, UnknownModel, "'nothing'"),
        ({"pairs": [("clip", "zzz")]}, UnknownModel, "'zzz'"),
        ({"min_bins": 0}, ValueError, "min_bins"),
        ({"level": 2}, ValueError, "level"),
        ({"sites": ["a"]}, ShapeMismatch, "each of 60 sites"),
        ({"validation": {}}, UnknownModel, "'clip'"),
    ],
)
def test_bad_questions(planted, change, error, message):
    _, Y, predictions = planted
    scores = sample_scores(Y, predictions, n_bootstraps=10)
    arguments = {"classes": MODELS, **change}
    with pytest.raises(error, match=message):
        site_test(scores, arguments.pop("classes"), **arguments)


def test_scores_of_different_shapes_are_refused(planted):
    _, Y, predictions = planted
    scores = sample_scores(Y, predictions, n_bootstraps=10)
    fewer = sample_scores(Y, predictions, n_bootstraps=9)
    with pytest.raises(ShapeMismatch, match="one shape and number of bootstraps"):
        site_test({**scores, "bert": fewer["bert"]}, MODELS)
    short = sample_scores(Y[:, :5], {m: p[:, :5] for m, p in predictions.items()}, n_bootstraps=10)
    with pytest.raises(ShapeMismatch, match="validation scores"):
        site_test(scores, MODELS, validation=short)
    assert CLASSES[0] == "multimodal"
