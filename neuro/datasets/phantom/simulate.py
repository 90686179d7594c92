"""Betas of a phantom subject: signal, noise, and what scanners do between visits.

    beta = baseline + offset[session] + gain[session] * noise_sd * (snr * signal + noise)        % signal change

Noise has unit variance in the b3 preparation: mostly independent between trials and voxels, partly shared by
neighbours, partly a slow drift within the session. The simpler preparations keep noise that b3 removes.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from neuro._check import check_option
from neuro._files import read_json
from neuro.datasets.nsd.layout import PHANTOM_MARKER
from neuro.datasets.phantom.cortex import Cortex, make_cortex
from neuro.datasets.phantom.design import Design
from neuro.datasets.phantom.subjects import Tuning, plant, smooth_fields

# Preparation -> variance of shared and of independent noise that b3 does not have, in units of b3's.
PREPS = {"assumehrf": (0.35, 0.65), "fithrf": (0.35, 0.0), "fithrf_GLMdenoise_RR": (0.0, 0.0)}
# Shares of b3's noise variance.
_SHARED, _DRIFT = 0.12, 0.06
_N_SHARED, _N_DRIFT = 8, 3


@dataclass(frozen=True, eq=False)
class Subject:
    """One simulated person; everything follows from the seed.

    Parameters
    ----------
    number : int
    design : Design
    seed : int
    grid : str
        See :func:`neuro.datasets.phantom.cortex.make_cortex`.
    snr : float
    n_invalid : int
        Voxels that fall out of the field of view in one session each.
    """

    number: int
    design: Design
    seed: int
    grid: str = "standard"
    snr: float = 1.0
    n_invalid: int = 0

    @property
    def name(self) -> str:
        """As in file names."""
        return f"subj{self.number:02d}"

    def rng(self, *what: int) -> np.random.Generator:
        """Return the random numbers of one purpose."""
        return np.random.default_rng([self.seed, self.number, *what])

    @cached_property
    def cortex(self) -> Cortex:
        """Grid and layout."""
        return make_cortex(self.rng(1), self.grid)

    @cached_property
    def tuning(self) -> Tuning:
        """What was planted."""
        return plant(self.cortex, self.rng(2), self.snr)

    @cached_property
    def responsive(self) -> np.ndarray:
        """Voxels with a signal: rows of the brain."""
        return np.flatnonzero(self.cortex.general)

    @cached_property
    def pictures(self) -> np.ndarray:
        """The subject's own pictures, ids from 0; signals have one row for each."""
        return self.design.subjectim[self.number - 1] - 1

    @cached_property
    def gain(self) -> np.ndarray:
        """Of each session and voxel, (n_sessions, n)."""
        common = self.rng(3).normal(0, 0.12, (self.design.n_sessions, 1))
        return np.exp(common + 0.15 * self.rng(4).standard_normal((self.design.n_sessions, len(self.cortex))))

    @cached_property
    def offset(self) -> np.ndarray:
        """Of each session and voxel in % signal change, (n_sessions, n)."""
        return 0.7 * self.tuning.noise_sd * self.rng(5).standard_normal((self.design.n_sessions, len(self.cortex)))

    @cached_property
    def invalid(self) -> np.ndarray:
        """Voxels without data, bool (n_sessions, n)."""
        rng = self.rng(6)
        out = np.zeros((self.design.n_sessions, len(self.cortex)), bool)
        lost = rng.permutation(self.responsive)[: self.n_invalid]
        out[rng.integers(0, self.design.n_sessions, len(lost)), lost] = True
        return out

    @cached_property
    def _loadings(self) -> tuple[np.ndarray, np.ndarray]:
        """How much each shared time course is in each voxel, (8, n) and (3, n), columns of length 1."""
        fields = smooth_fields(self.cortex.xyz, _N_SHARED + _N_DRIFT, self.rng(7), scale=25.0)
        parts = fields[:, :_N_SHARED], fields[:, _N_SHARED:]
        shared, drift = (p / np.linalg.norm(p, axis=1, keepdims=True) for p in parts)
        return shared.T.astype(np.float32), drift.T.astype(np.float32)

    def noise(self, session: int, prep: str) -> np.ndarray:
        """Return the noise of a session (from 1), float32 (n_trials, n), of variance 1 + what the preparation adds."""
        trials, n = self.design.trials_per_session, len(self.cortex)
        shared, drift = self._loadings
        rng = self.rng(8, session)
        white = rng.standard_normal((trials, n), dtype=np.float32)
        common = rng.standard_normal((trials, _N_SHARED), dtype=np.float32)
        # Cosines of unit variance over the session; each voxel has its own mixture of them.
        t = (np.arange(trials) + 0.5) / trials
        slow = np.sqrt(2) * np.cos(np.pi * t[:, None] * np.arange(1, _N_DRIFT + 1)).astype(np.float32)
        slow *= rng.choice(np.float32([-1, 1]), _N_DRIFT)
        out = white * np.float32(np.sqrt(1 - _SHARED - _DRIFT))
        out += np.float32(np.sqrt(_SHARED)) * (common @ shared) + np.float32(np.sqrt(_DRIFT)) * (slow @ drift)
        more_shared, more_white = PREPS[check_option("prep", prep, PREPS)]
        rng = self.rng(9, session)  # the same for all preparations: b1 is b2 with more on top
        if more_shared:
            time_courses = rng.standard_normal((trials, _N_SHARED), dtype=np.float32)
            out += np.float32(np.sqrt(more_shared)) * (time_courses @ shared)
        if more_white:
            out += np.float32(np.sqrt(more_white)) * rng.standard_normal((trials, n), dtype=np.float32)
        return out

    def betas(self, signal: np.ndarray, session: int, prep: str) -> np.ndarray:
        """Return one session's betas in % signal change, before any rounding.

        Parameters
        ----------
        signal : array (n_images, n_responsive)
            Noiseless answers to the subject's pictures.
        session : int, from 1
        prep : str

        Returns
        -------
        float32 array (n_trials, n); NaN where a voxel is out of the field of view
        """
        t, s = self.tuning, session - 1
        shown = self.design.shown_rows(session)
        out = self.noise(session, prep)
        out[:, self.responsive] += signal[shown].astype(np.float32) * t.snr[self.responsive].astype(np.float32)
        out *= (self.gain[s] * t.noise_sd).astype(np.float32)
        out += (t.baseline + self.offset[s]).astype(np.float32)
        out[:, self.invalid[s]] = np.nan
        return out

    def ncsnr(self, signal: np.ndarray, prep: str, sessions: list[int]) -> np.ndarray:
        """Return the ncsnr that NSD's definition converges to for the trials that were run, (n,).

        Within session s the signal has variance v_s and z-scoring divides by v_s + noise; the definition averages the
        noise that is left over sessions.
        """
        out = np.zeros(len(self.cortex))
        variance = 1 + sum(PREPS[prep])
        power = self.tuning.snr[self.responsive] ** 2
        left = [
            variance / (variance + power * signal[self.design.shown_rows(s)].astype(np.float32).var(0))
            for s in sessions
        ]
        share = np.mean(left, axis=0)
        out[self.responsive] = np.sqrt((1 - share) / share)
        return out


def planted_betas(root: str | Path, subject: int, session: int, prep: str = "fithrf_GLMdenoise_RR") -> np.ndarray:
    """Return the betas of a phantom as they were before they were rounded into files.

    Parameters
    ----------
    root : path
        A finished phantom.
    subject, session : int, from 1
    prep : str

    Returns
    -------
    float32 array (n_trials, n_brain_voxels), % signal change, voxels in canonical order; NaN out of the field of view

    Raises
    ------
    DataNotDownloaded
        If there is no finished phantom.
    """
    from neuro.datasets.phantom.truth import load_truth
    from neuro.errors import DataNotDownloaded

    marker = Path(root) / PHANTOM_MARKER
    if not marker.is_file():
        raise DataNotDownloaded(f"{root} holds no phantom: there is no {PHANTOM_MARKER}.")
    p = read_json(marker)["parameters"]
    person = subject_of(p, Design.of(p), subject)
    return person.betas(load_truth(root, subject)["signal"], session, prep)


def subject_of(parameters: dict, design: Design, number: int) -> Subject:
    """Return a subject of a phantom by its parameters."""
    p = parameters
    return Subject(number, design, p["seed"], p["grid"], p["snr"], p["invalid_voxels"])
