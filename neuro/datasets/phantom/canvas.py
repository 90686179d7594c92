"""A drawing surface that knows, at every pixel, which object shows and how textured its material is.

Everything is drawn with straight polygons at several times the wanted size and averaged down (antialiasing), so a
picture at 96 pixels and the same picture at 425 show the same scene. Materials get their grain afterwards, from noise
fields whose amplitude falls as one over spatial frequency, as it does in photographs.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np
from PIL import Image, ImageDraw

Colour = tuple[int, int, int]
Point = tuple[float, float]

_CIRCLE = [(math.cos(2 * math.pi * k / 28), math.sin(2 * math.pi * k / 28)) for k in range(28)]
FLAG = 128  # added to an object's number where its marked part (a face) shows


def shade(colour: Sequence[float], factor: float) -> Colour:
    """Return ``colour`` times ``factor``, within 0-255.

    >>> shade((100, 200, 50), 1.5)
    (150, 255, 75)
    """
    r, g, b = (0 if c * factor < 0 else 255 if c * factor > 255 else int(c * factor) for c in colour)
    return r, g, b


def mix(a: Sequence[float], b: Sequence[float], t: float) -> Colour:
    """Return the colour a share ``t`` of the way from ``a`` to ``b``."""
    red, green, blue = (int(x + (y - x) * t) for x, y in zip(a, b, strict=True))
    return red, green, blue


def smooth(points: Sequence[Point], n: int = 4, closed: bool = True) -> list[Point]:
    """Return points along the Catmull-Rom curve through ``points``, ``n`` per stretch."""
    count = len(points)
    out: list[Point] = []
    for i in range(count if closed else count - 1):
        if closed:
            p0, p1, p2, p3 = points[i - 1], points[i], points[(i + 1) % count], points[(i + 2) % count]
        else:
            p0, p1, p2, p3 = points[max(i - 1, 0)], points[i], points[i + 1], points[min(i + 2, count - 1)]
        for k in range(n):
            t = k / n
            a, b, c, d = (
                -0.5 * t + t * t - 0.5 * t**3,
                1 - 2.5 * t * t + 1.5 * t**3,
                0.5 * t + 2 * t * t - 1.5 * t**3,
                -0.5 * t * t + 0.5 * t**3,
            )
            out.append((a * p0[0] + b * p1[0] + c * p2[0] + d * p3[0], a * p0[1] + b * p1[1] + c * p2[1] + d * p3[1]))
    if not closed:
        out.append(points[-1])
    return out


class Canvas:
    """Colour, material and object number of every sample of a square picture of ``size`` pixels."""

    def __init__(self, size: int):
        self.size = size
        self.factor = 3 if size <= 160 else 2
        self.n = size * self.factor
        self.colour = Image.new("RGB", (self.n, self.n))
        self.material = Image.new("RGB", (self.n, self.n))  # coarse grain, fine grain, object number
        self.draw = ImageDraw.Draw(self.colour)
        self.glaze = ImageDraw.Draw(self.colour, "RGBA")
        self.mark = ImageDraw.Draw(self.material)
        self.ink = 0
        self.flag = False
        self.shadow = 0.35

    def gradient(self, stops: Sequence[tuple[float, Colour]], grain: tuple[float, float] = (0.1, 0.03)) -> None:
        """Fill the whole picture with colours that change from top to bottom; ``stops`` are (height 0-1, colour)."""
        y = (np.arange(64) + 0.5) / 64
        at = [s[0] for s in stops]
        column = np.stack([np.interp(y, at, [s[1][c] for s in stops]) for c in range(3)], -1)[:, None, :]
        strip = Image.fromarray(np.ascontiguousarray(np.round(column).astype(np.uint8)))
        self.colour.paste(strip.resize((1, self.n), Image.Resampling.BILINEAR).resize((self.n, self.n)))
        self.mark.rectangle((0, 0, self.n, self.n), fill=self._stamp(grain))

    def _stamp(self, grain: tuple[float, float]) -> Colour:
        return (int(grain[0] * 400), int(grain[1] * 400), self.ink + (FLAG if self.flag else 0))

    def area(self, points: Sequence[Point], colour: Colour, grain: tuple[float, float] | None = (0.04, 0.03)) -> None:
        """Fill a polygon given in samples; ``grain=None`` paints a detail that keeps what lies under it."""
        self.draw.polygon(points, fill=colour)
        if grain is not None:
            self.mark.polygon(points, fill=self._stamp(grain))

    def veil(self, points: Sequence[Point], colour: Colour, alpha: float) -> None:
        """Fill a polygon with a see-through colour (a shadow, a shine); it belongs to what lies under it."""
        self.glaze.polygon(points, fill=(*colour, int(255 * alpha)))

    def numbers(self) -> np.ndarray:
        """Object number at every sample, (n, n) uint8."""
        return np.asarray(self.material)[..., 2]

    def finish(self, rng: np.random.Generator, light: Light) -> np.ndarray:
        """Average down, add grain and light: uint8 (size, size, 3)."""
        picture = np.asarray(self.colour.reduce(self.factor), dtype=np.float32)
        amplitude = np.asarray(self.material.reduce(self.factor), dtype=np.float32)[..., :2] / 400
        coarse = pink_noise(self.size, rng)
        fine = pink_noise(self.size, rng, lowest=4)
        tint = pink_noise(self.size, rng, highest=4)
        base = 1 + 0.6 * amplitude[..., 0] * coarse + 0.75 * amplitude[..., 1] * fine
        gain = np.stack([base + amplitude[..., 0] * t * tint for t in (0.22, 0.0, -0.22)], -1)
        picture *= np.maximum(gain, 0.15)
        return light.apply(picture)


class Light:
    """Brightness, contrast, direction and warmth of the light on a scene."""

    def __init__(self, brightness: float, contrast: float, warmth: float, angle: float, falloff: float):
        self.brightness, self.contrast, self.warmth = brightness, contrast, warmth
        self.angle, self.falloff = angle, falloff

    def apply(self, picture: np.ndarray) -> np.ndarray:
        """Light a float picture (size, size, 3) and return uint8."""
        size = len(picture)
        ramp = (np.arange(size, dtype=np.float32) + 0.5) / size - 0.5
        field = 1 + self.falloff * (math.cos(self.angle) * ramp[None, :] + math.sin(self.angle) * ramp[:, None])
        field = field * self.brightness
        tint = np.array([1 + self.warmth, 1.0, 1 - self.warmth], dtype=np.float32)
        picture = (picture - 118) * self.contrast + 118
        picture = picture * field[..., None] * tint
        return np.clip(picture + 0.5, 0, 255).astype(np.uint8)


def pink_noise(size: int, rng: np.random.Generator, lowest: int = 1, highest: int = 9) -> np.ndarray:
    """Noise of unit variance and equal energy in every octave, which is an amplitude falling as 1 / frequency in 2-D.

    Octave k is a grid of 2^(k+1) independent values a side, interpolated, so that the coarse structure is the same
    at every ``size``.

    Parameters
    ----------
    size : int
        Pixels a side.
    rng : numpy Generator
    lowest, highest : int
        First and last octave; octaves finer than the pixels are left out.

    Returns
    -------
    float32 array of shape (size, size)
    """
    total = np.zeros((size, size), dtype=np.float32)
    count = 0
    for octave in range(lowest, highest + 1):
        side = 2 ** (octave + 1)
        if side > 2 * size and octave > lowest:
            break
        grid = rng.standard_normal((min(side, size) + 2,) * 2, dtype=np.float32)
        margin = size / (len(grid) - 2)
        image = Image.fromarray(grid)
        layer = np.asarray(
            image.resize(
                (size, size), Image.Resampling.BICUBIC, box=(0.5, 0.5, len(grid) - 0.5 - 1, len(grid) - 0.5 - 1)
            )
        )
        total += layer * (1.2 if margin > 1 else 1.0)  # interpolation takes away about a third of the variance
        count += 1
    return total / math.sqrt(max(count, 1))


class Pen:
    """Draws in an object's own units: origin at its centre, 1 = its ``scale`` as a fraction of the picture, y down."""

    def __init__(self, canvas: Canvas, x: float, y: float, scale: float, flip: int = 1, angle: float = 0.0):
        self.canvas = canvas
        n = canvas.n
        self.x, self.y, self.scale = x * n, y * n, scale * n
        self.flip = flip
        c, s = math.cos(angle), math.sin(angle)
        self.a, self.b, self.c, self.d = c * self.scale * flip, -s * self.scale, s * self.scale * flip, c * self.scale
        self.pixels = scale * canvas.size

    def at(self, x: float, y: float) -> Point:
        """Return the sample at local (x, y)."""
        return (self.x + self.a * x + self.b * y, self.y + self.c * x + self.d * y)

    def inner(self, x: float, y: float, scale: float, angle: float = 0.0) -> Pen:
        """Return a pen for a part: its centre in local units, its unit ``scale`` times this one's."""
        pen = Pen.__new__(Pen)
        pen.canvas, pen.scale, pen.flip = self.canvas, self.scale * scale, self.flip
        pen.x, pen.y = self.at(x, y)
        c, s = math.cos(angle) * scale, math.sin(angle) * scale
        pen.a, pen.b = self.a * c + self.b * s, -self.a * s + self.b * c
        pen.c, pen.d = self.c * c + self.d * s, -self.c * s + self.d * c
        pen.pixels = self.pixels * scale
        return pen

    def area(self, points: Iterable[Point], colour: Colour, grain: tuple[float, float] | None = (0.04, 0.03)) -> None:
        """Fill a polygon."""
        at = self.at
        self.canvas.area([at(x, y) for x, y in points], colour, grain)

    def blob(self, points: Sequence[Point], colour: Colour, grain: tuple[float, float] | None = (0.04, 0.03)) -> None:
        """Fill the smooth outline through a few points."""
        self.area(smooth(points), colour, grain)

    def ellipse(
        self,
        x: float,
        y: float,
        rx: float,
        ry: float,
        colour: Colour,
        grain: tuple[float, float] | None = (0.04, 0.03),
        turn: float = 0.0,
    ) -> None:
        """Fill an ellipse, turned by ``turn`` radians."""
        c, s = math.cos(turn), math.sin(turn)
        self.area([(x + rx * u * c - ry * v * s, y + rx * u * s + ry * v * c) for u, v in _CIRCLE], colour, grain)

    def ball(
        self, x: float, y: float, rx: float, ry: float, colour: Colour, grain: tuple[float, float] | None = (0.04, 0.03)
    ) -> None:
        """Fill an ellipse that looks round: dark at the rim, light toward the upper left of the picture."""
        self.ellipse(x, y, rx, ry, shade(colour, 0.72), grain)
        for k, f in ((0.9, 0.86), (0.74, 0.97), (0.52, 1.08), (0.28, 1.2)):
            shift = (1 - k) * 0.42
            self.ellipse(x - self.flip * rx * shift, y - ry * shift, rx * k, ry * k, shade(colour, f), None)

    def limb(
        self,
        points: Sequence[Point],
        widths: Sequence[float],
        colour: Colour,
        grain: tuple[float, float] | None = (0.04, 0.03),
    ) -> None:
        """Fill a chain of tapered stretches with round joints."""
        for i in range(len(points) - 1):
            (x0, y0), (x1, y1) = points[i], points[i + 1]
            w0, w1 = widths[i] / 2, widths[i + 1] / 2
            length = math.hypot(x1 - x0, y1 - y0) or 1e-6
            nx, ny = (y0 - y1) / length, (x1 - x0) / length
            base = math.atan2(ny, nx)
            outline = [
                (x0 + w0 * math.cos(base + k * math.pi / 5), y0 + w0 * math.sin(base + k * math.pi / 5))
                for k in range(6)
            ]
            outline += [
                (
                    x1 + w1 * math.cos(base + math.pi + k * math.pi / 5),
                    y1 + w1 * math.sin(base + math.pi + k * math.pi / 5),
                )
                for k in range(6)
            ]
            self.area(outline, colour, grain)

    def line(self, points: Sequence[Point], width: float, colour: Colour) -> None:
        """Draw a detail line."""
        self.limb(points, [width] * len(points), colour, None)

    def veil(self, points: Iterable[Point], colour: Colour, alpha: float) -> None:
        """Fill a polygon with a see-through colour."""
        at = self.at
        self.canvas.veil([at(x, y) for x, y in points], colour, alpha)

    def shadow(self, x: float, y: float, rx: float, ry: float) -> None:
        """Cast a soft shadow on the ground."""
        strength = self.canvas.shadow
        if strength <= 0:
            return
        for k in (1.0, 0.8, 0.58):
            self.veil([(x + rx * k * u, y + ry * k * v) for u, v in _CIRCLE], (15, 15, 25), strength * 0.45)
