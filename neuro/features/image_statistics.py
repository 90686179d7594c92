"""Colour and pixel statistics: what an encoding model explains without any network."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from neuro._check import check_option, check_positive_int
from neuro.features._color import XYZ, cie_root, linear_rgb
from neuro.features.gabor import specs_of
from neuro.features.pipeline import DTYPES, FeatureSource, frames_of, mean_of_groups
from neuro.features.preprocess import Preprocess


class _Statistics(FeatureSource):
    """Shared by the two: square RGB images on 0..1 in, named columns out."""

    def __init__(self, size: int, grid: int, batch_size: int, dtype: str):
        self.size = check_positive_int("size", size, 8)
        self.grid = check_positive_int("grid", grid)
        if self.size % self.grid:
            raise ValueError(f"size must be a multiple of grid, got {size} and {grid}.")
        self.batch_size = check_positive_int("batch_size", batch_size)
        self.dtype = check_option("dtype", dtype, DTYPES)
        self.preprocess = Preprocess((size, size), (0, 0, 0), (1, 1, 1), interpolation="bilinear")

    @property
    def columns(self) -> dict[str, list[str]]:
        """Layer -> name of every feature."""
        raise NotImplementedError

    @property
    def layers(self) -> dict[str, tuple[int, ...]]:
        """Layer -> shape for one image."""
        return {name: (len(columns),) for name, columns in self.columns.items()}

    def identity(self) -> dict[str, Any]:
        """Return all settings."""
        settings = {"size": self.size, "grid": self.grid}
        return {"network": {"source": self.name}, "settings": settings, "preprocess": self.preprocess.to_dict()}

    def layer_specs(self, layers: Sequence[str] | None) -> dict[str, dict[str, Any]]:
        """Return shapes; all layers by default."""
        return specs_of(self.layers, list(self.layers) if layers is None else layers, self.name)

    def prepare(self, items: list[Any]) -> tuple[torch.Tensor, list[int]]:
        """Return RGB frames (n, 3, size, size) on 0..1 and how many each stimulus has."""
        frames, counts = frames_of(items)
        return self.preprocess(frames), counts

    def compute(self, prepared: Any, layers: Sequence[str], pad_to: int = 0) -> dict[str, np.ndarray]:
        """Return statistics, averaged over the frames of clips."""
        frames, counts = prepared
        found = self._measure(frames)
        return {name: mean_of_groups(found[name].numpy(), counts) for name in layers}

    def _measure(self, rgb: torch.Tensor) -> dict[str, torch.Tensor]:
        raise NotImplementedError


class ColorStatistics(_Statistics):
    """Mean and spread of CIELAB lightness and opponent colours, and mean chroma, in the cells of a grid.

    Parameters
    ----------
    grid : int
        Cells per side.
    size : int
        Images are brought to ``size`` x ``size`` pixels first.

    Examples
    --------
    >>> ColorStatistics(grid=2).layers
    {'color': (28,)}
    """

    name = "color"

    def __init__(self, grid: int = 4, size: int = 64, *, batch_size: int = 128, dtype: str = "float32"):
        super().__init__(size, grid, batch_size, dtype)

    @property
    def columns(self) -> dict[str, list[str]]:
        """Layer -> name of every feature: statistic, then row and column of the cell."""
        names = ["L_mean", "a_mean", "b_mean", "L_sd", "a_sd", "b_sd", "chroma"]
        return {"color": [f"{n}_{r}_{c}" for n in names for r in range(self.grid) for c in range(self.grid)]}

    def _measure(self, rgb: torch.Tensor) -> dict[str, torch.Tensor]:
        lab = to_lab(rgb)
        pool = torch.nn.functional.avg_pool2d
        cell = self.size // self.grid
        mean = pool(lab, cell)
        centred = lab - mean.repeat_interleave(cell, 2).repeat_interleave(cell, 3)
        spread = pool(centred.square(), cell).sqrt()
        chroma = pool(lab[:, 1:].norm(dim=1, keepdim=True), cell)
        return {"color": torch.cat([mean, spread, chroma], 1).flatten(1)}


class PixelStatistics(_Statistics):
    """Luminance moments and the spectrum of the whole image, and the image itself at low resolution.

    Layer "statistics": mean, standard deviation (RMS contrast), skewness and kurtosis of luma on 0..1, 5th and 95th
    percentile, slope and offset of log amplitude against log frequency, and the shares of gradient energy that are
    horizontal and vertical. Layer "pixels": RGB on 0..1 averaged in ``grid`` x ``grid`` cells.

    Parameters
    ----------
    grid : int
        Cells per side of "pixels".
    size : int
        Images are brought to ``size`` x ``size`` pixels first.
    """

    name = "pixels"

    def __init__(self, grid: int = 8, size: int = 64, *, batch_size: int = 128, dtype: str = "float32"):
        super().__init__(size, grid, batch_size, dtype)

    @property
    def columns(self) -> dict[str, list[str]]:
        """Layer -> name of every feature."""
        statistics = ["mean", "sd", "skewness", "kurtosis", "p5", "p95", "slope", "offset", "grad_x", "grad_y"]
        cells = [f"{c}_{row}_{col}" for c in "RGB" for row in range(self.grid) for col in range(self.grid)]
        return {"statistics": statistics, "pixels": cells}

    def _measure(self, rgb: torch.Tensor) -> dict[str, torch.Tensor]:
        luma = (rgb * torch.tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)).sum(1)
        flat = luma.flatten(1)
        mean, sd = flat.mean(1), flat.std(1, correction=0)
        z = (flat - mean[:, None]) / sd.clamp_min(1e-6)[:, None]
        # A blank image has no shape of distribution: all its higher moments are 0.
        shaped = sd > 1e-6
        skewness, kurtosis = (torch.where(shaped, (z**p).mean(1), 0.0) for p in (3, 4))
        low, high = torch.quantile(flat, torch.tensor([0.05, 0.95]), dim=1)
        slope, offset = _spectrum_line(luma)
        dx, dy = (luma.diff(dim=d).square().mean((1, 2)) for d in (2, 1))
        total = (dx + dy).clamp_min(1e-12)
        columns = [mean, sd, skewness, kurtosis, low, high, slope, offset, dx / total, dy / total]
        pixels = torch.nn.functional.avg_pool2d(rgb, self.size // self.grid)
        return {"statistics": torch.stack(columns, 1), "pixels": pixels.flatten(1)}


def to_lab(rgb: torch.Tensor) -> torch.Tensor:
    """Return CIELAB (D65) of sRGB (n, 3, h, w) on 0..1."""
    matrix = torch.tensor(XYZ)
    xyz = torch.einsum("ij,njhw->nihw", matrix, linear_rgb(rgb)) / matrix.sum(1).view(1, 3, 1, 1)
    x, y, z = cie_root(xyz).unbind(1)
    return torch.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], 1)


def _spectrum_line(luma: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Fit log10 amplitude = offset + slope log10 frequency over 1 cycle per image to half of Nyquist, Hann window."""
    n = luma.shape[-1]
    window = torch.hann_window(n, periodic=False)
    x = (luma - luma.mean((1, 2), keepdim=True)) * (window[:, None] * window)
    power = torch.fft.fft2(x).abs().square() / n**2
    index = torch.fft.fftfreq(n, 1 / n)
    radius = torch.sqrt(index[:, None] ** 2 + index**2).round().long()
    shells = torch.arange(1, n // 4 + 1)
    amplitude = torch.stack([power[:, radius == s].mean(1) for s in shells.tolist()], 1).clamp_min(1e-12).sqrt().log10()
    f = shells.float().log10()
    centred = f - f.mean()
    slope = (amplitude * centred).sum(1) / centred.square().sum()
    return slope, amplitude.mean(1) - slope * f.mean()
