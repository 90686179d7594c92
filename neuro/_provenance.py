"""What every fitted encoder says of how it was made."""

from __future__ import annotations

import platform
from typing import Any

import numpy as np
import torch

import neuro


def provenance(device: Any, random_state: int | None, **more: Any) -> dict[str, Any]:
    """Return versions, device, seed, and ``more``.

    >>> sorted(provenance("cpu", 0))
    ['device', 'neuro', 'numpy', 'python', 'random_state', 'torch']
    """
    return {
        "neuro": neuro.__version__,
        "numpy": np.__version__,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "device": str(device),
        "random_state": random_state,
        **more,
    }
