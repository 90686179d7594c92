"""The pictures: one HDF5 brick, or the shared ones as PNG files."""

from __future__ import annotations

import re

import pandas as pd

from neuro.data import Stimuli
from neuro.datasets.nsd.layout import Layout
from neuro.errors import CorruptFile, ShapeMismatch


def open_stimuli(layout: Layout, pictures: pd.DataFrame | None = None, highest: int | None = None) -> Stimuli:
    """Open the pictures; ids count from 0.

    Parameters
    ----------
    layout : Layout
    pictures : DataFrame, optional
        The picture table, one row per stimulus.
    highest : int, optional
        The highest id that the design uses, which the brick must hold.

    Notes
    -----
    Where the brick is missing but ``shared1000/sharedNNNN_nsdNNNNN.png`` are there, these are the pictures. Both
    numbers in their names count from 1.
    """
    bricks = [f / "nsd_stimuli.hdf5" for f in layout.stimuli()]
    folder = next((f / "shared1000" for f in layout.stimuli() if (f / "shared1000").is_dir()), None)
    if folder is None or any(p.is_file() for p in bricks):
        brick = layout.need(bricks, "reading pictures")
        stimuli = Stimuli.from_hdf5(brick, "imgBrick")
        if pictures is not None and len(stimuli) != len(pictures):
            raise ShapeMismatch(f"{brick} holds {len(stimuli):,} pictures, the picture table lists {len(pictures):,}.")
        if highest is not None and len(stimuli) <= highest:
            raise ShapeMismatch(f"{brick} holds {len(stimuli):,} pictures, the design refers to number {highest:,}.")
    else:
        names = sorted(p.name for p in folder.glob("*.png"))
        numbers = [int(m[1]) - 1 for n in names if (m := re.fullmatch(r"shared\d{4}_nsd(\d{5})\.png", n))]
        if not names or len(numbers) != len(names) or min(numbers) < 0:
            raise CorruptFile(f"{folder} should hold shared0001_nsd02951.png... (from 1) and no other.")
        stimuli = Stimuli.from_folder(folder, "*.png", ids=numbers)
    return stimuli if pictures is None else stimuli.with_table(pictures.iloc[stimuli.ids])
