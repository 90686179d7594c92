"""Do two representations have the same similarity structure? Centred kernel alignment (CKA).

    CKA = HSIC(K, L) / sqrt(HSIC(K, K) HSIC(L, L))

Debiased (the default) uses HSIC_1, which is unbiased: with zero diagonals K~, L~,

    HSIC_1 = [sum K~ o L~ + 1'K~1 1'L~1 / ((n-1)(n-2)) - 2 1'K~L~1 / (n-2)] / (n (n-3)).

It is about 0 for unrelated representations and may be slightly negative. The biased form is 0.99 for independent noise
with n = 50, p = 5000. Features are centred and never z-scored.

References
----------
Kornblith, Norouzi, Lee & Hinton (2019), ICML. Song, Smola, Gretton, Bedo & Borgwardt (2012), JMLR 13, 1393-1434.
Nguyen, Raghu & Kornblith (2021), ICLR (minibatches). Lange, Matelsky, Wang, Kwok, Rolnick & Kording (2023), UniReps.
Murphy, Zylberberg & Fyshe (2024), ICLR workshop (bias).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from neuro._check import as_rng, check_option, check_positive_int, is_tensor
from neuro.errors import ShapeMismatch
from neuro.rsa._array import centred, double, features_pair, lib, like, to_numpy, together
from neuro.rsa._feature_space import ratio, sums
from neuro.rsa._whitened import CONSTANTS


def linear_cka(x: Any, y: Any, debiased: bool = True) -> Any:
    """Return linear CKA of two representations of the same stimuli.

    Parameters
    ----------
    x, y : array or tensor (n_stimuli, n_features); numbers of features may differ
        With fewer features than stimuli nothing of size n x n is made, so n = 73,000 is no obstacle.
    debiased : bool
        False for the biased form, which equals ``compare(method="cosine_cov")`` of squared Euclidean RDMs.

    Returns
    -------
    float, or tensor ()
        At most 1; NaN where a representation does not vary.

    Examples
    --------
    >>> x = np.random.default_rng(0).standard_normal((50, 2000))
    >>> y = np.random.default_rng(1).standard_normal((50, 2000))
    >>> linear_cka(x, y, debiased=False) > 0.95, abs(linear_cka(x, y)) < 0.05
    (True, True)
    """
    return _linear(x, y, "debiased" if debiased else "biased")


def lange_cka(x: Any, y: Any) -> Any:
    """Return linear CKA with both kernels centred first and their diagonals left out then (Lange et al. 2023)."""
    return _linear(x, y, "lange")


def cka(
    x: Any,
    y: Any,
    kernel: str | Callable[[Any], Any] = "linear",
    debiased: bool = True,
    *,
    width: float = 1.0,
    return_widths: bool = False,
) -> Any:
    """Return CKA with a kernel.

    Parameters
    ----------
    x, y : array or tensor (n_stimuli, n_features)
    kernel : "linear", "rbf" or callable (n, p) -> (n, n)
        "rbf": ``exp(-|x_i - x_j|^2 / (2 w^2))`` with w = ``width`` times the median distance between stimuli, for each
        representation its own.
    debiased : bool
    width : float, > 0
        Fraction of the median distance.
    return_widths : bool
        Also return the two w (NaN for other kernels).

    Returns
    -------
    float or tensor (), or (score, (w_x, w_y))
    """
    if width <= 0:
        raise ValueError(f"width is a positive fraction of the median distance, got {width}.")
    if kernel == "linear":
        score, widths = linear_cka(x, y, debiased), (np.nan, np.nan)
    else:
        original = x if is_tensor(x) else y
        x, y = features_pair(x, y)
        if callable(kernel):
            grams, widths = (kernel(x), kernel(y)), (np.nan, np.nan)
        else:
            check_option("kernel", kernel, ["linear", "rbf"])
            (k, w_x), (l, w_y) = rbf_kernel(x, width), rbf_kernel(y, width)
            grams, widths = (k, l), (w_x, w_y)
        score = kernel_cka(*grams, debiased=debiased)
        score = like(score, original) if is_tensor(score) else float(score)
    return (score, widths) if return_widths else score


def rbf_kernel(x: Any, width: float = 1.0) -> tuple[Any, float]:
    """Return ``exp(-|x_i - x_j|^2 / (2 w^2))`` (n, n) and w = ``width`` times the median distance."""
    xp = lib(x)
    x = centred(double(x))
    norms = (x * x).sum(1)
    squared = xp.clip(norms[:, None] + norms[None, :] - 2 * x @ x.T, 0, np.inf)
    upper = to_numpy(squared)[np.triu_indices(len(x), 1)]
    w = width * float(np.median(np.sqrt(upper)))
    if not w > 0:
        raise ValueError("the median distance between stimuli is zero: most patterns are the same.")
    return xp.exp(-squared / (2 * w**2)), w


def kernel_cka(k: Any, l: Any, debiased: bool = True) -> Any:
    """Return CKA of two kernel matrices (n, n), symmetric; NaN where a denominator is not positive."""
    k, l = _kernels(k, l)
    products = [hsic(a, b, debiased) for a, b in ((k, l), (k, k), (l, l))]
    if not all(bool(p > 1e-13 * (a * a).mean()) for p, a in zip(products[1:], (k, l), strict=True)):
        return products[0] * np.nan
    return products[0] / lib(k).sqrt(products[1] * products[2])


def hsic(k: Any, l: Any, debiased: bool = True) -> Any:
    """Return the Hilbert-Schmidt independence criterion of two kernel matrices.

    Parameters
    ----------
    k, l : array or tensor (n, n), symmetric
        Not centred; diagonals are used by the biased form only.
    debiased : bool
        HSIC_1 of Song et al. (2012), which may be negative; else tr(K H L H) / (n - 1)^2 (Gretton et al. 2005).
    """
    k, l = _kernels(k, l)
    n = k.shape[0]
    if not debiased:
        a = k - k.mean(0) - k.mean(1)[:, None] + k.mean()
        return (a * l).sum() / (n - 1) ** 2
    if n < 4:
        raise ShapeMismatch(f"a debiased estimate needs at least 4 stimuli, got {n}.")
    diag_k, diag_l = k.diagonal(), l.diagonal()
    level_k, level_l = ((z.sum() - d.sum()) / (n * (n - 1)) for z, d in ((k, diag_k), (l, diag_l)))
    k, l = k - level_k, l - level_l  # a constant changes nothing but the rounding
    diag_k, diag_l = k.diagonal(), l.diagonal()
    rows_k, rows_l = k.sum(1) - diag_k, l.sum(1) - diag_l
    total = (k * l).sum() - (diag_k * diag_l).sum()
    total = total + rows_k.sum() * rows_l.sum() / ((n - 1) * (n - 2)) - 2 * (rows_k * rows_l).sum() / (n - 2)
    return total / (n * (n - 3))


class MinibatchCKA:
    """Debiased linear CKA accumulated over batches: HSIC_1 is summed, the ratio is taken at the end.

    Every batch needs at least 4 stimuli; the estimate is that of CKA between batches of this size, whatever the number
    of batches. For all stimuli at once :func:`linear_cka` is exact and rarely larger.

    Examples
    --------
    >>> stream = MinibatchCKA()
    >>> for x in np.random.default_rng(0).standard_normal((3, 20, 5)):
    ...     stream = stream.update(x, 2 * x)
    >>> round(stream.score, 12), stream.n_batches
    (1.0, 3)
    """

    def __init__(self) -> None:
        self.n_batches = 0
        self._sums: list[Any] = [0.0, 0.0, 0.0]

    def update(self, x: Any, y: Any) -> MinibatchCKA:
        """Add a batch (n, p), (n, q)."""
        x, y = features_pair(x, y, 4)
        x, y = centred(x), centred(y)
        n = x.shape[0]
        pairs = ((x, y), (x, x), (y, y))
        new = [sums(a, b).inner("debiased") / (n * (n - 3)) for a, b in pairs]
        self._sums = [s + added for s, added in zip(self._sums, new, strict=True)]
        self.n_batches += 1
        return self

    @property
    def score(self) -> Any:
        """The ratio so far; NaN before the first batch or where nothing varies."""
        xy, xx, yy = self._sums
        if not (self.n_batches and bool(xx > 0) and bool(yy > 0)):
            return float("nan")
        score = xy / (xx * yy) ** 0.5
        return score if is_tensor(score) else float(score)


def minibatch_cka(
    x: Any, y: Any, batch_size: int = 256, rng: int | np.random.Generator | None = None, n_epochs: int = 1
) -> Any:
    """Return debiased linear CKA over random batches of ``batch_size`` >= 4 stimuli (a short last one is left out)."""
    check_positive_int("batch_size", batch_size, 4)
    check_positive_int("n_epochs", n_epochs)
    generator, stream, n = as_rng(rng), MinibatchCKA(), len(x)
    if n < batch_size:
        raise ShapeMismatch(f"{n} stimuli do not fill one batch of {batch_size}.")
    for _ in range(n_epochs):
        order = generator.permutation(n)
        for start in range(0, n - batch_size + 1, batch_size):
            batch = order[start : start + batch_size]
            stream.update(x[batch], y[batch])
    return stream.score


def _linear(x: Any, y: Any, estimator: str) -> Any:
    check_option("estimator", estimator, CONSTANTS)
    original = x if is_tensor(x) else y
    x, y = features_pair(x, y, 4 if estimator == "debiased" else 3)
    x, y = centred(x), centred(y)
    score = ratio(sums(x, y), sums(x, x), sums(y, y), estimator)
    return like(score, original) if is_tensor(score) else float(score)


def _kernels(k: Any, l: Any) -> tuple[Any, Any]:
    k, l = together(double(k), double(l))
    if k.ndim != 2 or k.shape[0] != k.shape[1] or k.shape != l.shape:
        raise ShapeMismatch(f"two square kernels of one size are needed, got {tuple(k.shape)} and {tuple(l.shape)}.")
    return k, l
