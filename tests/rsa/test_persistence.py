import itertools

import numpy as np
import pytest
from scipy.sparse.csgraph import minimum_spanning_tree
from scipy.spatial.distance import pdist, squareform

from neuro.rsa.container import RDMs
from neuro.rsa.persistence import Barcodes, bottleneck_distance, lengths, persistence, wasserstein_distance
from neuro.rsa.topology import rank_transform

pytest.importorskip("ripser", reason="needs the extra 'topology'")


def circle(n=40, noise=0.05, seed=0):
    t = 2 * np.pi * np.arange(n) / n
    return np.c_[np.cos(t), np.sin(t)] + noise * np.random.default_rng(seed).standard_normal((n, 2))


def brute(a, b, order):
    """Cheapest matching by trying all, a bar or a place on the diagonal for each; order inf is the bottleneck."""
    best = np.inf
    m, n = len(a), len(b)
    for chosen in itertools.permutations([*range(n), *([None] * m)], m):
        costs = [abs(a[i] - b[j]).max() if j is not None else np.diff(a[i])[0] / 2 for i, j in enumerate(chosen)]
        costs += [np.diff(b[j])[0] / 2 for j in range(n) if j not in chosen]
        total = max(costs) if np.isinf(order) else sum(c**order for c in costs) ** (1 / order)
        best = min(best, total)
    return best


def test_a_circle_has_one_long_loop():
    bars = persistence(pdist(circle())).bars[0]
    loops = np.sort(lengths(bars[1]))[::-1]
    assert loops[0] > 1.2  # fills at sqrt(3), less the noise
    assert len(loops) == 1 or loops[1] < 0.1 * loops[0]


def test_two_circles_have_two_and_a_blob_none():
    x = np.concatenate([circle(seed=1), circle(seed=2) + 5])
    blob = np.random.default_rng(0).standard_normal((80, 2))
    codes = persistence(np.stack([pdist(x), pdist(blob)]))
    assert (lengths(codes.bars[0][1]) > 1).sum() == 2
    assert (lengths(codes.bars[1][1]) > 1).sum() == 0
    assert codes.betti([1.0], 1)[0, 0] == 2
    assert codes.betti([1.0], 0)[0, 0] == 2


def test_a_sphere_has_a_void(rng):
    k = np.arange(60) + 0.5
    z, t = 1 - 2 * k / 60, np.pi * (1 + 5**0.5) * k
    x = np.c_[np.sqrt(1 - z**2) * np.cos(t), np.sqrt(1 - z**2) * np.sin(t), z]
    codes = persistence(pdist(x), max_dimension=2)
    summary = codes.summary().set_index("dimension")
    assert summary.loc[2, "max_persistence"] > 0.5
    assert summary.loc[2, "n_bars"] == 1


def test_components_die_along_the_minimum_spanning_tree(rng):
    d = rng.random(190)
    bars = persistence(d, max_dimension=0).bars[0][0]
    tree = minimum_spanning_tree(squareform(d)).data
    np.testing.assert_allclose(np.sort(bars[:, 1])[:-1], np.sort(tree), rtol=1e-6)
    assert np.isinf(bars[:, 1]).sum() == 1
    summary = persistence(d, max_dimension=0).summary()
    assert summary["total_persistence"][0] == pytest.approx(tree.sum(), rel=1e-6)


def test_betti_curves_count_bars_alive(rng):
    codes = persistence(rng.random((2, 190)), max_dimension=1)
    at = np.linspace(0, 1, 23)
    for dimension in (0, 1):
        want = [[sum(b <= t < d for b, d in of[dimension]) for t in at] for of in codes.bars]
        np.testing.assert_array_equal(codes.betti(at, dimension), want)


def test_order_of_stimuli_does_not_matter(rng):
    x = circle(25)
    order = rng.permutation(25)
    codes = persistence(np.stack([pdist(x), pdist(x[order])]))
    assert codes.distances()[0, 1] < 1e-6
    assert codes.distances("bottleneck")[0, 1] < 1e-6


# Distances of barcodes


@pytest.mark.parametrize("seed", range(6))
def test_matchings_against_all_matchings(seed):
    rng = np.random.default_rng(seed)
    a, b = (np.sort(rng.random((k, 2)), axis=1) for k in rng.integers(0, 5, 2))
    for order in (1.0, 2.0):
        assert wasserstein_distance(a, b, order=order) == pytest.approx(brute(a, b, order))
    assert bottleneck_distance(a, b) == pytest.approx(brute(a, b, np.inf))


def test_distances_are_persims(rng):
    persim = pytest.importorskip("persim")
    for _ in range(5):
        a, b = (np.sort(rng.random((k, 2)), axis=1) for k in rng.integers(3, 30, 2))
        assert bottleneck_distance(a, b) == pytest.approx(persim.bottleneck(a, b))
        assert wasserstein_distance(a, b, ground="euclidean") == pytest.approx(persim.wasserstein(a, b))


def test_distances_obey_the_axioms(rng):
    bars = [np.sort(rng.random((k, 2)), axis=1) for k in (3, 5, 8)]
    for f in (wasserstein_distance, bottleneck_distance):
        assert all(f(a, a) == pytest.approx(0, abs=1e-12) for a in bars)
        a, b, c = bars
        assert f(a, b) == pytest.approx(f(b, a))
        assert f(a, c) <= f(a, b) + f(b, c) + 1e-12


def test_bottleneck_is_stable(rng):
    """Barcodes move no further than the dissimilarities did."""
    d = pdist(circle(25))
    moved = d + rng.uniform(-0.05, 0.05, d.shape).clip(-d, None)
    codes = persistence(np.stack([d, moved]))
    for dimension in (0, 1):
        assert codes.distances("bottleneck", dimension)[0, 1] <= abs(d - moved).max() + 1e-6


def test_bars_without_end():
    a, b = np.array([[0.0, np.inf], [0.2, 0.5]]), np.array([[0.3, np.inf], [0.2, 0.5]])
    assert wasserstein_distance(a, b) == pytest.approx(0.3)
    assert bottleneck_distance(a, b) == pytest.approx(0.3)
    assert wasserstein_distance(a, b[1:]) == np.inf
    assert bottleneck_distance(a, b[1:]) == np.inf
    assert wasserstein_distance(a[:0], b[:0]) == 0
    assert bottleneck_distance(a[:0], b[:0]) == 0


def test_threshold_leaves_the_loop_open():
    codes = persistence(pdist(circle()), threshold=1.0)
    assert np.isinf(codes.bars[0][1][:, 1]).sum() == 1
    assert codes.threshold == 1.0


# Tables, input


def test_tables(rng):
    rdms = RDMs(np.stack([pdist(circle(20)), pdist(circle(20, seed=3))]), table={"roi": ["V1", "FFA"]})
    codes = persistence(rdms)
    assert isinstance(codes, Barcodes)
    frame = codes.to_frame()
    assert list(frame.columns) == ["roi", "rdm", "dimension", "birth", "death", "persistence"]
    assert len(frame) == sum(len(b) for of in codes.bars for b in of)
    assert list(codes.summary()["roi"]) == ["V1", "V1", "FFA", "FFA"]
    np.testing.assert_allclose(codes.distances(), codes.distances().T)


def test_ranks_need_not_be_a_metric(rng):
    codes = persistence(rank_transform(rng.standard_normal(190)))
    assert codes.summary()["n_bars"][0] == 19  # the closest pair is joined at rank 0: a bar of no length


@pytest.mark.parametrize(("bad", "message"), [(-0.1, "1 negative"), (np.nan, "NaN"), (np.inf, "infinite")])
def test_bad_dissimilarities(rng, bad, message):
    d = rng.random(45)
    d[7] = bad
    with pytest.raises(ValueError, match=message):
        persistence(d)


def test_bad_options(rng):
    d = rng.random(45)
    with pytest.raises(ValueError, match="max_dimension must be"):
        persistence(d, max_dimension=-1)
    with pytest.raises(ValueError, match="threshold must be positive"):
        persistence(d, threshold=0)
    with pytest.raises(ValueError, match="dimension must be 0 to 1"):
        persistence(d).betti([0.1], 2)
    with pytest.raises(ValueError, match="kind must be"):
        persistence(d).distances("euclidean")
    with pytest.raises(ValueError, match="order must be"):
        wasserstein_distance(np.zeros((0, 2)), np.zeros((0, 2)), order=0.5)


def test_without_ripser_the_extra_is_named(rng, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "ripser", None)
    with pytest.raises(ModuleNotFoundError, match=r"neuro\[topology\]"):
        persistence(rng.random(45))
