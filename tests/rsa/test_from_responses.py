"""RDMs of Responses: groups, regions, folds, subjects, what is missing."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from neuro.data import Responses
from neuro.data.voxels import Voxels
from neuro.errors import EmptySelection, NoRepeats, ShapeMismatch, UnknownROI
from neuro.rsa.estimate import rdm
from neuro.rsa.noise import noise_precision


@pytest.fixture
def values(rng):
    return rng.standard_normal((12, 10)).astype(np.float32)


@pytest.fixture
def trials(rng):
    stimulus = np.concatenate([rng.permutation([30, 10, 20, 40]) for _ in range(3)])
    return pd.DataFrame({"stimulus": stimulus, "session": np.repeat([1, 2, 3], 4), "repeat": np.repeat([0, 1, 2], 4)})


@pytest.fixture
def responses(values, trials):
    labels = ["V1"] * 4 + ["FFA"] * 5 + [""]
    return Responses(
        values, trials, Voxels(10, atlases={"areas": labels, "even": np.arange(10) % 2 == 0}), subject="s1"
    )


def averaged(values, trials, columns=slice(None)):
    return np.stack([values[trials["stimulus"] == s][:, columns].mean(0, dtype=float) for s in (10, 20, 30, 40)])


def test_stimuli_are_conditions_in_ascending_order(responses, values, trials):
    d = rdm(responses, "correlation")
    assert list(d.conditions) == [10, 20, 30, 40]
    np.testing.assert_allclose(d.dissimilarities, rdm(averaged(values, trials)).dissimilarities, rtol=1e-5)
    assert d.table.iloc[0].to_dict() == {"subject": "s1", "n_voxels": 10, "n_trials": 12}


def test_averaged_responses_give_the_same(responses):
    a = rdm(responses, "sqeuclidean").dissimilarities
    np.testing.assert_allclose(rdm(responses.average_repeats(), "sqeuclidean").dissimilarities, a, rtol=1e-5)


def test_by_region_and_session(responses, values, trials):
    d = rdm(responses, "sqeuclidean", by=["areas", "session"])
    assert d.n_rdms == 6
    assert set(d.table["roi"]) == {"V1", "FFA"}
    one = d.select({"roi": "FFA", "session": 2})
    rows = values[4:8][np.argsort(trials["stimulus"][4:8])]
    np.testing.assert_allclose(one.dissimilarities, rdm(rows[:, 4:9], "sqeuclidean").dissimilarities, rtol=1e-5)
    assert list(one.table["n_voxels"]) == [5]


def test_regions_of_all_atlases_named_or_given(responses, values, trials):
    assert list(rdm(responses, by="roi").table["roi"]) == ["FFA", "V1", "even"]
    assert list(rdm(responses, by="roi", voxels=["V1", "FFA"]).table["roi"]) == ["V1", "FFA"]
    mask = np.arange(10) < 6
    d = rdm(responses, "sqeuclidean", voxels={"first six": mask, "V1": "V1"})
    assert list(d.table["roi"]) == ["first six", "V1"]
    expected = rdm(averaged(values, trials, slice(0, 6)), "sqeuclidean").dissimilarities
    np.testing.assert_allclose(d.dissimilarities[:1], expected, rtol=1e-5)
    assert list(rdm(responses, voxels="V1").table["roi"]) == ["V1"]
    assert rdm(responses, voxels=mask).settings["n_channels"] == [6]


@pytest.mark.parametrize("folds", ["session", "repeat", None, "array"])
def test_crossnobis_by_session_repeat_or_default(responses, values, trials, folds):
    given = trials["session"].to_numpy() if folds == "array" else folds
    d = rdm(responses, "crossnobis", folds=given)
    expected = rdm(values, "crossnobis", conditions=trials["stimulus"], folds=trials["session"])
    expected = expected.select(conditions=[10, 20, 30, 40])
    np.testing.assert_allclose(d.dissimilarities, expected.dissimilarities, atol=1e-5)
    assert d.settings["n_folds"] == [3]


def test_runs_are_told_apart_between_sessions(values, trials):
    table = trials.assign(run=1)
    d = rdm(Responses(values, table), "crossnobis", folds="run")
    assert d.settings["n_folds"] == [3]


def test_noise_by_method_or_by_region(responses, values, trials):
    d = rdm(responses, "crossnobis", by="areas", noise="shrinkage_diag", folds="session")
    W = {
        "V1": noise_precision(values[:, :4], conditions=trials["stimulus"]),
        "FFA": noise_precision(values[:, 4:9], conditions=trials["stimulus"]),
    }
    again = rdm(responses, "crossnobis", by="areas", noise=W, folds="session")
    np.testing.assert_allclose(d.dissimilarities, again.dissimilarities, rtol=1e-4, atol=1e-5)
    with pytest.raises(ValueError, match="no precision for region 'V1'"):
        rdm(responses, "crossnobis", by="areas", noise={"FFA": W["FFA"]}, folds="session")


def test_subjects(responses, values, trials):
    other = Responses(values[::-1], trials[::-1], subject="s2")
    d = rdm([responses, other], "sqeuclidean")
    assert list(d.table["subject"]) == ["s1", "s2"]
    np.testing.assert_allclose(d.dissimilarities[1], d.dissimilarities[0], rtol=1e-5)
    nameless = Responses(values, trials)
    assert list(rdm([nameless, nameless], "sqeuclidean").table["subject"]) == [0, 1]


def test_groups_with_other_stimuli_need_partial(responses):
    part = responses.select(trials="not (session == 1 and stimulus == 20)")
    with pytest.raises(ShapeMismatch, match="partial=True"):
        rdm(part, "sqeuclidean", by="session")
    d = rdm(part, "sqeuclidean", by="session", partial=True)
    assert list(d.conditions) == [10, 20, 30, 40]
    np.testing.assert_array_equal(np.isnan(d.dissimilarities).sum(1), [3, 0, 0])
    whole = rdm(responses, "sqeuclidean", by="session")
    np.testing.assert_allclose(d.dissimilarities[1:], whole.dissimilarities[1:])
    same = d.select(0, [10, 30, 40]).dissimilarities
    np.testing.assert_allclose(same, whole.select(0, [10, 30, 40]).dissimilarities)


def test_trials_are_selected(responses):
    d = rdm(responses, "sqeuclidean", trials="session <= 2")
    assert list(d.table["n_trials"]) == [8]


def test_nan_voxels(values, trials):
    values[:, 3] = np.nan
    responses = Responses(values, trials)
    with pytest.raises(ValueError, match="1 of 10 channels"):
        rdm(responses)
    kept = rdm(Responses(np.delete(values, 3, 1), trials))
    np.testing.assert_allclose(rdm(responses, nan="drop").dissimilarities, kept.dissimilarities, rtol=1e-6)


def test_bad_input(responses, values, trials):
    with pytest.raises(ValueError, match=r"by='roy' is no column.*did you mean 'roi'"):
        rdm(responses, by="roy")
    with pytest.raises(ValueError, match="no column 'sesion'"):
        rdm(responses, "crossnobis", folds="sesion")
    with pytest.raises(NoRepeats, match="each has one trial"):
        rdm(responses.average_repeats(), "crossnobis")
    with pytest.raises(ValueError, match="not cross-validated"):
        rdm(responses, "correlation", folds="session")
    with pytest.raises(ShapeMismatch, match="each of 12 trials"):
        rdm(responses, "crossnobis", folds=[1, 2])
    with pytest.raises(UnknownROI):
        rdm(responses, voxels="V4")
    with pytest.raises(ValueError, match="leave these arguments out"):
        rdm(responses, conditions=trials["stimulus"])
    with pytest.raises(ValueError, match="one set of regions"):
        rdm(responses, by=["areas", "roi"])
    with pytest.raises(ValueError, match="region names or a dict"):
        rdm(responses, by="roi", voxels=[0, 1])
    with pytest.raises(EmptySelection, match="belong to no region"):
        rdm(Responses(values, trials), by="roi")
    with pytest.raises(EmptySelection, match="at least two conditions"):
        rdm(responses, trials="stimulus == 10")
    with pytest.raises(ShapeMismatch, match="rdm_movie"):
        rdm(Responses(values[:, :, None], trials, times=[0.0]))
