"""Fewer dimensions: sparse random projection (no fitting) and principal components (fitted on training images only).

Sparse random projection: every input coordinate is added, with a random sign, to ``s`` of the ``k`` outputs, and the
sum is divided by sqrt(s). Squared lengths are right on average, with relative standard deviation of at most sqrt(2 / k)
(Johnson-Lindenstrauss), so distances, and ridge regression on them, survive: k = 4,096 keeps squared distances to 2 %.
The matrix follows from (seed, input size, k) through raw PCG64 bits, whose stream numpy guarantees: it is the same on
every machine and is never stored.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from neuro._check import check_positive_int
from neuro._files import atomic_path, hash_bytes
from neuro.errors import CorruptFile, ShapeMismatch


@dataclass(frozen=True)
class SparseProjection:
    """Seeded sparse random projection to ``n_components`` dimensions.

    Inputs that are already that small pass unchanged.

    Parameters
    ----------
    n_components : int
        Dimensions kept, k.
    seed : int
    per_input : int
        Outputs that each input is added to, s; ``n_components`` must be a multiple of it.

    References
    ----------
    Kane & Nelson (2014), Sparser Johnson-Lindenstrauss transforms, J. ACM 61 (the block construction).
    """

    n_components: int
    seed: int = 0
    per_input: int = 4

    def __post_init__(self):
        check_positive_int("project", self.n_components, 8)
        if self.n_components % self.per_input:
            raise ValueError(f"project must be a multiple of {self.per_input}, got {self.n_components}.")

    def out_dim(self, in_dim: int) -> int:
        """Return how many dimensions remain of ``in_dim``."""
        return min(in_dim, self.n_components)

    def matrix(self, in_dim: int) -> Any:
        """Return the projection as a scipy CSR matrix (n_components, in_dim)."""
        import scipy.sparse

        start, columns, values = _sparse(self.seed, in_dim, self.n_components, self.per_input)
        return scipy.sparse.csr_matrix((values, columns, start), shape=(self.n_components, in_dim))

    def apply(self, x: torch.Tensor) -> torch.Tensor:
        """Project ``x`` (n, ...), flattened in C order, to (n, n_components) float32."""
        n, in_dim = x.shape[0], x[0].numel()
        if in_dim <= self.n_components:
            return x.flatten(1).float()
        columns, start, values = _on_device(self.seed, in_dim, self.n_components, self.per_input, str(x.device))
        rows = x.permute(*range(1, x.ndim), 0).reshape(in_dim, n).float()
        # embedding_bag is torch's fastest product of a sparse matrix with a narrow dense one.
        return torch.nn.functional.embedding_bag(
            columns, rows, start, mode="sum", per_sample_weights=values
        ).T.contiguous()

    def describe(self, in_dim: int) -> dict[str, Any] | None:
        """Return what identifies this projection of ``in_dim`` inputs; None where nothing is projected."""
        if in_dim <= self.n_components:
            return None
        return {
            "kind": "sparse random",
            "in": in_dim,
            "out": self.n_components,
            "seed": self.seed,
            "per_input": self.per_input,
        }


@lru_cache(maxsize=8)
def _sparse(seed: int, in_dim: int, out_dim: int, per_input: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return row starts, column indices (int32) and values of the CSR matrix."""
    raw = np.random.PCG64(np.random.SeedSequence([seed, in_dim, out_dim])).random_raw(per_input * in_dim)
    block = out_dim // per_input
    # The lowest bit is the sign, the rest the place within one block of outputs: an input never meets an output twice.
    rows = (raw >> np.uint64(1)) % np.uint64(block)
    rows = rows.astype(np.int32).reshape(per_input, in_dim) + np.arange(per_input, dtype=np.int32)[:, None] * block
    values = np.where(raw & np.uint64(1), np.float32(1), np.float32(-1)) / np.float32(np.sqrt(per_input))
    order = np.argsort(rows.reshape(-1), kind="stable")
    columns = np.tile(np.arange(in_dim, dtype=np.int32), per_input)[order]
    start = np.concatenate([[0], np.cumsum(np.bincount(rows.reshape(-1), minlength=out_dim))]).astype(np.int32)
    return start, columns, values[order].astype(np.float32)


@lru_cache(maxsize=8)
def _on_device(seed: int, in_dim: int, out_dim: int, per_input: int, device: str):
    start, columns, values = _sparse(seed, in_dim, out_dim, per_input)
    return tuple(torch.from_numpy(a).to(device) for a in (columns, start[:-1].copy(), values))


@dataclass(frozen=True, eq=False)
class PCA:
    """Principal components of one layer, with the ids of the images they were fitted on.

    Attributes
    ----------
    mean : array of shape (n_features,)
    components : array of shape (n_components, n_features), rows orthonormal
        The largest loading of each is positive.
    variance : array of shape (n_components,)
        Of the fitted images' scores.
    explained : array of shape (n_components,)
        Share of the total variance.
    fit_ids : array of shape (n_images,)
    """

    mean: np.ndarray
    components: np.ndarray
    variance: np.ndarray
    explained: np.ndarray
    fit_ids: np.ndarray

    def __post_init__(self):
        for name in ("mean", "components", "variance", "explained", "fit_ids"):
            array = np.array(getattr(self, name))
            array.flags.writeable = False
            object.__setattr__(self, name, array)

    def out_dim(self, in_dim: int) -> int:
        """Return the number of components; features of another size are an error."""
        if in_dim != len(self.mean):
            raise ShapeMismatch(f"this PCA was fitted on {len(self.mean):,} features and cannot take {in_dim:,}.")
        return len(self.components)

    def transform(self, X: np.ndarray) -> np.ndarray:
        """Return scores (n, n_components) of features (n, n_features)."""
        X = np.asarray(X)
        self.out_dim(X.shape[-1])
        return ((X - self.mean) @ self.components.T).astype(np.float32)

    def apply(self, x: torch.Tensor) -> torch.Tensor:
        """Return scores of tensors (n, ...), flattened in C order."""
        flat = x.flatten(1).float()
        self.out_dim(flat.shape[1])
        if not hasattr(self, "_tensors") or self._tensors[0].device != flat.device:
            pair = (torch.tensor(self.mean, dtype=torch.float32), torch.tensor(self.components.T, dtype=torch.float32))
            object.__setattr__(self, "_tensors", tuple(t.to(flat.device) for t in pair))
        mean, basis = self._tensors
        return (flat - mean) @ basis

    def describe(self, in_dim: int) -> dict[str, Any]:
        """Return what identifies this projection, the fitted images included."""
        return {
            "kind": "pca",
            "in": in_dim,
            "out": len(self.components),
            "basis": hash_bytes(np.concatenate([self.mean[None], self.components]).astype(np.float32)),
            "fit_images": len(self.fit_ids),
            "fit_ids": hash_bytes("\n".join(map(str, self.fit_ids.tolist())).encode()),
        }

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write as ``.npz``."""
        fields = {k: getattr(self, k) for k in ("mean", "components", "variance", "explained", "fit_ids")}
        with atomic_path(path) as temporary, open(temporary, "wb") as file:
            np.savez(file, **fields)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> PCA:
        """Read what :meth:`save` wrote."""
        try:
            with np.load(Path(path), allow_pickle=False) as data:
                return cls(**{k: data[k] for k in ("mean", "components", "variance", "explained", "fit_ids")})
        except (ValueError, KeyError, OSError) as error:
            if isinstance(error, FileNotFoundError):
                raise
            raise CorruptFile(f"{path} is not a PCA saved by neuro ({error}).") from error


def fit_pca(X: Any, n_components: int, ids: Any = None, chunk: int = 4096) -> PCA:
    """Fit principal components on the rows of ``X``, all of which must be training images.

    Exact: through the smaller of the covariance (n_features^2) and the Gram matrix (n_images^2), in float64, reading
    ``X`` in chunks of rows, so memory maps stay on disk.

    Parameters
    ----------
    X : array-like of shape (n_images, n_features)
        An array, a memory map, or a layer of a store.
    n_components : int
        At most min(n_images - 1, n_features).
    ids : sequence, optional
        Ids of the rows, recorded; row numbers by default.
    chunk : int
        Rows read at a time.

    Returns
    -------
    PCA
    """
    n, p = X.shape
    check_positive_int("n_components", n_components)
    if n_components > min(n - 1, p):
        raise ValueError(
            f"n_components must be at most min(n_images - 1, n_features) = {min(n - 1, p):,} "
            f"for {n:,} images and {p:,} features, got {n_components:,}."
        )
    ids = np.arange(n) if ids is None else np.asarray(ids)
    if len(ids) != n:
        raise ShapeMismatch(f"{len(ids):,} ids for {n:,} rows.")
    parts = [slice(i, min(i + chunk, n)) for i in range(0, n, chunk)]
    mean = sum(np.asarray(X[s], dtype=np.float64).sum(0) for s in parts) / n
    if p <= n:
        covariance = np.zeros((p, p))
        for s in parts:
            centred = np.asarray(X[s], dtype=np.float64) - mean
            covariance += centred.T @ centred
        variance, vectors = np.linalg.eigh(covariance / (n - 1))
        order = np.argsort(variance)[::-1][:n_components]
        total, components = variance.sum(), vectors[:, order].T
    else:
        centred = np.asarray(X[:], dtype=np.float64) - mean
        variance, vectors = np.linalg.eigh(centred @ centred.T / (n - 1))
        order = np.argsort(variance)[::-1][:n_components]
        total, components = variance.sum(), vectors[:, order].T @ centred
        lengths = np.linalg.norm(components, axis=1, keepdims=True)
        components = np.divide(components, lengths, out=np.zeros_like(components), where=lengths > 0)
    variance = np.maximum(variance[order], 0)
    sign = np.sign(components[np.arange(len(components)), np.abs(components).argmax(1)])
    components = components * np.where(sign == 0, 1, sign)[:, None]
    share = variance / total if total > 0 else np.zeros_like(variance)
    return PCA(mean.astype(np.float32), components.astype(np.float32), variance, share, ids)
