r"""First stage of the V1-MT model: trainable motion energy at several scales, normalised by the population.

Units are spatial Gabor functions times damped oscillations in time, both in quadrature. For unit u at one place,

    z(t)  = sum_j G_u(x(t - j)) exp(-j / tau + 2 pi i f_t j),    G_u(x) = <x, Gabor pair>,   j = 0, ..., 5 frames ago
    E_u   = |mean_t w_t (|z(t)|^2 + s_0^2)|,                     w_t learned
    V1_u  = |k| E_u / (mean_v E_v + sigma^2)                      mean over the units v of the same place.

Every parameter is trained. Bounded ones are kept as numbers p that enter through the logistic function: standard
deviation 5.10 sig(p) px, spatial frequency sig(p) / 4 cycles/px, direction 2 pi sig(p), temporal frequency sig(p) / 4
cycles/frame, tau = sig(p) (-6 / ln 0.2) frames.
"""

from __future__ import annotations

import math

import torch
from torch import nn
from torch.nn import functional as F

SIDE = 15  # px of a spatial filter
N_TAPS = 6  # frames of a temporal filter
CELL = 8  # px per location of the output
SCALE = 16 ** (-1 / 7)  # each scale against the one before, the first against the image
WIDEST = math.sqrt(18 / math.log(2))  # px
HIGHEST = 0.25  # cycles per px, cycles per frame
SLOWEST = -6 / math.log(0.2)  # frames


class V1Stage(nn.Module):
    """Frames (B, n_frames, H, W) on 0..1 to normalised energies (B, n_scales * n_units, H / 8, W / 8).

    Parameters
    ----------
    n_scales, n_units : int
        Units per scale.
    n_positions : int
        Windows in time whose energies are pooled: n_frames - 5.
    init : {"tiled", "random"}
        Eight directions (or as many as divide ``n_units``) x temporal frequencies at one spatial frequency per scale,
        or random everything.
    """

    def __init__(self, n_scales: int, n_units: int, n_positions: int, init: str):
        super().__init__()
        self.n_scales, self.n_units = n_scales, n_units
        shape = (n_scales, n_units)
        start = tiled(n_units) if init == "tiled" else {}
        for name in ("size", "frequency", "direction", "temporal_frequency", "decay"):
            value = start[name].expand(shape) if start else 0.1 + 0.8 * torch.rand(shape)
            setattr(self, name, nn.Parameter(torch.logit(value).clone()))
        self.aspect = nn.Parameter(torch.ones(shape))
        self.floor = nn.Parameter(torch.full(shape, 0.3))
        self.time_weight = nn.Parameter(torch.ones(*shape, n_positions))
        self.gain = nn.Parameter(torch.tensor(4.0))
        self.semi_saturation = nn.Parameter(torch.tensor(0.2))

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        energy = self.energy(frames)  # (B, C, h, w)
        pool = energy.mean(1, keepdim=True) + self.semi_saturation.square()
        return self.gain.abs() * energy / pool

    def energy(self, frames: torch.Tensor) -> torch.Tensor:
        """Return energies before normalisation (B, n_scales * n_units, H / 8, W / 8)."""
        B, T, H, W = frames.shape
        cells, found, x = (H // CELL, W // CELL), [], frames
        for scale in range(self.n_scales):
            h, w = (max(1, round(side * SCALE ** (scale + 1))) for side in (H, W))
            x = resize(x, (h, w))  # (B, T, h, w)
            padded = F.pad(x.reshape(B * T, 1, h, w), (SIDE // 2,) * 4, mode="replicate")
            pairs = F.conv2d(padded, self.spatial(scale))  # (B T, 2 n_units, h, w)
            pairs = pairs.reshape(B, T, 2, self.n_units, h, w).permute(0, 3, 2, 1, 4, 5).flatten(1, 2)
            z = F.conv3d(pairs, self.temporal(scale), groups=self.n_units)  # (B, 2 n_units, T - 5, h, w)
            power = z.unflatten(1, (self.n_units, 2)).square().sum(2) + self.floor[scale].square()[:, None, None, None]
            pooled = (power * self.time_weight[scale][:, :, None, None]).mean(2).abs()  # (B, n_units, h, w)
            found.append(resize(pooled, cells))
        return torch.cat(found, 1)

    def spatial(self, scale: int) -> torch.Tensor:
        """Return filters (2 n_units, 1, 15, 15), even ones first, 1 at their peak, without DC."""
        r = torch.arange(SIDE, device=self.size.device, dtype=self.size.dtype) - SIDE // 2
        y, x = torch.meshgrid(-r, r, indexing="ij")  # y upwards
        size, frequency, direction = (v[scale, :, None, None] for v in self.tuning())
        along = x * direction.cos() + y * direction.sin()
        across = y * direction.cos() - x * direction.sin()
        envelope = torch.exp(-(along.square() + (self.aspect[scale, :, None, None] * across).square()) / (2 * size**2))
        even, odd = (g(2 * math.pi * frequency * along) * envelope for g in (torch.cos, torch.sin))
        even = even - envelope * (even.sum((1, 2)) / envelope.sum((1, 2)))[:, None, None]
        return torch.cat([even, odd])[:, None]

    def temporal(self, scale: int) -> torch.Tensor:
        """Return filters (2 n_units, 2, 6, 1, 1) from even and odd to the two parts of z, the present last."""
        j = torch.arange(N_TAPS - 1, -1, -1, device=self.decay.device, dtype=self.decay.dtype)  # frames ago
        envelope = torch.exp(-j / (self.decay[scale, :, None].sigmoid() * SLOWEST))
        phase = 2 * math.pi * HIGHEST * self.temporal_frequency[scale, :, None].sigmoid() * j
        cos, sin = envelope * phase.cos(), envelope * phase.sin()  # (n_units, 6)
        parts = [torch.stack([cos, -sin], 1), torch.stack([sin, cos], 1)]  # real and imaginary, (n_units, 2, 6)
        return torch.stack(parts, 1).flatten(0, 1)[..., None, None]

    def tuning(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return sizes in px, spatial frequencies in cycles per px, directions in radians: (n_scales, n_units) each."""
        return (
            WIDEST * self.size.sigmoid(),
            HIGHEST * self.frequency.sigmoid(),
            2 * math.pi * self.direction.sigmoid(),
        )


def tiled(n_units: int) -> dict[str, torch.Tensor]:
    """Return the starting values (n_units,) of sig(p) that tile directions and temporal frequencies.

    >>> tiled(16)["direction"][:3]
    tensor([0.0010, 0.1250, 0.2500])
    """
    n = max(d for d in range(1, 9) if n_units % d == 0)
    rates = n_units // n
    direction = torch.arange(n) / n
    # Exactly 0 turns would need an infinite p.
    direction = direction.clamp_min(1e-3).repeat(rates)
    rate = torch.linspace(0.25, 0.85, rates) if rates > 1 else torch.tensor([0.55])
    one = torch.ones(n_units)
    return {
        "size": 0.6 * one,
        "frequency": 0.6 * one,
        "direction": direction,
        "temporal_frequency": rate.repeat_interleave(n),
        "decay": 0.9 * one,
    }


def resize(x: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """Return (B, C, h, w) at another size, bilinear and antialiased."""
    return F.interpolate(x, size=size, mode="bilinear", antialias=True, align_corners=False)
