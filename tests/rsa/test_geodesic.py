import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import pdist, squareform

from neuro.rsa.container import RDMs
from neuro.rsa.geodesic import geodesics, rgdm, shortest_paths
from neuro.rsa.topology import geo_topological, rank_transform

torch = pytest.importorskip("torch")

KINDS = {
    "two-step": {"l": 0.1, "u": 0.3},
    "p-shortest": {"p": 0.2},
    "k-nearest": {"k": 4},
    "p-nearest": {"p": 0.2},
}


def min_plus(w):
    """Shortest paths by loops over stops, ends and starts."""
    paths = w.copy()
    n = len(w)
    np.fill_diagonal(paths, 0)
    for k in range(n):
        for i in range(n):
            for j in range(n):
                paths[i, j] = min(paths[i, j], paths[i, k] + paths[k, j])
    return paths


def filled(paths):
    return np.where(np.isinf(paths), paths[np.isfinite(paths)].max(), paths)


# Against the definition


def test_scores_of_the_curves():
    t = 2 * np.pi * np.arange(50) / 50
    cos, sin = np.cos, np.sin
    flat, twist = np.c_[cos(t), sin(2 * t), 0 * t], np.c_[cos(t) / 2, sin(2 * t) / 2, cos(2 * t)]
    untangled_flat = np.c_[cos(t), sin(2 * t), sin(t) / 3]
    untangled_twist = np.c_[cos(t) / 2, sin(2 * t) / 2, cos(2 * t) * (1 + sin(t) / 3)]
    d = np.stack([pdist(x) for x in (flat, twist, untangled_flat, untangled_twist)])

    def score(z):
        def gap(i, j):
            return np.linalg.norm(z[i] - z[j])

        return (gap(0, 1) + gap(2, 3)) / (gap(0, 2) + gap(1, 3))

    kept, dropped = score(rgdm(d)), score(rgdm(d, zero_edges="drop"))
    assert kept == pytest.approx(0.699, abs=1e-3)
    assert dropped == pytest.approx(0.645, abs=5e-4)
    assert score(rgdm(d, decimals=None)) == pytest.approx(0.688, abs=5e-3)
    assert score(rgdm(d, zero_edges="drop", decimals=None)) == pytest.approx(0.668, abs=5e-3)
    order = score(rank_transform(d)), score(d), score(geo_topological(d, 0, 0.075)), kept
    assert all(a > b for a, b in itertools.pairwise(order))
    assert kept < 1


def test_two_step_keeps_edges_of_no_length(rng):
    d = rng.random(190)
    z = squareform(geo_topological(d, 0.2, 0.6))
    w = np.where(z >= 1, np.inf, z)
    want = filled(min_plus(w))
    np.testing.assert_allclose(squareform(rgdm(d, l=0.2, u=0.6, ranked=False)), want, atol=1e-12)
    closest = d <= np.quantile(d, 0.2)
    kept = rgdm(d, l=0.2, u=0.6, ranked=False)
    dropped = rgdm(d, l=0.2, u=0.6, ranked=False, zero_edges="drop")
    assert (kept[closest] == 0).all()
    assert (dropped[closest] > 0).all()


def test_dropped_edges_are_missing_ones(rng):
    d = rng.random(190)
    z = squareform(geo_topological(d, 0.2, 0.6))
    w = np.where((z >= 1) | (z == 0), np.inf, z)
    got = squareform(rgdm(d, l=0.2, u=0.6, ranked=False, zero_edges="drop"))
    np.testing.assert_allclose(got, filled(min_plus(w)), atol=1e-12)


def test_p_shortest_joins_the_shortest_pairs(rng):
    d = rng.random(190)
    rho = rank_transform(d)
    w = squareform(rho)
    w[w > np.quantile(rho, 0.15)] = np.inf
    np.testing.assert_allclose(squareform(rgdm(d, "p-shortest", p=0.15, ranked=False)), filled(min_plus(w)), atol=1e-12)
    assert rgdm(d, "p-shortest", p=0.15, ranked=False)[d.argmin()] == 0


@pytest.mark.parametrize("neighbours", ["union", "mutual"])
def test_k_nearest_by_loops(rng, neighbours):
    d = pdist(rng.standard_normal((20, 3)))
    w = squareform(rank_transform(d))
    mine = np.zeros((20, 20), bool)
    for i in range(20):
        others = [j for j in np.argsort(w[i]) if j != i][:3]
        mine[i, others] = True
    keep = mine | mine.T if neighbours == "union" else mine & mine.T
    want = filled(min_plus(np.where(keep, w, np.inf)))
    got = rgdm(d, "k-nearest", k=3, neighbours=neighbours, ranked=False)
    np.testing.assert_allclose(squareform(got), want, atol=1e-12)
    np.testing.assert_array_equal(rgdm(d, "p-nearest", p=0.15, neighbours=neighbours, ranked=False), got)


@pytest.mark.parametrize("density", [0.03, 0.1, 0.5])
def test_both_algorithms_find_the_shortest_paths(rng, density):
    w = np.full((3, 30, 30), np.inf)
    for k in range(3):
        d = np.where(rng.random(435) < density, rng.integers(0, 4, 435), np.inf)  # many edges of length 0
        i, j = np.triu_indices(30, 1)
        w[k, i, j] = w[k, j, i] = d
        w[k, range(30), range(30)] = 0
    want = np.stack([min_plus(x) for x in w])
    np.testing.assert_array_equal(shortest_paths(w), want)
    np.testing.assert_array_equal(shortest_paths(torch.tensor(w)), want)


def test_all_edges_kept_leaves_a_metric(rng):
    """With every edge, a path is only shorter where the triangle inequality fails."""
    d = rng.random(190)
    got = rgdm(d, "p-shortest", p=1.0, ranked=False)
    assert (got <= rank_transform(d) + 1e-12).all()
    square = squareform(got)
    assert (square[:, :, None] <= square[:, None, :] + square[None] + 1e-12).all()


def test_loose_ends_are_counted_and_placed_at_the_longest_path():
    x = np.r_[np.arange(4.0), 100 + 1.1 * np.arange(3.0)][:, None]  # two separate lines
    result = geodesics(pdist(x), "k-nearest", k=1, ranked=False)
    paths = squareform(result.rdms.dissimilarities[0])
    assert result.unreachable[0] == pytest.approx(12 / 21)
    np.testing.assert_array_equal(
        paths[:4, 4:], paths[:4, :4].max() if paths[:4, :4].max() > paths[4:, 4:].max() else paths[4:, 4:].max()
    )
    assert result.edges[0] == pytest.approx(5 / 21)
    frame = result.to_frame()
    assert list(frame.columns) == ["edges", "unreachable"]
    assert len(frame) == 1


# Invariance


@settings(max_examples=30, deadline=None)
@given(
    st.sampled_from(sorted(KINDS)), st.permutations(range(12)), st.integers(0, 4), st.sampled_from(["union", "mutual"])
)
def test_order_of_stimuli_does_not_matter(kind, order, seed, neighbours):
    # Whole numbers: many ties among neighbours.
    x = np.random.default_rng(seed).integers(0, 3, (12, 2)) + 0.2 * np.arange(12)[:, None] % 1
    options = KINDS[kind] | ({"neighbours": neighbours} if "nearest" in kind else {})
    got = squareform(rgdm(pdist(x), kind, **options))[np.ix_(order, order)]
    np.testing.assert_allclose(squareform(rgdm(pdist(x[list(order)]), kind, **options)), got, atol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_monotone_transformation_changes_nothing(rng, kind):
    d = rng.random((2, 190))
    np.testing.assert_array_equal(rgdm(np.exp(3 * d) - 5, kind, **KINDS[kind]), rgdm(d, kind, **KINDS[kind]))


@pytest.mark.parametrize("kind", KINDS)
def test_tensors_give_what_arrays_give(rng, kind):
    d = rng.random((3, 190))
    got = rgdm(torch.tensor(d), kind, **KINDS[kind])
    assert isinstance(got, torch.Tensor)
    np.testing.assert_allclose(got, rgdm(d, kind, **KINDS[kind]), atol=1e-12)


def test_rdms_come_back_with_what_they_are(rng):
    rdms = RDMs(rng.random((2, 45)), table={"roi": ["V1", "FFA"]}, metric="crossnobis")
    out = rgdm(rdms, "two-step", l=0, u=0.1)
    assert out.metric == "rgdm"
    assert out.settings["of"] == "crossnobis"
    assert list(out.table.columns) == ["roi", "unreachable"]
    np.testing.assert_array_equal(out.dissimilarities, rgdm(rdms.dissimilarities, u=0.1))


# Bad input


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        ("nearest", {}, "kind must be"),
        ("two-step", {"zero_edges": "remove"}, "zero_edges must be"),
        ("two-step", {"l": 0.5, "u": 0.2}, "swapped"),
        ("p-shortest", {"u": 0.5}, "belong to kind='two-step'"),
        ("p-shortest", {"p": 0}, "p is the share"),
        ("p-shortest", {"k": 3}, "k belongs to"),
        ("two-step", {"p": 0.1}, "p belongs to"),
        ("k-nearest", {}, "k must be an integer"),
        ("k-nearest", {"k": 2, "neighbours": "both"}, "neighbours must be"),
        ("two-step", {"l": 0, "u": 0, "zero_edges": "drop"}, "no edge left"),
        ("two-step", {"l": 0.3, "u": 0.3}, "same length"),
    ],
)
def test_bad_options(rng, kind, options, message):
    with pytest.raises(ValueError, match=message):
        rgdm(rng.random(45), kind, **options)


def test_unknown_pairs_are_refused(rng):
    d = rng.random(45)
    d[3] = np.nan
    with pytest.raises(ValueError, match="need all pairs"):
        rgdm(d)


def test_it_of_the_92_images_is_one_graph(real_data):
    data = np.load(real_data / "kriegeskorte92" / "kriegeskorte92.npz")
    d = np.stack([squareform(data[f"rdm_{who}IT"], checks=False) for who in ("human", "monkey")])
    result = geodesics(d, "k-nearest", k=5)
    assert (result.unreachable == 0).all()
    assert np.corrcoef(result.rdms.dissimilarities)[0, 1] > 0.2
