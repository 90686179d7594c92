"""Are two representations dependent at all? Distance correlation, on unsquared distances.

    bias-corrected: <A, B> / sqrt(<A, A> <B, B>), U-centred A, B       classical: the root of the same, double-centred

Zero in the population only for independence. The bias-corrected form is about 0 for independent data and may be
negative; the classical form tends to 1 with the number of features.

References
----------
Szekely, Rizzo & Bakirov (2007), Annals of Statistics 35. Szekely & Rizzo (2013), J. Multivariate Analysis 117.
"""

from __future__ import annotations

from typing import Any

from neuro._check import is_tensor
from neuro.rsa import _whitened
from neuro.rsa._array import centred, features_pair, like, number
from neuro.rsa._pairs import to_condensed
from neuro.rsa.bures import safe_root


def distance_correlation(x: Any, y: Any, bias_corrected: bool = True) -> Any:
    """Return the distance correlation of two representations of the same stimuli.

    Parameters
    ----------
    x, y : array or tensor (n_stimuli, n_features)
    bias_corrected : bool
        False for the classical form, a root, from 0 to 1.

    Returns
    -------
    float or tensor (); 0 where a representation does not vary
    """
    original = x if is_tensor(x) else y
    x, y = features_pair(x, y, 4 if bias_corrected else 3)
    score = _whitened.scores(distances(x), distances(y), "debiased" if bias_corrected else "biased")[0, 0]
    value = score if bias_corrected else safe_root(score)
    return like(value, original) if is_tensor(value) else float(value)


def distances(x: Any) -> Any:
    """Return Euclidean distances (1, n_pairs) between the rows of ``x`` (n, p)."""
    if not is_tensor(x):
        from scipy.spatial.distance import pdist

        return pdist(x)[None]
    x = centred(x)
    norms = (x * x).sum(1)
    squared = to_condensed(norms[:, None] + norms[None, :] - 2 * x @ x.T)
    return safe_root(squared, 1e-14 * number(norms.max()))[None]
