"""How alike are the pixels? Pixel correlation and structural similarity.

    PixCorr = mean over images of the Pearson correlation of all RGB values of recon and true
    SSIM    = mean over windows of (2 m_x m_y + C1)(2 s_xy + C2) / ((m_x^2 + m_y^2 + C1)(s_x^2 + s_y^2 + C2))

SSIM of gray images, with Gaussian windows (standard deviation 1.5 pixels), population covariance and data range 1.
Published decoders passed ``multichannel=True`` together with a two-dimensional gray image: scikit-image up to 0.19 took
the *columns* for channels (the mean of one-dimensional SSIMs down each column), later versions ignore it. Both are here
by name, as the numbers differ by .05.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from neuro._check import as_rng, check_option, require
from neuro.decoders.metrics._images import check_image_pairs, check_images, describe_size, resize, wrong_partners
from neuro.decoders.metrics.result import MetricResult, mean_result
from neuro.errors import ShapeMismatch

PIXCORR_VARIANTS = ("signed", "absolute")
SSIM_PROTOCOLS = ("ssim2d", "ssim_columnwise", "ssim_rgb")
_WINDOW = 11  # pixels that a Gaussian of 1.5 pixels reaches, cut at 3.5 standard deviations
_BATCH = 32


def pixcorr(
    recon: Any,
    true: Any,
    variant: str = "signed",
    *,
    size: int | tuple[int, int] | None = None,
    resize_by: str = "tensor_bilinear",
    antialias: bool = True,
    rng: int | np.random.Generator | None = 0,
    protocol: str | None = None,
) -> MetricResult:
    """Mean over images of the correlation of all RGB values.

    Parameters
    ----------
    recon, true : array or tensor (n, 3, height, width), floating point in [0, 1]
        The same items; sizes may differ.
    variant : {"signed", "absolute"}
        ``"absolute"`` takes the absolute value per image, as one published evaluation does; a photographic negative
        then scores 1.
    size : int or (height, width), optional
        Both are brought to this size; the true images' own by default.
    resize_by : {"pil_bicubic", "pil_bilinear", "tensor_bilinear", "tensor_bicubic"}
    antialias : bool
    rng : int, Generator or None
        For the bootstrap over images.
    protocol : str, optional
        Name in the result; the settings in words by default.

    Returns
    -------
    MetricResult
        Images without variance are undefined, left out and counted. Chance is the mean over all wrong pairs (over
        random ones, for the absolute variant).

    Examples
    --------
    >>> x = np.random.default_rng(0).random((4, 3, 16, 16))
    >>> round(pixcorr(0.5 * x + 0.1, x).value, 6), round(pixcorr(1 - x, x).value, 6)
    (1.0, -1.0)
    """
    check_option("variant", variant, PIXCORR_VARIANTS)
    recon, true = check_image_pairs(recon, true)
    where = describe_size(size, true, resize_by, antialias)
    return pixcorr_of_batches(
        _batches(recon, true, size or true.shape[-2:], resize_by, antialias),
        variant,
        rng=rng,
        protocol=protocol or f"{variant}, {where}",
        details={"size": where},
    )


def ssim(
    recon: Any,
    true: Any,
    protocol: str = "ssim2d",
    *,
    size: int | tuple[int, int] | None = None,
    resize_by: str = "tensor_bilinear",
    antialias: bool = True,
    n_chance: int = 50,
    rng: int | np.random.Generator | None = 0,
    label: str | None = None,
) -> MetricResult:
    """Mean structural similarity of images.

    Parameters
    ----------
    recon, true : array or tensor (n, 3, height, width), floating point in [0, 1]
    protocol : {"ssim2d", "ssim_columnwise", "ssim_rgb"}
        Gray images with square windows; gray images with windows down each column (what scikit-image <= 0.19 did when
        told that a gray image had channels); or square windows in each of R, G, B, averaged.
    size, resize_by, antialias, rng
        As :func:`pixcorr`.
    n_chance : int
        Wrong pairs from which chance is estimated; 0 for none.
    label : str, optional
        Name in the result; the settings in words by default.

    References
    ----------
    Wang et al. (2004), IEEE Transactions on Image Processing 13, 600-612.
    """
    check_option("protocol", protocol, SSIM_PROTOCOLS)
    recon, true = check_image_pairs(recon, true)
    where = describe_size(size, true, resize_by, antialias)
    return ssim_of_batches(
        _batches(recon, true, size or true.shape[-2:], resize_by, antialias),
        protocol,
        n_chance=n_chance,
        rng=rng,
        label=label or f"{protocol}, {where}",
        details={"size": where},
    )


def pixcorr_of_batches(
    batches: Iterable[tuple[np.ndarray, np.ndarray]],
    variant: str = "signed",
    *,
    protocol: str,
    rng: int | np.random.Generator | None = 0,
    details: dict[str, Any] | None = None,
) -> MetricResult:
    """:func:`pixcorr` of pairs of stacks (b, 3, height, width) that come one after another, each pair of one size."""
    rng = as_rng(rng)
    values, wrong = [], []
    sums: list[Any] = [0.0, 0.0]
    for pair in batches:
        u, v = (_standardised(x) for x in pair)
        values.append(np.einsum("nd,nd->n", u, v))
        good = np.isfinite(values[-1])
        sums = [total + x[good].sum(0, dtype=float) for total, x in zip(sums, (u, v), strict=True)]
        if len(u) > 1:
            wrong.append(np.abs(np.einsum("nd,nd->n", u, v[wrong_partners(len(u), rng)])))
    items = np.concatenate(values)
    n = int(np.isfinite(items).sum())
    chance = None
    if variant == "absolute":
        items = np.abs(items)
        if wrong and np.isfinite(np.concatenate(wrong)).any():
            chance = float(np.nanmean(np.concatenate(wrong)))
    elif n > 1:
        # The mean over all wrong pairs: all pairs of unit vectors are the product of their sums.
        chance = (float(sums[0] @ sums[1]) - float(np.nansum(items))) / (n * (n - 1))
    return mean_result(
        "pixcorr" if variant == "signed" else "absolute_pixcorr",
        items,
        protocol=protocol,
        chance=chance,
        rng=rng,
        details={**(details or {}), "chance": "random wrong pairs" if variant == "absolute" else "all wrong pairs"},
    )


def ssim_of_batches(
    batches: Iterable[tuple[np.ndarray, np.ndarray]],
    protocol: str = "ssim2d",
    *,
    label: str,
    n_chance: int = 50,
    rng: int | np.random.Generator | None = 0,
    details: dict[str, Any] | None = None,
) -> MetricResult:
    """:func:`ssim` of pairs of stacks (b, 3, height, width) that come one after another, each pair of one size."""
    rng = as_rng(rng)
    values, wrong = [], []
    for a, b in batches:
        values.append(structural_similarities(a, b, protocol))
        few = min(len(a), n_chance - sum(map(len, wrong)))
        if few > 0 and len(a) > 1:
            wrong.append(structural_similarities(a[:few], b[wrong_partners(len(b), rng)][:few], protocol))
    return mean_result(
        "ssim",
        np.concatenate(values),
        protocol=label,
        chance=float(np.concatenate(wrong).mean()) if wrong else None,
        rng=rng,
        details={**(details or {}), "variant": protocol, "chance": f"{sum(map(len, wrong))} random wrong pairs"},
    )


def structural_similarities(recon: np.ndarray, true: np.ndarray, protocol: str = "ssim2d") -> np.ndarray:
    """SSIM of each image of two stacks (n, 3, height, width) of one size, float64 (n,)."""
    metrics = require("skimage.metrics", "structural similarity", "metrics")
    color = require("skimage.color", "structural similarity", "metrics")
    check_option("protocol", protocol, SSIM_PROTOCOLS)
    settings: dict[str, Any] = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    if min(np.shape(true)[-2:]) < _WINDOW:
        size = "x".join(map(str, np.shape(true)[-2:]))
        raise ShapeMismatch(
            f"SSIM's window is {_WINDOW} pixels wide, images are compared at {size}: give a larger size=."
        )
    axis = {"ssim2d": None, "ssim_columnwise": 1, "ssim_rgb": 2}[protocol]
    out = np.empty(len(true))
    for i, (x, y) in enumerate(zip(recon, true, strict=True)):
        pair = [np.asarray(z, dtype=float).transpose(1, 2, 0) for z in (x, y)]
        if protocol != "ssim_rgb":
            pair = [color.rgb2gray(z) for z in pair]
        out[i] = metrics.structural_similarity(*pair, data_range=1.0, channel_axis=axis, **settings)
    return out


def resize_images(
    images: Any, size: int | tuple[int, int], method: str = "tensor_bilinear", antialias: bool = True
) -> np.ndarray:
    """Squash images (n, 3, height, width) in [0, 1] to a size by a named method, float32.

    Parameters
    ----------
    size : int or (height, width)
    method : {"pil_bicubic", "pil_bilinear", "tensor_bilinear", "tensor_bicubic"}
        PIL works on 8-bit pictures and always antialiases.
    antialias : bool
        For tensors.
    """
    return resize(check_images("images", images), size, method, antialias)


def _standardised(images: np.ndarray) -> np.ndarray:
    """Return the pixels of each image as a centred unit vector, float32 (n, values); NaN for an image of one value."""
    x = images.reshape(len(images), -1)
    x = x - x.mean(1, dtype=float, keepdims=True).astype(x.dtype)
    lengths = np.sqrt(np.einsum("nd,nd->n", x, x, dtype=float))
    flat = lengths <= 4 * np.finfo(np.float32).eps * np.sqrt(x.shape[1])
    return (x / np.where(flat, np.nan, lengths)[:, None]).astype(np.float32)


def _batches(
    recon: np.ndarray, true: np.ndarray, size: int | tuple[int, int], method: str, antialias: bool
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    for start in range(0, len(true), _BATCH):
        part = slice(start, start + _BATCH)
        yield resize(recon[part], size, method, antialias), resize(true[part], size, method, antialias)
