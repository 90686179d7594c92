"""Which components, loops and voids does a representation have, and over what range of distances do they last?

Join all stimuli closer than t, let t grow (Vietoris-Rips filtration of an RDM) and note at which distance each hole
appears and is filled: bars (birth, death) of dimension 0 (components), 1 (loops), 2 (voids). The persistence of a bar
is death - birth; the Betti number beta(t) counts the bars alive at t. Two representations differ by the cheapest
matching of their bars, where a bar may also be matched to nothing (the diagonal) at the cost of half its persistence.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from neuro._check import check_option, check_positive_int, require
from neuro.rsa.container import RDMs, as_rdms

MANY = 3000  # conditions above which memory for loops becomes a concern


@dataclass(frozen=True, eq=False)
class Barcodes:
    """Bars of each RDM and dimension; see :func:`persistence`.

    Attributes
    ----------
    bars : tuple over RDMs of tuples over dimensions of arrays (n_bars, 2)
        Birth and death in units of the RDM; a bar that never ends has death inf.
    table : DataFrame, one row per RDM
    max_dimension : int
    threshold : float, largest distance looked at (inf: all)
    """

    bars: tuple[tuple[np.ndarray, ...], ...]
    table: pd.DataFrame
    max_dimension: int
    threshold: float

    def to_frame(self) -> pd.DataFrame:
        """Return one row per bar: the RDM's table, rdm, dimension, birth, death, persistence."""
        parts = []
        for k, row in enumerate(self.table.to_dict("records") or [{}] * len(self.bars)):
            for dimension, bars in enumerate(self.bars[k]):
                part = pd.DataFrame(bars, columns=["birth", "death"])
                part = part.assign(persistence=part["death"] - part["birth"])
                front = {**row, "rdm": k, "dimension": dimension}
                parts.append(pd.concat([pd.DataFrame([front] * len(part), columns=list(front)), part], axis=1))
        return pd.concat([p for p in parts if len(p)], ignore_index=True)

    def summary(self) -> pd.DataFrame:
        """Return one row per RDM and dimension: n_bars, total, maximal persistence, of bars that end."""
        rows = []
        for k, row in enumerate(self.table.to_dict("records") or [{}] * len(self.bars)):
            for dimension, bars in enumerate(self.bars[k]):
                length = lengths(bars)
                longest = float(length.max()) if len(length) else 0.0
                numbers = {"n_bars": len(bars), "total_persistence": float(length.sum()), "max_persistence": longest}
                rows.append({**row, "rdm": k, "dimension": dimension, **numbers})
        return pd.DataFrame(rows)

    def betti(self, at: Any, dimension: int = 1) -> np.ndarray:
        """Return Betti numbers (n_rdms, n_distances): bars with birth <= t < death, for each distance t in ``at``."""
        self._check_dimension(dimension)
        t = np.asarray(at, dtype=float).ravel()
        return np.stack([_alive(of[dimension], t) for of in self.bars])

    def distances(self, kind: str = "wasserstein", dimension: int = 1, order: float = 1.0) -> np.ndarray:
        """Return distances between the barcodes of all pairs of RDMs, (n_rdms, n_rdms).

        ``kind`` is "wasserstein" (see :func:`wasserstein_distance` for ``order``) or "bottleneck".
        """
        self._check_dimension(dimension)
        check_option("kind", kind, ["wasserstein", "bottleneck"])
        m = len(self.bars)
        out = np.zeros((m, m))
        for i, j in zip(*np.triu_indices(m, 1), strict=True):
            a, b = self.bars[i][dimension], self.bars[j][dimension]
            out[i, j] = out[j, i] = (
                bottleneck_distance(a, b) if kind == "bottleneck" else wasserstein_distance(a, b, order=order)
            )
        return out

    def _check_dimension(self, dimension: int) -> None:
        if dimension not in range(self.max_dimension + 1):
            raise ValueError(f"dimension must be 0 to {self.max_dimension} (max_dimension), got {dimension!r}.")


def persistence(rdms: Any, max_dimension: int = 1, *, threshold: float | None = None) -> Barcodes:
    """Persistent homology of RDMs: Vietoris-Rips barcodes.

    Parameters
    ----------
    rdms : RDMs, or array or tensor in any form :class:`RDMs` takes
        Not negative, without NaN. They need not obey the triangle inequality: rank, geo-topological and geodesic RDMs
        are as good as distances. Compare RDMs on one scale.
    max_dimension : int
        Largest dimension of holes: 0, 1 or 2 (2 is slow above some 200 conditions).
    threshold : float, optional
        Largest distance to look at; bars still open there have death inf.

    Returns
    -------
    Barcodes

    Raises
    ------
    ModuleNotFoundError
        Without ripser (extra "topology").
    ValueError

    Notes
    -----
    Bars come in single precision, as ripser computes them; bars of no length are left out.

    References
    ----------
    Tralie, Saul & Bar-On (2018), Ripser.py: a lean persistent homology library for Python, JOSS 3, 925.
    """
    max_dimension = check_positive_int("max_dimension", max_dimension, 0)
    if threshold is not None and not threshold > 0:
        raise ValueError(f"threshold must be positive, got {threshold!r}.")
    stack = as_rdms(rdms).numpy()
    d = stack.dissimilarities
    for k in range(stack.n_rdms):
        _check_filtration(d[k], k)
    ripser = require("ripser", "persistent homology", extra="topology").ripser
    if stack.n_conditions > MANY and max_dimension > 0:
        warnings.warn(
            f"loops among {stack.n_conditions:,} conditions may need tens of gigabytes; select conditions, or set "
            "threshold.",
            stacklevel=2,
        )
    limit = np.inf if threshold is None else float(threshold)
    bars = tuple(_barcode(ripser, RDMs(row).matrices[0], max_dimension, limit) for row in d)
    return Barcodes(bars, stack.table, max_dimension, limit)


def lengths(bars: np.ndarray) -> np.ndarray:
    """Persistence of the bars that end."""
    return (bars[:, 1] - bars[:, 0])[np.isfinite(bars[:, 1])]


def wasserstein_distance(a: np.ndarray, b: np.ndarray, *, order: float = 1.0, ground: str = "max") -> float:
    """(min over matchings of sum of cost^order)^(1/order).

    The cost of matching two bars is the larger difference of their births and deaths (``ground="max"``) or the
    Euclidean length of both (``"euclidean"``). Bars without end are matched with one another by birth; where their
    numbers differ the distance is inf.

    >>> wasserstein_distance(np.array([[0.0, 2.0]]), np.array([[0.0, 3.0], [1.0, 1.4]])).__round__(6)
    1.2
    """
    from scipy.optimize import linear_sum_assignment

    if not (np.isfinite(order) and order >= 1):
        raise ValueError(f"order must be at least 1, got {order!r}; for the largest cost use bottleneck_distance.")
    check_option("ground", ground, ["max", "euclidean"])
    open_cost, cost = _costs(a, b, ground)
    if cost is None:
        return float("inf")
    cost = cost**order
    rows, columns = linear_sum_assignment(cost)
    return float((cost[rows, columns].sum() + (open_cost**order).sum()) ** (1 / order))


def bottleneck_distance(a: np.ndarray, b: np.ndarray) -> float:
    """Smallest possible largest cost in a matching of two barcodes; costs as in :func:`wasserstein_distance`.

    >>> bottleneck_distance(np.array([[0.0, 2.0]]), np.array([[0.0, 3.0], [1.0, 1.4]]))
    1.0
    """
    from scipy.sparse import csr_array
    from scipy.sparse.csgraph import maximum_bipartite_matching

    open_cost, cost = _costs(a, b)
    if cost is None:
        return float("inf")
    least = float(open_cost.max(initial=0.0))
    if not cost.size:
        return least
    levels = np.unique(np.append(cost, least))
    low, high = int(np.searchsorted(levels, least)), len(levels) - 1  # all edges: a perfect matching exists
    while low < high:
        middle = (low + high) // 2
        match = maximum_bipartite_matching(csr_array(cost <= levels[middle]), perm_type="column")
        low, high = (low, middle) if (match >= 0).all() else (middle + 1, high)
    return float(levels[low])


def _costs(a: np.ndarray, b: np.ndarray, ground: str = "max") -> tuple[np.ndarray, np.ndarray | None]:
    """Costs of matched open bars; square matrix of costs of bars of a and b and of their places on the diagonal."""
    a, b = (np.asarray(x, dtype=float).reshape(-1, 2) for x in (a, b))
    open_a, open_b = (np.sort(x[np.isinf(x[:, 1]), 0]) for x in (a, b))
    if len(open_a) != len(open_b):
        return np.zeros(0), None
    a, b = (x[np.isfinite(x[:, 1])] for x in (a, b))
    m, n = len(a), len(b)
    cost = np.zeros((m + n, m + n))
    gap = abs(a[:, None] - b[None])
    cost[:m, :n] = gap.max(2) if ground == "max" else np.hypot(gap[:, :, 0], gap[:, :, 1])
    half = 2.0 if ground == "max" else 2**0.5  # from a bar to the diagonal
    cost[:m, n:] = lengths(a)[:, None] / half
    cost[m:, :n] = lengths(b)[None] / half
    return abs(open_a - open_b), cost


def _barcode(ripser: Any, matrix: np.ndarray, max_dimension: int, limit: float) -> tuple[np.ndarray, ...]:
    bars = ripser(matrix, maxdim=max_dimension, thresh=limit, distance_matrix=True)["dgms"]
    return tuple(np.asarray(x, dtype=float).reshape(-1, 2) for x in bars)


def _alive(bars: np.ndarray, t: np.ndarray) -> np.ndarray:
    return ((bars[:, :1] <= t) & (t < bars[:, 1:])).sum(0)


def _check_filtration(d: np.ndarray, k: int) -> None:
    if not np.isfinite(d).all():
        raise ValueError(f"RDM {k} has NaN or infinite dissimilarities; leave those conditions out with .select().")
    if (d < 0).any():
        raise ValueError(
            f"RDM {k} has {int((d < 0).sum())} negative dissimilarities: a pair cannot be joined before its stimuli "
            "exist. Rank them (rank_transform) or clip them at 0 first."
        )
