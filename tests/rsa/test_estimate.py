"""rdm: every metric against loops in float64, invariances, NaN, bad input, numpy against torch, rsatoolbox."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from neuro.errors import EmptySelection, ShapeMismatch
from neuro.rsa import _blocks, _distances
from neuro.rsa._blocks import iter_blocks
from neuro.rsa.container import RDMs
from neuro.rsa.estimate import METRICS, rdm
from neuro.rsa.noise import noise_precision

PLAIN = ["sqeuclidean", "euclidean", "correlation", "cosine"]


def loop(X, metric, W=None):
    X, out = np.asarray(X, float), []
    for i in range(len(X)):
        for j in range(i + 1, len(X)):
            a, b = X[i], X[j]
            if metric == "correlation":
                a, b = a - a.mean(), b - b.mean()
            if metric in ("correlation", "cosine"):
                out.append(1 - a @ b / np.sqrt((a @ a) * (b @ b)))
            elif metric == "mahalanobis":
                out.append((a - b) @ W @ (a - b) / len(a))
            else:
                d = np.sum((a - b) ** 2) / len(a)
                out.append(np.sqrt(d) if metric == "euclidean" else d)
    return np.array(out)


def one(*args, **kwargs):
    return rdm(*args, **kwargs).dissimilarities[0]


@pytest.fixture(scope="module")
def toolbox():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        data = pytest.importorskip("rsatoolbox.data")
        return data.Dataset, pytest.importorskip("rsatoolbox.rdm").calc_rdm


@pytest.mark.parametrize("metric", PLAIN)
@pytest.mark.parametrize("shift", [0.0, 3.0, 1000.0])
@pytest.mark.parametrize(("n", "p"), [(2, 3), (12, 40), (200, 30)])
def test_plain_metrics_are_the_loop(rng, metric, shift, n, p):
    X = rng.standard_normal((n, p)) + shift
    np.testing.assert_allclose(one(X, metric), loop(X, metric), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("metric", PLAIN)
def test_many_blocks_of_channels_are_one(rng, metric, monkeypatch):
    X = rng.standard_normal((20, 1500))
    whole = one(X, metric)
    monkeypatch.setattr("neuro.rsa._patterns.BLOCK_BYTES", 1)
    np.testing.assert_allclose(one(np.asfortranarray(X), metric), whole, rtol=1e-12)
    np.testing.assert_allclose(one(X + 500, metric), loop(X + 500, metric), rtol=1e-8, atol=1e-13)


@pytest.mark.parametrize("metric", PLAIN)
def test_float32_stays_float32_and_does_not_cancel(rng, metric):
    X = (rng.standard_normal((15, 3000)) + (300 if metric != "cosine" else 3)).astype(np.float32)
    d = one(X, metric)
    assert d.dtype == np.float32
    np.testing.assert_allclose(d, loop(X, metric), rtol=2e-5)


@pytest.mark.parametrize("metric", PLAIN)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_tensors_give_the_numpy_result(rng, metric, dtype):
    X = rng.standard_normal((2, 9, 33)) + 1
    d = rdm(torch.tensor(X, dtype=dtype), metric).dissimilarities
    assert isinstance(d, torch.Tensor)
    assert d.dtype == dtype
    expected = rdm(X, metric).dissimilarities
    np.testing.assert_allclose(d.numpy(), expected, rtol=1e-5 if dtype == torch.float32 else 1e-10)


@pytest.mark.parametrize("metric", PLAIN)
def test_gradients(rng, metric):
    X = torch.tensor(rng.standard_normal((5, 7)), requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: rdm(x, metric).dissimilarities, (X,))


def test_gradient_of_identical_patterns_is_finite():
    X = torch.ones(3, 4, dtype=torch.float64)
    X[2] += torch.arange(4)
    X.requires_grad_(True)
    rdm(X, "euclidean").dissimilarities.sum().backward()
    assert bool(X.grad.isfinite().all())


@pytest.mark.parametrize("metric", PLAIN)
def test_stack_is_one_by_one(rng, metric):
    for shape in [(4, 6, 20), (3, 30, 2000)]:
        X = rng.standard_normal(shape)
        stack = rdm(X, metric)
        assert stack.n_rdms == shape[0]
        for k in range(shape[0]):
            np.testing.assert_allclose(stack.dissimilarities[k], one(X[k], metric), rtol=1e-11)


@pytest.mark.parametrize("metric", [*PLAIN, "mahalanobis", "crossnobis", "poisson"])
def test_memory_layout_does_not_matter(rng, tmp_path, metric):
    X = rng.uniform(1, 3, (12, 700))
    kwargs = {"conditions": np.tile(np.arange(6), 2)} if metric == "crossnobis" else {}
    expected = one(X, metric, **kwargs)
    np.save(tmp_path / "x.npy", X)
    wide = np.zeros((24, 1400))
    wide[::2, ::2] = X
    for same in (np.asfortranarray(X), np.load(tmp_path / "x.npy", mmap_mode="r"), wide[::2, ::2], X[:, ::-1]):
        np.testing.assert_allclose(one(same, metric, **kwargs), expected, rtol=1e-9, atol=1e-13)


def test_kinds_of_numbers(rng):
    X = rng.integers(0, 50, (5, 20))
    expected = loop(X, "sqeuclidean")
    for dtype, kept in [("i4", "f8"), ("u1", "f8"), ("f2", "f4"), (">f4", "f4"), (">f8", "f8"), ("f4", "f4")]:
        d = one(X.astype(dtype), "sqeuclidean")
        assert d.dtype == kept
        np.testing.assert_allclose(d, expected, rtol=1e-5)
    assert one(torch.tensor(X), "sqeuclidean").dtype == torch.float64
    mixed = rdm([X.astype("f4"), X.astype("f8")], "sqeuclidean").dissimilarities
    assert mixed.dtype == np.float64
    np.testing.assert_allclose(mixed[1], expected, rtol=1e-12)


def test_list_and_dict_may_differ_in_channels(rng):
    layers = {"conv1": rng.standard_normal((6, 10)), "fc": rng.standard_normal((6, 30))}
    d = rdm(layers, "sqeuclidean", conditions=list("abcdef"))
    assert list(d.table["name"]) == ["conv1", "fc"]
    assert list(d.conditions) == list("abcdef")
    np.testing.assert_allclose(d.dissimilarities[1], one(layers["fc"], "sqeuclidean"))
    assert rdm(list(layers.values())).n_rdms == 2


@pytest.mark.parametrize("tensor", [False, True])
def test_repeats_are_averaged_in_order_of_first_appearance(rng, tensor):
    X = rng.standard_normal((7, 25))
    names = ["b", "a", "b", "c", "a", "b", "c"]
    means = np.stack([X[[0, 2, 5]].mean(0), X[[1, 4]].mean(0), X[[3, 6]].mean(0)])
    d = rdm(torch.tensor(X) if tensor else X, "correlation", conditions=names).numpy()
    assert list(d.conditions) == ["b", "a", "c"]
    np.testing.assert_allclose(d.dissimilarities[0], loop(means, "correlation"))


def test_shuffled_single_rows_keep_their_names(rng):
    X = rng.standard_normal((5, 9))
    d = rdm(X, "sqeuclidean", conditions=list("vwxyz"))
    back = rdm(X[::-1], "sqeuclidean", conditions=list("zyxwv")).select(conditions=list("vwxyz"))
    np.testing.assert_allclose(back.dissimilarities, d.dissimilarities)


def test_table_of_conditions_is_carried(rng):
    frame = pd.DataFrame({"condition": ["a", "b", "a", "b"], "animate": [True, False, True, False], "trial": range(4)})
    d = rdm(rng.standard_normal((4, 3)), "sqeuclidean", conditions=frame)
    assert list(d.condition_table.columns) == ["condition", "animate"]


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from(PLAIN))
def test_rotation_permutation_and_scale(seed, metric):
    rng = np.random.default_rng(seed)
    n, p = int(rng.integers(3, 8)), int(rng.integers(3, 12))
    X = rng.standard_normal((n, p))
    Q = np.linalg.qr(rng.standard_normal((p, p)))[0]
    d = rdm(X, metric)
    if metric != "correlation":
        np.testing.assert_allclose(one(X @ Q, metric), d.dissimilarities[0], rtol=1e-6, atol=1e-9)
    order = rng.permutation(n)
    again = rdm(X[order], metric, conditions=order).select(conditions=np.arange(n))
    np.testing.assert_allclose(again.dissimilarities, d.dissimilarities, rtol=1e-7, atol=1e-12)
    factor = {"sqeuclidean": 9.0, "euclidean": 3.0}.get(metric, 1.0)
    np.testing.assert_allclose(one(3 * X, metric), factor * d.dissimilarities[0], rtol=1e-7, atol=1e-12)


@pytest.mark.parametrize("tensor", [False, True])
def test_mahalanobis_is_the_loop(rng, tensor):
    X = rng.standard_normal((8, 12)) + 2
    A = rng.standard_normal((12, 20))
    W = A @ A.T
    data = torch.tensor(X) if tensor else X
    d = rdm(data, "mahalanobis", noise=torch.tensor(W) if tensor else W).numpy()
    np.testing.assert_allclose(d.dissimilarities[0], loop(X, "mahalanobis", W))
    assert d.settings["noise"] == "matrix"
    diagonal = rdm(data, "mahalanobis", noise=np.diag(W)).numpy().dissimilarities[0]
    np.testing.assert_allclose(diagonal, loop(X, "mahalanobis", np.diag(np.diag(W))))
    np.testing.assert_allclose(rdm(data, "mahalanobis").numpy().dissimilarities[0], loop(X, "sqeuclidean"))


def test_noise_by_name_is_estimated_from_the_rows(rng):
    X, names = rng.standard_normal((24, 5)), np.tile(np.arange(6), 4)
    W = noise_precision(X, "shrinkage_eye", conditions=names)
    a = rdm(X, "mahalanobis", conditions=names, noise="shrinkage_eye")
    np.testing.assert_allclose(a.dissimilarities, rdm(X, "mahalanobis", conditions=names, noise=W).dissimilarities)
    assert a.settings["noise"] == "shrinkage_eye"


@pytest.mark.parametrize("metric", ["sqeuclidean", "mahalanobis"])
@pytest.mark.parametrize("tensor", [False, True])
def test_remove_mean(rng, metric, tensor):
    X = rng.standard_normal((6, 10)) + np.arange(6)[:, None]
    centred = X - X.mean(1, keepdims=True)
    noise = {"noise": np.linspace(1, 2, 10)} if metric == "mahalanobis" else {}
    d = rdm(torch.tensor(X) if tensor else X, metric, remove_mean=True, **noise).numpy()
    np.testing.assert_allclose(d.dissimilarities[0], one(centred, metric, **noise))


def test_rsatoolbox_agrees(rng, toolbox):
    Dataset, calc_rdm = toolbox
    X = rng.standard_normal((14, 30))
    A = rng.standard_normal((30, 60))
    W = A @ A.T / 60
    names = np.repeat(np.arange(7), 2)
    data = Dataset(X, obs_descriptors={"c": names})
    for ours, theirs, extra in [
        ("sqeuclidean", "euclidean", {}),
        ("correlation", "correlation", {}),
        ("mahalanobis", "mahalanobis", {"noise": W}),
        ("poisson", "poisson", {}),
    ]:
        shifted = Dataset(np.abs(X), obs_descriptors={"c": names}) if ours == "poisson" else data
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            expected = calc_rdm(shifted, theirs, descriptor="c", **extra).dissimilarities
        values = np.abs(X) if ours == "poisson" else X
        np.testing.assert_allclose(rdm(values, ours, conditions=names, **extra).dissimilarities, expected, rtol=1e-9)


def test_custom_metric_and_registry(rng, monkeypatch):
    from scipy.spatial.distance import pdist

    X = rng.standard_normal((6, 4))

    def cityblock(x):
        return pdist(x, "cityblock")

    d = rdm(X, cityblock)
    assert d.metric == "cityblock"
    np.testing.assert_allclose(d.dissimilarities[0], pdist(X, "cityblock"))
    monkeypatch.setitem(METRICS, "city", cityblock)
    np.testing.assert_allclose(one(X, "city"), pdist(X, "cityblock"))
    with pytest.raises(ShapeMismatch, match="one value for each of 15 pairs"):
        rdm(X, lambda x: np.zeros(3))
    with pytest.raises(ValueError, match="read-only"):
        rdm(X, lambda x: x.__iadd__(1))


def test_every_metric_of_the_registry_runs(rng):
    X = rng.uniform(0, 5, (12, 6))
    names, folds = np.tile(np.arange(4), 3), np.repeat(np.arange(3), 4)
    for metric, entry in METRICS.items():
        extra = {"folds": folds} if entry.cross_validated else {}
        d = rdm(X, metric, conditions=names, **extra)
        assert d.metric == metric
        assert d.dissimilarities.shape == (1, 6)
        assert entry.about


# NaN


@pytest.mark.parametrize("metric", PLAIN)
@pytest.mark.parametrize("tensor", [False, True])
def test_pairwise_takes_the_channels_that_both_know(rng, metric, tensor):
    X = rng.standard_normal((7, 30)) + 4
    X[rng.random(X.shape) < 0.3] = np.nan
    d = rdm(torch.tensor(X) if tensor else X, metric, nan="pairwise").numpy().dissimilarities[0]
    expected = []
    for i in range(7):
        for j in range(i + 1, 7):
            known = np.isfinite(X[i] + X[j])
            expected.append(loop(X[[i, j]][:, known], metric)[0])
    np.testing.assert_allclose(d, expected, rtol=1e-9)


def test_pairwise_averages_repeats_over_what_is_known(rng):
    X = rng.standard_normal((4, 6))
    X[0, 2] = np.nan
    filled = X.copy()
    filled[0, 2] = X[2, 2]  # the only repeat that is known
    names = ["a", "b", "a", "b"]
    d = one(X, "sqeuclidean", conditions=names, nan="pairwise")
    np.testing.assert_allclose(d, one(filled, "sqeuclidean", conditions=names))


def test_drop_leaves_channels_out(rng):
    X = rng.standard_normal((5, 8))
    X[2, 3] = X[4, 5] = np.nan
    d = rdm(X, "correlation", nan="drop")
    np.testing.assert_allclose(d.dissimilarities[0], loop(np.delete(X, [3, 5], 1), "correlation"))
    assert d.settings["nan"] == "drop"


@pytest.mark.parametrize("metric", [*PLAIN, "mahalanobis"])
@pytest.mark.parametrize("tensor", [False, True])
@pytest.mark.parametrize("shape", [(5, 8), (3, 5, 8), (2, 40, 900)])
def test_nan_is_an_error_that_counts(rng, metric, tensor, shape):
    X = rng.standard_normal(shape)
    X[..., 1, :] = np.nan
    data = torch.tensor(X) if tensor else X
    with pytest.raises(ValueError, match=r"NaN, in \d of \d+ rows"):
        rdm(data, metric)


def test_whole_row_nan_pairwise_is_nan_with_a_count(rng):
    X = rng.standard_normal((4, 6))
    X[1] = np.nan
    with pytest.warns(UserWarning, match="3 of 6 pairs"):
        d = one(X, "sqeuclidean", nan="pairwise")
    assert np.isnan(d).sum() == 3
    with pytest.raises(EmptySelection, match="leaves no channel"):
        rdm(X, "sqeuclidean", nan="drop")


def test_infinite_is_an_error(rng):
    X = rng.standard_normal((4, 6))
    X[1, 2] = np.inf
    with pytest.raises(ValueError, match="1 infinite"):
        rdm(X, "sqeuclidean")


def test_pairwise_refuses_what_mixes_channels(rng):
    X = rng.standard_normal((4, 6))
    X[1, 2] = np.nan
    with pytest.raises(ValueError, match="diagonal of a precision"):
        rdm(X, "mahalanobis", noise=np.eye(6), nan="pairwise")
    with pytest.raises(ValueError, match="not defined for metric='poisson'"):
        rdm(np.abs(X), "poisson", nan="pairwise")


# Degenerate patterns


@pytest.mark.parametrize("tensor", [False, True])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("policy", ["raise", "pairwise"])
def test_constant_patterns_are_nan_with_one_counted_warning(rng, tensor, dtype, policy):
    X = rng.standard_normal((5, 40)).astype(dtype)
    X[1] = 0.1
    X[3] = 1234.567
    if policy == "pairwise":
        X[0, 0] = np.nan
    with pytest.warns(UserWarning, match="2 of 5 patterns are constant|7 of 10 pairs") as caught:
        d = rdm(torch.tensor(X) if tensor else X, "correlation", nan=policy).numpy().dissimilarities[0]
    assert len(caught) == 1
    assert np.isnan(d).sum() == 7
    assert np.isfinite(one(X, "sqeuclidean", nan=policy)).all()


def test_zero_pattern_has_no_angle(rng):
    X = rng.standard_normal((4, 6))
    X[2] = 0
    with pytest.warns(UserWarning, match="1 of 4 patterns are zero"):
        assert np.isnan(one(X, "cosine")).sum() == 3


def test_identical_patterns_are_at_zero_never_below(rng):
    X = np.repeat(rng.standard_normal((1, 500)) * 1e3, 4, axis=0)
    for metric in PLAIN:
        d = one(X, metric)
        assert (d >= 0).all()
        assert (d < 1e-7).all()


# Bad input


@pytest.mark.parametrize(
    ("data", "kwargs", "error", "match"),
    [
        (np.ones((1, 5)), {}, EmptySelection, "at least two conditions"),
        (np.ones((4, 5)), {"conditions": ["a"] * 4}, EmptySelection, "at least two conditions, got 1"),
        (np.ones((4, 5)), {"conditions": ["a", "b"]}, ShapeMismatch, "one label for each of 4 rows"),
        (np.ones((2, 5)), {"conditions": ["a", None]}, ValueError, "1 missing labels"),
        (np.ones(5), {}, ShapeMismatch, r"got shape \(5,\)"),
        (np.ones((4, 0)), {}, EmptySelection, "hold nothing"),
        (np.array([["a", "b"], ["c", "d"]]), {}, ValueError, "real numbers"),
        (np.ones((4, 5)), {"metric": "pearson"}, ValueError, "'correlation', 'cosine'"),
        (np.ones((4, 5)), {"noise": np.eye(5)}, ValueError, "takes no noise; mahalanobis, crossnobis"),
        (np.ones((4, 5)), {"remove_mean": True}, ValueError, "takes no remove_mean"),
        (np.ones((4, 5)), {"prior": (1, 0.1)}, ValueError, "takes no prior"),
        (np.ones((4, 5)), {"folds": [0, 0, 1, 1]}, ValueError, "not cross-validated"),
        (np.ones((4, 5)), {"nan": "skip"}, ValueError, "nan must be 'raise'"),
        (np.ones((4, 5)), {"weighting": "number"}, ValueError, "unbalanced=True only"),
        (np.ones((4, 5)), {"metric": "mahalanobis", "noise": np.eye(4)}, ShapeMismatch, r"\(5, 5\)"),
        (np.ones((4, 5)), {"metric": "mahalanobis", "noise": -np.eye(5)}, ValueError, "not positive definite"),
        (np.ones((4, 5)), {"metric": "mahalanobis", "noise": np.zeros(5)}, ValueError, "must be positive"),
        (np.ones((4, 5)), {"metric": "mahalanobis", "noise": np.triu(np.ones((5, 5)))}, ValueError, "symmetric"),
        (np.ones((4, 5)), {"metric": "mahalanobis", "noise": [np.eye(5)] * 2}, ShapeMismatch, "one precision"),
        ([np.ones((4, 5))] * 3, {"metric": "mahalanobis", "noise": [np.eye(5)] * 2}, ShapeMismatch, "list of 3"),
        ({}, {}, EmptySelection, "empty"),
        (np.ones((4, 5)), {"by": "roi"}, TypeError, "for Responses"),
    ],
)
def test_bad_input(data, kwargs, error, match):
    with pytest.raises(error, match=match):
        rdm(data, **kwargs)


def test_different_conditions_need_partial(rng):
    X, names = [rng.standard_normal((3, 5)), rng.standard_normal((3, 8))], [["a", "b", "c"], ["d", "c", "b"]]
    with pytest.raises(ShapeMismatch, match="partial=True"):
        rdm(X, "sqeuclidean", conditions=names)
    d = rdm(X, "sqeuclidean", conditions=names, partial=True)
    assert list(d.conditions) == ["a", "b", "c", "d"]
    np.testing.assert_array_equal(np.isnan(d.dissimilarities), [[0, 0, 1, 0, 1, 1], [1, 1, 1, 0, 0, 0]])
    np.testing.assert_allclose(d.dissimilarities[1, 3], ((X[1][1] - X[1][2]) ** 2).mean())


def test_inputs_are_not_written_to(rng):
    X = rng.standard_normal((6, 30)) + 500
    X.flags.writeable = False
    before = hashlib.sha1(X.tobytes()).hexdigest()
    names = np.repeat(np.arange(3), 2)
    for metric in [*PLAIN, "mahalanobis", "crossnobis"]:
        rdm(X, metric, conditions=names)
    assert hashlib.sha1(X.tobytes()).hexdigest() == before


# Streamed


@pytest.mark.parametrize("metric", [*PLAIN, "mahalanobis"])
@pytest.mark.parametrize("tensor", [False, True])
@pytest.mark.parametrize("block", [1, 4, 100])
def test_blocks_in_turn_are_the_rdm(rng, metric, tensor, block):
    X = rng.standard_normal((11, 20)) + 5
    extra = {"noise": np.linspace(1, 2, 20)} if metric == "mahalanobis" else {}
    parts = list(iter_blocks(torch.tensor(X) if tensor else X, metric, block, **extra))
    assert [s.start for s, _ in parts] == list(range(0, 11, min(block, 11)))
    joined = np.concatenate([np.asarray(d) for _, d in parts])
    np.testing.assert_allclose(joined, one(X, metric, **extra), rtol=1e-9)


def test_columns_in_parts_are_the_same(rng, monkeypatch):
    X = rng.standard_normal((23, 6))
    monkeypatch.setattr(_blocks, "COLUMNS", 5)
    for metric in PLAIN:
        joined = np.concatenate([d for _, d in iter_blocks(X, metric, 3)])
        np.testing.assert_allclose(joined, one(X, metric), rtol=1e-9)


def test_many_conditions_take_the_streamed_path(rng, monkeypatch):
    X = rng.standard_normal((30, 8)).astype(np.float32)
    whole = one(X, "correlation")
    monkeypatch.setattr(_blocks, "LARGE", 10)
    monkeypatch.setattr(_blocks, "BLOCK_BYTES", 8 * 30 * 4)
    streamed = one(X, "correlation")
    assert streamed.dtype == np.float32
    np.testing.assert_allclose(streamed, whole, atol=1e-6)


def test_blocks_refuse_bad_input(rng):
    X = rng.standard_normal((5, 4))
    with pytest.raises(ValueError, match="metric must be"):
        iter_blocks(X, "crossnobis")
    with pytest.raises(EmptySelection):
        iter_blocks(X[:1])
    with pytest.raises(ShapeMismatch):
        iter_blocks(X[0])
    X[0, 0] = np.nan
    with pytest.raises(ValueError, match="NaN"):
        list(iter_blocks(X, "sqeuclidean"))


def test_gather_and_rows_are_the_same_pairs(rng, monkeypatch):
    X = rng.standard_normal((30, 40))
    small = {metric: one(X, metric) for metric in PLAIN}
    monkeypatch.setattr(_distances, "SMALL", 3)
    for metric in PLAIN:
        np.testing.assert_allclose(one(X, metric), small[metric], rtol=1e-12)


def test_returns_rdms_and_imports_no_torch():
    assert isinstance(rdm(np.eye(3), "sqeuclidean"), RDMs)
    code = (
        "import sys; from neuro.rsa.estimate import rdm; rdm([[1., 2], [3, 5]], 'sqeuclidean');"
        "sys.exit(' '.join({'torch', 'nilearn', 'matplotlib', 'sklearn', 'ripser'} & set(sys.modules)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
