"""The comparers as users call them: reference tables, parity, unknown pairs, names, tensors."""

import warnings

import numpy as np
import pytest
import scipy.io
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats
from scipy.spatial.distance import pdist, squareform

from neuro.errors import ShapeMismatch
from neuro.rsa.compare import METHODS, compare, prepare, tokens
from neuro.rsa.container import RDMs

TOKENS = [name for name, m in METHODS.items() if m.tokens]
MODELS = ["animacy", "FaceBodyManmadeNatobj", "monkeyIT", "EVA", "HMAX", "V1", "Silhouette", "RADON"]
TABLE = {
    "corr": [0.387142, 0.281614, 0.333537, 0.259091, 0.152076, 0.024999, 0.115889, 0.036525],
    "spearman": [0.386220, 0.276596, 0.296324, 0.245389, 0.159868, 0.026514, 0.096570, 0.038094],
    "rho-a": [0.334462, 0.205324, 0.296324, 0.245389, 0.159868, 0.026514, 0.096570, 0.038094],
    "tau-a": [0.223028, 0.136915, 0.200864, 0.166116, 0.107260, 0.017927, 0.064688, 0.025876],
    "cosine_cov": [0.405076, 0.354827, 0.650077, 0.634558, 0.371823, 0.493661, 0.355193, 0.212901],
    "corr_cov": [0.428152, 0.312105, 0.365572, 0.279865, 0.155903, 0.110459, 0.151022, 0.040346],
    "bures": [0.265533, 0.302569, 0.889152, 0.900032, 0.798160, 0.854925, 0.765260, 0.585221],
}
FIXTURE_B = {
    "cosine_cov": 0.736592614775,
    "cka_biased": 0.736592614775,
    "cka": 0.633071353129,
    "cka_lange": 0.636771624729,
    "bures": 0.832831755942,
    "angular": 0.586592311446,
    "spearman": 0.611722115054,
    "tau-a": 0.431822520654,
    "corr_cov": 0.630948978665,
}


@pytest.fixture
def toolbox():
    pytest.importorskip("rsatoolbox")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import rsatoolbox
    return rsatoolbox


@pytest.fixture
def stacks(rng):
    """Two stacks (3, P) and (4, P) of RDMs of 12 conditions, related to each other."""
    x = rng.standard_normal((7, 12, 6)) + rng.standard_normal((12, 6))
    d = np.stack([pdist(z, "sqeuclidean") for z in x])
    return d[:3], d[3:]


@pytest.fixture
def fixture_b():
    g = np.random.default_rng(20240)
    x = g.standard_normal((40, 30))
    y = x[:, :20] @ g.standard_normal((20, 25)) + 0.5 * g.standard_normal((40, 25))
    return pdist(x, "sqeuclidean"), pdist(y, "sqeuclidean")


@pytest.fixture
def kriegeskorte(real_data):
    folder = real_data / "kriegeskorte92"
    brain = scipy.io.loadmat(folder / "92_brainRDMs.mat")["RDMs"][0]
    subjects = np.array([[np.asarray(s["RDM"], float) for s in row] for row in brain]).mean(1)
    entries = scipy.io.loadmat(folder / "92_modelRDMs.mat")["Models"][0]
    names = [str(m["name"].flat[0]) for m in entries]
    return np.array([np.asarray(entries[names.index(m)]["RDM"], float) for m in MODELS]), subjects


# Values


@pytest.mark.parametrize("method", FIXTURE_B)
def test_reference_values(fixture_b, method):
    assert compare(*fixture_b, method).item() == pytest.approx(FIXTURE_B[method], abs=2e-12)


@pytest.mark.real
@pytest.mark.parametrize("method", TABLE)
def test_92_images_table(kriegeskorte, method):
    models, subjects = kriegeskorte
    np.testing.assert_allclose(compare(models, subjects, method).mean(1), TABLE[method], atol=6e-7)


@pytest.mark.real
def test_monkey_and_human_it(real_data):
    with np.load(real_data / "kriegeskorte92" / "kriegeskorte92.npz") as d:
        monkey, human = d["rdm_monkeyIT"], d["rdm_humanIT"]
    for method, value in {"corr": 0.491210, "spearman": 0.438924, "tau-a": 0.304048, "cosine_cov": 0.792798}.items():
        assert compare(monkey, human, method).item() == pytest.approx(value, abs=6e-7)


@pytest.mark.parametrize(
    "method", ["cosine", "corr", "spearman", "rho-a", "tau-a", "tau-b", "cosine_cov", "corr_cov", "bures"]
)
def test_parity_with_rsatoolbox(toolbox, stacks, method):
    a, b = stacks
    a = a if method == "bures" else a.round(0)  # ties; Bures needs Euclidean distances
    theirs = toolbox.rdm.compare(toolbox.rdm.RDMs(a), toolbox.rdm.RDMs(b), method)
    np.testing.assert_allclose(compare(a, b, method), theirs, atol=1e-9)


def test_parity_bures_metric_is_the_root(toolbox, stacks):
    a, b = stacks
    theirs = toolbox.rdm.compare(toolbox.rdm.RDMs(a), toolbox.rdm.RDMs(b), "bures_metric")
    np.testing.assert_allclose(compare(a, b, "bures_metric") ** 2, theirs, atol=1e-7)


def test_parity_neg_riemann(toolbox, rng):
    d = np.stack([pdist(rng.standard_normal((5, 20)), "sqeuclidean") for _ in range(3)])
    theirs = toolbox.rdm.compare(toolbox.rdm.RDMs(d[:2]), toolbox.rdm.RDMs(d[2:]), "neg_riem_dist")
    np.testing.assert_allclose(compare(d[:2], d[2:], "neg_riem_dist"), theirs, atol=1e-4)


def test_scipy_correlations(stacks):
    a, b = (z.round(0) for z in stacks)
    for method, function in [
        ("corr", stats.pearsonr),
        ("spearman", stats.spearmanr),
        ("tau-b", stats.kendalltau),
    ]:
        expected = [[function(x, y)[0] for y in b] for x in a]
        np.testing.assert_allclose(compare(a, b, method), expected, atol=1e-12)


# Identities


def test_one_argument_compares_with_itself(stacks):
    for method in METHODS:
        if method == "neg_riem_dist":
            continue
        score = compare(stacks[0], method=method)
        np.testing.assert_allclose(score, compare(stacks[0], stacks[0].copy(), method), atol=1e-7)
        np.testing.assert_allclose(score, score.T, atol=1e-12)
        np.testing.assert_allclose(np.diag(score), 1 if METHODS[method].kind == "score" else 0, atol=1e-6)


@pytest.mark.parametrize("method", TOKENS)
def test_tokens_reproduce_compare(stacks, method):
    a, b = stacks
    np.testing.assert_allclose(tokens(a, method) @ tokens(b, method).T, compare(a, b, method), atol=1e-12)
    np.testing.assert_allclose((tokens(a, method) ** 2).sum(1), 1, atol=1e-12)


@pytest.mark.parametrize("method", ["cosine_cov", "corr_cov"])
def test_tokens_with_sigma(stacks, rng, method):
    a, b = stacks
    sigma = np.cov(rng.standard_normal((12, 30)))
    np.testing.assert_allclose(
        tokens(a, method, sigma) @ tokens(b, method, sigma).T, compare(a, b, method, sigma), atol=1e-12
    )


@pytest.mark.parametrize("method", METHODS)
def test_order_of_stimuli_does_not_matter(stacks, rng, method):
    a, b = stacks
    order = rng.permutation(12)
    shuffled = [np.stack([squareform(squareform(z)[np.ix_(order, order)]) for z in s]) for s in (a, b)]
    if method == "neg_riem_dist":
        return
    np.testing.assert_allclose(compare(*shuffled, method), compare(a, b, method), atol=1e-7)


def test_rank_methods_ignore_monotone_changes(stacks):
    a, b = stacks
    for method in ("spearman", "rho-a", "tau-a", "tau-b"):
        np.testing.assert_allclose(compare(np.exp(a / 10), b, method), compare(a, b, method), atol=1e-12)


def test_corr_methods_ignore_constants(stacks):
    a, b = stacks
    for method in ("corr", "corr_cov"):
        np.testing.assert_allclose(compare(3 * a + 7, b, method), compare(a, b, method), atol=1e-10)


def test_scores_stay_in_their_limits(stacks):
    for method, entry in METHODS.items():
        if method == "neg_riem_dist":
            continue
        score = compare(*stacks, method)
        assert score.min() >= entry.limits[0] - 1e-12
        assert score.max() <= entry.limits[1] + 1e-12


ENTRIES = st.one_of(st.floats(0, 10, width=16), st.sampled_from([0.0, 1.0, np.nan]))


@given(arrays(float, (2, 15), elements=ENTRIES), arrays(float, (1, 15), elements=ENTRIES))
def test_any_input_gives_symmetric_scores_in_limits(a, b):
    """Ties, zeros, unknown pairs in any number: never an error, never outside the limits."""
    for method, entry in METHODS.items():
        if method == "neg_riem_dist":
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            there, back = compare(a, b, method), compare(b, a, method)
        np.testing.assert_allclose(there, back.T, atol=1e-7)
        known = there[np.isfinite(there)]
        assert not np.isinf(there).any()
        assert (known >= entry.limits[0] - 1e-9).all()
        assert (known <= entry.limits[1] + 1e-9).all()


# Names, prepared stacks, forms of input


def test_conditions_are_matched_by_name(stacks, rng):
    names = [f"image {i}" for i in range(12)]
    a, b = RDMs(stacks[0], names), RDMs(stacks[1], names)
    shuffled = b.select(conditions=list(rng.permutation(names)))
    for method in ("cosine", "tau-a", "cosine_cov", "bures"):
        np.testing.assert_allclose(compare(a, shuffled, method), compare(a, b, method), atol=1e-10)
    np.testing.assert_allclose(compare(prepare(a, "spearman"), shuffled, "spearman"), compare(a, b, "spearman"))
    np.testing.assert_allclose(compare(shuffled, prepare(a, "spearman"), "spearman"), compare(b, a, "spearman"))


def test_other_names_are_refused(stacks):
    a = RDMs(stacks[0], [f"a{i}" for i in range(12)])
    b = RDMs(stacks[1], [f"b{i}" for i in range(12)])
    with pytest.raises(ShapeMismatch, match="same conditions"):
        compare(a, b)
    with pytest.raises(ShapeMismatch):
        compare(prepare(a), b)


def test_square_and_condensed_are_the_same(stacks):
    a, b = stacks
    square = np.stack([squareform(z) for z in a])
    np.testing.assert_allclose(compare(square, b, "corr"), compare(a, b, "corr"), atol=1e-14)
    assert compare(a[0], b[0]).shape == (1, 1)


def test_prepared_stacks(stacks, rng):
    a, b = stacks
    for method in TOKENS:
        ready = prepare(a, method)
        np.testing.assert_allclose(compare(ready, b, method), compare(a, b, method), atol=1e-12)
        np.testing.assert_allclose(compare(ready, method=method), compare(a, method=method), atol=1e-12)
    sigma = rng.uniform(0.5, 2, 12)
    ready = prepare(a, "cosine_cov", sigma)
    np.testing.assert_allclose(compare(ready, b, "cosine_cov"), compare(a, b, "cosine_cov", sigma), atol=1e-12)
    with pytest.raises(ValueError, match="prepared for method"):
        compare(ready, b, "corr")
    with pytest.raises(ValueError, match="another sigma_k"):
        compare(ready, b, "cosine_cov", 2 * sigma)
    with pytest.raises(ShapeMismatch, match="cannot be compared"):
        compare(prepare(a), np.ones((1, 10)))


def test_float32_input_is_accumulated_in_float64(stacks):
    a, b = (z.astype(np.float32) + np.float32(300) for z in stacks)
    for method in ("cosine", "corr", "cosine_cov", "corr_cov", "cka"):
        score = compare(a, b, method)
        assert score.dtype == np.float64
        np.testing.assert_allclose(score, compare(a.astype(float), b.astype(float), method), atol=1e-9)


def test_inputs_are_not_written_to(stacks):
    a, b = stacks
    before = a.copy(), b.copy()
    for method in METHODS:
        compare(a, b, method)
    np.testing.assert_array_equal(a, before[0])
    np.testing.assert_array_equal(b, before[1])


# Zero norm, unknown pairs


@pytest.mark.parametrize("method", [m for m in METHODS if METHODS[m].kind == "score" and m != "neg_riem_dist"])
def test_zero_norm_scores_zero(stacks, method):
    a = np.stack([stacks[0][0], np.zeros(66)])
    score = compare(a, stacks[1], method)
    assert (score[1] == 0).all()
    assert np.isfinite(score).all()


@pytest.mark.parametrize("method", ["corr", "spearman", "rho-a", "tau-a", "tau-b", "corr_cov", "cka"])
@pytest.mark.parametrize("level", [0.1, 1 / 3, 1e6])
def test_constant_rdms_score_zero(stacks, method, level):
    assert (compare(np.full((1, 66), level), stacks[1], method) == 0).all()


@pytest.mark.parametrize("method", ["cosine", "corr", "spearman", "rho-a", "tau-a", "tau-b"])
def test_unknown_pairs_are_left_out_per_comparison(stacks, rng, method):
    a, b = (z.copy() for z in stacks)
    a[1, rng.choice(66, 20, replace=False)] = np.nan
    b[2, rng.choice(66, 15, replace=False)] = np.nan
    score = compare(a, b, method)
    for i in range(3):
        for j in range(4):
            known = ~np.isnan(a[i]) & ~np.isnan(b[j])
            expected = _direct(a[i, known], b[j, known], method)
            assert score[i, j] == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("method", [m for m in METHODS if m != "neg_riem_dist"])
def test_missing_stimuli_equal_a_smaller_rdm(stacks, method):
    a, b = stacks
    square = np.stack([squareform(z) for z in a])
    square[:, [2, 7]] = square[:, :, [2, 7]] = np.nan
    square[:, [2, 7], [2, 7]] = 0
    keep = [k for k in range(12) if k not in (2, 7)]
    smaller = [np.stack([squareform(squareform(z)[np.ix_(keep, keep)]) for z in s]) for s in (a, b)]
    np.testing.assert_allclose(compare(square, b, method), compare(*smaller, method), atol=1e-9)


def test_too_few_stimuli_give_nan_and_one_warning(stacks):
    a = stacks[0].copy()
    a[1, 1:] = np.nan
    for method in METHODS:
        if method == "neg_riem_dist":
            continue
        with pytest.warns(UserWarning, match="4 of 12 comparisons") as record:
            score = compare(a, stacks[1], method)
        assert len(record) == 1
        np.testing.assert_array_equal(np.isnan(score).all(1), [False, True, False])


def test_two_conditions_cannot_be_compared():
    with pytest.warns(UserWarning, match="1 of 1"):
        assert np.isnan(compare([[1.0]], [[2.0]])).all()


def test_debiased_needs_four_conditions(stacks):
    with pytest.warns(UserWarning, match="fewer than 4"):
        assert np.isnan(compare([[1.0, 2, 3]], [[2.0, 2, 1]], "cka")).all()
    assert np.isfinite(compare(stacks[0][:, :6], stacks[1][:, :6], "cka")).all()


def test_tokens_of_nothing_are_nothing(stacks):
    for method in TOKENS:
        assert (tokens(np.zeros((1, 66)), method) == 0).all()
    for method in ("corr", "spearman", "rho-a", "corr_cov", "cka"):
        assert (tokens(np.full((1, 66), 0.1), method) == 0).all()
    assert (tokens(np.full((1, 66), 0.1), "corr_cov", np.arange(1.0, 13)) == 0).all()


def test_all_unknown():
    with pytest.warns(UserWarning, match="2 of 2"):
        assert np.isnan(compare(np.full((2, 3), np.nan), [[1.0, 2.0, 3.0]])).all()


# Tensors


@pytest.mark.parametrize("method", METHODS)
def test_tensors_agree_with_arrays(stacks, method):
    torch = pytest.importorskip("torch")
    if method == "neg_riem_dist":
        return
    a, b = (z.round(1) for z in stacks)
    expected = compare(a, b, method)
    score = compare(torch.tensor(a), torch.tensor(b), method)
    assert score.dtype == torch.float64
    np.testing.assert_allclose(score.numpy(), expected, atol=1e-10)
    mixed = compare(torch.tensor(a), b, method)
    np.testing.assert_allclose(mixed.numpy(), expected, atol=1e-10)
    assert compare(torch.tensor(a).float(), torch.tensor(b).float(), method).dtype == torch.float32
    a[1, 5:30] = np.nan
    np.testing.assert_allclose(
        compare(torch.tensor(a), torch.tensor(b), method).numpy(), compare(a, b, method), atol=1e-9
    )


@pytest.mark.parametrize("method", ["cosine", "corr", "cosine_cov", "corr_cov", "cka", "cka_lange", "bures"])
def test_gradients(rng, method):
    torch = pytest.importorskip("torch")
    x = torch.tensor(np.stack([pdist(rng.standard_normal((6, 9)), "sqeuclidean") for _ in range(2)]))
    y = torch.tensor(np.stack([pdist(rng.standard_normal((6, 9)), "sqeuclidean") for _ in range(2)]))
    assert torch.autograd.gradcheck(lambda z: compare(z, y, method), x.requires_grad_())


# Bad input


def test_bad_input(stacks):
    a, b = stacks
    with pytest.raises(ValueError, match="method must be 'cosine'"):
        compare(a, b, "pearson")
    with pytest.raises(ShapeMismatch, match="12 and of 5"):
        compare(a, np.ones((1, 10)))
    with pytest.raises(ValueError, match="no use for sigma_k"):
        compare(a, b, "corr", np.ones(12))
    with pytest.raises(ShapeMismatch, match=r"sigma_k must be \(12,\)"):
        compare(a, b, "cosine_cov", np.ones(5))
    with pytest.raises(ValueError, match="positive"):
        compare(a, b, "cosine_cov", -np.ones(12))
    with pytest.raises(ValueError, match="symmetric"):
        compare(a, b, "cosine_cov", np.triu(np.ones((12, 12))))
    with pytest.raises(ValueError, match="positive definite"):
        compare(a, b, "cosine_cov", np.ones((12, 12)) - 2 * np.eye(12))
    with pytest.raises(ValueError, match="NaN or infinite"):
        compare(a, b, "cosine_cov", np.full(12, np.nan))
    with pytest.raises(ValueError, match="without NaN"):
        tokens(np.full((1, 3), np.nan))
    with pytest.raises(ValueError, match="method must be"):
        tokens(a, "tau-a")


def _direct(x, y, method):
    if method == "cosine":
        return x @ y / np.sqrt(x @ x * (y @ y))
    if method == "corr":
        return stats.pearsonr(x, y)[0]
    if method == "spearman":
        return stats.spearmanr(x, y)[0]
    if method == "tau-b":
        return stats.kendalltau(x, y)[0]
    sign = np.sign(x[:, None] - x) * np.sign(y[:, None] - y)
    if method == "tau-a":
        return sign.sum() / (len(x) * (len(x) - 1))
    ranks = [stats.rankdata(z) - (len(x) + 1) / 2 for z in (x, y)]
    return 12 * ranks[0] @ ranks[1] / (len(x) ** 3 - len(x))
