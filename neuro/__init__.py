"""Vision networks and brains, in both directions, over one set of objects.

Stimuli and responses are the two nouns; features, encoders, decoders, RSA and synthesis map one onto the other.
Subpackages load when first used, so ``import neuro`` stays light.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

__version__ = "0.1.0"

_SUBMODULES = (
    "data",
    "datasets",
    "decoders",
    "encoders",
    "errors",
    "features",
    "linear",
    "plotting",
    "report",
    "rsa",
    "stats",
    "study",
)
__all__ = ["__version__", *_SUBMODULES]

if TYPE_CHECKING:
    from neuro import data as data
    from neuro import datasets as datasets
    from neuro import decoders as decoders
    from neuro import encoders as encoders
    from neuro import errors as errors
    from neuro import features as features
    from neuro import linear as linear
    from neuro import plotting as plotting
    from neuro import report as report
    from neuro import rsa as rsa
    from neuro import stats as stats
    from neuro import study as study


def __getattr__(name: str):
    if name in _SUBMODULES:
        return importlib.import_module(f"neuro.{name}")
    raise AttributeError(f"module 'neuro' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
