"""What every voxel of a phantom subject is tuned to, and what it would answer without noise.

Early areas pool oriented energy in a Gaussian receptive field (pRF); hV4 adds colour; category areas pool how much of
their field shows each category, with a compressive exponent, plus a little of the energy. The rest of nsdgeneral is a
weak mixture. All of it is returned as the truth.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

from neuro.datasets.phantom.cortex import EARLY, Cortex
from neuro.datasets.phantom.filters import (
    CATEGORIES,
    FIELD_OF_VIEW,
    FREQUENCIES,
    GRID,
    N_ORIENTATIONS,
    grid_positions,
)

#: The category that each category region prefers.
PREFERENCE = {
    "OFA": "face", "FFA-1": "face", "FFA-2": "face", "EBA": "body", "FBA-1": "body", "OPA": "place", "PPA": "place",
    "RSC": "place", "OWFA": "word", "VWFA-1": "word", "VWFA-2": "word", "food": "food",
}  # fmt: skip
# pRF size in degrees: intercept and slope over eccentricity.
_SIZES = {"V1": (0.40, 0.10), "V2": (0.50, 0.18), "V3": (0.60, 0.26), "hV": (0.80, 0.38)}


@dataclass(frozen=True, eq=False)
class Tuning:
    """Planted tuning, one row per grey voxel.

    Parameters
    ----------
    x, y, size : arrays (n,)
        Centre (rightward, upward) and s.d. of the receptive field in degrees of visual angle; category regions have
        large ones.
    orientation, frequency : arrays (n,)
        Preferred orientation of the wave vector (degrees, 0-180) and spatial frequency (cycles per degree).
    filters : array (n, orientations * frequencies)
        Weights of the oriented energies.
    categories : array (n, 6)
        Weights of face, body, animal, place, food, word.
    mixture : array (n, 3)
        Share of the signal's s.d. from energy, colour and categories.
    ncsnr : array (n,)
        Signal s.d. over noise s.d. of single trials.
    noise_sd, baseline : arrays (n,)
        Percent signal change.
    """

    x: np.ndarray
    y: np.ndarray
    size: np.ndarray
    orientation: np.ndarray
    frequency: np.ndarray
    filters: np.ndarray
    categories: np.ndarray
    mixture: np.ndarray
    ncsnr: np.ndarray
    noise_sd: np.ndarray
    baseline: np.ndarray

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Return the fields by name."""
        return {f.name: getattr(self, f.name) for f in fields(self)}


def plant(cortex: Cortex, rng: np.random.Generator, snr: float = 1.0) -> Tuning:
    """Draw the tuning of every grey voxel of a subject.

    Parameters
    ----------
    cortex : Cortex
    rng : Generator
    snr : float
        Multiplies every planted ncsnr.
    """
    n = len(cortex.ijk)
    region = cortex.region
    early = np.isin(region, EARLY)
    category = np.isin(region, list(PREFERENCE))
    rest = cortex.general & ~early & ~category

    contralateral = np.where(cortex.hemi == "L", 1.0, -1.0)
    x, y = contralateral * rng.gamma(2.0, 0.4, n), rng.normal(0, 0.7, n)
    size = rng.uniform(1.8, 3.0, n)
    radians = np.deg2rad(cortex.angle[early])
    jitter = rng.normal(0, 0.12, (2, early.sum()))
    x[early] = cortex.eccentricity[early] * np.cos(radians) + jitter[0]
    y[early] = cortex.eccentricity[early] * np.sin(radians) + jitter[1]
    intercept, slope = np.array([_SIZES[r[:2]] for r in region[early]]).T.reshape(2, -1)
    size[early] = (intercept + slope * cortex.eccentricity[early]) * rng.lognormal(0, 0.15, early.sum())

    orientation = rng.uniform(0, 180, n)
    eccentricity = np.hypot(x, y)
    octave = np.clip(1.2 - 0.4 * eccentricity + rng.normal(0, 0.5, n), -1, 2)
    frequency = np.clip(FREQUENCIES[0] * 2**octave, FREQUENCIES[0], FREQUENCIES[-1])
    centres = 180 * np.arange(N_ORIENTATIONS) / N_ORIENTATIONS
    doubled = np.deg2rad(2 * (orientation[:, None] - centres))
    by_orientation = np.exp(1.5 * (np.cos(doubled) - 1))
    by_frequency = np.exp(-(np.log2(frequency[:, None] / np.array(FREQUENCIES)) ** 2) / (2 * 0.6**2))
    filters = (by_orientation[:, :, None] * by_frequency[:, None, :]).reshape(n, -1)
    filters = 0.85 * filters / filters.sum(1, keepdims=True) + 0.15 / filters.shape[1]

    categories = rng.normal(0, 0.25, (n, len(CATEGORIES)))
    for name, preferred in PREFERENCE.items():
        here = region == name
        categories[here] *= 0.5
        categories[here, CATEGORIES.index(preferred)] = rng.uniform(0.9, 1.2, here.sum())
        # Animals have faces and bodies; places and their absence go together.
        if preferred in ("face", "body"):
            categories[here, CATEGORIES.index("animal")] += 0.35

    mixture = np.zeros((n, 3))
    mixture[early] = [1.0, 0.15, 0.0]
    mixture[region == "hV4"] = [0.7, 0.5, 0.4]
    mixture[category] = [0.2, 0.1, 1.0]
    mixture[rest] = np.abs(rng.normal(0, 1, (rest.sum(), 3))) * [0.6, 0.3, 1.0]
    mixture[mixture.sum(1) == 0] = [1.0, 0.0, 0.0]
    mixture /= np.linalg.norm(mixture, axis=1, keepdims=True)

    ncsnr = np.where(rng.random(n) < 0.2, np.abs(rng.normal(0, 0.05, n)), 0.0)
    ncsnr[rest] = rng.gamma(2.0, 0.13, rest.sum())
    ncsnr[early] = rng.uniform(0.3, 1.1, early.sum())
    ncsnr[category] = rng.uniform(0.25, 1.0, category.sum())
    return Tuning(
        x, y, size, orientation, frequency, filters, categories, mixture,
        ncsnr=ncsnr * snr, noise_sd=rng.uniform(0.8, 1.6, n), baseline=rng.normal(0.4, 0.3, n),
    )  # fmt: skip


def signals(tuning: Tuning, energy: np.ndarray, colour: np.ndarray, shown: np.ndarray) -> np.ndarray:
    """Return the noiseless answer of every voxel to every picture, mean 0 and s.d. 1 over the pictures.

    Parameters
    ----------
    tuning : Tuning
    energy : array (n_images, n_filters, places)
    colour : array (n_images, 3, places)
    shown : array (n_images, 6, places)
        How much of each place shows each category.

    Returns
    -------
    float32 array (n_images, n_voxels)
    """
    gx, gy = grid_positions()
    out = np.empty((len(energy), len(tuning.x)), np.float32)
    energy = np.log1p(20 * energy)
    for start in range(0, out.shape[1], 256):
        v = slice(start, start + 256)
        # Nothing smaller than a place of the grid can be told apart.
        sd = np.maximum(tuning.size[v], FIELD_OF_VIEW / GRID / 2)[:, None]
        field = np.exp(-((gx - tuning.x[v, None]) ** 2 + (gy - tuning.y[v, None]) ** 2) / (2 * sd**2))
        field = (field / field.sum(1, keepdims=True)).T.astype(np.float32)
        from_energy = np.einsum("nfv,vf->nv", energy @ field, tuning.filters[v].astype(np.float32))
        from_category = np.einsum("ncv,vc->nv", np.sqrt(shown @ field), tuning.categories[v].astype(np.float32))
        hue = np.stack([np.cos(np.deg2rad(2 * tuning.orientation[v])), np.sin(np.deg2rad(2 * tuning.orientation[v]))])
        from_colour = np.einsum("ncv,cv->nv", (colour @ field)[:, :2], hue.astype(np.float32))
        parts = [_standard(p) for p in (from_energy, from_colour, from_category)]
        out[:, v] = _standard(sum(p * m for p, m in zip(parts, tuning.mixture[v].T, strict=True)))
    return out


def _standard(a: np.ndarray) -> np.ndarray:
    a = a - a.mean(0)
    sd = a.std(0)
    return a / np.where(sd > 0, sd, 1)
