import numpy as np
import pytest

from neuro.plotting import layer_profile


def test_lines_are_the_scores_in_depth_order_whatever_the_order_of_rows(table, layers, lines):
    figure = layer_profile(table, layers, kinds={"net": "pretrained", "untrained": "untrained", "Gabor": "control"})
    panels = {ax.get_title(loc="left"): ax for ax in figure.axes}
    assert set(panels) == {"V1", "FFA"}
    for roi, shift in (("V1", 0.0), ("FFA", 0.05)):
        drawn = lines(panels[roi])
        np.testing.assert_allclose(drawn["net"].get_xdata(), range(4))
        np.testing.assert_allclose(drawn["net"].get_ydata(), 0.1 * np.arange(1, 5) + shift)
        np.testing.assert_allclose(drawn["untrained"].get_ydata(), 0.05 * np.arange(1, 5) + shift)


def test_a_model_of_one_layer_is_a_horizontal_line(table, layers, lines):
    drawn = lines(layer_profile(table, layers, rois=["V1"]).axes[0])
    np.testing.assert_allclose(drawn["Gabor"].get_ydata(), [0.33, 0.33])
    np.testing.assert_allclose(drawn["Gabor"].get_xdata(), [0, 3])


def test_bands_span_the_interval(table, layers):
    ax = layer_profile(table, {"net": layers["net"]}, rois=["V1"]).axes[0]
    (band,) = ax.collections
    y = band.get_paths()[0].vertices[:, 1]
    assert y.min() == pytest.approx(0.1 - 0.02)
    assert y.max() == pytest.approx(0.4 + 0.03)


def test_the_ceiling_is_drawn_at_its_value_and_inside_the_axes(table, layers, lines):
    ax = layer_profile(table, layers, rois=["V1"], ceiling={"V1": (0.7, 0.9)}).axes[0]
    np.testing.assert_allclose(lines(ax)["noise ceiling"].get_ydata(), 0.8)
    assert ax.get_ylim()[1] > 0.9


def test_layers_are_named_at_their_ticks(table, layers):
    figure = layer_profile(table, layers, rois=["V1"])
    assert [t.get_text() for t in figure.axes[0].get_xticklabels()] == ["stem", "block.0", "block.1", "head"]


def test_networks_with_different_layers_share_relative_depth(table, layers, lines):
    table = table.replace({"layer": {"net.head": "net.out"}}).copy()
    table.loc[(table["model"] == "untrained") & (table["layer"] == "net.out"), "layer"] = "net.head"
    layers = {"net": ["net.stem", "net.block.0", "net.block.1", "net.out"], "untrained": layers["untrained"]}
    drawn = lines(layer_profile(table, layers, rois=["V1"]).axes[0])
    np.testing.assert_allclose(drawn["net"].get_xdata(), [0, 1 / 3, 2 / 3, 1])


def test_single_subjects_are_thin_lines(table, layers):
    own = table.assign(subject="s1", score=table["score"] - 0.01)
    ax = layer_profile(table, {"net": layers["net"]}, rois=["V1"], individuals=own).axes[0]
    thin = [line for line in ax.get_lines() if line.get_linewidth() < 0.8 and len(line.get_xdata()) == 4]
    assert len(thin) == 1
    np.testing.assert_allclose(thin[0].get_ydata(), 0.1 * np.arange(1, 5) - 0.01)


def test_by_model_swaps_panels_and_lines(table, layers, lines):
    figure = layer_profile(table, {"net": layers["net"], "untrained": layers["untrained"]}, by="model")
    panels = {ax.get_title(loc="left"): lines(ax) for ax in figure.axes}
    assert set(panels) == {"net", "untrained"}
    np.testing.assert_allclose(panels["net"]["FFA"].get_ydata(), 0.1 * np.arange(1, 5) + 0.05)


def test_the_table_is_left_as_it_was(table, layers):
    before = table.copy()
    layer_profile(table, layers)
    assert before.equals(table)
