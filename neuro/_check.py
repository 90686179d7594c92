"""Small checks that carry most error messages."""

from __future__ import annotations

import importlib
from collections.abc import Iterable
from types import ModuleType
from typing import Any

import numpy as np


def check_option(name: str, value: Any, allowed: Iterable[Any]) -> Any:
    """Return ``value`` if it is one of ``allowed``; otherwise say what is.

    >>> check_option("zscore", "sesion", ["session", "run"])
    Traceback (most recent call last):
    ValueError: zscore must be 'session' or 'run', got 'sesion'.
    """
    allowed = list(allowed)
    if not any(value is a or (type(value) is type(a) and value == a) for a in allowed):
        listed = [repr(a) for a in allowed]
        text = listed[0] if len(listed) == 1 else f"{', '.join(listed[:-1])} or {listed[-1]}"
        raise ValueError(f"{name} must be {text}, got {value!r}.")
    return value


def require(module: str, purpose: str, extra: str | None = None) -> ModuleType:
    """Import an optional module, or say what it was needed for and how to get it."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        package = f"'neuro[{extra}]'" if extra else module.split(".")[0]
        raise ModuleNotFoundError(
            f"{purpose} needs {module.split('.')[0]}. Install it with: pip install {package}"
        ) from error


def check_positive_int(name: str, value: Any, minimum: int = 1) -> int:
    """Return ``value`` as int, at least ``minimum``.

    >>> check_positive_int("n_sessions", 3)
    3
    """
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < minimum:
        raise ValueError(f"{name} must be an integer of at least {minimum}, got {value!r}.")
    return int(value)


def as_rng(rng: int | np.random.Generator | None) -> np.random.Generator:
    """Return a Generator from a seed, a Generator (passed through) or None."""
    return rng if isinstance(rng, np.random.Generator) else np.random.default_rng(rng)


def is_tensor(x: Any) -> bool:
    """Whether ``x`` is a torch tensor, without importing torch."""
    import sys

    torch = sys.modules.get("torch")
    return torch is not None and isinstance(x, torch.Tensor)
