"""What a decoder says of each stimulus: named arrays with one row per stimulus, and how they were made."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from neuro._files import atomic_path, read_json, write_json, write_npy
from neuro.errors import CorruptFile, DuplicateIds, ShapeMismatch, UnknownStimulus, nearest

FORMAT = "neuro.decoded 1"


class Decoded(Mapping[str, np.ndarray]):
    """Decoded targets of one subject (or of several, averaged).

    Parameters
    ----------
    arrays : dict of name -> array (n, ...)
        As ``image_embedding`` (n, d), ``image_tokens`` (n, n_tokens, d), ``text_tokens``, ``low_level`` (n, c, h, w).
        A memory map stays on disk.
    ids : sequence (n,)
        Stimulus of each row, each once.
    subject : optional
    provenance : dict, optional
        Decoder, settings, seed, versions; ``rescaling`` names the policy of output scaling.

    Examples
    --------
    >>> d = Decoded({"image_embedding": np.eye(3)}, ids=[5, 7, 9], subject=1)
    >>> d.select([9, 5])["image_embedding"]
    array([[0., 0., 1.],
           [1., 0., 0.]])
    """

    def __init__(self, arrays: Mapping[str, Any], ids: Any, subject: Any = None, provenance: Mapping | None = None):
        self.ids = np.array(ids)
        self.subject = subject
        self.provenance: dict[str, Any] = dict(provenance or {})
        values, counts = np.unique(self.ids, return_counts=True)
        if (counts > 1).any():
            raise DuplicateIds(
                f"decoded rows must stand for different stimuli; {values[counts > 1][0]!r} comes {counts.max()} times. "
                "Average the repeats of an image first."
            )
        self._arrays = {}
        for name, value in arrays.items():
            array = value if isinstance(value, np.ndarray) else np.asarray(value)
            if array.ndim < 1 or len(array) != len(self.ids):
                raise ShapeMismatch(f"{name} must have one row for each of {len(self.ids)} ids, got {array.shape}.")
            view = array.view()
            view.setflags(write=False)
            self._arrays[name] = view

    def __getitem__(self, name: str) -> np.ndarray:
        if name not in self._arrays:
            raise KeyError(f"nothing named {name!r} was decoded; there is {', '.join(self._arrays) or 'nothing'}")
        return self._arrays[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._arrays)

    def __len__(self) -> int:
        return len(self._arrays)

    def __repr__(self) -> str:
        parts = ", ".join(f"{k} {v.shape}" for k, v in self._arrays.items())
        return f"Decoded({parts}; {len(self.ids)} stimuli, subject {self.subject})"

    def select(self, ids: Any) -> Decoded:
        """Return the rows of these stimuli, in this order."""
        where = {v: i for i, v in enumerate(self.ids.tolist())}
        wanted = np.asarray(ids).tolist()
        missing = [v for v in wanted if v not in where]
        if missing:
            raise UnknownStimulus(
                f"stimulus {missing[0]!r} was not decoded{nearest(str(missing[0]), map(str, where)) or '.'}"
            )
        rows = np.array([where[v] for v in wanted], dtype=int)
        return Decoded({k: v[rows] for k, v in self._arrays.items()}, np.asarray(ids), self.subject, self.provenance)

    def with_arrays(self, arrays: Mapping[str, Any], **provenance: Any) -> Decoded:
        """Return the same stimuli with further (or other) arrays."""
        return Decoded({**self._arrays, **arrays}, self.ids, self.subject, {**self.provenance, **provenance})

    def save(self, folder: str | Path) -> Path:
        """Write one npy per array and ``decoded.json``; the folder appears whole or not at all."""
        folder = Path(folder)
        with atomic_path(folder, directory=True) as temporary:
            for name, array in self._arrays.items():
                write_npy(temporary / f"{name}.npy", array)
            about = {
                "format": FORMAT,
                "ids": self.ids.tolist(),
                "subject": self.subject,
                "arrays": list(self._arrays),
                "provenance": self.provenance,
            }
            write_json(temporary / "decoded.json", about)
        return folder

    @classmethod
    def load(cls, folder: str | Path) -> Decoded:
        """Read what :meth:`save` wrote; arrays are memory maps."""
        folder = Path(folder)
        about = read_json(folder / "decoded.json")
        if about.get("format") != FORMAT:
            raise CorruptFile(
                f"{folder} does not hold decoded targets of this version (format {about.get('format')!r})."
            )
        arrays = {name: np.load(folder / f"{name}.npy", mmap_mode="r", allow_pickle=False) for name in about["arrays"]}
        return cls(arrays, about["ids"], about["subject"], about["provenance"])
