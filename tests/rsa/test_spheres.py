"""Neighbourhoods: spheres of a mask, discs of a mesh, windows of time."""

import numpy as np
import pytest
from scipy.sparse import csr_array

from neuro.errors import CorruptFile, EmptySelection, ShapeMismatch
from neuro.rsa._neighbours import (
    Neighbourhoods,
    as_neighbourhoods,
    disc_neighbours,
    mesh_graph,
    product_neighbours,
    sphere_neighbours,
    whole_neighbourhood,
    window_neighbours,
)


def brute_spheres(mask, radius, size=(1, 1, 1)):
    xyz = np.argwhere(mask) * np.asarray(size)
    return [np.flatnonzero(((xyz - c) ** 2).sum(1) < radius**2) for c in xyz]


@pytest.mark.parametrize("radius", [0.5, 1, 1.5, 2, 3, 4.2])
@pytest.mark.parametrize("size", [(1, 1, 1), (3.0, 2.0, 1.0)])
def test_spheres_are_the_mask_voxels_below_the_radius(rng, radius, size):
    mask = rng.random((6, 7, 5)) < 0.6
    found = sphere_neighbours(mask, radius, voxel_size=size)
    for row, expected in enumerate(brute_spheres(mask, radius, size)):
        assert np.array_equal(found[row], expected)
    assert np.array_equal(found.centres, np.arange(mask.sum()))
    assert found.n_channels == mask.sum()


def test_blocks_of_centres_change_nothing(rng, monkeypatch):
    mask = rng.random((8, 8, 8)) < 0.5
    whole = sphere_neighbours(mask, 2.5, threshold=0.4)
    monkeypatch.setattr("neuro.rsa._neighbours.LOOKUPS", 500)
    small = sphere_neighbours(mask, 2.5, threshold=0.4)
    assert np.array_equal(whole.indices, small.indices)
    assert np.array_equal(whole.indptr, small.indptr)
    assert np.array_equal(whole.centres, small.centres)


def test_spheres_do_not_wrap_around_the_edges_of_the_volume():
    found = sphere_neighbours(np.ones((4, 4, 4), bool), 1.1)
    assert found.sizes.max() == 7
    assert found.sizes[0] == 4


def test_threshold_counts_the_share_of_the_whole_sphere():
    found = sphere_neighbours(np.ones((5, 5, 5), bool), 1.1, threshold=1.0)
    assert len(found) == 27
    assert (found.sizes == 7).all()
    corner = sphere_neighbours(np.ones((5, 5, 5), bool), 1.1, threshold=4 / 7)
    assert len(corner) == 125
    with pytest.raises(EmptySelection, match="no sphere"):
        sphere_neighbours(np.ones((2, 2, 2), bool), 2, threshold=1.0)


def test_a_radius_larger_than_the_volume_takes_all():
    found = sphere_neighbours(np.ones((2, 3, 2), bool), 50)
    assert (found.sizes == 12).all()


def test_thick_voxels_count_towards_the_whole_sphere_beyond_the_grid():
    found = sphere_neighbours(np.ones((3, 3, 1), bool), 1.1, threshold=5 / 7)
    assert len(found) == 1


def test_rsatoolbox_spheres_inside_a_mask_agree():
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        searchlight = pytest.importorskip("rsatoolbox.util.searchlight")
        mask = np.zeros((9, 9, 9))
        mask[2:7, 2:7, 2:7] = 1
        centres, neighbours = searchlight.get_volume_searchlight(mask, radius=2, threshold=1.0)
    ours = sphere_neighbours(mask, 2, threshold=1.0)
    flat = np.flatnonzero(mask)
    assert np.array_equal(flat[ours.centres], centres)
    for row, theirs in enumerate(neighbours):
        assert np.array_equal(flat[ours[row]], np.sort(theirs))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"radius": 0}, "radius"),
        ({"radius": np.nan}, "radius"),
        ({"radius": 2, "threshold": 1.2}, "threshold"),
        ({"radius": 2, "voxel_size": (1, 0, 1)}, "voxel_size"),
    ],
)
def test_spheres_say_what_is_wrong(arguments, message):
    with pytest.raises(ValueError, match=message):
        sphere_neighbours(np.ones((3, 3, 3)), **arguments)


def test_spheres_need_a_mask():
    with pytest.raises(ShapeMismatch, match="three axes"):
        sphere_neighbours(np.ones((3, 3)), 2)
    with pytest.raises(EmptySelection, match="no voxel"):
        sphere_neighbours(np.zeros((3, 3, 3)), 2)


def sheet(nx, ny):
    """A flat square mesh with unit spacing, every square cut along one diagonal."""
    x, y = np.meshgrid(np.arange(nx), np.arange(ny), indexing="ij")
    vertices = np.stack([x.ravel(), y.ravel(), np.zeros(nx * ny)], 1).astype(float)
    v = np.arange(nx * ny).reshape(nx, ny)
    a, b, c, d = v[:-1, :-1].ravel(), v[1:, :-1].ravel(), v[:-1, 1:].ravel(), v[1:, 1:].ravel()
    return vertices, np.concatenate([np.stack([a, b, d], 1), np.stack([a, d, c], 1)])


def test_the_graph_of_a_sheet_has_both_diagonals():
    vertices, faces = sheet(3, 3)
    graph = mesh_graph(vertices, faces).toarray()
    distance = np.linalg.norm(vertices[:, None] - vertices[None], axis=2)
    assert graph[0, 4] == pytest.approx(np.sqrt(2))
    assert graph[1, 3] == pytest.approx(np.sqrt(2))
    assert np.allclose(graph[graph > 0], distance[graph > 0])
    assert np.array_equal(graph, graph.T)


def test_discs_on_a_sheet_are_close_to_circles():
    vertices, faces = sheet(15, 15)
    found = disc_neighbours(vertices, faces, 4.0)
    middle = 7 * 15 + 7
    distance = np.linalg.norm(vertices - vertices[middle], axis=1)
    assert set(np.flatnonzero(distance < 4.0 / 1.09)) <= set(found[middle])
    assert set(found[middle]) <= set(np.flatnonzero(distance < 4.0))


def test_discs_are_those_of_the_whole_graph(monkeypatch):
    from scipy.sparse.csgraph import dijkstra

    vertices, faces = sheet(12, 9)
    vertices[:, 2] = np.sin(vertices[:, 0])
    keep = np.arange(108) % 7 > 0
    monkeypatch.setattr("neuro.rsa._neighbours.SOURCES", 10)
    found = disc_neighbours(vertices, faces, 2.7, keep=keep)
    distance = dijkstra(mesh_graph(vertices, faces))[keep][:, keep]
    for row in range(keep.sum()):
        assert np.array_equal(found[row], np.flatnonzero(distance[row] < 2.7))


def test_discs_follow_the_surface_and_not_the_air():
    vertices, faces = sheet(21, 3)
    angle = vertices[:, 0] / 21 * 2 * np.pi * 0.98
    folded = np.stack([3.5 * np.cos(angle), 3.5 * np.sin(angle), vertices[:, 1]], 1)
    found = disc_neighbours(folded, faces, 2.5)
    gap = np.linalg.norm(folded[1] - folded[61])
    assert gap < 2.5
    assert 61 not in found[1]


def test_discs_of_kept_vertices_number_them_anew():
    vertices, faces = sheet(6, 6)
    keep = vertices[:, 0] < 4
    found = disc_neighbours(vertices, faces, 1.2, keep=keep)
    everywhere = disc_neighbours(vertices, faces, 1.2)
    chosen = np.flatnonzero(keep)
    for row in range(len(found)):
        expected = [v for v in everywhere[chosen[row]] if keep[v]]
        assert list(chosen[found[row]]) == expected
    assert len(disc_neighbours(vertices, faces, 1.2, keep=keep, threshold=1.0)) == 18


def test_discs_say_what_is_wrong():
    vertices, faces = sheet(3, 3)
    with pytest.raises(ShapeMismatch, match="mesh is"):
        disc_neighbours(vertices[:, :2], faces, 1)
    with pytest.raises(ShapeMismatch, match="faces name"):
        disc_neighbours(vertices[:4], faces, 1)
    with pytest.raises(EmptySelection, match="no vertex"):
        disc_neighbours(vertices, faces, 1, keep=np.zeros(9, bool))


def test_windows_are_truncated_at_both_ends():
    times = np.arange(-0.1, 0.3, 0.05)
    found = window_neighbours(times, 0.1, step=2)
    assert [list(found[c]) for c in range(len(found))] == [[0, 1], [1, 2, 3], [3, 4, 5], [5, 6, 7]]
    assert list(found.centres) == [0, 2, 4, 6]
    assert (window_neighbours(times, 0).sizes == 1).all()


def test_windows_need_ascending_times():
    with pytest.raises(ShapeMismatch, match="ascending"):
        window_neighbours([0, 2, 1], 1)
    with pytest.raises(ValueError, match="width"):
        window_neighbours([0, 1], -1)


def test_product_of_space_and_time_is_all_pairs():
    space = as_neighbourhoods([[0, 1], [2]], n_channels=3, centres=[0, 2])
    time = window_neighbours([0.0, 1.0, 2.0, 3.0], 2)
    both = product_neighbours(space, time)
    assert list(both[1]) == [0, 1, 2, 4, 5, 6]
    assert both.centres[5] == 2 * 4 + 1
    sensors = product_neighbours(whole_neighbourhood(3), time)
    assert list(sensors[0]) == [0, 1, 4, 5, 8, 9]


def test_any_sparse_matrix_is_a_neighbourhood(rng):
    dense = rng.random((5, 8)) < 0.4
    found = as_neighbourhoods(csr_array(dense.astype(float)))
    assert all(np.array_equal(found[c], np.flatnonzero(dense[c])) for c in range(5))
    assert np.array_equal(found.to_sparse().toarray() > 0, dense)
    assert as_neighbourhoods(found) is found


def test_neighbourhoods_survive_a_file(tmp_path, rng):
    found = sphere_neighbours(rng.random((4, 4, 4)) < 0.7, 2)
    found.save(tmp_path / "n.npz")
    again = Neighbourhoods.load(tmp_path / "n.npz")
    assert np.array_equal(found.indices, again.indices)
    assert np.array_equal(found.indptr, again.indptr)
    np.savez(tmp_path / "other.npz", x=1)
    with pytest.raises(CorruptFile, match="Neighbourhoods"):
        Neighbourhoods.load(tmp_path / "other.npz")


@pytest.mark.parametrize(
    ("indptr", "indices", "centres"),
    [
        ([0, 1], [0, 1], [0]),
        ([0, 1, 2], [0, 1], [0]),
        ([0, 2], [0, 5], [0]),
        ([0, 1], [0], [7]),
        ([0, 2, 1], [1], [0, 1]),
    ],
)
def test_neighbourhoods_that_cannot_be(indptr, indices, centres):
    with pytest.raises(ShapeMismatch):
        Neighbourhoods(indptr, indices, centres, 4)


def test_lists_need_the_number_of_channels():
    with pytest.raises(ValueError, match="n_channels"):
        as_neighbourhoods([[0], [1]])
