import numpy as np
import pandas as pd
import pytest

from neuro.errors import EmptySelection
from neuro.plotting import layer_curves, model_bars


@pytest.fixture
def table():
    return pd.DataFrame(
        {"model": ["a", "b", "c"], "score": [0.1, 0.4, 0.3], "sem": [0.05, 0.02, 0.03], "q": [0.2, 0.01, 0.04]}
    )


def bars(ax):
    return [p.get_height() for p in ax.patches if hasattr(p, "get_height") and p.get_width() == pytest.approx(0.7)]


def test_bars_stand_in_order_with_stars_ceiling_and_subjects(table):
    people = pd.DataFrame({"model": ["a", "b"] * 3, "subject": [1, 1, 2, 2, 3, 3], "score": np.linspace(0, 0.5, 6)})
    ax = model_bars(table, ceiling=(0.45, 0.6), individuals=people, ylabel="rho-a").axes[0]
    assert bars(ax) == [0.4, 0.3, 0.1]
    assert [t.get_text() for t in ax.get_xticklabels()] == ["b", "c", "a"]
    stars = [t for t in ax.texts if t.get_text() == "*"]
    assert [t.get_position()[0] for t in stars] == [0, 1]
    band = next(p for p in ax.patches if p.get_label() == "noise ceiling")
    assert (band.get_y(), band.get_y() + band.get_height()) == pytest.approx((0.45, 0.6))
    dots = np.concatenate([np.asarray(c.get_offsets())[:, 1] for c in ax.collections if len(c.get_offsets()) == 3])
    assert sorted(dots) == pytest.approx(sorted(people["score"]))
    assert ax.get_ylabel() == "rho-a"


def test_lines_say_which_model_exceeds_which(table):
    pairs = pd.DataFrame(
        {
            "model_a": ["a", "a", "b"],
            "model_b": ["b", "c", "c"],
            "difference": [-0.3, -0.2, 0.1],
            "q": [0.001, 0.3, 0.01],
        }
    )
    ax = model_bars(table, pairs=pairs).axes[0]
    winners = [line for line in ax.lines if line.get_marker() == "o" and line.get_markerfacecolor() == "#111111"]
    beaten = [line for line in ax.lines if line.get_marker() == "o" and line.get_markerfacecolor() == "white"]
    assert [list(w.get_xdata()) for w in winners] == [[0]]  # b, the first bar
    assert [sorted(b.get_xdata()) for b in beaten] == [[1, 2]]


def test_given_order_is_kept_on_request_and_unknown_ceilings_are_not_drawn(table):
    ax = model_bars(table, sort=False, ceiling=(np.nan, np.nan)).axes[0]
    assert bars(ax) == [0.1, 0.4, 0.3]
    assert ax.get_legend() is None
    with pytest.raises(EmptySelection):
        model_bars(table.iloc[:0])


def test_layer_curves_have_a_line_per_transform_and_a_panel_per_region():
    rows = [
        {"layer": f"blocks.{k}", "score": k + 10 * t, "ci_low": k - 1, "ci_high": k + 1, "transform": name, "roi": roi}
        for roi in ("V1", "FFA")
        for t, name in enumerate(("raw", "rank"))
        for k in range(3)
    ]
    layers = [f"blocks.{k}" for k in range(3)]
    table = pd.DataFrame(rows).sample(frac=1, random_state=0)
    figure = layer_curves(table, layers, panel="roi", ceilings={("V1", "raw"): (0.5, 0.7)})
    assert {ax.get_title(loc="left") for ax in figure.axes} == {"V1", "FFA"}
    for ax in figure.axes:
        lines = {line.get_label(): list(line.get_ydata()) for line in ax.lines if not line.get_label().startswith("_")}
        assert lines == {"raw": [0, 1, 2], "rank": [10, 11, 12]}
        assert [t.get_text() for t in ax.get_xticklabels()] == ["blocks.0", "blocks.1", "blocks.2"]
    with_band = next(ax for ax in figure.axes if ax.get_title(loc="left") == "V1")
    assert len(with_band.patches) == 1
