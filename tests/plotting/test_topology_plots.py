import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from scipy.spatial.distance import pdist, squareform

from neuro.plotting.topology import lu_triangle, mds_layout, representation_graph, transform_curves


@pytest.fixture
def cells(rng):
    l, u = np.triu_indices(21, 1)
    return pd.DataFrame({"l": l / 20, "u": u / 20, "accuracy_euclidean": rng.random(210)})


def circle(n=12):
    t = 2 * np.pi * np.arange(n) / n
    return pdist(np.c_[np.cos(t), np.sin(t)])


def test_the_triangle_holds_every_cell(cells):
    figure = lu_triangle(cells, chance=0.5)
    assert isinstance(figure, Figure)
    ax = figure.axes[0]
    image = ax.images[0].get_array()
    assert image.shape == (21, 21)
    assert (~image.mask).sum() == 210
    for l, u, value in cells.sample(20, random_state=0).itertuples(index=False):
        assert image[round(20 * u), round(20 * l)] == value
    frame = ax.patches[0]  # around the best cell
    best = cells.loc[cells["accuracy_euclidean"].idxmax()]
    np.testing.assert_allclose([frame.get_x() + 0.025, frame.get_y() + 0.025], best[["l", "u"]])
    assert {"local", "global", "geometry", "topology"} == {t.get_text() for t in ax.texts}
    assert [t.get_text() for t in figure.axes[1].texts] == ["chance"]


def test_of_equal_cells_the_widest_is_framed(cells):
    frame = lu_triangle(cells.assign(accuracy_euclidean=0.5)).axes[0].patches[0]
    np.testing.assert_allclose([frame.get_x() + 0.025, frame.get_y() + 0.025], [0, 1], atol=1e-12)


def test_chosen_cells_are_dots(cells):
    chosen = pd.DataFrame({"l": [0.1, 0.1, 0.3], "u": [0.9, 0.9, 0.5]})
    ax = lu_triangle(cells, chosen=chosen, families=False).axes[0]
    dots = ax.collections[0]
    np.testing.assert_allclose(dots.get_offsets(), [[0.1, 0.9], [0.3, 0.5]])
    assert dots.get_sizes()[0] > dots.get_sizes()[1]
    assert not ax.texts


def test_missing_columns_are_named(cells):
    with pytest.raises(ValueError, match="'ratio'"):
        lu_triangle(cells, "ratio")


def test_curves_are_the_transform():
    figure = transform_curves({"rank": (0, 1), "step": (0.5, 0.5)}, sigmoid=(10, 0.5))
    lines = figure.axes[0].lines
    assert [line.get_label() for line in lines] == ["rank", "step", "sigmoid (10, 0.5)"]
    np.testing.assert_array_equal(np.transpose(lines[0].get_data()), [[0, 0], [0, 0], [1, 1], [1, 1]])
    np.testing.assert_array_equal(np.transpose(lines[1].get_data()), [[0, 0], [0.5, 0], [0.5, 1], [1, 1]])
    x, y = lines[2].get_data()
    np.testing.assert_allclose(y, 1 / (1 + np.exp(-10 * (x - 0.5))))
    assert transform_curves([(0.2, 0.8)]).axes[0].lines[0].get_label() == "l = 0.2, u = 0.8"
    with pytest.raises(ValueError, match="thresholds must obey"):
        transform_curves([(0.8, 0.2)])


def test_the_graph_of_a_circle_is_a_circle():
    ax = representation_graph(circle(), 0, 0.2, labels=[f"s{k}" for k in range(12)]).axes[0]
    segments, dots = ax.collections
    assert len(segments.get_segments()) == 12  # ties are not broken by rounding errors
    length = [np.linalg.norm(a - b) for a, b in segments.get_segments()]
    np.testing.assert_allclose(length, length[0], rtol=1e-3)
    assert len(dots.get_offsets()) == 12
    assert [t.get_text() for t in ax.texts] == [f"s{k}" for k in range(12)]


def test_groups_have_colours_and_a_legend():
    figure = representation_graph(
        squareform(circle()), groups=["a"] * 5 + ["b"] * 7, colours={"a": "#000000"}, title="V1"
    )
    assert [t.get_text() for t in figure.legends[0].get_texts()] == ["a", "b"]
    assert len(figure.axes[0].collections) == 3
    assert figure.axes[0].get_title(loc="left") == "V1"


def test_the_map_keeps_plane_distances(rng):
    d = pdist(rng.standard_normal((15, 2)))
    np.testing.assert_allclose(pdist(mds_layout(d)), d, rtol=1e-4)


def test_the_map_lowers_the_stress(rng):
    d = pdist(rng.standard_normal((20, 6)))
    start, end = (((pdist(mds_layout(d, k)) - d) ** 2).sum() for k in (0, 200))
    assert end < start


@pytest.mark.parametrize(
    ("options", "message"),
    [({"l": 0.5, "u": 0.5}, "l < u"), ({"labels": ["a"]}, "labels must"), ({"groups": ["a"] * 3}, "groups must")],
)
def test_bad_graphs(options, message):
    with pytest.raises(ValueError, match=message):
        representation_graph(circle(), **options)
    with pytest.raises(ValueError, match="finite"):
        representation_graph(np.full(6, np.nan))


def test_two_stimuli_make_a_map():
    assert np.isfinite(mds_layout(np.array([1.0]))).all()
