"""Representation topology divergence."""

import numpy as np
import pytest
from scipy.spatial.distance import pdist

from neuro.errors import ShapeMismatch
from neuro.rsa.container import RDMs
from neuro.rsa.rtd import _divergence, rtd, rtd_of_rdms


@pytest.fixture(autouse=True)
def _ripser():
    pytest.importorskip("ripser")


def circle(n):
    t = 2 * np.pi * np.arange(n) / n
    return np.c_[np.cos(t), np.sin(t)]


def test_equal_representations(rng):
    x = rng.standard_normal((40, 5))
    assert rtd(x, x) == 0
    assert rtd(x, 3 * x @ np.linalg.qr(rng.standard_normal((5, 5)))[0] + 1) < 1e-5


def test_clusters_by_hand():
    """Divided by their quantiles, 0.1 against 1 for one pair, else equal: one cycle, which lives from 0.1 to 1."""
    d = np.array([[0, 1, 10.0], [1, 0, 10], [10, 10, 0]])
    e = np.array([[0, 1, 1.0], [1, 0, 1], [1, 1, 0]])
    assert _divergence(e, d) == pytest.approx(0.9, abs=1e-6)
    assert _divergence(d, e) == _divergence(d, d) == 0


def test_difference_in_topology_shows(rng):
    """A circle against itself with noise, and against a line with the same neighbours."""
    x = circle(40)
    near = rtd(x, x + 0.02 * rng.standard_normal(x.shape))
    far = rtd(x, np.c_[np.arange(40.0), np.zeros(40)])
    assert far > 4 * near


def test_more_clusters_apart_mean_more_divergence(rng):
    """The experiment of the paper: points that split into more and more clusters are ever farther from one cluster."""
    base = rng.standard_normal((60, 2))
    values = []
    for n in (1, 2, 4, 6):
        centres = 8 * circle(n) if n > 1 else np.zeros((1, 2))
        values.append(rtd(base, base + centres[np.arange(60) % n]))
    assert values == sorted(values)


def test_symmetric(rng):
    x, y = rng.standard_normal((2, 30, 4))
    assert rtd(x, y) == pytest.approx(rtd(y, x))
    assert rtd(x, y) > 0


def test_subsamples(rng):
    x, y = rng.standard_normal((2, 60, 4))
    first = rtd(x, y, n_stimuli=30, n_subsamples=3, rng=1)
    assert first == rtd(x, y, n_stimuli=30, n_subsamples=3, rng=1)
    assert first != rtd(x, y, n_stimuli=30, n_subsamples=3, rng=2)


def test_rdms_by_name(rng):
    x, y = rng.standard_normal((2, 20, 4))
    names = [f"s{i}" for i in range(20)]
    a, b = RDMs(pdist(x), names), RDMs(np.stack([pdist(y), pdist(x)]), names)
    values = rtd_of_rdms(a, b.select(conditions=names[::-1]))
    np.testing.assert_allclose(values, [[rtd(x, y), 0]], atol=1e-5)


def test_bad_input(rng):
    x = rng.standard_normal((20, 4))
    with pytest.raises(ValueError, match="at most 2,000"):
        rtd(x, x, n_stimuli=3000)
    with pytest.raises(ValueError, match="not negative"):
        rtd_of_rdms(np.array([[1.0, -1, 1]]), np.ones((1, 3)))
    with pytest.raises(ValueError, match="nothing to compare"):
        rtd(np.ones((20, 4)), x)
    with pytest.raises(ShapeMismatch, match="same stimuli"):
        rtd(x, x[1:])
