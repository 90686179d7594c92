"""Searchlight maps against loops over spheres, planted regions, and the options that must not change anything."""

import numpy as np
import pandas as pd
import pytest
from scipy.spatial.distance import pdist

from neuro.data.responses import Responses
from neuro.data.voxels import Surface, Volume, Voxels
from neuro.errors import ShapeMismatch, SpaceMismatch, UnknownStimulus
from neuro.rsa import _searchlight
from neuro.rsa._neighbours import as_neighbourhoods, sphere_neighbours, window_neighbours
from neuro.rsa.compare import compare
from neuro.rsa.container import RDMs
from neuro.rsa.group_maps import group_max_stat
from neuro.rsa.noise import noise_precision
from neuro.rsa.searchlight import Searchlight

N = 7


@pytest.fixture
def mask(rng):
    m = rng.random((6, 6, 5)) < 0.7
    m[3, 3, 3] = True
    return m


@pytest.fixture
def models(rng):
    return rng.random((3, N * (N - 1) // 2))


def brute(X, mask, radius, rdm):
    """RDMs of a loop over spheres; rdm maps (n, p) to (n_pairs,)."""
    xyz = np.argwhere(mask)
    return np.stack([rdm(X[:, ((xyz - c) ** 2).sum(1) < radius**2]) for c in xyz])


DISTANCES = {
    "correlation": lambda x: pdist(x, "correlation"),
    "cosine": lambda x: pdist(x, "cosine"),
    "sqeuclidean": lambda x: pdist(x, "sqeuclidean") / x.shape[1],
    "euclidean": lambda x: pdist(x) / np.sqrt(x.shape[1]),
}


@pytest.mark.parametrize("metric", list(DISTANCES))
@pytest.mark.parametrize("method", ["cosine", "corr", "spearman", "cosine_cov", "corr_cov", "rho-a", "tau-a"])
def test_maps_are_those_of_a_loop(rng, mask, models, metric, method):
    X = rng.normal(size=(N, mask.sum())) + 2
    light = Searchlight(models, 2.5, metric, method).fit(X, mask)
    rdms = brute(X, mask, 2.5, DISTANCES[metric])
    assert np.allclose(light.scores_, compare(rdms, models, method).T, atol=1e-10)
    assert light.scores_.shape == (3, mask.sum())


def test_estimators_of_rdms_agree(rng, mask, models):
    from neuro.rsa.estimate import rdm

    X = rng.normal(size=(N, mask.sum()))
    neighbours = sphere_neighbours(mask, 2)
    for metric in DISTANCES:
        seen = []
        Searchlight(models, 2, metric, lambda d, m, seen=seen: (seen.append(d), np.zeros((len(d), len(m))))[1]).fit(
            X, mask
        )
        rdms = np.concatenate(seen)
        for c in (0, 5, 20):
            expected = rdm(X[:, neighbours[c]], metric).dissimilarities[0]
            assert np.allclose(rdms[c], expected, atol=1e-10)


def test_crossnobis_is_that_of_a_loop_over_folds(rng, mask, models):
    A = rng.normal(size=(4, N, mask.sum()))
    folds, conditions = np.repeat(np.arange(4), N), np.tile(np.arange(N), 4)
    i, j = np.triu_indices(N, 1)

    def crossnobis(p):
        d = np.zeros(len(i))
        for k in range(4):
            train = p[[f for f in range(4) if f != k]].mean(0)
            d += ((train[i] - train[j]) * (p[k][i] - p[k][j])).sum(1)
        return d / 4 / p.shape[2]

    xyz = np.argwhere(mask)
    rdms = np.stack([crossnobis(A[:, :, ((xyz - c) ** 2).sum(1) < 6.25]) for c in xyz])
    light = Searchlight(models, 2.5, "crossnobis", "corr_cov", conditions=conditions, folds=folds)
    light.fit(A.reshape(4 * N, -1), mask)
    assert np.allclose(light.scores_, compare(rdms, models, "corr_cov").T, atol=1e-10)

    variance = rng.uniform(0.5, 2, mask.sum())
    for method, W in (("inner", models), ("regression", None)):
        light = Searchlight(models, 2.5, "crossnobis", method, conditions=conditions, folds=folds, noise=variance)
        light.fit(A.reshape(4 * N, -1), mask)
        scaled = A / np.sqrt(variance)
        rdms = np.stack([crossnobis(scaled[:, :, ((xyz - c) ** 2).sum(1) < 6.25]) for c in xyz])
        if W is not None:
            expected = W @ rdms.T
        else:
            design = np.column_stack([np.ones(len(i)), models.T])
            expected = np.linalg.lstsq(design, rdms.T, rcond=None)[0][1:]
        assert np.allclose(light.scores_, expected, atol=1e-9)


@pytest.mark.parametrize("noise", ["diag", "full", "shrinkage_eye", "shrinkage_diag"])
def test_each_sphere_has_its_own_precision(rng, mask, models, noise):
    X = rng.normal(size=(N, mask.sum()))
    residuals = rng.normal(size=(200, mask.sum())) * rng.uniform(0.5, 2, mask.sum())
    residuals[:, 1:] += 0.4 * residuals[:, :-1]
    light = Searchlight(models, 2, "mahalanobis", "cosine", noise=noise).fit(X, mask, residuals=residuals)
    neighbours = sphere_neighbours(mask, 2)
    i, j = np.triu_indices(N, 1)
    for c in range(0, len(neighbours), 7):
        here = neighbours[c]
        precision = noise_precision(residuals[:, here], noise)
        precision = np.diag(precision) if precision.ndim == 1 else precision
        delta = X[i][:, here] - X[j][:, here]
        d = np.einsum("av,vw,aw->a", delta, precision, delta) / len(here)
        assert np.allclose(light.scores_[:, c], compare(d, models)[0], atol=1e-9)


def test_crossnobis_with_a_precision_per_sphere_is_that_of_rdm(rng, mask, models):
    from neuro.rsa.estimate import rdm

    X, residuals = rng.normal(size=(4 * N, mask.sum())), rng.normal(size=(90, mask.sum()))
    conditions, folds = np.tile(np.arange(N), 4), np.repeat(np.arange(4), N)
    light = Searchlight(
        models, 2, "crossnobis", "cosine", conditions=conditions, folds=folds, noise="shrinkage_diag"
    ).fit(X, mask, residuals=residuals)
    for c in (0, 11, 40):
        here = light.neighbourhoods_[c]
        precision = noise_precision(residuals[:, here], "shrinkage_diag")
        d = rdm(X[:, here], "crossnobis", conditions=conditions, folds=folds, noise=precision).dissimilarities
        assert np.allclose(light.scores_[:, c], compare(d, models)[0], atol=1e-9)


def test_noise_from_measurements_subtracts_condition_means(rng, mask, models):
    X = rng.normal(size=(6 * N, mask.sum()))
    conditions = np.tile(np.arange(N), 6)
    folds = np.repeat(np.arange(6), N)
    means = np.stack([X[conditions == c].mean(0) for c in range(N)])
    variance = ((X - means[conditions]) ** 2).sum(0) / (len(X) - N)
    options = {"conditions": conditions, "folds": folds}
    a = Searchlight(models, 2, "crossnobis", "cosine", noise="diag", **options).fit(X, mask)
    b = Searchlight(models, 2, "crossnobis", "cosine", noise=variance, **options).fit(X, mask)
    assert np.allclose(a.scores_, b.scores_)


@pytest.mark.parametrize("method", ["inner", "regression"])
def test_laplacian_needs_no_rdm_and_gives_the_same(rng, mask, models, method, monkeypatch):
    X = rng.normal(size=(N, mask.sum()))
    rdms = brute(X, mask, 2.5, DISTANCES["sqeuclidean"])
    if method == "inner":
        expected = models @ rdms.T
    else:
        expected = np.linalg.lstsq(np.column_stack([np.ones(len(rdms.T)), models.T]), rdms.T, rcond=None)[0][1:]
    slow = Searchlight(models, 2.5, DISTANCES["sqeuclidean"], method).fit(X, mask)
    assert np.allclose(slow.scores_, expected, atol=1e-10)
    monkeypatch.setattr(_searchlight, "sphere_rdms", None)
    fast = Searchlight(models, 2.5, "sqeuclidean", method).fit(X, mask)
    assert np.allclose(fast.scores_, expected, atol=1e-10)


def test_chunks_and_jobs_change_no_bit(rng, mask, models, monkeypatch):
    monkeypatch.setattr(_searchlight, "BLOCK_ELEMENTS", 6 * N * N)
    X = rng.normal(size=(N, mask.sum()))
    one = Searchlight(models, 2, n_permutations=5, rng=0).fit(X, mask)
    for chunk in (1, 7, 50):
        other = Searchlight(models, 2, chunk=chunk, n_permutations=5, rng=0).fit(X, mask)
        assert np.array_equal(one.scores_, other.scores_)
        assert np.array_equal(one.p_fwe_, other.p_fwe_)


@pytest.mark.slow
def test_jobs_change_no_bit(rng, mask, models):
    X = rng.normal(size=(N, mask.sum()))
    one = Searchlight(models, 2).fit(X, mask)
    two = Searchlight(models, 2, n_jobs=2, chunk=1).fit(X, mask)
    assert np.array_equal(one.scores_, two.scores_)


def test_nan_stays_in_its_spheres(rng, mask, models):
    X = rng.normal(size=(N, mask.sum()))
    clean = Searchlight(models, 2).fit(X, mask)
    bad = X.copy()
    bad[2, 10] = np.nan
    for method, metric in (("corr", "correlation"), ("inner", "sqeuclidean"), ("tau-a", "euclidean")):
        light = Searchlight(models, 2, metric, method).fit(bad, mask)
        touched = np.array([10 in light.neighbourhoods_[c] for c in range(len(light.centres_))])
        assert np.isnan(light.scores_[:, touched]).all()
        assert np.isfinite(light.scores_[:, ~touched]).all()
    light = Searchlight(models, 2).fit(bad, mask)
    assert np.allclose(light.scores_[:, ~touched], clean.scores_[:, ~touched])


def test_patterns_without_variance_have_no_correlation(rng, mask, models):
    X = rng.normal(size=(N, mask.sum()))
    X[3] = 1.0
    assert np.isnan(Searchlight(models, 2).fit(X, mask).scores_).all()


def test_rounding_is_not_variance(rng, mask, models):
    X = rng.normal(size=(N, mask.sum()))
    X[3] = 0.1 + 0.2
    assert np.isnan(Searchlight(models, 2.7).fit(X, mask).scores_).all()


def test_channels_without_noise_have_no_score(rng, mask, models):
    X, residuals = rng.normal(size=(N, mask.sum())), rng.normal(size=(100, mask.sum()))
    residuals[:, 4] = 1.0
    for noise in ("diag", "shrinkage_eye"):
        light = Searchlight(models, 2, "mahalanobis", noise=noise).fit(X, mask, residuals=residuals)
        touched = np.array([4 in light.neighbourhoods_[c] for c in range(len(light.centres_))])
        assert np.array_equal(np.isnan(light.scores_).all(0), touched)


def test_settings_are_read_and_changed_as_in_sklearn(models):
    from sklearn.base import clone

    light = Searchlight(models, 2, method="spearman")
    assert clone(light).get_params()["method"] == "spearman"
    assert light.set_params(radius=4).radius == 4


def test_a_planted_region_is_found_and_nothing_else(rng):
    mask = np.ones((12, 12, 12), bool)
    xyz = np.argwhere(mask)
    region = ((xyz - [3, 3, 3]) ** 2).sum(1) < 9
    Z = rng.normal(size=(12, 4))
    X = rng.normal(size=(12, len(xyz)))
    X[:, region] += 3 * Z @ rng.normal(size=(4, region.sum()))
    light = Searchlight(RDMs(pdist(Z, "correlation"), metric="correlation"), 2.5, n_permutations=99, rng=1)
    light.fit(X, mask)
    inside = ((xyz - [3, 3, 3]) ** 2).sum(1) < 4
    far = ((xyz - [3, 3, 3]) ** 2).sum(1) > 36
    assert light.scores_[0, inside].min() > 0.6
    assert (light.p_fwe_[0, inside] <= 0.02).all()
    assert abs(light.scores_[0, far].mean()) < 0.1
    assert (light.p_fwe_[0, far] <= 0.05).mean() < 0.02
    assert np.linalg.norm(xyz[light.scores_[0].argmax()] - [3, 3, 3]) < 4


def test_permutation_p_values_are_those_of_a_loop(rng, mask, models):
    X = rng.normal(size=(N, mask.sum()))
    light = Searchlight(models, 2, method="spearman", n_permutations=19, rng=3).fit(X, mask)
    rdms = brute(X, mask, 2, DISTANCES["correlation"])
    gen = np.random.default_rng(3)
    observed = compare(rdms, models, "spearman").T
    null = []
    for _ in range(19):
        order = gen.permutation(N)
        shuffled = RDMs(models).matrices[:, order][:, :, order]
        null.append(compare(rdms, RDMs(shuffled), "spearman").T)
    null = np.array(null)
    assert np.allclose(light.p_, (1 + (null >= observed - 1e-12).sum(0)) / 20)
    top = null.max(2)[:, :, None]
    assert np.allclose(light.p_fwe_, (1 + (top >= observed - 1e-12).sum(0)) / 20)


def test_named_conditions_are_matched_by_name(rng, mask, models):
    X = rng.normal(size=(N, mask.sum()))
    names = np.array(list("gfedcba"))
    first = Searchlight(RDMs(models, conditions=names), 2, conditions=names).fit(X, mask)
    plain = Searchlight(models, 2).fit(X, mask)
    assert np.allclose(first.scores_, plain.scores_)
    assert list(first.conditions_) == list(names)
    order = rng.permutation(N)
    moved = Searchlight(RDMs(models, conditions=names), 2, conditions=names[order]).fit(X[order], mask)
    assert np.allclose(moved.scores_, plain.scores_)
    with pytest.raises(UnknownStimulus, match="have no condition"):
        Searchlight(RDMs(models), 2, conditions=names).fit(X, mask)


def test_order_of_conditions_is_that_of_rdm(rng, mask):
    from neuro.rsa.estimate import rdm

    X, conditions = rng.normal(size=(2 * N, mask.sum())), np.tile(list("dgabfce"), 2)
    everything = as_neighbourhoods([np.arange(mask.sum())], n_channels=int(mask.sum()))
    whole = rdm(X, "correlation", conditions=conditions)
    for models in (whole, whole.dissimilarities):
        light = Searchlight(models, conditions=conditions).fit(X, everything)
        assert light.scores_[0, 0] == pytest.approx(1)
    trials = pd.DataFrame({"stimulus": conditions})
    ascending = whole.select(conditions=sorted(set(conditions)))
    light = Searchlight(ascending.dissimilarities).fit(Responses(X, trials), everything)
    assert light.scores_[0, 0] == pytest.approx(1)


def test_repeats_are_averaged(rng, mask, models):
    X = rng.normal(size=(3 * N, mask.sum()))
    conditions = np.tile(np.arange(N), 3)
    light = Searchlight(models, 2, conditions=conditions).fit(X, mask)
    plain = Searchlight(models, 2).fit(X.reshape(3, N, -1).mean(0), mask)
    assert np.allclose(light.scores_, plain.scores_)


def test_mapping_of_models_keeps_its_names(rng, mask, models):
    light = Searchlight({"early": models[0], "late": models[1]}, 2).fit(rng.normal(size=(N, mask.sum())), mask)
    assert light.model_names_ == ["early", "late"]


def test_spheres_are_kept_between_fits(rng, mask, models):
    light = Searchlight(models, 2)
    first = light.fit(rng.normal(size=(N, mask.sum())), mask).neighbourhoods_
    assert light.fit(rng.normal(size=(N, mask.sum())), mask).neighbourhoods_ is first
    light.radius = 3
    assert light.fit(rng.normal(size=(N, mask.sum())), mask).neighbourhoods_ is not first


def test_scores_on_disk(tmp_path, rng, mask, models):
    X = rng.normal(size=(N, mask.sum()))
    light = Searchlight(models, 2, out=tmp_path / "scores.npy").fit(X, mask)
    assert isinstance(light.scores_, np.memmap)
    assert np.array_equal(np.load(tmp_path / "scores.npy"), Searchlight(models, 2).fit(X, mask).scores_)


def test_voxels_in_any_order_and_back_to_nifti(rng, mask, models):
    X = rng.normal(size=(N, mask.sum()))
    plain = Searchlight(models, 2, threshold=0.6).fit(X, mask)
    order = rng.permutation(mask.sum())
    voxels = Voxels(int(mask.sum()), Volume(mask.shape, np.diag([3.0, 3, 3, 1]), np.argwhere(mask)[order]))
    light = Searchlight(models, 2, threshold=0.6).fit(X[:, order], voxels)
    assert np.allclose(light.maps(), plain.maps()[:, order], equal_nan=True)
    image = light.to_nifti()
    assert image.shape == (*mask.shape, 3)
    assert np.allclose(voxels.from_nifti(image), light.maps(), equal_nan=True)
    back = plain.to_nifti().get_fdata()
    assert np.isnan(back[~mask]).all()
    assert np.allclose(back[mask].T, plain.maps(), equal_nan=True)
    assert np.isnan(plain.maps()).any()


def test_responses_bring_their_own_voxels_conditions_and_folds(rng, mask, models):
    X = rng.normal(size=(4 * N, mask.sum())).astype(np.float32)
    trials = pd.DataFrame({"stimulus": np.tile(np.arange(N), 4), "run": np.repeat(np.arange(4), N)})
    voxels = Voxels(int(mask.sum()), Volume(mask.shape, np.eye(4), np.argwhere(mask)))
    responses = Responses(X, trials, voxels)
    light = Searchlight(models, 2, "crossnobis", folds="run", noise="shrinkage_diag").fit(responses)
    arrays = Searchlight(
        models, 2, "crossnobis", conditions=trials["stimulus"], folds=trials["run"], noise="shrinkage_diag"
    ).fit(X, mask)
    assert np.allclose(light.scores_, arrays.scores_)
    assert light.to_nifti().shape == (*mask.shape, 3)
    with pytest.raises(ValueError, match="no column 'runs'"):
        Searchlight(models, 2, "crossnobis", folds="runs").fit(responses)


def test_surface_maps(rng, models):
    x, y = np.meshgrid(np.arange(6.0), np.arange(6.0), indexing="ij")
    vertices = np.stack([x.ravel(), y.ravel(), 0 * x.ravel()], 1)
    v = np.arange(36).reshape(6, 6)
    a, b, c, d = v[:-1, :-1].ravel(), v[1:, :-1].ravel(), v[:-1, 1:].ravel(), v[1:, 1:].ravel()
    mesh = (vertices, np.concatenate([np.stack([a, b, d], 1), np.stack([a, d, c], 1)]))
    surface = Surface("sheet", (36, 36), np.repeat(["L", "R"], [36, 30]), np.concatenate([v.ravel(), np.arange(30)]))
    X = rng.normal(size=(N, 66))
    light = Searchlight(models, 2.0).fit(X, Voxels(66, surface), meshes=(mesh, mesh))
    left, right = light.to_surface()
    assert left.shape == (3, 36)
    assert np.isnan(right[:, 30:]).all()
    near = np.flatnonzero(np.linalg.norm(vertices[:30] - vertices[14], axis=1) < 2)
    expected = compare(pdist(X[:, 36 + near], "correlation"), models, "corr")[0]
    assert np.allclose(right[:, 14], expected)
    assert [g.darrays[0].data.shape for g in light.to_gifti()] == [(36,), (36,)]
    with pytest.raises(ValueError, match="meshes"):
        Searchlight(models, 2.0).fit(X, Voxels(66, surface))


def test_windows_of_time(rng, models):
    times = np.arange(8) * 0.01
    X = rng.normal(size=(N, 5, 8))
    responses = Responses(X, pd.DataFrame({"stimulus": np.arange(N)}), times=times)
    light = Searchlight(models, window=0.02).fit(responses, as_neighbourhoods([[0, 1, 2, 3, 4]], n_channels=5))
    for t in range(8):
        block = X[:, :, max(t - 1, 0) : t + 2].reshape(N, -1).astype(np.float32)
        expected = compare(pdist(block, "correlation"), models, "corr")[0]
        assert np.allclose(light.scores_[:, t], expected, atol=1e-6)
    alone = Searchlight(models).fit(X[:, 2], window_neighbours(times, 0.04))
    assert alone.scores_.shape == (3, 8)


def test_inputs_are_left_alone(rng, mask, models):
    X = rng.normal(size=(N, mask.sum()))
    before = X.copy(), models.copy(), mask.copy()
    Searchlight(models, 2, "sqeuclidean").fit(X, mask)
    assert all(np.array_equal(a, b) for a, b in zip(before, (X, models, mask), strict=True))


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"metric": "pearson"}, ValueError, "metric must be"),
        ({"method": "kendall"}, ValueError, "method must be"),
        ({"metric": "crossnobis"}, ValueError, "needs folds"),
        ({"folds": np.zeros(N)}, ValueError, "uses no folds"),
        ({"noise": "diag"}, ValueError, "uses no noise"),
        ({"metric": "mahalanobis", "noise": "identity"}, ValueError, "noise must be"),
        ({"metric": "mahalanobis", "noise": "diag"}, ValueError, "several observations"),
        ({"metric": "mahalanobis", "noise": np.ones(3)}, ShapeMismatch, "positive variances"),
        ({"metric": "crossnobis", "folds": np.zeros(N)}, ValueError, "at least two folds"),
        ({"metric": "crossnobis", "folds": np.arange(N) % 2}, ShapeMismatch, "every fold"),
        ({"conditions": np.zeros(N)}, ShapeMismatch, "at least three conditions"),
        ({"conditions": np.arange(N + 1)}, ShapeMismatch, "must name each"),
        ({"conditions": "stimulus"}, ValueError, "plain array"),
        ({"radius": -1}, ValueError, "radius"),
        ({"chunk": 0}, ValueError, "chunk"),
        ({"window": 0.1}, ValueError, "time axis"),
    ],
)
def test_settings_that_cannot_be(rng, mask, models, options, error, message):
    with pytest.raises(error, match=message):
        Searchlight(models, **{"radius": 2, **options}).fit(rng.normal(size=(N, mask.sum())), mask)


def test_data_that_cannot_be(rng, mask, models):
    X = rng.normal(size=(N, mask.sum()))
    with pytest.raises(ShapeMismatch, match="the data have"):
        Searchlight(models).fit(X[:, 1:], mask)
    with pytest.raises(ShapeMismatch, match="models have 7 conditions"):
        Searchlight(models).fit(X[1:], mask)
    with pytest.raises(ValueError, match="where are the channels"):
        Searchlight(models).fit(X)
    with pytest.raises(ValueError, match="hold NaN"):
        Searchlight(np.where(models > 0.9, np.nan, models)).fit(X, mask)
    with pytest.raises(SpaceMismatch, match="no geometry"):
        Searchlight(models).fit(X, Voxels(X.shape[1]))
    with pytest.raises(ValueError, match="call fit first"):
        Searchlight(models).maps()
    light = Searchlight(models).fit(X, sphere_neighbours(mask, 2))
    with pytest.raises(SpaceMismatch, match="where the channels are"):
        light.to_nifti()
    with pytest.raises(ValueError, match="linearly independent"):
        Searchlight(np.stack([models[0], 1 - models[0]]), metric="sqeuclidean", method="regression").fit(X, mask)


# Groups


def test_group_t_is_scipys(rng):
    from scipy.stats import ttest_1samp

    maps = rng.normal(0.3, 1, (8, 3, 20))
    found = group_max_stat(maps, 300, rng=0)
    assert np.allclose(found.t, ttest_1samp(maps, 0).statistic)
    assert found.n_permutations == 2**8 - 1


def test_group_flips_are_those_of_a_loop(rng):
    import itertools

    maps = rng.normal(0.2, 1, (5, 12))
    found = group_max_stat(maps, tail="two-sided")

    def t(x):
        return np.abs(x.mean(0) / (x.std(0, ddof=1) / np.sqrt(5)))

    null = np.array([t(maps * np.array(s)[:, None]) for s in itertools.product([1, -1], repeat=5)])
    assert np.allclose(found.p, (null >= t(maps) - 1e-9).mean(0))
    assert np.allclose(found.p_fwe, (null.max(1)[:, None] >= t(maps) - 1e-9).mean(0))


def test_group_error_rate_is_nominal():
    hits = 0
    for seed in range(200):
        maps = np.random.default_rng(seed).normal(size=(12, 30))
        hits += (group_max_stat(maps, 200, rng=seed).p_fwe <= 0.05).any()
    assert hits <= 20


def test_group_finds_what_is_planted_and_keeps_nan(rng):
    maps = rng.normal(size=(14, 2, 40))
    maps[:, 0, 5] += 3
    maps[3, 1, 7] = np.nan
    found = group_max_stat(maps, 500, rng=0, across_models=True)
    assert found.p_fwe[0, 5] < 0.01
    assert np.isnan(found.p[1, 7])
    assert np.isnan(found.t).sum() == 1
    with pytest.raises(ShapeMismatch, match="at least two"):
        group_max_stat(maps[:1])


# Real data


@pytest.mark.real
def test_haxby_slice(real_data, tmp_path):
    """Categories are told apart where the nearest-mean classifier works; the map survives a NIfTI file."""
    import nibabel as nib

    folder = real_data / "haxby2001_sub001_reduced"
    image = nib.load(folder / "bold_1slice_all12runs.nii.gz")
    mask_image = nib.load(folder / "mask_1slice.nii.gz")
    inside = np.asarray(mask_image.dataobj) > 0
    inside = inside[..., 0] if inside.ndim == 4 else inside
    D = np.asarray(image.dataobj)[inside].T.astype(float)
    labels, run = zip(
        *[line.split() for line in (folder / "attributes_literal.txt").read_text().splitlines()], strict=True
    )
    labels, run = np.array(labels), np.array(run, int)
    for r in range(12):
        block = D[run == r]
        t = np.linspace(-1, 1, len(block))
        design = np.stack([np.ones_like(t), t], 1)
        block = block - design @ np.linalg.lstsq(design, block, rcond=None)[0]
        sd = block.std(0)
        D[run == r] = block / np.where(sd > 0, sd, 1)
    shown = labels != "rest"
    names = np.unique(labels[shown])
    face = np.array([n == "face" for n in names])
    model = RDMs((face[:, None] != face).astype(float), conditions=names)
    light = Searchlight(
        {"face": model}, 3, "crossnobis", "corr", conditions=labels[shown], folds=run[shown], noise="shrinkage_diag"
    ).fit(D[shown], inside)
    assert light.scores_.shape == (1, 530)
    assert np.isfinite(light.scores_).all()
    assert light.scores_.max() > 0.6
    assert light.scores_.min() >= -1
    light.to_nifti().to_filename(tmp_path / "map.nii.gz")
    again = light.voxels_.from_nifti(nib.load(tmp_path / "map.nii.gz"))
    assert np.allclose(again, light.maps())
