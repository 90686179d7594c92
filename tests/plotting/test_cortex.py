import numpy as np
import pytest

from neuro.data import Surface, Volume, Voxels
from neuro.errors import SpaceMismatch
from neuro.plotting import is_mni_like, load_fsaverage5, to_fsaverage5
from neuro.plotting.cortex import sample_depths


def moved(voxels, shift):
    g = voxels.geometry
    affine = g.affine.copy()
    affine[:3, 3] += shift
    return Voxels(len(voxels), Volume(g.shape, affine, g.ijk))


def test_a_vertex_takes_the_value_of_where_it_lies(cortex):
    """Values that are the y coordinate come back as each vertex's y, to within a voxel."""
    sides = to_fsaverage5(cortex, cortex.geometry.xyz[:, 1])
    for hemi, values in zip(load_fsaverage5(), sides, strict=True):
        known = np.isfinite(values)
        assert known.mean() > 0.25
        assert np.abs(values[known] - hemi.at_depth(0.5)[known, 1]).max() < 5.0
        assert not known[hemi.at_depth(0.5)[:, 1] > -30].any()


def test_nothing_outside_the_voxels_dilutes_the_values(cortex):
    for values in to_fsaverage5(cortex, np.full(len(cortex), 7.0)):
        assert set(np.unique(values[np.isfinite(values)])) == {7.0}


def test_a_full_volume_samples_as_nilearn_does(rng):
    import nibabel as nib
    from nilearn.datasets import fetch_surf_fsaverage
    from nilearn.surface import vol_to_surf

    affine = np.diag([4.0, 4.0, 4.0, 1.0])
    affine[:3, 3] = -90, -126, -72
    grid = rng.random((45, 54, 45)).astype(np.float32)
    mesh = fetch_surf_fsaverage("fsaverage5")
    theirs = vol_to_surf(
        nib.Nifti1Image(grid, affine),
        mesh["pial_left"],
        inner_mesh=mesh["white_left"],
        interpolation="nearest_most_frequent",
        depth=[0.5],
    )
    ours = sample_depths(grid, affine, load_fsaverage5()[0], [0.5])
    assert np.mean(np.isclose(ours, theirs, atol=1e-6)) > 0.99  # ties at voxel borders may fall either way


def test_space_is_told_by_where_the_voxels_lie(cortex):
    assert is_mni_like(cortex.geometry)
    assert not is_mni_like(moved(cortex, [0, 40.0, 25.0]).geometry)
    whole_brain = np.argwhere(np.ones((30, 36, 28), bool))
    affine = np.diag([5.0, 5.0, 5.0, 1.0])
    affine[:3, 3] = -75, -110, -60
    assert is_mni_like(Volume((30, 36, 28), affine, whole_brain))


def test_a_volume_elsewhere_is_refused_unless_the_check_is_waived(cortex):
    away = moved(cortex, [0, 40.0, 25.0])
    with pytest.raises(SpaceMismatch, match="own space"):
        to_fsaverage5(away, np.zeros(len(away)))
    assert to_fsaverage5(away, np.zeros(len(away)), check=False)[0].shape == (10242,)


def test_channels_without_a_position_say_so():
    with pytest.raises(SpaceMismatch, match="no position"):
        to_fsaverage5(Voxels(3), np.zeros(3))


@pytest.mark.parametrize("size", [10242, 163842])
def test_fsaverage_meshes_come_back_at_their_vertices(size, rng):
    vertex = np.array([0, 5, 10241, 3])
    voxels = Voxels(4, Surface("fsaverage", (size, size), np.array(["L", "L", "R", "R"]), vertex))
    values = rng.random(4)
    left, right = to_fsaverage5(voxels, values)
    np.testing.assert_array_equal(np.concatenate([left[[0, 5]], right[[10241, 3]]]), values)
    assert np.isfinite(left).sum() == np.isfinite(right).sum() == 2


def test_a_subjects_own_mesh_is_refused():
    own = Voxels(1, Surface("nativesurface", (5, 6), np.array(["L"]), np.array([0])))
    with pytest.raises(SpaceMismatch, match="not fsaverage"):
        to_fsaverage5(own, np.zeros(1))


@pytest.mark.real
def test_fsaverage_contains_fsaverage5_as_its_first_vertices(real_data):
    """Eccentricity on the first 10,242 fsaverage vertices is smooth over the edges of the fsaverage5 mesh."""
    import nibabel as nib

    image = nib.load(real_data / "fsaverage_visual_atlases" / "lh.benson14_eccen.v4_0.mgz")
    values = np.asarray(image.dataobj).squeeze()[:10242]
    faces = load_fsaverage5()[0].faces
    edges = np.vstack([faces[:, [0, 1]], faces[:, [1, 2]]])
    both = (values[edges] > 0).all(axis=1)
    assert np.corrcoef(values[edges[both]].T)[0, 1] > 0.85
    shuffled = np.random.default_rng(0).permutation(values[edges[both]][:, 1])
    assert abs(np.corrcoef(values[edges[both]][:, 0], shuffled)[0, 1]) < 0.1
