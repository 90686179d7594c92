"""Diagonalise a Gram matrix so that the smallest penalty of a grid still means what it says.

Ridge with penalty alpha only sees ``1 / (lambda + alpha)``: an eigenvalue needs an absolute error well below
``lambda + alpha``. In float64 that always holds. In float32 the error is about 1e-7 of the *largest* eigenvalue, which
drowns the tail of a steep spectrum. For big matrices (where float64 takes most of a fit) the largest eigenpairs are
therefore found first, in float64, by a block Krylov method, and taken out; what is left is smaller by orders of
magnitude, and so is the error of its float32 decomposition. The result is used only where it is provably good enough.
"""

from __future__ import annotations

import torch

BIG = 3000  # below this size float64 costs too little to be worth a second way
RELATIVE_ERROR = 2e-3  # largest error of lambda + alpha, relative, that is accepted from float32
FLOAT32_ERROR = 1.5e-7  # of LAPACK's float32 eigenvalues, relative to the norm (observed: 3e-8 to 6e-8)


def eigh(A: torch.Tensor, rank: int, alpha_min: float = 0.0, dtype: torch.dtype = torch.float64):
    """Diagonalise a symmetric positive semi-definite float64 matrix: ``A = V diag(lam) V'``, ``lam`` ascending.

    Parameters
    ----------
    A : tensor of shape (k, k), float64
        On a GPU whose ``eigh`` fails (it happens for ill-conditioned matrices) the CPU does it.
    rank : int
        The most that the matrix can have; eigenvalues beyond it are noise that nobody will use.
    alpha_min : float
        Smallest number that will be added to ``lam``.
    dtype : torch.dtype
        What the caller computes in. float32 allows, for big matrices on the CPU, a float32 decomposition of the
        deflated matrix, taken only if its error is small beside ``lam + alpha_min``.

    Returns
    -------
    lam : tensor (k,), float64
    V : tensor (k, k), float64 or float32
    """
    if dtype == torch.float32 and A.device.type == "cpu" and len(A) >= BIG:
        found = _eigh_deflated(A, rank, alpha_min)
        if found is not None:
            return found
    try:
        return torch.linalg.eigh(A)
    except RuntimeError:  # torch.linalg.LinAlgError is one
        if A.device.type == "cpu":
            raise
        lam, V = torch.linalg.eigh(A.cpu())
        return lam.to(A.device), V.to(A.device)


def decompose(gram: torch.Tensor, rank: int, alpha_min: float, dtype: torch.dtype):
    """Return ``eigh`` without the null space, where coordinates are rounding and ``1 / (lambda + alpha)`` is large."""
    lam, V = eigh(gram, rank, alpha_min, dtype)
    noise = len(lam) * torch.finfo(torch.float64).eps * float(lam[-1].abs())
    keep = max(len(lam) - rank, int(torch.count_nonzero(lam <= noise)))
    return lam[keep:].contiguous(), V[:, keep:].contiguous()


def _eigh_deflated(A: torch.Tensor, rank: int, alpha_min: float):
    """Largest eigenpairs in float64, the rest in float32; None where that would not be accurate enough."""
    theta, V1, norm = _largest_eigenpairs(A)
    n_head = len(theta)
    B = A.to(torch.float32, copy=True) if n_head == 0 else _deflate(A, V1, 2 * norm)
    lam, V = torch.linalg.eigh(B)
    del B
    lam = lam.double()
    error = FLOAT32_ERROR * (2 * norm if n_head else norm)
    if error > RELATIVE_ERROR * (float(lam[len(A) - rank].clamp(min=0)) + alpha_min):
        return None
    if n_head:  # their copies stand last, at 2 * norm
        lam[-n_head:] = theta
        V[:, -n_head:] = V1
    return lam, V


def _deflate(A: torch.Tensor, V1: torch.Tensor, shift: float) -> torch.Tensor:
    """``(I - V1 V1') A (I - V1 V1') + shift V1 V1'`` in float32: V1's eigenvalues become ``shift``, the others stay."""
    AV = A @ V1
    core = V1.T @ AV
    left = AV - V1 @ (core + shift * torch.eye(len(core), dtype=A.dtype)) / 2  # A2 = A - left V1' - V1 left'
    B = torch.empty(A.shape, dtype=torch.float32)
    step = max(1, 2**24 // len(A))
    for start in range(0, len(A), step):  # in blocks of rows: no second float64 matrix
        rows = slice(start, start + step)
        block = A[rows] - left[rows] @ V1.T
        B[rows] = block.addmm_(V1[rows], left.T, alpha=-1)
    return B


def _largest_eigenpairs(A: torch.Tensor, block: int = 16, depth: int = 40, tolerance: float = 1e-6):
    """Return (values ascending, vectors, norm of what remains) of the leading eigenpairs that a Krylov space resolves.

    Rayleigh-Ritz in ``span{W, AW, ..., A^(depth-1) W}``; pairs are kept from the top down to the first whose residual
    exceeds ``tolerance`` of its value, so that neglecting their coupling to the rest is a second-order effect.
    """
    k = len(A)
    depth = max(1, min(depth, k // (2 * block)))
    generator = torch.Generator().manual_seed(0)
    W = torch.linalg.qr(torch.randn(k, block, dtype=A.dtype, generator=generator))[0]
    basis = torch.empty(k, block * depth, dtype=A.dtype)
    image = torch.empty_like(basis)
    for i in range(depth):
        here = slice(i * block, (i + 1) * block)
        basis[:, here] = W
        image[:, here] = torch.mm(A, W)
        if i + 1 < depth:
            past = basis[:, : (i + 1) * block]
            W = image[:, here]
            for _ in range(2):  # twice is enough
                W = torch.linalg.qr(W - past @ (past.T @ W))[0]
    core = basis.T @ image
    theta, S = torch.linalg.eigh((core + core.T) / 2)
    vectors = basis @ S
    residual = torch.linalg.vector_norm(image @ S - vectors * theta, dim=0)
    bad = torch.nonzero(residual > tolerance * theta.abs())
    first = int(bad[-1]) + 1 if len(bad) else 0
    if first == len(theta):  # nothing converged: a flat spectrum, which needs no deflation
        return theta[:0], vectors[:, :0], float(theta[-1])
    if first == 0:
        first = 1
    norm = float(theta[first - 1] + residual[first - 1])
    return theta[first:].clone(), vectors[:, first:].contiguous(), max(norm, 0.0)
