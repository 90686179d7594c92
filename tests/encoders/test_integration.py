"""Integration of image and text: only sites with a planted interaction are called integrating."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

from neuro.data import Responses
from neuro.encoders import RidgeCV
from neuro.encoders.integration import joint_beats_parts
from neuro.errors import ShapeMismatch
from neuro.stats import pearson_r

pytestmark = pytest.mark.filterwarnings("ignore::neuro.encoders.AlphaAtBoundaryWarning")
KINDS = ("image", "text", "sum", "noise", "interaction")


def simulate(n=400, k=20, p=3, seed=0):
    """Sites of each kind, k of them; joint features are a mixture of image, text and their products."""
    r = np.random.default_rng(seed)
    image, text = r.standard_normal((2, n, p))
    products = np.einsum("ni,nj->nij", image, text).reshape(n, -1)

    def read(A):
        signal = A @ r.standard_normal((A.shape[1], k))
        return signal / signal.std(0)

    signals = [read(image), read(text), (read(image) + read(text)) / np.sqrt(2), np.zeros((n, k)), read(products)]
    Y = np.hstack(signals) + r.standard_normal((n, 5 * k))
    whole = np.hstack([image, text, products])
    joint = whole @ r.standard_normal((whole.shape[1], 24))
    untrained = np.hstack([image, text]) @ r.standard_normal((2 * p, 24)) + 0.3 * r.standard_normal((n, 24))
    return {"image": image, "text": text, "joint": joint}, products, untrained, Y, np.repeat(KINDS, k)


@pytest.mark.parametrize("nested", [False, True])
def test_only_interactions_integrate(nested):
    X, products, untrained, Y, kind = simulate()
    if nested:  # features of the interaction alone: what they add to the union is asked
        X = {**X, "joint": products}
    found = joint_beats_parts(X, Y, untrained=untrained, nested=nested, n_bootstraps=400)
    assert found.integrates[kind == "interaction"].all()
    assert found.integrates[kind != "interaction"].mean() <= 0.05
    gates = found.test.gates.pivot(index="site", columns="comparison", values="passes")
    for name in ("sum", "image"):  # one part at a time is beaten, the union is not
        assert gates.loc[kind == name, "language"].all()
        assert gates.loc[kind == name, "linear"].mean() <= 0.1
    assert gates.loc[kind == "sum", "vision"].all()
    assert gates.loc[kind == "image", "vision"].mean() <= 0.1
    expected = {"image": "image", "text": "text", "sum": "union"}
    for name, best in expected.items():
        here = {m: s[kind == name].mean() for m, s in found.scores.items()}
        assert here[best] == pytest.approx(np.sqrt(0.5), abs=0.06)


@pytest.mark.slow
def test_false_positives_stay_near_the_level():
    """Ten data sets: sites without interaction are called integrating in far fewer than 5 % of the cases."""
    wrong = []
    for seed in range(10):
        X, _, untrained, Y, kind = simulate(n=300, k=30, seed=seed)
        found = joint_beats_parts(X, Y, untrained=untrained, encoder=RidgeCV([1.0, 10.0, 100.0]), n_bootstraps=300)
        wrong.append(found.integrates[kind != "interaction"].mean())
    assert np.mean(wrong) < 0.02


def test_an_untrained_network_that_does_as_well_takes_the_claim_away():
    X, _, untrained, Y, kind = simulate(k=10)
    r = np.random.default_rng(9)
    twin = X["joint"] @ r.standard_normal((24, 24))
    interaction = kind == "interaction"
    ridge = RidgeCV([1.0, 10.0, 100.0])
    fair = joint_beats_parts(X, Y, untrained=untrained, encoder=ridge, n_bootstraps=300)
    assert fair.integrates[interaction].all()
    found = joint_beats_parts(X, Y, untrained=twin, encoder=ridge, n_bootstraps=300)
    assert not found.integrates[interaction].any()
    gates = found.test.gates.pivot(index="site", columns="comparison", values="passes")
    assert gates.loc[interaction, "linear"].all()
    assert not gates.loc[interaction, "trained"].any()


def test_a_matched_model_of_one_modality_is_compared_apart():
    X, _, untrained, Y, kind = simulate(k=10)
    r = np.random.default_rng(9)
    ridge = RidgeCV([1.0, 10.0, 100.0])
    vision_only = X["image"] @ r.standard_normal((3, 24))
    found = joint_beats_parts(X, Y, untrained=untrained, matched=vision_only, encoder=ridge, n_bootstraps=300)
    gate = found.test.gates[found.test.gates["comparison"] == "joint > matched"].set_index("site")
    assert gate["passes"][np.isin(kind, ["text", "sum", "interaction"])].all()
    assert gate["passes"][kind == "image"].mean() <= 0.1
    twin = X["joint"] @ r.standard_normal((24, 24))
    same = joint_beats_parts(X, Y, untrained=untrained, matched=twin, encoder=ridge, n_bootstraps=300)
    np.testing.assert_array_equal(same.integrates, found.integrates)
    assert not same.test.gates[same.test.gates["comparison"] == "joint > matched"]["passes"].any()


def test_joint_features_equal_to_the_union_never_integrate():
    X, _, _, Y, _ = simulate(k=8)
    X = {**X, "joint": np.hstack([X["image"], X["text"]])}
    found = joint_beats_parts(X, Y, encoder=RidgeCV([1.0, 10.0]), n_bootstraps=200)
    np.testing.assert_allclose(found.scores["joint"], found.scores["union"])
    assert not found.integrates.any()
    assert "trained" not in set(found.test.gates["comparison"])


def test_scores_are_those_of_out_of_fold_predictions():
    X, _, _, Y, _ = simulate(n=120, k=3)
    splits = [(np.arange(60, 120), np.arange(60)), (np.arange(60), np.arange(60, 120))]
    found = joint_beats_parts(X, Y, encoder=RidgeCV([3.0], cv=3), cv=splits, n_bootstraps=20)
    parts = []
    for train, val in splits:
        parts.append(RidgeCV([3.0], cv=3).fit(X["joint"][train], Y[train]).predict(X["joint"][val]))
    np.testing.assert_allclose(found.scores["joint"], pearson_r(Y, np.concatenate(parts)))
    assert found.metric == "pearson_r"


def test_sites_with_a_time_axis():
    """Intracranial-like: interaction between 5 and 20 of 24 windows; a site of the sum at the same times."""
    X, products, _, _, _ = simulate(n=300, k=1)
    r = np.random.default_rng(3)
    Y = r.standard_normal((300, 3, 24))
    both, linear = products[:, 0], X["image"][:, 0] + X["text"][:, 0]
    Y[:, 0, 5:20] += both[:, None]
    Y[:, 1, 5:20] += linear[:, None]
    found = joint_beats_parts(
        X, Y, encoder=RidgeCV([1.0, 10.0]), n_bootstraps=300, sites=["LH1", "LH2", "RH1"], alignment="word onset"
    )
    assert found.integrates.tolist() == [True, False, False]
    assert found.test.min_bins == 10
    assert found.scores["joint"].shape == (3, 24)
    assert found.scores["joint"][0, 5:20].min() > 0.4 > found.scores["joint"][0, :5].max()
    assert found.test.sites["site"].tolist() == ["LH1", "LH2", "RH1"]
    assert found.test.sites["alignment"].eq("word onset").all()
    responses = Responses(Y, times=np.arange(24) / 10)
    again = joint_beats_parts(X, responses, encoder=RidgeCV([1.0, 10.0]), n_bootstraps=300)
    np.testing.assert_allclose(again.scores["joint"], found.scores["joint"], atol=1e-4)


def test_repeats_stay_together_and_the_seed_decides():
    X, _, _, Y, _ = simulate(n=120, k=3)
    stimulus = np.repeat(np.arange(40), 3)
    X = {name: np.repeat(part[:40], 3, axis=0) for name, part in X.items()}
    responses = Responses(Y, pd.DataFrame({"stimulus": stimulus}))
    ridge = RidgeCV([10.0], cv=3)
    first, again = (joint_beats_parts(X, responses, encoder=ridge, cv=3, n_bootstraps=50, rng=4) for _ in range(2))
    pd.testing.assert_frame_equal(first.test.gates, again.test.gates)
    plain = joint_beats_parts(X, Y.astype(np.float32), groups=stimulus, encoder=ridge, cv=3, n_bootstraps=50, rng=4)
    np.testing.assert_allclose(plain.scores["joint"], first.scores["joint"], atol=1e-6)
    other = joint_beats_parts(X, responses, encoder=ridge, cv=3, n_bootstraps=50, rng=5)
    assert not np.allclose(other.scores["joint"], first.scores["joint"])


def test_tensors_give_the_same():
    X, _, _, Y, _ = simulate(n=120, k=3)
    ridge = RidgeCV([10.0], cv=3)
    plain = joint_beats_parts(X, Y, encoder=ridge, n_bootstraps=50)
    tensors = {name: torch.from_numpy(part) for name, part in X.items()}
    found = joint_beats_parts(tensors, torch.from_numpy(Y), encoder=ridge, n_bootstraps=50)
    np.testing.assert_allclose(found.scores["joint"], plain.scores["joint"], atol=1e-9)


def test_bad_input():
    X, _, untrained, Y, _ = simulate(n=60, k=2)
    with pytest.raises(ValueError, match=r"'image', 'text' and 'joint', got \['image', 'text'\]"):
        joint_beats_parts({"image": X["image"], "text": X["text"]}, Y)
    with pytest.raises(ValueError, match="got ndarray"):
        joint_beats_parts(X["image"], Y)
    with pytest.raises(ShapeMismatch, match="same stimuli"):
        joint_beats_parts(X, Y[:-1])
    with pytest.raises(ShapeMismatch):
        joint_beats_parts(X, Y, untrained=untrained[:-1])
    with pytest.raises(ShapeMismatch, match="n_stimuli, n_sites"):
        joint_beats_parts(X, Y[..., None, None])
    with pytest.raises(ValueError, match="groups must have one entry"):
        joint_beats_parts(X, Y, groups=np.arange(5))
    with pytest.raises(ValueError, match="voxels"):
        joint_beats_parts(X, np.full_like(Y, np.nan), encoder=RidgeCV([1.0]))
    with pytest.raises(ValueError, match="metric must be"):
        joint_beats_parts(X, Y, metric="spearman")
    with pytest.raises(ValueError, match="level"):
        joint_beats_parts(X, Y, level=0)
    with pytest.raises(ValueError, match="n_bootstraps"):
        joint_beats_parts(X, Y, n_bootstraps=0)
