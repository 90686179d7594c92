r"""Gabor energy: what a bank of quadrature pairs, like complex cells of V1, makes of an image.

At spatial frequency f and orientation the filter is a Gaussian of standard deviation s = f (2^b - 1) / (2^b + 1) /
sqrt(2 ln 2) around one point of the frequency plane (b octaves wide at half height), zero beyond 2 f. Its response r is
complex, even and odd part in quadrature, and

    energy = mean of |r|^2 over a cell of the grid.

A grating of that frequency and orientation with luminance amplitude a has |r| = a, whatever its phase.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from neuro._check import check_option, check_positive_int
from neuro.errors import UnknownLayer, nearest
from neuro.features.pipeline import DTYPES, FeatureSource, frames_of, mean_of_groups
from neuro.features.preprocess import Preprocess

if TYPE_CHECKING:
    import pandas as pd

COMPRESSIONS = {"none": lambda e: e, "sqrt": torch.sqrt, "log": lambda e: torch.log1p(e * 1e4)}
"""What is done to energies: nothing, the square root (amplitude; Kay et al. 2008), or log(1 + 10,000 energy)."""


class GaborPyramid(FeatureSource):
    """Gabor energies on grids, as a control with known positions, orientations and spatial frequencies.

    Parameters
    ----------
    size : int
        Images are brought to ``size`` x ``size`` pixels first; frequencies up to size / 4 can be asked for.
    orientations : int
        Evenly spaced over 180 degrees from 0; the orientation is that of the stripes, counter-clockwise from
        horizontal.
    scales : int or sequence of float
        Spatial frequencies in cycles per image; an int stands for 1, 2, 4, ... octaves.
    grid : "wavelet" or int
        Cells per side: one per cycle at each frequency, or the same number everywhere.
    bandwidth : float
        Octaves at half height.
    compress : {"sqrt", "log", "none"}
    degrees : float, optional
        Width of the image in degrees of visual angle; positions are fractions of the image without it.
    batch_size : int

    References
    ----------
    Kay, Naselaris, Prenger & Gallant (2008), Nature 452, 352-355 (Gabor wavelet pyramid). Ours differs in averaging
    energy over cells instead of sampling single wavelets.

    Examples
    --------
    >>> pyramid = GaborPyramid(size=32, orientations=4, scales=(2, 4), grid=2)
    >>> pyramid.layers
    {'energy': (32,), 'sf_2': (16,), 'sf_4': (16,)}
    """

    name = "gabor"
    kinds = ("image", "clip")

    def __init__(
        self,
        size: int = 128,
        orientations: int = 8,
        scales: Any = 5,
        grid: str | int = "wavelet",
        *,
        bandwidth: float = 1.0,
        compress: str = "sqrt",
        degrees: float | None = None,
        batch_size: int = 64,
        dtype: str = "float32",
    ):
        self.size = check_positive_int("size", size, 8)
        self.orientations = check_positive_int("orientations", orientations)
        frequencies = [2.0**i for i in range(int(scales))] if np.ndim(scales) == 0 else [float(s) for s in scales]
        if not frequencies or min(frequencies) < 0.5 or max(frequencies) > size / 4:
            raise ValueError(
                f"scales must be frequencies from 0.5 to size / 4 = {size / 4:g} cycles per image, got {frequencies}."
            )
        self.frequencies = tuple(sorted(set(frequencies)))
        self.grid = grid if grid == "wavelet" else check_positive_int("grid", grid)
        if not 0.2 <= bandwidth <= 2:
            raise ValueError(f"bandwidth must be 0.2 to 2 octaves, got {bandwidth}.")
        self.bandwidth = float(bandwidth)
        self.compress = check_option("compress", compress, COMPRESSIONS)
        self.degrees = degrees
        self.batch_size = check_positive_int("batch_size", batch_size)
        self.dtype = check_option("dtype", dtype, DTYPES)
        self.preprocess = Preprocess((size, size), (0, 0, 0), (1, 1, 1), interpolation="bilinear")

    @property
    def layers(self) -> dict[str, tuple[int, ...]]:
        """Layer "energy" has everything; there is also one layer per spatial frequency."""
        sizes = {_layer(f): (self.orientations * self._cells(f) ** 2,) for f in self.frequencies}
        return {"energy": (sum(s[0] for s in sizes.values()),), **sizes}

    @property
    def positions(self) -> pd.DataFrame:
        """One row per channel of "energy": layer, x, y, orientation, sf, size.

        x and y are the cell's centre from the image's centre, x to the right, y up, in fractions of the image or, with
        ``degrees``, in degrees; ``sf`` in cycles per image or per degree; ``size`` is the standard deviation of the
        filter's envelope; ``orientation`` in degrees.
        """
        import pandas as pd

        unit = 1.0 if self.degrees is None else float(self.degrees)
        frames = []
        for f in self.frequencies:
            k = self._cells(f)
            centre = ((np.arange(k) + 0.5) / k - 0.5) * unit
            angle, row, column = np.meshgrid(self._angles(), np.arange(k), np.arange(k), indexing="ij")
            frames.append(
                pd.DataFrame(
                    {
                        "layer": _layer(f),
                        "x": centre[column.ravel()],
                        "y": -centre[row.ravel()],
                        "orientation": angle.ravel(),
                        "sf": f / unit,
                        "size": unit / (2 * math.pi * self._spread(f)),
                    }
                )
            )
        return pd.concat(frames, ignore_index=True)

    def energy(self, images: np.ndarray) -> dict[str, np.ndarray]:
        """Return layer -> energies (n, n_channels) of luminance images (n, size, size) on 0..1."""
        found = self._energies(torch.as_tensor(np.asarray(images), dtype=torch.float32))
        return {name: value.numpy() for name, value in found.items()}

    # What FeatureSource asks

    def identity(self) -> dict[str, Any]:
        """Return all settings."""
        return {
            "network": {"source": "gabor"},
            "settings": {
                "size": self.size,
                "orientations": self.orientations,
                "frequencies": list(self.frequencies),
                "grid": self.grid,
                "bandwidth": self.bandwidth,
                "compress": self.compress,
            },
            "preprocess": self.preprocess.to_dict(),
        }

    def layer_specs(self, layers: Sequence[str] | None) -> dict[str, dict[str, Any]]:
        """Return shapes; "energy" alone by default."""
        return specs_of(self.layers, ("energy",) if layers is None else layers, self.name)

    def prepare(self, items: list[Any]) -> tuple[torch.Tensor, list[int]]:
        """Return luminance (n, size, size) of all frames and how many frames each stimulus has."""
        return luminance_of(items, self.preprocess)

    def compute(self, prepared: Any, layers: Sequence[str], pad_to: int = 0) -> dict[str, np.ndarray]:
        """Return energies, averaged over the frames of clips."""
        frames, counts = prepared
        chunks = [self._energies(frames[i : i + self.batch_size]) for i in range(0, len(frames), self.batch_size)]
        return {name: mean_of_groups(torch.cat([c[name] for c in chunks]).numpy(), counts) for name in layers}

    def _energies(self, frames: torch.Tensor) -> dict[str, torch.Tensor]:
        # Reflected borders have no edges of their own, so a blank image has no energy anywhere.
        x = frames - frames.mean((1, 2), keepdim=True)
        half = self.size // 2
        padded = torch.nn.functional.pad(x[:, None], (half, half, half, half), mode="reflect")[:, 0]
        spectrum = torch.fft.fft2(padded)
        found = {}
        for f in self.frequencies:
            k = self._cells(f)
            filters, side = _filters(f, self.orientations, self._spread(f), self.size, k)
            band = _crop(spectrum, side)[:, None] * filters
            response = torch.fft.ifft2(band) * (side / padded.shape[-1]) ** 2
            quarter = (side - side // 2) // 2
            inner = response[..., quarter : quarter + side // 2, quarter : quarter + side // 2]
            power = inner.real.square() + inner.imag.square()
            cells = torch.nn.functional.avg_pool2d(power, side // 2 // k)
            found[_layer(f)] = COMPRESSIONS[self.compress](cells.clamp_min(0)).flatten(1)
        return {"energy": torch.cat(list(found.values()), 1), **found}

    def _cells(self, frequency: float) -> int:
        return max(1, round(frequency)) if self.grid == "wavelet" else int(self.grid)

    def _angles(self) -> np.ndarray:
        return np.arange(self.orientations) * 180.0 / self.orientations

    def _spread(self, frequency: float) -> float:
        ratio = (2**self.bandwidth - 1) / (2**self.bandwidth + 1)
        return frequency * ratio / math.sqrt(2 * math.log(2))


def specs_of(available: dict[str, tuple[int, ...]], layers: Sequence[str], name: str) -> dict[str, dict[str, Any]]:
    """Return the specs of layers that need no further settings."""
    for layer in layers:
        if layer not in available:
            raise UnknownLayer(
                f"no layer {layer!r} in {name}{nearest(layer, available)} (there are: {', '.join(available)})"
            )
    return {layer: {"shape": available[layer], "spec": {}} for layer in dict.fromkeys(layers)}


def luminance_of(items: list[Any], preprocess: Preprocess) -> tuple[torch.Tensor, list[int]]:
    """Return luma (Rec. 601) on 0..1 of all frames, and the number of frames of each stimulus."""
    frames, counts = frames_of(items)
    weights = torch.tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)
    return (preprocess(frames) * weights).sum(1), counts


@lru_cache(maxsize=32)
def _filters(frequency: float, orientations: int, spread: float, size: int, cells: int) -> tuple[torch.Tensor, int]:
    """Return transfer functions (orientations, side, side) over the padded image's cropped spectrum, and its side.

    The spectrum is cropped to 2 f, where the filters end, so low frequencies are computed on few samples; the side is
    chosen so that cells divide it.
    """
    period = 2 * (size // 2) + size  # samples of the padded image, two images wide
    across = cells * math.ceil(4 * frequency / cells)  # samples over the image itself
    side = 2 * across
    index = torch.fft.fftfreq(side, 1 / side)
    cycles = index * size / period  # cycles per image
    fy, fx = torch.meshgrid(cycles, cycles, indexing="ij")
    filters = []
    for i in range(orientations):
        angle = math.pi * i / orientations
        # Stripes along the angle vary across it; image rows run downwards, so y changes sign.
        cx, cy = -frequency * math.sin(angle), -frequency * math.cos(angle)
        gain = 2 * torch.exp(-((fx - cx) ** 2 + (fy - cy) ** 2) / (2 * spread**2))
        filters.append(torch.where((fx.abs() <= 2 * frequency) & (fy.abs() <= 2 * frequency), gain, 0.0))
    return torch.stack(filters), side


def _crop(spectrum: torch.Tensor, side: int) -> torch.Tensor:
    """Return the lowest ``side`` x ``side`` frequencies, zeros where the spectrum has none; Nyquist left out."""
    n = spectrum.shape[-1]
    out = torch.zeros((len(spectrum), side, side), dtype=spectrum.dtype)
    k = (min(n, side) - 1) // 2
    take = [*range(k + 1), *range(-k, 0)]
    to = torch.tensor([t % side for t in take])
    of = torch.tensor([t % n for t in take])
    out[:, to[:, None], to[None, :]] = spectrum[:, of[:, None], of[None, :]]
    return out


def _layer(frequency: float) -> str:
    return f"sf_{frequency:g}"
