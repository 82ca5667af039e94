"""NormalOnlySplit: what the folds hold, wrapped splitters, groups, and errors."""

import numpy as np
import pytest
import sklearn
from sklearn.base import clone
from sklearn.ensemble import IsolationForest
from sklearn.model_selection import (
    GridSearchCV,
    GroupKFold,
    KFold,
    LeaveOneOut,
    RepeatedStratifiedKFold,
    StratifiedGroupKFold,
    StratifiedKFold,
    StratifiedShuffleSplit,
    cross_val_score,
    cross_validate,
)

from skanomaly.model_selection import NormalOnlySplit


@pytest.fixture
def y():
    return np.array([1] * 30 + [-1] * 10)


def folds_of(splitter, y, groups=None):
    return list(splitter.split(np.zeros((len(y), 2)), y, groups))


@pytest.mark.parametrize(
    "cv",
    [
        4,
        np.int64(4),
        KFold(4, shuffle=True, random_state=1),
        StratifiedKFold(4),
        StratifiedShuffleSplit(4, test_size=0.3, random_state=0),
        RepeatedStratifiedKFold(n_splits=2, n_repeats=2, random_state=0),
    ],
    ids=str,
)
def test_training_folds_are_normal_and_test_folds_hold_both(y, cv):
    splitter = NormalOnlySplit(cv)
    folds = folds_of(splitter, y)
    assert len(folds) == splitter.get_n_splits(np.zeros((40, 2)), y) == 4
    for train, test in folds:
        assert np.all(y[train] == 1)
        assert set(y[test]) == {1, -1}
        assert not set(train) & set(test)


def test_test_folds_are_those_of_the_wrapped_splitter(y):
    wrapped = StratifiedKFold(5, shuffle=True, random_state=7)
    expected = list(wrapped.split(np.zeros(40), y))
    for (train, test), (all_train, all_test) in zip(
        folds_of(NormalOnlySplit(wrapped), y), expected, strict=True
    ):
        np.testing.assert_array_equal(test, all_test)
        np.testing.assert_array_equal(train, all_train[y[all_train] == 1])


def test_int_is_shuffled_stratified_and_repeatable(y):
    first, again = (folds_of(NormalOnlySplit(5), y) for _ in range(2))
    other = folds_of(NormalOnlySplit(5, random_state=1), y)
    for (train, test), (train_again, test_again) in zip(first, again, strict=True):
        np.testing.assert_array_equal(train, train_again)
        np.testing.assert_array_equal(test, test_again)
        assert (y[test] == -1).sum() == 2
    assert any(
        not np.array_equal(test, test_other)
        for (_, test), (_, test_other) in zip(first, other, strict=True)
    )
    assert sorted(np.concatenate([test for _, test in first])) == list(range(40))
    assert len(first[0][0]) == 24


def test_list_of_splits(y):
    splits = [(np.arange(5, 35), np.r_[0:5, 35:40])]
    splitter = NormalOnlySplit(splits)
    for _ in range(2):
        ((train, test),) = folds_of(splitter, y)
        np.testing.assert_array_equal(train, np.arange(5, 30))
        np.testing.assert_array_equal(test, splits[0][1])
    assert splitter.get_n_splits() == 1


def test_y_as_list_or_float(y):
    for same in (y.tolist(), y.astype(float)):
        for (train, _), (expected, _) in zip(
            folds_of(NormalOnlySplit(), same), folds_of(NormalOnlySplit(), y), strict=True
        ):
            np.testing.assert_array_equal(train, expected)


def test_groups_are_passed_on(y):
    groups = np.arange(40) % 4
    for train, test in folds_of(NormalOnlySplit(GroupKFold(4)), y, groups):
        assert not set(groups[train]) & set(groups[test])
    with pytest.raises(ValueError, match="groups"):
        folds_of(NormalOnlySplit(GroupKFold(4)), y)


@pytest.mark.parametrize("routing", [False, True])
def test_groups_in_cross_validate(y, routing):
    X = np.random.RandomState(0).normal(size=(40, 3)) + 9 * (y == -1)[:, np.newaxis]
    groups = np.arange(40) % 4
    cv = NormalOnlySplit(StratifiedGroupKFold(4))
    with sklearn.config_context(enable_metadata_routing=routing):
        passed = {"params": {"groups": groups}} if routing else {"groups": groups}
        result = cross_validate(
            IsolationForest(n_estimators=5, random_state=0),
            X,
            y,
            cv=cv,
            scoring="roc_auc",
            return_indices=True,
            error_score="raise",
            **passed,
        )
    for train, test in zip(result["indices"]["train"], result["indices"]["test"], strict=True):
        assert np.all(y[train] == 1)
        assert not set(groups[train]) & set(groups[test])


def test_in_scikit_learn(y):
    X = np.random.RandomState(0).normal(size=(40, 3)) + 9 * (y == -1)[:, np.newaxis]
    forest = IsolationForest(n_estimators=5, random_state=0)
    scores = cross_val_score(forest, X, y, cv=NormalOnlySplit(5), scoring="roc_auc")
    assert scores.min() > 0.9
    search = GridSearchCV(
        forest, {"n_estimators": [2, 4]}, cv=NormalOnlySplit(3), scoring="roc_auc"
    )
    assert clone(search).fit(X, y).best_score_ > 0.9


def test_repr():
    assert repr(NormalOnlySplit()) == "NormalOnlySplit(cv=5, random_state=0)"
    assert "KFold(n_splits=3" in repr(NormalOnlySplit(KFold(3)))


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([0, 0, 0, 1], r"Got the values \[0, 1\].*np\.where\(y == 1, -1, 1\)"),
        ([1, 1, 1], r"Got the values \[1\]"),
        ([-1, -1], r"Got the values \[-1\]"),
        ([1, -1, 0], r"Got the values \[-1, 0, 1\]"),
        (list(range(9)), r"\[0, 1, 2, 3, 4, \.\.\.\]"),
        (["good", "crack"], "crack, good"),
        ([1.0, -1.0, np.nan], "nan"),
    ],
    ids=str,
)
def test_labels_other_than_1_and_minus_1(labels, message):
    with pytest.raises(ValueError, match=f"1 for normal and -1 for anomalous.*{message}"):
        folds_of(NormalOnlySplit(2), labels)


def test_no_y():
    with pytest.raises(ValueError, match="Got None"):
        next(NormalOnlySplit(2).split(np.zeros((4, 2))))


def test_y_of_wrong_shape_or_length(y):
    with pytest.raises(ValueError, match="1d array"):
        folds_of(NormalOnlySplit(2), np.ones((4, 2)))
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        next(NormalOnlySplit(2).split(np.zeros((7, 2)), y))


@pytest.mark.parametrize("cv", [KFold(4), LeaveOneOut()], ids=str)
def test_one_class_in_a_test_fold(y, cv):
    message = "test fold 0 holds .* 0 anomalous.*for roc_auc to be defined"
    with pytest.raises(ValueError, match=message):
        NormalOnlySplit(cv).split(np.zeros((40, 2)), y)


@pytest.mark.filterwarnings("ignore:The least populated class")
def test_fewer_anomalies_than_folds():
    with pytest.raises(ValueError, match="Each test fold needs both"):
        folds_of(NormalOnlySplit(5), np.array([1] * 20 + [-1] * 3))


def test_no_normal_to_train_on():
    y = np.array([1, 1, -1, -1])
    splits = [(np.array([2]), np.array([0, 1, 3]))]
    with pytest.raises(ValueError, match="training fold 0 holds no normal image"):
        folds_of(NormalOnlySplit(splits), y)


@pytest.mark.parametrize(("cv", "error"), [(1, ValueError), ("a", ValueError), (True, ValueError)])
def test_bad_cv(y, cv, error):
    with pytest.raises(error):
        folds_of(NormalOnlySplit(cv), y)
