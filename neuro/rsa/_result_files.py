"""A result as a folder of JSON and tables; never a pickle."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from neuro._files import atomic_path
from neuro.errors import CorruptFile
from neuro.rsa.ceiling import Ceiling

SETTINGS = ("method", "resample", "cv", "n_subjects", "n_stimuli", "nonnegative", "seed")


def save(result: Any, path: str | Path) -> None:
    """Write ``result.json``, ``scores.tsv`` and ``samples.tsv``."""
    c = result.ceiling
    with atomic_path(path, directory=True) as folder:
        about = {key: getattr(result, key) for key in SETTINGS} | {
            "cv": dict(result.cv) if result.cv else None,
            "models": list(result.models),
            "scores": [float(x) for x in result.scores],
            "ceiling": {"lower": c.lower, "upper": c.upper, "reason": c.reason},
        }
        (folder / "result.json").write_text(json.dumps(about, indent=2, default=str) + "\n", encoding="utf-8")
        columns = [f"model {k}" for k in range(len(result.models))] + ["lower ceiling", "upper ceiling"]
        table = np.vstack([result.scores_by_subject, c.lower_by_subject, c.upper_by_subject]).T
        frame = pd.DataFrame(table, columns=columns)
        frame.insert(0, "subject", [str(s) for s in c.subjects])
        _write(frame, folder / "scores.tsv")
        parts = [pd.DataFrame(columns=["resample", "draw", "repeat", *columns])]
        for name, x in result.samples.items():
            part = pd.DataFrame(x.reshape(-1, x.shape[-1]), columns=columns)
            part.insert(0, "repeat", np.tile(np.arange(x.shape[1]), len(x)))
            part.insert(0, "draw", np.repeat(np.arange(len(x)), x.shape[1]))
            part.insert(0, "resample", name)
            parts.append(part)
        _write(pd.concat(parts[1:], ignore_index=True) if len(parts) > 1 else parts[0], folder / "samples.tsv")


def load(path: str | Path) -> dict[str, Any]:
    """Return the arguments of a ``Result``."""
    folder = Path(path)
    if not (folder / "result.json").is_file():
        raise FileNotFoundError(f"no result at {folder}: expected a folder written by Result.save.")
    try:
        about = json.loads((folder / "result.json").read_text(encoding="utf-8"))
        scores, samples = (_read(folder / f) for f in ("scores.tsv", "samples.tsv"))
        m = len(about["models"])
        table = scores.drop(columns="subject").to_numpy(float).T
        bounds = about["ceiling"]
        ceiling = Ceiling(
            lower=float(bounds["lower"]),
            upper=float(bounds["upper"]),
            lower_by_subject=table[m],
            upper_by_subject=table[m + 1],
            subjects=tuple(scores["subject"]),
            method=about["method"],
            reason=bounds["reason"],
        )
        stacked = {}
        for name, part in samples.groupby("resample", sort=False):
            repeats = int(part["repeat"].max()) + 1
            values = part.drop(columns=["resample", "draw", "repeat"]).to_numpy(float)
            stacked[str(name)] = values.reshape(-1, repeats, m + 2)
        return {
            "models": tuple(about["models"]),
            "scores": np.array(about["scores"], float),
            "scores_by_subject": table[:m],
            "ceiling": ceiling,
            "samples": stacked,
            **{key: about[key] for key in SETTINGS},
        }
    except (ValueError, KeyError, OSError, IndexError) as error:
        raise CorruptFile(f"{folder} does not hold a result written by Result.save: {error}") from error


def _write(frame: pd.DataFrame, path: Path) -> None:
    frame.to_csv(path, sep="\t", index=False, na_rep="n/a", float_format=lambda x: repr(float(x)))


def _read(path: Path) -> pd.DataFrame:
    """Read a table with every number exactly as written, whichever parser this pandas prefers."""
    text = pd.read_csv(path, sep="\t", dtype=str, keep_default_na=False, encoding="utf-8")
    names = [c for c in ("subject", "resample") if c in text]
    return text.assign(**{c: text[c].replace("n/a", "nan").astype(float) for c in text if c not in names})
