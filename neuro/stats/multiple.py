"""Many tests at once: false discovery rate and family-wise error."""

from __future__ import annotations

from typing import Any

import numpy as np

from neuro._check import check_option

METHODS = ("bh", "by", "holm")


def fdr(p: Any, method: str = "bh") -> np.ndarray:
    """Return p values corrected for the number of tests (q values); reject where q <= the level you allow.

    Parameters
    ----------
    p : array of any shape, 0 to 1
        One comparison family. NaN entries are no tests: they stay NaN and are not counted.
    method : "bh", "by" or "holm"
        Benjamini-Hochberg (independent or positively dependent tests), Benjamini-Yekutieli (any dependence), or Holm,
        which controls the family-wise error instead.

    Returns
    -------
    array of the shape of ``p``

    References
    ----------
    Benjamini & Hochberg (1995) JRSS B 57, 289-300; Benjamini & Yekutieli (2001) Ann. Stat. 29, 1165-1188; Holm (1979)
    Scand. J. Stat. 6, 65-70.

    Examples
    --------
    >>> fdr([0.01, 0.04, 0.03, float("nan")])
    array([0.03, 0.04, 0.04,  nan])
    """
    check_option("method", method, METHODS)
    p = np.asarray(p, dtype=float)
    tested = np.isfinite(p)
    values = p[tested]
    if ((values < 0) | (values > 1)).any():
        raise ValueError(f"p values lie between 0 and 1, got {values.min():g} to {values.max():g}.")
    out = np.full(p.shape, np.nan)
    m = len(values)
    if not m:
        return out
    order = np.argsort(values)
    rank = np.arange(1, m + 1)
    if method == "holm":
        corrected = np.maximum.accumulate(values[order] * (m - rank + 1))
    else:
        harmonic = (1.0 / rank).sum() if method == "by" else 1.0
        corrected = np.minimum.accumulate((values[order] * m * harmonic / rank)[::-1])[::-1]
    q = np.empty(m)
    q[order] = np.minimum(corrected, 1.0)
    out[tested] = q
    return out
