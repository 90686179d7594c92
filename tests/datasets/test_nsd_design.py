"""Trials: every file numbers pictures in its own way, and they must agree."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import scipy.io

from neuro.datasets import NSD
from neuro.datasets.nsd.design import read_design
from neuro.errors import CorruptFile, DataNotDownloaded


def test_trials_name_pictures_from_zero_in_time_order(nsd_tree):
    nsd = NSD(nsd_tree.root)
    for subject in (1, 2):
        trials = nsd.trials(subject)
        assert np.array_equal(trials["stimulus"], nsd_tree.stimulus[subject])
        assert np.array_equal(trials["trial"], np.arange(192))
        assert np.array_equal(trials["session"], np.repeat([1, 2, 3, 4], 48))
        assert np.array_equal(trials["shared1000"], np.isin(trials["stimulus"], nsd_tree.shared))
        assert (trials["subject"] == subject).all()


def test_runs_and_repeats_count_as_the_person_met_them(nsd_tree):
    trials = NSD(nsd_tree.root).trials(1)
    counts = trials.groupby(["session", "run"]).size()
    assert counts.to_numpy().reshape(4, 12).tolist() == [[5, 3] * 6] * 4
    assert trials["trial_in_run"][:6].tolist() == [1, 2, 3, 4, 5, 1]
    assert trials["onset"][:6].tolist() == [4.0, 8.0, 12.0, 16.0, 20.0, 4.0]
    for _, rows in trials.groupby("stimulus"):
        assert rows["repeat"].tolist() == [0, 1, 2]


def test_repeats_keep_their_number_when_a_session_is_missing(own_tree):
    whole = NSD(own_tree.root).trials(1)
    own_tree.betas(1).unlink()
    nsd = NSD(own_tree.root, cache=None)
    part = nsd.trials(1, space="func1pt8mm")
    pd.testing.assert_frame_equal(part, whole[whole["session"] > 1].reset_index(drop=True))


def test_behaviour_is_joined_by_trial_in_any_row_order(own_tree):
    path = own_tree.root / "nsddata/ppdata/subj01/behav/responses.tsv"
    table = pd.read_csv(path, sep="\t")
    table.sample(frac=1, random_state=0).iloc[:-3].to_csv(path, sep="\t", index=False)
    trials = NSD(own_tree.root).trials(1)
    known = trials["rt"].notna()
    assert known.sum() == 189
    assert np.array_equal(trials["rt"][known], 500 + trials["trial"][known])
    assert "73kid" not in trials


def test_behaviour_columns_and_file_are_optional(own_tree):
    path = own_tree.root / "nsddata/ppdata/subj01/behav/responses.tsv"
    pd.read_csv(path, sep="\t")[["SESSION", "RUN", "TRIAL", "RT"]].to_csv(path, sep="\t", index=False)
    assert "rt" in NSD(own_tree.root).trials(1)
    path.unlink()
    assert "rt" not in NSD(own_tree.root).trials(1)


def test_behaviour_numbered_from_zero_is_refused(own_tree):
    path = own_tree.root / "nsddata/ppdata/subj01/behav/responses.tsv"
    table = pd.read_csv(path, sep="\t")
    table["73KID"] -= 1
    table.to_csv(path, sep="\t", index=False)
    with pytest.raises(CorruptFile, match="numbers from 0"):
        NSD(own_tree.root).trials(1)


@pytest.mark.parametrize("name", ["masterordering", "subjectim", "sharedix"])
def test_a_design_numbered_from_zero_is_refused(own_tree, name):
    path = own_tree.experiment / "nsd_expdesign.mat"
    design = {k: v for k, v in scipy.io.loadmat(path).items() if not k.startswith("__")}
    design[name] = design[name].astype(int) - design[name].min()
    scipy.io.savemat(path, design)
    with pytest.raises(CorruptFile, match="from 1"):
        NSD(own_tree.root).trials(1)


@pytest.mark.parametrize("change", [lambda t: t.assign(nsdId=t["nsdId"] + 1), lambda t: t.iloc[5:]])
def test_a_picture_table_that_does_not_count_from_zero_is_refused(own_tree, change):
    path = own_tree.experiment / "nsd_stim_info_merged.csv"
    change(pd.read_csv(path, index_col=0)).to_csv(path)
    with pytest.raises(CorruptFile, match="row number from 0"):
        _ = NSD(own_tree.root).pictures


def test_all_routes_to_a_picture_agree(nsd_tree):
    for subject in (1, 2):
        checks = NSD(nsd_tree.root).verify(subject)
        assert len(checks) == 4
        assert checks["holds"].all()


def test_verify_notices_a_table_of_another_base(own_tree):
    path = own_tree.experiment / "nsd_stim_info_merged.csv"
    table = pd.read_csv(path, index_col=0)
    table["subject1_rep0"] -= 1
    table.to_csv(path)
    assert not NSD(own_tree.root).verify(1)["holds"].all()


def test_planned_trials_need_no_betas(own_tree):
    for session in range(1, 5):
        own_tree.betas(session, 2).unlink()
        own_tree.betas(session, 2, suffix="nii.gz").unlink()
        own_tree.betas(session, 2, prep="fithrf", suffix="nii.gz").unlink()
    nsd = NSD(own_tree.root)
    with pytest.raises(DataNotDownloaded, match="sessions='planned'"):
        nsd.trials(2)
    assert len(nsd.trials(2, sessions="planned")) == 192


def test_without_stimpattern_runs_alternate_63_and_62(own_tree, tmp_path):
    path = tmp_path / "design.mat"
    n = 1500
    scipy.io.savemat(
        path,
        {
            "masterordering": np.arange(n)[None] % 500 + 1,
            "subjectim": np.arange(1, 501)[None],
            "sharedix": np.arange(1, 51)[None],
        },
    )
    design = read_design(path)
    trials = design.trials(1)
    assert trials.groupby(["session", "run"]).size().tolist() == [63, 62] * 12
    assert "onset" not in trials


def test_a_damaged_design_is_named(own_tree):
    path = own_tree.experiment / "nsd_expdesign.mat"
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(CorruptFile, match="nsd_expdesign"):
        NSD(own_tree.root).trials(1)
    path.unlink()
    with pytest.raises(DataNotDownloaded, match="aws s3 cp"):
        NSD(own_tree.root).trials(1)
