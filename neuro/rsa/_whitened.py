"""How alike are two RDMs, once the covariance between their entries is taken into account?

Distances that share a stimulus covary. With covariance Sigma between conditions and C the P x n pairwise contrasts,

    V = (C Sigma C') o (C Sigma C'),     score = d1' V^-1 d2 / sqrt(d1' V^-1 d1 . d2' V^-1 d2).

V is never built. Without Sigma, 2 d1' V^-1 d2 = d1.d2 - (r1.r2)/n + (s1 s2)/(2 n^2), with row sums r and total s of the
square matrices; other constants in the same three terms give the centred kernel alignments (CKA), see ``CONSTANTS``.
With Sigma = (L L')^-1, d1' V^-1 d2 is proportional to the inner product of B D1 B' and B D2 B',
B = (I - u u') L', u = L'1 / |L'1|. With unknown pairs V is restricted to the known ones.

References
----------
Diedrichsen, Berlot, Mur, Schuett, Shahbazi & Kriegeskorte (2021), Neurons, Behavior, Data analysis, and Theory 5(3).
Kornblith, Norouzi, Lee & Hinton (2019), ICML. Song et al. (2012), JMLR 13. Lange et al. (2023), NeurIPS.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

from neuro._check import is_tensor
from neuro.errors import ShapeMismatch
from neuro.rsa._array import TINY, constant, double, lib, scores_from, to_numpy
from neuro.rsa._pairs import n_from_pairs, pair_indices, to_square
from neuro.rsa._products import MILD, dots, means, squares, unit

CONSTANTS = {  # inner(d, d') = 2 d.d' - c1 r.r' + c2 s s'
    "biased": lambda n: (2 / n, 1 / n**2),
    "debiased": lambda n: (2 / (n - 2), 1 / ((n - 1) * (n - 2))),
    "lange": lambda n: (2 / n + 4 / n**2, 1 / n**2 + 3 / n**3),
}
SPARSE = 200  # conditions up to which row sums are one sparse product
DENSE = 3000  # most equations solved at once where Sigma is a matrix and pairs are missing; beyond: conjugate gradients


def row_sums(d: Any) -> Any:
    """Return the row sums (m, n) of the square matrices of condensed ``d`` (m, P), in float64."""
    n = n_from_pairs(d.shape[1])
    if is_tensor(d):
        i, j = (constant(k, d) for k in pair_indices(n))
        d = double(d)
        return d.new_zeros((len(d), n)).index_add(1, i, d).index_add(1, j, d)
    if n <= SPARSE:
        return (_incidence(n) @ d.T).T
    out, start = np.zeros((len(d), n)), 0
    for i in range(n - 1):
        part = d[:, start : start + n - 1 - i]
        out[:, i] += part.sum(axis=1, dtype=np.float64)
        out[:, i + 1 :] += part
        start += n - 1 - i
    return out


@lru_cache(maxsize=4)
def _incidence(n: int) -> Any:
    """Sparse (n, n_pairs): 1 where a stimulus is part of a pair."""
    from scipy.sparse import csr_matrix

    i, j = pair_indices(n)
    pairs = np.arange(len(i))
    return csr_matrix((np.ones(2 * len(i)), (np.r_[i, j], np.r_[pairs, pairs])), shape=(n, len(i)))


def scores(a: Any, b: Any, kind: str = "biased", centre: bool = False) -> Any:
    """Whitened cosine (``kind`` "biased") or a CKA between all rows; ``centre`` removes each row's mean first."""
    n = n_from_pairs(a.shape[1])
    c1, c2 = CONSTANTS[kind](n)
    centre = centre or kind == "debiased"  # the debiased product ignores a constant; without it less cancels
    dot, sides = _sums(a, b, n, centre)
    norms, floors = [], []
    for raw, square, rows in sides:
        norms.append(2 * square - c1 * (rows * rows).sum(1) + c2 * rows.sum(1) ** 2)
        floors.append((100 * TINY**2 * raw if centre else 0 * raw) + (1e-14 * square if kind == "debiased" else 0))
    rows_a, rows_b = sides[0][2], sides[1][2]
    inner = 2 * dot - c1 * rows_a @ rows_b.T + c2 * rows_a.sum(1)[:, None] * rows_b.sum(1)
    return scores_from(inner, *norms, *floors)


def _sums(a: Any, b: Any, n: int, centre: bool) -> tuple[Any, list[tuple[Any, Any, Any]]]:
    """Products a b' and, of each side, squared norm before and after centring and row sums after it."""
    same, n_pairs = b is a, a.shape[1]
    stacks = (a,) if same else (a, b)
    if not is_tensor(a) and a.dtype == b.dtype == np.float64:
        sums = [_packed_sums(d, n) if n > SPARSE else (squares(d), row_sums(d)) for d in stacks]
        dot, sums = a @ b.T, sums * 2 if same else sums
        if not centre:
            return dot, [(square, square, rows) for square, rows in sums]
        levels = [rows.sum(1) / (2 * n_pairs) for _, rows in sums]
        after = [square - n_pairs * level**2 for (square, _), level in zip(sums, levels, strict=True)]
        if all((left > MILD * square).all() for left, (square, _) in zip(after, sums, strict=True)):
            dot = dot - n_pairs * levels[0][:, None] * levels[1]
            return dot, [
                (square, left, rows - (n - 1) * level[:, None])
                for left, (square, rows), level in zip(after, sums, levels, strict=True)
            ]
    sides, averages = [], []
    for d in stacks:
        mean = means(d) if centre else None
        rows = row_sums(d) if mean is None else row_sums(d) - (n - 1) * mean[:, None]
        sides.append((squares(d), squares(d, mean), rows))
        averages.append(mean)
    return dots(a, b, averages[0], averages[-1]), [sides[0], sides[-1]]


def _packed_sums(d: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Squared norms and row sums of float64 RDMs, by the packed symmetric product of BLAS.

    A condensed RDM is the packed triangle, diagonal included, of an (n - 1) x (n - 1) matrix M with M_ki = D_i,k+1.
    Its row sums are the column parts of D's one further on, plus the row parts without their first entry.
    """
    from scipy.linalg.blas import dspmv

    starts = np.r_[0, np.cumsum(np.arange(n - 1, 1, -1))]
    ones = np.ones(n - 1)
    square, rows = np.empty(len(d)), np.zeros((len(d), n))
    for k, x in enumerate(d):
        square[k] = x @ x
        right = np.add.reduceat(x, starts)
        rows[k, :-1] = right
        rows[k, 1:] += dspmv(n - 1, 1.0, x, ones, lower=1) - (right - x[starts])
    return square, rows


def tokens(d: Any, kind: str = "biased", centre: bool = False) -> Any:
    """Return unit vectors (m, P) whose dot products are :func:`scores`.

    The product has three eigenspaces: constants, additive effects of the stimuli, and the rest; each part is scaled
    by the root of its eigenvalue.
    """
    n = n_from_pairs(d.shape[1])
    c1, c2 = CONSTANTS[kind](n)
    effect = max(2 - c1 * (n - 2), 0.0) if kind != "debiased" else 0.0
    level = max(2 - 2 * c1 * (n - 1) + 2 * c2 * n * (n - 1), 0.0) if kind != "debiased" else 0.0
    d = double(d)
    mean = d.mean(1)
    deviation = d - mean[:, None]
    i, j = (constant(k, d) for k in pair_indices(n))
    e = row_sums(deviation) / max(n - 2, 1)
    additive = e[:, i] + e[:, j]
    out = np.sqrt(2) * (deviation - additive) + np.sqrt(effect) * additive
    floor = 100 * TINY**2 * squares(d)
    if not (centre or kind == "debiased"):
        out = out + np.sqrt(level) * mean[:, None]
        floor = 0 * floor
    if kind == "debiased":
        floor = floor + 1e-14 * squares(deviation)
    return unit(out, floor)


def check_sigma(sigma_k: Any, n: int) -> np.ndarray:
    """Return sigma_k as a vector (n,) or a matrix (n, n) in float64, checked."""
    sigma = to_numpy(sigma_k).astype(np.float64)
    if sigma.shape not in ((n,), (n, n)):
        raise ShapeMismatch(
            f"sigma_k must be ({n},) or ({n}, {n}) for RDMs of {n} conditions, got {sigma.shape}: "
            "a variance per condition or their covariance."
        )
    if not np.isfinite(sigma).all():
        raise ValueError("sigma_k contains NaN or infinite values.")
    if sigma.ndim == 1 and (sigma <= 0).any():
        raise ValueError(f"variances in sigma_k must be positive, got {sigma.min():.3g}.")
    if sigma.ndim == 2 and np.abs(sigma - sigma.T).max() > 1e-8 * np.abs(sigma).max():
        raise ValueError("sigma_k must be symmetric.")
    return sigma


def sigma_tokens(d: Any, sigma: np.ndarray, centre: bool = False) -> Any:
    """Return unit vectors (m, n (n + 1) / 2) whose dot products are the scores whitened with ``sigma``."""
    d = double(d)
    floor = 100 * TINY**2 * squares(d) if centre else 0.0
    return unit(sigma_whiten(d, sigma, centre), floor)


def sigma_whiten(d: Any, sigma: np.ndarray, centre: bool = False) -> Any:
    """Return vectors (m, n (n + 1) / 2), linear in the RDMs, whose cosines are the scores whitened with ``sigma``."""
    n = len(sigma)
    d = double(d)
    if centre:
        d = d - d.mean(1)[:, None]
    whiten = constant(_whitener(sigma), d)
    i, j = (constant(k, d) for k in np.triu_indices(n))
    weight = constant(np.where(np.arange(n)[:, None] == np.arange(n), 1.0, np.sqrt(2))[np.triu_indices(n)], d)
    step = max(1, 2**22 // n**2)
    parts = [(whiten @ to_square(d[k : k + step]) @ whiten.T)[:, i, j] * weight for k in range(0, len(d), step)]
    return lib(d).concatenate(parts)


def masked_scores(a: Any, b: Any, known: np.ndarray, sigma: np.ndarray | None, centre: bool = False) -> Any:
    """Whitened scores over the pairs ``known`` (P,) only, with V restricted to them; ``a``, ``b`` hold these pairs.

    Without sigma, or with variances s, V = 2 diag(s_i s_j) + R' diag(s^2) R with R the incidence of stimuli and pairs,
    so that Woodbury's identity leaves one n x n solve. With a matrix the equations of the unknown pairs (or of the
    known ones, if fewer) are solved.
    """
    a, b = double(a), (None if b is a else double(b))
    floors = [100 * TINY**2 * squares(z) if centre else 0 * squares(z) for z in (a, a if b is None else b)]
    if centre:
        a = a - a.mean(1)[:, None]
        b = None if b is None else b - b.mean(1)[:, None]
    solve = _restricted_matrix if sigma is not None and sigma.ndim == 2 else _restricted_diagonal
    apply = solve(known, sigma)
    right_a = constant(apply(to_numpy(a)), a)
    right_b = right_a if b is None else constant(apply(to_numpy(b)), a)
    b = a if b is None else b
    return scores_from(a @ right_b.T, (a * right_a).sum(1), (b * right_b).sum(1), *floors)


def _whitener(sigma: np.ndarray) -> np.ndarray:
    """B with B D B' the token of D: (I - u u') L', L L' = Sigma^-1."""
    if sigma.ndim == 1:
        root = np.diag(sigma**-0.5)
    else:
        from scipy.linalg import solve_triangular

        try:
            root = solve_triangular(np.linalg.cholesky(sigma), np.eye(len(sigma)), lower=True)  # L'
        except np.linalg.LinAlgError:
            low = np.linalg.eigvalsh(sigma)[0]
            raise ValueError(
                f"sigma_k must be positive definite, its smallest eigenvalue is {low:.3g}. Shrink the estimate."
            ) from None
    u = root.sum(1)
    u = u / np.linalg.norm(u)
    return root - u[:, None] * (u @ root)


def _restricted_diagonal(known: np.ndarray, sigma: np.ndarray | None) -> Any:
    n = n_from_pairs(len(known))
    i, j = (k[known] for k in pair_indices(n))
    s = np.ones(n) if sigma is None else sigma
    inverse = 1 / (2 * s[i] * s[j])
    system = np.zeros((n, n))
    system[i, j] = system[j, i] = inverse
    system[np.diag_indices(n)] = s**-2.0 + np.bincount(i, inverse, n) + np.bincount(j, inverse, n)

    def apply(d: np.ndarray) -> np.ndarray:
        scaled = d * inverse
        rows = np.array([np.bincount(i, z, n) + np.bincount(j, z, n) for z in scaled])
        e = np.linalg.solve(system, rows.T).T
        return scaled - inverse * (e[:, i] + e[:, j])

    return apply


def _restricted_matrix(known: np.ndarray, sigma: np.ndarray) -> Any:
    n = len(sigma)
    i, j = pair_indices(n)
    n_known, n_unknown = int(known.sum()), int((~known).sum())
    if min(n_known, n_unknown) > DENSE:
        return _restricted_iterative(known, sigma)
    if n_known <= n_unknown:
        i, j = i[known], j[known]
        contrast = sigma[np.ix_(i, i)] - sigma[np.ix_(i, j)] - sigma[np.ix_(j, i)] + sigma[np.ix_(j, j)]
        return lambda d: np.linalg.solve(contrast**2, d.T).T
    q = _whitener(sigma)
    q = q.T @ q
    k, l = i[~known], j[~known]
    corner = (q[np.ix_(k, k)] * q[np.ix_(l, l)] + q[np.ix_(k, l)] * q[np.ix_(l, k)]) / 2

    def apply(d: np.ndarray) -> np.ndarray:
        full = np.zeros((len(d), len(known)))
        full[:, known] = d
        inverse = _apply_inverse(full, q)
        full[:, ~known] = -np.linalg.solve(corner, inverse[:, ~known].T).T
        return _apply_inverse(full, q)[:, known]

    return apply


def _apply_inverse(d: np.ndarray, q: np.ndarray) -> np.ndarray:
    """V^-1 d of complete RDMs: (Q D Q) / 2 off the diagonal, Q = B'B."""
    n = len(q)
    i, j = pair_indices(n)
    return np.stack([(q @ to_square(row) @ q)[i, j] / 2 for row in d])


def _restricted_iterative(known: np.ndarray, sigma: np.ndarray) -> Any:
    """Conjugate gradients on the known pairs, V applied through Laplacians, preconditioned by the complete V^-1."""
    i, j = pair_indices(len(sigma))
    q = _whitener(sigma)
    q = q.T @ q

    def full(x: np.ndarray) -> np.ndarray:
        out = np.zeros((1, len(known)))
        out[0, known] = x
        return out

    def covariance(x: np.ndarray) -> np.ndarray:
        w = to_square(full(x))[0]
        m = sigma @ (np.diag(w.sum(1)) - w) @ sigma
        return (m[i, i] + m[j, j] - 2 * m[i, j])[known]

    def solve(b: np.ndarray) -> np.ndarray:
        x, r = np.zeros_like(b), b.copy()
        z = _apply_inverse(full(r), q)[0, known]
        p, rz = z.copy(), r @ z
        for _ in range(10 * len(sigma)):
            if np.sqrt(r @ r) <= 1e-13 * np.sqrt(b @ b):
                break
            vp = covariance(p)
            step = rz / (p @ vp)
            x += step * p
            r -= step * vp
            z = _apply_inverse(full(r), q)[0, known]
            rz, previous = r @ z, rz
            p = z + (rz / previous) * p
        return x

    return lambda d: np.stack([solve(row) for row in d])
