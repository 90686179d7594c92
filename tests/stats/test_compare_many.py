"""Several encoders at once against the comparison of two, and simulations of equally good encoders."""

from __future__ import annotations

import numpy as np
import pytest

from neuro.errors import EmptySelection, ShapeMismatch
from neuro.stats import (
    METRICS,
    bootstrap_scores,
    compare_encoders,
    compare_models,
    explained_variance,
    fdr,
    normalise,
    pearson_r,
    roi_summary,
)


def encoders(rng, n, v, **noise):
    """Predictions that share half of their error, as those of related networks do."""
    Y = rng.standard_normal((n, v))
    shared = rng.standard_normal((n, v))
    return Y, {k: Y + s * (shared + rng.standard_normal((n, v))) / np.sqrt(2) for k, s in noise.items()}


@pytest.mark.parametrize("test", ["swap", "bootstrap"])
@pytest.mark.parametrize("metric", METRICS)
def test_each_pair_is_the_comparison_of_two(rng, metric, test):
    Y, hats = encoders(rng, 60, 12, a=0.8, b=1.0, c=1.6)
    rois = {"first": np.arange(5), "rest": np.arange(12) >= 5}
    settings = dict(rois=rois, metric=metric, test=test, n_resamples=100, seed=4)
    found = compare_encoders(hats, Y, **settings)
    for a, b in [("a", "b"), ("b", "c"), ("c", "a")]:
        ours, theirs = found.between(a, b), compare_models(Y, hats[a], hats[b], names=(a, b), **settings)
        for field in ("difference", "low", "high", "p", "roi_a", "roi_b", "roi_difference", "roi_low", "roi_high"):
            np.testing.assert_allclose(getattr(ours, field), getattr(theirs, field), atol=1e-9, err_msg=field)
        np.testing.assert_allclose(ours.roi_p, theirs.roi_p)
        np.testing.assert_allclose(ours.roi_samples, theirs.roi_samples, atol=1e-9)
    one = bootstrap_scores(Y, hats["b"], 100, metric=metric, rois=rois, seed=4)
    np.testing.assert_allclose(found.roi_score_low[1], one.roi_low)
    np.testing.assert_allclose(found.roi_score_high[1], one.roi_high)


def test_a_family_is_what_is_corrected_together(rng):
    Y, hats = encoders(rng, 80, 30, a=0.8, b=1.0, c=1.2)
    area = np.repeat(["V1", "V2", "V4"], 10)
    rois = {name: area == name for name in ("V1", "V2", "V4")}
    run = {f: compare_encoders(hats, Y, rois=rois, family=f, n_resamples=200) for f in ("pair", "all")}
    run["labels"] = compare_encoders(hats, Y, rois=rois, family=area, n_resamples=200)
    p = run["pair"].p
    np.testing.assert_array_equal(run["pair"].q, np.stack([fdr(row) for row in p]))
    np.testing.assert_array_equal(run["all"].q, fdr(p))
    parts = [np.concatenate([fdr(row[area == name]) for name in rois]) for row in p]
    np.testing.assert_array_equal(run["labels"].q, parts)
    np.testing.assert_array_equal(run["all"].roi_q, fdr(run["all"].roi_p))
    for found in (run["pair"], run["labels"]):
        np.testing.assert_array_equal(found.roi_q, np.stack([fdr(row) for row in found.roi_p]))
    assert run["labels"].family == "labels"
    table = run["all"].to_frame()
    assert len(table) == 9
    np.testing.assert_array_equal(table["q"], run["all"].roi_q.ravel())


@pytest.mark.parametrize(("test", "limit"), [("swap", 0.06), ("bootstrap", 0.08)])
def test_equally_good_encoders_differ_a_twentieth_of_the_time_and_survive_correction_rarely(rng, test, limit):
    Y, hats = encoders(rng, 100, 500, a=1.0, b=1.0, c=1.0)
    found = compare_encoders(hats, Y, test=test, n_resamples=400)
    assert 0.03 < np.mean(found.p < 0.05) < limit
    assert np.mean((found.low <= 0) & (found.high >= 0)) > 0.92
    assert np.mean(found.q < 0.05) < 0.005
    assert np.mean(found.best() >= 0) < 0.005


def test_correction_keeps_false_discoveries_at_their_rate(rng):
    """Half of the voxels are predicted better by one encoder; of the discoveries 5 % x 1/2 may be wrong."""
    shares = []
    for seed in range(40):
        Y, hats = encoders(rng, 80, 100, a=1.0, b=1.0)
        hats["a"][:, :50] = Y[:, :50] + 0.6 * (hats["a"] - Y)[:, :50]
        found = compare_encoders(hats, Y, n_resamples=400, seed=seed)
        hits = found.q[0] < 0.05
        assert hits[:50].sum() > 10
        shares.append(hits[50:].sum() / hits.sum())
    assert np.mean(shares) < 0.05


def test_ceilings_change_the_unit_of_everything(rng):
    Y, hats = encoders(rng, 200, 8, a=0.7, b=1.2)
    ceiling = np.array([0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.05])
    rois = {"all": np.arange(8)}
    for metric, unit in (("pearson_r", "r2/NC"), ("pearson_r", "r/sqrtNC"), ("explained_variance", "EV/NC")):
        found = compare_encoders(
            hats, Y, rois=rois, metric=metric, ceiling=ceiling, normalised=unit, n_resamples=1000, seed=3
        )
        raw = "r" if metric == "pearson_r" else "EV"
        expected = normalise(METRICS[metric](Y, hats["a"]), ceiling, unit, raw)
        np.testing.assert_allclose(found.scores[0], expected)
        table = roi_summary(
            None, rois, Y=Y, Y_hat=hats["b"], metric=metric, ceiling=ceiling, normalised=unit, seed=3
        ).set_index("metric")
        assert found.roi_scores[1, 0] == pytest.approx(table.loc[unit, "score"])
        assert found.roi_score_low[1, 0] == pytest.approx(table.loc[unit, "ci_low"])
        assert found.kind == unit
        assert np.isnan([found.p[0, 7], found.q[0, 7], found.low[0, 7]]).all()
    plain = compare_encoders(hats, Y, rois=rois, metric="explained_variance", n_resamples=1000, seed=3)
    np.testing.assert_allclose(found.p[0, :7], plain.p[0, :7])
    np.testing.assert_allclose(found.low[0, :7], plain.low[0, :7] / ceiling[:7])


def test_swapped_normalised_scores_are_those_of_swapped_rows(rng):
    """The unit r |r| / NC is not linear in r, so the null must be formed in its own unit."""
    Y, hats = encoders(rng, 8, 3, a=0.7, b=1.5)
    z = {k: (x - x.mean(0)) / x.std(0) for k, x in hats.items()}
    ceiling = np.array([0.9, 0.5, 0.3])

    def score(P):
        return normalise(pearson_r(Y, P), ceiling, "r2/NC")

    observed = np.abs(score(hats["a"]) - score(hats["b"]))
    reached = np.zeros(3)
    for bits in range(256):
        swap = ((bits >> np.arange(8)) & 1).astype(bool)[:, None]
        null = score(np.where(swap, z["b"], z["a"])) - score(np.where(swap, z["a"], z["b"]))
        reached += np.abs(null) >= observed - 1e-9
    found = compare_encoders(hats, Y, ceiling=ceiling, n_resamples=20_000)
    np.testing.assert_allclose(found.p[0], reached / 256, atol=0.015)


def test_the_best_encoder_of_a_voxel_beats_all_others(rng):
    Y, hats = encoders(rng, 300, 20, a=0.5, b=1.5, c=1.5)
    hats["c"][:, 10:] = Y[:, 10:] + 0.2 * rng.standard_normal((300, 10))
    best = compare_encoders(hats, Y, n_resamples=200).best()
    np.testing.assert_array_equal(best, np.repeat([0, 2], 10))


def test_voxels_that_one_encoder_has_no_score_for_are_left_out_for_all(rng):
    Y, hats = encoders(rng, 50, 6, a=0.7, b=1.2, c=1.0)
    hats["c"][3, 0] = np.nan
    found = compare_encoders(hats, Y, n_resamples=100)
    np.testing.assert_allclose(found.scores[0], pearson_r(Y, hats["a"]))
    assert np.isnan(found.scores[2, 0])
    assert np.isnan(found.difference[:, 0]).all()
    assert np.isnan(found.q[:, 0]).all()
    assert found.roi_scores[0, 0] == pytest.approx(pearson_r(Y, hats["a"])[1:].mean())
    assert np.isfinite(found.roi_p).all()


def test_repeats_tensors_and_callables(rng):
    torch = pytest.importorskip("torch")
    image = np.repeat(np.arange(20), 3)
    Y, hats = encoders(rng, 60, 4, a=0.7, b=1.2)
    found = compare_encoders(hats, Y, groups=image, metric="explained_variance", n_resamples=60)
    assert found.n_units == 20
    tensors = {k: torch.tensor(x) for k, x in hats.items()}
    other = compare_encoders(tensors, torch.tensor(Y), groups=image, metric="explained_variance", n_resamples=60)
    np.testing.assert_allclose(other.q, found.q)
    called = compare_encoders(hats, Y, groups=image, metric=lambda y, p: explained_variance(y, p), n_resamples=60)
    np.testing.assert_allclose(called.p, found.p)
    np.testing.assert_allclose(called.low, found.low, rtol=1e-6)


def test_what_cannot_be_compared_is_refused(rng):
    Y, hats = encoders(rng, 20, 4, a=0.7, b=1.2)
    with pytest.raises(ValueError, match=r"at least two encoders, got \['a'\]"):
        compare_encoders({"a": hats["a"]}, Y)
    with pytest.raises(ValueError, match="got list"):
        compare_encoders([hats["a"], hats["b"]], Y)
    with pytest.raises(ShapeMismatch, match=r"predictions of 'b'.*one shape"):
        compare_encoders({"a": hats["a"], "b": hats["b"][:, 1:]}, Y)
    with pytest.raises(EmptySelection, match="no voxel has a score from every encoder"):
        compare_encoders(hats, np.full_like(Y, np.nan))
    with pytest.raises(EmptySelection, match="no ceiling is above"):
        compare_encoders(hats, Y, ceiling=np.full(4, 0.05))
    with pytest.raises(ShapeMismatch, match="one label per voxel"):
        compare_encoders(hats, Y, family=np.zeros(3))
    with pytest.raises(ValueError, match="'pair' or 'all', got 'voxel'"):
        compare_encoders(hats, Y, family="voxel")
    with pytest.raises(ShapeMismatch, match="ceiling must have one entry per voxel"):
        compare_encoders(hats, Y, ceiling=np.ones(3))
    with pytest.raises(ValueError, match="needs the voxels' noise ceilings"):
        compare_encoders(hats, Y, normalised="r2/NC")
    with pytest.raises(ValueError, match="no known kind"):
        compare_encoders(hats, Y, metric=lambda y, p: pearson_r(y, p), ceiling=np.ones(4))
    found = compare_encoders(hats, Y, n_resamples=10)
    with pytest.raises(ValueError, match="two different encoders"):
        found.between("a", "a")
    with pytest.raises(ValueError, match="'a' or 'b', got 'z'"):
        found.between("a", "z")
