import numpy as np
import pytest
from scipy.io import loadmat
from scipy.spatial.distance import pdist

from neuro.errors import ShapeMismatch
from neuro.rsa._cells import best_cells, gram_pair
from neuro.rsa._centroids import KINDS, Labels, accuracies, score_classes
from neuro.rsa.container import RDMs
from neuro.rsa.geodesic import rgdm
from neuro.rsa.identify import compare_transforms, identify_regions, noise_robustness
from neuro.rsa.rgtm import _stimulus_columns, rgtm_families, rgtm_grid
from neuro.rsa.topology import FAMILIES, geo_topological, lu_grid, rank_transform


def simulated(n_subjects=6, n_regions=3, n=14, noise=1.0, seed=0):
    """Regions with a geometry of their own, stretched and disturbed in every subject."""
    rng = np.random.default_rng(seed)
    base = [rng.standard_normal((n, 5)) for _ in range(n_regions)]
    d, subject, region = [], [], []
    for s in range(n_subjects):
        for r, x in enumerate(base):
            d.append(pdist(x * rng.uniform(0.5, 1.5, 5) + noise * rng.standard_normal((n, 5))))
            subject.append(f"s{s}")
            region.append(f"r{r}")
    return RDMs(np.array(d), table={"subject": subject, "roi": region})


def loops(z, subject, region, kind):
    """Predicted region of each row, by the definition."""
    z, subject, region = np.asarray(z), np.asarray(subject), np.asarray(region)
    names = list(dict.fromkeys(region))
    predicted = []
    for x, s in zip(z, subject, strict=True):
        centroids = [z[(subject != s) & (region == name)].mean(0) for name in names]
        if kind == "euclidean":
            scores = [-np.linalg.norm(x - m) for m in centroids]
        else:
            scores = [np.corrcoef(x, m)[0, 1] for m in centroids]
        predicted.append(names[int(np.argmax(scores))])
    return np.array(predicted)


def columns(rdms):
    return rdms.table["subject"].to_numpy(), rdms.table["roi"].to_numpy()


# Shortcuts against loops


@pytest.mark.parametrize("transform", ["raw", "rank", (0.2, 0.8), (0.4, 0.6)])
def test_predictions_are_those_of_explicit_loops(transform):
    rdms = simulated(noise=1.3, seed=4)
    d = rdms.dissimilarities
    z = {"raw": lambda: d, "rank": lambda: rank_transform(d)}.get(transform, lambda: geo_topological(d, *transform))()
    result = identify_regions(rdms, transform=transform)
    for kind in KINDS:
        want = loops(z, *columns(rdms), kind)
        np.testing.assert_array_equal(result.table[f"predicted_{kind}"], want)
        assert result.accuracy[kind] == np.mean(want == columns(rdms)[1])
    assert 0.3 < result.accuracy["euclidean"] < 1  # neither trivial nor hopeless


def test_scores_are_distances_and_correlations(rng):
    z = rng.random((12, 30))
    labels = Labels.of(np.repeat(range(4), 3), np.tile(list("abc"), 4), 2)
    weights = rng.integers(0, 3, (5, 12)).astype(float)
    grams = gram_pair(z)
    for kind in KINDS:
        score = score_classes(grams[kind], labels, weights, kind)
        for b in range(5):
            for x in range(12):
                for c in range(3):
                    train = (labels.subject != labels.subject[x]) & (labels.region == c) & (weights[b] > 0)
                    if not train.any():
                        assert score[b, x, c] == -np.inf
                        continue
                    m = np.average(z[train], axis=0, weights=weights[b, train])
                    want = -((z[x] - m) ** 2).sum() if kind == "euclidean" else np.corrcoef(z[x], m)[0, 1]
                    assert score[b, x, c] == pytest.approx(want, abs=1e-10)


def test_several_rdms_per_subject_and_region(rng):
    rdms = simulated(noise=1.5)
    twice = RDMs(
        np.concatenate([rdms.dissimilarities, rdms.dissimilarities + 0.3 * rng.random(rdms.dissimilarities.shape)]),
        table={name: np.tile(values, 2) for name, values in zip(("subject", "roi"), columns(rdms), strict=True)},
    )
    result = identify_regions(twice, transform="rank")
    for kind in KINDS:
        want = loops(rank_transform(twice.dissimilarities), *columns(twice), kind)
        np.testing.assert_array_equal(result.table[f"predicted_{kind}"], want)


def test_regions_missing_in_some_subjects():
    rdms = simulated(noise=1.2)
    rdms = rdms.select([k for k in range(rdms.n_rdms) if k not in (1, 5, 9)])
    result = identify_regions(rdms, transform="raw")
    np.testing.assert_array_equal(
        result.table["predicted_euclidean"], loops(rdms.dissimilarities, *columns(rdms), "euclidean")
    )


def test_within_and_across_by_loops():
    rdms = simulated(noise=1.2)
    z, (subject, region) = rank_transform(rdms.dissimilarities), columns(rdms)
    table = identify_regions(rdms, transform="rank").table
    for k in range(len(z)):
        distance = np.linalg.norm(z - z[k], axis=1)
        same = distance[(subject != subject[k]) & (region == region[k])].mean()
        other = distance[(subject != subject[k]) & (region != region[k])].mean()
        assert table["within"][k] == pytest.approx(same)
        assert table["across"][k] == pytest.approx(other)
        assert table["ratio"][k] == pytest.approx(same / other)


def test_sensitivity_and_specificity_by_counting():
    result = identify_regions(simulated(noise=2.2), transform="raw")
    true, called = result.table["region"], result.table["predicted_euclidean"]
    for row in result.per_region().itertuples():
        assert row.sensitivity == np.mean(called[true == row.region] == row.region)
        assert row.specificity == np.mean(called[true != row.region] != row.region)
        assert row.n == 6
    confusion = result.confusion()
    assert confusion.to_numpy().sum() == 18
    assert np.trace(confusion.to_numpy()) / 18 == result.accuracy["euclidean"]
    assert list(confusion.index) == list(confusion.columns) == ["r0", "r1", "r2"]
    assert result.chance == pytest.approx(1 / 3)


# Nested choice


def test_nested_choice_by_explicit_loops():
    rdms = simulated(n_subjects=5, noise=2.0, seed=3)
    d, (subject, region) = rdms.dissimilarities, columns(rdms)
    grid = lu_grid(0.25)
    z = [geo_topological(d, l, u) for l, u in grid]
    result = identify_regions(rdms, step=0.25)
    for kind in KINDS:
        for s in dict.fromkeys(subject):
            train = subject != s
            inner = [np.mean(loops(x[train], subject[train], region[train], kind) == region[train]) for x in z]
            order = sorted(
                range(len(grid)), key=lambda k: (-round(inner[k], 12), -(grid[k][1] - grid[k][0]), grid[k][0])
            )
            best = order[0]
            row = result.chosen[(result.chosen["subject"] == s) & (result.chosen["centroid"] == kind)].iloc[0]
            assert (row["l"], row["u"]) == tuple(grid[best])
            assert row["inner_accuracy"] == pytest.approx(inner[best])
            want = loops(z[best], subject, region, kind)[~train]
            np.testing.assert_array_equal(result.table[f"predicted_{kind}"][~train], want)


def test_a_held_out_subject_has_no_say_in_its_choice(rng):
    rdms = simulated(n_subjects=5, noise=2.0, seed=1)
    before = identify_regions(rdms, step=0.1).chosen
    for s in ("s0", "s3"):
        d = np.array(rdms.dissimilarities)
        mine = columns(rdms)[0] == s
        d[mine] = 100 * rng.random(d[mine].shape)[:, ::-1] ** 3
        after = identify_regions(rdms.with_dissimilarities(d), step=0.1).chosen
        same = before["subject"] == s
        np.testing.assert_array_equal(after[same], before[same])
    assert not before[["l", "u"]].equals(after[["l", "u"]])  # it does have a say in the others'


def test_ties_go_to_the_widest_then_the_lowest():
    grid = np.array([[0.0, 0.2], [0.1, 0.5], [0.3, 0.7], [0.0, 1.0]])
    accuracy = np.array([[0.5, 0.5, 1.0], [0.9, 0.9, 1.0], [0.9, 0.9 - 1e-15, 1.0], [0.1, 0.9, 1.0]])
    np.testing.assert_array_equal(best_cells(accuracy, grid), [1, 3, 3])


# Truth planted


def test_regions_are_found_where_there_are_any():
    for transform in ("raw", "rank", (0.2, 0.8), "rgtm"):
        accuracy = identify_regions(simulated(8, 4, 20, noise=0.8), transform=transform).accuracy
        assert (accuracy > 0.85).all()


def test_nested_accuracy_of_noise_is_at_chance_and_the_best_cell_is_not():
    """Over 12 data sets without regions: the nested mean is within 4 standard errors of 1/3, the best cell above it."""
    nested, best = [], []
    for seed in range(12):
        d = np.random.default_rng(seed).random((15, 45))
        rdms = RDMs(d, table={"subject": np.repeat(range(5), 3), "roi": np.tile(list("abc"), 5)})
        nested.append(identify_regions(rdms, step=0.1).accuracy["euclidean"])
        best.append(rgtm_grid(rdms, step=0.1).best()["accuracy_euclidean"])
    assert abs(np.mean(nested) - 1 / 3) < 4 * np.sqrt(2 / 9 / (12 * 15))
    assert np.mean(best) > np.mean(nested) + 0.15


def test_scale_alone_can_identify_by_distance_but_not_by_correlation(rng):
    d = rng.random((24, 66)) + np.tile([1.0, 3.0, 5.0], 8)[:, None]
    accuracy = identify_regions(d, np.repeat(range(8), 3), np.tile(list("abc"), 8), transform="raw").accuracy
    assert accuracy["euclidean"] == 1
    assert accuracy["correlation"] < 0.75


def test_monotone_distortion_hurts_raw_rdms_only():
    rdms = simulated(8, 3, 16, noise=0.9, seed=2)
    power = np.random.default_rng(0).uniform(0.3, 4, rdms.n_rdms)[:, None]
    scale = np.random.default_rng(1).uniform(0.1, 10, rdms.n_rdms)[:, None]
    distorted = rdms.with_dissimilarities(scale * rdms.dissimilarities**power)
    before, after = (compare_transforms(x, transforms=("raw", "rank", (0.2, 0.8))) for x in (rdms, distorted))
    kept = before["transform"] != "raw"
    np.testing.assert_array_equal(after["accuracy"][kept], before["accuracy"][kept])
    assert after["accuracy"][0] < before["accuracy"][0]


def test_noise_lowers_accuracy():
    table = noise_robustness(
        simulated(6, 3, 14, noise=0.7), transforms=("raw", "rank"), levels=(0.0, 3.0), n_repeats=3, rng=0
    )
    assert list(table.columns[:3]) == ["level", "repeat", "transform"]
    assert len(table) == 2 * 3 * 2 * 2
    mean = table.groupby(["transform", "level"])["accuracy"].mean()
    for name in ("raw", "rank"):
        assert mean[name, 0.0] > mean[name, 3.0] + 0.1
    again = noise_robustness(
        simulated(6, 3, 14, noise=0.7), transforms=("raw", "rank"), levels=(0.0, 3.0), n_repeats=3, rng=0
    )
    assert again.equals(table)


def test_transforms_may_be_callables():
    rdms = simulated()
    named = {"geodesic": lambda d: rgdm(d, u=0.3), "raw": "raw"}
    table = compare_transforms(rdms, transforms=named)
    assert list(table["transform"]) == ["geodesic", "geodesic", "raw", "raw"]
    want = loops(rgdm(rdms.dissimilarities, u=0.3), *columns(rdms), "euclidean")
    assert table["accuracy"][0] == np.mean(want == columns(rdms)[1])


# Grid


def test_grid_cells_are_single_identifications():
    rdms = simulated(noise=1.8)
    grid = rgtm_grid(rdms)
    assert grid.cells.shape[0] == 210
    for k in (0, 19, 77, 209):
        l, u = grid.cells.loc[k, ["l", "u"]]
        one = identify_regions(rdms, transform=(l, u))
        for kind in KINDS:
            assert grid.cells.loc[k, f"accuracy_{kind}"] == pytest.approx(one.accuracy[kind])
        assert grid.cells.loc[k, "ratio"] == pytest.approx(one.table["ratio"].mean())
    raw = identify_regions(rdms, transform="raw").accuracy
    assert grid.corners.loc[0, "accuracy_euclidean"] == pytest.approx(raw["euclidean"])
    assert grid.cells.loc[19, ["l", "u"]].tolist() == [0.0, 1.0]
    assert grid.corners.loc[1, "accuracy_euclidean"] == grid.cells.loc[19, "accuracy_euclidean"]
    assert grid.chosen.equals(identify_regions(rdms).chosen)
    triangle = grid.triangle()
    assert np.isfinite(triangle.to_numpy()).sum() == 210
    assert grid.best()["accuracy_euclidean"] == grid.cells["accuracy_euclidean"].max()
    assert grid.to_frame().equals(grid.cells)


# Families and bootstraps


def test_families_are_means_of_their_pairs():
    rdms = simulated(noise=1.8)
    result = rgtm_families(rdms, n_pairs=3, n_boot=10, rng=0)
    assert list(result.accuracy.index) == list(FAMILIES)
    for row in result.thresholds.itertuples():
        assert row.accuracy == pytest.approx(identify_regions(rdms, transform=(row.l, row.u)).accuracy["euclidean"])
    mean = result.thresholds.groupby("family")["accuracy"].mean()
    for name in FAMILIES:
        assert result.accuracy[name] == pytest.approx(mean[name])


@pytest.mark.parametrize("kind", KINDS)
def test_subject_bootstrap_by_loops(kind):
    """Weighted Gram shortcuts against copies of subjects, all copies of one left out together."""
    rdms = simulated(n_subjects=5, noise=1.8)
    d, (subject, region) = rdms.dissimilarities, columns(rdms)
    result = rgtm_families(rdms, families={"one": [(0.1, 0.7)]}, n_boot=8, kind=kind, rng=3)
    counts = np.random.default_rng(3).multinomial(5, np.full(5, 0.2), size=8)
    z = geo_topological(d, 0.1, 0.7)
    names = list(dict.fromkeys(subject))
    for b in range(8):
        rows = np.concatenate(
            [np.flatnonzero(subject == n) for n, c in zip(names, counts[b], strict=True) for _ in range(c)]
        )
        if len(set(subject[rows])) < 2:
            continue
        want = np.mean(loops(z[rows], subject[rows], region[rows], kind) == region[rows])
        assert result.boots.loc[b, "one"] == pytest.approx(want)


def test_stimulus_bootstrap_by_loops():
    rdms = simulated(n_subjects=4, noise=1.8, n=9)
    d, (subject, region) = rdms.dissimilarities, columns(rdms)
    result = rgtm_families(rdms, families={"one": [(0.1, 0.7)]}, n_boot=5, resample="stimulus", rng=3)
    rng = np.random.default_rng(3)
    for b in range(5):
        drawn = rng.integers(9, size=9)
        sample = rdms.matrices[:, drawn][:, :, drawn]
        i, j = np.triu_indices(9, 1)
        keep = drawn[i] != drawn[j]
        vectors = sample[:, i[keep], j[keep]]
        rho = np.stack([rank_transform_of_vector(v) for v in vectors])
        low, high = np.quantile(rho, [0.1, 0.7], axis=1, keepdims=True)
        z = np.clip((rho - low) / (high - low), 0, 1)
        want = np.mean(loops(z, subject, region, "euclidean") == region)
        assert result.boots.loc[b, "one"] == pytest.approx(want)
    assert d.shape == (12, 36)


def rank_transform_of_vector(v):
    from scipy.stats import rankdata

    ranks = rankdata(np.round(v / v.max(), 10))
    return (ranks - ranks.min()) / np.ptp(ranks)


def test_resamples_are_the_same_for_all_families():
    rdms = simulated(noise=1.8)
    pairs = [(0.1, 0.7), (0.3, 0.4)]
    for resample in ("subject", "stimulus", "both", "rows"):
        result = rgtm_families(rdms, families={"a": pairs, "b": pairs}, n_boot=6, resample=resample, rng=0)
        np.testing.assert_array_equal(result.boots["a"], result.boots["b"])
        assert result.differences()["difference"][0] == 0
        assert result.differences()["p"][0] == 1
        assert result.resample == resample


def test_chunks_do_not_change_bootstraps(monkeypatch):
    rdms = simulated(noise=1.8)
    whole = rgtm_families(rdms, n_pairs=2, n_boot=30, rng=0).boots
    monkeypatch.setattr("neuro.rsa.rgtm.BLOCK", 200)
    np.testing.assert_allclose(rgtm_families(rdms, n_pairs=2, n_boot=30, rng=0).boots, whole)


def test_family_tables():
    result = rgtm_families(simulated(noise=1.8), n_boot=200, rng=0)
    frame = result.to_frame()
    assert list(frame.columns) == ["family", "accuracy", "sd", "low", "high", "chance"]
    assert ((frame["low"] <= frame["accuracy"]) & (frame["accuracy"] <= frame["high"])).all()
    np.testing.assert_allclose(frame["sd"], result.boots.std())
    pairs = result.differences("reference")
    assert len(pairs) == 10
    delta = (result.boots["local"] - result.boots["global"]).dropna()
    assert pairs["t"][0] == pytest.approx(delta.mean() / delta.std())
    assert result.differences()["p"].between(2 / 201, 1).all()


def test_a_family_that_is_truly_better_is_found():
    """Noise in the largest distances only: local pairs identify, global ones do not."""
    rng = np.random.default_rng(0)
    d = []
    base, far = 0.5 * rng.random((4, 190)), np.arange(190) < 95
    for _ in range(8):
        for row in base:
            d.append(np.where(far, 0.5 + 0.5 * rng.random(190), row))
    table = {"subject": np.repeat(range(8), 4), "roi": np.tile(list("abcd"), 8)}
    families = {"local": [(0, 0.3), (0.1, 0.2)], "global": [(0.8, 1.0), (0.85, 0.95)]}
    mixed = np.array(d) * rng.uniform(0.9, 1.1, (32, 1))
    result = rgtm_families(RDMs(mixed, table=table), families=families, n_boot=300, rng=0)
    row = result.differences().iloc[0]
    assert row["difference"] > 0.3
    assert row["p"] < 0.05


def test_samples_with_hardly_any_stimulus_are_drawn_again():
    for columns in _stimulus_columns(3, 50, np.random.default_rng(0)):
        assert len(columns) == 3


# Bad input


def test_bad_labels():
    rdms = simulated()
    with pytest.raises(ValueError, match="no column 'ROI'"):
        identify_regions(rdms, region="ROI")
    with pytest.raises(ShapeMismatch, match="must name 18 RDMs, got 3"):
        identify_regions(rdms, subject=["a", "b", "c"])
    with pytest.raises(ValueError, match="no column 'subject'"):
        identify_regions(rdms.dissimilarities)
    with pytest.raises(ValueError, match="at least two regions"):
        identify_regions(rdms.select({"roi": "r0"}))
    with pytest.raises(ValueError, match="at least 2 subjects here, got 1"):
        identify_regions(rdms.select({"subject": "s0"}), transform="raw")
    with pytest.raises(ValueError, match="at least 3 subjects here, got 2"):
        identify_regions(rdms.select({"subject": ["s0", "s1"]}))
    with pytest.raises(ValueError, match="'r0' was recorded in 1 of 6"):
        identify_regions(rdms.select([0, *(k for k in range(18) if k % 3)]), transform="raw")
    with pytest.raises(ValueError, match="some are missing"):
        identify_regions(rdms, subject=[None] + ["a"] * 17)


def test_bad_transforms():
    rdms = simulated()
    for bad in ("zscore", (0.1, 0.2, 0.3)):
        with pytest.raises(ValueError, match="transform must be"):
            identify_regions(rdms, transform=bad)
    with pytest.raises(ValueError, match="swapped"):
        identify_regions(rdms, transform=(0.8, 0.2))
    with pytest.raises(ValueError, match="contradict"):
        identify_regions(rdms, transform="rank", nested=True)
    with pytest.raises(ValueError, match="contradict"):
        identify_regions(rdms, nested=False)
    with pytest.raises(ShapeMismatch, match="must return"):
        identify_regions(rdms, transform=lambda d: d[:2])
    with pytest.raises(ValueError, match="kind must be"):
        identify_regions(rdms, transform="raw").confusion("cosine")
    with pytest.raises(ValueError, match="levels must not be negative"):
        noise_robustness(rdms, levels=(-1,))
    with pytest.raises(ValueError, match="resample must be"):
        rgtm_families(rdms, resample="sessions")
    with pytest.raises(ShapeMismatch, match=r"must be \(n, 2\)"):
        rgtm_families(rdms, families={"mine": [0.1, 0.2]})


def test_pairs_unknown_in_one_are_left_out_of_all():
    rdms = simulated(noise=1.5)
    d = np.array(rdms.dissimilarities)
    d[4, [3, 8]] = np.nan
    keep = np.setdiff1d(np.arange(d.shape[1]), [3, 8])
    result = identify_regions(rdms.with_dissimilarities(d), transform="raw")
    np.testing.assert_array_equal(result.table["predicted_euclidean"], loops(d[:, keep], *columns(rdms), "euclidean"))
    with pytest.raises(ValueError, match="stimuli cannot be resampled"):
        rgtm_families(rdms.with_dissimilarities(d), resample="stimulus", n_boot=2)


def test_accuracy_of_one_drawn_subject_is_unknown():
    labels = Labels.of(np.repeat(range(3), 2), np.tile(list("ab"), 3), 2)
    weights = np.repeat([[3.0, 0, 0]], 2, axis=1)
    score = score_classes(np.eye(6), labels, weights)
    assert np.isnan(accuracies(score, labels, weights)).all()


def test_input_is_left_alone():
    rdms = simulated()
    d = np.array(rdms.dissimilarities)
    before = d.copy()
    table = rdms.table
    identify_regions(d, table["subject"], table["roi"], transform=lambda x: x.__imul__(2))
    identify_regions(d, table["subject"], table["roi"], step=0.25)
    np.testing.assert_array_equal(d, before)


# Real data: two sessions of four subjects, human IT


@pytest.fixture(scope="module")
def human_it(real_data):
    cells = loadmat(real_data / "kriegeskorte92" / "92_brainRDMs.mat")["RDMs"][0]
    d = np.array([np.asarray(cells[i, j]["RDM"], float) for i in range(4) for j in range(2)])
    return RDMs(d, table={"subject": np.repeat(range(4), 2), "session": np.tile(range(2), 4)})


def test_subjects_of_the_92_images_are_told_apart_across_sessions(human_it):
    """Sessions take the place of subjects, and subjects that of regions: whose brain is it? Chance is 1/4."""
    table = compare_transforms(human_it, "session", "subject", transforms=("raw", "rank", (0.2, 0.8)))
    assert table["chance"].eq(0.25).all()
    assert table.loc[table["centroid"] == "correlation", "accuracy"].min() >= 0.375
    for transform in ("raw", "rank"):
        z = human_it.dissimilarities if transform == "raw" else rank_transform(human_it.dissimilarities)
        want = loops(z, human_it.table["session"], human_it.table["subject"], "correlation")
        got = identify_regions(human_it, "session", "subject", transform=transform).table["predicted_correlation"]
        np.testing.assert_array_equal(got, want)
