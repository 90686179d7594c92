"""The nouns: stimuli, voxels and responses.

Everything else in neuro maps one onto another. All three are immutable: methods return new objects. ``Clips`` are
stimuli that move; ``fir_delays``, ``convolve_hrf``, ``downsample_to_tr``, ``time_splits`` and ``Delayer`` bring their
features to the pace of a scanner.
"""

from typing import TYPE_CHECKING, Any

from neuro.data.clips import Clips
from neuro.data.delays import downsample_to_tr, fir_delays, time_splits
from neuro.data.hrf import convolve_hrf, hrf_kernel
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

if TYPE_CHECKING:
    from neuro.data.delayer import Delayer as Delayer

__all__ = [
    "ArraySource",
    "Clips",
    "Delayer",
    "Responses",
    "Source",
    "Stimuli",
    "Surface",
    "Volume",
    "Voxels",
    "convolve_hrf",
    "downsample_to_tr",
    "fir_delays",
    "hrf_kernel",
    "ncsnr_from_repeats",
    "noise_ceiling",
    "spearman_brown",
    "split_half",
    "time_splits",
]


def __getattr__(name: str) -> Any:
    """Import what needs scikit-learn when it is first asked for."""
    if name == "Delayer":
        from neuro.data.delayer import Delayer

        return Delayer
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
