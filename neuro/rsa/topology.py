"""Which distances does an RDM's conclusion rest on? Keep the middle of their distribution and compress both ends.

Small dissimilarities are dominated by noise, large ones by the idiosyncratic geometry of one brain; what lies between
carries topology. With rho the dissimilarities of one RDM on a scale of 0 to 1 (their ranks, or their values) and
q_l, q_u two of their own quantiles, the geo-topological transform is

    GT_lu = clip((rho - q_l) / (q_u - q_l), 0, 1).

(l, u) = (0, 1) on ranks is the rank RDM, l = u a binary graph, and everything between trades geometry for topology.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from neuro._check import as_rng, check_option, check_positive_int, is_tensor
from neuro.rsa._array import lib
from neuro.rsa._pairs import to_square
from neuro.rsa.container import RDMs, as_condensed

DECIMALS = 10
FAMILIES = ("local", "global", "geometry", "topology", "intermediate")
TOLERANCE = 1e-3  # of the borders between families


def rank_transform(rdms: Any, *, decimals: int | None = DECIMALS) -> Any:
    """Return the rank RDM: average ranks of each RDM's own dissimilarities, from 0 (smallest) to 1 (largest).

    Parameters
    ----------
    rdms : RDMs, or array or tensor in any form :class:`RDMs` takes
        NaN pairs stay NaN. Only the order counts, so negative dissimilarities (crossnobis) are as good as others.
    decimals : int or None
        Dissimilarities closer than this many decimals of their RDM's largest absolute value are ties. Symmetric
        arrangements of stimuli have exact ties, which rounding errors would break at random. None: only exact ties.

    Returns
    -------
    the form that was given: RDMs, or array of the same layout and dtype

    Raises
    ------
    ValueError
        If all dissimilarities of an RDM are equal or unknown, or one is infinite.

    Examples
    --------
    >>> rank_transform(np.array([[3.0, 1.0, 9.0]]))
    array([[0.5, 0. , 1. ]])
    """
    d, pack = unpack(rdms)
    return pack(unit_ranks(d, decimals), "rank", decimals=decimals)


def geo_topological(
    rdms: Any,
    l: float,
    u: float,
    *,
    scale: str = "rank",
    thresholds: str = "quantile",
    decimals: int | None = DECIMALS,
) -> Any:
    """Return geo-topological RDMs (RGTM): clip((rho - q_l) / (q_u - q_l), 0, 1), each RDM with its own quantiles.

    Parameters
    ----------
    rdms : RDMs, or array or tensor in any form :class:`RDMs` takes
        NaN pairs stay NaN. Negative dissimilarities are legitimate: ranks use their order, values are shifted to 0-1.
    l, u : float, 0 <= l <= u <= 1
        Lower and upper threshold. l = u is the step rho > q, a binary graph; the same happens where ties make two
        different quantiles fall on one value.
    scale : "rank" or "value"
        What rho is: ranks (of Lin & Kriegeskorte, invariant to monotone transformation of the dissimilarities), or the
        dissimilarities themselves shifted and scaled to 0-1. The two differ for 0 < l or u < 1, and differentiable
        use needs "value".
    thresholds : "quantile" or "value"
        Whether l and u are quantiles of rho (linear interpolation), or values of rho itself. The same on tie-free
        ranks, up to 1 / n_pairs.
    decimals : int or None
        See :func:`rank_transform`; has no effect on values.

    Returns
    -------
    the form that was given, entries 0-1

    Raises
    ------
    ValueError
        If l > u, one lies outside 0-1, or an RDM is constant.

    References
    ----------
    Lin & Kriegeskorte (2024), The topology and geometry of neural representations, PNAS 121, e2317881121.

    Examples
    --------
    >>> geo_topological(np.array([[1.0, 2.0, 4.0, 8.0, 16.0, 32.0]]), 0.2, 0.6).round(6)
    array([[0. , 0. , 0.5, 1. , 1. , 1. ]])
    """
    check_thresholds(l, u)
    check_option("thresholds", thresholds, ["quantile", "value"])
    d, pack = unpack(rdms)
    rho = unit_scale(d, scale, decimals)
    if thresholds == "quantile":
        q_l, q_u = quantiles(sorted_last(rho), [l, u])
    else:
        q_l, q_u = (_full_like(rho[:, :1], q) for q in (l, u))
    name = {"rank": "rgtm", "value": "gtm"}[scale]
    return pack(gt_clip(rho, q_l, q_u), name, l=float(l), u=float(u), scale=scale, thresholds=thresholds)


def sigmoid_transform(
    rdms: Any, alpha: float = 10.0, beta: float = 0.5, *, scale: str = "rank", decimals: int | None = DECIMALS
) -> Any:
    """Return 1 / (1 + exp(-alpha (rho - beta))): the smooth relative of :func:`geo_topological`.

    Parameters
    ----------
    rdms, scale, decimals : see :func:`geo_topological`
    alpha : float, > 0
        Steepness; 10 compresses both ends about as (0.3, 0.7) clips them.
    beta : float
        Where on the 0-1 scale the transform is one half.
    """
    if not (np.isfinite(alpha) and alpha > 0 and np.isfinite(beta)):
        raise ValueError(f"alpha must be positive and beta finite, got alpha={alpha!r}, beta={beta!r}.")
    d, pack = unpack(rdms)
    rho = unit_scale(d, scale, decimals)
    exp = lib(rho).exp
    return pack(1 / (1 + exp(-alpha * (rho - beta))), "sigmoid", alpha=float(alpha), beta=float(beta), scale=scale)


# Families of transforms


def family_of(l: float, u: float) -> str:
    """Return which family of transforms (l, u) belongs to, the first that fits.

    "local": the middle (l + u) / 2 is at most 0.2; "global": at least 0.8; "geometry" sensitive: u - l at least 0.8;
    "topology" sensitive: 0.4 <= l and u <= 0.6; else "intermediate". Borders count as inside, to 0.001.

    >>> [family_of(0, 0.2), family_of(0.8, 1), family_of(0, 1), family_of(0.4, 0.6), family_of(0.2, 0.8)]
    ['local', 'global', 'geometry', 'topology', 'intermediate']
    """
    check_thresholds(l, u)
    return next(name for name in FAMILIES if in_family(name, l, u))


def in_family(name: str, l: float, u: float) -> bool:
    """Whether (l, u) meets the condition of a family by itself; families other than "intermediate" overlap."""
    check_option("family", name, FAMILIES)
    conditions = {
        "local": (l + u) / 2 <= 0.2 + TOLERANCE,
        "global": (l + u) / 2 >= 0.8 - TOLERANCE,
        "geometry": u - l >= 0.8 - TOLERANCE,
        "topology": l >= 0.4 - TOLERANCE and u <= 0.6 + TOLERANCE,
    }
    return not any(conditions.values()) if name == "intermediate" else bool(conditions[name])


def sample_family(name: str, n: int = 10, rng: int | np.random.Generator | None = None) -> np.ndarray:
    """Draw (l, u) at random from a family: uniform on 0 <= l < u <= 1, kept if :func:`in_family`.

    The corners l + u <= 0.01 and >= 1.99, where hardly a pair is left between the thresholds, are excluded.

    Parameters
    ----------
    name : one of ``FAMILIES``
    n : int
    rng : int, Generator or None

    Returns
    -------
    array (n, 2)
    """
    check_option("family", name, FAMILIES)
    n, rng = check_positive_int("n", n), as_rng(rng)
    kept: list[np.ndarray] = []
    while len(kept) < n:
        for l, u in np.sort(rng.random((64, 2)), axis=1):
            if 0.01 < l + u < 1.99 and l < u and in_family(name, l, u):
                kept.append(np.array([l, u]))
    return np.array(kept[:n])


def lu_grid(step: float = 0.05) -> np.ndarray:
    """Return all (l, u) with l < u on a grid from 0 to 1, (n_cells, 2): 210 cells for steps of 0.05.

    >>> lu_grid().shape
    (210, 2)
    """
    m = round(1 / step) if step > 0 else 0
    if m < 1 or abs(m * step - 1) > 1e-6:
        raise ValueError(f"step must divide 1, e.g. 0.05 or 0.1, got {step!r}.")
    i, j = np.triu_indices(m + 1, 1)
    return np.stack([i, j], axis=1) / m


# Parts on arrays, shared by the geodesic transform and the identification of regions


def unpack(rdms: Any) -> tuple[Any, Callable[..., Any]]:
    """Return (n_rdms, n_pairs) and a function that brings such an array back to the form that was given."""
    if isinstance(rdms, RDMs):

        def pack(out: Any, metric: str, **settings: Any) -> Any:
            return rdms.with_dissimilarities(out, metric, of=rdms.metric, **settings)

        return rdms.dissimilarities, pack
    x = rdms if is_tensor(rdms) else np.asarray(rdms)
    d = as_condensed(x)
    square = x.ndim == 3 or (x.ndim == 2 and tuple(d.shape) != tuple(x.shape))

    def pack_array(out: Any, metric: str, **settings: Any) -> Any:
        out = to_square(out) if square else out
        return out[0] if x.ndim == 1 or (square and x.ndim == 2) else out

    return d, pack_array


def check_thresholds(l: float, u: float) -> None:
    """Raise unless 0 <= l <= u <= 1."""
    if not (0 <= l <= 1 and 0 <= u <= 1):
        raise ValueError(f"l and u are quantiles from 0 to 1, got l={l!r}, u={u!r}.")
    if l > u:
        raise ValueError(f"l must not exceed u, got l={l!r}, u={u!r}. Were they swapped? (l = u is a step.)")


def unit_scale(d: Any, scale: str = "rank", decimals: int | None = DECIMALS) -> Any:
    """Bring each row of (n_rdms, n_pairs) to 0-1, by rank or by value."""
    if check_option("scale", scale, ["rank", "value"]) == "rank":
        return unit_ranks(d, decimals)
    low, high = _ends(d)
    return (d - low) / (high - low)


def unit_ranks(d: Any, decimals: int | None = DECIMALS) -> Any:
    """Average ranks of each row of (n_rdms, n_pairs), scaled to 0-1; NaN stays NaN."""
    low, high = _ends(d)
    if decimals is not None:
        xp = lib(d)
        size = xp.maximum(abs(low), abs(high))
        d = xp.round(d / size, decimals=decimals)
    ranks = _torch_ranks(d) if is_tensor(d) else np.stack([_row_ranks(row) for row in d])
    low, high = _ends(ranks)
    return _cast((ranks - low) / (high - low), d)


def gt_clip(rho: Any, q_l: Any, q_u: Any) -> Any:
    """clip((rho - q_l) / (q_u - q_l), 0, 1), or rho > q where both thresholds are one; q_l, q_u (n_rdms, 1)."""
    xp = lib(rho)
    span = q_u - q_l
    flat = span <= 0
    span = xp.where(flat, xp.ones_like(span), span)
    ramp = rho - q_l
    if is_tensor(rho):
        ramp = xp.clip(ramp / span, 0, 1)
    else:
        ramp /= span
        np.clip(ramp, 0, 1, out=ramp)
    if not bool(flat.any()):
        return ramp
    step = xp.where(xp.isnan(rho), rho, _cast(rho > q_u, rho))
    return xp.where(flat, step, ramp)


def sorted_last(rho: Any) -> Any:
    """Rows sorted from small to large, NaN last."""
    if is_tensor(rho):
        import torch

        return torch.sort(rho, dim=1).values
    return np.sort(rho, axis=1)


def quantiles(ordered: Any, q: Any) -> list[Any]:
    """Linearly interpolated quantiles of each sorted row (NaN last), one (n_rows, 1) for each of ``q``."""
    xp = lib(ordered)
    n = (~xp.isnan(ordered)).sum(1)
    out = []
    for share in q:
        place = _double(n - 1) * float(share)
        near = xp.round(place)
        place = xp.where(abs(place - near) < 1e-9, near, place)  # 0.15 * 20 is a hair below 3
        low = xp.floor(place)
        index = (low.long() if is_tensor(ordered) else low.astype(int))[:, None]
        above = xp.minimum(index + 1, (n - 1)[:, None])
        a, b = _take(ordered, index), _take(ordered, above)
        out.append(a + _cast((place - low)[:, None], ordered) * (b - a))
    return out


def _ends(d: Any) -> tuple[Any, Any]:
    """Smallest and largest of each row (n_rows, 1), raising where they are equal, unknown or infinite."""
    xp = lib(d)
    nan = xp.isnan(d)
    inf = xp.full_like(d, float("inf"))
    low, high = xp.where(nan, inf, d), xp.where(nan, -inf, d)
    low, high = (xp.amin(low, 1)[:, None], xp.amax(high, 1)[:, None])
    bad = ~(high > low) | xp.isinf(low) | xp.isinf(high)
    if bool(bad.any()):
        k = int(bad.ravel().nonzero()[0][0])
        a, b = float(low[k, 0]), float(high[k, 0])
        what = "are unknown" if a > b else "are equal" if a == b and np.isfinite(a) else "must be finite, one is not"
        raise ValueError(
            f"all dissimilarities of RDM {k} of {d.shape[0]} {what}; ranks and thresholds need "
            "different finite values. Leave this RDM out."
        )
    return low, high


def _row_ranks(row: np.ndarray) -> np.ndarray:
    """Average ranks from 0; NaN stays NaN."""
    order = np.argsort(row, kind="stable")
    ordered = row[order]
    first = np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]]))
    sizes = np.diff(np.append(first, len(row)))
    ranks = np.empty(len(row))
    ranks[order] = np.repeat(first + (sizes - 1) / 2, sizes)
    ranks[np.isnan(row)] = np.nan
    return ranks


def _torch_ranks(d: Any) -> Any:
    import torch

    nan = torch.isnan(d)
    filled = d.detach().masked_fill(nan, float("inf")).contiguous()
    ordered = torch.sort(filled, dim=1).values.contiguous()
    left = torch.searchsorted(ordered, filled)
    right = torch.searchsorted(ordered, filled, right=True)
    return ((left + right - 1).double() / 2).masked_fill(nan, float("nan"))


def _cast(x: Any, like: Any) -> Any:
    return x.to(like.dtype) if is_tensor(like) else x.astype(like.dtype, copy=False)


def _double(x: Any) -> Any:
    return x.double() if is_tensor(x) else x.astype(float)


def _take(x: Any, index: Any) -> Any:
    return x.gather(1, index) if is_tensor(x) else np.take_along_axis(x, index, axis=1)


def _full_like(x: Any, value: float) -> Any:
    return lib(x).full_like(x, value)
