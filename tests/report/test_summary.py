import dataclasses

import numpy as np
import pandas as pd
import pytest

from neuro.data import Voxels
from neuro.errors import EmptySelection
from neuro.report import StudyResults, SubjectResults, answer, summarise

MODELS = [
    {"name": "net", "kind": "pretrained", "layers": ["a", "b", "c"]},
    {"name": "random", "kind": "untrained", "layers": ["a", "b", "c"]},
    {"name": "Gabor", "kind": "control", "layers": ["energy"]},
]
# mean scores of two subjects are these; s1 has 0.1 less, s2 0.1 more
SCORES = {
    "V1": {"net": [0.5, 0.4, 0.2], "random": [0.3, 0.2, 0.1], "Gabor": [0.6]},
    "FFA": {"net": [0.2, 0.3, 0.72], "random": [0.15, 0.2, 0.22], "Gabor": [0.3]},
}


def make(checks=(), best_layer=None, q=0.001, extra_rows=()):
    rows, subjects = [], {}
    for name, shift in (("s1", -0.1), ("s2", 0.1)):
        for roi, cells in SCORES.items():
            for model, values in cells.items():
                layers = next(m["layers"] for m in MODELS if m["name"] == model)
                for layer, value in zip(layers, values, strict=True):
                    score = value + shift
                    rows.append(
                        dict(subject=name, roi=roi, model=model, layer=layer, metric="pearson_r", score=score,
                             ci_low=score - 0.05, ci_high=score + 0.05, n_voxels=2, split="test", q=q)
                    )  # fmt: skip
        ceiling = np.array([0.25, 0.81, 0.64, 0.64])
        rois = {"V1": np.array([1, 1, 0, 0], bool), "FFA": np.array([0, 0, 1, 1], bool)}
        subjects[name] = SubjectResults(name, Voxels(4), rois, {}, ceiling, best_layer=best_layer)
    table = pd.concat([pd.DataFrame(rows), pd.DataFrame(list(extra_rows))]).sample(frac=1, random_state=0)
    return StudyResults("x", "X", table, subjects, MODELS, checks=list(checks))


def test_group_scores_are_means_over_subjects_in_depth_order():
    group = summarise(make()).group
    for roi, cells in SCORES.items():
        for model, values in cells.items():
            own = group[(group["roi"] == roi) & (group["model"] == model)]
            np.testing.assert_allclose(own["score"], values)
            np.testing.assert_allclose(own["ci_high"] - own["ci_low"], 0.1)
            assert list(own["depth"]) == list(range(len(values)))


def test_best_layers_are_where_the_group_peaks():
    s = summarise(make())
    found = {(r.roi, r.model): (r.layer, round(r.score, 6)) for r in s.best.itertuples()}
    assert found["V1", "net"] == ("a", 0.5)
    assert found["FFA", "net"] == ("c", 0.72)
    assert found["V1", "Gabor"] == ("energy", 0.6)
    assert s.chosen_on_test


def test_layers_chosen_in_training_are_taken_even_if_others_score_higher():
    chosen = {(m["name"], roi): m["layers"][-1] for m in MODELS for roi in SCORES}
    s = summarise(make(best_layer=chosen))
    assert not s.chosen_on_test
    v1 = s.best_of("net").set_index("roi").loc["V1"]
    assert (v1["layer"], round(v1["score"], 6)) == ("c", 0.2)


def test_ceilings_are_means_of_roots_for_correlations():
    s = summarise(make())
    assert s.ceiling["V1"] == pytest.approx((0.7, 0.7, 0.7))
    assert s.ceiling["FFA"] == pytest.approx((0.8, 0.8, 0.8))
    v1 = s.best_of("net").set_index("roi").loc["V1"]
    assert v1["share"] == pytest.approx(0.5 / 0.7)


def test_ceilings_of_variance_scores_are_not_rooted():
    results = make()
    s = summarise(dataclasses.replace(results, table=results.table.assign(metric="r2")))
    assert s.ceiling["FFA"][0] == pytest.approx(0.64)


def test_other_metrics_and_unknown_subjects_do_not_enter():
    odd = [
        dict(subject="group", roi="V1", model="net", layer="a", metric="pearson_r", score=9.0, split="test"),
        dict(subject="s1", roi="V1", model="net", layer="a", metric="r2", score=9.0, split="test"),
    ]
    results = make()
    table = pd.concat([results.table, pd.DataFrame(odd)])
    s = summarise(dataclasses.replace(results, table=table))
    pd.testing.assert_frame_equal(s.group, summarise(results).group)


def test_regions_keep_the_order_of_the_subjects():
    assert summarise(make()).rois == ["V1", "FFA"]


def test_the_answer_states_the_numbers():
    results = make()
    text = " ".join(answer(results, summarise(results)))
    assert "net predicts responses to images it was not fitted on in 2 of 2 regions" in text
    assert "best in FFA: mean Pearson r = 0.72 (95% interval 0.67 to 0.77), 90% of the noise ceiling" in text
    assert "earliest in V1 (a, number 1 of 3) and latest in FFA (c, number 3)" in text
    assert "ahead of random (untrained) in 2 of 2 regions (mean difference +0.35)" in text
    assert "ahead of Gabor (control) in 1 of 2 regions (mean difference +0.16); Gabor is at least as good in V1" in text
    assert "planted" not in text


def test_the_answer_does_not_claim_what_is_not_significant():
    results = make(q=0.3)
    assert "in 0 of 2 regions" in answer(results, summarise(results))[0]


def test_failed_checks_are_named():
    checks = [dict(name="a", claim="A holds", passed=True), dict(name="b", claim="B holds", passed=False)]
    results = make(checks=checks)
    assert answer(results, summarise(results))[-1] == "1 of 2 planted-truth checks passed; not passed: B holds."


def test_a_study_without_scores_says_so():
    results = make()
    empty = dataclasses.replace(results, table=results.table.assign(score=np.nan))
    with pytest.raises(EmptySelection, match="no score for its subjects"):
        summarise(empty)
