"""Random projections keep distances and never change; principal components are exact and know their images."""

import hashlib
import pickle

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA as SklearnPCA

from neuro.errors import CorruptFile, ShapeMismatch
from neuro.features.projection import PCA, SparseProjection, fit_pca


def test_projection_is_the_product_with_its_matrix(rng):
    x = rng.normal(size=(7, 3, 20, 10)).astype(np.float32)
    project = SparseProjection(64, seed=3)
    expected = x.reshape(7, -1) @ project.matrix(600).T
    np.testing.assert_allclose(project.apply(torch.from_numpy(x)), expected, rtol=1e-4, atol=1e-4)


def test_every_input_is_added_to_four_outputs_with_unit_length():
    matrix = SparseProjection(32).matrix(100).toarray()
    assert ((matrix != 0).sum(0) == 4).all()
    np.testing.assert_allclose((matrix**2).sum(0), 1, rtol=1e-6)
    # Half the signs are positive, up to six binomial standard deviations.
    assert abs((matrix > 0).sum() - 200) < 60


def test_the_matrix_never_changes_between_versions_and_machines():
    matrix = SparseProjection(64, seed=7).matrix(1000)
    digest = hashlib.sha256()
    for part in (matrix.indptr.astype("<i8"), matrix.indices.astype("<i8"), matrix.data.astype("<f4")):
        digest.update(part.tobytes())
    assert digest.hexdigest()[:16] == "7889e9265d6e8eb3"


def test_seed_and_sizes_give_different_matrices():
    base = SparseProjection(64).matrix(1000).toarray()
    assert not np.array_equal(base, SparseProjection(64, seed=1).matrix(1000).toarray())
    assert not np.array_equal(base[:, :999], SparseProjection(64).matrix(999).toarray())


def test_distances_survive_as_johnson_and_lindenstrauss_say(rng):
    x = rng.normal(size=(30, 5000)).astype(np.float32)
    x *= rng.gamma(0.3, size=5000).astype(np.float32)  # a few loud features, as in networks
    k = 1024
    y = SparseProjection(k).apply(torch.from_numpy(x)).numpy()
    i, j = np.triu_indices(30, 1)
    ratio = ((y[i] - y[j]) ** 2).sum(1) / ((x[i] - x[j]) ** 2).sum(1)
    assert abs(ratio.mean() - 1) < 4 * np.sqrt(2 / k)
    assert ratio.std() < 1.5 * np.sqrt(2 / k)


def test_small_inputs_pass_unchanged(rng):
    x = torch.from_numpy(rng.normal(size=(3, 4, 5)).astype(np.float32))
    project = SparseProjection(32)
    assert torch.equal(project.apply(x), x.flatten(1))
    assert project.describe(20) is None
    assert project.out_dim(20) == 20


def test_half_precision_inputs_are_summed_in_float32(rng):
    x = torch.full((1, 70_000), 10.0, dtype=torch.float16)
    assert torch.isfinite(SparseProjection(8).apply(x)).all()


@pytest.mark.parametrize("n", [4, 30.5, True])
def test_bad_dimensions_are_refused(n):
    with pytest.raises(ValueError, match="project must be"):
        SparseProjection(n)


@pytest.mark.parametrize("shape", [(60, 20), (20, 60)])
def test_pca_is_sklearns(shape, rng):
    X = rng.normal(size=shape) @ np.diag(np.linspace(3, 0.5, shape[1])) + 5
    ours, theirs = fit_pca(X, 6), SklearnPCA(6, svd_solver="full").fit(X)
    sign = np.sign((ours.components * theirs.components_).sum(1))[:, None]
    np.testing.assert_allclose(ours.components, sign * theirs.components_, atol=1e-5)
    np.testing.assert_allclose(ours.variance, theirs.explained_variance_, rtol=1e-6)
    np.testing.assert_allclose(ours.explained, theirs.explained_variance_ratio_, rtol=1e-6)
    fresh = rng.normal(size=(5, shape[1]))
    np.testing.assert_allclose(ours.transform(fresh), theirs.transform(fresh) * sign.T, atol=1e-4)
    np.testing.assert_allclose(ours.apply(torch.from_numpy(fresh)), ours.transform(fresh), atol=1e-4)


def test_chunked_pca_is_pca_at_once(rng):
    X = rng.normal(size=(50, 12))
    np.testing.assert_allclose(fit_pca(X, 3, chunk=7).components, fit_pca(X, 3).components, atol=1e-6)


def test_pca_remembers_its_images_through_a_file(tmp_path, rng):
    X = rng.normal(size=(10, 8)).astype(np.float32)
    pca = fit_pca(X, 3, ids=[f"im{i}" for i in range(10)])
    pca.save(tmp_path / "pca.npz")
    again = PCA.load(tmp_path / "pca.npz")
    assert again.fit_ids.tolist() == [f"im{i}" for i in range(10)]
    assert again.describe(8) == pca.describe(8)
    np.testing.assert_array_equal(again.transform(X), pca.transform(X))
    assert fit_pca(X, 3).describe(8) != pca.describe(8)


def test_a_pickled_pca_is_refused(tmp_path):
    (tmp_path / "pca.npz").write_bytes(pickle.dumps({"mean": 1}))
    with pytest.raises(CorruptFile, match="not a PCA"):
        PCA.load(tmp_path / "pca.npz")


def test_impossible_pcas_say_why(rng):
    with pytest.raises(ValueError, match=r"min\(n_images - 1, n_features\) = 4"):
        fit_pca(rng.normal(size=(5, 9)), 5)
    with pytest.raises(ShapeMismatch, match="3 ids for 5 rows"):
        fit_pca(rng.normal(size=(5, 9)), 2, ids=[1, 2, 3])
    with pytest.raises(ShapeMismatch, match="fitted on 9 features"):
        fit_pca(rng.normal(size=(5, 9)), 2).transform(np.zeros((1, 8)))
