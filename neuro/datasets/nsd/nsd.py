"""The Natural Scenes Dataset as trials, pictures, voxels and responses."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from neuro._check import check_option
from neuro._files import fingerprint, hash_bytes
from neuro.data import Responses, Stimuli, Voxels
from neuro.datasets.nsd.betas import SessionReader, no_data, open_session
from neuro.datasets.nsd.cache import BetaSource, cache_folder
from neuro.datasets.nsd.captions import caption_index, look_up
from neuro.datasets.nsd.design import (
    Design,
    check_identities,
    join_behaviour,
    read_behaviour,
    read_design,
    read_pictures,
)
from neuro.datasets.nsd.layout import (
    PHANTOM_MARKER,
    PREPS,
    SPACES,
    Layout,
    Session,
    beta_names,
    check_space,
    how_to_get,
    prep_name,
    subject_name,
    subject_number,
)
from neuro.datasets.nsd.space import SubjectSpace
from neuro.datasets.nsd.splits import SPLITS, Split, completed_sessions, make_split
from neuro.datasets.nsd.stimuli import open_stimuli
from neuro.errors import (
    CorruptFile,
    DataNotDownloaded,
    EmptySelection,
    NeuroDataError,
    ShapeMismatch,
)

# A voxel outside the field of view is 0 (or NaN) in every trial of a session. Where no file says which voxels these
# are, the first few trials do: a voxel with data is never exactly 0 in so many.
PROBE_TRIALS = 6


class NSD:
    """The Natural Scenes Dataset under one folder, whole or partly downloaded, or a phantom written in its formats.

    Opening reads nothing large; betas are read when responses are. Pictures are numbered from 0 everywhere.

    Parameters
    ----------
    root : folder
        The one that holds ``nsddata``, ``nsddata_betas``, ``nsddata_stimuli``, laid out as in the public bucket.
    cache : "auto", folder or None
        Where betas that were read once are kept. "auto": ``$NEURO_CACHE``, else ``.neuro_cache`` inside ``root`` if
        that is writable, else the user's cache folder. None reads the data set's own files each time.

    References
    ----------
    Allen et al. (2022), Nature Neuroscience 25, 116-126.

    Examples
    --------
    >>> nsd = NSD("/data/nsd")                                                       # doctest: +SKIP
    >>> r = nsd.responses(subject=1, roi="nsdgeneral").zscore().average_repeats()    # doctest: +SKIP
    >>> train, test = r.split("shared1000")                                          # doctest: +SKIP
    """

    def __init__(self, root: str | Path, cache: str | Path | None = "auto"):
        self.layout = Layout.open(root)
        self.cache = cache_folder(self.layout.root, cache)
        self._spaces: dict[tuple[int, str], SubjectSpace] = {}
        self._without_data: dict[str, np.ndarray] = {}

    def __repr__(self) -> str:
        return f"NSD({str(self.layout.root)!r}, subjects {self.subjects}{', a phantom' if self.is_phantom else ''})"

    @property
    def root(self) -> Path:
        """The folder."""
        return self.layout.root

    @property
    def is_phantom(self) -> bool:
        """Whether this is a simulation written by neuro; results must say so."""
        return (self.root / PHANTOM_MARKER).is_file()

    # What there is

    @property
    def subjects(self) -> list[int]:
        """Numbers of the people of whom there is anything on disk."""
        return self.layout.subjects()

    @cached_property
    def design(self) -> Design:
        """The planned experiment."""
        return read_design(self.layout.need(self.layout.experiment / "nsd_expdesign.mat", "the design"))

    @cached_property
    def pictures(self) -> pd.DataFrame:
        """The picture table, one row per stimulus: cocoId, cropBox, shared1000..."""
        return read_pictures(self.layout.need(self.layout.experiment / "nsd_stim_info_merged.csv", "the picture table"))

    def sessions(
        self,
        subject: Any,
        space: str = "func1pt8mm",
        betas: str = "fithrf_GLMdenoise_RR",
        format: str | None = None,
    ) -> pd.DataFrame:
        """Return every planned session, whether its betas are there, and which file they are (or would be).

        Returns
        -------
        DataFrame : session, present, format, gigabytes, files
        """
        number, space, prep = self._subject(subject), check_space(space), prep_name(betas)
        found = self.layout.sessions(number, space, prep, format)
        planned = self._planned_sessions(found)
        suffix = format or ("mgh" if space == "fsaverage" else "hdf5")
        rows = []
        for n in range(1, planned + 1):
            session = found.get(n)
            names = [p.name for p in session.paths] if session else beta_names(space, n, suffix)
            size = sum(p.stat().st_size for p in session.paths) / 1e9 if session else np.nan
            rows.append((n, session is not None, session.format if session else "", size, " ".join(names)))
        return pd.DataFrame(rows, columns=["session", "present", "format", "gigabytes", "files"])

    def trials(
        self,
        subject: Any,
        sessions: int | Iterable[int] | str | None = None,
        space: str | None = None,
        betas: str | None = None,
    ) -> pd.DataFrame:
        """Return one row per trial that has data.

        Parameters
        ----------
        subject : int or str
        sessions : int, ints, "planned" or None
            None: those with betas on disk, in the given space and preparation or in any. "planned": all, data or not.
        space, betas : str, optional

        Returns
        -------
        DataFrame
            ``subject``; ``trial`` from 0 over the whole experiment; ``session``, ``run``, ``trial_in_run`` from 1 as
            in file names; ``stimulus`` from 0; ``repeat`` 0, 1, 2 as the person saw it; ``shared1000``; ``onset`` in
            seconds from the start of the run; and the columns of the behaviour file where that is there, in lower
            case (``isold``, ``iscorrect``, ``rt`` in ms...).
        """
        number = self._subject(subject)
        table = self.design.trials(number)
        if isinstance(sessions, str):
            check_option("sessions", sessions, ["planned"])
        else:
            found = self._found(number, space, betas)
            if not found:
                raise DataNotDownloaded(
                    f"no betas of subject {number} in {self.root}, so no trial has data. "
                    f"{how_to_get(f'nsddata_betas/ppdata/{subject_name(number)}/...')} "
                    "trials(subject, sessions='planned') lists what was planned."
                )
            wanted = self._wanted(sessions, found, f"subject {number}")
            table = table.loc[np.isin(table["session"], wanted)].reset_index(drop=True)
        path = self.layout.subject_data(number) / "behav/responses.tsv"
        return join_behaviour(table, read_behaviour(path), path) if path.is_file() else table

    # Pictures

    @cached_property
    def stimuli(self) -> Stimuli:
        """The pictures, ``stimuli[ids]`` uint8, with the picture table where that is there."""
        highest = None
        if (self.layout.experiment / "nsd_expdesign.mat").is_file():
            highest = int(self.design.images.max())
        table = self.pictures if (self.layout.experiment / "nsd_stim_info_merged.csv").is_file() else None
        return open_stimuli(self.layout, table, highest)

    def captions(self, ids: Any = None) -> list[Any]:
        """Return the COCO captions of pictures: a list for one id, a list of lists for several (or all)."""
        index = self._captions
        if np.ndim(ids) == 0 and ids is not None:
            return look_up(index, np.array([ids]))[0]
        return look_up(index, index.index.to_numpy() if ids is None else np.asarray(ids).reshape(-1))

    def captioned_stimuli(self, ids: Any = None) -> Stimuli:
        """Return pictures whose table has a column ``captions``; by default all that have captions."""
        if ids is None:
            ids = np.intersect1d(self.stimuli.ids, self._captions.index)
        chosen = self.stimuli.select(np.asarray(ids).reshape(-1))
        return chosen.with_table(chosen.table.assign(captions=self.captions(chosen.ids)))

    @cached_property
    def _captions(self) -> pd.Series:
        if "cocoId" not in self.pictures:
            raise CorruptFile("the picture table has no column cocoId, which captions are found by.")
        return caption_index(self.layout, self.pictures["cocoId"].to_numpy(np.int64), self.cache)

    # Splits

    def split(self, name: str, subject: Any) -> Split:
        """Return a named split: training and test pictures of one person (see :mod:`neuro.datasets.nsd.splits`)."""
        on_disk = {s: max(self._found(s, None, None), default=0) for s in self.subjects}
        return make_split(name, self.design, self._subject(subject), completed_sessions(self.design, on_disk))

    # Voxels

    def voxels(
        self,
        subject: Any,
        space: str = "func1pt8mm",
        betas: str = "fithrf_GLMdenoise_RR",
        roi: Any = None,
        hemi: str = "both",
    ) -> Voxels:
        """Return the voxels of a person's brain, or of a region, with all atlases found.

        Parameters
        ----------
        subject : int or str
        space : "func1pt8mm", "func1mm", "fsaverage" or "nativesurface"
        betas : str
            Whose ncsnr to attach; reliability belongs to a preparation.
        roi : str or list of str, optional
            As for :meth:`neuro.data.Voxels.roi`.
        hemi : "both", "L" or "R"

        Returns
        -------
        Voxels
            In volumes the brain mask (and whatever a region labels outside it), on surfaces every vertex. Columns:
            ``hemi``; ``ncsnr``, ``ncsnr_split1``, ``ncsnr_split2`` where there; ``valid``, whether the voxel was in
            the field of view in all sessions on disk, as far as the files tell without reading betas.
        """
        brain, prep = self._space(subject, space), prep_name(betas)
        rows = np.flatnonzero(brain.mask(roi, hemi))
        if not rows.size:
            raise EmptySelection(f"region {roi!r}, hemi={hemi!r} holds no voxel of {brain}.")
        sessions = sorted(self._found(brain.subject, brain.space, prep))
        return brain.voxels(rows, prep, brain.valid(sessions, brain.labels.index[rows]))

    def map(self, subject: Any, name: str, space: str = "func1pt8mm", voxels: Voxels | None = None) -> np.ndarray:
        """Return one of the person's maps at each voxel: "prf_angle" (degrees), "prf_eccentricity", "floc_facestval"...

        Parameters
        ----------
        subject : int or str
        name : str
            File name without ``.nii.gz`` (volumes), or without ``lh.`` and ``.mgz`` (nativesurface, fsaverage).
        space : str
        voxels : Voxels, optional
            By default those of ``voxels(subject, space)``.
        """
        brain = self._space(subject, space)
        if not re.fullmatch(r"[A-Za-z0-9][\w.+-]*", name):
            raise ValueError(f"a map is named like 'prf_angle', got {name!r}.")
        at = brain.labels.index if voxels is None else brain.positions(voxels)
        if brain.is_surface:
            paths = [brain.regions / f"{h}.{name}.mgz" for h in ("lh", "rh")]
        else:
            paths = [self.layout.space_data(brain.subject, space) / f"{name}.nii.gz"]
        return brain.read_map([self.layout.need(p, f"map {name!r}") for p in paths])[at]

    # Responses

    def responses(
        self,
        subject: Any,
        roi: Any = None,
        betas: str = "fithrf_GLMdenoise_RR",
        space: str = "func1pt8mm",
        sessions: int | Iterable[int] | None = None,
        voxels: Any = None,
        hemi: str = "both",
        invalid: str = "drop",
        format: str | None = None,
    ) -> Responses:
        """Return lazy single-trial responses in % signal change.

        Parameters
        ----------
        subject : int or str
        roi : str or list of str, optional
            As for :meth:`neuro.data.Voxels.roi`: "nsdgeneral", "FFA-1", ["V1v", "V1d"], "Kastner2015:V1v".
        betas : str
            "fithrf_GLMdenoise_RR" (b3): the most reliable, for encoding, decoding and RSA of averaged repeats. Its
            denoising was picked from repeats, so repeats are not independent. "fithrf" (b2): where independent noise
            matters (noise covariance, crossnobis). "assumehrf" (b1): comparison of methods.
        space : "func1pt8mm", "func1mm", "fsaverage" or "nativesurface"
        sessions : int or ints, optional
            By default those on disk. Missing ones are named in ``provenance``; asking for one is an error.
        voxels : optional
            Which voxels, intersected with ``roi``: a boolean mask over ``nsd.voxels(subject, space)``, a mask on the
            voxel grid (array, NIfTI image or path), or :class:`~neuro.data.Voxels` of the same space. The order is
            always the canonical one.
        hemi : "both", "L" or "R"
        invalid : "drop", "nan" or "error"
            What to do with voxels that have no data in some session (out of the field of view): leave them out, give
            NaN in these sessions, or refuse. The count stands in ``provenance``.
        format : "hdf5" or "nii.gz", optional
            By default HDF5 where both are there.

        Returns
        -------
        Responses
            With the splits of :meth:`split` by name. The first read of values writes a cache of these voxels unless
            ``cache=None``.

        Raises
        ------
        DataNotDownloaded, UnknownROI, UnknownPrep, SpaceMismatch, ShapeMismatch, CorruptFile, EmptySelection
        """
        brain, prep = self._space(subject, space), prep_name(betas)
        number = brain.subject
        check_option("invalid", invalid, ["drop", "nan", "error"])
        found = self.layout.sessions(number, space, prep, format)
        if not found:
            key = self.layout.key(self.layout.betas(number, space, prep))
            raise DataNotDownloaded(
                f"no complete session of {prep} betas of subject {number} in {self.root / key}."
                f"{self._elsewhere(number)} {how_to_get(key + '/...')}"
            )
        wanted = self._wanted(sessions, found, f"{prep} betas of subject {number} in {space}")
        table = self.trials(number, sessions=wanted, space=space, betas=prep)
        planned = {n: int((table["session"] == n).sum()) for n in wanted}
        readers = tuple(open_session(found[n], space, brain.shape, planned[n]) for n in wanted)
        missing = [n for n in range(1, self._planned_sessions(found) + 1) if n not in wanted]
        gaps = [n for n in missing if n < max(wanted)] if sessions is None else []
        if gaps:
            warnings.warn(
                f"subject {number}: no {prep} betas of sessions {gaps} in {space}; going on with the {len(wanted)} "
                "that are there.",
                stacklevel=2,
            )
        rows = np.flatnonzero(brain.mask(roi, hemi) & brain.selection(voxels))
        if not rows.size:
            raise EmptySelection(f"roi={roi!r}, hemi={hemi!r} and the voxels given have no voxel in common.")
        bad = self._invalid(brain, readers, brain.labels.index[rows])
        n_invalid = int(bad.sum())
        if n_invalid and invalid == "error":
            raise NeuroDataError(
                f"{n_invalid:,} of {len(rows):,} voxels of subject {number} have no data in some of the sessions used. "
                "invalid='drop' leaves them out, invalid='nan' keeps them."
            )
        if invalid == "drop":
            rows, bad = rows[~bad], bad[~bad]
            if not rows.size:
                raise EmptySelection("no voxel has data in all of the sessions used.")
        index = brain.labels.index[rows]
        which = hash_bytes(index)
        name = f"{subject_name(number)}_{space}_{prep}"
        folder = None if self.cache is None else self.cache / f"{name}_{which[:12]}"
        region = roi if roi is None or isinstance(roi, str) else list(roi)
        step = {
            "step": "load nsd",
            "subject": number,
            "space": space,
            "betas": prep,
            "roi": region if voxels is None else f"{region} & {len(rows):,} voxels",
            "hemi": hemi,
            "n_voxels": len(rows),
            "n_invalid": n_invalid,
            "invalid": invalid,
            "sessions": wanted,
            "sessions_missing": missing,
            "formats": sorted({r.session.format for r in readers}),
            "phantom": self.is_phantom,
            "fingerprint": fingerprint([which, [r.session.token() for r in readers]]),
        }
        return Responses(
            BetaSource(readers, index, folder, name),
            table,
            brain.voxels(rows, prep, ~bad),
            units="psc",
            provenance=(step,),
            splits={s: partial(_split_ids, self, s, number) for s in SPLITS},
        )

    def verify(self, subject: Any) -> pd.DataFrame:
        """Compare the design, the picture table and the behaviour file, which name pictures in different numbers.

        Returns
        -------
        DataFrame : claim, holds
        """
        number = self._subject(subject)
        rows = check_identities(self.design, self.pictures, number)
        path = self.layout.subject_data(number) / "behav/responses.tsv"
        if path.is_file():
            try:
                join_behaviour(self.design.trials(number), read_behaviour(path), path)
                rows.append(("the behaviour file names the design's pictures", True))
            except CorruptFile:
                rows.append(("the behaviour file names the design's pictures", False))
        return pd.DataFrame(rows, columns=["claim", "holds"])

    # Inside

    def _subject(self, subject: Any) -> int:
        number = subject_number(subject)
        if number not in self.subjects:
            raise DataNotDownloaded(f"no subject {subject!r} in {self.root}; subjects there: {self.subjects}.")
        return number

    def _found(self, subject: int, space: str | None, betas: str | None) -> dict[int, Session]:
        spaces = SPACES if space is None else [check_space(space)]
        preps = PREPS if betas is None else [prep_name(betas)]
        found: dict[int, Session] = {}
        for s in spaces:
            for p in preps:
                found = {**self.layout.sessions(subject, s, p), **found}
        return dict(sorted(found.items()))

    def _elsewhere(self, subject: int) -> str:
        have = [f"{p} in {s}" for s in SPACES for p in PREPS if self.layout.sessions(subject, s, p)]
        return f" There are: {', '.join(have)}." if have else ""

    def _planned_sessions(self, found: dict[int, Session]) -> int:
        planned = self.design.n_sessions
        if max(found, default=0) > planned:
            raise ShapeMismatch(
                f"{found[max(found)].paths[0]} is of session {max(found)}, but the design plans {planned} sessions: "
                "nothing says which pictures it shows."
            )
        return planned

    def _wanted(self, sessions: Any, found: dict[int, Session], what: str) -> list[int]:
        planned = self._planned_sessions(found)
        if sessions is None:
            return sorted(found)
        wanted = sorted({int(s) for s in ([sessions] if np.ndim(sessions) == 0 else sessions)})
        if not wanted:
            raise EmptySelection("sessions is empty.")
        missing = [s for s in wanted if s not in found]
        if missing:
            raise DataNotDownloaded(
                f"{what}: sessions {missing} are not on disk (there are {sorted(found)} of {planned} planned)."
            )
        return wanted

    def _space(self, subject: Any, space: str) -> SubjectSpace:
        key = (self._subject(subject), check_space(space))
        if key not in self._spaces:
            self._spaces[key] = SubjectSpace(self.layout, *key)
        return self._spaces[key]

    def _invalid(self, space: SubjectSpace, readers: tuple[SessionReader, ...], index: np.ndarray) -> np.ndarray:
        """Voxels without data in some session."""
        valid = space.valid([r.session.number for r in readers], index)
        if valid is not None:
            return ~valid
        bad = np.zeros(len(index), bool)
        for reader in readers:
            key = fingerprint([reader.session.token(), str(reader.session.paths[0]), hash_bytes(index)])
            if key not in self._without_data:
                n = min(PROBE_TRIALS, reader.n_trials)
                parts = [no_data(reader.read(index[block], n)) for block in reader.blocks(len(index))]
                self._without_data[key] = np.concatenate(parts)
            bad |= self._without_data[key]
        return bad


def _split_ids(nsd: NSD, name: str, subject: int) -> tuple[np.ndarray, np.ndarray]:
    split = nsd.split(name, subject)
    return split.train, split.test
