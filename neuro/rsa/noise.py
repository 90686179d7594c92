"""How does noise covary between channels? Covariance S of residuals E (N, p), its shrinkage, and its inverse.

full               S = E'E / dof
shrinkage_eye      (1 - l) S + l m I, m = tr S / p      (Ledoit & Wolf 2004)
shrinkage_diag     S with off-diagonals times (1 - l)   (Schaefer & Strimmer 2005)
"""

from __future__ import annotations

from typing import Any

import numpy as np

from neuro._check import check_option, is_tensor
from neuro.errors import EmptySelection, ShapeMismatch
from neuro.rsa._patterns import as_float, labels_of

NOISE_METHODS = ("shrinkage_diag", "shrinkage_eye", "full", "diag")


def noise_covariance(
    data: Any, method: str = "shrinkage_diag", *, conditions: Any = None, folds: Any = None, dof: Any = None
) -> Any:
    """Return the covariance of noise between channels.

    Parameters
    ----------
    data : array or tensor (n_rows, p), (n_folds, n_rows, p), or a list of arrays
        Residuals (time points or trials by channels), or with ``conditions`` the measurements themselves. Several
        arrays give several covariances.
    method : "shrinkage_diag", "shrinkage_eye", "full" or "diag"
        "diag" keeps the variances alone and returns them as (p,): no p x p matrix is made.
    conditions : sequence (n_rows,), optional
        The condition of every row, whose mean is subtracted; any number of rows each. A list of them for a list of
        arrays.
    folds : sequence (n_rows,), optional
        One covariance per fold (run, session) in ascending order, from that fold's rows.
    dof : number or list, optional
        Degrees of freedom: rows minus conditions, or rows - 1 without conditions. Residuals of a GLM have rows minus
        the number of its regressors.

    Returns
    -------
    array or tensor (p, p), or (p,) for "diag"; a list of them for several arrays or with ``folds``

    Raises
    ------
    ValueError, ShapeMismatch, EmptySelection
        For NaN, for no degree of freedom, for constant channels where a correlation is needed.

    Notes
    -----
    The optimal amount of shrinkage needs no loop over rows. With q_a the squared length of row a, for
    "shrinkage_eye": ``b2 = (sum_a q_a^2 / N - |S|^2) / N``, ``l = min(b2 / |S - mI|^2, 1)``, S = E'E / N, result times
    N / dof.
    For "shrinkage_diag", z = E / sd, R = z'z / (N - 1): l = N / dof^2 [(sum_a q_a^2 - sum z^4) / (N - 1) - sum R_ij^2]
    / sum R_ij^2 over i != j, between 0 and 1.

    References
    ----------
    Ledoit & Wolf (2004), Journal of Multivariate Analysis 88, 365-411.
    Schaefer & Strimmer (2005), Statistical Applications in Genetics and Molecular Biology 4, 32.
    """
    check_option("method", method, NOISE_METHODS)
    if isinstance(data, (list, tuple)) or data.ndim == 3:
        if folds is not None:
            raise ValueError("give folds for one array of rows, or one array per fold, not both.")
        parts = list(data)
        names, dofs = _per_part("conditions", conditions, len(parts)), _per_part("dof", dof, len(parts))
        return [noise_covariance(x, method, conditions=c, dof=d) for x, c, d in zip(parts, names, dofs, strict=True)]
    x = as_float(data)
    if x.ndim != 2:
        raise ShapeMismatch(f"expected residuals (n_rows, n_channels), got shape {tuple(x.shape)}.")
    if folds is not None:
        labels = labels_of("folds", folds, len(x))
        names = None if conditions is None else labels_of("conditions", conditions, len(x))
        groups = [np.flatnonzero(labels == f) for f in np.unique(labels)]
        dofs = _per_part("dof", dof, len(groups))
        return [
            noise_covariance(x[rows], method, conditions=None if names is None else names[rows], dof=d)
            for rows, d in zip(groups, dofs, strict=True)
        ]
    _refuse_nan(x)
    E, own = _residuals(x, conditions)
    dof = own if dof is None else dof
    if not dof > 0:
        raise EmptySelection(
            f"{len(x)} rows leave {dof} degrees of freedom for noise: more rows than conditions are needed."
        )
    cov = _ESTIMATORS[method](E, float(dof))
    return cov if is_tensor(cov) else cov.astype(x.dtype, copy=False)


def noise_precision(
    data: Any, method: str = "shrinkage_diag", *, conditions: Any = None, folds: Any = None, dof: Any = None
) -> Any:
    """Return the inverse of :func:`noise_covariance`, same arguments: what ``rdm(..., noise=)`` takes.

    Raises
    ------
    ValueError
        Where the covariance is singular, as "full" is for fewer rows than channels.
    """
    cov = noise_covariance(data, method, conditions=conditions, folds=folds, dof=dof)
    return [invert(c) for c in cov] if isinstance(cov, list) else invert(cov)


def invert(covariance: Any) -> Any:
    """Invert a positive definite matrix (p, p) by Cholesky, or variances (p,)."""
    if covariance.ndim == 1:
        if not bool((covariance > 0).all()):
            raise ValueError(f"{int((~(covariance > 0)).sum())} of {len(covariance)} channels have no noise variance.")
        return 1 / covariance
    L = _cholesky(covariance, "covariance")
    if is_tensor(L):
        import torch

        return torch.cholesky_inverse(L).to(covariance.dtype)
    from scipy.linalg import lapack

    inverse, info = lapack.dpotri(L, lower=1)
    if info:
        raise ValueError("the covariance is singular.")
    lower = np.tril(inverse)
    return (lower + np.tril(inverse, -1).T).astype(covariance.dtype, copy=False)


def whitener_of(noise: Any, p: int, like: Any) -> Any:
    """Return W with noise = W W' for a precision (p, p), or its square root for a diagonal (p,); checked.

    Of the kind of ``like``: float64 for numpy, its dtype and device for a tensor.
    """
    if is_tensor(like):
        import torch

        noise = noise if is_tensor(noise) else torch.tensor(np.asarray(noise))
        noise = noise.to(like.device, like.dtype)
    else:
        if is_tensor(noise):
            noise = noise.detach().cpu().numpy()
        noise = np.asarray(noise, dtype=np.float64)
    if noise.ndim not in (1, 2) or any(s != p for s in noise.shape):
        raise ShapeMismatch(
            f"noise must be a precision matrix ({p}, {p}) or its diagonal ({p},) for data of {p} channels, "
            f"got shape {tuple(noise.shape)}."
        )
    if noise.ndim == 1:
        if not bool((noise > 0).all()):
            raise ValueError(f"a diagonal precision must be positive, got {float(noise.min()):g}.")
        return noise**0.5
    return _cholesky(noise, "precision")


def _cholesky(matrix: Any, what: str) -> Any:
    hint = "Use a shrinkage method of noise_precision, or fewer channels."
    finite = matrix.isfinite().all() if is_tensor(matrix) else np.isfinite(matrix).all()
    if not bool(finite):
        raise ValueError(f"the {what} matrix holds NaN or infinite entries.")
    scale, skew = 0.0, 0.0
    values = matrix.detach() if is_tensor(matrix) else matrix
    for start in range(0, len(values), 512):  # in blocks of rows: no further p x p matrix
        rows = values[start : start + 512]
        scale = max(scale, float(abs(rows).max()))
        skew = max(skew, float(abs(rows - values[:, start : start + 512].T).max()))
    if skew > 1e-4 * scale:
        raise ValueError(f"a {what} matrix must be symmetric, got |A - A'| up to {skew:.3g} of {scale:.3g}.")
    if is_tensor(matrix):
        import torch

        L, info = torch.linalg.cholesky_ex(matrix)
        if int(info):
            raise ValueError(f"the {what} matrix is not positive definite. {hint}")
        return L
    try:
        L = np.linalg.cholesky(matrix.astype(np.float64, copy=False))
    except np.linalg.LinAlgError as error:
        raise ValueError(f"the {what} matrix is not positive definite. {hint}") from error
    if (np.diagonal(L) ** 2).min() <= 1e-14 * scale:
        raise ValueError(f"the {what} matrix is singular to working precision. {hint}")
    return L


def _residuals(x: Any, conditions: Any) -> tuple[Any, int]:
    if conditions is None:
        mean = x.mean(0, keepdim=True) if is_tensor(x) else x.mean(0, keepdims=True, dtype=np.float64)
        return x - mean, len(x) - 1
    labels = labels_of("conditions", conditions, len(x))
    _, codes, counts = np.unique(labels, return_inverse=True, return_counts=True)
    if is_tensor(x):
        import torch

        index = torch.tensor(codes, device=x.device)
        sums = x.new_zeros((len(counts), x.shape[1])).index_add(0, index, x)
        means = sums / torch.tensor(counts, device=x.device, dtype=x.dtype)[:, None]
        return x - means[index], len(x) - len(counts)
    order = np.argsort(codes, kind="stable")
    starts = np.concatenate([[0], np.cumsum(counts)[:-1]])
    means = np.add.reduceat(x[order], starts, axis=0, dtype=np.float64) / counts[:, None]
    return x - means[codes], len(x) - len(counts)


def _refuse_nan(x: Any) -> None:
    bad = (~(x.isfinite() if is_tensor(x) else np.isfinite(x))).any(0)
    if bool(bad.any()):
        raise ValueError(
            f"{int(bad.sum())} of {len(bad)} channels hold NaN or infinite values, and a covariance between all "
            "channels needs all of them. Drop these channels from data and residuals first, e.g. "
            "keep = np.isfinite(residuals).all(0)."
        )


def _diag(E: Any, dof: float) -> Any:
    return (E**2).sum(0) / dof


def _full(E: Any, dof: float) -> Any:
    return (E.T @ E) / dof


def _shrinkage_eye(E: Any, dof: float) -> Any:
    n, p = E.shape
    S = E.T @ E
    S = S / n
    diagonal = S.diagonal()
    m = diagonal.sum() / p
    squares = (S**2).sum()
    d2 = squares - p * m**2  # |S - mI|^2, since tr S = p m
    q = (E**2).sum(1)
    b2 = ((q**2).sum() / n - squares) / n
    amount = _clip01(b2 / d2) if bool(d2 > 0) else 1.0
    out = S * ((1 - amount) * n / dof)
    return _add_diagonal(out, amount * m * n / dof)


def _shrinkage_diag(E: Any, dof: float) -> Any:
    n = E.shape[0]
    S = (E.T @ E) / dof
    variance = S.diagonal()
    if not bool((variance > 0).all()):
        raise ValueError(
            f"{int((~(variance > 0)).sum())} of {len(variance)} channels never vary, so they have no correlations. "
            "Drop them, or use method='diag' or 'shrinkage_eye'."
        )
    if n < 3:
        raise EmptySelection(f"method='shrinkage_diag' needs at least 3 rows, got {n}.")
    z2 = E**2 / variance
    q = z2.sum(1)
    # R = (E / sd)'(E / sd) / (n - 1) = S / (sd sd') dof / (n - 1)
    R2 = ((S**2 / variance).sum(1) / variance).sum() - len(variance)
    R2 = R2 * (dof / (n - 1)) ** 2
    numerator = n / dof**2 * (((q**2).sum() - (z2**2).sum()) / (n - 1) - R2)
    amount = _clip01(numerator / R2) if bool(R2 > 0) else 1.0
    return _add_diagonal(S * (1 - amount), amount * variance)


def _clip01(x: Any) -> Any:
    return x.clamp(0, 1) if is_tensor(x) else float(np.clip(x, 0, 1))


def _add_diagonal(S: Any, values: Any) -> Any:
    if is_tensor(S):
        import torch

        return S + torch.diag(values * S.new_ones(len(S)))
    S[np.diag_indices(len(S))] += values
    return S


def _per_part(name: str, value: Any, n: int) -> list[Any]:
    if (isinstance(value, (list, tuple)) and name == "dof") or (
        isinstance(value, (list, tuple, np.ndarray)) and len(value) and np.ndim(value[0]) == 1
    ):
        parts = list(value)
    else:
        return [value] * n
    if len(parts) != n:
        raise ShapeMismatch(f"{name} has {len(parts)} entries for {n} arrays.")
    return parts


_ESTIMATORS = {"diag": _diag, "full": _full, "shrinkage_eye": _shrinkage_eye, "shrinkage_diag": _shrinkage_diag}
