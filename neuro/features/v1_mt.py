"""A trainable model of V1 and MT: motion energy, then recurrent integration into the flow that people see.

Responses to a clip are those of V1 and of MT after each of six rounds of exchange between places. As features of an
encoder, V1 should suit early visual areas and later rounds MT and MST.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from neuro._check import check_option, check_positive_int, is_tensor
from neuro.errors import CorruptFile, ShapeMismatch
from neuro.features._motion_files import read_safetensors, write_safetensors
from neuro.features._motion_input import luminance, read_clips
from neuro.features._v1_mt_energy import CELL, N_TAPS, SCALE, V1Stage
from neuro.features._v1_mt_integration import FlowDecoder, Integration, upsample

if TYPE_CHECKING:
    import pandas as pd

FORMAT = "neuro V1-MT model 1"


class V1MT(nn.Module):
    """Two-stage model of motion processing.

    Parameters
    ----------
    n_scales, n_units : int
        Spatial scales and units per scale; their product, 256, is the width of everything.
    n_frames : int
        Frames of a window; the flow is that of the middle frame.
    n_iterations : int
        Rounds of integration.
    init : {"tiled", "random"}
        Of V1: units that tile eight directions and four temporal frequencies, or random ones.
    seed : int
        Of all other weights (and of "random").

    Notes
    -----
    Filters are 1 at their peak, so energies of contrasts above some per cent are far above the floor s_0^2, and the
    normalised responses depend on contrast little. Images are padded by repetition of their edges. The second-order
    path of the extended model (texture-defined motion) is not part of it.

    References
    ----------
    Sun, Chen, Yang & Nishida (2023), Modeling Human Visual Motion Processing with Trainable Motion Energy Sensing and
    a Self-attention Network, NeurIPS, arXiv 2305.09156.

    Examples
    --------
    >>> model = V1MT(n_scales=2, n_units=8, n_iterations=2)
    >>> found = model.features(np.zeros((3, 11, 32, 32), np.uint8), border=1)
    >>> {stage: x.shape for stage, x in found.items()}
    {'V1': (3, 16), 'MT1': (3, 16), 'MT2': (3, 16)}
    """

    def __init__(
        self,
        n_scales: int = 8,
        n_units: int = 32,
        *,
        n_frames: int = 11,
        n_iterations: int = 6,
        init: str = "tiled",
        seed: int = 0,
    ):
        super().__init__()
        self.settings: dict[str, Any] = {
            "n_scales": check_positive_int("n_scales", n_scales),
            "n_units": check_positive_int("n_units", n_units, 2),
            "n_frames": check_positive_int("n_frames", n_frames, N_TAPS),
            "n_iterations": check_positive_int("n_iterations", n_iterations),
            "init": check_option("init", init, ("tiled", "random")),
            "seed": seed,
        }
        self.n_frames, self.width = n_frames, n_scales * n_units
        if self.width % 8:
            raise ValueError(f"n_scales x n_units must be a multiple of 8, got {n_scales} x {n_units}.")
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.v1 = V1Stage(n_scales, n_units, n_frames - N_TAPS + 1, init)
            self.mt = Integration(self.width, n_iterations)
            self.decoder = FlowDecoder(self.width)

    @property
    def stages(self) -> tuple[str, ...]:
        """Names of what can be read: V1, then MT after each round."""
        return ("V1", *(f"MT{i + 1}" for i in range(self.mt.n_iterations)))

    @property
    def units(self) -> pd.DataFrame:
        """What V1's filters are tuned to, one row per unit.

        scale; direction in degrees of motion, 0 rightwards, 90 upwards; spatial_frequency in cycles per pixel of the
        frames, temporal_frequency in cycles per frame; size, the envelope's standard deviation across the stripes, in
        pixels of the frames.
        """
        import pandas as pd

        with torch.no_grad():
            size, frequency, direction = (v.cpu().double().numpy() for v in self.v1.tuning())
            rate = 0.25 * self.v1.temporal_frequency.sigmoid().cpu().double().numpy()
        scale = np.arange(1, self.v1.n_scales + 1)[:, None]
        return pd.DataFrame(
            {
                "scale": np.broadcast_to(scale, size.shape).ravel(),
                "direction": np.rad2deg(direction).ravel() % 360,
                "spatial_frequency": (frequency * SCALE**scale).ravel(),
                "temporal_frequency": rate.ravel(),
                "size": (size / SCALE**scale).ravel(),
            }
        )

    def forward(self, frames: torch.Tensor) -> list[torch.Tensor]:
        """Return flow after each round, (B, 2, H, W) each, in pixels per frame: to the right, and down.

        Parameters
        ----------
        frames : tensor (B, n_frames, H, W)
            Grey levels on 0..1; H and W multiples of 8.
        """
        check_frames(self, frames)
        return [upsample(self.decoder(response), mask) for response, mask in self.mt(self.v1(frames))]

    def respond(self, frames: torch.Tensor, stages: Sequence[str] | None = None) -> dict[str, torch.Tensor]:
        """Return stage -> responses (B, width, H / 8, W / 8) to frames (B, n_frames, H, W); differentiable."""
        check_frames(self, frames)
        wanted = self.stages if stages is None else tuple(check_option("stage", s, self.stages) for s in stages)
        v1 = self.v1(frames)
        found = {"V1": v1}
        if wanted != ("V1",):
            found |= {f"MT{i + 1}": response for i, (response, _) in enumerate(self.mt(v1))}
        return {name: found[name] for name in wanted}

    def features(
        self,
        clips: Any,
        stages: Sequence[str] | None = None,
        *,
        per_location: bool = False,
        border: int = 7,
        stride: int | None = None,
        pool: str | None = "mean",
        batch_size: int = 8,
    ) -> dict[str, Any]:
        """Return responses to clips, averaged over places and, in clips longer than a window, over windows.

        Parameters
        ----------
        clips : array (n_clips, n_frames, h, w[, 3]), list of clips, or a collection with ``ids`` and iteration
            Colour is turned to grey (luma).
        stages : sequence of str, optional
            Among :attr:`stages`; all by default.
        per_location : bool
            Keep places, (n_clips, width, h / 8, w / 8), for receptive fields.
        border : int
            Cells of 8 pixels that are left out on every side, unless places are kept.
        stride : int, optional
            Frames from one window to the next; the window's length by default. Window i begins at frame i * stride.
        pool : {"mean", None}
            Average over windows, or keep them, (n_clips, n_windows, ...); then clips must have one length.
        batch_size : int
            Windows at once.

        Returns
        -------
        dict stage -> (n_clips, width) float32, with more axes if windows or places are kept

        Raises
        ------
        ShapeMismatch
            If clips are shorter than a window, differ in size, have sides that are no multiples of 8, or nothing is
            left inside the border.
        """
        step = self.n_frames if stride is None else check_positive_int("stride", stride)
        check_positive_int("batch_size", batch_size)
        check_positive_int("border", border, 0)
        check_option("pool", pool, ("mean", None))
        found: dict[str, list[torch.Tensor]] = {}
        with torch.no_grad():
            for clip in read_clips(clips, minimum=self.n_frames):
                grey = luminance(clip, "luma").to(self.v1.gain)
                if not per_location and min(grey.shape[1:]) // CELL <= 2 * border:
                    raise ShapeMismatch(
                        f"nothing is left of frames of {grey.shape[1]} x {grey.shape[2]} pixels inside a border of "
                        f"{border} cells of {CELL} pixels: give a smaller border, or frames above {2 * border * CELL}."
                    )
                windows = grey.unfold(0, self.n_frames, step).permute(0, 3, 1, 2)
                parts: dict[str, list[torch.Tensor]] = {}
                for some in windows.split(batch_size):
                    for name, x in self.respond(some, stages).items():
                        inner = x[..., border : x.shape[2] - border, border : x.shape[3] - border]
                        x = x if per_location else inner.mean((2, 3))
                        parts.setdefault(name, []).append(x if pool is None else x.sum(0, keepdim=True))
                for name, some in parts.items():
                    x = torch.cat(some)
                    found.setdefault(name, []).append(x if pool is None else x.sum(0) / len(windows))
        first = next(iter(found.values()))
        if any(len(x) != len(first[0]) for x in first):
            raise ShapeMismatch(
                f"clips must have one length to keep windows, these have {sorted({len(x) for x in first})} windows: "
                "use pool='mean', or read them one by one."
            )
        stacked = {name: torch.stack(parts) for name, parts in found.items()}
        return stacked if is_tensor(clips) else {name: x.cpu().numpy() for name, x in stacked.items()}

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write weights and settings as one safetensors file."""
        return write_safetensors(path, self.state_dict(), format=FORMAT, settings=json.dumps(self.settings))

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> V1MT:
        """Read what :meth:`save` wrote."""
        state, metadata = read_safetensors(path, FORMAT)
        try:
            model = cls(**json.loads(metadata["settings"]))
            model.load_state_dict(state)
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise CorruptFile(f"{path} does not hold the weights its settings describe: {error}") from error
        return model


def check_frames(model: V1MT, frames: torch.Tensor) -> None:
    """Say what is wrong with frames, if anything."""
    shape = tuple(frames.shape)
    if frames.ndim != 4 or shape[1] != model.n_frames:
        raise ShapeMismatch(f"frames must be (B, {model.n_frames}, H, W), grey, for this model; got {shape}.")
    if shape[2] % CELL or shape[3] % CELL or min(shape[2:]) < 2 * CELL:
        raise ShapeMismatch(
            f"frames must have sides that are multiples of {CELL} pixels, from {2 * CELL}; got {shape[2]} x {shape[3]}"
            ": crop or resize them."
        )
    if not frames.is_floating_point():
        raise ValueError(f"frames must be floating point on 0..1, got {frames.dtype}.")
