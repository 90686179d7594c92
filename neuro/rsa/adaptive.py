"""Do two representations depend on each other, at whichever scale of distances the dependence shows?

The distance correlation of thresholded distances, maximised over the thresholds of either side. With a the distances of
X (n, n), thresholded at (l, u), b those of Y at (l', u'), and A, B both double-centred,

    dCor = sqrt( |<A, B>| / sqrt(<A, A> <B, B>) ),

in all 28 x 28 cells of l < u and l' < u' out of eight levels; the maximum over cells is tested by redoing the whole
maximisation with permuted stimuli.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from neuro._check import as_rng, check_option, check_positive_int, is_tensor
from neuro.errors import ShapeMismatch
from neuro.rsa._pairs import to_square
from neuro.rsa.container import matched

STATISTICS = ("dcor", "inflation", "normalised")
SD_FLOOR = 1e-5
BLOCK = 64  # permutations whose cells are held at a time


@dataclass(frozen=True, eq=False)
class AdaptiveDependence:
    """Adaptive dependence of two RDMs; see :func:`agtdm`.

    Attributes
    ----------
    thresholds : array (n_cells, 2), the (l, u) of rows (x) and columns (y) of the cells
    cells : dict statistic -> array (n_cells, n_cells)
    maximum : dict statistic -> float
    p : dict statistic -> float, NaN without permutations
    n_permutations : int
    """

    thresholds: np.ndarray
    cells: dict[str, np.ndarray]
    maximum: dict[str, float]
    p: dict[str, float]
    n_permutations: int

    def to_frame(self) -> pd.DataFrame:
        """Return one row per statistic: its maximum, p, and the thresholds where it is reached."""
        rows = []
        for name in STATISTICS:
            i, j = np.unravel_index(np.argmax(self.cells[name]), self.cells[name].shape)
            (lx, ux), (ly, uy) = self.thresholds[i], self.thresholds[j]
            rows.append((name, self.maximum[name], self.p[name], lx, ux, ly, uy, self.n_permutations))
        columns = ["statistic", "maximum", "p", "l_x", "u_x", "l_y", "u_y", "n_permutations"]
        return pd.DataFrame(rows, columns=columns)


def agtdm(
    x: Any,
    y: Any,
    *,
    thresholds: str = "quantile",
    middle: str = "keep",
    levels: int = 8,
    n_reference: int = 20,
    n_permutations: int = 999,
    rng: int | np.random.Generator | None = None,
) -> AdaptiveDependence:
    """Adaptive geo-topological dependence between two RDMs of the same conditions.

    Parameters
    ----------
    x, y : RDMs, arrays or tensors, one RDM each
        Distances, not negative. Conditions of RDMs are matched by name.
    thresholds : "quantile" or "fraction"
        Levels are quantiles of the whole matrix, its zero diagonal included, or fractions of its maximum.
    middle : "keep", "rescale" or "stretch"
        Distances up to the lower threshold become 0, from the upper one on the maximum. Those between stay as they are,
        or become u (a - l) / (u - l), or max (a - l) / (u - l) (l, u: the distances at the thresholds).
    levels : int
        Levels evenly spaced from 0 to 1; 8 make 28 pairs of thresholds on either side.
    n_reference : int
        Permutations behind "inflation" and "normalised".
    n_permutations : int
        Permutations behind p; 0 for none.
    rng : int, Generator or None

    Returns
    -------
    AdaptiveDependence
        For the maximum over cells of "dcor"; of "inflation", dCor over its mean under the reference permutations; and
        of "normalised", 1 + (inflation - 1) / sd of the inflation of those permutations (at least 0.00001).

    Raises
    ------
    ShapeMismatch, ValueError

    Notes
    -----
    p = (1 + number of permutations whose maximum is at least as large) / (1 + n_permutations). The maximisation is
    redone in full for each. The reference permutations are drawn once and serve the data and every permutation alike:
    without dependence all these orders of the stimuli are exchangeable, so p is exact.

    A cell whose thresholds leave nothing to vary has dCor 0. The 28 centred matrices of either side are made once; a
    permutation is a gather and one matrix product.

    References
    ----------
    Lin & Kriegeskorte (2018), Adaptive geo-topological independence criterion, arXiv:1810.02923.
    """
    check_option("thresholds", thresholds, ["quantile", "fraction"])
    check_option("middle", middle, ["keep", "rescale", "stretch"])
    levels = check_positive_int("levels", levels, 2)
    n_reference = check_positive_int("n_reference", n_reference, 2)
    n_permutations = check_positive_int("n_permutations", n_permutations, 0)
    rng = as_rng(rng)
    a, b = _one_each(x, y)
    grid = np.linspace(0, 1, levels)
    pairs = np.stack([grid[k] for k in np.triu_indices(levels, 1)], axis=1)
    tokens = _tokens(a, pairs, thresholds, middle), _tokens(b, pairs, thresholds, middle)
    n = a.shape[0]
    orders = np.stack([rng.permutation(n) for _ in range(n_reference + n_permutations)])
    observed = _dcor(*tokens, np.arange(n)[None])[0]
    reference = _dcor(*tokens, orders[:n_reference])
    mean = reference.mean(0)
    mean = np.where(mean > 0, mean, 1.0)
    sd = np.maximum((reference / mean).std(0, ddof=1), SD_FLOOR)

    def statistics(dcor: np.ndarray) -> dict[str, np.ndarray]:
        inflation = dcor / mean
        return {"dcor": dcor, "inflation": inflation, "normalised": 1 + (inflation - 1) / sd}

    cells = statistics(observed)
    maximum = {name: float(values.max()) for name, values in cells.items()}
    count = dict.fromkeys(STATISTICS, 0)
    for start in range(n_reference, len(orders), BLOCK):
        for name, values in statistics(_dcor(*tokens, orders[start : start + BLOCK])).items():
            # Equal up to rounding counts as equal: a permutation may map the stimuli onto themselves.
            reached = values.max((1, 2)) >= maximum[name] - 1e-12 * abs(maximum[name])
            count[name] += int(reached.sum())
    p = {name: (1 + k) / (1 + n_permutations) if n_permutations else float("nan") for name, k in count.items()}
    return AdaptiveDependence(pairs, cells, maximum, p, n_permutations)


def threshold_distances(a: Any, low: float, high: float, middle: str = "keep") -> Any:
    """Distances (n, n): up to ``low`` 0, from ``high`` on the maximum, between as they are or rescaled."""
    top = float(a.max())
    if middle == "keep" or high <= low:
        between = a
    else:
        between = {"rescale": high, "stretch": top}[middle] * (a - low) / (high - low)
    where = _where(a)
    return where(a <= low, 0 * a, where(a >= high, 0 * a + top, between))


def _one_each(x: Any, y: Any) -> tuple[Any, Any]:
    x, y = matched(x, y)
    for name, stack in (("x", x), ("y", y)):
        if stack.n_rdms != 1:
            raise ShapeMismatch(f"{name} must be one RDM, got {stack.n_rdms}; select one, or loop over them.")
        d = stack.dissimilarities
        if bool((d != d).any()):
            raise ValueError(f"{name} has NaN; leave those conditions out with .select(conditions=...).")
        if bool((d < 0).any()):
            raise ValueError(
                f"{name} has {int((d < 0).sum())} negative dissimilarities, which have no place between a diagonal "
                "of 0 and the thresholds; rank them (rank_transform) or clip them at 0 first."
            )
    return tuple(_double(to_square(stack.dissimilarities[0])) for stack in (x, y))  # type: ignore[return-value]


def _tokens(a: Any, pairs: np.ndarray, thresholds: str, middle: str) -> Any:
    """Double-centred thresholded matrices of unit norm, (n_cells, n, n); zero where nothing varies."""
    values = a.detach().cpu().numpy() if is_tensor(a) else a
    levels = np.unique(pairs)
    marks = np.quantile(values, levels) if thresholds == "quantile" else levels * values.max()
    at = dict(zip(levels.tolist(), marks.tolist(), strict=True))
    stack = _stack([threshold_distances(a, at[low], at[high], middle) for low, high in pairs.tolist()])
    size = (stack**2).sum((1, 2))
    stack = stack - stack.mean(1)[:, None, :] - stack.mean(2)[:, :, None] + stack.mean((1, 2))[:, None, None]
    norm = (stack**2).sum((1, 2))
    flat = norm <= 1e-20 * size
    scale = _where(a)(flat, 0 * norm, 1 / _where(a)(flat, 0 * norm + 1, norm) ** 0.5)
    return stack * scale[:, None, None]


def _dcor(tokens_x: Any, tokens_y: Any, orders: np.ndarray) -> np.ndarray:
    """DCor of all cells for permutations of y: (n_orders, n_cells, n_cells)."""
    x = tokens_x.reshape(len(tokens_x), -1)
    out = []
    for order in orders:
        index = order if not is_tensor(tokens_y) else _as_tensor(order, tokens_y)
        y = tokens_y[:, index][:, :, index].reshape(len(tokens_y), -1)
        inner = abs(x @ y.T) ** 0.5
        out.append(inner.detach().cpu().numpy() if is_tensor(inner) else inner)
    return np.stack(out)


def _double(x: Any) -> Any:
    return x.detach().double() if is_tensor(x) else np.asarray(x, dtype=float)


def _stack(x: list[Any]) -> Any:
    if is_tensor(x[0]):
        import torch

        return torch.stack(x)
    return np.stack(x)


def _where(x: Any) -> Any:
    if is_tensor(x):
        import torch

        return torch.where
    return np.where


def _as_tensor(x: np.ndarray, like: Any) -> Any:
    import torch

    return torch.as_tensor(x, device=like.device)
