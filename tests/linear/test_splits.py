"""Groups stay together, and repeats that nobody named do not pass in silence."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.model_selection import GroupShuffleSplit, KFold

from neuro.data import Responses
from neuro.encoders import RepeatedStimuliWarning, RidgeCV
from neuro.errors import SplitLeakage
from neuro.linear._splits import make_splits, order_folds

pytestmark = pytest.mark.filterwarnings("ignore::neuro.encoders.AlphaAtBoundaryWarning")


@pytest.fixture
def repeated_noise(rng):
    """Features that are noise, a different one for each of 60 stimuli, and 3 responses to each: nothing to find."""
    X = np.repeat(rng.standard_normal((60, 200)), 3, axis=0)
    Y = np.repeat(rng.standard_normal((60, 30)), 3, axis=0) + 0.3 * rng.standard_normal((180, 30))
    return X, Y, np.repeat(np.arange(60), 3)


def test_features_of_noise_score_nothing_when_repeats_stay_together(repeated_noise):
    X, Y, stimulus = repeated_noise
    honest = RidgeCV(scoring="r2").fit(X, Y, groups=stimulus)
    assert honest.best_score_.mean() < 0.05
    with pytest.warns(RepeatedStimuliWarning, match=r"5\d stimuli occur more than once .* groups="):
        fooled = RidgeCV(scoring="r2").fit(X, Y)
    assert fooled.best_score_.mean() > 0.5


def test_int_cv_never_splits_a_group(rng):
    groups = rng.integers(0, 13, 100)
    for train, val in make_splits(5, 100, groups, 0):
        assert not set(groups[train]) & set(groups[val])
        assert len(train) + len(val) == 100


def test_int_cv_shuffles(rng):
    """Unshuffled folds of image-ordered data hold out whole categories."""
    splits = make_splits(5, 100, None, 0)
    assert max(np.ptp(val) for _, val in splits) > 50
    assert sorted(np.concatenate([val for _, val in splits])) == list(range(100))


def test_responses_bring_their_stimuli_along(repeated_noise):
    X, Y, stimulus = repeated_noise
    responses = Responses(Y, pd.DataFrame({"stimulus": stimulus}))
    model = RidgeCV().fit(X.astype(np.float32), responses)
    for train, val in model.splits_:
        assert not set(stimulus[train]) & set(stimulus[val])
    plain = RidgeCV().fit(X.astype(np.float32), Y.astype(np.float32), groups=stimulus)
    np.testing.assert_array_equal(model.coef_, plain.coef_)
    assert model.score(X, responses) == plain.score(X, responses.to_numpy())
    with pytest.raises(SplitLeakage, match="120 repeats"):
        RidgeCV(cv="loo").fit(X, responses)


def test_groups_may_be_words(planted):
    X, Y = planted(40, 5, 3)
    names = np.array([f"image {i // 2}" for i in range(40)], dtype=object)
    model = RidgeCV().fit(X, Y, groups=names)
    for train, val in model.splits_:
        assert not set(names[train]) & set(names[val])


def test_splitter_that_breaks_groups_is_refused(planted):
    X, Y = planted(40, 5, 3)
    groups = np.arange(40) // 2
    with pytest.raises(SplitLeakage, match=r"groups stand on both sides of split 0.*GroupKFold"):
        RidgeCV(cv=KFold(5, shuffle=True, random_state=0)).fit(X, Y, groups=groups)
    RidgeCV(cv=GroupShuffleSplit(3, random_state=0)).fit(X, Y, groups=groups)
    RidgeCV(cv=KFold(5)).fit(X, Y, groups=groups)  # happens to keep them together


def test_repeats_inside_one_fold_do_not_warn(planted):
    X, Y = planted(20, 5, 3)
    X, Y = np.repeat(X, 2, axis=0), np.repeat(Y, 2, axis=0)
    with warnings.catch_warnings():
        warnings.simplefilter("error", RepeatedStimuliWarning)
        RidgeCV(cv=KFold(5)).fit(X, Y)
        RidgeCV().fit(X, Y, groups=np.repeat(np.arange(20), 2))
    with pytest.warns(RepeatedStimuliWarning):
        RidgeCV(cv="loo").fit(torch.from_numpy(X).float(), torch.from_numpy(Y).float())


def test_rows_that_are_almost_equal_are_not_repeats(planted):
    X, Y = planted(40, 5, 3)
    X[20:] = X[:20] + 1e-9
    with warnings.catch_warnings():
        warnings.simplefilter("error", RepeatedStimuliWarning)
        RidgeCV().fit(X, Y)


@pytest.mark.parametrize(
    ("cv", "message"),
    [
        (1, "cv must be at least 2"),
        (50, "cv=50 folds need at least 50 rows, got 40 rows"),
        ("five", "cv must be 'loo' or 'gcv', got 'five'"),
        (2.5, "cv must be a number of folds"),
        (None, "cv must be a number of folds"),
        ([], "at least one split"),
        ([(np.arange(10), np.arange(10, 50))], "outside 0..39"),
        ([(np.arange(10), [])], "pair of index arrays|no validation rows"),
        ([(np.arange(10), np.arange(0))], "no validation rows"),
        ([(np.arange(10), np.array([11, 11]))], "twice"),
        ([(np.arange(10), np.arange(5, 20))], "5 rows on both sides"),
        ([np.arange(10)], "pair of index arrays"),
    ],
)
def test_splits_that_cannot_be_are_refused(planted, cv, message):
    X, Y = planted(40, 5, 3)
    with pytest.raises(ValueError, match=message):
        RidgeCV(cv=cv).fit(X, Y)


def test_too_few_groups_and_groups_of_another_length_are_refused(planted):
    X, Y = planted(40, 5, 3)
    with pytest.raises(ValueError, match="cv=5 folds need at least 5 groups, got 4 groups"):
        RidgeCV().fit(X, Y, groups=np.arange(40) % 4)
    with pytest.raises(ValueError, match=r"one entry per row of X, 40; its shape is \(39,\)"):
        RidgeCV().fit(X, Y, groups=np.arange(39))
    with pytest.raises(ValueError, match="1 entries are NaN"):
        RidgeCV().fit(X, Y, groups=np.where(np.arange(40) == 3, np.nan, 1.0 * np.arange(40)))


def test_boolean_masks_are_splits_too(planted):
    X, Y = planted(40, 5, 3)
    val = np.arange(40) % 4 == 0
    a = RidgeCV(cv=[(~val, val)]).fit(X, Y)
    b = RidgeCV(cv=[(np.flatnonzero(~val), np.flatnonzero(val))]).fit(X, Y)
    np.testing.assert_array_equal(a.cv_scores_, b.cv_scores_)


def test_reordered_folds_are_the_same_rows(rng):
    splits = make_splits(4, 30, rng.integers(0, 9, 30), 0)
    order, folds = order_folds(splits, 30, torch.device("cpu"))
    for (train, val), fold in zip(splits, folds, strict=True):
        assert isinstance(fold.val, slice)
        np.testing.assert_array_equal(order[fold.val], val)
        np.testing.assert_array_equal(np.sort(np.concatenate([order[s] for s in fold.train])), train)
        assert fold.complement
