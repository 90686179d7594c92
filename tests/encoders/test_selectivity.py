"""Text queries of voxels: the equation, words that only a text tower knows, and input that cannot be compared.

How well words find planted regions of a phantom is tested beside the network that ships (``test_in_context_phantom``).
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.exceptions import NotFittedError

from neuro.encoders import Ridge
from neuro.encoders.selectivity import text_selectivity
from neuro.errors import ShapeMismatch
from neuro.features import TextExtractor

E, V = 6, 9


def unit(X):
    return X / np.linalg.norm(X, axis=-1, keepdims=True)


@pytest.fixture(scope="module")
def images():
    rng = np.random.default_rng(0)
    return unit(rng.standard_normal((80, E)) * [1, 1, 1, 0.5, 0.2, 0.1] + [2, 0, 0, 0, 0, 0])


@pytest.fixture(scope="module")
def encoder(images):
    rng = np.random.default_rng(1)
    return Ridge(1e-2).fit(images, images @ rng.standard_normal((E, V)) + 0.1 * rng.standard_normal((80, V)))


@pytest.fixture(scope="module")
def texts():
    rng = np.random.default_rng(2)
    return {name: unit(rng.standard_normal((n, E))) for name, n in (("cat", 3), ("car", 1), ("cake", 2))}


def test_the_map_is_the_equation(encoder, images, texts):
    means = unit(np.stack([t.mean(0) for t in texts.values()]))
    others = np.stack([np.delete(means, k, 0).mean(0) for k in range(3)])
    direction, C = means - others, np.cov(images.T)
    pattern = encoder.coef_ @ C

    found = text_selectivity(encoder, texts, images=images)
    np.testing.assert_allclose(found.values, unit(pattern) @ unit(direction).T, atol=1e-12)
    np.testing.assert_allclose(found.z.mean(0), 0, atol=1e-12)
    np.testing.assert_allclose(found.z.std(0), 1, atol=1e-12)
    np.testing.assert_allclose(found.directions, direction, atol=1e-12)
    assert found.preferred.tolist() == np.array(list(texts))[found.z.argmax(1)].tolist()

    cosine = text_selectivity(encoder, texts, kind="cosine")
    np.testing.assert_allclose(cosine.values, unit(encoder.coef_) @ unit(direction).T, atol=1e-12)
    response = text_selectivity(encoder, texts, kind="response")
    expected = encoder.predict(means) - encoder.predict(others)  # intercepts cancel
    np.testing.assert_allclose(response.values, expected.T, atol=1e-12)


def test_contrasts(encoder, texts):
    neutral = unit(np.arange(2.0 * E).reshape(2, E))
    none = text_selectivity(encoder, texts, kind="response", neutral=None)
    some = text_selectivity(encoder, texts, kind="response", neutral=neutral)
    shift = encoder.coef_ @ neutral.mean(0)
    np.testing.assert_allclose(none.values - some.values, np.tile(shift[:, None], 3), atol=1e-12)
    assert (none.neutral, some.neutral) == ("nothing", "2 embeddings")


def test_patterns_do_not_follow_gains_of_features(images, texts):
    """The weights of a difference of two correlated axes need the noise of the one to read the other."""
    rng = np.random.default_rng(3)
    shared = rng.standard_normal((400, 1))
    X = unit(np.hstack([shared, shared + 0.3 * rng.standard_normal((400, 1)), np.full((400, 1), 6.0)]))
    y = X[:, 1] - X[:, 0]  # the weight of axis 0 is -1, but images that drive the voxel lie along axis 1
    encoder = Ridge(1e-6).fit(X, y)
    ask = {"axis 0": np.eye(3)[0], "axis 1": np.eye(3)[1]}
    weights = text_selectivity(encoder, ask, kind="cosine", neutral=None).values[0]
    pattern = text_selectivity(encoder, ask, images=X, neutral=None).values[0]
    assert weights == pytest.approx([-(0.5**0.5), 0.5**0.5], abs=1e-3)
    assert pattern[1] > 0.9
    assert abs(pattern[0]) < 0.4


def test_frames_tensors_and_voxels_without_weights(encoder, images, texts):
    found = text_selectivity(encoder, {k: torch.from_numpy(v) for k, v in texts.items()}, images=torch.tensor(images))
    np.testing.assert_allclose(found.values, text_selectivity(encoder, texts, images=images).values, atol=1e-12)
    table = found.to_frame()
    assert table.shape == (3 * V, 4)
    assert table.loc[(table.voxel == 4) & (table.name == "car"), "z"].item() == found.z[4, 1]

    silent = Ridge().fit(images, np.column_stack([np.zeros(80), images[:, 1], images[:, 2]]))
    found = text_selectivity(silent, texts, images=images)
    assert np.isnan(found.z[0]).all()
    assert found.preferred[0] == ""
    assert np.isfinite(found.z[1:]).all()


def test_sentences_go_through_the_text_tower():
    text = TextExtractor("phantom-clip", device="cpu")
    n = text.layer_specs(None)["output"]["shape"][0]
    rng = np.random.default_rng(4)
    images = unit(rng.standard_normal((50, n)))
    encoder = Ridge().fit(images, rng.standard_normal((50, 4)))
    found = text_selectivity(
        encoder, {"animal": ["a dog", "a cat"], "food": "a pizza"}, text_extractor=text, images=images
    )
    again = text_selectivity(encoder, ["a pizza"], text_extractor=text, images=images, neutral=["a dog", "a cat"])
    assert found.names == ("animal", "food")
    assert again.neutral == "a dog; a cat"
    assert np.corrcoef(found.values[:, 1], again.values[:, 0])[0, 1] > 0.99
    wrong = Ridge().fit(images[:, :5], rng.standard_normal((50, 4)))
    with pytest.raises(ShapeMismatch, match=r"must be \(n, 5\).*joint embedding of both towers"):
        text_selectivity(wrong, ["a pizza", "a dog"], text_extractor=text, kind="cosine")


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"images": "short"}, ValueError, r"images must hold embeddings of unit length; 80 of 80"),
        ({"images": None}, ValueError, "kind='pattern' needs images="),
        (
            {"texts": {"cat": np.ones((2, E))}},
            ValueError,
            r"texts\['cat'\] must hold embeddings of unit length; 2 of 2",
        ),
        ({"texts": {"cat": np.eye(5)}}, ShapeMismatch, r"texts\['cat'\] must be \(n, 6\)"),
        ({"images": np.eye(5)}, ShapeMismatch, r"images must be \(n, 6\)"),
        ({"texts": {"cat": np.full((1, E), np.nan)}}, ValueError, "unit length"),
        ({"texts": {"cat": np.eye(E)[:1]}}, ValueError, "at least two names"),
        ({"texts": {}}, ValueError, "at least one sentence, got none"),
        ({"texts": 3}, TypeError, "got int"),
        ({"texts": {"cat": []}}, ValueError, "at least one sentence"),
        ({"texts": ["a cat", "a car"]}, ValueError, "need text_extractor"),
        ({"texts": {"cat": np.stack([np.eye(E)[0], -np.eye(E)[0]])}}, ValueError, "cancel each other out"),
        ({"texts": {"a": np.eye(E)[:1], "b": np.eye(E)[:1]}}, ValueError, "nothing to contrast"),
        ({"kind": "angle"}, ValueError, "kind must be"),
        ({"neutral": 2 * np.eye(E)}, ValueError, "neutral must hold embeddings of unit length"),
    ],
)
def test_what_cannot_be_compared_is_refused(encoder, images, texts, changes, error, message):
    given = {"texts": texts, "images": images, **changes}
    if isinstance(given["images"], str):
        given["images"] = images / 2
    with pytest.raises(error, match=message):
        text_selectivity(encoder, given.pop("texts"), **given)


def test_unfitted_encoders_are_refused(texts):
    with pytest.raises(NotFittedError):
        text_selectivity(Ridge(), texts)
