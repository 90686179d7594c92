"""Responses: laziness, z-scoring, averaging, splits that cannot leak, and reading what people have."""

from __future__ import annotations

import h5py
import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import scipy.io
from hypothesis import given, settings
from hypothesis import strategies as st

from neuro.data import Responses, Stimuli, Surface, Voxels
from neuro.errors import CorruptFile, EmptySelection, NoRepeats, ShapeMismatch, SplitLeakage, UnknownStimulus


def simulate(seed=0, n_images=40, n_repeats=3, n_voxels=7, n_sessions=3, snr=1.0):
    rng = np.random.default_rng(seed)
    stimulus = rng.permutation(np.repeat(np.arange(n_images) * 3 + 1, n_repeats))
    n = len(stimulus)
    session = np.repeat(np.arange(1, n_sessions + 1), -(-n // n_sessions))[:n]
    signal = rng.standard_normal((n_images, n_voxels)) * snr
    Y = signal[(stimulus - 1) // 3] + rng.standard_normal((n, n_voxels))
    Y = Y * (1 + session[:, None] * 0.7) + session[:, None] * 5
    trials = pd.DataFrame({"stimulus": stimulus, "session": session, "shared1000": stimulus < 31})
    return Y.astype(np.float32), trials, signal


@pytest.fixture
def responses():
    Y, trials, _ = simulate()
    return Responses(Y, trials, units="psc", subject=1)


def test_zscore_gives_every_session_mean_0_and_sd_1(responses):
    z = responses.zscore(by="session")
    Z = z.to_numpy()
    for s in (1, 2, 3):
        part = Z[z.trials["session"] == s]
        np.testing.assert_allclose(part.mean(0), 0, atol=1e-6)
        np.testing.assert_allclose(part.std(0, ddof=1), 1, atol=1e-5)
    assert z.units == "z"
    assert [step["step"] for step in z.provenance] == ["zscore by session"]
    assert not responses.provenance


def test_training_statistics_do_not_see_the_test_trials(responses):
    train = ~responses.trials["shared1000"].to_numpy()
    Y = responses.to_numpy()
    Y[~train] += 1e3
    broken = Responses(Y, responses.trials)
    a, b = responses.zscore(fit=train), broken.zscore(fit=train)
    np.testing.assert_array_equal(a.to_numpy()[train], b.to_numpy()[train])
    assert not np.allclose(a.to_numpy()[~train], b.to_numpy()[~train])


def test_constant_voxels_become_nan_never_inf(responses):
    Y = responses.to_numpy()
    Y[:, 2] = 1234.567
    Z = Responses(Y, responses.trials).zscore().to_numpy()
    assert np.isnan(Z[:, 2]).all()
    assert np.isfinite(np.delete(Z, 2, 1)).all()


def test_average_equals_a_plain_loop_with_nan_trials_left_out(responses):
    Y = responses.to_numpy()
    Y[::7, 1] = np.nan
    r = Responses(Y, responses.trials.drop(columns="subject"))
    mean = r.average_repeats()
    for row, stimulus in enumerate(mean.trials["stimulus"]):
        here = Y[r.stimulus == stimulus].astype(float)
        with np.errstate(invalid="ignore"):
            expected = np.array([c[np.isfinite(c)].mean() if np.isfinite(c).any() else np.nan for c in here.T])
        np.testing.assert_allclose(mean.to_numpy()[row], expected, rtol=1e-6)
    assert (np.diff(mean.trials["stimulus"]) > 0).all()
    assert (mean.trials["n_repeats"] == 3).all()
    # session differs between the trials of a stimulus and describes no average
    assert list(mean.trials) == ["stimulus", "shared1000", "n_repeats"]


def test_averaging_keeps_stimuli_with_enough_repeats(responses):
    some = responses.select(trials=np.arange(responses.n_trials - 5))
    counts = some.trials["stimulus"].value_counts()
    mean = some.average_repeats(min_repeats=3)
    assert len(mean) == (counts == 3).sum()
    with pytest.raises(NoRepeats, match="the most is 3"):
        some.average_repeats(min_repeats=4)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000), st.sets(st.integers(0, 6), min_size=1), st.booleans())
def test_selecting_voxels_then_loading_equals_loading_then_selecting_bit_for_bit(seed, columns, average):
    Y, trials, _ = simulate(seed, n_images=11)
    r = Responses(Y, trials).zscore()
    r = r.average_repeats() if average else r
    index = np.array(sorted(columns))
    np.testing.assert_array_equal(r.select(voxels=index).to_numpy(), r.to_numpy()[:, index])
    blocks = np.concatenate([b for _, b in r.iter_blocks(2)], axis=1)
    np.testing.assert_array_equal(blocks, r.to_numpy())


def test_nothing_is_read_before_it_is_asked_for():
    class Spy:
        shape, dtype, reads = (120, 7), np.dtype(np.float32), 0

        def read(self, columns):
            Spy.reads += 1
            return Y[:, columns]

    Y, trials, _ = simulate()
    r = Responses(Spy(), trials).zscore().average_repeats().select(voxels=[3])
    _, test = r.split("shared1000")
    assert Spy.reads == 0
    assert test.to_numpy().shape == (10, 1)
    assert Spy.reads == 1


def test_named_split_random_split_and_ids_never_share_a_stimulus(responses):
    splits = [
        responses.split("shared1000"),
        responses.split(test=0.25, seed=3),
        responses.split({"test": [1, 4]}),
        responses.split(responses.trials["shared1000"].to_numpy()),
        responses.average_repeats().split("shared1000"),
    ]
    for train, test in splits:
        assert not set(train.stimulus) & set(test.stimulus)
        assert set(train.stimulus) | set(test.stimulus) == set(responses.stimulus)
    assert set(splits[2][1].stimulus) == {1, 4}
    same = responses.split(test=0.25, seed=3)
    assert set(same[1].stimulus) == set(splits[1][1].stimulus)
    assert splits[0][0].provenance[-1]["side"] == "train"


def test_a_split_that_leaks_is_refused_with_the_count(responses):
    with pytest.raises(SplitLeakage, match="stand in both train and test"):
        responses.split((responses.trials["session"] == 3).to_numpy())
    with pytest.raises(SplitLeakage):
        responses.split({"train": [1, 4], "test": [4, 7]})
    with pytest.raises(ValueError, match=r"no split 'shared100'; did you mean 'shared1000'"):
        responses.split("shared100")
    with pytest.raises(EmptySelection, match="no test trial"):
        responses.split({"test": [-5]})


def test_identical_pictures_under_two_ids_can_be_kept_together():
    trials = pd.DataFrame({"stimulus": np.arange(20), "picture": np.arange(20) % 10})
    r = Responses(np.zeros((20, 1)), trials)
    train, test = r.split(test=0.3, by="picture")
    assert len(test) == 6
    assert not set(train.trials["picture"]) & set(test.trials["picture"])


def test_noise_ceiling_equals_the_share_a_perfect_model_explains():
    Y, trials, signal = simulate(1, n_images=3000, n_voxels=5, snr=0.6)
    r = Responses(Y, trials).zscore().average_repeats()
    ceiling = r.noise_ceiling()
    explained = [np.corrcoef(a, b)[0, 1] ** 2 for a, b in zip(r.to_numpy().T, signal.T, strict=True)]
    np.testing.assert_allclose(ceiling, explained, atol=0.03)
    np.testing.assert_allclose(ceiling, 0.36 / (0.36 + 1 / 3), atol=0.04)
    single = Responses(Y, trials).zscore()
    np.testing.assert_allclose(single.noise_ceiling(), 0.36 / 1.36, atol=0.04)


def test_zscoring_over_everything_underestimates_reliability_when_sessions_drift():
    Y, trials, _ = simulate(2, n_images=600, n_sessions=10, snr=1.0)
    good = Responses(Y, trials).zscore(by="session").ncsnr()
    bad = Responses(Y, trials).zscore(by=None).ncsnr()
    assert good.mean() == pytest.approx(1.0, abs=0.08)
    assert bad.mean() < 0.7 * good.mean()


def test_stored_ncsnr_is_used_where_the_voxel_table_has_it():
    r = Responses(np.zeros((4, 2)), pd.DataFrame({"stimulus": [1, 1, 2, 2]}), Voxels(pd.DataFrame({"ncsnr": [0.5, 1]})))
    np.testing.assert_allclose(r.average_repeats().noise_ceiling(), [0.25 / 0.75, 1 / 1.5])
    np.testing.assert_allclose(r.noise_ceiling(n=3), [0.25 / (0.25 + 1 / 3), 0.75])


def test_one_repeat_has_no_ceiling():
    with pytest.raises(NoRepeats, match="shown once"):
        Responses(np.zeros((4, 2)), pd.DataFrame({"stimulus": range(4)})).ncsnr()


def test_order_of_operations_is_guarded(responses):
    with pytest.raises(ValueError, match="z-score before average_repeats"):
        responses.average_repeats().zscore()
    with pytest.raises(ValueError, match="did you mean 'session'"):
        responses.zscore(by="sesion")


def test_save_load_memmap_and_torch_keep_every_value(responses, tmp_path):
    r = responses.zscore().average_repeats()
    r.save(tmp_path / "r")
    back = Responses.load(tmp_path / "r")
    np.testing.assert_array_equal(back.to_numpy(), r.to_numpy())
    assert back.provenance == r.provenance
    pd.testing.assert_frame_equal(back.trials, r.trials, check_dtype=False)
    mapped = r.to_memmap(tmp_path / "m.npy")
    np.testing.assert_array_equal(mapped.to_numpy(), r.to_numpy())
    np.testing.assert_array_equal(r.to_torch().numpy(), r.to_numpy())


def test_to_xarray_names_its_axes(responses):
    pytest.importorskip("xarray", reason="extra 'xarray' not installed")
    x = responses.to_xarray()
    assert x.dims == ("trial", "voxel")
    np.testing.assert_array_equal(x["stimulus"], responses.stimulus)


def test_a_time_axis_has_the_same_methods(rng):
    data = rng.standard_normal((6, 2, 4)).astype(np.float32)
    trials = pd.DataFrame({"stimulus": [1, 1, 2, 2, 3, 3], "session": [1, 2, 1, 2, 1, 2]})
    r = Responses(data, trials, times=[0, 0.1, 0.2, 0.3])
    np.testing.assert_allclose(r.average_repeats().to_numpy(), data.reshape(3, 2, 2, 4).mean(1), rtol=1e-6)
    z = r.zscore().to_numpy()
    np.testing.assert_allclose(z[::2].mean(0), 0, atol=1e-6)
    with pytest.raises(ShapeMismatch, match="times"):
        Responses(data, trials)


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".h5", ".mat"])
def test_every_file_format_reads_the_same_array(suffix, rng, tmp_path):
    Y = rng.standard_normal((6, 4)).astype(np.float32)
    path = tmp_path / f"y{suffix}"
    if suffix == ".npy":
        np.save(path, Y)
    elif suffix == ".npz":
        np.savez(path, responses=Y, names=np.array(["a"]))
    elif suffix == ".h5":
        with h5py.File(path, "w") as file:
            file["group/responses"] = Y
    else:
        scipy.io.savemat(path, {"responses": Y})
    np.testing.assert_array_equal(Responses.from_file(path).to_numpy(), Y)
    np.testing.assert_array_equal(Responses.from_file(path, transpose=True).to_numpy(), Y.T)


def test_files_that_are_not_what_they_seem(tmp_path, rng):
    np.save(tmp_path / "p.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(CorruptFile, match="pickle"):
        Responses.from_file(tmp_path / "p.npy")
    np.save(tmp_path / "y.npy", rng.standard_normal((50, 40)))
    (tmp_path / "cut.npy").write_bytes((tmp_path / "y.npy").read_bytes()[:-100])
    with pytest.raises(CorruptFile, match=r"cut\.npy"):
        Responses.from_file(tmp_path / "cut.npy")
    np.savez(tmp_path / "two.npz", a=np.zeros((2, 3)), b=np.zeros((4, 3)))
    with pytest.raises(ShapeMismatch, match="key="):
        Responses.from_file(tmp_path / "two.npz")
    with pytest.raises(ShapeMismatch, match="transposed"):
        Responses(np.zeros((3, 9)), pd.DataFrame({"stimulus": range(9)}))
    with pytest.raises(ShapeMismatch, match="voxel table"):
        Responses(np.zeros((3, 9)), voxels=Voxels(8))
    with pytest.raises(ShapeMismatch, match="numbers"):
        Responses(np.array([["a"]]))
    with pytest.raises(UnknownStimulus, match="column 'stimulus'"):
        Responses(np.zeros((3, 2))).average_repeats()
    with pytest.raises(EmptySelection):
        Responses(np.zeros((3, 2))).select(trials=[False] * 3)


def test_nifti_betas_and_bold_with_events(rng):
    shape, affine = (3, 4, 2), np.diag([2, 2, 2.5, 1.0])
    mask = rng.random(shape) < 0.6
    data = rng.standard_normal((*shape, 12)).astype(np.float32)
    image = nib.Nifti1Image(data, affine)
    image.header.set_zooms((2, 2, 2.5, 2.0))
    mask_image = nib.Nifti1Image(mask.astype(np.uint8), affine)
    events = pd.DataFrame({"onset": [0.0, 8.0, 16.0], "duration": 2.0, "trial_type": ["a", "b", "a"]})
    bold = Responses.from_nifti(image, mask_image, events, window=(4, 8))
    expected = np.stack([data[mask][:, [2 + 4 * i, 3 + 4 * i]].mean(1) for i in range(3)])
    np.testing.assert_allclose(bold.to_numpy(), expected, rtol=1e-6)
    assert bold.stimulus.tolist() == ["a", "b", "a"]
    betas = Responses.from_nifti(image, mask_image, pd.DataFrame({"stimulus": range(12)}))
    np.testing.assert_array_equal(betas.to_numpy(), data[mask].T)
    np.testing.assert_array_equal(np.asarray(betas.voxels.to_nifti(betas.to_numpy()).dataobj)[mask], data[mask])
    with pytest.raises(ShapeMismatch, match="3 events for 12 volumes"):
        Responses.from_nifti(image, mask_image, events)
    with pytest.raises(EmptySelection, match="no volume in the window"):
        Responses.from_nifti(image, mask_image, events, window=(100, 101))


def test_surfaces_from_gifti_and_mgh(rng, tmp_path):
    left, right = (rng.standard_normal((2, n)).astype(np.float32) for n in (8, 9))
    right[1, 3] = np.nan
    r = Responses.from_surface(left, right, mesh="test")
    assert r.shape == (2, 16)
    for side, image in zip(("lh", "rh"), r.voxels.to_gifti(r.to_numpy()), strict=True):
        nib.save(image, tmp_path / f"{side}.func.gii")
    again = Responses.from_surface(tmp_path / "lh.func.gii", tmp_path / "rh.func.gii")
    np.testing.assert_array_equal(again.to_numpy(), r.to_numpy())
    for side, data in (("lh", left), ("rh", right)):
        nib.save(nib.MGHImage(data.T[:, None, None, :], np.eye(4)), tmp_path / f"{side}.mgh")
    mgh = Responses.from_surface(tmp_path / "lh.mgh", tmp_path / "rh.mgh")
    np.testing.assert_array_equal(mgh.to_numpy(), r.to_numpy())


def test_the_callers_array_is_neither_changed_nor_shared(rng):
    Y, trials, _ = simulate()
    before = Y.copy()
    r = Responses(Y, trials)
    r.zscore().average_repeats().to_numpy()
    np.testing.assert_array_equal(Y, before)
    Y[:] = 0
    np.testing.assert_array_equal(r.to_numpy(), before)
    assert Stimuli.from_texts(["a"]).ids.tolist() == [0]


@pytest.mark.real
def test_haxby_volumes_go_through_masks_events_and_back(real_data):
    root = real_data / "haxby2001_sub001_reduced"
    mask = root / "mask_1slice.nii.gz"
    whole = Responses.from_nifti(root / "bold_1slice_all12runs.nii.gz", mask)
    assert whole.shape == (1452, 530)
    runs = sorted((root / "haxby2001/sub001/BOLD").glob("task001_run*"))
    parts = Responses.from_nifti([r / "bold_1slice.nii.gz" for r in runs], mask)
    np.testing.assert_array_equal(parts.to_numpy(), whole.to_numpy())
    blocks = Responses.from_nifti(
        [r / "bold_1slice.nii.gz" for r in runs], mask, [r / "bold_events.tsv" for r in runs], window=(5, 22.5)
    )
    # nearest class mean, leave one run out, over block averages (chance 1/8)
    z = blocks.zscore(by="run")
    Z, label, run = z.to_numpy(), z.stimulus, z.trials["run"].to_numpy()
    keep = np.isfinite(Z).all(0)
    per_run = {r: {c: Z[(run == r) & (label == c)][:, keep].mean(0) for c in np.unique(label)} for r in np.unique(run)}
    classes, hits = np.unique(label), []
    for held in per_run:
        means = np.stack([np.mean([per_run[r][c] for r in per_run if r != held], axis=0) for c in classes])
        for i, c in enumerate(classes):
            hits.append(np.corrcoef(np.vstack([per_run[held][c], means]))[0, 1:].argmax() == i)
    assert np.mean(hits) > 0.45
    image = z.voxels.to_nifti(z.to_numpy()[:2])
    np.testing.assert_array_equal(z.voxels.from_nifti(image), z.to_numpy()[:2])


@pytest.mark.real
def test_fsaverage_atlases_select_vertices_and_map_back(real_data):
    root = real_data / "fsaverage_visual_atlases"
    names = ["V1v", "V1d"]
    left, right = (np.asarray(nib.load(root / f"{h}.wang15_mplbl.v1_0.mgz").dataobj).squeeze() for h in ("lh", "rh"))
    sizes = (left.size, right.size)
    every = np.concatenate([np.arange(n) for n in sizes])
    hemi = np.repeat(["L", "R"], sizes)
    labels = np.concatenate([left, right])
    text = np.select([labels == 1, labels == 2], names, "")
    voxels = Voxels(len(labels), Surface("fsaverage", sizes, hemi, every), {"Kastner2015": text})
    counts = {(n, h): voxels.roi(n, hemi=h).sum() for n in names for h in "LR"}
    assert counts == {("V1v", "L"): 1101, ("V1d", "L"): 1051, ("V1v", "R"): 1040, ("V1d", "R"): 1063}
    angle = [np.asarray(nib.load(root / f"{h}.benson14_angle.v4_0.mgz").dataobj).squeeze() for h in ("lh", "rh")]
    area = [np.asarray(nib.load(root / f"{h}.benson14_varea.v4_0.mgz").dataobj).squeeze() for h in ("lh", "rh")]
    v1 = voxels.select("V1")
    values = v1.from_surface(*angle)
    both = v1.from_surface(*area) == 1
    medians = [np.median(values[both & v1.roi(n, hemi=h)]) for h in "LR" for n in names]
    np.testing.assert_allclose(medians, [59, 130, 65, 129], atol=1)
    back = v1.to_surface(values)
    np.testing.assert_array_equal(v1.from_surface(*back), values)


def test_runs_of_different_sessions_are_different_runs(rng):
    trials = pd.DataFrame(
        {"stimulus": range(12), "session": np.repeat([1, 2], 6), "run": np.tile([1, 1, 1, 2, 2, 2], 2)}
    )
    Z = (
        Responses(rng.standard_normal((12, 2)) + 10 * trials[["session"]].to_numpy(), trials)
        .zscore(by="run")
        .to_numpy()
    )
    np.testing.assert_allclose(Z.reshape(4, 3, 2).mean(1), 0, atol=1e-6)
