"""RDMs from judgements, odd-one-out agreement, ceilings, levels of abstraction."""

import importlib
import itertools

import numpy as np
import pandas as pd
import pytest

from neuro.errors import EmptySelection, NoRepeats, ShapeMismatch
from neuro.rsa.behaviour import rdm_from_arrangements, rdm_from_ratings, rdm_from_triplets, triplet_counts
from neuro.rsa.container import RDMs
from neuro.rsa.odd_one_out import (
    agreement_ceiling,
    check_triplets,
    choice_entropy,
    choice_probabilities,
    error_consistency,
    level_report,
    odd_one_out,
    odd_one_out_accuracy,
    response_counts,
    response_entropy,
    sample_triplets,
    triplet_levels,
    triplet_similarities,
)


def random_triplets(rng, n_items, n):
    return np.stack([rng.choice(n_items, 3, replace=False) for _ in range(n)])


def test_counts_are_those_of_a_loop(rng):
    t = random_triplets(rng, 6, 200)
    together, shown = triplet_counts(t)
    for row, (a, b) in enumerate(itertools.combinations(range(6), 2)):
        assert shown[row] == sum({a, b} <= set(x) for x in t.tolist())
        assert together[row] == sum({a, b} == set(x[:2]) for x in t.tolist())


def test_rdm_of_triplets_is_one_minus_the_share_left_together():
    rdm = rdm_from_triplets([[0, 1, 2], [1, 0, 3], [0, 2, 1]], conditions=list("abcd"))
    d = rdm.matrices[0]
    assert d[0, 1] == pytest.approx(1 / 3)
    assert d[0, 2] == pytest.approx(1 / 2)
    assert d[1, 2] == 1
    assert np.isnan(d[2, 3])
    assert rdm.settings["pairs_shown"] == pytest.approx(5 / 6)


def test_prior_pulls_towards_chance_and_fills_what_was_not_shown():
    rdm = rdm_from_triplets([[0, 1, 2], [1, 0, 3]], prior=3.0)
    d = rdm.matrices[0]
    assert d[2, 3] == pytest.approx(2 / 3)
    assert d[0, 1] == pytest.approx(1 - 3 / 5)
    assert d[0, 2] == pytest.approx(1 - 1 / 4)


def test_empirical_prior_lowers_the_error(rng):
    n, truth = 12, np.sort(rng.beta(2, 4, 66))
    shown = rng.integers(1, 6, 66)
    i, j = np.triu_indices(n, 1)
    rows = []
    for a, b, p, k in zip(i, j, truth, shown, strict=True):
        for _ in range(k):
            other = rng.choice([x for x in range(n) if x not in (a, b)])
            rows.append([a, b, other] if rng.random() < p else [a, other, b])
    plain = rdm_from_triplets(rows, n).dissimilarities[0]
    smooth = rdm_from_triplets(rows, n, prior="empirical")
    assert 0.1 < smooth.settings["prior_mean"] < 0.6
    target = rdm_from_triplets(rows * 1, n, prior=0.0).dissimilarities[0]
    assert np.std(smooth.dissimilarities) < np.std(target[np.isfinite(plain)])


def test_empirical_prior_finds_the_planted_beta(rng):
    from neuro.rsa.behaviour import _beta_binomial

    trials = np.full(4000, 20)
    hits = rng.binomial(trials, rng.beta(2, 4, 4000))
    mean, strength = _beta_binomial(hits, trials)
    assert mean == pytest.approx(1 / 3, abs=0.01)
    assert strength == pytest.approx(6, rel=0.08)


def test_triplets_of_a_known_geometry_give_back_its_order(rng):
    x = np.arange(6.0)[:, None]
    d = np.abs(x - x.T)
    rows = []
    for a, b, c in itertools.combinations(range(6), 3):
        pairs = sorted([(d[a, b], (a, b, c)), (d[a, c], (a, c, b)), (d[b, c], (b, c, a))])
        if pairs[0][0] < pairs[1][0]:
            rows.append(pairs[0][1])
    rdm = rdm_from_triplets(rows, 6).matrices[0]
    assert rdm[0, 1] == rdm[4, 5] == pytest.approx(np.nanmin(rdm[np.triu_indices(6, 1)]))
    assert rdm[0, 5] == 1
    assert odd_one_out_accuracy(RDMs(d), rows) == 1.0


def test_accuracy_is_that_of_a_loop(rng):
    X = rng.normal(size=(20, 5))
    t = random_triplets(rng, 20, 300)
    for kind in ("cosine", "dot"):
        Z = X / np.linalg.norm(X, axis=1, keepdims=True) if kind == "cosine" else X
        right = [Z[a] @ Z[b] > Z[a] @ Z[c] and Z[a] @ Z[b] > Z[b] @ Z[c] for a, b, c in t]
        assert odd_one_out_accuracy(X, t, kind) == pytest.approx(np.mean(right))
        assert np.array_equal(odd_one_out(X, t, kind) == 2, right)


def test_chance_is_a_third_and_ties_are_wrong(rng):
    t = random_triplets(rng, 60, 20000)
    assert odd_one_out_accuracy(rng.normal(size=(60, 30)), t) == pytest.approx(1 / 3, abs=0.02)
    assert odd_one_out_accuracy(np.ones((60, 4)), t) == 0
    assert (odd_one_out(np.ones((60, 4)), t) == -1).all()
    two = np.array([[1.0, 0], [1, 0], [1, 0], [0, 1]])
    assert odd_one_out_accuracy(two, [[0, 1, 3], [0, 1, 2], [0, 3, 1]], per_triplet=True).tolist() == [
        True,
        False,
        False,
    ]


def test_a_zero_vector_is_like_nothing():
    s = triplet_similarities(np.array([[0.0, 0], [1, 0], [1, 1]]), [[0, 1, 2]])
    assert np.allclose(s, [[0, 0, np.sqrt(0.5)]])


def test_chunks_do_not_matter(rng, monkeypatch):
    X, t = rng.normal(size=(20, 5)), random_triplets(rng, 20, 100)
    whole = triplet_similarities(X, t)
    module = importlib.import_module("neuro.rsa.odd_one_out")  # neuro.rsa.odd_one_out is the function
    monkeypatch.setattr(module, "CHUNK", 17)
    assert np.array_equal(whole, triplet_similarities(X, t))


def test_tensors_give_the_same(rng):
    torch = pytest.importorskip("torch")
    X, t = rng.normal(size=(20, 5)), random_triplets(rng, 20, 100)
    Xt = torch.tensor(X, requires_grad=True)
    p = choice_probabilities(Xt, t, temperature=0.3)
    assert np.allclose(p.detach(), choice_probabilities(X, t, temperature=0.3))
    assert np.allclose(choice_entropy(p).detach(), choice_entropy(p.detach().numpy()))
    assert odd_one_out_accuracy(Xt, t) == odd_one_out_accuracy(X, t)
    p[:, 0].sum().backward()
    assert torch.isfinite(Xt.grad).all()


def test_entropy_runs_from_zero_to_log_three():
    assert choice_entropy(np.array([[1, 0, 0], [1 / 3] * 3])) == pytest.approx([0, np.log(3)])
    p = choice_probabilities(np.eye(3), [[0, 1, 2]])
    assert np.allclose(p, 1 / 3)
    sharp = choice_probabilities(np.array([[1.0, 0], [1, 0], [0, 1]]), [[0, 1, 2]], temperature=0.01)
    assert choice_entropy(sharp)[0] < 1e-10


def test_ceiling_is_the_mean_majority_share():
    t = [[0, 1, 2]] * 3 + [[0, 2, 1]] + [[3, 4, 5], [4, 3, 5]] + [[6, 7, 8]]
    assert agreement_ceiling(t) == pytest.approx((0.75 + 1.0) / 2)
    assert agreement_ceiling(t, leave_one_out=True) == pytest.approx((0.75 + 1.0) / 2)
    assert agreement_ceiling([[0, 1, 2], [0, 2, 1]], leave_one_out=True) == 0
    with pytest.raises(NoRepeats, match="twice"):
        agreement_ceiling([[0, 1, 2]])


def test_leaving_one_out_is_a_loop_over_answers(rng):
    t = np.concatenate([rng.permuted(np.tile(s, (5, 1)), axis=1) for s in ([0, 1, 2], [1, 2, 3], [2, 4, 5])])
    scores = []
    for s in np.unique(np.sort(t, 1), axis=0):
        answers = [x[2] for x in t.tolist() if sorted(x) == s.tolist()]
        each = []
        for k, mine in enumerate(answers):
            others = answers[:k] + answers[k + 1 :]
            counts = {a: others.count(a) for a in s}
            best = [a for a in counts if counts[a] == max(counts.values())]
            each.append((mine in best) / len(best))
        scores.append(np.mean(each))
    assert agreement_ceiling(t, leave_one_out=True) == pytest.approx(np.mean(scores))


def test_response_counts_and_entropy():
    t = [[0, 1, 2], [1, 0, 2], [2, 1, 0], [5, 4, 3]]
    sets, counts = response_counts(t)
    assert sets.tolist() == [[0, 1, 2], [3, 4, 5]]
    assert counts.tolist() == [[1, 0, 2], [1, 0, 0]]
    sets, h = response_entropy(t)
    assert sets.tolist() == [[0, 1, 2]]
    assert h[0] == pytest.approx(np.log(3) - 2 / 3 * np.log(2))


def test_error_consistency_is_kappa(rng):
    from sklearn.metrics import cohen_kappa_score

    a, b = rng.random(200) < 0.7, rng.random(200) < 0.6
    assert error_consistency(a, b) == pytest.approx(cohen_kappa_score(a, b))
    assert error_consistency(a, a) == 1
    assert np.isnan(error_consistency(np.ones(5), np.ones(5)))
    with pytest.raises(ShapeMismatch, match="same items"):
        error_consistency([True], [True, False])
    with pytest.raises(ValueError, match="boolean"):
        error_consistency([0.3], [1.0])


TREE = [(s, f"{s}{c}") for s in "abc" for c in "xy" for _ in range(4)]


def test_levels_of_a_tree():
    t = [[0, 9, 17], [0, 1, 2], [0, 1, 4], [0, 1, 23], [0, 4, 9], [0, 8, 12]]
    assert triplet_levels(t, TREE).tolist() == [
        "global_coarse",
        "local_fine",
        "class_boundary",
        "class_boundary",
        "",
        "",
    ]
    assert triplet_levels(t, dict(enumerate(TREE))).tolist() == triplet_levels(t, pd.DataFrame(TREE)).tolist()


@pytest.mark.parametrize("level", ["global_coarse", "local_fine", "class_boundary"])
def test_sampled_triplets_are_of_their_level_and_distinct(level):
    t = sample_triplets(TREE, level, 20, rng=0)
    assert (triplet_levels(t, TREE) == level).all()
    assert len(np.unique(np.sort(t, 1), axis=0)) == 20
    assert np.array_equal(t, sample_triplets(TREE, level, 20, rng=0))


def test_a_tree_runs_out_of_triplets():
    with pytest.raises(EmptySelection, match="only 24"):
        sample_triplets(TREE, "local_fine", 25, rng=0)
    with pytest.raises(EmptySelection, match="no triplet"):
        sample_triplets([["a"], ["a"], ["b"]], "global_coarse", 1)


def test_report_separates_the_levels(rng):
    """A representation that knows the superordinate categories only is good at nothing else."""
    coarse = np.eye(3)[[list("abc").index(s) for s, _ in TREE]]
    fine = np.eye(6)[np.arange(24) // 4]
    boundary = sample_triplets(TREE, "class_boundary", 60, rng=1)
    same_home = np.array([TREE[a][0] == TREE[c][0] for a, _, c in boundary])
    local = sample_triplets(TREE, "local_fine", 20, rng=1)
    t = np.concatenate([boundary, local, local[:, [0, 2, 1]]])
    report = level_report(coarse, t, TREE).set_index("level")
    assert report.loc["class_boundary", "accuracy"] == pytest.approx(1 - same_home.mean())
    assert report.loc["local_fine", "accuracy"] == 0
    assert report.loc["local_fine", "ceiling"] == 0.5
    assert np.isnan(report.loc["global_coarse", "accuracy"])
    assert np.isnan(report.loc["class_boundary", "ceiling"])
    assert level_report(fine, t, TREE).set_index("level").loc["class_boundary", "accuracy"] == 1


def test_report_relates_uncertainty_of_model_and_people(rng):
    X = rng.normal(size=(24, 6))
    sets = sample_triplets(TREE, "global_coarse", 80, rng=0)
    p = choice_probabilities(X, sets, temperature=0.25)
    rows = []
    for s, q in zip(sets, p, strict=True):
        for odd in rng.choice([2, 1, 0], size=30, p=q):
            rows.append([*np.delete(s, odd), s[odd]])
    report = level_report(X, rows, TREE, temperature=0.25).set_index("level")
    assert report.loc["global_coarse", "entropy_rho"] > 0.7
    assert report.loc["global_coarse", "accuracy"] <= report.loc["global_coarse", "ceiling"] + 1e-12


@pytest.mark.parametrize(
    ("triplets", "error"),
    [
        ([[0, 1]], ShapeMismatch),
        ([[0.0, 1.0, 2.0]], ShapeMismatch),
        (np.zeros((0, 3), int), EmptySelection),
        ([[0, 1, -1]], ShapeMismatch),
        ([[0, 1, 9]], ShapeMismatch),
        ([[0, 1, 1]], ValueError),
    ],
)
def test_triplets_that_cannot_be(triplets, error):
    with pytest.raises(error):
        check_triplets(triplets, 5)


# Ratings


def test_ratings_are_averaged_over_order_and_repeats():
    table = pd.DataFrame(
        {"a": ["x", "y", "x", "y", "x"], "b": ["y", "x", "z", "z", "x"], "rating": [5.0, 3.0, 1.0, 5.0, 5.0]}
    )
    rdm = rdm_from_ratings(table, scale=(1, 5))
    d = rdm.matrices[0]
    assert list(rdm.conditions) == ["x", "y", "z"]
    assert d[0, 1] == pytest.approx(0.25)
    assert d[0, 2] == 1
    assert d[1, 2] == 0
    flipped = rdm_from_ratings(table, "dissimilarity", scale=(1, 5)).matrices[0]
    assert np.allclose(flipped[np.triu_indices(3, 1)], 1 - d[np.triu_indices(3, 1)])


def test_ratings_by_rater_and_missing_pairs():
    table = pd.DataFrame({"a": [0, 0, 1], "b": [1, 2, 2], "rating": [1.0, 0.0, 0.5], "rater": ["p", "p", "q"]})
    rdms = rdm_from_ratings(table, by="rater", scale=(0, 1))
    assert list(rdms.table["rater"]) == ["p", "q"]
    assert np.array_equal(np.isnan(rdms.dissimilarities), [[False, False, True], [True, True, False]])


def test_standardised_ratings_forget_the_scale_of_a_rater(rng):
    base = rng.random(15)
    i, j = np.triu_indices(6, 1)
    frames = [
        pd.DataFrame({"a": i, "b": j, "rating": gain * base + shift, "rater": r})
        for r, (gain, shift) in enumerate([(1, 0), (3, 2), (0.1, -1)])
    ]
    rdm = rdm_from_ratings(pd.concat(frames), standardise="rater")
    assert np.corrcoef(rdm.dissimilarities[0], base)[0, 1] == pytest.approx(-1)


def test_square_matrices_of_ratings(rng):
    s = rng.random((2, 4, 4))
    rdm = rdm_from_ratings(s, scale=(0, 1))
    expected = 1 - (s + s.transpose(0, 2, 1)).mean(0) / 2
    i, j = np.triu_indices(4, 1)
    assert np.allclose(rdm.dissimilarities[0], expected[i, j])
    assert rdm_from_ratings(s, by="rater", scale=(0, 1)).n_rdms == 2


def test_ratings_say_what_is_wrong():
    table = pd.DataFrame({"a": [0, 0, 1], "b": [1, 2, 2], "rating": [1.0, 2.0, 9.0]})
    with pytest.raises(ValueError, match="outside the scale"):
        rdm_from_ratings(table, scale=(1, 5))
    with pytest.raises(ValueError, match="no column 'rating'"):
        rdm_from_ratings(table.drop(columns="rating"))
    with pytest.raises(ValueError, match="no column 'rater'"):
        rdm_from_ratings(table, by="rater")
    with pytest.raises(ValueError, match="range"):
        rdm_from_ratings(table.assign(rating=3.0))
    with pytest.raises(EmptySelection):
        rdm_from_ratings(table.assign(b=table["a"]))
    with pytest.raises(ShapeMismatch):
        rdm_from_ratings(np.zeros((3, 4)))


# Arrangements


def arrange(positions, trials, scale):
    return pd.concat(
        [
            pd.DataFrame({"trial": k, "item": items, "x": s * positions[items, 0], "y": s * positions[items, 1]})
            for k, (items, s) in enumerate(zip(trials, scale, strict=True))
        ]
    )


def test_one_arrangement_is_its_distances(rng):
    xy = rng.normal(size=(5, 2))
    rdm = rdm_from_arrangements(arrange(xy, [np.arange(5)], [40.0]))
    i, j = np.triu_indices(5, 1)
    d = np.linalg.norm(xy[i] - xy[j], axis=1)
    assert np.allclose(rdm.dissimilarities[0], d / np.sqrt((d**2).mean()))


def test_subsets_at_different_scales_join_into_one_geometry(rng):
    xy = rng.normal(size=(8, 2))
    trials = [np.arange(8), np.array([0, 1, 2, 3]), np.array([4, 5, 6]), np.array([1, 3, 5, 7])]
    rdm = rdm_from_arrangements(arrange(xy, trials, [1.0, 10.0, 0.2, 3.0]))
    i, j = np.triu_indices(8, 1)
    d = np.linalg.norm(xy[i] - xy[j], axis=1)
    assert np.allclose(rdm.dissimilarities[0], d / np.sqrt((d**2).mean()), atol=1e-6)


def test_pairs_never_arranged_together_are_unknown(rng):
    xy = rng.normal(size=(4, 2))
    rdm = rdm_from_arrangements(arrange(xy, [np.array([0, 1, 2]), np.array([1, 2, 3])], [1, 1]))
    assert np.isnan(rdm.matrices[0][0, 3])
    assert np.isnan(rdm.dissimilarities).sum() == 1


def test_arrangements_say_what_is_wrong(rng):
    table = arrange(rng.normal(size=(4, 2)), [np.arange(4)], [1])
    with pytest.raises(ValueError, match="twice"):
        rdm_from_arrangements(pd.concat([table, table]))
    with pytest.raises(ValueError, match="no column 'x'"):
        rdm_from_arrangements(table.drop(columns="x"))
    with pytest.raises(EmptySelection, match="different positions"):
        rdm_from_arrangements(table.assign(x=0.0, y=0.0))
