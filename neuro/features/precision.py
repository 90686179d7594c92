"""Number formats of the forward pass: an explicit, recorded choice.

=============  =========================================================================================
``float32``    weights and activations float32 (TF32 switched off on GPUs)
``bfloat16``   weights and activations bfloat16: 8 bits of mantissa; fast on CPUs with AMX and on GPUs
``float16``    weights and activations float16: GPUs; overflows above 65,504
``amp``        float32 weights, autocast to bfloat16 on CPUs and to float16 on GPUs
``auto``       ``bfloat16`` where the CPU has AMX, ``amp`` on GPUs, else ``float32``; resolved at once and recorded
=============  =========================================================================================

:func:`compare_precision` measures what a choice does to the features.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from neuro._check import check_option

if TYPE_CHECKING:
    import pandas as pd

    from neuro.features.extractor import Extractor

PRECISIONS = ("float32", "bfloat16", "float16", "amp", "auto")


@dataclass(frozen=True)
class Precision:
    """How a forward pass computes: dtype of the weights and, under autocast, of the products."""

    name: str
    weights: torch.dtype
    autocast: torch.dtype | None = None

    def describe(self) -> str:
        """Return the name that manifests carry, e.g. ``"bfloat16"`` or ``"amp(bfloat16)"``."""
        return f"amp({str(self.autocast).removeprefix('torch.')})" if self.autocast else self.name

    @contextlib.contextmanager
    def active(self, device: torch.device) -> Iterator[None]:
        """Compute in this precision inside the block."""
        with contextlib.ExitStack() as stack:
            if self.autocast is not None:
                stack.enter_context(torch.autocast(device.type, dtype=self.autocast))
            if device.type == "cuda" and self.name == "float32":
                now = torch.backends.cudnn
                stack.enter_context(now.flags(now.enabled, now.benchmark, now.deterministic, allow_tf32=False))
            yield


def resolve_precision(name: str, device: torch.device) -> Precision:
    """Return the number formats behind a name on this device."""
    check_option("precision", name, PRECISIONS)
    if name == "auto":
        name = "amp" if device.type == "cuda" else "bfloat16" if has_amx() else "float32"
    if name == "amp":
        return Precision(name, torch.float32, torch.float16 if device.type == "cuda" else torch.bfloat16)
    return Precision(name, getattr(torch, name))


def has_amx() -> bool:
    """Whether this CPU multiplies bfloat16 matrices in hardware (Intel AMX)."""
    probe = getattr(torch.cpu, "_is_amx_tile_supported", None)
    if probe is not None:
        return bool(probe())
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            return "amx_bf16" in file.read()
    except OSError:
        return False


def compare_precision(
    extractor: Extractor,
    stimuli: Any,
    precisions: Sequence[str] = ("bfloat16", "amp"),
    layers: Sequence[str] | None = None,
) -> pd.DataFrame:
    """Measure what number formats change: features against the float32 features of the same network and images.

    Parameters
    ----------
    extractor : Extractor
        Its own precision does not matter.
    stimuli : Stimuli or uint8 array (n, h, w, 3)
    precisions : names of :data:`PRECISIONS`
    layers : names, optional

    Returns
    -------
    DataFrame with one row per precision and layer
        ``cosine`` (mean over images, of features minus their float32 mean over images, so that a shared offset does not
        flatter it), ``relative_error`` (Frobenius norm of the difference over that of the same centred features),
        ``images_per_second`` and ``speedup`` over float32, preprocessing included.
    """
    import pandas as pd

    def timed(name: str):
        one = extractor.with_options(precision=name)
        one.extract(stimuli, layers=layers, progress=False)  # the first pass pays for packing weights
        start = time.perf_counter()
        features = one.extract(stimuli, layers=layers, progress=False)
        return features, len(features.ids) / (time.perf_counter() - start)

    reference, base_speed = timed("float32")
    rows = []
    for name in precisions:
        features, speed = timed(name)
        for layer in reference.layers:
            full = reference.rows(layer).astype(np.float64)
            centre = full.mean(0)
            a, b = full - centre, features.rows(layer).astype(np.float64) - centre
            norms = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
            cosine = np.divide((a * b).sum(1), norms, out=np.ones(len(a)), where=norms > 0)
            scale = np.linalg.norm(a)
            error = float(np.linalg.norm(a - b) / scale) if scale > 0 else 0.0
            rows.append(
                {
                    "precision": name,
                    "layer": layer,
                    "cosine": float(cosine.mean()),
                    "relative_error": error,
                    "images_per_second": speed,
                    "speedup": speed / base_speed,
                }
            )
    return pd.DataFrame(rows)
