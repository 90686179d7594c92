"""Anything that makes features, by name: networks and classical controls, as study files say it."""

from __future__ import annotations

from typing import Any

from neuro.features.models import DEFAULT
from neuro.features.pipeline import FeatureSource

#: Classical controls: name -> (module, class).
CONTROLS = {
    "gabor": ("gabor", "GaborPyramid"),
    "color": ("image_statistics", "ColorStatistics"),
    "pixels": ("image_statistics", "PixelStatistics"),
}


def open_source(model: str, pretrained: Any = DEFAULT, **options: Any) -> FeatureSource:
    """Return what reads features: an Extractor for a network's name, or a classical control.

    Parameters
    ----------
    model : str
        ``"gabor"``, ``"color"``, ``"pixels"``, or what :class:`~neuro.features.Extractor` takes.
    pretrained : str, path, True, None
        Of networks; None or False is the untrained twin.
    **options
        Passed on; networks take ``pool``, ``project``, ``seed``..., controls their own parameters.
    """
    if model in CONTROLS:
        import importlib

        module, name = CONTROLS[model]
        return getattr(importlib.import_module(f"neuro.features.{module}"), name)(**options)
    from neuro.features.extractor import Extractor

    return Extractor(model, None if pretrained is False else pretrained, **options)


def is_control(model: str) -> bool:
    """Whether a name means a classical control."""
    return model in CONTROLS
