"""NormalOnlySplit: folds stratified by the kind of defect, and groups that stay together."""

import warnings

import numpy as np
import pandas as pd
import pytest
import sklearn
from sklearn.base import clone
from sklearn.ensemble import IsolationForest
from sklearn.exceptions import UnsetMetadataPassedError
from sklearn.model_selection import (
    GridSearchCV,
    GroupKFold,
    KFold,
    LeaveOneGroupOut,
    StratifiedGroupKFold,
    StratifiedKFold,
    StratifiedShuffleSplit,
    cross_validate,
)

from skanomaly.model_selection import NormalOnlySplit

FOREST = IsolationForest(n_estimators=5, random_state=0)


@pytest.fixture
def case():
    """Shuffled images: 60 normal, 12 cracks, 8 stains and 4 of kind 3; four crops of an image."""
    kinds = np.repeat(["good", "crack", "stain", "3"], [60, 12, 8, 4])
    groups = np.arange(84) // 4
    order = np.random.RandomState(0).permutation(84)
    kinds, groups = kinds[order], groups[order]
    y = np.where(kinds == "good", 1, -1)
    X = np.random.RandomState(1).normal(size=(84, 3)) + 9 * (y == -1)[:, np.newaxis]
    return X, y, kinds, groups


def counts(folds, kinds):
    """Images of each kind of defect in each test fold."""
    names = [kind for kind in np.unique(kinds) if kind != "good"]
    return np.array([[np.sum(kinds[test] == name) for name in names] for _, test in folds])


@pytest.mark.parametrize(
    "cv",
    [
        4,
        StratifiedKFold(4),
        StratifiedShuffleSplit(5, test_size=0.25, random_state=0),
    ],
    ids=str,
)
def test_each_kind_is_spread_over_the_test_folds(case, cv):
    X, y, kinds, _ = case
    splitter = NormalOnlySplit(cv)
    by_kind = list(splitter.split(X, y, kinds=kinds))
    assert len(by_kind) == splitter.get_n_splits(X, y, kinds=kinds)
    # In the order of the names: 4 of "3", 12 of "crack", 8 of "stain".
    assert np.all(counts(by_kind, kinds) == [1, 3, 2])
    for train, test in by_kind:
        assert np.all(y[train] == 1)
        assert np.sum(y[test] == 1) == 15
        assert not set(train) & set(test)
    # Without kinds this does not come by chance.
    assert np.any(counts(splitter.split(X, y), kinds) != [1, 3, 2])


def test_kinds_as_other_types(case):
    X, y, kinds, _ = case
    expected = list(NormalOnlySplit(4).split(X, y, kinds=kinds))
    _, numbers = np.unique(kinds, return_inverse=True)
    normal_without_kind = np.where(y == 1, None, kinds).tolist()
    normal_of_many_kinds = np.where(y == 1, np.arange(len(y)).astype(str), kinds)
    for same in (
        kinds.tolist(),
        pd.Series(kinds, index=np.arange(84)[::-1]),
        pd.Categorical(kinds),
        normal_without_kind,
        normal_of_many_kinds,
    ):
        folds = list(NormalOnlySplit(4).split(X, y, kinds=same))
        for fold, expected_fold in zip(folds, expected, strict=True):
            np.testing.assert_array_equal(fold[0], expected_fold[0])
            np.testing.assert_array_equal(fold[1], expected_fold[1])
    one_kind_missing = np.where(kinds == "stain", None, kinds)
    for same in (numbers, one_kind_missing):
        folds = NormalOnlySplit(4).split(X, y, kinds=same)
        assert np.all(counts(folds, kinds) == [1, 3, 2])


def test_folds_of_kinds_are_shuffled_and_repeatable(case):
    X, y, kinds, _ = case
    first, again, other = (
        [test.tolist() for _, test in NormalOnlySplit(4, random_state=s).split(X, y, kinds=kinds)]
        for s in (0, 0, 1)
    )
    assert first == again != other
    assert sorted(np.concatenate(first)) == list(range(84))


@pytest.mark.parametrize("n_normal", range(20, 25))
def test_rare_kinds_still_give_each_fold_an_anomaly(n_normal):
    """Five kinds of one image each in five folds, one kind first and the others last."""
    kinds = np.array(["a"] + ["good"] * n_normal + ["b", "c", "d", "e"])
    y = np.where(kinds == "good", 1, -1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        folds = list(NormalOnlySplit(5).split(y, y, kinds=kinds))
    assert [np.sum(y[test] == -1) for _, test in folds] == [1] * 5


def test_kinds_without_effect_on_a_splitter_that_takes_no_account_of_y(case):
    X, y, kinds, _ = case
    splitter = NormalOnlySplit(KFold(4, shuffle=True, random_state=0))
    for (_, test), (_, expected) in zip(
        splitter.split(X, y, kinds=kinds), splitter.split(X, y), strict=True
    ):
        np.testing.assert_array_equal(test, expected)


def test_groups_stay_together_with_a_number_of_folds(case):
    X, y, _, groups = case
    folds = list(NormalOnlySplit(3).split(X, y, groups))
    assert len(folds) == NormalOnlySplit(3).get_n_splits(X, y, groups) == 3
    for train, test in folds:
        assert not set(groups[train]) & set(groups[test])
        assert np.all(y[train] == 1) and set(y[test]) == {-1, 1}
    assert sorted(np.concatenate([test for _, test in folds])) == list(range(84))
    without = NormalOnlySplit(3).split(X, y)
    assert any(set(groups[train]) & set(groups[test]) for train, test in without)


def test_groups_and_kinds_together(case):
    X, y, kinds, groups = case
    for cv in (2, StratifiedGroupKFold(2)):
        folds = list(NormalOnlySplit(cv).split(X, y, groups, kinds))
        for train, test in folds:
            assert not set(groups[train]) & set(groups[test])
        # Four crops to an image, all of one kind: one image of "3", three and two of the others.
        assert np.all(np.sort(counts(folds, kinds), axis=0) == [[0, 4, 4], [4, 8, 4]])


@pytest.mark.filterwarnings("ignore:The groups parameter is ignored")
@pytest.mark.parametrize("cv", [StratifiedKFold(3), KFold(3, shuffle=True, random_state=0)])
def test_a_splitter_that_tears_groups_apart(case, cv):
    X, y, _, groups = case
    with pytest.raises(ValueError, match=r"group .* in its training and its test set.*KFold"):
        NormalOnlySplit(cv).split(X, y, groups)


def test_a_list_of_splits_is_checked_against_groups():
    y = np.array([1, 1, 1, -1])
    splits = [(np.array([0, 1, 3]), np.array([2, 3]))]
    kept, torn = (["a", "a", "b", "b"], ["a", "b", "b", "b"])
    ((train, _),) = NormalOnlySplit(splits).split(y, y, kept)
    assert train.tolist() == [0, 1]
    with pytest.raises(ValueError, match="group 'b'"):
        NormalOnlySplit(splits).split(y, y, torn)


def test_leave_one_group_out(case):
    X, y, _, _ = case
    groups = np.arange(84) % 6
    splitter = NormalOnlySplit(LeaveOneGroupOut())
    assert splitter.get_n_splits(X, y, groups) == 6
    for train, test in splitter.split(X, y, groups):
        assert len(set(groups[test])) == 1 and groups[test][0] not in groups[train]


def check_routed(result, kinds, groups, y):
    folds = list(zip(result["train"], result["test"], strict=True))
    for train, test in folds:
        assert np.all(y[train] == 1)
        if groups is not None:
            assert not set(groups[train]) & set(groups[test])
    if groups is None:
        assert np.all(counts(folds, kinds) == [1, 3, 2])


@pytest.mark.parametrize("cv", [4, StratifiedKFold(4)], ids=str)
def test_kinds_are_routed(case, cv):
    X, y, kinds, _ = case
    with sklearn.config_context(enable_metadata_routing=True):
        result = cross_validate(
            FOREST,
            X,
            y,
            cv=NormalOnlySplit(cv),
            scoring="roc_auc",
            params={"kinds": kinds},
            return_indices=True,
            error_score="raise",
        )
        check_routed(result["indices"], kinds, None, y)
        search = GridSearchCV(
            FOREST, {"n_estimators": [2, 4]}, cv=NormalOnlySplit(cv), scoring="roc_auc"
        )
        assert clone(search).fit(X, y, kinds=kinds).best_score_ > 0.9
        renamed = NormalOnlySplit(cv).set_split_request(kinds="defects")
        search.set_params(cv=renamed).fit(X, y, defects=kinds)


@pytest.mark.parametrize("routing", [False, True])
def test_groups_reach_a_number_of_folds(case, routing):
    X, y, kinds, groups = case
    with sklearn.config_context(enable_metadata_routing=routing):
        result = cross_validate(
            FOREST,
            X,
            y,
            cv=NormalOnlySplit(3),
            scoring="roc_auc",
            return_indices=True,
            error_score="raise",
            **({"params": {"groups": groups}} if routing else {"groups": groups}),
        )
    check_routed(result["indices"], kinds, groups, y)


def test_a_request_to_leave_out_groups_is_kept(case):
    X, y, _, groups = case
    with sklearn.config_context(enable_metadata_routing=True):
        cv = NormalOnlySplit(StratifiedKFold(3)).set_split_request(groups=False)
        assert cv.get_metadata_routing().split.requests["groups"] is False
        # scikit-learn's error for what nobody takes.
        with pytest.raises(TypeError, match="not routed to any object"):
            cross_validate(FOREST, X, y, cv=cv, scoring="roc_auc", params={"groups": groups})


def test_groups_are_not_asked_for_in_the_name_of_a_splitter_that_takes_none(case):
    X, y, _, groups = case
    with (
        sklearn.config_context(enable_metadata_routing=True),
        pytest.raises(UnsetMetadataPassedError, match="groups"),
    ):
        cross_validate(
            FOREST,
            X,
            y,
            cv=NormalOnlySplit(StratifiedKFold(3)),
            scoring="roc_auc",
            params={"groups": groups},
        )


def test_folds_by_kind_without_routing(case):
    X, y, kinds, _ = case
    folds = list(NormalOnlySplit(4).split(X, y, kinds=kinds))
    search = GridSearchCV(FOREST, {"n_estimators": [2, 4]}, cv=folds, scoring="roc_auc")
    assert search.fit(X, y).best_score_ > 0.9


def test_kinds_or_groups_of_wrong_shape_or_length(case):
    X, y, kinds, groups = case
    for bad in (dict(kinds=kinds[:-1]), dict(groups=groups[:-1])):
        with pytest.raises(ValueError, match="inconsistent numbers of samples"):
            NormalOnlySplit(3).split(X, y, **bad)
    for bad in (dict(kinds=np.ones((84, 2))), dict(groups=np.ones((84, 2)))):
        with pytest.raises(ValueError, match="1d array"):
            NormalOnlySplit(3).split(X, y, **bad)
    with pytest.raises(ValueError, match="groups"):
        NormalOnlySplit(GroupKFold(3)).split(X, y, kinds=kinds)


def test_fewer_groups_than_folds(case):
    X, y, _, _ = case
    with pytest.raises(ValueError, match="greater than the number of groups"):
        NormalOnlySplit(3).split(X, y, np.arange(84) % 2)
