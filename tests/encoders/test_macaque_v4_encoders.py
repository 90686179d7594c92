"""The comparison of encoders on macaque V4: its folds, ceilings and scores, and a cheap part of it on the real data."""

from __future__ import annotations

import runpy
from pathlib import Path

import numpy as np
import pytest

from neuro.encoders import Ridge


@pytest.fixture(scope="module")
def example():
    return runpy.run_path(str(Path(__file__).parents[2] / "examples" / "macaque_v4_encoders.py"))


@pytest.fixture
def session(example):
    """Sixty pictures, every third shown under two names, of which a neuron sees a mean."""
    rng = np.random.default_rng(0)
    picture = np.r_[np.arange(60), np.arange(0, 60, 3)]
    maps = rng.standard_normal((60, 6, 4, 4)).astype(np.float32)[picture]
    Y = maps.mean((2, 3)) @ rng.standard_normal((6, 5)) * 4 + 0.5 * rng.standard_normal((80, 5))
    return example["Session"](maps, maps[:, :, 0, 0], Y.astype(np.float32), picture, np.full(5, 0.8))


def test_folds_part_pictures_not_rows(example, session):
    folds = example["folds_of"](session, 5)
    assert sorted(np.concatenate([test for _, test in folds])) == list(range(80))
    for train, test in folds:
        assert not set(session.picture[train]) & set(session.picture[test])
        assert len(train) + len(test) == 80


def test_ceilings_are_those_of_the_simulation(example):
    rng = np.random.default_rng(1)
    signal, noise = rng.standard_normal((4, 3000)), rng.standard_normal((4, 3000, 6))
    raw = signal[..., None] + 2 * noise
    raw[:, ::2, 4:] = np.nan  # half of the pictures have four repeats
    expected = 1 / (1 + 4 * np.mean([1 / 4, 1 / 6]))
    assert example["ceiling_of"](raw) == pytest.approx(expected, abs=0.04)


def test_embeddings_are_unit_and_know_the_pictures_they_are_told(example, session):
    embed = example["embedding"]([session], 4)
    train, test = example["folds_of"](session)[0]
    X = embed(session.maps, session.maps[train])
    assert X.shape == (80, 4)
    np.testing.assert_allclose(np.linalg.norm(X, axis=1), 1, atol=1e-6)
    changed = session.maps.copy()
    changed[test] *= 9
    np.testing.assert_array_equal(embed(changed, changed[train])[train], X[train])  # nothing of the test is used
    shifted = embed(session.maps + 5, session.maps[train] + 5)  # nor does it matter what a session's pictures share
    np.testing.assert_allclose(shifted, X, atol=1e-4)


def test_contexts_are_the_same_for_every_model(example, session):
    seen = []

    class Spy:
        def fit(self, X, y):
            seen.append(y)
            return self

        def predict(self, X):
            return np.zeros((len(X), 5))

    folds = example["folds_of"](session)
    for _ in range(2):
        example["predict_folds"](
            example["from_context"](Spy(), lambda maps, _: maps[:, :, 0, 0], 20, 0), session, folds
        )
    for a, b in zip(seen[:5], seen[5:], strict=True):
        np.testing.assert_array_equal(a, b)
    assert not np.array_equal(seen[0], seen[1])


def test_scores_are_over_all_folds_and_paired(example, session):
    folds = example["folds_of"](session)

    def plain(s, train, test):
        X = s.maps.mean((2, 3))
        return Ridge(1.0).fit(X[train], s.Y[train]).predict(X[test])

    def worse(s, train, test):
        return plain(s, train, test) + np.random.default_rng(0).standard_normal((len(test), 5))

    predictions = {n: example["predict_folds"](f, session, folds) for n, f in (("ridge", plain), ("noisy", worse))}
    table = example["score"](session, folds, predictions, {"noisy": "ridge"}).set_index("model")
    both = [(session.Y[b] - session.Y[b].mean(0), plain(session, a, b)) for a, b in folds]
    truth, Y_hat = (np.concatenate(side) for side in zip(*[(y, p - p.mean(0)) for y, p in both], strict=True))
    r = np.array([np.corrcoef(y, p)[0, 1] for y, p in zip(truth.T, Y_hat.T, strict=True)])
    assert table.loc["ridge", "median_r"] == pytest.approx(np.median(r))
    assert table.loc["ridge", "mean_r2_over_ceiling"] == pytest.approx(np.mean(r**2) / 0.8)
    assert np.isnan(table.loc["ridge", "difference"])
    found = table.loc["noisy"]
    assert found["difference"] == pytest.approx(found["mean_r"] - table.loc["ridge", "mean_r"], abs=1e-9)
    assert found["low"] < found["difference"] < found["high"] < 0


@pytest.mark.real
@pytest.mark.slow
def test_a_cheap_part_of_the_published_table(example, real_data):
    """One fold of session 210325: ridge and receptive fields, as in docs/encoders_v4.md, and the ceiling."""
    session = example["read_session"](real_data, "210325")
    assert np.median(session.ceiling) == pytest.approx(0.765, abs=0.005)
    table = example["compare"](
        [session], example["FULL"], fit_folds=1, methods=("ridge", "receptive field (fwRF)"), in_context=False
    ).set_index("model")
    assert table.loc["ridge", "median_r"] == pytest.approx(0.558, abs=0.02)
    field = table.loc["receptive field (fwRF)"]
    assert field["median_r"] == pytest.approx(0.588, abs=0.02)
    assert field["low"] < 0.019 < field["high"]  # more than ridge, as over all folds
    assert field["difference"] > 0
