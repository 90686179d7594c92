"""The linear probe from representations to odd-one-out choices."""

import itertools

import numpy as np
import pytest

from neuro.errors import EmptySelection, ShapeMismatch
from neuro.rsa.alignment import (
    AlignmentProbe,
    align_probe,
    identity_penalty,
    neighbourhood_loss,
    object_folds,
    pair_similarities,
    soft_triplet_loss,
    split_triplets,
    triplet_loss,
)
from neuro.rsa.odd_one_out import choice_probabilities, odd_one_out, odd_one_out_accuracy

torch = pytest.importorskip("torch")


def planted(rng, n_items=60, n_features=10, n_triplets=3000):
    """People see the first two features, the network's variance lies in the others."""
    F = rng.normal(size=(n_items, n_features))
    F[:, 2:] *= 4
    t = np.stack([rng.choice(n_items, 3, replace=False) for _ in range(n_triplets)])
    odd = odd_one_out(F[:, :2], t)
    rest = np.array([[1, 2, 0], [0, 2, 1], [0, 1, 2]])
    return F, np.take_along_axis(t, rest[odd], 1)


def test_loss_is_that_of_a_loop(rng):
    z = rng.normal(size=(8, 4))
    t = np.stack([rng.choice(8, 3, replace=False) for _ in range(20)])
    unit = z / np.linalg.norm(z, axis=1, keepdims=True)
    total = 0.0
    for i, j, k in t:
        s = np.array([unit[i] @ unit[j], unit[i] @ unit[k], unit[j] @ unit[k]]) / 0.3
        total += -s[0] + np.log(np.exp(s).sum())
    s = pair_similarities(torch.tensor(z), torch.tensor(t))
    assert float(triplet_loss(s, 0.3)) == pytest.approx(total / 20)
    dot = pair_similarities(torch.tensor(z), torch.tensor(t), "dot")
    assert np.allclose(dot[:, 1], (z[t[:, 0]] * z[t[:, 2]]).sum(1))


def test_soft_losses_are_divergences(rng):
    s = torch.tensor(rng.normal(size=(6, 3)))
    q = torch.softmax(s / 0.5, 1)
    p = torch.tensor(rng.dirichlet([1, 1, 1], 6))
    kl = (p * (p / q).log()).sum(1).mean()
    m = (p + q) / 2
    js = ((p * (p / m).log()).sum(1) + (q * (q / m).log()).sum(1)).mean() / 2
    assert float(soft_triplet_loss(s, p, 0.5)) == pytest.approx(float(kl))
    assert float(soft_triplet_loss(s, p, 0.5, "js")) == pytest.approx(float(js))
    for kind in ("kl", "js"):
        assert float(soft_triplet_loss(s, q, 0.5, kind)) == pytest.approx(0, abs=1e-12)
    one_hot = torch.eye(3, dtype=torch.float64)[[0] * 6]
    assert float(soft_triplet_loss(s, one_hot, 0.5)) == pytest.approx(float(triplet_loss(s, 0.5)))


def test_neighbourhood_loss_is_that_of_a_loop(rng):
    a, b = rng.normal(size=(5, 3)), rng.normal(size=(5, 3))
    unit = [x / np.linalg.norm(x, axis=1, keepdims=True) for x in (a, b)]
    total = 0.0
    for i in range(5):
        others = [j for j in range(5) if j != i]
        student, teacher = (np.array([u[i] @ u[j] for j in others]) / 0.2 for u in unit)
        p = np.exp(teacher) / np.exp(teacher).sum()
        total -= p @ (student - np.log(np.exp(student).sum()))
    assert float(neighbourhood_loss(torch.tensor(a), torch.tensor(b), 0.2)) == pytest.approx(total / 5)


def test_penalty_is_zero_for_scaled_identities_only(rng):
    W = rng.normal(size=(5, 5))
    expected = np.linalg.norm(W - np.trace(W) / 5 * np.eye(5)) ** 2
    assert float(identity_penalty(torch.tensor(W))) == pytest.approx(expected)
    assert float(identity_penalty(3 * torch.eye(4))) == pytest.approx(0, abs=1e-5)


def test_terms_have_right_gradients(rng):
    z = torch.tensor(rng.normal(size=(6, 3)), requires_grad=True)
    t = torch.tensor(list(itertools.combinations(range(6), 3)))
    teacher = torch.tensor(rng.normal(size=(6, 3)))
    p = torch.tensor(rng.dirichlet([1, 1, 1], len(t)))
    for f in (
        lambda x: triplet_loss(pair_similarities(x, t), 0.5),
        lambda x: soft_triplet_loss(pair_similarities(x, t), p, 0.5, "js"),
        lambda x: neighbourhood_loss(x, teacher, 0.5),
    ):
        assert torch.autograd.gradcheck(f, (z,))


def test_probe_finds_what_people_look_at_on_new_objects(rng):
    F, t = planted(rng, n_triplets=6000)
    found = align_probe(F, t, lam=1e-2, n_folds=2, rng=0, steps=300)
    assert found.before < 0.5
    assert found.after > 0.8
    W = found.probe.weights_
    assert np.linalg.norm(W[:2]) / np.sqrt(2) > 3 * np.linalg.norm(W[2:]) / np.sqrt(8)
    assert (found.table["n_train"] > 0).all()


def test_penalty_is_chosen_inside_the_training_triplets(rng):
    F, t = planted(rng, n_items=30, n_triplets=3000)
    found = align_probe(F, t, lam=(1e-2, 1e6), n_folds=2, rng=0, steps=100)
    assert (found.table["lam"] == 1e-2).all()
    assert found.probe.lam == 1e-2
    again = align_probe(F, t, lam=(1e-2, 1e6), n_folds=2, rng=0, steps=100)
    assert found.table.equals(again.table)


def test_probe_does_not_learn_from_noise(rng):
    F, t = planted(rng, n_triplets=1500)
    shuffled = rng.permuted(t, axis=1)
    found = align_probe(F, shuffled, lam=1.0, n_folds=2, rng=0, steps=50)
    assert found.after == pytest.approx(1 / 3, abs=0.08)


def test_strong_penalty_leaves_the_geometry(rng):
    F, t = planted(rng, n_triplets=300)
    probe = AlignmentProbe(lam=1e4, rng=0).fit(F, t)
    W = probe.weights_
    assert np.allclose(W, np.diag(np.full(10, np.diag(W).mean())), atol=2e-2 * np.diag(W).mean())
    loose = AlignmentProbe(lam=0, rng=0).fit(F, t)
    assert loose.losses_[-1] < loose.losses_[0]
    assert loose.score(F, t) > probe.score(F, t)


def test_alpha_keeps_neighbourhoods(rng):
    F, t = planted(rng, n_triplets=500)
    x = torch.tensor(F - F.mean(0))
    losses = [
        float(neighbourhood_loss(torch.tensor(AlignmentProbe(0, a, rng=0, steps=100).fit_transform(F, t)), x, 0.1))
        for a in (0.0, 0.9)
    ]
    assert losses[1] < losses[0]


def test_soft_targets_reproduce_a_teacher(rng):
    F, t = planted(rng, n_triplets=1500)
    p = choice_probabilities(F[:, :2], t, temperature=0.2)
    for loss in ("kl", "js"):
        probe = AlignmentProbe(1e-4, loss=loss, rng=0, steps=300).fit(F, t, p)
        assert probe.losses_[-1] < 0.5 * probe.losses_[0]
        assert probe.score(F, t) > odd_one_out_accuracy(F, t) + 0.2


def test_same_seed_same_probe_and_tensors_alike(rng):
    F, t = planted(rng, n_triplets=200)
    a = AlignmentProbe(rng=1, steps=5).fit(F, t)
    b = AlignmentProbe(rng=1, steps=5).fit(F, t)
    c = AlignmentProbe(rng=1, steps=5).fit(torch.tensor(F), t)
    assert np.array_equal(a.weights_, b.weights_)
    assert isinstance(c.weights_, torch.Tensor)
    assert np.allclose(a.weights_, c.weights_)
    assert isinstance(c.transform(F), np.ndarray)
    assert np.allclose(c.transform(F), a.transform(torch.tensor(F)))


def test_probe_can_be_cloned():
    from sklearn.base import clone

    probe = AlignmentProbe(0.5, alpha=0.2, rng=3)
    assert clone(probe).get_params() == probe.get_params()
    assert probe.set_params(lam=1.0).lam == 1.0
    with pytest.raises(ValueError, match="parameter must be"):
        probe.set_params(lambda_=1)


def test_standardisation_is_of_the_items_used(rng):
    F, t = planted(rng, n_triplets=100)
    t = t[(t < 50).all(1)]
    used = np.unique(t)
    per_feature = AlignmentProbe(standardise="feature", steps=1, rng=0).fit(F, t)
    assert np.allclose(per_feature.mean_, F[used].mean(0))
    assert np.allclose(per_feature.scale_, F[used].std(0))
    alike = AlignmentProbe(steps=1, rng=0).fit(F, t)
    assert np.allclose(alike.scale_, np.sqrt(((F[used] - F[used].mean(0)) ** 2).mean()))


def test_splits_share_no_object(rng):
    t = np.stack([rng.choice(40, 3, replace=False) for _ in range(2000)])
    objects = np.arange(40) // 2
    train, test = split_triplets(t, 0.4, objects=objects, rng=0)
    assert not set(objects[t[train]].ravel()) & set(objects[t[test]].ravel())
    tested = []
    for train, test in object_folds(t, 3, objects=objects, rng=0):
        assert not set(objects[t[train]].ravel()) & set(objects[t[test]].ravel())
        tested.append(set(objects[t[test]].ravel()))
    assert not tested[0] & tested[1]
    assert set.union(*tested) == set(range(20))
    with pytest.raises(EmptySelection, match="too few"):
        split_triplets([[0, 1, 2], [3, 4, 5]], 0.2, rng=0)
    with pytest.raises(ShapeMismatch, match="objects name"):
        split_triplets(t, 0.2, objects=np.arange(5))
    with pytest.raises(ValueError, match="share"):
        split_triplets(t, 1.5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tau": 0}, "tau"),
        ({"lam": -1}, "lam"),
        ({"alpha": 2}, "alpha"),
        ({"loss": "mse"}, "loss must be"),
        ({"loss": "kl"}, "needs a teacher"),
        ({"similarity": "l2"}, "similarity must be"),
        ({"standardise": "none"}, "standardise must be"),
        ({"steps": 0}, "steps"),
    ],
)
def test_settings_that_cannot_be(rng, options, message):
    F, t = planted(rng, n_triplets=20)
    with pytest.raises(ValueError, match=message):
        AlignmentProbe(**options).fit(F, t)


def test_data_that_cannot_be(rng):
    F, t = planted(rng, n_triplets=20)
    with pytest.raises(ValueError, match="takes no probabilities"):
        AlignmentProbe().fit(F, t, np.ones((20, 3)) / 3)
    with pytest.raises(ShapeMismatch, match="probabilities must be"):
        AlignmentProbe(loss="kl").fit(F, t, np.ones((19, 3)) / 3)
    with pytest.raises(ValueError, match="sum to 1"):
        AlignmentProbe(loss="kl").fit(F, t, np.ones((20, 3)))
    with pytest.raises(ValueError, match="NaN"):
        AlignmentProbe().fit(np.where(F > 2, np.nan, F), t)
    with pytest.raises(ValueError, match="not fitted"):
        AlignmentProbe().transform(F)
    with pytest.raises(ShapeMismatch, match="10 features"):
        AlignmentProbe(steps=1).fit(F, t).transform(F[:, :4])
