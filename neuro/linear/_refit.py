"""The last step: weights on all rows, each voxel with its own penalty, from one decomposition."""

from __future__ import annotations

import torch

from neuro.linear._chunks import Buffers, Responses, over_chunks
from neuro.linear._design import Design


def refit(design: Design, responses: Responses, products, alphas, best, memory_limit: int, n_jobs=None):
    """Solve on all rows.

    Parameters
    ----------
    products : tensor (n_voxels, p) or None
        ``Y'X`` of the centred data, in the primal form; becomes the weights, in place.
    alphas : tensor (n_alphas,), float64
        In the units of ``design``.
    best : integer tensor (n_voxels,)
        Index into ``alphas``.

    Returns
    -------
    coef : tensor (n_voxels, p) or None
    dual : tensor (n_voxels, n) or None
        With ``coef = dual @ design.X``, where this pair is smaller than ``coef``.
    """
    v, dual = responses.n_voxels, None
    lam, basis = design.whole(float(alphas[best].min()))
    k = len(lam)
    # weights of the unscaled data from those of the scaled
    shrink = ((design.scale / responses.scale) / (lam + alphas[:, None])).to(design.dtype)  # (n_alphas, k)
    if design.form == "dual":
        dual = torch.empty(v, design.n, dtype=design.dtype, device=design.X.device)

    def solve(voxels: slice, buffers: Buffers) -> None:
        c = buffers("c", voxels.stop - voxels.start, k)
        if dual is None:
            torch.mm(products[voxels], basis, out=c)
        else:
            torch.mm(responses.chunk(voxels, buffers).T, basis, out=c)
        factor = buffers("factor", *c.shape)
        c.mul_(torch.index_select(shrink, 0, best[voxels], out=factor))
        torch.mm(c, basis.T, out=(products if dual is None else dual)[voxels])

    over_chunks(solve, responses, 2 * k + design.n, memory_limit, n_jobs)
    if dual is None:
        return products, None
    if v * design.p <= design.n * (v + design.p):
        return dual @ design.X, None
    return None, dual
