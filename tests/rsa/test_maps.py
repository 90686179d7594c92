"""Maps of representations against configurations that are known."""

import numpy as np
import pytest
from scipy.spatial import procrustes
from scipy.spatial.distance import pdist

from neuro.errors import EmptySelection
from neuro.rsa.container import RDMs
from neuro.rsa.maps import embed, layer_by_area, second_order


@pytest.mark.parametrize("method", ["classical", "mds"])
def test_points_in_a_plane_come_back(rng, method):
    points = rng.standard_normal((20, 2))
    found = embed(RDMs(pdist(points)), method)
    assert found.stress < 1e-6
    assert procrustes(points, found.points)[2] < 1e-10


def test_mds_has_less_stress_than_its_start(rng):
    d = RDMs(pdist(rng.standard_normal((25, 8))))
    start, best = embed(d, "classical"), embed(d, "mds")
    assert best.stress < start.stress
    again = embed(d, "mds")
    np.testing.assert_array_equal(best.points, again.points)


def test_stress_is_kruskals(rng):
    d = pdist(rng.standard_normal((15, 6)))
    found = embed(RDMs(d), "mds")
    now = pdist(found.points)
    scale = (now @ d) / (now @ now)
    assert found.stress == pytest.approx(np.sqrt(((scale * now - d) ** 2).sum() / ((scale * now) ** 2).sum()))


def test_umap_keeps_clusters_apart(rng):
    pytest.importorskip("umap")
    centres = 20 * np.eye(3, 10)
    X = np.repeat(centres, 12, axis=0) + rng.standard_normal((36, 10))
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = embed(RDMs(pdist(X)), "umap", rng=0)
        again = embed(RDMs(pdist(X)), "umap", rng=0)
    np.testing.assert_array_equal(found.points, again.points)
    labels = np.repeat(range(3), 12)
    distance = np.linalg.norm(found.points[:, None] - found.points[None], axis=2) + 1e9 * np.eye(36)
    assert (labels[distance.argmin(1)] == labels).all()


def test_bad_input(rng):
    d = RDMs(rng.random((2, 10)))
    with pytest.raises(EmptySelection, match="one RDM, got 2"):
        embed(d)
    with pytest.raises(ValueError, match="n_dimensions"):
        embed(d[0], n_dimensions=5)
    holes = d[0].dissimilarities.copy()
    holes[0, 3] = np.nan
    with pytest.raises(ValueError, match="NaN"):
        embed(RDMs(holes))
    with pytest.raises(EmptySelection, match="at least two"):
        second_order(d[0])


def test_second_order_rdm_is_one_minus_similarity(rng):
    d = rng.random((5, 45))
    rdms = RDMs(d, table={"roi": list("abcde")})
    second = second_order(rdms, "corr")
    np.testing.assert_allclose(second.matrices[0], 1 - np.corrcoef(d), atol=1e-12)
    assert second.conditions.tolist() == list("abcde")
    assert second.condition_table["roi"].tolist() == list("abcde")


def test_layers_by_areas_are_named_and_matched(rng):
    d = rng.random((5, 45))
    layers = RDMs(d[:3], list("abcdefghij"), {"layer": ["l1", "l2", "l3"]})
    areas = RDMs(d[3:], list("abcdefghij"), {"roi": ["V1", "FFA"]}).select(conditions=list("jihgfedcba"))
    frame = layer_by_area(layers, areas, "corr")
    assert frame.index.tolist() == ["V1", "FFA"]
    np.testing.assert_allclose(frame.to_numpy(), np.corrcoef(d)[3:, :3], atol=1e-12)
