"""The hierarchy index against scipy, explicit permutations, a planted hierarchy, and simulations without one."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
from scipy.stats import kendalltau, spearmanr

from neuro.errors import EmptySelection, ShapeMismatch, UnknownROI
from neuro.stats import hierarchy_index

AREAS = ("V1", "V2", "V3", "V4", "LO", "IT")


def areas(sizes):
    edges = np.concatenate([[0], np.cumsum(sizes)])
    return {name: np.arange(a, b) for name, a, b in zip(AREAS, edges[:-1], edges[1:], strict=False)}


@pytest.mark.parametrize("statistic", ["spearman", "tau-b"])
@pytest.mark.parametrize("unit", ["voxel", "area"])
def test_index_and_p_are_those_of_scipy_over_all_assignments(rng, statistic, unit):
    rois = areas([7, 3, 12, 5])
    depth = np.round(rng.uniform(0, 1, 27) + np.repeat([0, 0.2, 0.1, 0.3], [7, 3, 12, 5]), 1)  # with ties
    depth[8] = np.nan
    rank = {"V1": 1, "V2": 2, "V3": 5, "V4": 2}
    function = spearmanr if statistic == "spearman" else kendalltau
    used = [depth[i][np.isfinite(depth[i])] for i in rois.values()]
    if unit == "area":
        used = [u.mean(keepdims=True) for u in used]
    null = []
    for places in permutations(rank.values()):
        x = np.concatenate([np.full(len(u), place) for u, place in zip(used, places, strict=True)])
        null.append(function(x, np.concatenate(used)).statistic)
    for tail in ("greater", "two-sided"):
        found = hierarchy_index(depth, rois, rank, unit=unit, statistic=statistic, tail=tail)
        assert found.exact
        assert found.n_permutations == 24
        assert found.index[0] == pytest.approx(null[0])
        reached = np.abs(null) if tail == "two-sided" else np.array(null)
        assert found.p[0] == pytest.approx(np.mean(reached >= reached[0] - 1e-9))
        assert found.p_areas == found.p[0]
        assert np.isnan(found.p_people)


def test_a_planted_hierarchy_is_found_in_every_subject(rng):
    sizes = [60, 40, 30, 20, 25, 15]
    rois = areas(sizes)
    truth = np.repeat(np.linspace(0.2, 0.8, 6), sizes)
    depth = {f"S{k}": truth + 0.15 * rng.standard_normal(190) for k in range(8)}
    found = hierarchy_index(depth, rois, AREAS)
    assert (found.index > 0.7).all()
    assert (found.p <= 3 / 720).all()
    assert found.p_areas == pytest.approx(1 / 720)
    assert found.p_people == pytest.approx(2 / 256)
    assert found.mean == pytest.approx(found.index.mean())
    np.testing.assert_allclose(found.area_depth.mean(0), np.linspace(0.2, 0.8, 6), atol=0.05)
    backwards = hierarchy_index(depth, rois, AREAS[::-1])
    np.testing.assert_allclose(backwards.index, -found.index)
    assert (backwards.p > 0.99).all()


@pytest.mark.parametrize("unit", ["voxel", "area"])
def test_areas_without_order_are_called_a_hierarchy_a_twentieth_of_the_time(rng, unit):
    """Areas differ in depth, and differ in size, but not along the order that is tested: voxels alone would mislead."""
    sizes = [40, 30, 20, 20, 15, 10]
    rois = areas(sizes)
    p, naive = [], []
    place = np.repeat(np.arange(6), sizes)
    for _ in range(600):
        depth = np.repeat(rng.permuted(rng.standard_normal(6)), sizes) + rng.standard_normal(135)
        p.append(hierarchy_index(depth, rois, unit=unit).p[0])
        naive.append(spearmanr(place, depth).pvalue)
    assert np.mean(np.array(p) <= 0.05) == pytest.approx(0.05, abs=0.025)
    assert np.mean(np.array(p) <= 0.5) == pytest.approx(0.5, abs=0.06)
    assert np.mean(np.array(naive) <= 0.05) > 0.4


def test_subjects_with_the_same_areas_out_of_order_are_no_evidence_for_the_order(rng):
    """All subjects share the areas' depths, so flipping subjects' signs asks about people, not about the order."""
    rois = areas([20] * 6)
    p_areas, p_people = [], []
    for seed in range(200):
        shared = np.repeat(rng.standard_normal(6), 20)
        depth = {k: shared + 0.5 * rng.standard_normal(120) for k in range(7)}
        found = hierarchy_index(depth, rois, n_permutations=720, seed=seed)
        p_areas.append(found.p_areas)
        p_people.append(found.p_people)
    assert np.mean(np.array(p_areas) <= 0.05) == pytest.approx(0.05, abs=0.04)
    assert np.mean(np.array(p_people) <= 0.05) > 0.3


def test_people_without_a_hierarchy_are_calibrated(rng):
    p = []
    for seed in range(300):
        depth = {k: rng.standard_normal(60) for k in range(8)}
        p.append(hierarchy_index(depth, areas([10] * 6), n_permutations=100, seed=seed).p_people)
    assert np.mean(np.array(p) <= 0.05) == pytest.approx(0.05, abs=0.035)


def test_drawn_assignments_approach_all_and_follow_the_seed(rng):
    rois = areas([10] * 6)
    depth = np.repeat(np.array([0.1, 0.5, 0.2, 0.6, 0.3, 0.5]), 10) + 0.3 * rng.standard_normal(60)
    exact = hierarchy_index(depth, rois)
    drawn = hierarchy_index(depth, rois, n_permutations=700, seed=2)
    assert (exact.exact, drawn.exact) == (True, False)
    assert drawn.p[0] == pytest.approx(exact.p[0], abs=0.06)
    assert drawn.p[0] == hierarchy_index(depth, rois, n_permutations=700, seed=2).p[0]
    assert drawn.p[0] * 701 == pytest.approx(round(drawn.p[0] * 701))


def test_subjects_have_areas_of_their_own(rng):
    depth = {"a": np.linspace(0, 1, 30), "b": np.linspace(0, 1, 24)}
    rois = {"a": areas([10, 10, 5, 5]), "b": areas([8, 8, 8])}
    found = hierarchy_index(depth, rois)
    assert found.areas == AREAS[:4]
    assert np.isnan(found.area_depth[1, 3])
    np.testing.assert_allclose(
        found.area_depth[0, :3], [depth["a"][:10].mean(), depth["a"][10:20].mean(), 0.758620], atol=1e-5
    )
    assert (found.index > 0.9).all()
    with pytest.raises(ShapeMismatch, match="the subjects of depth"):
        hierarchy_index(depth, {"a": rois["a"]})


def test_what_is_no_hierarchy_is_refused(rng):
    depth, rois = rng.standard_normal(40), areas([10] * 4)
    with pytest.raises(EmptySelection, match="at least 3 areas and 2 places"):
        hierarchy_index(depth, {"V1": np.arange(10)})
    with pytest.raises(EmptySelection, match="at least 3 areas and 2 places"):
        hierarchy_index(depth, rois, dict.fromkeys(rois, 1))
    with pytest.raises(UnknownROI, match=r"no area 'V5'.*V1, V2, V3, V4"):
        hierarchy_index(depth, rois, ["V1", "V2", "V5"])
    with pytest.raises(ShapeMismatch, match="lie in two areas, such as 'V1' and 'V2'"):
        hierarchy_index(depth, {**rois, "V2": np.arange(5, 15)})
    with pytest.raises(EmptySelection, match=r"with preferred depths, got \[\] of subject 'S1'"):
        hierarchy_index({"S1": np.full(40, np.nan)}, rois)
    with pytest.raises(EmptySelection, match="no subject"):
        hierarchy_index({}, rois)
    with pytest.raises(ShapeMismatch, match=r"must be \(n_voxels,\)"):
        hierarchy_index(depth[None], rois)
    with pytest.raises(ValueError, match="'spearman' or 'tau-b', got 'pearson'"):
        hierarchy_index(depth, rois, statistic="pearson")
