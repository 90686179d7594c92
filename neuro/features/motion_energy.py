r"""Motion energy: what a bank of spatiotemporal Gabor filters, like direction-selective cells of V1, makes of a movie.

A filter is a Gabor function in space (frequency f in cycles per image height, Gaussian envelope) times one in time
(frequency w in Hz), tuned to waves that move in its direction at speed w / f. With both phases in quadrature,

    response = log(1e-5 + sqrt(odd^2 + even^2)),

which is high while something of that scale, direction and speed moves through its place, whatever its phase.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from neuro._check import check_option, check_positive_int, is_tensor
from neuro.errors import ShapeMismatch
from neuro.features._motion_filters import (
    Layout,
    arrange,
    filter_space,
    filter_time,
    plan_layout,
    spatial_filters,
    table_of,
    temporal_filters,
)
from neuro.features._motion_input import LUMINANCES, check_clip, check_fps, luminance, read_clips

if TYPE_CHECKING:
    import pandas as pd

COMPRESSIONS = {"log": lambda amplitude: torch.log(1e-5 + amplitude), "none": lambda amplitude: amplitude}
"""What is done to amplitudes: log(1e-5 + amplitude), or nothing."""

PADDINGS = ("edge", "zeros")


class MotionEnergy:
    """A pyramid of motion-energy filters over a movie.

    Envelopes have standard deviation min(0.6 / f, 0.3) image heights and stand 3.5 of them apart; in time min(10 / w,
    0.3) of a window of two thirds of a second, centred on the frame. Filters of 0 Hz have no direction of motion and
    come in half the directions only; where a filter stands, there is also one of spatial frequency 0 (a flicker
    detector) per temporal frequency and envelope. Square movies have 6,555 filters, the number of Nishimoto et al.;
    1,380 without the finest ones of 32 cycles.

    Parameters
    ----------
    fps : float
        Frames per second of the movies.
    size : (height, width)
        Pixels; larger or smaller frames of the same shape are resized to it (antialiased), others refused.
    temporal_frequencies : sequence of float
        In Hz.
    spatial_frequencies : sequence of float
        In cycles per image height.
    n_directions : int, even
    compress : {"log", "none"}
        Take log(1e-5 + amplitude), or leave amplitudes.
    luminance : {"lstar", "linear", "luma"}
        What filters look at, on 0..100: CIE L* (the default, perceived lightness), linear luminance, or the stored grey
        level. Colour is not used; grey movies are taken as sRGB grey levels.
    padding : {"edge", "zeros"}
        What stands before the first and after the last frame: these frames themselves, so that a still picture is
        still everywhere, or darkness, which is how pymoten does it.
    memory_limit : int
        Bytes of working memory beside movie and result.

    Notes
    -----
    ``direction`` is that of **physical motion** in degrees: 0 towards larger column indices (rightwards), 90 upwards
    in the picture. The labels of the pymoten package are turned by 180 degrees against it; everything else agrees, but
    for Gaussian tails, which pymoten cuts off at 0.001.

    References
    ----------
    Adelson & Bergen (1985), J. Opt. Soc. Am. A 2, 284-299; Nishimoto et al. (2011), Current Biology 21, 1641-1646;
    Nunez-Elizalde et al., pymoten.

    Examples
    --------
    >>> pyramid = MotionEnergy(fps=15, size=(24, 32), spatial_frequencies=(0, 2, 4))
    >>> pyramid.transform(np.zeros((12, 24, 32), np.uint8)).shape, len(pyramid.filters)
    ((12, 46), 46)
    """

    name = "motion_energy"

    def __init__(
        self,
        fps: float,
        size: tuple[int, int],
        temporal_frequencies: Sequence[float] = (0, 2, 4),
        spatial_frequencies: Sequence[float] = (0, 2, 4, 8, 16, 32),
        n_directions: int = 8,
        *,
        compress: str = "log",
        luminance: str = "lstar",
        padding: str = "edge",
        memory_limit: int = 2**28,
    ):
        self.fps = check_fps(fps)
        if np.shape(size) != (2,):
            raise ValueError(f"size must be (height, width) in pixels, got {size!r}.")
        self.size = (check_positive_int("height", size[0], 8), check_positive_int("width", size[1], 8))
        aspect = self.size[1] / self.size[0]
        highest = (self.size[0] - 1) / 2, (self.size[1] - 1) / 2 / aspect
        self.spatial_frequencies = _frequencies("spatial_frequencies", spatial_frequencies, min(highest))
        if max(self.spatial_frequencies) == 0:
            raise ValueError("spatial_frequencies must hold one above 0: filters stand on its grid.")
        self.temporal_frequencies = _frequencies("temporal_frequencies", temporal_frequencies, self.fps / 2)
        self.n_directions = check_positive_int("n_directions", n_directions, 2)
        if self.n_directions % 2:
            raise ValueError(f"n_directions must be even, every direction has its opposite, got {n_directions}.")
        self.compress = check_option("compress", compress, COMPRESSIONS)
        self.luminance = check_option("luminance", luminance, LUMINANCES)
        self.padding = check_option("padding", padding, PADDINGS)
        self.memory_limit = check_positive_int("memory_limit", memory_limit)
        self.n_taps = int(self.fps * 2 / 3)
        if self.n_taps < 2:
            raise ValueError(f"fps must be at least 3, so that two thirds of a second hold two frames, got {fps}.")
        self._layout: Layout = plan_layout(
            aspect, self.n_directions, self.spatial_frequencies, self.temporal_frequencies, 3.5
        )
        self._banks: dict[Any, list[tuple[torch.Tensor, torch.Tensor]]] = {}

    @property
    def filters(self) -> pd.DataFrame:
        """One row per filter, in the order of the columns of :meth:`transform`.

        x and y are the centre as fractions of the image's width (from the left) and height (from the top);
        spatial_frequency is in cycles per image height, temporal_frequency in Hz; direction in degrees of physical
        motion, 0 rightwards, 90 upwards, NaN for spatial frequency 0, and for 0 Hz the direction across the stripes;
        size is the standard deviation of the envelope in image heights, duration that in time, in seconds.
        """
        return table_of(self._layout, self.n_taps / self.fps)

    @property
    def settings(self) -> dict[str, Any]:
        """All that the numbers depend on."""
        names = ("fps", "size", "temporal_frequencies", "spatial_frequencies", "n_directions")
        return {name: getattr(self, name) for name in (*names, "compress", "luminance", "padding")}

    def transform(self, frames: Any) -> Any:
        """Return responses (n_frames, n_filters) float32, a tensor for a tensor.

        Parameters
        ----------
        frames : array or tensor (n_frames, height, width) or (n_frames, height, width, 3)
            One clip, uint8 or floating point on 0..1.

        Raises
        ------
        ShapeMismatch
            If the axes are in another order, there are fewer frames than the filters' window, or frames have another
            aspect ratio than ``size``.
        ValueError
            If frames are not finite or not on 0..1.
        """
        clip = check_clip(frames, minimum=self.n_taps)
        with torch.no_grad():
            out = self._energy(clip).float()
        return out if is_tensor(frames) else out.numpy()

    def transform_clips(self, clips: Any, fps: float | None = None, pool: str | None = None) -> Any:
        """Return responses of many clips of one length.

        Parameters
        ----------
        clips : array (n_clips, n_frames, h, w[, 3]), list of clips, or a collection with ``fps``, ``ids`` and iteration
        fps : float, optional
            Frames per second of the clips, if they do not say; must be the pyramid's.
        pool : {None, "mean"}
            Keep every frame, or average over them; only then may clips differ in length.

        Returns
        -------
        (n_clips, n_frames, n_filters), or (n_clips, n_filters) with ``pool``; float32
        """
        check_option("pool", pool, (None, "mean"))
        found = read_clips(clips, fps, self.n_taps)
        if found.fps is not None and not math.isclose(found.fps, self.fps):
            raise ValueError(
                f"these clips play at {found.fps:g} frames per second and the filters are made for {self.fps:g}: make "
                f"MotionEnergy(fps={found.fps:g}, ...), or bring the clips to {self.fps:g}."
            )
        out: list[torch.Tensor] = []
        with torch.no_grad():
            for key, clip in zip(found.ids, found, strict=True):
                energy = self._energy(clip).float()
                if pool is None and out and len(energy) != len(out[0]):
                    raise ShapeMismatch(
                        f"clips must have one length to be stacked: clip {found.ids[0]!r} has {len(out[0])} frames, "
                        f"clip {key!r} has {len(energy)}. Use pool='mean', or transform them one by one."
                    )
                out.append(energy if pool is None else energy.mean(0))
        stacked = torch.stack(out)
        return stacked if is_tensor(clips) else stacked.cpu().numpy()

    def motion_energy(self, frames: torch.Tensor) -> torch.Tensor:
        """Return responses (n_frames, n_filters) that can be differentiated with respect to the frames.

        Parameters
        ----------
        frames : floating tensor (n_frames, height, width) or (n_frames, height, width, 3) on 0..1
        """
        return self._energy(check_clip(frames, minimum=self.n_taps))

    def _energy(self, clip: torch.Tensor) -> torch.Tensor:
        dtype = torch.float64 if clip.dtype == torch.float64 else torch.float32
        banks = self._bank(dtype, clip.device)
        numbers = max(gx.shape[0] * gx.shape[1] for gx, _ in banks)
        step = max(1, self.memory_limit // (8 * self.size[0] * (2 * self.size[1] + 4 * numbers)))
        z: list[list[torch.Tensor]] = [[] for _ in banks]
        for start in range(0, len(clip), step):
            seen = self._look(clip[start : start + step]).to(dtype)
            for found, (gx, gy) in zip(z, banks, strict=True):
                found.append(filter_space(seen, gx, gy))
        taps = torch.from_numpy(temporal_filters(self._layout, self.n_taps, self.fps)).to(banks[0][0])
        return torch.cat([self._in_time(torch.cat(parts), taps) for parts in z], 1)

    def _in_time(self, z: torch.Tensor, taps: torch.Tensor) -> torch.Tensor:
        n, before = len(z), len(taps) - math.ceil(len(taps) / 2)
        after = len(taps) - 1 - before
        ends = (z[:1], z[-1:]) if self.padding == "edge" else (torch.zeros_like(z[:1]),) * 2
        z = torch.cat([ends[0].expand(before, *z.shape[1:]), z, ends[1].expand(after, *z.shape[1:])])
        step = max(1, self.memory_limit // (32 * z[0].numel() * len(taps)))
        compress, out = COMPRESSIONS[self.compress], []
        for start in range(0, n, step):
            stop = min(start + step, n)
            amplitudes = filter_time(z[start : stop + len(taps) - 1], taps)
            out.append(compress(arrange(amplitudes, self._layout)))
        return torch.cat(out)

    def _look(self, frames: torch.Tensor) -> torch.Tensor:
        grey = 100 * luminance(frames, self.luminance)
        h, w = grey.shape[1:]
        if (h, w) == self.size:
            return grey
        if abs(w * self.size[0] - h * self.size[1]) > max(self.size[0], h):
            raise ShapeMismatch(
                f"frames must have the aspect ratio of size {self.size[0]} x {self.size[1]}, got {h} x {w} pixels: "
                "other shapes would turn directions. Make MotionEnergy(size=...) to fit, or crop."
            )
        resize = torch.nn.functional.interpolate
        return resize(grey[:, None], self.size, mode="bilinear", antialias=True, align_corners=False)[:, 0]

    def _bank(self, dtype: torch.dtype, device: torch.device) -> list[tuple[torch.Tensor, torch.Tensor]]:
        key = (dtype, device)
        if key not in self._banks:
            complex_ = torch.complex128 if dtype == torch.float64 else torch.complex64
            made = [spatial_filters(self._layout, block, *self.size) for block in self._layout.blocks]
            self._banks[key] = [
                (torch.from_numpy(gx).to(device, complex_), torch.from_numpy(gy).to(device, complex_))
                for gx, gy in made
            ]
        return self._banks[key]


def _frequencies(name: str, values: Sequence[float], highest: float) -> tuple[float, ...]:
    found = tuple(float(v) for v in np.atleast_1d(np.asarray(values, dtype=float)))
    if not found or not np.isfinite(found).all() or min(found) < 0 or max(found) > highest:
        what = "cycles per image height, half the pixels" if name.startswith("spatial") else "Hz, half the frame rate"
        raise ValueError(f"{name} must lie between 0 and {highest:g} ({what}), got {list(found)}.")
    if len(set(found)) < len(found):
        raise ValueError(f"{name} must differ from each other, got {list(found)}.")
    return tuple(sorted(found))
