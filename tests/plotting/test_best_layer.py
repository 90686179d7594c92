import numpy as np
import pytest

from neuro.plotting import best_layer_by_roi


@pytest.fixture
def best(table):
    return table.loc[table.groupby(["roi", "model"])["score"].idxmax()]


def markers(ax):
    return [line for line in ax.get_lines() if line.get_marker() in ("o", "s", "D") and len(line.get_xdata()) == 1]


def test_dots_stand_at_the_scores_in_the_rows_asked_for(best, layers):
    one = best[best["model"] == "net"]
    ax = best_layer_by_roi(one, layers=layers["net"], rois=["V1", "FFA"]).axes[0]
    assert [t.get_text() for t in ax.get_yticklabels()] == ["V1", "FFA"]
    dots = sorted((float(d.get_ydata()[0]), float(d.get_xdata()[0])) for d in markers(ax))
    np.testing.assert_allclose(dots, [(0, 0.4), (1, 0.45)])


def test_rows_run_from_the_top(best, layers):
    ax = best_layer_by_roi(best, rois=["V1", "FFA"]).axes[0]
    bottom, top = ax.get_ylim()
    assert bottom > top


def test_intervals_and_ceilings_are_drawn_at_their_values(best, layers):
    one = best[(best["model"] == "net") & (best["roi"] == "V1")]
    ax = best_layer_by_roi(one, layers=layers["net"], ceiling={"V1": 0.8}).axes[0]
    spans = [tuple(line.get_xdata()) for line in ax.get_lines() if len(line.get_xdata()) == 2]
    assert any(np.allclose(s, (0.38, 0.43)) for s in spans)
    assert any(np.allclose(s, (0.8, 0.8)) for s in spans)
    assert ax.get_xlim()[1] > 0.8


def test_one_model_names_its_layers_and_their_depth(best, layers):
    ax = best_layer_by_roi(best[best["model"] == "net"], layers=layers["net"]).axes[0]
    assert {t.get_text() for t in ax.texts} == {"head  (4 of 4)"}


def test_several_models_get_a_legend_and_no_layer_names(best):
    figure = best_layer_by_roi(best, models=["net", "untrained", "Gabor"], ceiling={"V1": 0.8})
    assert [t.get_text() for t in figure.legends[0].get_texts()] == ["net", "untrained", "Gabor", "noise ceiling"]
    assert not figure.axes[0].texts


def test_negative_scores_stay_inside_the_axes(best):
    ax = best_layer_by_roi(best.assign(score=-0.2, ci_low=-0.3, ci_high=-0.1)).axes[0]
    assert ax.get_xlim()[0] < -0.3
