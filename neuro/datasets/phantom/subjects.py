"""What every voxel of a phantom subject is tuned to, and what it answers without noise.

Each voxel looks through a Gaussian receptive field (pRF) of centre (x, y) and s.d. ``size`` at maps of the picture
(:mod:`neuro.datasets.phantom.filters`), and mixes four standardised parts:

    energy    (sum over filters of weight * energy in the field) ** exponent      early areas
    form      conjunctions of energies, luminance                                 V2 onwards, most in hV4 and LO
    colour    saturation towards a preferred hue                                  hV4, VO
    category  sum over categories of weight * (share of the field) ** exponent    category regions, and traces elsewhere

    signal = standardised(sum of mixture * part)

so that Gabor-like models explain early areas and only knowledge of what is shown explains category regions.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

from neuro.datasets.phantom.cortex import Cortex
from neuro.datasets.phantom.filters import (
    FIELD_OF_VIEW,
    FORMS,
    FREQUENCIES,
    GRID,
    HUES,
    ORIENTATIONS,
    grid_positions,
)
from neuro.datasets.phantom.layout import CATEGORY, EARLY, MIDDLE
from neuro.datasets.phantom.pictures import Seen
from neuro.datasets.phantom.scene import CATEGORIES

PARTS = ("energy", "form", "colour", "category")
# pRF size in degrees (intercept, slope over eccentricity), exponent of summation, width of orientation tuning (von
# Mises), spatial frequency relative to V1, and mixture of the parts.
_EARLY = {
    "V1": ((0.35, 0.10), 0.80, 3.0, 1.0, (1.0, 0.0, 0.12, 0.0)),
    "V2": ((0.45, 0.17), 0.70, 2.0, 0.8, (1.0, 0.25, 0.18, 0.0)),
    "V3": ((0.60, 0.25), 0.60, 1.5, 0.7, (1.0, 0.35, 0.15, 0.0)),
    "hV4": ((0.90, 0.40), 0.50, 1.0, 0.6, (0.60, 0.60, 0.60, 0.20)),
}
_MIDDLE = {
    "VO": (0.30, 0.45, 0.70, 0.45),
    "PHC": (0.40, 0.45, 0.20, 0.60),
    "LO": (0.50, 0.70, 0.15, 0.50),
    "TO": (0.70, 0.50, 0.10, 0.40),
    "V3": (0.80, 0.50, 0.10, 0.15),
    "IPS": (0.70, 0.45, 0.10, 0.25),
}
_CATEGORY_MIXTURE = (0.22, 0.15, 0.10, 1.0)
_REST_MIXTURE = (0.45, 0.45, 0.30, 0.70)
# What a region for one category (row) answers to the others: face, body, animal, place, food, word.
_COUPLING = np.array(
    [
        [1.00, 0.25, 0.45, -0.25, -0.05, 0.05],
        [0.25, 1.00, 0.50, -0.20, -0.05, -0.15],
        [0.45, 0.40, 1.00, -0.15, 0.00, -0.20],
        [-0.25, -0.15, -0.15, 1.00, -0.15, 0.00],
        [0.05, -0.05, 0.05, -0.25, 1.00, 0.00],
        [0.10, -0.10, -0.15, -0.15, 0.00, 1.00],
    ]
)
# Median ncsnr; with the spread below nsdgeneral comes out near NSD's single-trial reliability.
_NCSNR = {"early": 0.55, "middle": 0.40, "category": 0.50, "rest": 0.20}
_NCSNR_SPREAD = 0.45
_NCSNR_MAX = 1.3


@dataclass(frozen=True, eq=False)
class Tuning:
    """Planted tuning, one row per brain voxel; voxels outside nsdgeneral have ncsnr 0 and no signal.

    Parameters
    ----------
    x, y, size : arrays (n,)
        Centre (rightward, upward) and s.d. of the receptive field, degrees of visual angle.
    exponent : array (n,)
        Of summation over the field; below 1 is compressive.
    orientation, frequency, hue : arrays (n,)
        Preferred orientation of stripes (degrees anticlockwise from horizontal, 0-180), spatial frequency (cycles per
        degree) and hue (degrees).
    filters, forms, hues, categories : arrays (n, 24), (n, 4), (n, 6), (n, 6)
        Weights of energies (orientations slowest), conjunctions, hues, and of ``CATEGORIES``.
    mixture : array (n, 4)
        Weight of each of ``PARTS`` in the signal; squares add up to 1.
    snr : array (n,)
        Signal s.d. over noise s.d. of single trials, if all pictures were seen equally often (b3 betas).
    noise_sd, baseline : arrays (n,)
        Percent signal change.
    """

    x: np.ndarray
    y: np.ndarray
    size: np.ndarray
    exponent: np.ndarray
    orientation: np.ndarray
    frequency: np.ndarray
    hue: np.ndarray
    filters: np.ndarray
    forms: np.ndarray
    hues: np.ndarray
    categories: np.ndarray
    mixture: np.ndarray
    snr: np.ndarray
    noise_sd: np.ndarray
    baseline: np.ndarray

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Return the fields by name."""
        return {f.name: getattr(self, f.name) for f in fields(self)}


def plant(cortex: Cortex, rng: np.random.Generator, snr: float = 1.0) -> Tuning:
    """Draw the tuning of every voxel of a subject.

    Parameters
    ----------
    cortex : Cortex
    rng : Generator
    snr : float
        Multiplies every planted ncsnr.
    """
    n = len(cortex)
    kind, family = _kinds(cortex)
    x, y, size, exponent = _fields(cortex, kind, family, rng)
    width, octave = np.full(n, 0.5), np.full(n, 0.55)
    mixture = np.tile(np.array(_REST_MIXTURE), (n, 1))
    for name, (_, _, kappa, factor, mix) in _EARLY.items():
        here = (kind == "early") & (family == name)
        width[here], octave[here], mixture[here] = kappa, factor, mix
    for name, mix in _MIDDLE.items():
        mixture[(kind == "middle") & (family == name)] = mix
    mixture[kind == "category"] = _CATEGORY_MIXTURE
    spread = np.where(kind == "rest", 0.8, 0.25)[:, None]
    mixture = mixture * np.exp(spread * rng.standard_normal((n, len(PARTS))))
    mixture /= np.linalg.norm(mixture, axis=1, keepdims=True)

    eccentricity = np.hypot(x, y)
    orientation = rng.uniform(0, 180, n)
    frequency = 2.8 * octave / (1 + 0.45 * eccentricity) * np.exp(0.3 * rng.standard_normal(n))
    frequency = np.clip(frequency, FREQUENCIES[0], FREQUENCIES[-1])
    hue = rng.uniform(0, 360, n)
    strength = _NCSNR_SPREAD * (0.7 * smooth_fields(cortex.xyz, 1, rng)[:, 0] + 0.7 * rng.standard_normal(n))
    median = np.array([_NCSNR[k] if k else 0.0 for k in kind.tolist()])
    return Tuning(
        x, y, size, exponent, orientation, frequency, hue,
        filters=_filter_weights(orientation, frequency, width),
        forms=rng.dirichlet(np.ones(len(FORMS)), n),
        hues=_unit_sum(np.exp(2 * (np.cos(np.radians(hue[:, None] - np.array(HUES))) - 1))),
        categories=_category_weights(cortex, kind, rng),
        mixture=mixture,
        snr=np.clip(median * np.exp(strength), 0, _NCSNR_MAX) * snr,
        noise_sd=1.1 * np.exp(0.25 * rng.standard_normal(n)),
        baseline=np.where(kind != "", 0.6, 0.1) + 0.25 * rng.standard_normal(n),
    )  # fmt: skip


def signals(tuning: Tuning, seen: Seen, voxels: np.ndarray) -> np.ndarray:
    """Return noiseless answers, mean 0 and s.d. 1 over the pictures.

    Parameters
    ----------
    tuning : Tuning
    seen : Seen
        The subject's pictures.
    voxels : array of int (k,)
        Which voxels.

    Returns
    -------
    float16 array (n_pictures, k); these rounded numbers are what the betas are made of
    """
    n, k = len(seen), len(voxels)
    out = np.empty((n, k), np.float16)
    gx, gy = grid_positions()
    for start in range(0, k, 512):
        v = voxels[start : start + 512]
        # Nothing smaller than a place of the grid can be told apart.
        sd = np.maximum(tuning.size[v], FIELD_OF_VIEW / GRID / 2)
        field = np.exp(-((gx[:, None] - tuning.x[v]) ** 2 + (gy[:, None] - tuning.y[v]) ** 2) / (2 * sd**2))
        field = _unit_sum(field.T).T.astype(np.float32)  # (places, voxels)
        power = tuning.exponent[v].astype(np.float32)
        parts = [
            _weighted(seen.maps["energy"], field, tuning.filters[v]) ** power,
            _weighted(seen.maps["form"], field, tuning.forms[v]) ** power,
            _weighted(seen.maps["colour"], field, tuning.hues[v]) ** power,
            _weighted(seen.maps["category"], field, tuning.categories[v], power),
        ]
        total = sum(_standard(p) * m for p, m in zip(parts, tuning.mixture[v].T.astype(np.float32), strict=True))
        out[:, start : start + 512] = _standard(np.asarray(total))
    return out


def smooth_fields(xyz: np.ndarray, k: int, rng: np.random.Generator, scale: float = 14.0) -> np.ndarray:
    """Return k random functions of position, (n, k), of about unit variance, that change over ``scale`` mm."""
    waves = 40
    frequency = rng.standard_normal((3, waves * k)) / scale
    phase = rng.uniform(0, 2 * np.pi, waves * k)
    return np.sqrt(2 / waves) * np.cos(xyz @ frequency + phase).reshape(len(xyz), k, waves).sum(2)


def _kinds(cortex: Cortex) -> tuple[np.ndarray, np.ndarray]:
    """Return what sort of area each voxel is in ("early", "middle", "category", "rest", ""), and which."""
    kind = np.full(len(cortex), "", "<U8")
    kind[cortex.general] = "rest"
    kind[cortex.general & np.isin(cortex.region, list(MIDDLE))] = "middle"
    kind[cortex.general & np.isin(cortex.region, list(CATEGORY))] = "category"
    kind[cortex.general & np.isin(cortex.region, EARLY)] = "early"
    names = [r if k != "early" else r.rstrip("vd") for r, k in zip(cortex.region.tolist(), kind.tolist(), strict=True)]
    family = [r.rstrip("0123456789AB") if k == "middle" else r for r, k in zip(names, kind.tolist(), strict=True)]
    family = ["V3" if f == "V" else f for f in family]  # V3A, V3B
    return kind, np.array(family)


def _fields(
    cortex: Cortex, kind: np.ndarray, family: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Centres, sizes and exponents of the receptive fields."""
    n = len(cortex)
    side = np.select([cortex.hemi == "L", cortex.hemi == "R"], [1.0, -1.0], rng.choice([-1.0, 1.0], n))
    x, y = side * rng.gamma(2.0, 0.5, n) - 0.2 * side, rng.normal(0, 0.6, n)
    size, exponent = rng.uniform(1.6, 2.8, n), np.full(n, 0.5)
    places = np.isin(cortex.region, [name for name, entry in CATEGORY.items() if entry[3] == "place"])
    x[places] *= 1.6
    size[places] *= 1.3
    mapped = (kind == "early") | (kind == "middle")
    jitter = rng.normal(0, 1, (2, n))
    radians = np.radians(cortex.angle[mapped])
    spread = 0.06 * (1 + cortex.eccentricity[mapped])
    x[mapped] = cortex.eccentricity[mapped] * np.cos(radians) + spread * jitter[0, mapped]
    y[mapped] = cortex.eccentricity[mapped] * np.sin(radians) + spread * jitter[1, mapped]
    relative = np.exp(0.15 * rng.standard_normal(n))
    for name, ((intercept, slope), power, *_) in _EARLY.items():
        here = (kind == "early") & (family == name)
        size[here] = (intercept + slope * cortex.eccentricity[here]) * relative[here]
        exponent[here] = power
    middle = kind == "middle"
    size[middle] = (1.0 + 0.5 * cortex.eccentricity[middle]) * relative[middle]
    return x, y, size, exponent


def _filter_weights(orientation: np.ndarray, frequency: np.ndarray, width: np.ndarray) -> np.ndarray:
    """Weights over orientations and frequencies around the preferred ones, with a floor for contrast of any kind."""
    doubled = np.radians(2 * (orientation[:, None] - np.array(ORIENTATIONS)))
    by_orientation = np.exp(width[:, None] * (np.cos(doubled) - 1))
    octaves = np.log2(frequency[:, None] / np.array(FREQUENCIES))
    by_frequency = np.exp(-(octaves**2) / (2 * 0.6**2))
    weights = _unit_sum((by_orientation[:, :, None] * by_frequency[:, None, :]).reshape(len(orientation), -1))
    return 0.9 * weights + 0.1 / weights.shape[1]


def _category_weights(cortex: Cortex, kind: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Weights that fall off smoothly from the middle of each region, over weaker ones that vary along the cortex."""
    n, m = len(cortex), len(CATEGORIES)
    peaks = np.zeros((n, m))
    for name, distance in cortex.discs.items():
        column = CATEGORIES.index(CATEGORY[name][3])
        # Half of the peak at the region's border.
        peaks[:, column] = np.maximum(peaks[:, column], 0.5 ** (distance**2))
    own = rng.normal(0, 0.1, (n, m))
    diffuse = 0.4 * smooth_fields(cortex.xyz, m, rng)
    strongest = peaks.max(1, keepdims=True)
    peaks *= peaks / np.maximum(strongest, 1e-9)  # neighbours of other categories suppress each other
    weights = peaks @ _COUPLING + own + diffuse * (1 - strongest)
    weights[kind == "early"] = 0
    return weights


def _weighted(maps: np.ndarray, field: np.ndarray, weights: np.ndarray, power: np.ndarray | None = None) -> np.ndarray:
    """Sum over channels of weight * (map in the field, to a power), (n_pictures, n_voxels)."""
    total = np.zeros((len(maps), field.shape[1]), np.float32)
    for channel, weight in enumerate(weights.T.astype(np.float32)):
        inside = maps[:, channel].astype(np.float32) @ field
        total += weight * (inside if power is None else inside**power)
    return total


def _unit_sum(a: np.ndarray) -> np.ndarray:
    return a / a.sum(1, keepdims=True)


def _standard(a: np.ndarray) -> np.ndarray:
    a = a - a.mean(0, dtype=np.float64).astype(np.float32)
    sd = a.std(0, dtype=np.float64).astype(np.float32)
    # A part that never varies (a category not shown, say) adds nothing.
    return a / np.where(sd > 1e-6, sd, np.inf)
