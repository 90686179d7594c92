"""The nouns: stimuli, voxels and responses.

Everything else in neuro maps one onto another. All three are immutable: methods return new objects.
"""

from neuro.data.reliability import (
    ncsnr_from_repeats,
    noise_ceiling,
    spearman_brown,
    split_half,
)
from neuro.data.responses import Responses
from neuro.data.source import ArraySource, Source
from neuro.data.stimuli import Stimuli
from neuro.data.voxels import Surface, Volume, Voxels

__all__ = [
    "ArraySource",
    "Responses",
    "Source",
    "Stimuli",
    "Surface",
    "Volume",
    "Voxels",
    "ncsnr_from_repeats",
    "noise_ceiling",
    "spearman_brown",
    "split_half",
]
