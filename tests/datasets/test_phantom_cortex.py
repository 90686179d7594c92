"""The phantom's brains: where regions lie, how subjects differ, how the grids fit."""

from __future__ import annotations

import numpy as np
import pytest

from neuro.datasets.phantom.atlases import ATLASES, label_numbers
from neuro.datasets.phantom.cortex import make_cortex, make_fine_grid
from neuro.datasets.phantom.design import fit_session, make_design
from neuro.datasets.phantom.layout import CATEGORY, EARLY, Layout
from neuro.datasets.phantom.mesh import DEGREES_PER_MM, degrees_between, load_mesh, tangent_plane


@pytest.fixture(scope="module")
def people():
    return [make_cortex(np.random.default_rng(seed)) for seed in range(3)]


def test_standard_brains_have_nsdgeneral_of_some_thousand_voxels(people):
    for c in people:
        assert 1400 < c.general.sum() < 2500
        assert not c.general[~c.cortex].any()
        assert len(set(c.shape)) == 3
        rows = np.ravel_multi_index(tuple(c.ijk.T), c.shape)
        assert (np.diff(rows) > 0).all()  # canonical order


def test_people_differ_in_size_grid_and_layout(people):
    assert len({len(c) for c in people}) == len({c.general.sum() for c in people}) == 3
    assert len({c.affine.tobytes() for c in people}) == 3
    for region in ("V1v", "FFA-1", "PPA"):
        assert len({(c.region == region).sum() for c in people}) > 1
    again = make_cortex(np.random.default_rng(0))
    np.testing.assert_array_equal(again.ijk, people[0].ijk)
    np.testing.assert_array_equal(again.region, people[0].region)


@pytest.mark.parametrize("region", ["OFA", "FFA-1", "FFA-2", "EBA", "OPA", "PPA", "RSC"])
def test_regions_lie_where_people_have_them_on_both_sides(people, region):
    for c in people:
        for side, sign, disc in zip("LR", (-1, 1), CATEGORY[region][1:3], strict=True):
            inside = (c.discs[region] < 1) & (c.hemi == side)
            assert inside.sum() >= 5
            away = c.xyz[inside].mean(0) - np.array(disc[:3]) * [sign, 1, 1]
            assert np.linalg.norm(away) < 11  # mm; discs follow the folds


def test_hemispheres_are_left_and_right(people):
    for c in people:
        assert c.xyz[c.hemi == "L", 0].max() < 8
        assert c.xyz[c.hemi == "R", 0].min() > -8


def test_eccentricity_grows_forwards_and_every_early_area_has_both_halves(people):
    for c in people:
        for area in ("V1v", "V1d", "V2v", "V2d", "V3v", "V3d"):
            here = c.early == area
            assert here.sum() > 40
            assert np.corrcoef(c.xyz[here, 1], np.log(c.eccentricity[here]))[0, 1] > 0.5
        upper = np.isin(c.early, ["V1v", "V2v", "V3v"])
        assert (np.sin(np.radians(c.angle[upper])) >= -1e-9).all()
        assert np.nanmax(c.eccentricity) < 8


def test_borders_between_early_areas_are_meridians(people):
    """Neighbouring voxels of V1 and V2 see near the vertical meridian, of V2 and V3 near the horizontal one."""
    from scipy.spatial import cKDTree

    c = people[0]
    side = c.hemi == "L"
    for a, b, meridian in (("V1", "V2", 90), ("V2", "V3", 0), ("V3v", "hV4", 90)):
        one, two = (side & np.char.startswith(c.early.astype(str), x) for x in (a, b))
        distance, nearest = cKDTree(c.xyz[one]).query(c.xyz[two])
        close = distance < 6
        elevation = np.abs((c.angle + 180) % 360 - 180)  # of the right visual field: 0 horizontal, 90 vertical
        at_border = np.r_[elevation[one][nearest[close]], elevation[two][close]]
        assert np.median(np.abs(at_border - meridian)) < 30
        assert len(at_border) > 20


def test_group_atlas_agrees_with_the_person_roughly(people):
    for c in people:
        early = np.isin(c.early, EARLY) | np.isin(c.template, EARLY)
        agreement = np.mean(c.early[early] == c.template[early])
        assert 0.35 < agreement < 0.98


def test_labels_follow_nsd_s_numbers(people):
    numbers = label_numbers(people[0])
    assert set(numbers) == set(ATLASES)
    names = ATLASES["prf-visualrois"]
    assert names[:2] == ["V1v", "V1d"]
    np.testing.assert_array_equal(numbers["prf-visualrois"] == 1, people[0].early == "V1v")
    for atlas, names in ATLASES.items():
        assert numbers[atlas].max() <= len(names)
        np.testing.assert_array_equal(numbers[atlas] == -1, ~people[0].cortex)
    words = numbers["floc-words"]
    assert (words[people[0].hemi == "L"] > 0).sum() > (words[people[0].hemi == "R"] > 0).sum()


def test_every_posterior_vertex_has_a_voxel_beside_it(people):
    c = people[0]
    for side, rows in c.vertices.items():
        middle = load_mesh()[side].middle
        inside = rows >= 0
        np.testing.assert_array_equal(inside, middle[:, 1] < -28)
        assert np.linalg.norm(c.xyz[rows[inside]] - middle[inside], axis=1).max() < 8.0
        assert (c.hemi[rows[inside]] == side).all()


def test_the_fine_grid_covers_the_brain(people):
    c = people[0]
    fine = make_fine_grid(c)
    xyz = fine.ijk @ fine.affine[:3, :3].T + fine.affine[:3, 3]
    away = (xyz - c.xyz[fine.source]) @ c.affine[:3, :3] / 25  # in coarse voxels
    assert np.abs(away).max() <= 0.5 + 1e-9
    assert len(fine.ijk) / len(c) == pytest.approx(1.8**3, rel=0.03)
    assert len(set(fine.shape)) == 3


def test_the_template_is_drawn_without_chance():
    directions = load_mesh()["L"].direction
    one, two = (Layout("L").at(directions) for _ in range(2))
    np.testing.assert_array_equal(one.early, two.early)


def test_the_tangent_plane_keeps_distance_and_handedness():
    directions = np.array([[0.0, 0, 1], [np.sin(0.2), 0, np.cos(0.2)], [0, np.sin(0.3), np.cos(0.3)]])
    u, w = tangent_plane(directions, directions[0], np.array([1.0, 0, 1]))
    np.testing.assert_allclose(u, [0, np.degrees(0.2), 0], atol=1e-9)
    np.testing.assert_allclose(w, [0, 0, np.degrees(0.3)], atol=1e-9)
    np.testing.assert_allclose(degrees_between(directions, directions[1])[1], 0, atol=1e-5)


def test_degrees_per_mm_is_the_ratio_of_the_areas():
    cortex = 71_100  # mm2, one hemisphere of fsaverage5's middle surface
    assert pytest.approx(np.degrees(np.sqrt(4 * np.pi / cortex)), rel=0.01) == DEGREES_PER_MM


def test_a_first_session_repeats_pictures_as_nsd_s_does():
    design = make_design(1, 1000, 4, 750)
    first = design.shown_rows(1)
    assert len(np.unique(first)) == pytest.approx(583, abs=25)  # NSD: 583 different in 750 trials
    assert design.run_lengths().tolist() == [63, 62] * 6
    assert fit_session(1000, 4) == 750
    assert fit_session(100, 4) == 75
