"""What a study found by fitting several encoders to the same images: tables, values per voxel, and routing maps."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from neuro._files import atomic_path, read_json, write_json
from neuro.errors import CorruptFile
from neuro.report.results import plain

TABLES = ("table", "comparisons", "unique", "efficiency")
VALUES = ("scores", "bands", "fields")
_TEXT = ("subject", "roi", "model", "model_a", "model_b", "layer", "metric", "band", "split")


@dataclass(frozen=True, eq=False)
class Routing:
    """Where the regions of an attention encoder looked in some test images.

    Parameters
    ----------
    queries : tuple of str
        Regions.
    ids : tuple
        Of the images.
    images : array (n_images, height, width, 3), uint8
    maps : array (n_images, n_queries, h, w)
        Each sums to one.
    """

    queries: tuple[str, ...]
    ids: tuple[Any, ...]
    images: np.ndarray
    maps: np.ndarray


@dataclass(frozen=True, eq=False)
class EncoderResults:
    """Several encoders on the same folds of the same images.

    Parameters
    ----------
    table : DataFrame
        As the table of :class:`neuro.report.StudyResults`; ``model`` is the encoder, ``layer`` what it read.
    comparisons : DataFrame
        ``subject, roi, model_a, model_b, metric, score_a, score_b, difference, ci_low, ci_high, p, n_images, q``: every
        pair of encoders, paired over images; q over the regions and pairs of a subject.
    unique : DataFrame
        ``subject, model, roi, band, unique, ci_low, ci_high, p, r2, q``: what each feature space adds to the others.
    efficiency : DataFrame
        ``subject, model, roi, n_images, score, ci_low, ci_high, n_draws``.
    scores : dict (subject, encoder) -> array (n_voxels,)
        Pearson r.
    bands : dict (subject, encoder, band) -> array (n_voxels,)
        Unique variance.
    fields : dict (subject, encoder) -> array (3, n_voxels)
        x, y, size of receptive fields, degrees.
    routing : dict (subject, encoder) -> Routing
    encoders : list of dict
        ``name, kind, reads, text, bands, options``, in the order of the study file.
    """

    table: pd.DataFrame
    comparisons: pd.DataFrame
    unique: pd.DataFrame
    efficiency: pd.DataFrame
    scores: Mapping[tuple[str, str], np.ndarray]
    bands: Mapping[tuple[str, str, str], np.ndarray] = field(default_factory=dict)
    fields: Mapping[tuple[str, str], np.ndarray] = field(default_factory=dict)
    routing: Mapping[tuple[str, str], Routing] = field(default_factory=dict)
    encoders: Sequence[Mapping[str, Any]] = ()

    @property
    def names(self) -> list[str]:
        """Encoders, in the order of the study file."""
        return [e["name"] for e in self.encoders]

    @property
    def subjects(self) -> list[str]:
        """Subjects, in their order."""
        return list(dict.fromkeys(s for s, _ in self.scores))

    def bands_of(self, encoder: str) -> list[str]:
        """Return the feature spaces of an encoder."""
        return list(dict.fromkeys(b for _, e, b in self.bands if e == encoder))

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write plain files (tsv, npy, json) into ``folder``, which is replaced as a whole."""
        with atomic_path(folder, directory=True) as path:
            for name in TABLES:
                table = getattr(self, name)
                if len(table):
                    table.to_csv(path / f"{name}.tsv", sep="\t", index=False, na_rep="n/a", float_format="%.8g")
            about: dict[str, Any] = {"encoders": plain(list(self.encoders))}
            for name in VALUES:
                values = getattr(self, name)
                about[name] = [list(key) for key in values]
                for k, array in enumerate(values.values()):
                    np.save(path / f"{name}-{k:03d}.npy", array, allow_pickle=False)
            about["routing"] = []
            for k, (key, found) in enumerate(self.routing.items()):
                np.save(path / f"routing-{k:03d}.npy", found.maps, allow_pickle=False)
                np.save(path / f"routing-{k:03d}-images.npy", found.images, allow_pickle=False)
                about["routing"].append({"key": list(key), "queries": found.queries, "ids": plain(list(found.ids))})
            write_json(path / "encoders.json", about)

    @classmethod
    def load(cls, folder: str | os.PathLike[str]) -> EncoderResults:
        """Read what :meth:`save` wrote."""
        path = Path(folder)
        if not (path / "encoders.json").is_file():
            raise CorruptFile(f"{path} holds no results of encoders (no encoders.json).")
        about = read_json(path / "encoders.json")
        read = {"sep": "\t", "keep_default_na": False, "na_values": ["n/a"], "dtype": dict.fromkeys(_TEXT, str)}
        files = {name: path / f"{name}.tsv" for name in TABLES}
        tables = {name: pd.read_csv(f, **read) if f.is_file() else pd.DataFrame() for name, f in files.items()}
        values: dict[str, Any] = {
            name: {tuple(key): _load(path / f"{name}-{k:03d}.npy") for k, key in enumerate(about[name])}
            for name in VALUES
        }
        routing = {
            tuple(entry["key"]): Routing(
                tuple(entry["queries"]),
                tuple(entry["ids"]),
                _load(path / f"routing-{k:03d}-images.npy"),
                _load(path / f"routing-{k:03d}.npy"),
            )
            for k, entry in enumerate(about["routing"])
        }
        return cls(**tables, **values, routing=routing, encoders=about["encoders"])


def _load(path: Path) -> np.ndarray:
    return np.load(path, allow_pickle=False)
