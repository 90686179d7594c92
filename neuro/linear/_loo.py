"""Leave-one-out and generalised cross-validation: exact and without refitting, from the one decomposition of all rows.

With ``U`` the left singular vectors of the centred features, ``b = U'y`` and ``beta_k = alpha / (lambda_k + alpha)``,
the residual of the fit to all rows is ``e = (y - U b) + U (beta * b)``; the error on row i of a fit without that row
is ``e_i / (1 - h_i)`` with the leverage ``h_i = 1/n + sum_k (1 - beta_k) U_ik^2`` (1/n: the free intercept), or

    1 - h_i = (1 - 1/n - sum_k U_ik^2) + sum_k beta_k U_ik^2,

which keeps its digits where h_i is close to 1. GCV replaces ``1 - h_i`` by its mean. Both assume rows that share no
noise: repeats of a stimulus break them.
"""

from __future__ import annotations

from typing import Any

import torch

from neuro.linear._chunks import Buffers, Responses, over_chunks
from neuro.linear._design import Design


def leave_one_out(
    design: Design, responses: Responses, alphas: torch.Tensor, kind: str, memory_limit: int, n_jobs=None
):
    """Score every penalty by leave-one-out (``kind="loo"``) or generalised (``"gcv"``) cross-validation.

    Parameters
    ----------
    alphas : tensor (n_alphas,), float64
        In the units of ``design``.

    Returns
    -------
    scores : tensor (n_voxels, n_alphas)
        Minus the mean squared error of left-out rows.
    baseline : tensor (n_voxels,)
        The same for predicting the mean of the other rows.
    products : tensor (n_voxels, p) or None
        ``Y'X``, in the primal form.
    """
    n, v, dtype, device = design.n, responses.n_voxels, design.dtype, design.X.device
    primal = design.form == "primal"
    lam, basis = design.whole(float(alphas.min()))
    root = lam.sqrt().to(dtype)
    U = (design.X @ basis) / root if primal else basis
    k = len(lam)
    full = k >= n - design.intercept  # nothing of y lies outside the features
    beta = (alphas / (lam[:, None] + alphas)).to(dtype)  # (k, n_alphas)
    outside = (1 - design.intercept / n - U.square().sum(1)) * (not full)
    unlike = outside[:, None] + U.square() @ beta  # 1 - h_i, (n, n_alphas)
    scores = torch.empty(v, len(alphas), dtype=dtype, device=device)
    baseline = torch.empty(v, dtype=dtype, device=device)
    products: Any = torch.empty(v, design.p, dtype=dtype, device=device) if primal else None

    def score(voxels: slice, buffers: Buffers) -> None:
        Y = responses.chunk(voxels, buffers)
        b = buffers("b", Y.shape[1], k)
        if products is None:
            torch.mm(Y.T, basis, out=b)
        else:
            torch.mm(Y.T, design.X, out=products[voxels])
            torch.mm(products[voxels], basis, out=b).div_(root)
        y_sq = torch.linalg.vecdot(Y, Y, dim=0)
        baseline[voxels] = -y_sq / n / (1 - design.intercept / n) ** 2
        if kind == "gcv":
            rest = 0 if full else (y_sq - torch.linalg.vecdot(b, b)).clamp_(min=0)[:, None]
            free = (n - design.intercept - k) + beta.sum(0, dtype=torch.float64)
            scores[voxels] = -(b.square() @ beta.square() + rest) * (n / free.square()).to(dtype)
            return
        rest = None if full else Y.addmm_(U, b.T, alpha=-1)
        error = buffers("error", *Y.shape)
        for a in range(len(alphas)):
            torch.mm(U * beta[:, a], b.T, out=error)
            if rest is not None:
                error += rest
            error /= unlike[:, a, None]
            scores[voxels, a] = -torch.linalg.vecdot(error, error, dim=0) / n

    over_chunks(score, responses, 2 * n + 2 * k, memory_limit, n_jobs)
    return scores, baseline, products
