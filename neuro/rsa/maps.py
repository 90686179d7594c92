"""How do representations relate to one another? Second-order RDMs, layer-by-area matrices, and maps of both."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from neuro._check import as_rng, check_option, require
from neuro.errors import EmptySelection
from neuro.rsa.container import RDMs, as_rdms

EMBEDDINGS = ("mds", "classical", "umap")


def second_order(rdms: Any, method: str = "corr", sigma_k: Any = None) -> RDMs:
    """Return the RDM of RDMs: 1 - similarity between all pairs of a stack.

    Parameters
    ----------
    rdms : RDMs or array (n_rdms, n_pairs)
        Regions, layers, subjects...; their names become the conditions.
    method : str
        A similarity of :func:`~neuro.rsa.compare`.
    sigma_k : array, optional
        As in :func:`~neuro.rsa.compare`.

    References
    ----------
    Kriegeskorte, Mur & Bandettini (2008), Frontiers in Systems Neuroscience 2, 4.
    """
    from neuro.rsa.compare import compare

    rdms = as_rdms(rdms).numpy()
    if rdms.n_rdms < 2:
        raise EmptySelection("a second-order RDM needs at least two RDMs.")
    similarity = np.asarray(compare(rdms, rdms, method, sigma_k))
    distance = 1 - (similarity + similarity.T) / 2
    np.fill_diagonal(distance, 0)
    names = rdms.names
    if len(set(names)) < len(names):
        names = [f"{name} ({i})" for i, name in enumerate(names)]
    conditions = rdms.table.drop(columns=["condition"], errors="ignore").assign(condition=names)
    return RDMs(distance[None], conditions, metric=f"1 - {method}")


def layer_by_area(layers: Any, areas: Any, method: str = "corr", sigma_k: Any = None) -> pd.DataFrame:
    """Return similarities (areas as rows, layers as columns) as a table with names.

    Parameters
    ----------
    layers, areas : RDMs
        Conditions are matched by name.
    method, sigma_k
        As in :func:`~neuro.rsa.compare`.
    """
    from neuro.rsa.compare import compare

    layers, areas = as_rdms(layers), as_rdms(areas)
    values = compare(areas, layers, method, sigma_k)
    if not isinstance(values, np.ndarray):
        values = values.detach().cpu().numpy()
    return pd.DataFrame(values, index=areas.names, columns=layers.names)


def embed(rdm: Any, method: str = "mds", n_dimensions: int = 2, rng: int | np.random.Generator | None = 0) -> Embedding:
    """Arrange conditions in a few dimensions so that distances look like dissimilarities.

    Parameters
    ----------
    rdm : RDMs with one RDM, or array
        Non-negative for "umap"; negative dissimilarities count as 0 elsewhere.
    method : "mds", "classical" or "umap"
        Metric MDS by stress majorisation, started from the classical solution; classical (Torgerson) MDS; UMAP, which
        keeps neighbourhoods and distorts distances (needs umap-learn).
    n_dimensions : int
    rng : int or Generator
        Only UMAP uses it.

    Returns
    -------
    Embedding

    References
    ----------
    Torgerson (1952), Psychometrika 17, 401-419. de Leeuw (1977), in Recent Developments in Statistics, 133-145.
    McInnes, Healy & Melville (2018), arXiv 1802.03426.
    """
    check_option("method", method, EMBEDDINGS)
    rdms = as_rdms(rdm).numpy()
    if rdms.n_rdms != 1:
        raise EmptySelection(f"embed takes one RDM, got {rdms.n_rdms}: .mean() or .select() first.")
    distance = np.maximum(rdms.matrices[0].astype(float), 0)
    if np.isnan(distance).any():
        raise ValueError("the RDM has pairs without a value (NaN): select conditions that are all known.")
    if not 1 <= n_dimensions < len(distance):
        raise ValueError(f"n_dimensions must lie between 1 and {len(distance) - 1}, got {n_dimensions}.")
    if method == "umap":
        umap = require("umap", "embed(method='umap')", "maps")
        seed = int(as_rng(rng).integers(2**31))
        n_neighbors = min(15, len(distance) - 1)
        model = umap.UMAP(n_components=n_dimensions, metric="precomputed", random_state=seed, n_neighbors=n_neighbors,
                          n_jobs=1)  # fmt: skip
        points = np.asarray(model.fit_transform(distance), dtype=float)
    else:
        points = _classical(distance, n_dimensions)
        if method == "mds":
            points = _majorise(distance, points)
    return Embedding(points, _stress(distance, points), method)


class Embedding:
    """Points (n, n_dimensions) and ``stress`` (Kruskal's stress-1: 0 is perfect, above .2 poor)."""

    def __init__(self, points: np.ndarray, stress: float, method: str):
        self.points, self.stress, self.method = points, stress, method
        points.flags.writeable = False

    def __repr__(self) -> str:
        return f"Embedding({self.points.shape[0]} points, {self.method}, stress {self.stress:.3f})"


def _classical(distance: np.ndarray, k: int) -> np.ndarray:
    squared = distance**2
    gram = -0.5 * (squared - squared.mean(0) - squared.mean(1)[:, None] + squared.mean())
    values, vectors = np.linalg.eigh(gram)
    values, vectors = values[::-1][:k], vectors[:, ::-1][:, :k]
    vectors = vectors * np.where(vectors[np.abs(vectors).argmax(0), np.arange(k)] < 0, -1, 1)  # a fixed sign
    return vectors * np.sqrt(np.maximum(values, 0))


def _majorise(distance: np.ndarray, points: np.ndarray, n_steps: int = 500, tolerance: float = 1e-9) -> np.ndarray:
    """SMACOF with unit weights: each Guttman transform lowers the raw stress."""
    n, last = len(distance), np.inf
    for _ in range(n_steps):
        now = _distances(points)
        stress = float(((now - distance) ** 2).sum())
        if last - stress <= tolerance * max(stress, 1e-300):
            break
        last = stress
        ratio = np.divide(distance, now, out=np.zeros_like(now), where=now > 0)
        B = -ratio
        np.fill_diagonal(B, ratio.sum(1))
        points = B @ points / n
    return points


def _distances(points: np.ndarray) -> np.ndarray:
    return np.linalg.norm(points[:, None] - points[None], axis=2)


def _stress(distance: np.ndarray, points: np.ndarray) -> float:
    """Kruskal's stress-1 after the best scaling of the points."""
    now = _distances(points)
    total = float((now**2).sum())
    scale = float((now * distance).sum()) / total if total > 0 else 0.0
    norm = float(((scale * now) ** 2).sum())
    return float(np.sqrt(((scale * now - distance) ** 2).sum() / norm)) if norm > 0 else float("nan")
