import numpy as np
import pandas as pd
import pytest

from neuro.plotting.efficiency import efficiency_curves


@pytest.fixture
def curves():
    rows = [
        dict(roi=roi, model=model, n_images=n, score=level * np.log(n) / 5, ci_low=0.1, ci_high=0.9)
        for roi in ("V1", "FFA")
        for model, level in (("ridge", 0.5), ("few", 0.7))
        for n in (300, 30, 100)
    ]
    return pd.DataFrame(rows)


def test_lines_are_the_scores_in_order_of_size_on_a_logarithmic_axis(curves, lines):
    ax = efficiency_curves(curves, rois=["V1", "FFA"], ceiling={"V1": 0.8}).axes[0]
    x, y = lines(ax)["few"].get_data()
    np.testing.assert_array_equal(x, [30, 100, 300])
    np.testing.assert_allclose(y, 0.7 * np.log(x) / 5)
    assert ax.get_xscale() == "log"
    assert [t.get_text() for t in ax.get_xticklabels()] == ["30", "100", "300"]
    assert set(lines(ax)["noise ceiling"].get_ydata()) == {0.8}


def test_colours_are_those_of_all_models_of_the_study(curves, lines):
    ax = efficiency_curves(curves, models=["absent", "ridge", "few"]).axes[0]
    both = efficiency_curves(curves, models=["ridge", "few"]).axes[0]
    assert lines(ax)["ridge"].get_color() == lines(both)["few"].get_color()
    assert "absent" not in lines(ax)


def test_bands_reach_from_bound_to_bound(curves):
    ax = efficiency_curves(curves, models=["few"], rois=["V1"]).axes[0]
    edges = ax.collections[0].get_paths()[0].vertices[:, 1]
    assert (edges.min(), edges.max()) == pytest.approx((0.1, 0.9))
