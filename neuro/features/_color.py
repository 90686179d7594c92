"""sRGB to light and to lightness (IEC 61966-2-1, CIE 1976); all differentiable, also where a branch is not taken."""

from __future__ import annotations

import torch

# sRGB primaries to CIE XYZ, D65; the middle row is luminance Y.
XYZ = ((0.4124564, 0.3575761, 0.1804375), (0.2126729, 0.7151522, 0.0721750), (0.0193339, 0.1191920, 0.9503041))
LUMA = (0.299, 0.587, 0.114)  # Rec. 601, of gamma-encoded R, G, B


def linear_rgb(x: torch.Tensor) -> torch.Tensor:
    """Return light of gamma-encoded values on 0..1.

    >>> linear_rgb(torch.tensor([0.0, 0.5, 1.0])).round(decimals=3)
    tensor([0.0000, 0.2140, 1.0000])
    """
    return torch.where(x <= 0.04045, x / 12.92, ((x.clamp_min(0.04) + 0.055) / 1.055) ** 2.4)


def cie_root(x: torch.Tensor) -> torch.Tensor:
    """Return f of CIELAB: the cube root, and a line near black; L* is 116 f(Y / Yn) - 16.

    >>> (116 * cie_root(torch.tensor([0.0, 0.184, 1.0])) - 16).round(decimals=1)
    tensor([  0.,  50., 100.])
    """
    return torch.where(x > (6 / 29) ** 3, x.clamp_min(0.008) ** (1 / 3), x / (3 * (6 / 29) ** 2) + 4 / 29)
