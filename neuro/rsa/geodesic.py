"""How far apart are two representations if one may only walk along short distances?

The stimuli become a graph: edges are the short dissimilarities of an RDM, w_ij in [0, 1], long ones are removed, and
the geodesic dissimilarity is the shortest path over what is left,

    g_ij = min over paths i = a_0, a_1, ..., a_m = j of  sum_t w_{a_{t-1} a_t},

ranked again like the RDM (RGDM). An edge of weight 0 joins two stimuli at no cost; it is not a missing edge.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from neuro._check import check_option, check_positive_int, is_tensor
from neuro.rsa._pairs import n_from_pairs, to_condensed, to_square
from neuro.rsa.container import RDMs, as_rdms
from neuro.rsa.topology import (
    DECIMALS,
    check_thresholds,
    gt_clip,
    quantiles,
    sorted_last,
    unit_ranks,
    unpack,
)

KINDS = ("two-step", "p-shortest", "k-nearest", "p-nearest")
SPARSE = 0.15  # share of edges below which searching from every stimulus beats the dense recursion


@dataclass(frozen=True, eq=False)
class Geodesics:
    """Geodesic RDMs and how connected their graphs are.

    Attributes
    ----------
    rdms : RDMs
    edges : array (n_rdms,), share of pairs joined by an edge
    unreachable : array (n_rdms,), share of pairs that no path joins; they stand at the largest finite path length
    """

    rdms: RDMs
    edges: np.ndarray
    unreachable: np.ndarray

    def to_frame(self) -> pd.DataFrame:
        """Return one row per RDM: its table, edges, unreachable."""
        return self.rdms.table.assign(edges=self.edges, unreachable=self.unreachable)


def rgdm(rdms: Any, kind: str = "two-step", **options: Any) -> Any:
    """Return geodesic RDMs in the form that was given; see :func:`geodesics` for the options.

    The table of RDMs gains the column "unreachable". Of plain arrays, only the dissimilarities come back.

    Examples
    --------
    >>> line = np.array([1.0, 2.0, 3.0, 1.1, 2.1, 1.2])  # four points in a row
    >>> rgdm(line, "k-nearest", k=1, ranked=False).round(2)
    array([0. , 0.2, 0.6, 0.2, 0.6, 0.4])
    """
    paths, _, unreachable, settings = _geodesics(rdms, kind, **options)
    _, pack = unpack(rdms)
    out = pack(paths, "rgdm", **settings)
    return out.with_table(unreachable=unreachable) if isinstance(rdms, RDMs) else out


def geodesics(rdms: Any, kind: str = "two-step", **options: Any) -> Geodesics:
    """Shortest paths between stimuli over their short dissimilarities, and how connected the graphs are.

    Parameters
    ----------
    rdms : RDMs, or array or tensor in any form :class:`RDMs` takes
        Without NaN. Dissimilarities are ranked first, so negative ones are as good as others.
    kind : str
        "two-step": weights are the geo-topological transform of (l, u), pairs at 1 have no edge.
        "p-shortest": weights are ranks, pairs above the quantile p have no edge.
        "k-nearest", "p-nearest": weights are ranks; every stimulus is joined to its k (or int(p n)) nearest others,
        and to all that tie with the last of them, so that the order of the stimuli has no say.
    l, u : float
        For "two-step"; 0 and 0.075 by default.
    p : float, 0 < p <= 1
        For "p-shortest" and "p-nearest"; 0.05 by default.
    k : int
        For "k-nearest"; has to be given.
    neighbours : "union" or "mutual"
        Whether an edge needs one of its ends to count the other among its nearest, or both.
    zero_edges : "keep" or "drop"
        Edges of weight 0, i.e. the most similar pairs: kept, they join stimuli at no cost. Dropping them, as code does
        that reads a dense matrix as a graph, cuts the closest stimuli apart; for comparison with such code only.
    ranked : bool
        Rank the path lengths, as the dissimilarities were; True by default.
    decimals : int or None
        Ties of dissimilarities and of path lengths, see :func:`~neuro.rsa.topology.rank_transform`.

    Raises
    ------
    ValueError
        For NaN, constant RDMs, graphs without edges, and options that are out of range or of another kind.

    Notes
    -----
    Pairs that no path joins get the largest finite path length of their RDM; their share is reported.
    Torch tensors take a dense recursion of n steps on their device; arrays Dijkstra's algorithm where edges are few.

    References
    ----------
    Lin & Kriegeskorte (2024), The topology and geometry of neural representations, PNAS 121, e2317881121.
    """
    paths, edges, unreachable, settings = _geodesics(rdms, kind, **options)
    stack = as_rdms(rdms)
    return Geodesics(stack.with_dissimilarities(paths, "rgdm", of=stack.metric, **settings), edges, unreachable)


def shortest_paths(weights: Any) -> Any:
    """All-pairs shortest paths of graphs (n_graphs, n, n): inf is no edge, 0 is an edge of no length.

    Returns lengths (n_graphs, n, n), inf where no path leads.
    """
    if is_tensor(weights):
        return _min_plus(weights)
    return np.stack([_paths(w) for w in weights])


def _geodesics(
    rdms: Any,
    kind: str,
    *,
    l: float = 0.0,
    u: float = 0.075,
    p: float | None = None,
    k: int | None = None,
    neighbours: str = "union",
    zero_edges: str = "keep",
    ranked: bool = True,
    decimals: int | None = DECIMALS,
) -> tuple[Any, np.ndarray, np.ndarray, dict[str, Any]]:
    check_option("kind", kind, KINDS)
    check_option("zero_edges", zero_edges, ["keep", "drop"])
    check_option("neighbours", neighbours, ["union", "mutual"])
    if kind != "two-step" and (l, u) != (0.0, 0.075):
        raise ValueError(f"l and u belong to kind='two-step', not to {kind!r}.")
    if p is not None and kind not in ("p-shortest", "p-nearest"):
        raise ValueError(f"p belongs to kind='p-shortest' and 'p-nearest', not to {kind!r}.")
    if k is not None and kind != "k-nearest":
        raise ValueError(f"k belongs to kind='k-nearest', not to {kind!r}.")
    d, _ = unpack(rdms)
    if bool((d != d).any()):
        raise ValueError("geodesics need all pairs of an RDM, some are NaN; leave those conditions out with .select().")
    rho = unit_ranks(d, decimals)
    inf = float("inf")
    if kind == "two-step":
        check_thresholds(l, u)
        w = gt_clip(rho, *quantiles(sorted_last(rho), [l, u]))
        w, settings = _where(w >= 1, inf, w), {"l": float(l), "u": float(u)}
    elif kind == "p-shortest":
        p = _share(p)
        w, settings = _where(rho > quantiles(sorted_last(rho), [p])[0], inf, rho), {"p": p}
    else:
        n = n_from_pairs(d.shape[1])
        p = _share(p) if kind == "p-nearest" else None
        k = max(1, int(p * n + 1e-9)) if p is not None else check_positive_int("k", k)
        w, settings = _nearest(rho, min(k, n - 1), neighbours), {"k": k, "neighbours": neighbours}
    if zero_edges == "drop":
        w = _where(w == 0, inf, w)
    edges = _numpy((w < inf).sum(1) / w.shape[1])
    if (edges == 0).any():
        raise ValueError(
            f"the graph of RDM {int(np.argmin(edges))} of {len(edges)} has no edge left; keep more of the short "
            "dissimilarities."
        )
    matrices = to_square(w)
    paths = to_condensed(shortest_paths(matrices))
    cut = ~(paths < inf)
    largest = _where(cut, -inf, paths).amax(1)[:, None] if is_tensor(d) else np.where(cut, -inf, paths).max(1)[:, None]
    paths = largest * cut + _where(cut, 0.0, paths)
    if ranked:
        same = _numpy((paths == paths[:, :1]).all(1))
        if same.any():
            raise ValueError(
                f"all paths of RDM {int(same.argmax())} of {len(same)} have the same length and no ranks: only edges "
                "of no length are left (l = u, or ties). Set other thresholds, or ranked=False."
            )
        paths = unit_ranks(paths, decimals)
    settings |= {"kind": kind, "zero_edges": zero_edges, "ranked": ranked}
    return paths, edges, _numpy(cut.sum(1) / cut.shape[1]), settings


def _nearest(rho: Any, k: int, neighbours: str) -> Any:
    """Weights with an edge where a pair is within the k-th smallest of either (or both) of its stimuli."""
    matrices = to_square(rho)
    n = matrices.shape[-1]
    diagonal = range(n)
    matrices[:, diagonal, diagonal] = float("inf")
    kth = sorted_last(matrices.reshape(-1, n)).reshape(matrices.shape)[:, :, k - 1 : k]
    mine = matrices <= kth
    other = mine.transpose(1, 2) if is_tensor(mine) else mine.transpose(0, 2, 1)
    keep = mine | other if neighbours == "union" else mine & other
    return _where(to_condensed(keep), rho, float("inf"))


def _paths(w: np.ndarray) -> np.ndarray:
    from scipy.sparse import csr_array
    from scipy.sparse.csgraph import dijkstra

    rows, columns = np.nonzero(np.isfinite(w))
    if len(rows) > SPARSE * w.size:
        return _min_plus(w[None])[0]
    # Built by position, so that edges of weight 0 are stored and not taken for absent.
    graph = csr_array((w[rows, columns].astype(float), (rows, columns)), shape=w.shape)
    return dijkstra(graph, directed=True).astype(w.dtype, copy=False)


def _min_plus(w: Any) -> Any:
    """Floyd's recursion: allow one more stimulus as a stop on the way, n times."""
    n = w.shape[-1]
    if is_tensor(w):
        import torch

        paths = w
        for k in range(n):
            paths = torch.minimum(paths, paths[:, :, k : k + 1] + paths[:, k : k + 1, :])
        return paths
    paths = w.copy()
    buffer = np.empty_like(paths)
    for k in range(n):
        np.add(paths[:, :, k : k + 1], paths[:, k : k + 1, :], out=buffer)
        np.minimum(paths, buffer, out=paths)
    return paths


def _share(p: float | None) -> float:
    p = 0.05 if p is None else p
    if not 0 < p <= 1:
        raise ValueError(f"p is the share of pairs or stimuli that stay joined, above 0 and at most 1, got {p!r}.")
    return float(p)


def _where(condition: Any, value: Any, other: Any) -> Any:
    """``np.where`` for a condition, with scalars on either side, on either kind of array."""
    if not is_tensor(condition):
        return np.where(condition, value, other)
    import torch

    return torch.where(condition, value, other)


def _numpy(x: Any) -> np.ndarray:
    return np.asarray(x.detach().cpu().numpy() if is_tensor(x) else x, dtype=float)
