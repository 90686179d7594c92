"""Facts about the real data set, where it is on disk; a partial download checks what it can."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from neuro.datasets import NSD
from neuro.errors import DataNotDownloaded

pytestmark = pytest.mark.real

TRAIN = {1: 9841, 2: 9841, 3: 9082, 4: 8779, 5: 9841, 6: 9082, 7: 9841, 8: 8779}
TEST = {1: 159, 2: 159, 3: 293, 4: 395, 5: 159, 6: 293, 7: 159, 8: 395}


@pytest.fixture(scope="module")
def nsd():
    root = os.environ.get("NEURO_NSD_ROOT")
    if not root or not Path(root).is_dir():
        pytest.skip("real NSD not found: set NEURO_NSD_ROOT to the folder that holds nsddata, nsddata_betas, ...")
    return NSD(root)


@pytest.fixture(scope="module")
def design(nsd):
    try:
        return nsd.design
    except DataNotDownloaded as error:
        pytest.skip(str(error))


def test_first_trials_of_subject_1(design):
    assert design.stimulus(1)[:5].tolist() == [46002, 61882, 828, 67573, 16020]


def test_schedule(design):
    trials = design.trials(1)
    assert len(trials) == 30000
    assert trials.groupby(["session", "run"]).size().tolist() == [63, 62] * 240
    assert trials["shared1000"].sum() == 3000
    assert trials["shared1000"][:22500].sum() == 2188
    counts = trials[trials["session"] == 1]["stimulus"].value_counts().value_counts()
    assert counts.to_dict() == {1: 447, 2: 105, 3: 31}


def test_counts_of_the_splits(nsd, design):
    assert [len(nsd.split(s, 1).test) for s in ("shared515", "shared766", "shared907")] == [515, 766, 907]
    decoding = nsd.split("shared982", 1)
    assert (len(decoding.test), len(decoding.train)) == (982, 8859)
    for subject in nsd.subjects:
        split = nsd.split("algonauts2023", subject)
        assert (len(split.train), len(split.test)) == (TRAIN[subject], TEST[subject])


def test_images_seen(design):
    for sessions, counts in ((40, (10000, 10000, 10000)), (32, (9411, 8355, 6234)), (30, (9209, 7846, 5445))):
        seen = design.seen(1, range(1, sessions + 1))
        assert tuple(int((seen >= k).sum()) for k in (1, 2, 3)) == counts


def test_all_routes_to_a_picture_agree(nsd, design):
    for subject in nsd.subjects:
        try:
            checks = nsd.verify(subject)
        except DataNotDownloaded as error:
            pytest.skip(str(error))
        assert checks["holds"].all(), checks


def test_regions_of_subject_1(nsd):
    try:
        voxels = nsd.voxels(1)
        assert voxels.geometry.shape == (81, 104, 83)
        assert voxels.roi("nsdgeneral").sum() == 15724
        sizes = [voxels.roi(f"prf-visualrois:{x}").sum() for x in ("V1v", "V1d", "V2v", "V2d", "V3v", "V3d", "hV4")]
    except (DataNotDownloaded, ValueError) as error:
        pytest.skip(str(error))
    assert sizes == [594, 756, 834, 599, 646, 541, 687]


def test_stored_ncsnr_is_that_of_the_betas(nsd):
    try:
        present = nsd.sessions(1)["present"]
        whole = nsd.responses(1, roi="nsdgeneral")
    except DataNotDownloaded as error:
        pytest.skip(str(error))
    if not present.all():
        pytest.skip(f"the stored ncsnr is that of 40 sessions; {present.sum()} are here")
    some = whole.select(np.arange(0, whole.n_voxels, 50))
    found = some.zscore().average_repeats(min_repeats=3).ncsnr()
    np.testing.assert_allclose(found, some.voxels.table["ncsnr"], atol=1e-4)
