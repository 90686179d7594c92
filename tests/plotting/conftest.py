"""Small brains and tables for figures."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from neuro.data import Volume, Voxels

LAYERS = ["net.stem", "net.block.0", "net.block.1", "net.head"]


@pytest.fixture
def layers():
    """Two networks of four layers and a control with one."""
    return {"net": LAYERS, "untrained": LAYERS, "Gabor": ["energy"]}


@pytest.fixture
def table(layers):
    """Known scores in shuffled rows: 0.1 x depth, half of it for the untrained, 0.33 for the control; +0.05 in FFA."""
    rows = []
    for roi, shift in (("V1", 0.0), ("FFA", 0.05)):
        for model, names in layers.items():
            for depth, layer in enumerate(names):
                score = {"net": 0.1 * (depth + 1), "untrained": 0.05 * (depth + 1), "Gabor": 0.33}[model] + shift
                rows.append(
                    dict(roi=roi, model=model, layer=layer, score=score, ci_low=score - 0.02, ci_high=score + 0.03)
                )
    return pd.DataFrame(rows).sample(frac=1, random_state=1).reset_index(drop=True)


@pytest.fixture(scope="session")
def cortex():
    """Voxels of 5 mm along the middle of the template's posterior cortex, in its space."""
    from neuro.plotting import load_fsaverage5

    middle = np.vstack([h.at_depth(0.5) for h in load_fsaverage5()])
    affine = np.diag([5.0, 5.0, 5.0, 1.0])
    affine[:3, 3] = -75.0, -110.0, -60.0
    ijk = np.unique(np.rint((middle[middle[:, 1] < -40] - affine[:3, 3]) / 5).astype(int), axis=0)
    return Voxels(len(ijk), Volume(tuple(ijk.max(axis=0) + 2), affine, ijk))


@pytest.fixture
def lines():
    """A function: the drawn lines of an axes by label."""
    return lambda ax: {line.get_label(): line for line in ax.get_lines()}
