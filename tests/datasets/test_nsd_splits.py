"""Named splits, against plain loops over a design of NSD's own size and over a small one."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.io

from neuro.datasets import NSD
from neuro.datasets.nsd.design import read_design
from neuro.datasets.nsd.splits import SPLITS, Split, completed_sessions, make_split
from neuro.errors import SplitLeakage

SESSIONS = (40, 40, 32, 30, 40, 32, 40, 30)


@pytest.fixture(scope="module")
def design(tmp_path_factory):
    """NSD's sizes, a made-up order."""
    rng = np.random.default_rng(3)
    shared = np.sort(rng.permutation(73000)[:1000])
    own = rng.permutation(np.setdiff1d(np.arange(73000), shared)).reshape(8, 9000)
    images = np.concatenate([np.tile(shared, (8, 1)), own], axis=1) + 1
    pattern = np.zeros((40, 12, 75), np.uint8)
    for run in range(12):
        pattern[:, run, : 63 - run % 2] = 1
    path = tmp_path_factory.mktemp("design") / "design.mat"
    # Repeats near each other, as in NSD, so that some pictures fall into the last sessions only.
    when = rng.integers(0, 30000, 10000)[:, None] + rng.exponential(4000, (10000, 3))
    order = np.repeat(np.arange(10000), 3)[np.argsort(when.ravel())]
    scipy.io.savemat(
        path,
        {"masterordering": order[None] + 1, "subjectim": images, "sharedix": shared[None] + 1, "stimpattern": pattern},
    )
    return read_design(path)


def seen(design, subject, first, last):
    """Trials of each picture in sessions first..last, by a loop."""
    counts = {}
    for t in range((first - 1) * 750, last * 750):
        image = int(design.images[subject - 1, design.order[t]])
        counts[image] = counts.get(image, 0) + 1
    return counts


@pytest.mark.parametrize("subject", [1, 3, 4])
def test_splits_follow_their_rules(design, subject):
    completed = completed_sessions(design, {1: 2})  # whatever little is on disk
    n = SESSIONS[subject - 1]
    shared = set(design.shared.tolist())
    all_, early, late = seen(design, subject, 1, n), seen(design, subject, 1, n - 3), seen(design, subject, n - 2, n)
    everybody = seen(design, subject, 1, 30)
    only_late = set(late) - set(early)
    expected = {
        "shared1000": (set(all_) - shared, set(all_) & shared),
        "shared515": (set(all_) - shared, {i for i in shared if everybody.get(i, 0) == 3}),
        "shared766": (set(all_) - shared, {i for i in shared if everybody.get(i, 0) >= 2}),
        "shared907": (set(all_) - shared, {i for i in shared if everybody.get(i, 0) >= 1}),
        "shared982": (set(early) - shared, set(early) & shared),
        "algonauts2023": (set(early), only_late if n == 40 else only_late - shared),
    }
    assert set(expected) == set(SPLITS)
    for name, (train, test) in expected.items():
        split = make_split(name, design, subject, completed)
        assert set(split.train.tolist()) == train
        assert set(split.test.tolist()) == test
        assert not train & test
        assert train
        assert test


def test_the_whole_of_a_40_session_subject_is_1000_and_9000(design):
    split = make_split("shared1000", design, 1, completed_sessions(design, {}))
    assert (len(split.test), len(split.train)) == (1000, 9000)
    assert split.describe()["n_test"] == 1000


def test_shared_tests_are_the_same_for_everybody(design):
    completed = completed_sessions(design, {})
    for name in ("shared515", "shared766", "shared907"):
        tests = [make_split(name, design, s, completed).test.tolist() for s in range(1, 9)]
        assert all(t == tests[0] for t in tests)


def test_a_smaller_tree_counts_its_own_sessions(nsd_tree):
    nsd = NSD(nsd_tree.root)
    for name in SPLITS:
        split = nsd.split(name, 2)
        assert len(split.train)
        assert len(split.test) or name == "algonauts2023"
        assert not np.intersect1d(split.train, split.test).size
        assert np.isin(split.train, nsd_tree.stimulus[2]).all()
    assert len(nsd.split("shared515", 1).test) == 12


def test_held_back_sessions_need_more_than_three(own_tree):
    own_tree.betas(4).unlink()
    for space, suffix in (("fsaverage", "mgh"), ("nativesurface", "hdf5")):
        for side in ("lh.", "rh."):
            own_tree.betas(4, space=space, suffix=suffix, side=side).unlink()
    with pytest.raises(ValueError, match="subject 1 has 3 sessions"):
        NSD(own_tree.root).split("algonauts2023", 1)


def test_responses_split_by_every_name_and_record_it(nsd_tree):
    nsd = NSD(nsd_tree.root, cache=None)
    r = nsd.responses(2, roi="nsdgeneral").average_repeats()
    for name in ("shared1000", "shared515", "shared766", "shared907", "shared982"):
        split = nsd.split(name, 2)
        train, test = r.split(name)
        assert np.array_equal(train.stimulus, split.train)
        assert np.array_equal(test.stimulus, split.test)
        assert test.provenance[-1]["step"] == f"split {name}"
        assert test.provenance[-1]["n_stimuli"] == len(split.test)


@pytest.mark.parametrize("subject", [1, 2])
def test_no_picture_is_on_both_sides_under_two_ids(nsd_tree, subject):
    nsd = NSD(nsd_tree.root)
    for name in SPLITS:
        split = nsd.split(name, subject)
        if len(split.test):
            assert not set(nsd.stimuli.hashes(split.train)) & set(nsd.stimuli.hashes(split.test))


def test_fingerprints_tell_splits_apart(nsd_tree):
    nsd = NSD(nsd_tree.root)
    first = nsd.split("shared1000", 1)
    assert first.fingerprint == nsd.split("shared1000", 1).fingerprint != nsd.split("shared1000", 2).fingerprint


def test_unknown_split_lists_the_names(nsd_tree):
    with pytest.raises(ValueError, match="did you mean 'shared1000'"):
        NSD(nsd_tree.root).split("shared100", 1)


def test_a_split_with_a_picture_on_both_sides_cannot_be_made():
    with pytest.raises(SplitLeakage):
        Split("mine", 1, np.array([1, 2]), np.array([2, 3]))


def test_ids_of_a_split_are_read_only():
    split = Split("mine", 1, np.array([3, 1, 1]), np.array([2]))
    assert split.train.tolist() == [1, 3]
    with pytest.raises(ValueError, match="read-only"):
        split.train[0] = 5
