"""What the localisers of a phantom subject show: receptive-field maps and category contrasts, with estimation noise."""

from __future__ import annotations

import numpy as np
import pandas as pd

from neuro.datasets.phantom.simulate import Subject

# Contrast -> the categories that it sets against all others.
CONTRASTS = {
    "faces": ("face",),
    "adult": ("face",),
    "bodies": ("body",),
    "body": ("body",),
    "places": ("place",),
    "house": ("place",),
    "characters": ("word",),
    "word": ("word",),
    "objects": ("food",),
}
# Blocks of each category in the localiser, in trials of the main experiment.
_TRIALS = 40


def receptive_field_maps(subject: Subject) -> dict[str, np.ndarray]:
    """Return prf_* maps, float32 (n_voxels,): degrees, except R2 in percent.

    Estimates scatter more where the voxel answers less; outside retinotopic cortex and the brain they mean little, as
    with people.
    """
    t, rng, n = subject.tuning, subject.rng(10), len(subject.cortex)
    mapped = ~np.isnan(subject.cortex.eccentricity) & subject.cortex.general
    share = np.where(mapped, 0.85, 0.35) * t.snr**2 / (t.snr**2 + 0.08)
    noise = np.minimum(np.sqrt((1 - share) / np.maximum(share, 0.02)), 5) * 0.12
    x, y = (v + noise * (0.4 + t.size) * rng.standard_normal(n) for v in (t.x, t.y))
    return {
        "prf_angle": np.degrees(np.arctan2(y, x)) % 360,
        "prf_eccentricity": np.hypot(x, y),
        "prf_size": t.size * np.exp(noise * rng.standard_normal(n)),
        "prf_exponent": np.clip(t.exponent + 0.1 * rng.standard_normal(n), 0.05, 1),
        "prf_gain": t.snr * t.noise_sd * np.exp(0.1 * rng.standard_normal(n)),
        "prf_R2": 100 * np.clip(share + 0.03 * np.abs(rng.standard_normal(n)), 0, 0.99),
    }


def category_contrasts(subject: Subject, signal: np.ndarray, table: pd.DataFrame) -> dict[str, np.ndarray]:
    """Return floc_*tval maps, float32 (n_voxels,): pictures whose main subject is a category against all others.

    Parameters
    ----------
    subject : Subject
    signal : array (n_images, n_responsive)
    table : DataFrame
        ``truth/stimuli.tsv``.
    """
    t, rng = subject.tuning, subject.rng(11)
    shown = table["category"].to_numpy()[subject.pictures]
    strength = t.snr[subject.responsive]
    out = {}
    for name, wanted in CONTRASTS.items():
        inside = np.isin(shown, wanted)
        values = rng.standard_normal(len(subject.cortex))
        if inside.any() and not inside.all():
            means = [signal[which].mean(0, dtype=np.float64) for which in (inside, ~inside)]
            values[subject.responsive] += strength * (means[0] - means[1]) * np.sqrt(_TRIALS * 5 / 6)
        out[f"floc_{name}tval"] = values
    return out
