"""Tuning curves for direction and speed, component or pattern motion, and opponent directions.

A plaid is two gratings that drift at angles around one direction. A component-selective unit answers each of them as it
would alone, so its curve over plaids has two humps; a pattern-selective one answers the plaid as one moving thing. With
the curve each predicts (c and p; r_cp their correlation) and r_c, r_p the correlations with the curve measured,

    R_p = (r_p - r_c r_cp) / sqrt((1 - r_c^2) (1 - r_cp^2)),    R_c likewise,    Z = arctanh(R) sqrt(n - 3).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from neuro._check import check_positive_int
from neuro.errors import ShapeMismatch
from neuro.features._motion_stimuli import drifting_grating, plaid


@dataclass(frozen=True)
class Tuning:
    """Responses of units to a series of gratings.

    Attributes
    ----------
    values : (n_values,)
        Directions in degrees, or speeds.
    responses : (n_values, n_units)
    blank : (n_units,)
        Responses to the mean grey.
    """

    values: np.ndarray
    responses: np.ndarray
    blank: np.ndarray

    @property
    def preferred(self) -> np.ndarray:
        """Value that drives each unit most, (n_units,)."""
        return self.values[self.responses.argmax(0)]

    @property
    def direction_selectivity(self) -> np.ndarray:
        """``|sum r exp(i direction)| / sum r`` of the responses above their smallest, (n_units,): 0 for flat curves."""
        r = self.responses - self.responses.min(0)
        vector = np.exp(1j * np.deg2rad(self.values)) @ r
        return np.abs(vector) / np.maximum(r.sum(0), 1e-12)


@dataclass(frozen=True)
class PlaidTuning:
    """Component or pattern selectivity.

    Attributes
    ----------
    directions : (n_directions,)
    gratings, plaids : (n_directions, n_units)
        Responses.
    component_r, pattern_r : (n_units,)
        Partial correlations with the two predictions.
    component_z, pattern_z : (n_units,)
        The same after Fisher's transform, in standard deviations.
    """

    directions: np.ndarray
    gratings: np.ndarray
    plaids: np.ndarray
    component_r: np.ndarray
    pattern_r: np.ndarray
    component_z: np.ndarray
    pattern_z: np.ndarray

    @property
    def pattern_index(self) -> np.ndarray:
        """``pattern_z - component_z``, (n_units,)."""
        return self.pattern_z - self.component_z

    @property
    def kind(self) -> np.ndarray:
        """One of "pattern", "component" and "unclassed" per unit: whether one z exceeds the other, and 0, by 1.28."""
        pattern = self.pattern_z - np.maximum(self.component_z, 0) > 1.28
        component = self.component_z - np.maximum(self.pattern_z, 0) > 1.28
        return np.where(pattern, "pattern", np.where(component, "component", "unclassed"))


def direction_tuning(model: Any, directions: int | Sequence[float], sf: float, tf: float, **movie: Any) -> Tuning:
    """Measure responses to gratings of many directions.

    Parameters
    ----------
    model : MotionEnergy, or callable (n_clips, n_frames, h, w) float32 -> (n_clips, n_units)
    directions : int or sequence of float
        How many, evenly spaced over 360 degrees, or which.
    sf, tf, **movie
        As for :func:`drifting_grating`.
    """
    angles = _directions(directions)
    shown = [drifting_grating(a, sf, tf, **movie) for a in angles]
    return Tuning(angles, _responses(model, shown, movie), _blank(model, sf, movie))


def speed_tuning(model: Any, speeds: Sequence[float], sf: float, direction: float, **movie: Any) -> Tuning:
    """Measure responses to gratings of one spatial frequency at many speeds, in image heights per second.

    The temporal frequency is speed x sf, so a unit tuned to spatial and temporal frequencies f and w peaks at w / sf,
    which is its own speed w / f only for gratings of its own f. Arguments as for :func:`direction_tuning`.
    """
    values = np.asarray(speeds, dtype=float)
    shown = [drifting_grating(direction, sf, v * sf, **movie) for v in values]
    return Tuning(values, _responses(model, shown, movie), _blank(model, sf, movie))


def plaid_tuning(
    model: Any, directions: int | Sequence[float], sf: float, tf: float, *, angle: float = 120.0, **movie: Any
) -> PlaidTuning:
    """Tell component from pattern motion, with gratings and plaids of many directions.

    Parameters
    ----------
    model : as for :func:`direction_tuning`
    directions : int or sequence of float
        Evenly spaced; half the ``angle`` must be a multiple of their spacing.
    sf, tf : float
        Of every grating.
    angle : float
        Between the gratings of a plaid.
    **movie
        As for :func:`drifting_grating`.

    References
    ----------
    Movshon, Adelson, Gizzi & Newsome (1985); Smith, Majaj & Movshon (2005), Nature Neuroscience 8, 220-228.
    """
    angles = _directions(directions)
    gratings = _responses(model, [drifting_grating(a, sf, tf, **movie) for a in angles], movie)
    plaids = _responses(model, [plaid(a, sf, tf, angle=angle, **movie) for a in angles], movie)
    blank = _blank(model, sf, movie)
    component, pattern = partial_correlations(gratings - blank, plaids - blank, angles, angle)
    spread = np.sqrt(len(angles) - 3)
    z = [np.arctanh(np.clip(r, -1 + 1e-9, 1 - 1e-9)) * spread for r in (component, pattern)]
    return PlaidTuning(angles, gratings, plaids, component, pattern, z[0], z[1])


def partial_correlations(
    gratings: np.ndarray, plaids: np.ndarray, directions: np.ndarray, angle: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return partial correlations (n_units,) with the component and with the pattern prediction.

    Parameters
    ----------
    gratings, plaids : (n_directions, n_units)
        Responses above baseline, at the same evenly spaced directions.
    directions : (n_directions,) degrees
    angle : float
        Between a plaid's gratings.
    """
    n = len(directions)
    step = angle / 2 / (360 / n)
    even = np.allclose(np.diff(directions), 360 / n)
    if n < 5 or not even or abs(step - round(step)) > 1e-6:
        raise ValueError(
            f"directions must be 5 or more, evenly spaced over 360 degrees, in steps that divide angle / 2 = "
            f"{angle / 2:g}; got {n} of them, {360 / n:g} degrees apart."
        )
    k = round(step)
    component = np.roll(gratings, k, 0) + np.roll(gratings, -k, 0)
    r_c, r_p, r_cp = _corr(plaids, component), _corr(plaids, gratings), _corr(component, gratings)
    # Where one prediction is met exactly, nothing is left for the other: 0 instead of rounding over rounding.
    left = [np.sqrt(np.maximum(1 - r**2, 1e-6)) for r in (r_c, r_p, r_cp)]
    return (r_c - r_p * r_cp) / (left[1] * left[2]), (r_p - r_c * r_cp) / (left[0] * left[2])


def opponent_pooling(
    energy: np.ndarray, direction: np.ndarray, at: Sequence[float] = (0, 45, 90, 135), group: Any = None
) -> np.ndarray:
    """Pool energies into opponent-direction signals: what moves towards a direction minus what moves against it.

    For a direction a it is ``sum_i cos(d_i - a) E_i / sum_i E_i`` over units i of direction d_i: between -1 and 1, 0
    for flicker and for motion across, of opposite sign for opposite motion.

    Parameters
    ----------
    energy : (..., n_units), >= 0
        Motion energies or amplitudes, not logarithms.
    direction : (n_units,) degrees
        Preferred directions of motion; units with NaN are left out. Filters of 0 Hz prefer none: set theirs to NaN.
    at : sequence of float
        Directions to ask about.
    group : array (n_units,) or (n_units, n_keys), optional
        Pool apart by this label, or combination of labels (a scale, a place); by default all together.

    Returns
    -------
    (..., n_directions), or (..., n_groups, n_directions), groups sorted

    References
    ----------
    Adelson & Bergen (1985), J. Opt. Soc. Am. A 2, 284-299.
    """
    energy, direction = np.asarray(energy, dtype=float), np.asarray(direction, dtype=float)
    if direction.ndim != 1 or energy.shape[-1:] != direction.shape:
        raise ShapeMismatch(
            f"direction must have one angle per unit: {energy.shape} energies, {direction.shape} angles."
        )
    if not np.isfinite(energy).all() or energy.min() < 0:
        raise ValueError("energy must be finite and 0 or more: pool energies or amplitudes, not their logarithms.")
    keys = np.zeros(len(direction)) if group is None else np.asarray(group)
    if len(keys) != len(direction):
        raise ShapeMismatch(f"group must have a label per unit: {len(keys):,} for {len(direction):,} units.")
    labels = np.unique(keys, axis=0, return_inverse=True)[1].reshape(-1)
    weight = np.cos(np.deg2rad(direction[:, None] - np.asarray(at, dtype=float)))
    moving = np.isfinite(direction)
    pooled = []
    for label in range(labels.max() + 1):
        mine = moving & (labels == label)
        total = energy[..., mine].sum(-1, keepdims=True)
        pooled.append(energy[..., mine] @ weight[mine] / np.maximum(total, 1e-12))
    return pooled[0] if group is None else np.stack(pooled, -2)


def _responses(model: Any, shown: list[np.ndarray], movie: dict[str, Any]) -> np.ndarray:
    if hasattr(model, "transform_clips"):
        fps = movie.get("fps", 24.0)
        respond: Callable = lambda clips: model.transform_clips(clips, fps=fps, pool="mean")  # noqa: E731
    else:
        respond = model
    rows = [np.asarray(respond(clip[None]), dtype=np.float64) for clip in shown]
    for row in rows:
        if row.ndim != 2 or len(row) != 1:
            raise ShapeMismatch(
                "model must return (n_clips, n_units) for clips (n_clips, n_frames, h, w); it returned "
                f"{row.shape} for {shown[0][None].shape}."
            )
    return np.concatenate(rows)


def _blank(model: Any, sf: float, movie: dict[str, Any]) -> np.ndarray:
    return _responses(model, [drifting_grating(0, sf, 0, **{**movie, "contrast": 0.0})], movie)[0]


def _directions(directions: int | Sequence[float]) -> np.ndarray:
    if np.ndim(directions) > 0:
        return np.asarray(directions, dtype=float)
    n = check_positive_int("directions", directions, 2)
    return np.arange(n) * 360.0 / n


def _corr(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    a, b = a - a.mean(0), b - b.mean(0)
    return (a * b).sum(0) / np.maximum(np.sqrt((a**2).sum(0) * (b**2).sum(0)), 1e-30)
