import numpy as np
import pandas as pd

from neuro.plotting import layer_roi_heatmap


def test_cells_hold_the_values_and_frames_the_best(rng):
    scores = pd.DataFrame(rng.random((3, 5)), index=["V1", "V2", "FFA"], columns=[f"net.l{i}" for i in range(5)])
    ax = layer_roi_heatmap(scores).axes[0]
    np.testing.assert_allclose(ax.images[0].get_array(), scores)
    framed = {(round(p.get_y() + 0.44), round(p.get_x() + 0.46)) for p in ax.patches}
    assert framed == set(enumerate(scores.to_numpy().argmax(axis=1)))
    assert [t.get_text() for t in ax.get_yticklabels()] == ["V1", "V2", "FFA"]
    assert [t.get_text() for t in ax.get_xticklabels()] == [f"l{i}" for i in range(5)]


def test_missing_cells_are_left_out():
    scores = pd.DataFrame([[0.1, np.nan], [np.nan, np.nan]], index=["V1", "V2"], columns=["a", "b"])
    ax = layer_roi_heatmap(scores).axes[0]
    assert ax.images[0].get_array().mask.tolist() == [[False, True], [True, True]]
    assert [t.get_text() for t in ax.texts] == [".10"]
    assert len(ax.patches) == 2  # white and black frame of the one best cell
