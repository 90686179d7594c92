"""Whitened comparisons against explicit covariance matrices, in every combination of sigma_k and unknown pairs."""

import warnings

import numpy as np
import pytest
from scipy.spatial.distance import pdist, squareform

from neuro.rsa import _whitened
from neuro.rsa._pairs import pair_indices, to_square
from neuro.rsa._whitened import CONSTANTS, masked_scores, row_sums, scores, sigma_tokens
from neuro.rsa.compare import compare

N = 9
P = N * (N - 1) // 2


def contrasts(n):
    """C (P, n)."""
    i, j = pair_indices(n)
    c = np.zeros((len(i), n))
    c[np.arange(len(i)), i], c[np.arange(len(i)), j] = 1, -1
    return c


def explicit(a, b, sigma=None, known=None, centre=False):
    n = round((1 + np.sqrt(1 + 8 * (a.shape[1] if known is None else len(known)))) / 2)
    sigma = np.eye(n) if sigma is None else np.diag(sigma) if sigma.ndim == 1 else sigma
    c = contrasts(n)
    v = (c @ sigma @ c.T) ** 2
    if known is not None:
        v = v[np.ix_(known, known)]
    if centre:
        a, b = a - a.mean(1)[:, None], b - b.mean(1)[:, None]
    w = np.linalg.inv(v)
    return (a @ w @ b.T) / np.sqrt(np.einsum("ij,jk,ik->i", a, w, a)[:, None] * np.einsum("ij,jk,ik->i", b, w, b))


@pytest.fixture
def stacks(rng):
    d = np.stack([pdist(rng.standard_normal((N, 5)), "sqeuclidean") for _ in range(5)])
    return d[:2], d[2:]


@pytest.fixture
def sigmas(rng):
    root = rng.standard_normal((N, 2 * N))
    return {"none": None, "vector": rng.uniform(0.3, 3, N), "matrix": root @ root.T / N}


@pytest.mark.parametrize("kind", ["none", "vector", "matrix"])
@pytest.mark.parametrize("method", ["cosine_cov", "corr_cov"])
def test_explicit_v(stacks, sigmas, kind, method):
    expected = explicit(*stacks, sigmas[kind], centre=method == "corr_cov")
    np.testing.assert_allclose(compare(*stacks, method, sigmas[kind]), expected, atol=1e-10)


@pytest.mark.parametrize("kind", ["none", "vector", "matrix"])
@pytest.mark.parametrize("method", ["cosine_cov", "corr_cov"])
@pytest.mark.parametrize("n_unknown", [1, 8, 25])
def test_explicit_v_of_known_pairs(stacks, sigmas, rng, kind, method, n_unknown):
    a, b = (s.copy() for s in stacks)
    known = np.ones(P, bool)
    known[rng.choice(P, n_unknown, replace=False)] = False
    a[:, ~known] = np.nan
    i, j = pair_indices(N)
    assert len(np.unique(np.r_[i[known], j[known]])) == N
    expected = explicit(a[:, known], b[:, known], sigmas[kind], known, method == "corr_cov")
    np.testing.assert_allclose(compare(a, b, method, sigmas[kind]), expected, atol=1e-9)


@pytest.mark.parametrize("method", ["cosine_cov", "corr_cov"])
def test_conjugate_gradients(stacks, sigmas, rng, monkeypatch, method):
    a, b = (s.copy() for s in stacks)
    known = np.ones(P, bool)
    known[rng.choice(P, 12, replace=False)] = False
    a[:, ~known] = np.nan
    expected = compare(a, b, method, sigmas["matrix"])
    monkeypatch.setattr(_whitened, "DENSE", 0)
    np.testing.assert_allclose(compare(a, b, method, sigmas["matrix"]), expected, atol=1e-9)


def test_equal_variances_are_no_variances(stacks):
    for sigma in (np.full(N, 2.5), 2.5 * np.eye(N), 2 * np.eye(N) + 1.0):
        np.testing.assert_allclose(compare(*stacks, "cosine_cov", sigma), compare(*stacks, "cosine_cov"), atol=1e-10)


def test_masked_formula_without_a_mask(stacks, sigmas):
    known = np.ones(P, bool)
    for sigma in sigmas.values():
        expected = compare(*stacks, "cosine_cov", sigma)
        np.testing.assert_allclose(masked_scores(*stacks, known, sigma), expected, atol=1e-10)


@pytest.mark.parametrize("sparse", [0, 100])
def test_row_sums(stacks, monkeypatch, sparse):
    monkeypatch.setattr(_whitened, "SPARSE", sparse)
    expected = [squareform(d).sum(0) for d in stacks[0]]
    np.testing.assert_allclose(row_sums(stacks[0]), expected, atol=1e-12)
    np.testing.assert_allclose(row_sums(stacks[0][:, :1]), stacks[0][:, [0, 0]])
    assert row_sums(stacks[0].astype(np.float32)).dtype == np.float64


@pytest.mark.parametrize("kind", CONSTANTS)
def test_three_terms_against_kernels(rng, kind):
    """The row-sum formula against the definition of each CKA on the Gram matrices."""
    x, y = rng.standard_normal((N, 6)), rng.standard_normal((N, 4))
    d = [pdist(z, "sqeuclidean")[None] for z in (x, y)]
    k, l = x @ x.T, y @ y.T

    def inner(p, q):
        if kind == "debiased":
            p, q = (z - np.diag(np.diag(z)) for z in (p, q))
            one = np.ones(N)
            total = (p * q).sum() + one @ p @ one * (one @ q @ one) / ((N - 1) * (N - 2))
            return total - 2 * one @ p @ q @ one / (N - 2)
        h = np.eye(N) - 1 / N
        p, q = h @ p @ h, h @ q @ h
        if kind == "lange":
            p, q = (z - np.diag(np.diag(z)) for z in (p, q))
        return (p * q).sum()

    expected = inner(k, l) / np.sqrt(inner(k, k) * inner(l, l))
    assert scores(*d, kind).item() == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("kind", CONSTANTS)
@pytest.mark.parametrize("centre", [False, True])
def test_packed_row_sums_give_the_same(stacks, monkeypatch, kind, centre):
    expected = scores(*stacks, kind, centre)
    alone = scores(stacks[0], stacks[0], kind, centre)
    monkeypatch.setattr(_whitened, "SPARSE", 0)
    np.testing.assert_allclose(scores(*stacks, kind, centre), expected, atol=1e-12)
    np.testing.assert_allclose(scores(stacks[0], stacks[0], kind, centre), alone, atol=1e-12)
    monkeypatch.setattr(_whitened, "MILD", 2.0)
    np.testing.assert_allclose(scores(*stacks, kind, centre), expected, atol=1e-12)


@pytest.mark.parametrize("n", [2, 3, 4, 17, 250])
def test_packed_row_sums_are_those_of_the_matrix(rng, n):
    d = rng.random((3, n * (n - 1) // 2))
    square, rows = _whitened._packed_sums(d, n)
    np.testing.assert_allclose(rows, to_square(d).sum(2), rtol=1e-12)
    np.testing.assert_allclose(square, (d * d).sum(1), rtol=1e-12)


def test_debiased_product_survives_a_large_constant(stacks):
    np.testing.assert_allclose(scores(stacks[0] + 1e6, stacks[1], "debiased"), scores(*stacks, "debiased"), atol=1e-8)


def test_parity_with_rsatoolbox_and_a_matrix(stacks, sigmas):
    pytest.importorskip("rsatoolbox")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import rsatoolbox

        a, b = (rsatoolbox.rdm.RDMs(s) for s in stacks)
        for method in ("cosine_cov", "corr_cov"):
            theirs = rsatoolbox.rdm.compare(a, b, method, sigma_k=sigmas["matrix"])
            np.testing.assert_allclose(compare(*stacks, method, sigmas["matrix"]), theirs, atol=1e-5)


def test_sampling_covariance_is_v(rng):
    """V describes how estimated distances covary when patterns are noise with covariance Sigma between conditions."""
    n, p, n_sim = 5, 40, 6000
    root = rng.standard_normal((n, n))
    sigma = root @ root.T + np.eye(n)
    noise = np.linalg.cholesky(sigma) @ rng.standard_normal((n_sim, 2, n, p))
    i, j = pair_indices(n)
    difference = noise[:, :, i] - noise[:, :, j]
    d = (difference[:, 0] * difference[:, 1]).mean(2)
    c = contrasts(n)
    expected = (c @ sigma @ c.T) ** 2 / p
    error = np.abs(np.cov(d.T) - expected).max()
    assert error < 0.1 * expected.max()


def test_sigma_tensors(stacks, sigmas):
    torch = pytest.importorskip("torch")
    a, b = (torch.tensor(s) for s in stacks)
    for sigma in sigmas.values():
        score = compare(a, b, "cosine_cov", sigma)
        np.testing.assert_allclose(score.numpy(), compare(*stacks, "cosine_cov", sigma), atol=1e-12)
    sigma = sigmas["matrix"]
    assert torch.autograd.gradcheck(lambda z: sigma_tokens(z, sigma), a.requires_grad_())
