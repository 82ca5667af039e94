"""f1_max_score against scikit-learn at every threshold, its sign convention, and errors."""

import warnings

import numpy as np
import pytest
from sklearn.base import BaseEstimator, OutlierMixin
from sklearn.metrics import f1_score, make_scorer
from sklearn.model_selection import GridSearchCV

from skanomaly.metrics import f1_max_score
from skanomaly.model_selection import NormalOnlySplit

wrong_sign = pytest.mark.filterwarnings("ignore:Anomalous images have higher")


def best_of_all_thresholds(y_true, scores):
    return max(
        f1_score(y_true, np.where(scores < threshold, -1, 1), pos_label=-1, zero_division=0)
        for threshold in [*scores, np.inf]
    )


@wrong_sign
@pytest.mark.parametrize("seed", range(30))
@pytest.mark.parametrize("digits", [0, 1, 8])
def test_agrees_with_every_threshold(seed, digits):
    rng = np.random.default_rng(seed)
    y_true = rng.permutation([1] * rng.integers(1, 12) + [-1] * rng.integers(1, 12))
    scores = np.round(rng.normal(size=len(y_true)) + rng.uniform(-1, 2) * y_true, digits)
    f1, threshold = f1_max_score(y_true, scores, return_threshold=True)
    assert f1 == pytest.approx(best_of_all_thresholds(y_true, scores), abs=1e-12)
    found = np.where(scores < threshold, -1, 1)
    assert f1_score(y_true, found, pos_label=-1) == pytest.approx(f1, abs=1e-12)
    assert f1_max_score(y_true, scores) == f1


@pytest.mark.parametrize(
    ("y_true", "scores", "f1", "threshold"),
    [
        ([1, 1, -1, -1], [4, 3, 2, 1], 1.0, 3.0),
        # Both anomalies and one normal image, or else one anomaly of two and nothing else.
        ([1, 1, -1, 1, -1], [-0.1, -0.2, -0.4, -0.5, -0.9], 0.8, -0.2),
        # A tie is called the same.
        ([1, 1, -1, -1], [4, 2, 2, 1], 0.8, 4.0),
        # Of the same F1, two thirds, the fewest are called anomalous.
        ([1, -1, 1, 1, -1], [5, 4, 3, 2, 1], 2 / 3, 2.0),
    ],
)
def test_by_hand(y_true, scores, f1, threshold):
    assert f1_max_score(y_true, scores, return_threshold=True) == (pytest.approx(f1), threshold)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int64])
def test_all_called_anomalous(dtype):
    scores = np.zeros(3, dtype=dtype)
    f1, threshold = f1_max_score([1, -1, -1], scores, return_threshold=True)
    assert f1 == pytest.approx(0.8)
    assert threshold == np.inf


def test_wrong_sign_is_warned_of():
    y_true, scores = np.array([1, 1, 1, -1, -1]), np.array([0.2, 0.1, 0.3, 0.9, 0.8])
    with pytest.warns(UserWarning, match="curve is 0. Higher must be more normal, .* the negative"):
        assert f1_max_score(y_true, scores) < 0.6
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert f1_max_score(y_true, -scores) == 1.0
        # Bad luck, and no sign of a wrong sign.
        f1_max_score([1, 1, 1, 1, -1], [1, 2, 3, 5, 4])


def test_as_a_scorer():
    class BrightnessDetector(OutlierMixin, BaseEstimator):
        def __init__(self, sign=1):
            self.sign = sign

        def fit(self, X, y=None):
            return self

        def decision_function(self, X):
            return -self.sign * X.mean(axis=1)

    X = np.random.default_rng(0).random((12, 5))
    y = np.tile([1, 1, -1], 4)
    X[y == -1] += 1
    search = GridSearchCV(
        BrightnessDetector(),
        {"sign": [-1, 1]},
        scoring=make_scorer(f1_max_score, response_method="decision_function"),
        cv=NormalOnlySplit(2),
        error_score="raise",
    )
    with pytest.warns(UserWarning, match="Anomalous images have higher"):
        search.fit(X, y)
    assert search.best_params_ == {"sign": 1}
    assert search.best_score_ == 1.0


@pytest.mark.parametrize(
    ("y_true", "scores", "message"),
    [
        ([0, 1, 1], [1, 2, 3], r"values \[0, 1\] instead\. If 1 stands for defects.*np\.where"),
        ([False, True], [1, 2], r"1 for normal and -1 for anomalous.*np\.where\(y_true == 1"),
        ([1, 1, 1], [1, 2, 3], r"both at least once\. Got the values \[1\] instead\.$"),
        ([-1, -1], [1, 2], r"values \[-1\] instead"),
        (["good", "bad"], [1, 2], r"values \[bad, good\] instead"),
        ([1, -1, 0, 2, 3, 4], np.ones(6), r"\[-1, 0, 1, 2, 3, \.\.\.\]"),
        ([1, -1, np.nan], [1, 2, 3], "'y_true' must hold"),
        ([1, -1], [1, np.nan], "Input scores contains NaN"),
        ([1, -1], [1, np.inf], "Input scores contains infinity"),
        ([1, -1], [1, 2, 3], "inconsistent numbers of samples"),
        ([1, -1], np.ones((2, 2)), "1d array"),
        ([], [], r"values \[\] instead"),
    ],
)
def test_errors(y_true, scores, message):
    with pytest.raises(ValueError, match=message):
        f1_max_score(y_true, scores)


@pytest.mark.parametrize(("score", "warns"), [(0.4, True), (0.25, False)])
def test_areas_below_a_quarter_are_warned_of(score, warns):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        f1_max_score([1, 1, 1, 1, 1, -1], [0.5, 0.3, 0.2, 0.1, 0.0, score])
    assert bool(caught) == warns


def test_masked_scores_are_refused():
    scores = np.ma.MaskedArray([1.0, 2.0, 3.0], mask=[False, True, False])
    with pytest.raises(ValueError, match="'scores' must hold no masked values, got 1"):
        f1_max_score([1, -1, 1], scores)
