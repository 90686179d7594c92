"""Components of several people: planted common ones, rotations, chance, and published encoders."""

from __future__ import annotations

import numpy as np
import pytest

from neuro.errors import ShapeMismatch
from neuro.stats import align_components, weight_pca


def test_people_with_the_same_dimensions_are_aligned(rng):
    directions = rng.standard_normal((3, 60))
    found, maps = {}, {}
    for k, scales in enumerate(([3, 2, 1], [1, 3, 2], [2, 1, 3])):
        maps[f"S{k}"] = rng.standard_normal((400, 3))
        W = (maps[f"S{k}"] * scales) @ np.linalg.qr(directions.T)[0].T * 4 + rng.standard_normal((400, 60))
        found[f"S{k}"] = weight_pca(W)
    assert [f.n_components for f in found.values()] == [3, 3, 3]
    aligned = align_components({k: f.components for k, f in found.items()}, "S1")
    assert (aligned.similarity > 0.95).all()
    np.testing.assert_allclose(aligned.similarity[1], 1)
    np.testing.assert_allclose(aligned.chance, 3 / 60)
    assert (aligned.overlap > 0.9).all()
    moved = found["S2"].projections @ aligned.transforms["S2"].T
    rebuilt = moved @ aligned.components[2]
    np.testing.assert_allclose(rebuilt, found["S2"].projections @ found["S2"].components, atol=1e-9)
    np.testing.assert_array_equal(np.abs(aligned.transforms["S0"]).sum(1), 1)


@pytest.mark.real
def test_published_encoders_of_three_people_share_their_first_dimensions(real_data, rng):
    """Ridge weights of BOLD5000 on 512 ResNet features, voxels of five areas; features out of order share nothing."""
    weights = np.load(real_data / "bold5000_resnet18_encoders" / "ridge_models.npz")
    areas = ("EarlyVis", "LOC", "OPA", "PPA", "RSC")
    people = {s: np.concatenate([weights[f"subj{s}_{area}_coef"] for area in areas]) for s in (1, 2, 3)}
    found = {s: weight_pca(W, keep=10) for s, W in people.items()}
    aligned = align_components({s: f.components for s, f in found.items()})
    assert (aligned.similarity[1:, :2] > 0.8).all()
    assert (aligned.overlap[1:] > 10 * aligned.chance[1:]).all()
    mixed = {1: found[1].components, 2: found[2].components[:, rng.permutation(512)]}
    assert align_components(mixed).overlap[1] < 2 * aligned.chance[1]
    # Published without their features, so not whitened, and voxels are smooth: the edge counts far too many.
    assert min(f.n_components for f in found.values()) > 200


def test_rotated_dimensions_are_one_subspace(rng):
    first = np.linalg.qr(rng.standard_normal((40, 4)))[0].T
    turned = np.linalg.qr(rng.standard_normal((4, 4)))[0] @ first
    matched = align_components({"a": first, "b": turned})
    rotated = align_components({"a": first, "b": turned}, method="rotate")
    assert matched.similarity[1].min() < 0.9
    np.testing.assert_allclose(rotated.similarity, 1)
    np.testing.assert_allclose(rotated.components[1], first, atol=1e-12)
    np.testing.assert_allclose([matched.overlap, rotated.overlap], 1)


def test_unrelated_dimensions_overlap_by_chance(rng):
    overlap = [
        align_components({"a": rng.standard_normal((3, 50)), "b": rng.standard_normal((5, 50))}).overlap[1]
        for _ in range(200)
    ]
    assert np.mean(overlap) == pytest.approx(5 / 50, abs=0.01)


def test_people_with_fewer_dimensions_leave_some_unmatched(rng):
    first = np.eye(3, 8)
    found = align_components({"a": first, "b": -first[[1]]})
    np.testing.assert_array_equal(found.similarity[1], [np.nan, 1, np.nan])
    np.testing.assert_array_equal(found.components[1, 0], 0)
    assert found.overlap[1] == pytest.approx(1)
    with pytest.raises(ShapeMismatch, match="at least 2 subjects"):
        align_components({"a": first})
    with pytest.raises(ShapeMismatch, match=r"got \(3, 7\) of 'b'"):
        align_components({"a": first, "b": first[:, :7]})
    with pytest.raises(ShapeMismatch, match=r"at least one.*got \(0, 8\)"):
        align_components({"a": first, "b": first[:0]})
    with pytest.raises(ValueError, match="linearly independent"):
        align_components({"a": first, "b": np.ones((2, 8))})
    with pytest.raises(ValueError, match="'a' or 'b', got 'c'"):
        align_components({"a": first, "b": first}, "c")
