import numpy as np
import pytest
from scipy.spatial.distance import pdist, squareform

from neuro.errors import ShapeMismatch
from neuro.rsa.adaptive import STATISTICS, agtdm, threshold_distances
from neuro.rsa.container import RDMs

torch = pytest.importorskip("torch")


def dcor_by_loops(a, b):
    def double_centre(m):
        out = np.empty_like(m)
        for i in range(len(m)):
            for j in range(len(m)):
                out[i, j] = m[i, j] - m[i].mean() - m[:, j].mean() + m.mean()
        return out

    a, b = double_centre(a), double_centre(b)
    size = (a * a).sum() * (b * b).sum()
    return np.sqrt(abs((a * b).sum() / np.sqrt(size))) if size > 1e-20 else 0.0


def pair(rng, n=15, dependent=True):
    x = rng.standard_normal((n, 2))
    return pdist(x), pdist(x[:, :1] ** 2 + 0.1 * rng.standard_normal((n, 1)) if dependent else rng.random((n, 2)))


@pytest.mark.parametrize("middle", ["keep", "rescale", "stretch"])
@pytest.mark.parametrize("thresholds", ["quantile", "fraction"])
def test_cells_by_loops(rng, thresholds, middle):
    x, y = pair(rng, 12)
    result = agtdm(x, y, thresholds=thresholds, middle=middle, levels=4, n_permutations=0, rng=0)
    assert result.cells["dcor"].shape == (6, 6)
    a, b = squareform(x), squareform(y)
    cut = {"quantile": np.quantile, "fraction": lambda m, q: q * m.max()}[thresholds]
    for i, (lx, ux) in enumerate(result.thresholds):
        for j, (ly, uy) in enumerate(result.thresholds):
            ta = by_definition(a, cut(a, lx), cut(a, ux), middle)
            tb = by_definition(b, cut(b, ly), cut(b, uy), middle)
            assert result.cells["dcor"][i, j] == pytest.approx(dcor_by_loops(ta, tb), abs=1e-10)


def by_definition(a, low, high, middle):
    out = np.empty_like(a)
    for index, value in np.ndenumerate(a):
        if value <= low:
            out[index] = 0
        elif value >= high:
            out[index] = a.max()
        elif middle == "keep":
            out[index] = value
        else:
            out[index] = (high if middle == "rescale" else a.max()) * (value - low) / (high - low)
    return out


def test_each_side_uses_its_own_span(rng):
    """Thresholding y in another unit leaves every cell as it was."""
    x, y = pair(rng)
    for middle in ("keep", "rescale", "stretch"):
        one = agtdm(x, y, middle=middle, n_permutations=0, rng=0).cells["dcor"]
        other = agtdm(x, 1000 * y, middle=middle, n_permutations=0, rng=0).cells["dcor"]
        np.testing.assert_allclose(one, other, atol=1e-10)


def test_eight_levels_make_28_thresholds_a_side(rng):
    result = agtdm(*pair(rng), n_permutations=0, rng=0)
    assert result.cells["inflation"].shape == (28, 28)
    assert all(np.isnan(p) for p in result.p.values())


def test_inflation_and_normalised_by_explicit_permutations(rng):
    x, y = pair(rng)
    result = agtdm(x, y, levels=3, n_reference=20, n_permutations=0, rng=5)
    order_rng, square = np.random.default_rng(5), squareform(y)
    reference = []
    for _ in range(20):
        order = order_rng.permutation(15)
        moved = squareform(square[np.ix_(order, order)])
        reference.append(agtdm(x, moved, levels=3, n_permutations=0, rng=0).cells["dcor"])
    reference = np.stack(reference)
    mean = reference.mean(0)
    inflation = result.cells["dcor"] / mean
    np.testing.assert_allclose(result.cells["inflation"], inflation, atol=1e-10)
    sd = np.maximum((reference / mean).std(0, ddof=1), 1e-5)
    np.testing.assert_allclose(result.cells["normalised"], 1 + (inflation - 1) / sd, atol=1e-8)
    for name in STATISTICS:
        assert result.maximum[name] == result.cells[name].max()


def test_p_redoes_the_maximisation(rng):
    x, y = pair(rng)
    result = agtdm(x, y, levels=3, n_reference=5, n_permutations=19, rng=5)
    order_rng, square, count = np.random.default_rng(5), squareform(y), 0
    orders = [order_rng.permutation(15) for _ in range(24)]
    for order in orders[5:]:
        moved = squareform(square[np.ix_(order, order)])
        count += agtdm(x, moved, levels=3, n_permutations=0, rng=0).maximum["dcor"] >= result.maximum["dcor"]
    assert result.p["dcor"] == (1 + count) / 20


def test_dependence_without_correlation_is_found(rng):
    x, y = pair(rng, 40)
    result = agtdm(x, y, n_permutations=99, rng=0)
    assert result.p["dcor"] <= 0.02
    assert result.p["normalised"] <= 0.02
    frame = result.to_frame()
    assert list(frame["statistic"]) == list(STATISTICS)
    assert (frame["l_x"] < frame["u_x"]).all()


def test_false_positives_stay_at_their_rate():
    """Independent data: p <= 0.1 in about a tenth of 120 data sets (99.9% binomial bound: 23)."""
    hits = dict.fromkeys(STATISTICS, 0)
    for seed in range(120):
        rng = np.random.default_rng(seed)
        x, y = pair(rng, 12, dependent=False)
        result = agtdm(x, y, levels=5, n_reference=10, n_permutations=19, rng=rng)
        for name in STATISTICS:
            hits[name] += result.p[name] <= 0.1
    assert all(2 <= count <= 23 for count in hits.values()), hits


def test_an_rdm_with_itself_has_dcor_1(rng):
    x, _ = pair(rng)
    result = agtdm(x, x, n_permutations=19, rng=0)
    assert result.maximum["dcor"] == pytest.approx(1)
    np.testing.assert_allclose(np.diagonal(result.cells["dcor"])[-1], 1)


def test_conditions_are_matched_by_name(rng):
    x, y = pair(rng, 10)
    a, b = RDMs(x, conditions=list("abcdefghij")), RDMs(y, conditions=list("abcdefghij"))
    moved = b.select(conditions=list("jihgfedcba"))
    assert agtdm(a, moved, n_permutations=9, rng=0).maximum == agtdm(a, b, n_permutations=9, rng=0).maximum


def test_tensors_give_what_arrays_give(rng):
    x, y = pair(rng)
    one = agtdm(x, y, n_permutations=19, rng=0)
    other = agtdm(torch.tensor(x), torch.tensor(y), n_permutations=19, rng=0)
    for name in STATISTICS:
        np.testing.assert_allclose(other.cells[name], one.cells[name], atol=1e-7)
    assert other.p == one.p


def test_ties_at_both_thresholds_make_a_step():
    a = np.array([[0.0, 1.0, 1.0], [1.0, 0.0, 2.0], [1.0, 2.0, 0.0]])
    np.testing.assert_array_equal(threshold_distances(a, 1.0, 1.0, "stretch"), 2.0 * (a > 1))


def test_bad_input(rng):
    x, y = pair(rng)
    with pytest.raises(ValueError, match="negative dissimilarities"):
        agtdm(x, y - 1)
    with pytest.raises(ValueError, match="x has NaN"):
        agtdm(np.where(np.arange(105) == 3, np.nan, x), y)
    with pytest.raises(ShapeMismatch, match="one RDM, got 2"):
        agtdm(x, np.stack([y, y]))
    with pytest.raises(ShapeMismatch):
        agtdm(x, y[:45])
    with pytest.raises(ValueError, match="middle must be"):
        agtdm(x, y, middle="linear")
    with pytest.raises(ValueError, match="levels must be"):
        agtdm(x, y, levels=1)
