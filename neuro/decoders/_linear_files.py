"""Fitted ridge decoders as a folder: JSON, safetensors and npy, nothing that could carry code.

decoder.json             settings, subjects, targets, provenance
<i>.safetensors          one subject's decomposition, means, penalties and statistics
<i>-<j>.npy              coordinates (n_targets, k) or training targets (n, n_targets) of the j-th target
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from neuro._files import atomic_path, read_json, write_json, write_npy
from neuro.decoders._linear_targets import TargetTable
from neuro.decoders._ridge_factor import KernelFactor, RidgeFactor
from neuro.decoders._ridge_model import RidgeModel, RidgeTarget
from neuro.decoders.rescaling import TargetStatistics
from neuro.errors import CorruptFile

KIND = "neuro.ridge-decoder 1"
FACTORS = {"spectrum": RidgeFactor, "kernel": KernelFactor}
ROWS = 256  # training targets copied at once


def save_ridge(decoder: Any, folder: Path) -> Path:
    """Write a fitted ``RidgeDecoder``."""
    from safetensors.numpy import save_file

    with atomic_path(folder, directory=True) as temporary:
        subjects = []
        for i, (subject, model) in enumerate(decoder.models_.items()):
            factor = model.factor
            arrays = {name: np.ascontiguousarray(getattr(factor, name).numpy()) for name in factor.FIELDS}
            targets = []
            for j, (name, target) in enumerate(model.targets.items()):
                kept = "targets" if target.coordinates is None else "coordinates"
                targets.append({"name": name, "shape": list(target.shape), "kept": kept})
                for field in ("mean", "intercept", "alpha"):
                    arrays[f"{j}.{field}"] = np.array(getattr(target, field))
                for kind, statistics in _statistics(decoder, subject, name).items():
                    arrays[f"{j}.{kind}.mean"], arrays[f"{j}.{kind}.sd"] = (
                        np.array(statistics.mean),
                        np.array(statistics.sd),
                    )
                path = temporary / f"{i}-{j}.npy"
                if target.coordinates is None:
                    _copy(target.table, path)
                else:
                    write_npy(path, target.coordinates)
            save_file(arrays, temporary / f"{i}.safetensors")
            ids = decoder.train_ids_[subject]
            entry = {"subject": subject, "ids": None if ids is None else ids.tolist(), "n": model.n}
            kind = next(kind for kind, cls in FACTORS.items() if isinstance(factor, cls))
            subjects.append({**entry, "factor": kind, "form": factor.form, "targets": targets})
        settings = {key: _plain(value) for key, value in decoder.get_params(deep=False).items()}
        about = {"format": KIND, "settings": settings, "provenance": decoder.provenance_, "subjects": subjects}
        write_json(temporary / "decoder.json", about)
    return folder


def load_ridge(cls: type, folder: Path) -> Any:
    """Read what :func:`save_ridge` wrote."""
    import torch
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    about = read_json(folder / "decoder.json")
    if about.get("format") != KIND:
        raise CorruptFile(f"{folder} does not hold a ridge decoder of this version (format {about.get('format')!r}).")
    decoder = cls(**about["settings"])
    decoder.models_, decoder.train_ids_, decoder.provenance_ = {}, {}, about["provenance"]
    decoder.target_statistics_, decoder.held_out_statistics_ = {}, {}
    for i, entry in enumerate(about["subjects"]):
        subject, n = entry["subject"], entry["n"]
        try:
            arrays = load_file(folder / f"{i}.safetensors")
            made = FACTORS[entry["factor"]]
            own = {name: torch.from_numpy(arrays[name]) for name in made.FIELDS}
            factor = RidgeFactor(**own, form=entry["form"]) if made is RidgeFactor else KernelFactor(**own)
            targets, kinds = {}, {"target": {}, "held_out": {}}
            for j, described in enumerate(entry["targets"]):
                name, shape = described["name"], tuple(described["shape"])
                values = np.load(folder / f"{i}-{j}.npy", mmap_mode="r", allow_pickle=False)
                mean, intercept, alpha = (arrays[f"{j}.{field}"] for field in ("mean", "intercept", "alpha"))
                expected = (n, len(mean)) if described["kept"] == "targets" else (len(mean), factor.width)
                if values.shape != expected:
                    raise ValueError(f"{i}-{j}.npy is {values.shape}, expected {expected}")
                table = TargetTable(name, values, None, shape) if described["kept"] == "targets" else None
                targets[name] = RidgeTarget(shape, mean, intercept, alpha, None if table else values, table)
                for kind, found in kinds.items():
                    if f"{j}.{kind}.mean" in arrays:
                        found[name] = TargetStatistics(arrays[f"{j}.{kind}.mean"], arrays[f"{j}.{kind}.sd"], n, 1)
        except (OSError, ValueError, KeyError, EOFError, SafetensorError) as error:
            raise CorruptFile(f"the decoder in {folder} is incomplete: {error}. Save it again.") from error
        decoder.models_[subject] = RidgeModel(factor, targets, n)
        decoder.train_ids_[subject] = None if entry["ids"] is None else np.array(entry["ids"])
        decoder.target_statistics_[subject] = kinds["target"]
        if kinds["held_out"]:
            decoder.held_out_statistics_[subject] = kinds["held_out"]
    return decoder


def _statistics(decoder: Any, subject: Any, name: str) -> dict[str, TargetStatistics]:
    both = {"target": decoder.target_statistics_, "held_out": decoder.held_out_statistics_}
    return {kind: found[subject][name] for kind, found in both.items() if subject in found}


def _copy(table: TargetTable, path: Path) -> None:
    """Copy training targets a few rows at a time, in their stored precision."""
    out = np.lib.format.open_memmap(path, mode="w+", dtype=table.dtype, shape=(len(table), table.n_targets))
    for start in range(0, len(table), ROWS):
        rows = np.arange(start, min(start + ROWS, len(table)))
        out[rows] = table.subset(rows).read(slice(0, table.n_targets), table.dtype)
    out.flush()


def _plain(value: Any) -> Any:
    """Return a setting as JSON can hold it; objects (splitters, devices) by their text, which only informs."""
    if isinstance(value, Mapping):
        return {key: _plain(v) for key, v in value.items()}
    if isinstance(value, np.ndarray):
        return value.tolist()
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    return value.item() if isinstance(value, np.generic) else str(value)
