"""Data sets: the Natural Scenes Dataset, and the phantom that imitates its files.

==========================  =====================================================================================
:class:`NSD`                a tree of the Natural Scenes Dataset (or of a phantom), whole or partly downloaded
:func:`open_dataset`        the same by name, ``open_dataset("nsd", root)``
``neuro.datasets.nsd``      its parts: layout, design, betas, regions, splits, captions, cache, download
``neuro.datasets.phantom``  rendered scenes and simulated subjects with known truth, written in NSD's formats
==========================  =====================================================================================
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from neuro._check import check_option

if TYPE_CHECKING:
    from neuro.datasets import nsd as nsd
    from neuro.datasets import phantom as phantom
    from neuro.datasets.nsd import NSD as NSD

__all__ = ["DATASETS", "NSD", "nsd", "open_dataset", "phantom"]

# Name -> (module, class); each class takes the root folder.
DATASETS = {"nsd": ("neuro.datasets.nsd", "NSD")}


def open_dataset(name: str, root: str | Path, **options: Any) -> Any:
    """Open a data set by name.

    Parameters
    ----------
    name : "nsd"
        An NSD tree; a phantom is one, too.
    root : folder
    options
        Passed to the class, as ``cache=`` for :class:`NSD`.
    """
    module, cls = DATASETS[check_option("name", name, DATASETS)]
    return getattr(importlib.import_module(module), cls)(root, **options)


def __getattr__(name: str):
    if name == "NSD":
        return importlib.import_module("neuro.datasets.nsd").NSD
    if name in ("nsd", "phantom"):
        return importlib.import_module(f"neuro.datasets.{name}")
    raise AttributeError(f"module 'neuro.datasets' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
