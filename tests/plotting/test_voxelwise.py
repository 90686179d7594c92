import numpy as np
import pytest

from neuro.errors import ShapeMismatch
from neuro.plotting import noise_ceiling_scatter, voxel_histograms


def test_histograms_are_numpys_shares(rng):
    values = {"V1": {"net": rng.normal(0.4, 0.1, 200), "Gabor": rng.normal(0.2, 0.1, 150)}}
    figure = voxel_histograms(values, kinds={"net": "pretrained", "Gabor": "control"}, bins=20)
    outlines = {p.get_label(): p for p in figure.axes[0].patches if p.get_label() in values["V1"]}
    everything = np.concatenate([*values["V1"].values(), [0.0]])
    for model, drawn in outlines.items():
        heights, edges, _ = drawn.get_data()
        np.testing.assert_allclose(edges[[0, -1]], [everything.min(), everything.max()])
        np.testing.assert_allclose(heights, np.histogram(values["V1"][model], edges)[0] / len(values["V1"][model]))
        assert heights.sum() == pytest.approx(1)


def test_triangles_stand_at_the_medians_and_nan_is_left_out(rng):
    values = np.append(rng.normal(0.4, 0.1, 99), np.nan)
    ax = voxel_histograms({"V1": {"net": values}}).axes[0]
    (triangle,) = [line for line in ax.get_lines() if line.get_marker() == "v"]
    assert triangle.get_xdata()[0] == pytest.approx(np.nanmedian(values))
    assert ax.get_title(loc="left") == "V1, n = 99"


def test_points_are_ceiling_and_signed_square(rng):
    r, ceiling = rng.uniform(-0.5, 1, 80), rng.random(80)
    ax = noise_ceiling_scatter(r, ceiling).axes[0]
    np.testing.assert_allclose(ax.collections[0].get_offsets(), np.column_stack([ceiling, np.sign(r) * r**2]))


def test_the_identity_line_is_the_identity_and_axes_are_equal(rng):
    ax = noise_ceiling_scatter(rng.random(30), rng.random(30)).axes[0]
    (line,) = [line for line in ax.get_lines() if line.get_label() == "identity"]
    np.testing.assert_array_equal(line.get_xdata(), line.get_ydata())
    assert ax.get_xlim() == ax.get_ylim()
    assert ax.get_aspect() == 1


def test_a_perfect_model_explains_all_that_is_explainable(rng):
    ceiling = rng.random(50)
    figure = noise_ceiling_scatter(np.sqrt(ceiling), ceiling, groups={"V1": ceiling > 0.5, "V2": ceiling <= 0.5})
    assert [ax.texts[0].get_text() for ax in figure.axes] == ["100% of ceiling"] * 2


def test_variance_scores_are_taken_as_they_are(rng):
    ceiling = rng.random(50)
    ax = noise_ceiling_scatter(0.5 * ceiling, ceiling, score_kind="variance").axes[0]
    assert ax.texts[0].get_text() == "50% of ceiling"


def test_groups_show_their_own_voxels(rng):
    r, ceiling, mask = rng.random(40), rng.random(40), np.arange(40) < 12
    figure = noise_ceiling_scatter(r, ceiling, groups={"V1": mask, "rest": ~mask})
    assert [len(ax.collections[0].get_offsets()) for ax in figure.axes] == [12, 28]


def test_many_voxels_become_a_density_that_counts_them_all(rng):
    ax = noise_ceiling_scatter(rng.random(400), rng.random(400), max_points=300).axes[0]
    assert ax.collections[0].get_array().sum() == 400


def test_arrays_of_different_length_are_refused():
    with pytest.raises(ShapeMismatch, match=r"\(3,\) and \(4,\)"):
        noise_ceiling_scatter(np.zeros(3), np.zeros(4))
