"""How a result was made: versions, seeds, fingerprints, times."""

from __future__ import annotations

import datetime
import importlib.metadata
import platform
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import neuro
from neuro._files import fingerprint
from neuro.study.config import StudyConfig

PACKAGES = (
    "numpy", "scipy", "pandas", "scikit-learn", "torch", "torchvision", "open_clip_torch", "timm",
    "nibabel", "nilearn", "h5py", "matplotlib", "pillow",
)  # fmt: skip


def versions() -> dict[str, str]:
    """Return the versions of Python, neuro and the packages that shape results; "absent" where not installed."""
    out = {"python": platform.python_version(), "neuro": neuro.__version__}
    for name in PACKAGES:
        try:
            out[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            out[name] = "absent"
    return out


def provenance(config: StudyConfig, keys: Sequence[str], seconds: Mapping[str, float], total: float) -> dict[str, Any]:
    """Return what a report prints under "how this was made"."""
    return {
        "versions": versions(),
        "platform": platform.platform(),
        "seeds": {"study": config.seed},
        "fingerprints": {"study file": fingerprint(config.to_dict()), "all steps": fingerprint(list(keys))},
        "timings": {**{k: round(v, 2) for k, v in seconds.items()}, "this run": round(total, 1)},
        "command": " ".join(["neuro", *sys.argv[1:]]),
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }
