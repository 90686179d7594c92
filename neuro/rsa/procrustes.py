"""How far apart are two representations once one is rotated onto the other?

With centred X, Y (the narrower padded with zeros) and the nuclear norm |.|_*,

    distance^2 = min_Q |X - Y Q|_F^2 = |X|^2 + |Y|^2 - 2 |X'Y|_*        angle = arccos(|X'Y|_* / (|X| |Y|)).

Both are metrics between representations up to rotation (and reflection), the angle up to scale as well.

References
----------
Williams, Kunz, Kornblith & Linderman (2021), NeurIPS. Ding, Denain & Steinhardt (2021), NeurIPS. Schoenemann (1966).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from neuro._check import is_tensor
from neuro.errors import ShapeMismatch
from neuro.rsa._array import centred, double, features_pair, lib, like
from neuro.rsa.bures import nuclear, reduced, safe_root

CLOSE = 1e-6  # where 1 - cosine is below this, the angle comes from the residual, which does not cancel


def procrustes_distance(x: Any, y: Any) -> Any:
    """Return min over rotations Q of ``|Xc - Yc Q|``, the Bures metric between the kernels.

    Parameters
    ----------
    x, y : array or tensor (n_stimuli, n_features); numbers of features may differ

    Returns
    -------
    float or tensor (), in the units of the features (summed over stimuli and features, not averaged)
    """
    original, (x, y) = _original(x, y), features_pair(x, y)
    x, y = centred(x), centred(y)
    total = (x * x).sum() + (y * y).sum()
    squared = total - 2 * nuclear(x, y)
    if squared <= CLOSE * total:
        return _result(residual(x, y), original)
    return _result(lib(x).sqrt(squared), original)


def angular_procrustes(x: Any, y: Any) -> Any:
    """Return arccos of the normalised Bures similarity, in radians from 0 to pi / 2.

    Parameters
    ----------
    x, y : array or tensor (n_stimuli, n_features); numbers of features may differ

    Returns
    -------
    float or tensor ()
        pi / 2 where one representation does not vary over stimuli.
    """
    original, (x, y) = _original(x, y), features_pair(x, y)
    return _result(angle(centred(x), centred(y)), original)


def angle(x: Any, y: Any) -> Any:
    """Return the Procrustes angle of centred ``x`` and ``y``."""
    xp = lib(x)
    norm_x, norm_y = safe_root((x * x).sum()), safe_root((y * y).sum())
    scale = norm_x * norm_y
    if not scale > 0:
        return xp.arccos(0 * scale)
    cosine = nuclear(x, y) / scale
    if cosine < 1 - CLOSE:
        return xp.arccos(cosine)
    return 2 * xp.arcsin(residual(x / norm_x, y / norm_y) / 2)


def residual(x: Any, y: Any) -> Any:
    """Return |X - Y Q| at the best Q. Q is held fixed for gradients: at the optimum its own contributes nothing."""
    x, y = pad(reduced(x), reduced(y))
    difference = x - y @ rotation(y.detach() if is_tensor(y) else y, x.detach() if is_tensor(x) else x)
    return safe_root((difference * difference).sum())


def rotation(x: Any, y: Any) -> Any:
    """Return the orthogonal Q (p, p) that minimises |x Q - y|, for ``x`` and ``y`` of one width."""
    u, _, vt = lib(x).linalg.svd(x.T @ y)
    return u @ vt


def pad(x: Any, y: Any) -> tuple[Any, Any]:
    """Return both with as many columns as the wider, filled with zeros."""
    width = max(x.shape[1], y.shape[1])
    return _widen(x, width), _widen(y, width)


class ProcrustesAlignment:
    """Rotate one representation onto another on training stimuli; score on others.

    Means and rotation (and ``scaling``) come from the training stimuli only, so that the score does not grow with the
    number of features as that of the training stimuli does.

    Parameters
    ----------
    scaling : bool
        Also fit one scale factor.

    Attributes
    ----------
    rotation_ : (p, p) with p the larger number of features
    scale_ : float
    mean_x_, mean_y_ : (p,), (q,)

    Examples
    --------
    >>> g = np.random.default_rng(0)
    >>> x = g.standard_normal((40, 5))
    >>> turned = x @ np.linalg.qr(g.standard_normal((5, 5)))[0] + 1
    >>> round(ProcrustesAlignment().fit(x[:30], turned[:30]).score(x[30:], turned[30:]), 10)
    1.0
    """

    def __init__(self, scaling: bool = False):
        self.scaling = scaling

    def fit(self, x: Any, y: Any) -> ProcrustesAlignment:
        """Learn the rotation of ``x`` (n, p) onto ``y`` (n, q)."""
        x, y = features_pair(x, y, 2)
        self.mean_x_, self.mean_y_ = x.mean(0), y.mean(0)
        left, right = pad(x - self.mean_x_, y - self.mean_y_)
        u, s, vt = lib(left).linalg.svd(left.T @ right)
        self.rotation_ = u @ vt
        power = (left * left).sum()
        self.scale_ = s.sum() / power if self.scaling and power > 0 else 1.0
        return self

    def transform(self, x: Any) -> Any:
        """Return ``x`` (n, p) in the space of the training ``y`` (n, q)."""
        x = self._check(x, self.mean_x_, "x")
        aligned = self.scale_ * (_widen(x - self.mean_x_, len(self.rotation_)) @ self.rotation_)
        return aligned[:, : len(self.mean_y_)] + self.mean_y_

    def score(self, x: Any, y: Any) -> Any:
        """Return the cosine between aligned ``x`` and ``y``, both relative to the training means: 1 is perfect."""
        x, y = self._check(x, self.mean_x_, "x"), self._check(y, self.mean_y_, "y")
        if len(x) != len(y):
            raise ShapeMismatch(f"x has {len(x)} stimuli, y has {len(y)}.")
        width = len(self.rotation_)
        left = _widen(x - self.mean_x_, width) @ self.rotation_
        right = _widen(y - self.mean_y_, width)
        norm = safe_root((left * left).sum()) * safe_root((right * right).sum())
        cosine = (left * right).sum() / norm if norm > 0 else 0 * norm
        return cosine if is_tensor(cosine) else float(cosine)

    @staticmethod
    def _check(x: Any, mean: Any, name: str) -> Any:
        if x.ndim != 2 or x.shape[1] != len(mean):
            raise ShapeMismatch(
                f"{name} must be (n_stimuli, {len(mean)}) as in fit, got {tuple(x.shape)}. Is fit() still to be called?"
            )
        return double(x)


def _widen(x: Any, width: int) -> Any:
    if x.shape[1] == width:
        return x
    size = (x.shape[0], width - x.shape[1])
    filler = x.new_zeros(size) if is_tensor(x) else np.zeros(size)
    return lib(x).concatenate([x, filler], 1)


def _original(x: Any, y: Any) -> Any:
    return x if is_tensor(x) else y


def _result(value: Any, original: Any) -> Any:
    return like(value, original) if is_tensor(value) else float(value)
