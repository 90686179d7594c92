"""What are the inner products of all RDMs when stimulus i is drawn c_i times?

Drawing stimuli with replacement repeats the pair (i, j) c_i c_j times and leaves out pairs of a stimulus with its own
copy, so every quantity of the resampled RDMs is a sum over the original pairs with weights w_ij = c_i c_j:

    cosine      <d, e> = sum w d e
    corr        the same after subtracting the weighted means
    cosine_cov  <d, e> = d' V^-1 e on known pairs; with N = sum c, r_i = sum_j c_j d_ij, h_i = 2 + N - 2 c_i,
                2 <d, e> = sum w d e - sum_i c_i r_i r'_i / h_i + (sum c r / h)(sum c r' / h) / (1 + sum c / h)
    corr_cov    cosine_cov after subtracting the weighted means

The third follows from V = 2 I + B B' (B: incidence of pairs and draws) by Woodbury's identity, copies of a stimulus
sharing one row of the reduced system, which is diagonal plus rank one. Bootstrap samples, folds and fits of weighted
models need nothing but these small matrices.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from neuro.rsa._pairs import n_from_pairs, pair_indices, to_square
from neuro.rsa._whitened import row_sums

LINEAR = ("cosine", "corr", "cosine_cov", "corr_cov")
BLOCK = 8_000_000  # doubles per temporary
CONSTANT = 1e-12  # variance below this share of the mean square is rounding, not signal


@dataclass(frozen=True, eq=False)
class Grams:
    """Inner products of V vectors for each of B draws.

    Parameters
    ----------
    inner : array (B, V, V)
        In the geometry of the measure; NaN where not asked for.
    plain : array (B, V)
        Mean square (cosine, cosine_cov) or variance (corr, corr_cov) of each vector over the pairs drawn.
    """

    inner: np.ndarray
    plain: np.ndarray

    def norms(self) -> np.ndarray:
        """Length of each vector, (B, V)."""
        return np.sqrt(np.maximum(np.diagonal(self.inner, axis1=1, axis2=2), 0.0))


def gram(vectors: Any, method: str, counts: Any = None, needed: Any = None) -> Grams:
    """Inner products of RDM vectors under counts of stimuli.

    Parameters
    ----------
    vectors : array (V, n_pairs), finite
    method : "cosine", "corr", "cosine_cov" or "corr_cov"
    counts : array (B, n_stimuli), optional
        How often each stimulus is drawn; once each by default.
    needed : bool array (V, V), optional
        Which inner products to compute; all by default, and without counts. Lengths always are.
    """
    x = np.asarray(vectors, float)
    n_vectors, n = x.shape[0], n_from_pairs(x.shape[1])
    centred = method.startswith("corr")
    if centred:
        x = _centred(x)
    if counts is None:
        return _once_each(x, n, method.endswith("_cov"))
    c = np.asarray(counts, float)
    need = np.ones((n_vectors, n_vectors), bool) if needed is None else np.asarray(needed, bool)
    need = need | need.T | np.eye(n_vectors, dtype=bool)
    p, q = np.nonzero(np.triu(need))
    block = max(1, min(len(c), BLOCK // max(x.shape[1], 1)))
    inner = np.full((len(c), n_vectors, n_vectors), np.nan)
    plain = np.empty((len(c), n_vectors))
    for start in range(0, len(c), block):
        rows = slice(start, start + block)
        inner[rows], plain[rows] = _block(x, c[rows], p, q, need, centred, method.endswith("_cov"))
    return Grams(inner, plain)


def _once_each(x: np.ndarray, n: int, whitened: bool) -> Grams:
    inner = x @ x.T
    plain = np.diagonal(inner) / x.shape[1]
    if whitened:
        r = row_sums(x)
        s = r.sum(1)
        inner = 0.5 * (inner - r @ r.T / n + np.outer(s, s) / (2 * n**2))
    return Grams(inner[None], plain[None].copy())


def _block(
    x: np.ndarray, c: np.ndarray, p: np.ndarray, q: np.ndarray, need: np.ndarray, centred: bool, whitened: bool
) -> tuple[np.ndarray, np.ndarray]:
    i, j = pair_indices(c.shape[1])
    total = c.sum(1)
    n_drawn = (total**2 - (c**2).sum(1)) / 2
    w = c[:, i] * c[:, j]
    dots = np.empty((len(c), len(p)))
    step = max(1, BLOCK // x.shape[1])
    for start in range(0, len(p), step):
        columns = slice(start, start + step)
        dots[:, columns] = w @ (x[p[columns]] * x[q[columns]]).T
    diagonal = np.flatnonzero(p == q)
    squares = dots[:, diagonal].copy()
    safe = np.where(n_drawn > 0, n_drawn, 1.0)
    mean = np.zeros((len(c), len(x)))
    if centred:
        mean = (w @ x.T) / safe[:, None]
        dots -= n_drawn[:, None] * mean[:, p] * mean[:, q]
    plain = dots[:, diagonal] / safe[:, None]
    if whitened:
        dots = 0.5 * (dots - _row_effects(x, c, total, mean)[:, p, q])
    constant = (plain * safe[:, None] <= CONSTANT * squares) | (squares == 0)
    inner = np.full((len(c), len(x), len(x)), np.nan)
    inner[:, p, q] = dots
    inner[:, q, p] = dots
    inner = np.where((constant[:, :, None] | constant[:, None, :]) & need, 0.0, inner)
    return inner, np.where(constant, 0.0, plain)


def _row_effects(x: np.ndarray, c: np.ndarray, total: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """What whitening takes away: sum_i c_i r_i x_i with x the solution of (diag(h) + 1 c') x = r; (B, V, V)."""
    n_vectors, n = len(x), c.shape[1]
    squares = to_square(x).transpose(1, 0, 2).reshape(n, n_vectors * n)
    r = (c @ squares).reshape(len(c), n_vectors, n) - mean[:, :, None] * (total[:, None] - c)[:, None, :]
    h = 2.0 + total[:, None] - 2.0 * c
    singular = (h == 0).any(1)
    share = c / np.where(h == 0, 1.0, h)
    u = (r * share[:, None, :]).sum(2)
    bottom = 1.0 + share.sum(1)
    bottom = np.where(bottom == 0, 1.0, bottom)
    out = (r * share[:, None, :]) @ r.transpose(0, 2, 1) - u[:, :, None] * u[:, None, :] / bottom[:, None, None]
    for b in np.flatnonzero(singular | (1.0 + share.sum(1) == 0)):
        drawn = c[b] > 0
        a = np.diag(h[b, drawn]) + c[b, drawn][None, :]
        out[b] = (r[b][:, drawn] * c[b, drawn]) @ np.linalg.solve(a, r[b][:, drawn].T)
    return out


def _centred(x: np.ndarray) -> np.ndarray:
    """Subtract plain means, which changes no correlation but keeps its digits; a constant becomes exactly 0."""
    out = x - x.mean(1, keepdims=True)
    constant = (out**2).sum(1) <= 1e-24 * (x**2).sum(1)
    out[constant] = 0.0
    return out


def cosines(top: np.ndarray, *lengths: np.ndarray) -> np.ndarray:
    """Inner products over lengths; 0 where a vector is zero."""
    bottom = np.ones_like(top)
    for length in lengths:
        bottom = bottom * length
    return np.divide(top, bottom, out=np.zeros_like(top), where=bottom > 0)


def pooled_gram(grams: Grams, rows: slice | np.ndarray, method: str, strict: bool) -> np.ndarray:
    """Inner products of the normalised data vectors that a noise ceiling pools, (B, R, R).

    Each RDM enters with unit mean square (cosine) or variance (corr); for the whitened measures that plain norm is the
    convention of rsatoolbox, and ``strict`` takes the whitened norm, which makes the upper bound a true maximum.
    """
    inner = grams.inner[:, rows][:, :, rows]
    length = np.sqrt(np.maximum(np.diagonal(inner, axis1=1, axis2=2), 0.0))
    if method.endswith("_cov") and not strict:
        length = np.sqrt(grams.plain[:, rows])
    return cosines(inner, length[:, :, None], length[:, None, :])


def ceiling_terms(pooled: np.ndarray, weights: np.ndarray, groups: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Lower and upper ceiling of each subject from the Gram matrix of normalised RDMs.

    upper_j = (G w)_j / sqrt(w'Gw g_j); lower_j the same with the RDMs of j's subject taken out of w.

    Parameters
    ----------
    pooled : array (B or 1, R, R)
    weights : array (B or 1, R), >= 0
        How often each RDM's subject was drawn.
    groups : int array (R,)
        Subject of each RDM, 0 to S - 1.

    Returns
    -------
    lower, upper : array (B, S)
        Mean over the RDMs of each subject; NaN for subjects not drawn, and for ``lower`` where nobody else was.
    """
    same = groups[:, None] == groups[None, :]
    member = (groups[:, None] == np.arange(groups.max() + 1)).astype(float)
    share = member / member.sum(0)
    if len(pooled) == 1:
        a, own = weights @ pooled[0], weights @ (pooled[0] * same)
    else:
        a, own = ((weights[:, None, :] @ m)[:, 0] for m in (pooled, pooled * same))
    q = (a * weights).sum(1, keepdims=True)
    q_others = q - (weights * (2 * a - own)) @ member
    g = np.sqrt(np.maximum(np.diagonal(pooled, axis1=1, axis2=2), 0.0))
    g = np.broadcast_to(g, a.shape)
    root = np.broadcast_to(np.sqrt(np.maximum(q, 0.0)), a.shape)
    root_others = np.sqrt(np.maximum(q_others, 0.0)) @ member.T
    drawn = (weights @ member) > 0
    upper = np.where(drawn, cosines(a, root, g) @ share, np.nan)
    others = drawn.sum(1, keepdims=True) - drawn > 0
    lower = np.where(drawn & others, cosines(a - own, root_others, g) @ share, np.nan)
    return lower, upper
