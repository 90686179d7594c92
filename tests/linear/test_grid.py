"""The algebra that scores all penalties at once, and the decomposition it stands on."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from neuro.linear import RidgeCV, _eigh
from neuro.linear._arrays import gram64
from neuro.linear._chunks import Buffers
from neuro.linear._grid import NEAR, PartialFractions, Predictions, cheaper_way


def spectra(k):
    """Eigenvalues as they come: spread, steep, in clusters, equal, and all far below the penalties."""
    i = torch.arange(1, k + 1, dtype=torch.float64)
    clusters = torch.tensor([1.0, 10.0, 100.0], dtype=torch.float64).repeat_interleave(k // 3)
    return {
        "flat": torch.linspace(0.5, 2, k, dtype=torch.float64),
        "steep": (1 / i**3).flip(0),
        "clusters": clusters + 1e-9 * i[: len(clusters)],
        "equal": torch.ones(k, dtype=torch.float64),
        "tiny": 1e-9 * i,
    }


@pytest.mark.parametrize("name", ["flat", "steep", "clusters", "equal", "tiny"])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("parts", [True, False])
def test_partial_fractions_are_the_predictions(name, dtype, parts):
    generator = torch.Generator().manual_seed(0)
    lam = spectra(90)[name]
    k, v, n_val = len(lam), 12, 20
    Z = torch.randn(n_val, k, dtype=torch.float64, generator=generator) * lam.sqrt()
    c = torch.randn(v, k, dtype=torch.float64, generator=generator) * lam.sqrt()
    y = torch.randn(n_val, v, dtype=torch.float64, generator=generator)
    y_mean = torch.randn(v, dtype=torch.float64, generator=generator)
    alphas = torch.logspace(-3, 6, 10, dtype=torch.float64)
    direct = Predictions(lam, Z, alphas, torch.float64).sums(c, y, y_mean, True, Buffers(torch.float64, lam.device))
    both = torch.empty(v, 2 * k, dtype=dtype)
    both[:, :k] = (y.T @ Z).to(dtype)
    found = PartialFractions(lam, Z, alphas, dtype).sums(c.to(dtype), both, y_mean.to(dtype), parts)
    _, cross, quad, total = direct
    # errors are relative to what the sums are made of, not to what is left after cancelling
    tolerance = 1e-9 if dtype == torch.float64 else 2e-4
    size = c.abs() @ (Z.abs().sum(0)[:, None] / (lam[:, None] + alphas)) * (y.abs().max() + y_mean.abs().max())
    if parts:
        for ours, theirs, scale in ((found[1], cross, size), (found[2], quad, quad), (found[3], total, size)):
            assert ((ours.double() - theirs).abs() <= tolerance * scale).all()
    else:
        scale = quad + 2 * size
        assert ((found[0].double() - (quad - 2 * cross)).abs() <= tolerance * scale).all()


def test_near_pairs_are_wrong_by_half_their_squared_distance_only():
    for dtype, tolerance in NEAR.items():
        lam = torch.tensor([1.0, 1.0 + 0.9 * tolerance], dtype=torch.float64)
        exact = 1 / (lam[0] * lam[1])
        approximate = (1 / lam**2).mean()
        assert abs(approximate / exact - 1) < tolerance**2 / 2 * 1.1, dtype


@pytest.mark.parametrize(
    ("n_val", "k", "n_alphas", "n_voxels", "way"),
    [
        (150, 512, 20, 15000, PartialFractions),
        (1772, 6144, 20, 15724, PartialFractions),
        (150, 512, 1, 15000, Predictions),  # one penalty
        (1, 500, 20, 15000, Predictions),  # leave one out
        (200, 800, 20, 3, Predictions),  # few voxels do not pay for P
    ],
)
def test_cheaper_way_follows_the_flop_count(n_val, k, n_alphas, n_voxels, way):
    assert cheaper_way(n_val, k, n_alphas, n_voxels) is way


@pytest.mark.parametrize("shape", [(7, 3), (40, 700), (1300, 520), (5, 1)])
def test_gram_is_exact_in_float64_and_symmetric(shape):
    A = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    G = gram64(A, max_bytes=2**14)
    torch.testing.assert_close(G, A.double().T @ A.double(), rtol=1e-12, atol=1e-12)
    assert torch.equal(G, G.T)


@pytest.mark.parametrize("power", [0.0, 0.5, 1.0, 2.0])
def test_deflated_float32_decomposition_solves_as_float64_does(power):
    """On a power-law spectrum, at the smallest default penalty."""
    k = 300
    X = torch.randn(400, k, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    X *= torch.arange(1, k + 1) ** (-power / 2)
    X /= (X.square().sum() / len(X)).sqrt()
    G, g = X.T @ X, X.T @ torch.randn(400, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    found = _eigh._eigh_deflated(G, k, 1e-3)
    assert found is not None
    lam, V = found
    assert V.dtype == torch.float32
    assert (lam[1:] >= lam[:-1]).all()
    V = V.double()
    torch.testing.assert_close(V.T @ V, torch.eye(k, dtype=torch.float64), atol=1e-5, rtol=0)
    solution = V @ ((V.T @ g) / (lam + 1e-3)[:, None])
    exact = torch.linalg.solve(G + 1e-3 * torch.eye(k, dtype=torch.float64), g)
    assert torch.linalg.norm(solution - exact) < 2e-3 * torch.linalg.norm(exact)


def test_float32_decomposition_is_refused_where_it_would_lie():
    """A flat spectrum down to almost 0, with a penalty far below float32's resolution."""
    X = torch.randn(300, 300, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    assert _eigh._eigh_deflated(X.T @ X, 300, 1e-9) is None
    assert _eigh._eigh_deflated(X.T @ X, 300, 1e3) is not None


@pytest.mark.parametrize(("n", "p"), [(400, 150), (150, 400), (160, 150)])
def test_big_float32_problems_take_the_deflated_way_with_the_same_answer(planted, monkeypatch, n, p):
    """Tall; wide, where centring makes the kernel singular; and with fewer training rows than features."""
    X, Y = planted(n, p, 40, dtype=np.float32)
    exact = RidgeCV(np.logspace(-1, 6, 8)).fit(X, Y)
    calls = []
    original = _eigh._eigh_deflated
    monkeypatch.setattr(_eigh, "_eigh_deflated", lambda *a: calls.append(original(*a)) or calls[-1])
    monkeypatch.setattr(_eigh, "BIG", 100)
    fast = RidgeCV(np.logspace(-1, 6, 8)).fit(X, Y)
    assert len(calls) == 6
    assert all(found is not None for found in calls)
    np.testing.assert_allclose(fast.cv_scores_, exact.cv_scores_, rtol=5e-5)
    np.testing.assert_array_equal(fast.alpha_, exact.alpha_)
    np.testing.assert_allclose(fast.coef_, exact.coef_, atol=5e-4)


def test_gpu_decomposition_that_fails_is_done_on_the_cpu(monkeypatch):
    class Elsewhere:
        """A stand-in for a matrix on a GPU whose solver gives up."""

        device = torch.device("cuda")

        def __len__(self):
            return 2

        def cpu(self):
            return torch.eye(2, dtype=torch.float64)

    original, moved = torch.linalg.eigh, []

    def fail(A):
        if isinstance(A, Elsewhere):
            raise torch.linalg.LinAlgError("cusolver error: 7")
        return original(A)

    monkeypatch.setattr(torch.linalg, "eigh", fail)
    monkeypatch.setattr(torch.Tensor, "to", lambda self, *a, **k: moved.append(a) or self)
    lam, _ = _eigh.eigh(Elsewhere(), 2)
    assert lam.tolist() == [1.0, 1.0]
    assert moved == [(torch.device("cuda"),)] * 2
    monkeypatch.undo()
    monkeypatch.setattr(torch.linalg, "eigh", lambda A: (_ for _ in ()).throw(torch.linalg.LinAlgError("no")))
    with pytest.raises(torch.linalg.LinAlgError):
        _eigh.eigh(torch.eye(2, dtype=torch.float64), 2)
