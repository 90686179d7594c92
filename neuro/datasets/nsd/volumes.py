"""Reading small NIfTI, MGH and MGZ files whole, with errors that name the file."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from neuro.errors import CorruptFile, ShapeMismatch


def read_values(path: Path, shape: tuple[int, ...]) -> np.ndarray:
    """Return the values of an image that must have this shape, in it; a 1-D shape means vertices."""
    with _readable(path) as image:
        values = np.asarray(image.dataobj)
    values = values.reshape(-1) if len(shape) == 1 and max(values.shape) == values.size else values
    if values.shape != tuple(shape):
        raise ShapeMismatch(f"{path}: expected {tuple(shape)}, found {values.shape}.")
    return values


def read_whole_numbers(path: Path, shape: tuple[int, ...]) -> np.ndarray:
    """Return the values of a label file as integers; NaN counts as 0."""
    values = read_values(path, shape)
    if values.dtype.kind == "f":
        values = np.where(np.isnan(values), 0, values)
        if (values != np.round(values)).any():
            raise CorruptFile(f"{path} holds fractions: a label file holds whole numbers.")
    return values.astype(np.int32)


def shape_and_affine(path: Path) -> tuple[tuple[int, ...], np.ndarray]:
    """Return an image's shape and affine from its header."""
    with _readable(path) as image:
        return tuple(int(n) for n in image.shape), np.array(image.affine)


@contextmanager
def _readable(path: Path) -> Iterator[Any]:
    import nibabel as nib
    from nibabel.filebasedimages import ImageFileError

    try:
        yield nib.load(path)
    except (ImageFileError, OSError, EOFError, ValueError, zlib.error) as error:
        raise CorruptFile(f"{path} cannot be read: {error}. Download it again.") from error
