"""Covariances, delays and their manifold, against closed forms and pyriemann."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.covariance import oas

from neuro.decoders.eeg import (
    AugmentedCovariance,
    TangentSpace,
    airm_distance,
    covariance_pipeline,
    covariances,
    delay_embed,
    from_tangent_vectors,
    nested_cross_validation,
    riemannian_mean,
    tangent_vectors,
)
from neuro.errors import ShapeMismatch


@pytest.fixture
def spd(rng):
    def make(n, p):
        A = rng.standard_normal((n, p, 3 * p))
        return A @ np.swapaxes(A, 1, 2) / (3 * p)

    return make


def ar1(rng, a, n, channels, times):
    x = rng.standard_normal((n, channels, times + 200))
    for t in range(1, x.shape[2]):
        x[:, :, t] += a * x[:, :, t - 1]
    return x[:, :, 200:]


@pytest.mark.parametrize(("order", "lag"), [(1, 1), (1, 7), (2, 3), (4, 5)])
def test_embedding_keeps_all_samples_that_have_partners(order, lag, rng):
    x = rng.standard_normal((2, 3, 40))
    out = delay_embed(x, order, lag)
    assert out.shape == (2, 3 * order, 40 - (order - 1) * lag)
    for k in range(order):
        np.testing.assert_array_equal(out[:, 3 * k : 3 * k + 3], x[:, :, k * lag : k * lag + out.shape[2]])


def test_order_one_is_the_plain_covariance(rng):
    x = rng.standard_normal((4, 5, 60))
    plain = np.stack([np.cov(e, bias=True) for e in x])
    np.testing.assert_allclose(AugmentedCovariance(1, 9, "empirical").fit_transform(x), plain)


def test_lag_blocks_of_an_ar1_process_fall_as_powers_of_its_coefficient(rng):
    a, lag = 0.8, 2
    x = ar1(rng, a, 40, 2, 4000)
    C = AugmentedCovariance(4, lag, "empirical").fit_transform(x).mean(0)
    variance = 1 / (1 - a**2)
    for k in range(4):
        block = C[0:2, 2 * k : 2 * k + 2]
        np.testing.assert_allclose(block, np.eye(2) * a ** (lag * k) * variance, atol=0.06)


def test_oas_is_that_of_scikit_learn(rng):
    x = rng.standard_normal((3, 6, 20))
    want = np.stack([oas(e.T)[0] for e in x])
    np.testing.assert_allclose(covariances(x, "oas"), want)


def test_distance_is_unchanged_by_mixing_channels(rng, spd):
    A, B = spd(8, 6), spd(8, 6)
    W = rng.standard_normal((6, 6))
    np.testing.assert_allclose(airm_distance(W @ A @ W.T, W @ B @ W.T), airm_distance(A, B), rtol=1e-11)
    np.testing.assert_allclose(airm_distance(A, A), 0, atol=1e-12)
    np.testing.assert_allclose(airm_distance(A, B), airm_distance(B, A), rtol=1e-11)


def test_mean_of_commuting_matrices_is_the_geometric_mean():
    values = np.array([[1.0, 4.0], [9.0, 1.0], [3.0, 2.0]])
    mean = riemannian_mean(np.stack([np.diag(v) for v in values]))
    np.testing.assert_allclose(mean, np.diag(np.exp(np.log(values).mean(0))), rtol=1e-9, atol=1e-12)


def test_mean_moves_with_the_mixing(rng, spd):
    C, W = spd(10, 4), rng.standard_normal((4, 4))
    np.testing.assert_allclose(riemannian_mean(W @ C @ W.T), W @ riemannian_mean(C) @ W.T, rtol=1e-7, atol=1e-8)


def test_tangent_vector_of_the_mean_is_zero_and_of_all_averages_to_zero(spd):
    C = spd(12, 5)
    space = TangentSpace().fit(C)
    np.testing.assert_allclose(space.transform(space.reference_[None]), 0, atol=1e-12)
    np.testing.assert_allclose(space.transform(C).mean(0), 0, atol=1e-8)


def test_length_of_a_tangent_vector_is_the_distance_from_the_reference(spd):
    C = spd(12, 5)
    reference = C[0]
    np.testing.assert_allclose(
        np.linalg.norm(tangent_vectors(C, reference), axis=1), airm_distance(C, reference), atol=1e-9
    )


def test_tangent_space_and_back_is_the_identity(spd):
    C = spd(6, 4)
    space = TangentSpace().fit(C)
    np.testing.assert_allclose(space.inverse_transform(space.transform(C)), C, rtol=1e-9)
    np.testing.assert_allclose(from_tangent_vectors(np.zeros((1, 10)), C[0])[0], C[0], rtol=1e-12)


def test_agrees_with_pyriemann(spd):
    pytest.importorskip("pyriemann", reason="needs pyriemann: pip install 'neuro[eeg]'")
    from pyriemann.tangentspace import TangentSpace as Peer

    C = spd(15, 5)
    peer = Peer().fit(C)
    lengths = np.linalg.norm(peer.transform(C), axis=1)
    np.testing.assert_allclose(airm_distance(peer.reference_, C), lengths, rtol=1e-9)
    np.testing.assert_allclose(riemannian_mean(C), peer.reference_, rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(TangentSpace().fit_transform(C), Peer().fit_transform(C), rtol=1e-5, atol=1e-7)
    other = TangentSpace("logeuclid").fit(C)
    np.testing.assert_allclose(other.reference_, Peer(metric="logeuclid").fit(C).reference_, rtol=1e-10)


@pytest.fixture
def rhythms(rng):
    """Two classes with equal variances and instantaneous covariances; only autocovariances tell them apart."""
    n, label = 80, np.arange(80) % 2
    x = np.stack([ar1(rng, a, 1, 3, 150)[0] for a in np.where(label == 1, 0.6, -0.6)])
    x /= x.std(-1, keepdims=True)
    return x, label, np.arange(n) // 8


def test_autocovariance_is_seen_by_the_augmented_covariance_only(rhythms):
    x, label, runs = rhythms
    fixed = {"svm__C": [1.0]}
    plain, _ = nested_cross_validation(x, label, runs, grid=fixed, pipeline=covariance_pipeline(1, 1), cv=4)
    augmented, _ = nested_cross_validation(x, label, runs, grid=fixed, pipeline=covariance_pipeline(2, 1), cv=4)
    assert plain.value < 0.7
    assert augmented.value > 0.95
    assert augmented.chance == 0.5


def test_nested_search_chooses_delays_where_only_they_help(rhythms):
    x, label, runs = rhythms
    result, chosen = nested_cross_validation(
        x, label, runs, grid={"covariance__order": [1, 2], "covariance__lag": [1]}, cv=3, inner_cv=3
    )
    assert [c["covariance__order"] for c in chosen] == [2, 2, 2]
    assert result.n == 80
    assert "whole groups" in result.protocol


def test_shuffled_labels_are_at_chance_though_the_grid_is_searched(rhythms, rng):
    x, label, runs = rhythms
    grid = {"covariance__order": [1, 2], "svm__C": [0.5, 1.5]}
    result, _ = nested_cross_validation(x, rng.permutation(label), runs, grid=grid, cv=2, inner_cv=2)
    assert abs(result.value - 0.5) < 0.17


def test_transformers_survive_cloning_and_leave_input_alone(rng):
    from sklearn.base import clone

    x = rng.standard_normal((4, 3, 50))
    before = x.copy()
    pipeline = clone(covariance_pipeline(2, 3, C=0.5))
    assert pipeline.get_params()["covariance__lag"] == 3
    pipeline.fit(x, [0, 1, 0, 1])
    np.testing.assert_array_equal(x, before)


def test_bad_input_is_refused(rng, spd):
    x = rng.standard_normal((6, 3, 20))
    with pytest.raises(ShapeMismatch, match="leave -7 of 20 samples"):
        delay_embed(x, 4, 9)
    with pytest.raises(ShapeMismatch, match=r"\(n_epochs, n_channels, n_times\)"):
        covariances(x[0])
    with pytest.raises(ValueError, match=r"6 of 6 are not.*oas"):
        TangentSpace().fit(covariances(delay_embed(x, 8, 1), "empirical"))
    with pytest.raises(ShapeMismatch, match="expected epochs of 3 channels, got 2"):
        AugmentedCovariance().fit(x).transform(x[:, :2])
    with pytest.raises(ValueError, match="NaN or infinity, in 1 of 6"):
        covariances(np.where(np.arange(6)[:, None, None] == 2, np.nan, x))
    with pytest.raises(ValueError, match="must be symmetric"):
        riemannian_mean(rng.standard_normal((2, 3, 3)))
    with pytest.raises(RuntimeError, match="did not settle in 1 steps"):
        riemannian_mean(spd(4, 3), max_iterations=1)
    with pytest.raises(ShapeMismatch, match="one label for each of 6 epochs"):
        nested_cross_validation(x, [0, 1])
