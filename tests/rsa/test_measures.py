"""Every measure in the table keeps what its entry promises."""

import numpy as np
import pytest

from neuro.errors import ShapeMismatch
from neuro.rsa.measures import CONVERSIONS, MEASURES, pairwise, similarity, to_distance, to_score

RTD = "rtd-distance"
TENSOR_FREE = {RTD, "knn-k=10-similarity=cosine-score", "knn-k=10-similarity=euclidean-score"}


@pytest.fixture(autouse=True)
def _ripser():
    pytest.importorskip("ripser")


@pytest.fixture
def pair(rng):
    x = rng.standard_normal((24, 6)) + 0.5
    return x, x[:, :4] @ rng.standard_normal((4, 6)) + 0.7 * rng.standard_normal((24, 6))


CHANGES = {
    "rotation": lambda x, g: x @ np.linalg.qr(g.standard_normal((6, 6)))[0],
    "scale": lambda x, g: 3.7 * x,
    "shift": lambda x, g: x + g.standard_normal(6),
    "permutation": lambda x, g: x[:, g.permutation(6)],
    "linear": lambda x, g: x @ (g.standard_normal((6, 6)) + 2 * np.eye(6)),
}


@pytest.mark.parametrize("name", MEASURES)
def test_promises(pair, rng, name):
    entry = MEASURES[name]
    x, y = pair
    value = entry(x, y)
    assert isinstance(value, float)
    assert entry.limits[0] - 1e-9 <= value <= entry.limits[1] + 1e-9
    assert name.endswith(entry.kind)
    assert entry.reference
    for change in entry.invariant:
        assert entry(CHANGES[change](x, rng), y) == pytest.approx(value, abs=2e-6), change
        assert entry(x, CHANGES[change](y, rng)) == pytest.approx(value, abs=2e-6), change
    order = rng.permutation(24)
    assert entry(x[order], y[order]) == pytest.approx(value, abs=1e-6)
    assert (entry(y, x) == pytest.approx(value, abs=1e-9)) is entry.symmetric
    best = entry(x, x)
    assert best == pytest.approx(0 if entry.kind == "distance" else 1, abs=1e-5)
    assert (value > best) if entry.kind == "distance" else (value < best)


@pytest.mark.parametrize("name", [n for n in MEASURES if n not in TENSOR_FREE])
def test_what_is_not_promised_is_seen(pair, rng, name):
    """A measure that is blind to more than its entry says would be described wrongly."""
    entry = MEASURES[name]
    if name == "svcca-variance=0.99-score":  # blind to linear maps that keep the truncation
        return
    x, y = pair
    for change in set(CHANGES) - entry.invariant - {"permutation"}:
        assert entry(CHANGES[change](x, rng), y) != pytest.approx(entry(x, y), abs=1e-6), change


@pytest.mark.parametrize("name", [n for n in MEASURES if MEASURES[n].metric])
def test_triangle_inequality(rng, name):
    for _ in range(20):
        d = pairwise([rng.standard_normal((8, 4)) for _ in range(3)], name)
        assert d[0, 2] <= d[0, 1] + d[1, 2] + 1e-9


@pytest.mark.parametrize("name", [n for n in MEASURES if n != RTD])
def test_tensors(pair, name):
    torch = pytest.importorskip("torch")
    value = float(MEASURES[name](*(torch.tensor(z) for z in pair)))
    assert value == pytest.approx(MEASURES[name](*pair), abs=1e-9)


def test_noise_is_not_alike(rng):
    """Which measures are about zero for unrelated representations, and which are not."""
    x, y = rng.standard_normal((2, 60, 400))
    near_zero = [
        "cka-kernel=linear-hsic=song-score",
        "distance_correlation-bias=corrected-score",
        "rsa-rdm=sqeuclidean-compare=corr-score",
        "rsa-rdm=correlation-compare=tau-a-score",
    ]
    for name in near_zero:
        assert abs(similarity(x, y, name)) < 0.1
    for name in ("cka-kernel=linear-hsic=gretton-score", "distance_correlation-bias=classical-score", "cca-mean-score"):
        assert similarity(x, y, name) > 0.8


def test_pairwise(pair):
    layers = {"conv1": pair[0], "conv2": pair[1], "fc": pair[0] + pair[1]}
    matrix = pairwise(layers)
    assert matrix.shape == (3, 3)
    assert matrix[0, 1] == matrix[1, 0] == similarity(*pair)
    lopsided = pairwise(layers, "pwcca-score")
    assert lopsided[0, 1] != lopsided[1, 0]


@pytest.mark.parametrize("how", CONVERSIONS)
def test_conversions_undo_each_other(how):
    scores = np.array([-1.0, -0.2, 0, 0.5, 1])
    np.testing.assert_allclose(to_score(to_distance(scores, how), how), scores, atol=1e-12)
    assert to_distance(1.0, how) == 0
    assert np.diff(to_distance(scores, how)).max() < 0


def test_conversions_of_tensors():
    torch = pytest.importorskip("torch")
    distance = to_distance(torch.tensor([0.5, 1.0]), "chord")
    np.testing.assert_allclose(distance.numpy(), [1, 0], atol=1e-6)


def test_bad_input(pair):
    with pytest.raises(ValueError, match="did you mean 'pwcca-score'"):
        similarity(*pair, "pwcca")
    with pytest.raises(ValueError, match="no measure"):
        pairwise(pair, "nothing")
    with pytest.raises(ValueError, match="how must be"):
        to_distance(0.5, "log")
    with pytest.raises(ValueError, match="a score lies from -1"):
        to_distance(1.2)
    with pytest.raises(ValueError, match="a distance lies from 0"):
        to_score(-0.1)
    with pytest.raises(ValueError, match="pattern is constant"):
        similarity(np.ones((24, 3)), pair[1], "rsa-rdm=correlation-compare=corr-score")
    for name in MEASURES:
        with pytest.raises(ShapeMismatch):
            similarity(pair[0], pair[1][1:], name)
