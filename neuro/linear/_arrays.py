"""Arrays in, arrays of the same kind out: the only place of the encoders that knows numpy from torch."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import torch

SMALL_DTYPES = (torch.float32, torch.float16, torch.bfloat16, torch.int8, torch.uint8, torch.int16)


def as_tensor(a: np.ndarray) -> torch.Tensor:
    """Return a CPU tensor over the memory of ``a``, which may be read-only: nobody here writes to an input."""
    if not a.dtype.isnative:
        a = a.astype(a.dtype.newbyteorder("="))
    if a.dtype.kind not in "fiu" or a.dtype.itemsize > 8 or (a.dtype.kind == "u" and a.dtype.itemsize > 1):
        a = a.astype(np.float64)
    if any(stride < 0 for stride in a.strides):
        a = np.ascontiguousarray(a)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*not writable.*")
        return torch.from_numpy(a)


def working_dtype(X: torch.Tensor, Y: torch.Tensor) -> torch.dtype:
    """Return float32 if neither side needs more, else float64."""
    return torch.float32 if X.dtype in SMALL_DTYPES and Y.dtype in SMALL_DTYPES else torch.float64


def check_device(device: Any, data: torch.Tensor) -> torch.device:
    """Return the device to compute on; None is where the data is, and a device that is absent is an error."""
    if device is None:
        return data.device
    try:
        wanted = torch.device(device)
        torch.empty(0, device=wanted)
    except (RuntimeError, AssertionError, TypeError, NotImplementedError) as error:
        present = ["cpu"]
        if torch.cuda.is_available():
            present += [f"cuda:{i}" for i in range(torch.cuda.device_count())]
        if torch.backends.mps.is_available():
            present.append("mps")
        raise ValueError(
            f"device must name a device of this machine ({', '.join(present)}) or be None, got {device!r}."
        ) from error
    if wanted.type == "mps":
        raise ValueError("device='mps' has no float64, which the decompositions need; use 'cpu', got 'mps'.")
    return wanted


def like_input(t: torch.Tensor, home: torch.device | None) -> Any:
    """Return ``t`` as a numpy array (``home`` None) or as a tensor on ``home``."""
    return t.cpu().numpy() if home is None else t.to(home)


def tensor_of(a: Any, device: torch.device | str = "cpu") -> torch.Tensor:
    """Return a fitted attribute, whichever kind it is stored as, as a tensor on ``device``."""
    return (a if isinstance(a, torch.Tensor) else as_tensor(np.asarray(a))).to(device)


def array_of(a: Any) -> np.ndarray:
    """Return a fitted attribute, whichever kind it is stored as, as a numpy array."""
    return a.detach().cpu().numpy() if isinstance(a, torch.Tensor) else np.asarray(a)


def gram64(A: torch.Tensor, max_bytes: int = 2**27) -> torch.Tensor:
    """Return ``A'A`` in float64, converting few rows at a time and computing little more than one triangle."""
    n, p = A.shape
    out = torch.zeros(p, p, dtype=torch.float64, device=A.device)
    width = max(512, -(-p // 8))
    columns = [slice(i, min(i + width, p)) for i in range(0, p, width)]
    rows = max(1, min(n, max(p, max_bytes // (8 * max(p, 1)))))
    for start in range(0, n, rows):
        block = A[start : start + rows].double()
        for here in columns:
            out[here, here.start :].addmm_(block[:, here].T, block[:, here.start :])
    for here in columns:
        out[here.stop :, here] = out[here, here.stop :].T
    return out


def matmul64(A: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """Return ``A @ x`` in float64 for a vector ``x``, converting few rows at a time."""
    step = max(1, 2**22 // max(A.shape[1], 1))
    return torch.cat([A[i : i + step].double() @ x for i in range(0, len(A), step)])
