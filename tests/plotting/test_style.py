import subprocess
import sys

import numpy as np
import pytest

from neuro.plotting import model_styles, new_figure, short_names
from neuro.plotting.style import data_limits, panel_grid


def test_importing_the_package_loads_neither_matplotlib_nor_nilearn():
    code = "import neuro.plotting, sys; sys.exit(bool({'matplotlib', 'nilearn'} & set(sys.modules)))"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_figures_are_unknown_to_pyplot():
    from matplotlib import pyplot as plt

    new_figure(3, 2)
    assert plt.get_fignums() == []


@pytest.mark.parametrize(
    "names",
    [
        ["visual.conv1", "visual.transformer.resblocks.0", "visual.transformer.resblocks.11", "visual.proj"],
        ["features.0", "features.1", "classifier.0"],
        ["a.norm", "b.norm"],
        ["layer1", "layer1.0", "layer1.0.conv1"],
        ["only"],
    ],
)
def test_short_names_stay_distinct_and_keep_order(names):
    short = short_names(names)
    assert len(set(short)) == len(names)
    assert all(name.endswith(s) for name, s in zip(names, short, strict=True))
    assert not any(s.isdigit() for s in short)


def test_models_differ_in_look_and_kinds_in_dashes():
    styles = model_styles({"a": "pretrained", "b": "pretrained", "c": "untrained", "d": "control"})
    assert len({s["color"] for s in styles.values()}) == 4
    assert styles["a"]["linestyle"] == styles["b"]["linestyle"] == "-"
    assert len({str(s["linestyle"]) for s in styles.values()}) == 3


def test_colours_do_not_depend_on_controls_drawn_beside():
    alone = model_styles({"a": "pretrained"})
    beside = model_styles({"gabor": "control", "a": "pretrained"})
    assert alone["a"] == beside["a"]


def test_limits_ignore_what_is_not_finite():
    assert data_limits([np.nan, 0.0, np.inf], [1.0], pad=0.0) == (0.0, 1.0)
    assert data_limits([np.nan]) == (0.0, 1.0)


@pytest.mark.parametrize("n", [1, 2, 5, 8])
def test_panel_grid_gives_as_many_visible_panels_as_asked(n):
    figure, axes = panel_grid(n, 4, 9.6, 1.5)
    assert len(axes) == n
    assert sum(ax.get_visible() for ax in figure.axes) == n
