"""What a study decoded: scores with their protocols, ranks in the gallery, regions, captions and pictures."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from neuro._files import atomic_path, read_json, write_json
from neuro.errors import CorruptFile
from neuro.report.results import plain

TABLES = ("table", "ranks", "regions", "captions")
_TEXT = ("subject", "decoder", "roi", "metric", "protocol", "direction", "caption", "true_caption", "output")


@dataclass(frozen=True, eq=False)
class Shown:
    """Pictures of one subject chosen by rank: the best, the middle and the worst of all test images.

    Parameters
    ----------
    ids : tuple (n,)
        Stimuli.
    groups : tuple of str (n,)
        "best", "median" or "worst".
    true : uint8 array (n, h, w, 3)
    decoded : dict of name -> uint8 array (n, h, w, 3)
        As "reconstruction", "low level".
    captions : tuple of str (n,)
        Decoded from the same responses; empty where no captioner ran.
    true_captions : tuple of str (n,)
    chosen_by : str
        The score by which images were ranked.
    """

    ids: tuple[Any, ...]
    groups: tuple[str, ...]
    true: np.ndarray
    decoded: Mapping[str, np.ndarray]
    captions: tuple[str, ...] = ()
    true_captions: tuple[str, ...] = ()
    chosen_by: str = ""


@dataclass(frozen=True, eq=False)
class DecoderResults:
    """Decoding of the test images of each subject.

    Parameters
    ----------
    table : DataFrame
        ``subject, decoder, metric, value, ci_low, ci_high, chance, n, protocol, higher_is_better, oracle, control``;
        ``control`` marks the decoder that was fitted to shuffled pairs.
    ranks : DataFrame
        ``subject, decoder, direction, stimulus, rank, n_gallery, control``.
    regions : DataFrame
        ``subject, decoder, roi, n_voxels, output, metric, value, ci_low, ci_high, chance``: decoding from one region.
    captions : DataFrame
        ``subject, decoder, stimulus, caption, true_caption``.
    shown : dict of (subject, decoder) -> Shown
    about : dict
        ``recipe``, ``settings``, ``target``, ``generator``, ``captioner``, ``protocol``, ``rescaling``, ``texts``.
    """

    table: pd.DataFrame
    ranks: pd.DataFrame
    regions: pd.DataFrame
    captions: pd.DataFrame
    shown: Mapping[tuple[str, str], Shown] = field(default_factory=dict)
    about: Mapping[str, Any] = field(default_factory=dict)

    @property
    def subjects(self) -> list[str]:
        """Subjects, in their order."""
        return list(dict.fromkeys(self.table["subject"]))

    @property
    def decoders(self) -> list[str]:
        """Decoders that are no control, in their order."""
        return list(dict.fromkeys(self.table.loc[~self.table["control"].astype(bool), "decoder"]))

    def of(self, metric: str, decoder: str) -> pd.DataFrame:
        """Return the rows of one metric of one decoder, a row per subject."""
        return self.table.loc[(self.table["metric"] == metric) & (self.table["decoder"] == decoder)]

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write plain files (tsv, npy, json) into ``folder``, which is replaced as a whole."""
        with atomic_path(folder, directory=True) as path:
            for name in TABLES:
                table = getattr(self, name)
                if len(table):
                    table.to_csv(path / f"{name}.tsv", sep="\t", index=False, na_rep="n/a", float_format="%.8g")
            shown = []
            for k, (key, found) in enumerate(self.shown.items()):
                np.save(path / f"shown-{k:03d}-true.npy", found.true, allow_pickle=False)
                for j, image in enumerate(found.decoded.values()):
                    np.save(path / f"shown-{k:03d}-{j:03d}.npy", image, allow_pickle=False)
                entry = {
                    "key": list(key),
                    "ids": plain(list(found.ids)),
                    "groups": list(found.groups),
                    "decoded": list(found.decoded),
                    "captions": list(found.captions),
                    "true_captions": list(found.true_captions),
                    "chosen_by": found.chosen_by,
                }
                shown.append(entry)
            write_json(path / "decoders.json", {"about": plain(dict(self.about)), "shown": shown})

    @classmethod
    def load(cls, folder: str | os.PathLike[str]) -> DecoderResults:
        """Read what :meth:`save` wrote."""
        path = Path(folder)
        if not (path / "decoders.json").is_file():
            raise CorruptFile(f"{path} holds no results of decoders (no decoders.json).")
        about = read_json(path / "decoders.json")
        read = {"sep": "\t", "keep_default_na": False, "na_values": ["n/a"], "dtype": dict.fromkeys(_TEXT, str)}
        files = {name: path / f"{name}.tsv" for name in TABLES}
        tables = {name: pd.read_csv(f, **read) if f.is_file() else pd.DataFrame() for name, f in files.items()}
        shown = {}
        for k, entry in enumerate(about["shown"]):
            decoded = {name: _load(path / f"shown-{k:03d}-{j:03d}.npy") for j, name in enumerate(entry["decoded"])}
            shown[tuple(entry["key"])] = Shown(
                tuple(entry["ids"]),
                tuple(entry["groups"]),
                _load(path / f"shown-{k:03d}-true.npy"),
                decoded,
                tuple(entry["captions"]),
                tuple(entry["true_captions"]),
                entry["chosen_by"],
            )
        return cls(**tables, shown=shown, about=about["about"])


def choose_by_rank(scores: np.ndarray, each: int = 5) -> tuple[np.ndarray, list[str]]:
    """Return rows of the best, the middle and the worst items, and their group names; never chosen by hand.

    Parameters
    ----------
    scores : array (n,)
        Higher is better; NaN counts as worst. Ties go by position.
    each : int
        Items per group; fewer if there are not enough for three groups without overlap.

    Examples
    --------
    >>> rows, groups = choose_by_rank(np.array([0.1, 0.9, 0.5, 0.7, 0.3]), each=1)
    >>> rows.tolist(), groups
    ([1, 2, 0], ['best', 'median', 'worst'])
    """
    order = np.argsort(-np.where(np.isfinite(scores), scores, -np.inf), kind="stable")
    n = len(order)
    if n < 3:
        return order, ["best", "worst"][:n]
    each = max(1, min(each, n // 3))
    middle = (n - each) // 2
    rows = np.concatenate([order[:each], order[middle : middle + each], order[n - each :]])
    return rows, [name for name in ("best", "median", "worst") for _ in range(each)]


def _load(path: Path) -> np.ndarray:
    return np.load(path, allow_pickle=False)
