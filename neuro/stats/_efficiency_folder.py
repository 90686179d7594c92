"""Finished fits of an efficiency curve on disk: one small array each, beside a note of what they belong to."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from neuro._files import fingerprint, hash_bytes, read_json, write_json, write_npy
from neuro.errors import CorruptFile, StaleStore
from neuro.stats._fit import is_estimator
from neuro.stats._moments import to_numpy

MANIFEST = "efficiency.json"
# Parameters of estimators that say where and how to compute, not what.
HOW = ("device", "memory_limit", "n_jobs", "verbose")


class EfficiencyFolder:
    """A folder of scores (n_encoders, n_scores), one file per draw and size."""

    def __init__(self, path: Any, shape: tuple[int, int]):
        self.path, self.shape = Path(path), shape

    def open(
        self,
        models: Mapping[str, Any],
        data: tuple[Any, ...],
        groups: np.ndarray | None,
        sizes: np.ndarray,
        nested: bool,
        metric: str,
        seed: int,
        resampled: tuple[np.ndarray, np.ndarray] | None,
    ) -> None:
        """Write the manifest, or refuse a folder that holds scores of something else."""
        note = {
            "models": {name: describe(model) for name, model in models.items()},
            "data": [_content(x) for x in data],
            "groups": None if groups is None else hash_bytes(groups.astype(np.int64)),
            "sizes": sizes.tolist(),
            "nested": nested,
            "metric": metric,
            "seed": seed,
            "resampling": None if resampled is None else [hash_bytes(x) for x in resampled],
        }
        manifest = self.path / MANIFEST
        if manifest.exists():
            before = read_json(manifest)
            if fingerprint(before) != fingerprint(note):
                changed = [k for k in note if not isinstance(before, dict) or before.get(k) != note[k]]
                raise StaleStore(
                    f"{self.path} holds the scores of another run: {', '.join(changed)} differ. Choose another folder, "
                    "or delete this one."
                )
        elif self.path.exists() and (not self.path.is_dir() or any(self.path.iterdir())):
            raise StaleStore(f"{self.path} is there already and not a folder of scores. Choose another.")
        else:
            write_json(manifest, note)

    def remembered(self, one: Callable[[int, int], np.ndarray]) -> Callable[[int, int], np.ndarray]:
        """Return ``one`` such that finished fits are read and others written."""

        def read_or_fit(draw: int, size: int) -> np.ndarray:
            file = self.path / f"draw-{draw:05d}_size-{size:07d}.npy"
            if not file.exists():
                write_npy(file, one(draw, size))
            try:
                scores = np.load(file, allow_pickle=False)
            except (ValueError, EOFError, OSError) as error:
                raise CorruptFile(f"{file} cannot be read ({error}). Delete it, and it is computed again.") from None
            if scores.shape != self.shape:
                raise CorruptFile(f"{file} should hold {self.shape}, it holds {scores.shape}. Delete it.")
            return scores

        return read_or_fit


def describe(model: Any) -> str:
    """Return type and parameters of an estimator, or the name of a callable, the same in every process."""
    kind = model if not is_estimator(model) and hasattr(model, "__qualname__") else type(model)
    name = f"{kind.__module__}.{kind.__qualname__}"
    if not hasattr(model, "get_params"):
        return name
    parameters = sorted((k, v) for k, v in model.get_params(deep=True).items() if k.rsplit("__")[-1] not in HOW)
    return f"{name}({', '.join(f'{k}={_plain(v)}' for k, v in parameters)})"


def _plain(value: Any) -> str:
    if hasattr(value, "shape"):
        return hash_bytes(to_numpy(value))
    if callable(value) and hasattr(value, "__qualname__"):
        return value.__qualname__
    return re.sub(r" at 0x[0-9a-fA-F]+", "", repr(value))


def _content(x: Any) -> Any:
    if isinstance(x, Mapping):
        return {str(name): _content(part) for name, part in x.items()}
    return hash_bytes(np.ascontiguousarray(to_numpy(x)))
