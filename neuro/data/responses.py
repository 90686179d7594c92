"""Responses: trials by voxels (by times), with a table of trials and a table of voxels.

The order of work that keeps reliability estimates right: scale, z-score within session, concatenate, then average
repeats. Every step is lazy, returns a new object and is written into ``provenance``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from neuro._check import as_rng, check_option, require
from neuro._files import atomic_path, fingerprint, read_json, write_json
from neuro.data import read
from neuro.data.reliability import ncsnr_from_repeats, noise_ceiling
from neuro.data.source import ArraySource, Averaged, SelectedTrials, SelectedVoxels, Source, ZScored
from neuro.data.voxels import Voxels
from neuro.errors import EmptySelection, NoRepeats, ShapeMismatch, SplitLeakage, UnknownStimulus, nearest

if TYPE_CHECKING:
    import torch
    import xarray

# One block of float64 work stays near this size, whatever the number of trials.
BLOCK_BYTES = 128 * 2**20

NamedSplits = Mapping[str, Callable[[], tuple[Any, Any]]]


class Responses:
    """Immutable, lazy responses of one subject.

    Parameters
    ----------
    data : array (n_trials, n_voxels[, n_times]) or Source
        A memory map stays on disk; a :class:`~neuro.data.Source` is read by voxel blocks.
    trials : DataFrame with n_trials rows, optional
        ``stimulus``, ``session``, ``run``, ``repeat``, ``onset`` (seconds)... whichever are known.
    voxels : Voxels, optional
    units : str
        "psc" (percent signal change), "z", "spikes"...
    times : array (n_times,), optional
        Seconds from stimulus onset, for responses with a time axis.
    subject : optional
        Written into the trials table if that has no such column.
    provenance : sequence of dict
        What was done before.
    splits : dict name -> function returning (train ids or None, test ids), optional
        Splits that a data set defines by name.

    Examples
    --------
    >>> Y = np.arange(12.0).reshape(6, 2)
    >>> r = Responses(Y, pd.DataFrame({"stimulus": [7, 3, 7, 3, 7, 3]}))
    >>> r.average_repeats().to_numpy()
    array([[6., 7.],
           [4., 5.]], dtype=float32)
    """

    def __init__(
        self,
        data: Any,
        trials: pd.DataFrame | None = None,
        voxels: Voxels | None = None,
        units: str = "",
        times: Any = None,
        subject: Any = None,
        provenance: tuple[dict[str, Any], ...] = (),
        splits: NamedSplits | None = None,
        _unaveraged: Responses | None = None,
    ):
        source = data if _is_source(data) else ArraySource(_as_numbers(data))
        self._source: Source = source
        if len(source.shape) not in (2, 3):
            raise ShapeMismatch(f"responses are (n_trials, n_voxels[, n_times]), got shape {tuple(source.shape)}.")
        n, v = source.shape[:2]
        table = pd.DataFrame({"trial": np.arange(n)}) if trials is None else pd.DataFrame(trials).reset_index(drop=True)
        if len(table) != n:
            hint = " The array looks transposed: pass its transpose." if len(table) == v else ""
            raise ShapeMismatch(f"the trials table has {len(table):,} rows, the data {n:,} trials.{hint}")
        if "stimulus" in table and bool(table["stimulus"].isna().any()):
            raise ShapeMismatch(
                f"{int(table['stimulus'].isna().sum()):,} trials have no stimulus: select them out first."
            )
        if subject is not None and "subject" not in table:
            table = table.assign(subject=subject)
        self._trials = table.copy()
        self.voxels = Voxels(v) if voxels is None else voxels
        if len(self.voxels) != v:
            hint = " The array looks transposed: pass its transpose." if len(self.voxels) == n else ""
            raise ShapeMismatch(f"the data have {v:,} voxels, the voxel table {len(self.voxels):,} rows.{hint}")
        self.times = None if times is None else np.array(times, dtype=float)
        if (self.times is not None) != (len(source.shape) == 3):
            raise ShapeMismatch("responses with a third axis need `times` (seconds), and only those.")
        if self.times is not None and len(self.times) != source.shape[2]:
            raise ShapeMismatch(f"{len(self.times)} times for a time axis of {source.shape[2]}.")
        self.units = units
        self.provenance = tuple(dict(step) for step in provenance)
        self.splits: NamedSplits = dict(splits or {})
        self._unaveraged = _unaveraged

    from_file = classmethod(read.responses_from_file)
    from_nifti = classmethod(read.responses_from_nifti)
    from_surface = classmethod(read.responses_from_surface)

    # Looking

    @property
    def shape(self) -> tuple[int, ...]:
        """(n_trials, n_voxels[, n_times])."""
        return tuple(int(s) for s in self._source.shape)

    @property
    def n_trials(self) -> int:
        """Number of rows."""
        return self.shape[0]

    @property
    def n_voxels(self) -> int:
        """Number of columns."""
        return self.shape[1]

    @property
    def trials(self) -> pd.DataFrame:
        """A copy of the trials table."""
        return self._trials.copy()

    @property
    def stimulus(self) -> np.ndarray:
        """The stimulus id of every trial, (n_trials,)."""
        if "stimulus" not in self._trials:
            raise UnknownStimulus("these responses name no stimuli: give a trials table with a column 'stimulus'.")
        ids = self._trials["stimulus"].to_numpy()
        return ids.astype(str) if ids.dtype.kind == "O" else ids

    def __len__(self) -> int:
        return self.n_trials

    def __repr__(self) -> str:
        steps = " > ".join(step["step"] for step in self.provenance)
        return f"Responses{self.shape} {self.units}{f' [{steps}]' if steps else ''}"

    # Selecting

    def select(self, voxels: Any = None, trials: Any = None) -> Responses:
        """Return some voxels and trials.

        Parameters
        ----------
        voxels : region name(s), boolean mask or indices
            See :meth:`Voxels.roi`.
        trials : boolean mask, indices, or a pandas query string such as ``"session <= 3"``
        """
        out = self
        if voxels is not None:
            index = self.voxels.index(voxels)
            what = voxels if isinstance(voxels, (str, list)) else f"{len(index)} voxels"
            out = out._with(
                source=SelectedVoxels(out._source, index),
                voxels=out.voxels.select(index),
                step={"step": "select voxels", "voxels": what, "n_voxels": len(index)},
                unaveraged=None if out._unaveraged is None else out._unaveraged.select(voxels=index),
            )
        if trials is not None:
            rows = out._trial_rows(trials)
            kept = out._unaveraged
            if kept is not None:
                kept = kept.select(trials=np.isin(kept.stimulus, out.stimulus[rows]))
            out = out._with(
                source=SelectedTrials(out._source, rows),
                trials=out._trials.iloc[rows],
                step={"step": "select trials", "n_trials": len(rows)},
                unaveraged=kept,
            )
        return out

    # Scaling and averaging

    def zscore(self, by: str | None = "session", fit: Any = "all", ddof: int = 1) -> Responses:
        """Give every voxel mean 0 and s.d. 1 within each session (or run, or altogether).

        Parameters
        ----------
        by : column of the trials table, or None for all trials together
            "session" is NSD's convention and what its stored ncsnr means; "run" means each run of each session.
        fit : "all" or selection of training trials
            Whose mean and s.d. to use; the default takes all trials, test trials included, as NSD does.
        ddof : 0 or 1

        Notes
        -----
        A voxel with s.d. 0 becomes NaN. Refused after averaging: z-score single trials, then average.
        """
        if self._unaveraged is not None:
            raise ValueError("z-score before average_repeats, not after: sessions differ in gain and baseline.")
        if by is not None and by not in self._trials:
            raise ValueError(f"no column {by!r} in the trials table{nearest(by, self._trials.columns)}")
        check_option("ddof", ddof, [0, 1])
        codes = np.zeros(self.n_trials, int)
        if by is not None:
            columns = ["session", "run"] if by == "run" and "session" in self._trials else [by]
            codes = self._trials.groupby(columns, sort=False).ngroup().to_numpy()
        mask = np.ones(self.n_trials, bool)
        if not (isinstance(fit, str) and fit == "all"):
            mask = np.zeros(self.n_trials, bool)
            mask[self._trial_rows(fit)] = True
        counts = np.bincount(codes, weights=mask)
        if (counts < 2).any():
            raise EmptySelection(
                f"{int((counts < 2).sum())} groups of {by!r} have fewer than 2 trials to z-score with."
            )
        step = {"step": f"zscore by {by}", "ddof": ddof, "fit": "all" if mask.all() else f"{int(mask.sum())} trials"}
        return self._with(source=ZScored(self._source, codes, mask, ddof), units="z", step=step)

    def average_repeats(self, min_repeats: int = 1) -> Responses:
        """Average the trials of each stimulus; rows in ascending stimulus order, counts in ``trials.n_repeats``.

        NaN trials of a voxel are left out of its mean. Stimuli with fewer than ``min_repeats`` trials are dropped.
        """
        if self._unaveraged is not None:
            return self
        stimulus = self.stimulus
        order = np.argsort(stimulus, kind="stable")
        _, first, counts = np.unique(stimulus[order], return_index=True, return_counts=True)
        keep = counts >= min_repeats
        if not keep.any():
            raise NoRepeats(f"no stimulus has {min_repeats} trials; the most is {counts.max()}.")
        if not keep.all():
            kept = self.select(trials=np.isin(stimulus, stimulus[order][first[keep]]))
            return kept.average_repeats()
        # Columns that differ between the trials of a stimulus (session, run, repeat...) describe no average.
        grouped = self._trials.groupby("stimulus", sort=True)
        same = [c for c in self._trials if c != "stimulus" and bool((grouped[c].nunique(dropna=False) == 1).all())]
        table = self._trials.iloc[order[first]][["stimulus", *same]].reset_index(drop=True)
        table = table.drop(columns=[c for c in ("trial", "repeat") if c in table]).assign(n_repeats=counts)
        step = {"step": "average repeats", "n_stimuli": len(counts), "n_repeats": _counts(counts)}
        return self._with(source=Averaged(self._source, order, first), trials=table, step=step, unaveraged=self)

    # Reliability

    def ncsnr(self) -> np.ndarray:
        """Return signal s.d. over noise s.d. of single trials, (n_voxels,), from the repeats here.

        After :meth:`average_repeats` the trials that went into the averages are used.
        """
        single = self._unaveraged or self
        if single.times is not None:
            raise ShapeMismatch("ncsnr is defined without a time axis: select one time first.")
        stimulus = pd.factorize(single.stimulus)[0]
        if np.bincount(stimulus).max() < 2:
            raise NoRepeats("every stimulus was shown once, so noise cannot be told from signal.")
        zscored = single.units == "z"
        out = np.empty(self.n_voxels)
        for columns, block in single.iter_blocks():
            out[columns] = ncsnr_from_repeats(block, stimulus, zscored=zscored)
        return out

    def noise_ceiling(self, n: int | None = None, ncsnr: np.ndarray | None = None) -> np.ndarray:
        """Return the share of variance a perfect model explains, (n_voxels,), 0 to 1.

        Parameters
        ----------
        n : int, optional
            Trials averaged into each response; by default the counts in ``trials.n_repeats``, else 1.
        ncsnr : array (n_voxels,), optional
            By default the voxel table's, else estimated from the repeats here.
        """
        if ncsnr is None:
            table = self.voxels.table
            ncsnr = table["ncsnr"].to_numpy(float) if "ncsnr" in table else self.ncsnr()
        counts: Any = n
        if n is None:
            counts = self._trials["n_repeats"].to_numpy() if "n_repeats" in self._trials else 1
        return noise_ceiling(ncsnr, counts)

    # Splitting

    def split(
        self, name: Any = None, *, test: Any = None, train: Any = None, by: str = "stimulus", seed: int = 0
    ) -> tuple[Responses, Responses]:
        """Return (train, test), never with one stimulus on both sides.

        Parameters
        ----------
        name : str or dict or boolean mask, optional
            A split that the data set names, or a boolean column of the trials table whose True rows are the test set
            ("shared1000"); a dict with "test" (and "train") ids; or a mask over trials that is True for test.
        test : float or ids, optional
            A share of the stimuli drawn with ``seed``, or the ids to test on.
        train : ids, optional
            By default all that are not tested.
        by : str
            The column that must not straddle the split. Name another than "stimulus" where two ids are one picture.
        seed : int

        Raises
        ------
        SplitLeakage
            If what is asked for puts one stimulus on both sides.
        """
        if by not in self._trials:
            raise ValueError(f"no column {by!r} in the trials table{nearest(by, self._trials.columns)}")
        unit = self._trials[by].to_numpy()
        label = name if isinstance(name, str) else "ids"
        if isinstance(name, str):
            if name in self.splits:
                train, test = self.splits[name]()
            elif name in self._trials and bool(self._trials[name].isin([True, False]).all()):
                name = self._trials[name].to_numpy(bool)
            else:
                flags = [c for c in self._trials if self._trials[c].dtype == bool]
                known = sorted({*self.splits, *flags})
                raise ValueError(f"no split {name!r}{nearest(name, known)} Splits here: {known or 'none by name'}.")
        elif isinstance(name, Mapping):
            test, train = name.get("test"), name.get("train", train)
        if isinstance(name, (np.ndarray, pd.Series)):
            in_test = np.asarray(name)
            if in_test.dtype != bool or in_test.shape != (self.n_trials,):
                raise ShapeMismatch(f"a split mask is boolean over {self.n_trials:,} trials.")
            in_train = ~in_test
        elif isinstance(test, float):
            label = f"random {test:g}, seed {seed}"
            units = np.unique(unit)
            k = round(test * len(units))
            if not 0 < k < len(units):
                raise EmptySelection(f"test={test} of {len(units)} stimuli leaves an empty side.")
            in_test = np.isin(unit, as_rng(seed).permutation(units)[:k])
            in_train = ~in_test
        elif test is not None:
            in_test = np.isin(self.stimulus, np.asarray(test))
            in_train = ~in_test if train is None else np.isin(self.stimulus, np.asarray(train))
        else:
            raise ValueError("say how to split: a name, a mask, test=share or test=ids.")
        both = np.intersect1d(unit[in_train], unit[in_test])
        if len(both):
            raise SplitLeakage(
                f"{len(both):,} of {len(np.unique(unit)):,} values of {by!r} would stand in both train and test, "
                f"first {both[:3].tolist()}. Split by stimulus, not by trial or session."
            )
        for side, mask in (("training", in_train), ("test", in_test)):
            if not mask.any():
                raise EmptySelection(f"split {label!r} leaves no {side} trial among the {self.n_trials:,} here.")
        sides = []
        for side, mask in (("train", in_train), ("test", in_test)):
            ids = np.unique(unit[mask])
            part = self.select(trials=mask)
            step = {"step": f"split {label}", "side": side, "n_stimuli": len(ids), "ids": fingerprint(ids.tolist())}
            sides.append(part._with(step=step))
        return sides[0], sides[1]

    # Values

    def iter_blocks(self, n_voxels: int | None = None) -> Iterator[tuple[slice, np.ndarray]]:
        """Iterate over (voxel slice, all trials of these voxels); by default blocks of about 128 MB of work."""
        if n_voxels is None:
            per_voxel = 8 * self.n_trials * (self.shape[2] if self.times is not None else 1)
            if self._unaveraged is not None:
                per_voxel *= max(1, self._unaveraged.n_trials // self.n_trials)
            n_voxels = max(1, BLOCK_BYTES // per_voxel)
        for start in range(0, self.n_voxels, n_voxels):
            columns = slice(start, min(start + n_voxels, self.n_voxels))
            yield columns, self._source.read(columns)

    def to_numpy(self, dtype: Any = np.float32) -> np.ndarray:
        """Read everything, (n_trials, n_voxels[, n_times])."""
        out = np.empty(self.shape, dtype)
        for columns, block in self.iter_blocks():
            out[:, columns] = block
        return out

    def to_torch(self, device: Any = None, dtype: Any = np.float32) -> torch.Tensor:
        """Read everything into a torch tensor."""
        import torch

        return torch.from_numpy(self.to_numpy(dtype)).to(device)

    def to_xarray(self) -> xarray.DataArray:
        """Read everything into an xarray.DataArray with trial and voxel coordinates."""
        xr = require("xarray", "to_xarray", "xarray")
        dims = ("trial", "voxel", "time")[: len(self.shape)]
        coords = {c: ("trial", self._trials[c].to_numpy()) for c in self._trials if c != "trial"}
        coords |= {c: ("voxel", x.to_numpy()) for c, x in self.voxels.table.items() if c not in coords}
        if self.times is not None:
            coords["time"] = ("time", self.times)
        return xr.DataArray(self.to_numpy(), dims=dims, coords=coords, attrs={"units": self.units})

    def to_memmap(self, path: str | Path, dtype: Any = np.float32) -> Responses:
        """Write everything once to a ``.npy`` and return the same responses read from there."""
        with atomic_path(path) as temporary:
            out = np.lib.format.open_memmap(temporary, mode="w+", dtype=dtype, shape=self.shape, fortran_order=True)
            for columns, block in self.iter_blocks():
                out[:, columns] = block
            out.flush()
            del out
        array = np.load(path, mmap_mode="r", allow_pickle=False)
        return self._with(source=ArraySource(array), unaveraged=self._unaveraged, step=None)

    def save(self, folder: str | Path) -> None:
        """Write data (npy), trials (tsv), voxels and provenance (json) into ``folder``, whole or not at all."""
        with atomic_path(folder, directory=True) as temporary:
            out = np.lib.format.open_memmap(temporary / "data.npy", mode="w+", dtype=np.float32, shape=self.shape)
            for columns, block in self.iter_blocks():
                out[:, columns] = block
            out.flush()
            del out
            self._trials.to_csv(temporary / "trials.tsv", sep="\t", index=False, na_rep="n/a")
            self.voxels.save(temporary / "voxels")
            text = [c for c in self._trials if not pd.api.types.is_numeric_dtype(self._trials[c].dtype)]
            meta = {"units": self.units, "times": self.times, "provenance": self.provenance, "text_columns": text}
            write_json(temporary / "responses.json", meta)

    @classmethod
    def load(cls, folder: str | Path) -> Responses:
        """Read what :meth:`save` wrote; the data stay on disk."""
        folder = Path(folder)
        if not (folder / "responses.json").is_file():
            raise FileNotFoundError(f"{folder} holds no saved responses (no responses.json).")
        meta = read_json(folder / "responses.json")
        kinds = {c: str for c in meta["text_columns"]}
        trials = pd.read_csv(folder / "trials.tsv", sep="\t", dtype=kinds, keep_default_na=False, na_values=["n/a"])
        data = np.load(folder / "data.npy", mmap_mode="r", allow_pickle=False)
        voxels = Voxels.load(folder / "voxels")
        return cls(data, trials, voxels, meta["units"], meta["times"], provenance=tuple(meta["provenance"]))

    def fingerprint(self) -> str:
        """Return a fingerprint of the values, trials and voxels; reads everything once."""
        parts = [np.ascontiguousarray(block) for _, block in self.iter_blocks()]
        return fingerprint({"data": parts, "trials": self._trials.astype(str).to_dict("list"), "units": self.units})

    def _trial_rows(self, trials: Any) -> np.ndarray:
        if isinstance(trials, str):
            rows = np.flatnonzero(self._trials.eval(trials).to_numpy(bool))
        else:
            array = np.asarray(trials)
            if array.dtype == bool:
                if array.shape != (self.n_trials,):
                    raise ShapeMismatch(f"a trial mask has {self.n_trials:,} entries, got shape {array.shape}.")
                rows = np.flatnonzero(array)
            elif array.size and array.dtype.kind not in "iu":
                raise ShapeMismatch(f"select trials by mask, indices or query string, got dtype {array.dtype}.")
            else:
                rows = array.reshape(-1).astype(np.int64)
                if rows.size and (rows.min() < -self.n_trials or rows.max() >= self.n_trials):
                    raise ShapeMismatch(f"trial index {rows.max()} is outside the {self.n_trials:,} trials here.")
                rows = rows % self.n_trials
        if not rows.size:
            raise EmptySelection("the selection holds no trial.")
        return rows

    def _with(
        self,
        step: dict[str, Any] | None = None,
        source: Source | None = None,
        trials: pd.DataFrame | None = None,
        voxels: Voxels | None = None,
        units: str | None = None,
        unaveraged: Responses | None = None,
    ) -> Responses:
        same_rows = source is None
        return Responses(
            self._source if source is None else source,
            self._trials if trials is None else trials,
            self.voxels if voxels is None else voxels,
            self.units if units is None else units,
            self.times,
            provenance=self.provenance if step is None else (*self.provenance, step),
            splits=self.splits,
            _unaveraged=self._unaveraged if same_rows else unaveraged,
        )


def _is_source(data: Any) -> bool:
    return not isinstance(data, np.ndarray) and isinstance(data, Source)


def _as_numbers(data: Any) -> np.ndarray:
    if hasattr(data, "detach"):
        data = data.detach().cpu().numpy()
    array = data if isinstance(data, np.ndarray) else np.asarray(data)
    if array.dtype.kind not in "fiu":
        raise ShapeMismatch(f"responses must be numbers, got dtype {array.dtype}.")
    if not isinstance(array, np.memmap):
        array = array.copy()
        array.flags.writeable = False
    return array


def _counts(counts: np.ndarray) -> dict[str, int]:
    values, n = np.unique(counts, return_counts=True)
    return {str(v): int(k) for v, k in zip(values, n, strict=True)}
