"""The k nearest of many embeddings: exact cosine search that streams a gallery, or faiss, with the same answers."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from neuro._check import check_option, check_positive_int, require
from neuro.decoders.metrics._similarity import as_array
from neuro.errors import DuplicateIds, EmptySelection, ShapeMismatch

BACKENDS = ("numpy", "faiss")
_MARGIN = 16  # more candidates than asked for, as the fast pass in float32 may swap near ties


class Found(NamedTuple):
    """What a search returns: ids, their cosines and their rows in the gallery, each (n_queries, k)."""

    ids: np.ndarray
    scores: np.ndarray
    rows: np.ndarray


class Gallery:
    """Embeddings to search by cosine of the flattened tokens.

    Parameters
    ----------
    embeddings : array (n, ...) or memory map
        One row per image: an embedding, or tokens (n, n_tokens, d). A memory map is read in blocks.
    ids : sequence (n,), optional
        Name of each row; 0, 1, ... by default.
    coarse : array (n, d), optional
        A second, smaller description of the same images, as the CLIP embedding (class token): searches that come with
        a ``coarse_query`` take the ``shortlist`` nearest by it and rank only those by their tokens.
    shortlist : int
    backend : {"numpy", "faiss"}
        faiss keeps a normalised float32 copy in memory. Candidates of either are re-scored in float64 and ordered by
        score, then by row, so that both give the same answer.
    block_bytes : int
        Memory for one block of the gallery.

    Raises
    ------
    EmptySelection
        No rows.
    ShapeMismatch, DuplicateIds
        ids or coarse do not fit the rows; an id comes twice.

    Examples
    --------
    >>> Gallery(np.eye(4), ids=["a", "b", "c", "d"]).search([0, 0.1, 1, 0], k=2).ids
    array([['c', 'b']], dtype='<U1')
    """

    def __init__(
        self,
        embeddings: Any,
        ids: Any = None,
        *,
        coarse: Any = None,
        shortlist: int = 16,
        backend: str = "numpy",
        block_bytes: int = 1 << 27,
    ):
        check_option("backend", backend, BACKENDS)
        self.embeddings = as_array(embeddings)
        if self.embeddings.ndim < 2:
            raise ShapeMismatch(f"a gallery needs embeddings (n, ...), got {self.embeddings.shape}.")
        if not len(self.embeddings):
            raise EmptySelection("a gallery needs at least one image.")
        n = len(self.embeddings)
        self.ids = np.arange(n) if ids is None else np.array(ids)
        if self.ids.shape != (n,):
            raise ShapeMismatch(f"ids must name each of {n} rows, got {self.ids.shape}.")
        names, counts = np.unique(self.ids, return_counts=True)
        if (counts > 1).any():
            raise DuplicateIds(f"{names[counts > 1].tolist()[0]!r} stands for {counts.max()} rows of the gallery.")
        self.shortlist = check_positive_int("shortlist", shortlist)
        self.backend = backend
        self.block_bytes = check_positive_int("block_bytes", block_bytes)
        self.coarse = None
        if coarse is not None:
            if len(as_array(coarse)) != n:
                raise ShapeMismatch(f"coarse must have a row for each of {n} images, got {len(as_array(coarse))}.")
            self.coarse = Gallery(coarse, backend=backend, block_bytes=block_bytes)
        self._index = self._faiss_index() if backend == "faiss" else None

    def __len__(self) -> int:
        return len(self.embeddings)

    def search(self, query: Any, k: int = 10, *, coarse_query: Any = None) -> Found:
        """Return the k most similar images of each query.

        Parameters
        ----------
        query : array (n_queries, ...) or one embedding
        k : int
            At most the gallery (the shortlist, for two stages).
        coarse_query : array (n_queries, d), optional
            Searches ``coarse`` first.
        """
        k = check_positive_int("k", k)
        q = self._queries(query)
        if coarse_query is None:
            self._check_k(k, len(self), "the gallery")
            few = min(len(self), k + max(_MARGIN, k))
            if few == len(self):
                rows = np.broadcast_to(np.arange(len(self)), (len(q), len(self)))
            else:
                rows = self._index.search(q, few)[1] if self._index is not None else self._stream(q, few)
        else:
            if self.coarse is None:
                raise ValueError("coarse_query was given, but this gallery has no coarse= description of its images.")
            few = min(self.shortlist, len(self))
            self._check_k(k, few, "the shortlist")
            rows = self.coarse.search(coarse_query, few).rows
            if len(rows) != len(q):
                raise ShapeMismatch(f"{len(q)} queries, but {len(rows)} coarse queries.")
        best = [self._rank(one, np.sort(candidates))[:2] for one, candidates in zip(q, rows, strict=True)]
        order = np.stack([candidates[:k] for candidates, _ in best])
        return Found(self.ids[order], np.stack([scores[:k] for _, scores in best]), order)

    def _queries(self, query: Any) -> np.ndarray:
        q, shape = as_array(query), self.embeddings.shape[1:]
        if q.shape == shape:
            q = q[None]
        if q.shape[1:] != shape:
            raise ShapeMismatch(f"queries must be (n, {', '.join(map(str, shape))}) as the gallery, got {q.shape}.")
        q = q.reshape(len(q), -1).astype(np.float32)
        if not np.isfinite(q).all():
            raise ValueError("queries hold NaN or infinite numbers.")
        return q / _safe(np.linalg.norm(q, axis=1, keepdims=True))

    @staticmethod
    def _check_k(k: int, n: int, what: str) -> None:
        if k > n:
            raise ValueError(f"k must be at most {n}, the size of {what}, got {k}.")

    def _blocks(self):
        width = int(np.prod(self.embeddings.shape[1:]))
        step = max(1, self.block_bytes // (4 * width))
        for start in range(0, len(self), step):
            x = np.asarray(self.embeddings[start : start + step], dtype=np.float32).reshape(-1, width)
            if not np.isfinite(x).all():
                bad = start + int(np.argmin(np.isfinite(x).all(1)))
                raise ValueError(f"row {bad} of the gallery holds NaN or infinite numbers.")
            yield start, x / _safe(np.linalg.norm(x, axis=1, keepdims=True))

    def _stream(self, q: np.ndarray, k: int) -> np.ndarray:
        """Return the rows of the k largest products per query, unordered."""
        rows, scores = np.empty((len(q), 0), dtype=int), np.empty((len(q), 0), dtype=np.float32)
        for start, x in self._blocks():
            scores = np.concatenate([scores, q @ x.T], axis=1)
            rows = np.concatenate([rows, np.broadcast_to(np.arange(start, start + len(x)), (len(q), len(x)))], axis=1)
            if scores.shape[1] > k:
                kept = np.argpartition(-scores, k - 1, axis=1)[:, :k]
                rows, scores = (np.take_along_axis(z, kept, 1) for z in (rows, scores))
        return rows

    def _rank(self, q: np.ndarray, candidates: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Order candidate rows (ascending) by float64 cosine; equal scores keep the order of rows."""
        x = np.asarray(self.embeddings[candidates], dtype=np.float64).reshape(len(candidates), -1)
        lengths = np.sqrt(np.einsum("nd,nd->n", x, x))
        scores = np.einsum("nd,d->n", x, q.astype(np.float64)) / _safe(lengths)
        order = np.argsort(-scores, kind="stable")
        return candidates[order], scores[order]

    def _faiss_index(self) -> Any:
        faiss = require("faiss", "Gallery(backend='faiss')", "retrieval")
        index = faiss.IndexFlatIP(int(np.prod(self.embeddings.shape[1:])))
        for _, x in self._blocks():
            index.add(np.ascontiguousarray(x))
        return index


def _safe(lengths: np.ndarray) -> np.ndarray:
    return np.where(lengths > 0, lengths, 1)
