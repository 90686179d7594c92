import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.spatial.distance import pdist, squareform
from scipy.stats import rankdata

from neuro.rsa.container import RDMs
from neuro.rsa.topology import (
    FAMILIES,
    family_of,
    geo_topological,
    in_family,
    lu_grid,
    rank_transform,
    sample_family,
    sigmoid_transform,
)

torch = pytest.importorskip("torch")

vectors = arrays(np.float64, st.sampled_from([10, 28, 66]), elements=st.floats(-1e3, 1e3, width=32)).filter(
    lambda d: len(np.unique(d)) > 2
)
levels = st.floats(0, 1)


@pytest.fixture(scope="module")
def curves():
    """Two curves and two untangled ones: flat8, twist8, and both with the crossing taken apart."""
    t = 2 * np.pi * np.arange(50) / 50
    cos, sin = np.cos, np.sin
    flat = np.c_[cos(t), sin(2 * t), 0 * t]
    twist = np.c_[cos(t) / 2, sin(2 * t) / 2, cos(2 * t)]
    untangled_flat = np.c_[cos(t), sin(2 * t), sin(t) / 3]
    untangled_twist = np.c_[cos(t) / 2, sin(2 * t) / 2, cos(2 * t) * (1 + sin(t) / 3)]
    return np.stack([pdist(x) for x in (flat, twist, untangled_flat, untangled_twist)])


def topology_score(z):
    """Small where topology outweighs geometry."""

    def gap(i, j):
        return np.linalg.norm(z[i] - z[j])

    return (gap(0, 1) + gap(2, 3)) / (gap(0, 2) + gap(1, 3))


def by_definition(d, l, u, scale):
    """One RDM, numpy's own quantiles."""
    rho = rankdata(d) if scale == "rank" else d
    rho = (rho - rho.min()) / (rho.max() - rho.min())
    low, high = np.quantile(rho, [l, u])
    return np.clip((rho - low) / (high - low), 0, 1)


# Against the definition


def test_scores_of_the_curves(curves):
    assert topology_score(curves) == pytest.approx(4.688, abs=5e-4)
    assert topology_score(rank_transform(curves)) == pytest.approx(5.353, abs=5e-4)
    assert topology_score(geo_topological(curves, 0, 0.075)) == pytest.approx(1.775, abs=5e-4)


def test_without_rounding_ties_fall_at_random(curves):
    assert topology_score(rank_transform(curves, decimals=None)) == pytest.approx(5.346, abs=2e-3)
    assert topology_score(geo_topological(curves, 0, 0.075, decimals=None)) == pytest.approx(1.771, abs=2e-3)


@pytest.mark.parametrize("scale", ["rank", "value"])
@pytest.mark.parametrize(("l", "u"), [(0, 1), (0, 0.075), (0.2, 0.8), (0.43, 0.61), (0.9, 1)])
def test_transform_is_its_definition(rng, scale, l, u):
    d = rng.random((4, 66)) ** 2
    want = np.stack([by_definition(row, l, u, scale) for row in d])
    np.testing.assert_allclose(geo_topological(d, l, u, scale=scale), want, atol=1e-12)


def test_tie_free_ranks_give_the_clip_formula(rng):
    d = rng.permutation(1001 * 1000 // 2)[None].astype(float)
    rho = d / d.max()
    for l, u in [(0.1, 0.3), (0.25, 0.75)]:
        want = np.clip((rho - l) / (u - l), 0, 1)
        np.testing.assert_allclose(geo_topological(d, l, u), want, atol=1e-9)
        np.testing.assert_allclose(geo_topological(d, l, u, thresholds="value"), want, atol=1e-9)


def test_corners_are_the_rank_rdm_and_the_raw_values(rng):
    d = rng.random((2, 45))
    np.testing.assert_allclose(geo_topological(d, 0, 1), rank_transform(d), atol=1e-12)
    scaled = (d - d.min(1, keepdims=True)) / np.ptp(d, axis=1, keepdims=True)
    np.testing.assert_allclose(geo_topological(d, 0, 1, scale="value"), scaled, atol=1e-12)


def test_quantiles_are_each_rdms_own(rng):
    d = rng.random((3, 45)) * np.array([[1.0], [10.0], [0.01]]) + np.array([[0.0], [5.0], [-3.0]])
    for scale in ("rank", "value"):
        stack = geo_topological(d, 0.2, 0.6, scale=scale)
        np.testing.assert_array_equal(
            stack, np.concatenate([geo_topological(r[None], 0.2, 0.6, scale=scale) for r in d])
        )
        np.testing.assert_allclose((stack == 1).mean(1), 0.4, atol=0.03)
        np.testing.assert_allclose((stack == 0).mean(1), 0.2, atol=0.03)


def test_ranks_and_values_differ(rng):
    d = rng.random((1, 45)) ** 4
    assert abs(geo_topological(d, 0.2, 0.8) - geo_topological(d, 0.2, 0.8, scale="value")).max() > 0.1


# Claims for all inputs


@settings(max_examples=60, deadline=None)
@given(vectors, levels, levels)
def test_entries_lie_between_0_and_1_and_keep_the_order(d, a, b):
    l, u = min(a, b), max(a, b)
    z = geo_topological(d, l, u)
    assert ((z >= 0) & (z <= 1)).all()
    assert (np.diff(z[np.argsort(d, kind="stable")]) >= -1e-12).all()


@settings(max_examples=60, deadline=None)
@given(arrays(np.int64, 45, elements=st.integers(-30, 30)).filter(lambda d: len(np.unique(d)) > 2), levels, levels)
def test_monotone_transformation_changes_nothing(d, a, b):
    l, u, d = min(a, b), max(a, b), d.astype(float)
    z = geo_topological(d, l, u, decimals=None)
    for f in (np.exp, np.cbrt, lambda x: 3 * x - 7, lambda x: x**3):
        np.testing.assert_array_equal(geo_topological(f(d), l, u, decimals=None), z)


@settings(max_examples=40, deadline=None)
@given(vectors, st.permutations(range(5)))
def test_order_of_stimuli_does_not_matter(d, order):
    d = d[:10]
    if len(np.unique(np.round(d / max(abs(d).max(), 1e-300), 10))) < 2:
        return
    square = squareform(d, checks=False)
    moved = squareform(square[np.ix_(order, order)], checks=False)
    z = squareform(geo_topological(d, 0.1, 0.7), checks=False)
    np.testing.assert_allclose(
        squareform(geo_topological(moved, 0.1, 0.7), checks=False), z[np.ix_(order, order)], atol=1e-12
    )


def test_units_do_not_matter_to_ties(rng):
    d = np.repeat(rng.random(22), 3)
    noisy = d * (1 + 1e-14 * rng.standard_normal(66))
    for unit in (1e-12, 1.0, 1e9):
        np.testing.assert_allclose(rank_transform(noisy * unit), rank_transform(d), atol=1e-12)
    assert len(np.unique(rank_transform(noisy, decimals=None))) > 22


# Steps, ties, signs, unknown pairs


def test_equal_thresholds_are_a_step(rng):
    d = rng.random(45)
    for q in (0.0, 0.3, 1.0):
        rho = rank_transform(d)
        np.testing.assert_array_equal(geo_topological(d, q, q), (rho > np.quantile(rho, q)).astype(float))


def test_quantiles_that_fall_on_one_tie_are_a_step():
    d = np.array([0.0] + 8 * [1.0] + [2.0])  # 10 pairs: quantiles 0.3 and 0.7 are both the tie
    z = geo_topological(d, 0.3, 0.7)
    np.testing.assert_array_equal(z, [0.0] + 8 * [0.0] + [1.0])


def test_negative_dissimilarities_count_by_order(rng):
    d = rng.standard_normal(45)
    np.testing.assert_array_equal(geo_topological(d, 0.2, 0.6), geo_topological(d + 10, 0.2, 0.6))
    np.testing.assert_allclose(
        geo_topological(d, 0.2, 0.6, scale="value"), geo_topological(d + 10, 0.2, 0.6, scale="value"), atol=1e-10
    )


@pytest.mark.parametrize("scale", ["rank", "value"])
def test_unknown_pairs_stay_unknown_and_count_for_nothing(rng, scale):
    d = rng.random((2, 45))
    d[0, [3, 10, 44]] = np.nan
    z = geo_topological(d, 0.2, 0.6, scale=scale)
    assert np.isnan(z).sum() == 3
    known = ~np.isnan(d[0])
    np.testing.assert_allclose(z[0, known], by_definition(d[0, known], 0.2, 0.6, scale), atol=1e-12)
    z = geo_topological(d, 0.5, 0.5, scale=scale)
    np.testing.assert_array_equal(np.isnan(z), np.isnan(d))


@pytest.mark.parametrize(
    ("l", "u", "message"), [(0.6, 0.4, "swapped"), (-0.1, 0.5, "from 0 to 1"), (0.1, 1.5, "from 0 to 1")]
)
def test_bad_thresholds(l, u, message):
    with pytest.raises(ValueError, match=message):
        geo_topological(np.arange(6.0), l, u)


@pytest.mark.parametrize(
    ("row", "message"),
    [(np.ones(6), "are equal"), (np.full(6, np.nan), "are unknown"), (np.array([1, 2, 3, 4, 5, np.inf]), "finite")],
)
def test_rdms_without_an_order(row, message):
    with pytest.raises(ValueError, match=f"RDM 1 of 2 .*{message}"):
        rank_transform(np.stack([np.arange(6.0), row]))


def test_unknown_options():
    with pytest.raises(ValueError, match="scale must be"):
        geo_topological(np.arange(6.0), 0, 1, scale="log")
    with pytest.raises(ValueError, match="thresholds must be"):
        geo_topological(np.arange(6.0), 0, 1, thresholds="sd")
    with pytest.raises(ValueError, match="alpha must be positive"):
        sigmoid_transform(np.arange(6.0), alpha=0)


# Forms


def test_the_form_comes_back(rng):
    d = rng.random((3, 10))
    z = rank_transform(d)
    square = np.stack([squareform(x) for x in d])
    np.testing.assert_array_equal(rank_transform(square), np.stack([squareform(x) for x in z]))
    np.testing.assert_array_equal(rank_transform(square[0]), squareform(z[0]))
    np.testing.assert_array_equal(rank_transform(d[0]), z[0])
    rdms = RDMs(d, conditions=list("abcde"), table={"roi": ["V1", "V2", "V3"]}, metric="correlation")
    out = geo_topological(rdms, 0.2, 0.8)
    assert isinstance(out, RDMs)
    assert out.metric == "rgtm"
    assert out.settings["of"] == "correlation"
    assert (out.settings["l"], out.settings["u"]) == (0.2, 0.8)
    assert list(out.conditions) == list("abcde")


def test_input_is_left_alone(rng):
    d = rng.random((3, 10))
    before = d.copy()
    geo_topological(d, 0.2, 0.6)
    np.testing.assert_array_equal(d, before)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_tensors_give_what_arrays_give(rng, dtype):
    d = rng.random((3, 66)).astype(dtype)
    d[:, 10:20] = d[:, :10]
    d[0, 5] = np.nan
    for scale in ("rank", "value"):
        for l, u in [(0, 1), (0.2, 0.6), (0.5, 0.5)]:
            z = geo_topological(torch.tensor(d), l, u, scale=scale)
            assert z.dtype == torch.tensor(d).dtype
            np.testing.assert_allclose(
                z, geo_topological(d, l, u, scale=scale), atol=1e-6 if dtype == np.float32 else 1e-12
            )
    np.testing.assert_allclose(sigmoid_transform(torch.tensor(d)), sigmoid_transform(d), atol=1e-6)


def test_values_are_differentiable(rng):
    d = torch.tensor(rng.random((1, 15)), requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: geo_topological(x, 0.2, 0.8, scale="value"), (d,))
    assert torch.autograd.gradcheck(lambda x: sigmoid_transform(x, scale="value"), (d,))


# Families


def test_sigmoid_is_its_formula(rng):
    rho = rank_transform(rng.random(45))
    np.testing.assert_allclose(sigmoid_transform(rho), 1 / (1 + np.exp(-10 * (rho - 0.5))), atol=1e-12)


def test_the_grid_has_210_cells():
    grid = lu_grid()
    assert grid.shape == (210, 2)
    assert (grid[:, 0] < grid[:, 1]).all()
    assert grid.min() == 0
    assert grid[:, 0].max() == pytest.approx(0.95)
    with pytest.raises(ValueError, match="step must divide 1"):
        lu_grid(0.3)


def test_the_first_family_that_fits():
    assert family_of(0.0, 0.4) == "local"
    assert family_of(0.6, 1.0) == "global"
    assert family_of(0.1, 0.9) == "geometry"
    assert family_of(0.4, 0.6) == "topology"
    assert family_of(0.3, 0.7) == "intermediate"
    assert family_of(0.5, 0.5) == "topology"
    assert family_of(0.0, 0.4009) == "local"  # the border, to 0.001


@pytest.mark.parametrize("name", FAMILIES)
def test_samples_belong_to_their_family(name):
    pairs = sample_family(name, 200, rng=0)
    assert pairs.shape == (200, 2)
    assert all(in_family(name, l, u) for l, u in pairs)
    assert ((pairs.sum(1) > 0.01) & (pairs.sum(1) < 1.99) & (pairs[:, 0] < pairs[:, 1])).all()
    np.testing.assert_array_equal(pairs, sample_family(name, 200, rng=0))


def test_unknown_family():
    with pytest.raises(ValueError, match="family must be"):
        sample_family("middle")


# Real data


def test_human_and_monkey_it_agree_by_rank_and_by_topology(real_data):
    data = np.load(real_data / "kriegeskorte92" / "kriegeskorte92.npz")
    human, monkey = (squareform(data[f"rdm_{who}IT"], checks=False) for who in ("human", "monkey"))

    def r(f):
        return np.corrcoef(f(human), f(monkey))[0, 1]

    assert r(rank_transform) == pytest.approx(0.438924, abs=1e-5)  # Spearman's
    assert r(lambda d: geo_topological(d, 0.2, 0.8)) > 0.35
    assert r(lambda d: geo_topological(d, 0.2, 0.8, scale="value")) > 0.3
