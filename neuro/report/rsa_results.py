"""What the RSA of a study hands on: tidy tables and the RDMs they were computed from."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from neuro._files import atomic_path, read_json, write_json
from neuro.errors import CorruptFile
from neuro.rsa import RDMs

TABLES = ("models", "pairs", "layers", "structure", "identification", "grid", "matrix", "map", "conditions")


@dataclass(frozen=True, eq=False)
class RsaResults:
    """Results of the ``[rsa]`` section of a study. Every table has a column ``part``: the subjects it is about.

    Parameters
    ----------
    tables : dict of DataFrame
        ``models``: one row per region and model: score, sem, ci_low, ci_high, p_zero, q, ceilings. ``pairs``: tests of
        models against each other. ``layers``: score of every layer per region and transform. ``structure``: mean
        dissimilarities within and between what binary models tell apart. ``identification``: of regions across
        subjects; ``grid``: the same for all thresholds. ``matrix``: layers by regions. ``map``: regions and layers in
        the plane. ``conditions``: images in the plane, per region. Tables that do not apply are absent.
    rdms : dict of RDMs
        "brain <part>", "layers <part>", "model RDMs <part>".
    settings : dict
    """

    tables: Mapping[str, pd.DataFrame]
    rdms: Mapping[str, RDMs] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)

    def table(self, name: str, part: str | None = None) -> pd.DataFrame:
        """Return a table, of one part if named; empty if it does not apply."""
        found = self.tables.get(name, pd.DataFrame())
        return found if part is None or not len(found) else found.loc[found["part"] == part].reset_index(drop=True)

    @property
    def parts(self) -> list[str]:
        """Groups of subjects that were analysed together."""
        return list(self.settings["parts"])

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write plain files into ``folder``, which is replaced as a whole."""
        with atomic_path(folder, directory=True) as path:
            for name, table in self.tables.items():
                table.to_csv(path / f"{name}.tsv", sep="\t", index=False, na_rep="n/a", float_format="%.8g")
            for k, stack in enumerate(self.rdms.values()):
                stack.save(path / "rdms" / f"{k:03d}")
            write_json(path / "rsa.json", {"settings": self.settings, "rdms": list(self.rdms)})

    @classmethod
    def load(cls, folder: str | os.PathLike[str]) -> RsaResults:
        """Read what :meth:`save` wrote."""
        path = Path(folder)
        if not (path / "rsa.json").is_file():
            raise CorruptFile(f"{path} holds no results of an RSA (no rsa.json).")
        about = read_json(path / "rsa.json")
        text = {"roi": str, "model": str, "layer": str, "part": str, "name": str, "group": str}
        read = {"sep": "\t", "keep_default_na": False, "na_values": ["n/a"], "dtype": text}
        tables = {n: pd.read_csv(path / f"{n}.tsv", **read) for n in TABLES if (path / f"{n}.tsv").is_file()}
        rdms = {name: RDMs.load(path / "rdms" / f"{k:03d}") for k, name in enumerate(about["rdms"])}
        return cls(tables, rdms, about["settings"])
