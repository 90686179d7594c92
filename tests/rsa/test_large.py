"""Comparison of many stimuli without their RDMs, against the RDMs where they fit."""

import numpy as np
import pytest
from scipy.spatial.distance import pdist

from neuro.errors import ShapeMismatch
from neuro.rsa.cka import linear_cka
from neuro.rsa.compare import compare
from neuro.rsa.large import LINEAR, METRICS, compare_features, memory_needed


@pytest.fixture
def pair(rng):
    x = rng.standard_normal((301, 12)) + 2
    return x, x[:, :8] @ rng.standard_normal((8, 9)) + 2 * rng.standard_normal((301, 9))


def direct(pair, method, metric):
    return compare(*(pdist(z, metric)[None] for z in pair), method).item()


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("method", LINEAR)
def test_exact_methods(pair, method, metric):
    result = compare_features(*pair, method, metric, block=64)
    assert result.exact
    assert result.bound == 0
    assert result.score == pytest.approx(direct(pair, method, metric), abs=3e-7 if metric == "euclidean" else 1e-10)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("method", ["spearman", "rho-a"])
def test_rank_methods_stay_within_their_bound(pair, method, metric):
    expected = direct(pair, method, metric)
    result = compare_features(*pair, method, metric, block=64)
    assert not result.exact
    assert abs(result.score - expected) < result.bound < 0.01
    assert result.score == pytest.approx(expected, abs=1e-5)


def test_error_of_ranks_falls_with_bins(pair):
    expected = direct(pair, "spearman", "sqeuclidean")
    results = [compare_features(*pair, "spearman", n_bins=k) for k in (16, 64, 256)]
    assert [r.bound for r in results] == sorted((r.bound for r in results), reverse=True)
    errors = [abs(r.score - expected) for r in results]
    assert all(e < r.bound for e, r in zip(errors, results, strict=True))
    assert errors[2] < 0.1 * errors[0]


def test_ranks_of_very_uneven_distances(rng):
    """One outlier must not leave all other pairs in one bin."""
    x = rng.standard_normal((200, 5))
    x[0] *= 1000
    y = x + 0.3 * rng.standard_normal((200, 5))
    result = compare_features(x, y, "spearman")
    assert abs(result.score - direct((x, y), "spearman", "sqeuclidean")) < result.bound


def test_equals_linear_cka(pair):
    assert float(compare_features(*pair, "cka")) == pytest.approx(linear_cka(*pair), abs=1e-12)
    assert float(compare_features(*pair, "cka_biased")) == pytest.approx(linear_cka(*pair, False), abs=1e-12)


@pytest.mark.parametrize("method", ["cka", "corr_cov", "spearman"])
@pytest.mark.parametrize("metric", ["correlation", "euclidean"])
def test_blocks_change_nothing(pair, method, metric):
    scores = [compare_features(*pair, method, metric, block=b, n_bins=256).score for b in (32, 100, 301, 5000)]
    np.testing.assert_allclose(scores, scores[0], atol=1e-6)


def test_float32_and_memory_mapped_files(pair, tmp_path):
    mapped = []
    for k, z in enumerate(pair):
        np.save(tmp_path / f"{k}.npy", z.astype(np.float32))
        mapped.append(np.load(tmp_path / f"{k}.npy", mmap_mode="r"))
    for method in ("cka", "corr", "spearman"):
        expected = compare_features(*pair, method).score
        assert compare_features(*mapped, method).score == pytest.approx(expected, abs=1e-5)


def test_large_offsets_do_not_cancel(pair):
    shifted = [z + 1e4 for z in pair]
    for method, tolerance in (("cka", 1e-9), ("spearman", 1e-4)):
        expected = compare_features(*pair, method).score
        assert compare_features(*shifted, method).score == pytest.approx(expected, abs=tolerance)


def test_memory_is_estimated_and_refused(pair, caplog):
    size = memory_needed(73_000, 768, 768, "spearman")
    assert size < 2 * 2**30
    assert memory_needed(73_000, 768, 768, "cka") < 2**30
    with caplog.at_level("INFO", logger="neuro.rsa.large"):
        assert compare_features(*pair).memory == memory_needed(301, 12, 9)
    assert "GiB" in caplog.text
    with pytest.raises(MemoryError, match="max_memory"):
        compare_features(*pair, "spearman", max_memory=2**20)


@pytest.mark.parametrize("method", ["cka", "spearman"])
def test_peak_memory_is_below_the_estimate(rng, method):
    """Traced by Python, which sees numpy's buffers."""
    import tracemalloc

    x = rng.standard_normal((3000, 64)).astype(np.float32)
    y = rng.standard_normal((3000, 32)).astype(np.float32)
    expected = compare_features(x, y, method, block=512).memory
    tracemalloc.start()
    compare_features(x, y, method, block=512)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < expected
    assert peak < 8 * 3000**2 / 2 or method == "spearman"


def test_unrelated_and_identical(rng):
    x, y = rng.standard_normal((2, 400, 10))
    assert compare_features(x, x, "spearman").score == pytest.approx(1, abs=1e-9)
    assert abs(compare_features(x, y, "spearman").score) < 0.05
    assert abs(compare_features(x, y, "cka").score) < 0.02


def test_tensors(pair):
    torch = pytest.importorskip("torch")
    tensors = [torch.tensor(z) for z in pair]
    for metric in METRICS:
        for method in ("cka", "corr", "spearman"):
            expected = compare_features(*pair, method, metric, block=128, n_bins=512).score
            score = compare_features(*tensors, method, metric, block=128, n_bins=512).score
            assert score == pytest.approx(expected, abs=1e-6)
    with pytest.raises(TypeError, match="both be tensors"):
        compare_features(tensors[0], pair[1])


def test_bad_input(pair):
    x, y = pair
    with pytest.raises(ShapeMismatch, match="same stimuli"):
        compare_features(x, y[1:])
    with pytest.raises(ShapeMismatch, match="n_stimuli, n_features"):
        compare_features(x[:, 0], y)
    with pytest.raises(ShapeMismatch, match="at least 4"):
        compare_features(x[:3], y[:3])
    with pytest.raises(ValueError, match="method must be"):
        compare_features(x, y, "tau-a")
    with pytest.raises(ValueError, match="metric must be"):
        compare_features(x, y, metric="mahalanobis")
    with pytest.raises(ValueError, match="block"):
        compare_features(x, y, block=0)
    broken = x.copy()
    broken[3, 2] = np.nan
    with pytest.raises(ValueError, match="NaN or infinite"):
        compare_features(broken, y)
    broken[3] = 1.5
    with pytest.raises(ValueError, match="1 patterns are constant"):
        compare_features(broken, y, metric="correlation")


def test_no_variation(pair):
    assert np.isnan(compare_features(np.ones((301, 3)), pair[1]).score)
    assert compare_features(np.ones((301, 3)), pair[1], "spearman").score == 0
