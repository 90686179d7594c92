"""Rows of something too large for memory, read by number when a batch needs them.

The 257 x 768 image tokens of the 8,859 training images of one NSD subject are 8,859 * 257 * 768 * 4 bytes = 7.0 GB
(3.5 GB as float16 on disk); those of a batch of 32 are 25 MB. Responses of 27,000 trials of 15,724 voxels are 1.7 GB;
a batch of 32 is 2 MB. Only the batch is ever in memory.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from neuro._check import is_tensor
from neuro._files import hash_bytes
from neuro.errors import ShapeMismatch

SAMPLED = 16  # rows whose content enters a fingerprint


class TokenSource:
    """Rows (n, ...) of an array, memory map, HDF5 data set, layer of a feature store, or ``.npy`` file.

    Parameters
    ----------
    rows : array-like with ``shape`` and indexing by sorted row numbers, or path of a ``.npy`` file
        Tensors on the CPU are taken as arrays.
    shape : tuple, optional
        Of one row, where rows are stored flat, as in a feature store.

    Examples
    --------
    >>> TokenSource(np.arange(12.0).reshape(4, 3)).read([2, 0, 2])
    array([[6., 7., 8.],
           [0., 1., 2.],
           [6., 7., 8.]], dtype=float32)
    """

    def __init__(self, rows: Any, shape: tuple[int, ...] | None = None):
        if isinstance(rows, (str, Path)):
            rows = np.load(rows, mmap_mode="r", allow_pickle=False)
        elif isinstance(rows, TokenSource):
            rows, shape = rows._rows, rows.shape[1:] if shape is None else shape
        elif is_tensor(rows):
            rows = rows.detach().cpu().numpy()
        elif not hasattr(rows, "shape"):
            rows = np.asarray(rows)
        if len(rows.shape) < 1:
            raise ShapeMismatch("expected rows (n, ...), got a single number.")
        own = tuple(int(s) for s in rows.shape[1:])
        if shape is not None and np.prod(shape, dtype=int) != np.prod(own, dtype=int):
            raise ShapeMismatch(f"a row of {own} cannot be seen as {tuple(shape)}.")
        self._rows = rows
        self.shape: tuple[int, ...] = (int(rows.shape[0]), *(own if shape is None else tuple(shape)))

    def __len__(self) -> int:
        return self.shape[0]

    def read(self, at: Any) -> np.ndarray:
        """Return rows ``at`` (k,) as float32 (k, ...), in this order; each is read once, in the order of the file."""
        numbers, back = np.unique(np.asarray(at, dtype=np.int64).reshape(-1), return_inverse=True)
        block = np.asarray(self._rows[numbers], dtype=np.float32)
        return block[back].reshape(len(back), *self.shape[1:])

    def fingerprint(self) -> dict[str, Any]:
        """Return shape, type and the hash of some rows: enough to notice other data, without reading all of it."""
        at = np.unique(np.linspace(0, max(len(self) - 1, 0), min(SAMPLED, len(self))).astype(int))
        return {"shape": list(self.shape), "dtype": str(self._rows.dtype), "sample": hash_bytes(self.read(at))}

    def __repr__(self) -> str:
        return f"TokenSource(shape={self.shape}, dtype={self._rows.dtype})"
