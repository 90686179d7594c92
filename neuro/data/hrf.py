"""The haemodynamic response: how a voxel's answer to a brief stimulus rises, falls and undershoots."""

from __future__ import annotations

from typing import Any

import numpy as np

from neuro._check import check_option
from neuro.data._runs import as_numpy, as_rows, positive, run_borders
from neuro.errors import ShapeMismatch

HRFS = ("spm", "glover")
# The response is over by then in both models.
_HRF_SECONDS = 32.0
_OVERSAMPLING = 50


def hrf_kernel(tr: float, hrf: Any = "spm") -> np.ndarray:
    """Return the haemodynamic response to a brief stimulus at times 0, tr, 2 tr..., with sum 1.

    Parameters
    ----------
    tr : float
        Seconds between samples: the scanner's repetition time, or one over a frame rate.
    hrf : {"spm", "glover"} or array (n,)
        A model by name, sampled from nilearn's over 32 s, or values at these times, used as they are.

    Examples
    --------
    >>> h = hrf_kernel(0.5)
    >>> float(h.sum().round(6)), float(0.5 * h.argmax())
    (1.0, 5.0)
    """
    tr = positive("tr", tr, "seconds")
    if not isinstance(hrf, str):
        kernel = np.asarray(hrf, dtype=float)
        if kernel.ndim != 1 or not kernel.size or not np.isfinite(kernel).all():
            raise ShapeMismatch(f"hrf must be 'spm', 'glover' or finite values (n,), got shape {kernel.shape}.")
        return kernel
    check_option("hrf", hrf, HRFS)
    if tr >= _HRF_SECONDS:
        raise ValueError(f"tr must be below {_HRF_SECONDS:g} s, the length of the response, got {tr:g}.")
    from nilearn.glm import first_level

    make = first_level.spm_hrf if hrf == "spm" else first_level.glover_hrf
    # nilearn spaces its samples a little wider than tr / oversampling; on a fine grid that is below a thousandth.
    fine = make(min(tr, 1.0), oversampling=_OVERSAMPLING, time_length=_HRF_SECONDS)
    kernel = np.interp(np.arange(0, _HRF_SECONDS, tr), np.linspace(0, _HRF_SECONDS, len(fine)), fine)
    return kernel / kernel.sum()


def convolve_hrf(X: Any, tr: float, hrf: Any = "spm", runs: Any = None) -> np.ndarray:
    """Return features convolved with a haemodynamic response, each run for itself.

    Parameters
    ----------
    X : array (n_samples, n_features)
        Sampled every ``tr`` seconds.
    tr : float
    hrf : {"spm", "glover"} or array (n,)
        See :func:`hrf_kernel`.
    runs : array (n_samples,), optional

    Returns
    -------
    float64 array (n_samples, n_features)
        A feature that stays constant keeps its value, once the response has risen.

    Examples
    --------
    >>> convolve_hrf(np.array([[1.0], [0.0], [0.0]]), 1.0, hrf=[0.0, 0.6, 0.4])
    array([[0. ],
           [0.6],
           [0.4]])
    """
    X = as_rows(as_numpy(X)).astype(float)
    kernel = hrf_kernel(tr, hrf)
    from scipy.signal import oaconvolve

    out = np.empty_like(X)
    for start, stop in run_borders(len(X), runs):
        part = X[start:stop]
        if len(kernel) < 64:  # short kernels: exactly, so that zeros stay zeros
            total = np.zeros_like(part)
            for lag, value in enumerate(kernel[: len(part)]):
                total[lag:] += value * part[: len(part) - lag]
        else:
            total = oaconvolve(part, kernel[:, None], axes=0)[: len(part)]
        out[start:stop] = total
    return out
