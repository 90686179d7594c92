"""Which directions do two representations share, whatever their variance? Canonical correlations and summaries.

With orthonormal bases Qx, Qy of the centred features, the canonical correlations rho are the singular values of Qx' Qy.

    mean: mean rho      mean_square: mean rho^2      PWCCA: sum w rho / sum w,  w_i = sum_j |<h_i, x_j>|

with h_i the canonical variates in X. SVCCA truncates both to their leading principal components first. Ranks near the
number of stimuli make these large whatever the data: with rank_x + rank_y > n - 1 some rho are 1.

References
----------
Raghu, Gilmer, Yosinski & Sohl-Dickstein (2017), NeurIPS (SVCCA). Morcos, Raghu & Bengio (2018), NeurIPS (PWCCA).
Kornblith, Norouzi, Lee & Hinton (2019), ICML.
"""

from __future__ import annotations

from typing import Any

from neuro._check import check_option, is_tensor
from neuro.rsa._array import centred, features_pair, lib, like, number

RANK = 1e-10  # singular values below this share of the largest are rounding


def canonical_correlations(x: Any, y: Any) -> Any:
    """Return all canonical correlations, largest first, (min(rank_x, rank_y),).

    Parameters
    ----------
    x, y : array or tensor (n_stimuli, n_features)
    """
    original = x if is_tensor(x) else y
    x, y = features_pair(x, y)
    return like(_rho(_basis(centred(x)), _basis(centred(y))), original)


def cca(x: Any, y: Any, summary: str = "mean") -> Any:
    """Return one number for the canonical correlations of two representations.

    Parameters
    ----------
    x, y : array or tensor (n_stimuli, n_features)
    summary : "mean", "mean_square" or "pwcca"
        "pwcca" weights by how much of ``x`` each variate carries, so it is not symmetric.

    Returns
    -------
    float or tensor (), 0 to 1; 0 where a representation does not vary
    """
    check_option("summary", summary, ["mean", "mean_square", "pwcca"])
    original = x if is_tensor(x) else y
    x, y = features_pair(x, y)
    x, y = centred(x), centred(y)
    return _summarised(x, y, summary, original)


def pwcca(x: Any, y: Any) -> Any:
    """Return projection-weighted CCA, weighted by the shares of ``x``."""
    return cca(x, y, "pwcca")


def svcca(x: Any, y: Any, variance: float = 0.99, summary: str = "mean") -> Any:
    """Return CCA of the fewest leading principal components that hold ``variance`` of each representation.

    Parameters
    ----------
    x, y : array or tensor (n_stimuli, n_features)
    variance : float, above 0 up to 1
    summary : as in :func:`cca`
    """
    if not 0 < variance <= 1:
        raise ValueError(f"variance must be above 0 and at most 1, got {variance}.")
    check_option("summary", summary, ["mean", "mean_square", "pwcca"])
    original = x if is_tensor(x) else y
    x, y = features_pair(x, y)
    return _summarised(_leading(centred(x), variance), _leading(centred(y), variance), summary, original)


def _summarised(x: Any, y: Any, summary: str, original: Any) -> Any:
    xp = lib(x)
    q, r = _basis(x), _basis(y)
    if 0 in (q.shape[1], r.shape[1]):
        value = (x * 0).sum()
    elif summary == "pwcca":
        u, rho, _ = xp.linalg.svd(q.T @ r, full_matrices=False)
        weights = abs((q @ u).T @ x).sum(1)
        value = (weights * xp.clip(rho, 0, 1)).sum() / weights.sum()
    else:
        rho = _rho(q, r)
        value = rho.mean() if summary == "mean" else (rho * rho).mean()
    return like(value, original) if is_tensor(value) else float(value)


def _rho(q: Any, r: Any) -> Any:
    xp = lib(q)
    if 0 in (q.shape[1], r.shape[1]):
        return q[:0, :1].sum(1)
    return xp.clip(xp.linalg.svd(q.T @ r, full_matrices=False)[1], 0, 1)


def _basis(x: Any) -> Any:
    u, s, _ = lib(x).linalg.svd(x, full_matrices=False)
    return u[:, s > max(RANK * number(s[0]), 1e-300)]


def _leading(x: Any, variance: float) -> Any:
    u, s, _ = lib(x).linalg.svd(x, full_matrices=False)
    share = s * s
    if not share.sum() > 0:
        return x
    held = share.cumsum(0) / share.sum()
    n = int((held < variance - 1e-12).sum()) + 1
    return u[:, :n] * s[:n]
