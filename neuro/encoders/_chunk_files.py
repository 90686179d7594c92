"""A folder of finished chunks: data, one file per chunk, and a key that says which fit they belong to."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import neuro
from neuro._files import atomic_path, fingerprint, hash_bytes, read_json, write_json, write_npy
from neuro.errors import CorruptFile, StaleStore

ABOUT = "fit.json"


@dataclass(frozen=True)
class ChunkFolder:
    """Where the chunks of one fit stand."""

    path: Path
    key: str
    n_chunks: int

    @classmethod
    def open(cls, path: Path, job: list[Any], X: np.ndarray, Y: np.ndarray, parts: list[slice]) -> ChunkFolder:
        """Make the folder, or go on with one that an earlier call left; other data or settings are an error."""
        name, estimator, groups = job
        settings = {k: _described(v) for k, v in estimator.get_params(deep=False).items() if k != "n_jobs"}
        ends = [part.stop for part in parts]
        key = fingerprint([name, settings, _described(groups), hash_bytes(X), hash_bytes(Y), ends, neuro.__version__])
        about = path / ABOUT
        if about.is_file():
            if read_json(about).get("key") != key:
                raise StaleStore(
                    f"{path} holds chunks of a fit to other data, settings or another number of chunks. Name another "
                    "folder, or remove this one."
                )
            return cls(path, key, len(parts))
        path.mkdir(parents=True, exist_ok=True)
        write_npy(path / "X.npy", np.ascontiguousarray(X))
        write_npy(path / "Y.npy", np.ascontiguousarray(Y))
        write_json(about, {"key": key, "n_chunks": len(parts)})
        return cls(path, key, len(parts))

    @staticmethod
    def chunk_of(path: Path, i: int) -> Path:
        """Return the file of chunk ``i`` in a folder."""
        return path / f"chunk-{i:05d}.safetensors"

    def chunk(self, i: int) -> Path:
        """Return the file of chunk ``i``."""
        return self.chunk_of(self.path, i)

    @property
    def missing(self) -> list[int]:
        """Chunks that are not finished."""
        return [i for i in range(self.n_chunks) if not self.chunk(i).is_file()]


def write_chunk(path: Path, found: dict[str, Any], key: str) -> None:
    """Write what one chunk found; the file is there only when it is whole."""
    from safetensors.numpy import save_file

    arrays = {f"{kind}:{k}": np.ascontiguousarray(v) for kind in ("voxels", "shared") for k, v in found[kind].items()}
    about = {"key": key, "rest": json.dumps({k: found[k] for k in ("boundary", "plain", "sums")})}
    with atomic_path(path) as temporary:
        save_file(arrays, temporary, about)


def read_chunk(path: Path, key: str) -> dict[str, Any]:
    """Read what ``write_chunk`` wrote."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "numpy") as file:
            about = file.metadata() or {}
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
        found = json.loads(about["rest"])
    except (SafetensorError, KeyError, ValueError) as error:
        raise CorruptFile(f"{path} is not a whole chunk ({error}). Remove it, and fit again.") from error
    if about.get("key") != key:
        raise StaleStore(f"{path} is a chunk of another fit. Remove it, and fit again.")
    for kind in ("voxels", "shared"):
        prefix = f"{kind}:"
        found[kind] = {k.removeprefix(prefix): v for k, v in arrays.items() if k.startswith(prefix)}
    return found


def _described(value: Any) -> Any:
    if isinstance(value, (str, int, float, bool, type(None))):
        return value
    if isinstance(value, np.ndarray):
        return hash_bytes(value)
    if isinstance(value, dict):
        return {str(k): _described(v) for k, v in value.items()}
    return [_described(v) for v in value] if isinstance(value, (list, tuple)) else repr(value)
