"""ScoreHistogramDisplay: counts, threshold and p-values as they are drawn."""

import itertools

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pytest
from sklearn.base import BaseEstimator, OutlierMixin
from sklearn.ensemble import IsolationForest
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import OneClassSVM
from synthetic_images import make_images, plant_defects

from skanomaly import SelfSupervisedAutoencoderDetector
from skanomaly.inspection import ScoreHistogramDisplay
from skanomaly.model_selection import ConformalDetector


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


@pytest.fixture(scope="module")
def points():
    random = np.random.RandomState(0)
    X = np.concatenate([random.normal(size=(150, 2)), random.normal(size=(30, 2)) + 4])
    return X, np.repeat([1, -1], [150, 30])


def heights(patch):
    """Sum of the heights of a filled histogram's bins, and its edges."""
    x, y = patch.get_xy().T
    edges = np.unique(x)
    middles = (edges[:-1] + edges[1:]) / 2
    # The upper outline comes first, from left to right, with two points to an edge.
    upper = y[: 2 * len(edges)]
    return upper[1:-1:2][: len(middles)], edges


def labels(ax):
    return [text.get_text() for text in ax.get_legend().get_texts()]


@pytest.mark.parametrize("scores", [[-0.5], [-0.5, -0.5], [-0.9, -0.4, -0.2], [-100.0, -1.0]])
def test_counts_are_whole_numbers(scores):
    ax = ScoreHistogramDisplay.from_predictions(np.array(scores)).ax_
    low, high = ax.get_ylim()
    ticks = [tick for tick in ax.get_yticks() if low <= tick <= high]
    assert len(ticks) >= 2 and all(tick == round(tick) for tick in ticks)


def test_counts_and_threshold():
    scores = np.array([-0.9, -0.6, -0.4, -0.5, -0.3, -0.2])
    y = np.array([-1, -1, -1, 1, 1, 1])
    display = ScoreHistogramDisplay.from_predictions(scores, y, threshold=-0.45, bins=7)
    ax = display.ax_
    assert display.axes_.tolist() == [ax] and display.figure_ is ax.figure
    assert ax.get_xscale() == "linear"
    assert labels(ax) == ["normal, 3, 1 below", "anomalous, 3, 2 below", "threshold -0.45"]
    for patch, group in zip(ax.patches, (scores[y == 1], scores[y == -1]), strict=True):
        counts, edges = heights(patch)
        np.testing.assert_array_equal(counts, np.histogram(group, edges)[0])
        assert counts.sum() == 3
    assert ax.lines[0].get_xdata()[0] == -0.45
    # Grey print and colour-blind readers tell them apart.
    assert [patch.get_hatch() is None for patch in ax.patches] == [True, False]


def test_scores_of_many_sizes_get_a_logarithmic_axis(tmp_path):
    scores = -np.geomspace(2, 3000, 50)
    display = ScoreHistogramDisplay.from_predictions(scores, threshold=-100, bins=10)
    assert display.ax_.get_xscale() == "symlog"
    counts, edges = heights(display.ax_.patches[0])
    assert counts.tolist() == [5] * 10
    np.testing.assert_allclose(edges, -np.geomspace(3000, 2, 11))
    assert labels(display.ax_)[0] == f"images, 50, {np.sum(scores < -100)} below"
    display.figure_.savefig(tmp_path / "scores.png")
    shown = [text.get_text() for text in display.ax_.get_xticklabels()]
    assert {"-1000", "-100", "-10"} <= set(shown)


@pytest.mark.parametrize(
    ("lowest", "threshold"), [(-20000, -2.0), (-60, -1e-9), (-20000, -20000.0)]
)
def test_ticks_of_wide_axes_do_not_overlap(lowest, threshold):
    scores = -np.geomspace(-lowest, -lowest / 60, 50)
    display = ScoreHistogramDisplay.from_predictions(scores, threshold=threshold)
    display.figure_.canvas.draw()
    left, right = display.ax_.get_xlim()
    texts = [t for t in display.ax_.get_xticklabels() if left <= t.get_position()[0] <= right]
    spans = sorted((text.get_window_extent().x0, text.get_window_extent().x1) for text in texts)
    assert len(spans) >= 2
    assert all(one[1] < other[0] for one, other in itertools.pairwise(spans))


@pytest.mark.parametrize("scores", [[-3.0], [0.0, 0.0], [-500.0, -1.0, 0.0], [5.0, 900.0]])
def test_scores_that_have_no_logarithm_or_spread(scores):
    display = ScoreHistogramDisplay.from_predictions(scores, threshold=0.5)
    assert display.ax_.get_xscale() == "linear"
    assert heights(display.ax_.patches[0])[0].sum() == len(scores)


def test_a_threshold_above_negative_scores():
    display = ScoreHistogramDisplay.from_predictions([-1000.0, -1.0], threshold=0.5)
    left, right = display.ax_.get_xlim()
    assert left < -1000 and right > 0.5


def test_an_infinite_threshold_has_no_line():
    display = ScoreHistogramDisplay.from_predictions([-2.0, -1.0], threshold=-np.inf)
    assert len(display.ax_.lines) == 0
    assert labels(display.ax_) == ["images, 2, 0 below"]


def test_detectors_of_both_libraries(points):
    X, y = points
    forest = IsolationForest(random_state=0).fit(X[y == 1])
    display = ScoreHistogramDisplay.from_estimator(forest, X, y)
    np.testing.assert_array_equal(display.scores, forest.score_samples(X))
    below = np.sum(forest.predict(X[y == 1]) == -1)
    assert labels(display.ax_)[0] == f"normal, 150, {below} below"
    pipeline = make_pipeline(StandardScaler(), forest).fit(X[y == 1])
    assert ScoreHistogramDisplay.from_estimator(pipeline, X).threshold == forest.offset_
    search = GridSearchCV(forest, {"n_estimators": [5]}, scoring="roc_auc", cv=[(y == 1, y != 0)])
    search.fit(X, y)
    display = ScoreHistogramDisplay.from_estimator(search, X)
    assert display.threshold == search.best_estimator_.offset_

    images = make_images(12)
    detector = SelfSupervisedAutoencoderDetector(network="plain", max_iter=5, random_state=0)
    detector.fit(images)
    defective, _ = plant_defects(images)
    display = ScoreHistogramDisplay.from_estimator(detector, defective, np.full(12, -1))
    assert len(display.ax_.patches) == 1
    assert labels(display.ax_)[0].startswith("anomalous, 12, ")
    assert display.threshold == detector.offset_


def test_p_values_of_a_conformal_detector(points):
    X, y = points
    calibrated = ConformalDetector(IsolationForest(random_state=0), alpha=0.1, random_state=0)
    calibrated.fit(X[y == 1])
    display = ScoreHistogramDisplay.from_estimator(calibrated, X, y)
    histogram, curves = display.axes_
    assert histogram is display.ax_ and display.threshold == calibrated.offset_
    p_values = calibrated.p_values(X)
    for line, group in zip(curves.lines[:2], (p_values[y == 1], p_values[y == -1]), strict=True):
        x, fraction = line.get_data()
        for level in (0.1, 0.35, 0.8):
            drawn = fraction[np.searchsorted(x, level, side="right") - 1]
            assert drawn == pytest.approx(np.mean(group <= level))
    flagged = np.mean(calibrated.predict(X[y == 1]) == -1)
    assert labels(curves)[0] == f"normal, {flagged:.1%} up to alpha"
    assert labels(curves)[-1] == "alpha 0.1"
    assert curves.lines[0].get_linestyle() != curves.lines[1].get_linestyle()


def test_in_given_axes(points):
    _, (left, right) = plt.subplots(1, 2)
    display = ScoreHistogramDisplay.from_predictions([1.0, 2.0], ax=left)
    assert display.ax_ is left and not right.patches
    display = ScoreHistogramDisplay.from_predictions([1.0, 2.0], p_values=[0.1, 1], ax=right)
    assert not right.axison and len(display.axes_) == 2
    assert all(ax.get_position().x0 > 0.5 for ax in display.axes_)


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        ({"scores": []}, "0 sample"),
        ({"scores": [np.nan]}, "'scores' contains NaN"),
        ({"scores": [[1.0, 2.0]]}, "1d array"),
        ({"scores": [1.0], "y": [1, -1]}, "inconsistent numbers of samples"),
        ({"scores": [1.0, 2.0], "y": [0, 1]}, r"'y' must be 1.*\[0, 1\]"),
        ({"scores": [1.0], "p_values": [2.0]}, "'p_values' must be from 0 to 1"),
        ({"scores": [1.0], "threshold": np.nan}, "'threshold'"),
        ({"scores": [1.0], "bins": 0}, "'bins'"),
        ({"scores": [1.0], "ax": 3}, "'ax' must be matplotlib Axes"),
    ],
)
def test_errors(arguments, part):
    with pytest.raises(ValueError, match=part):
        ScoreHistogramDisplay.from_predictions(**arguments)
    assert plt.get_fignums() == []


def test_an_estimator_without_scores():
    with pytest.raises(ValueError, match="score_samples, got StandardScaler"):
        ScoreHistogramDisplay.from_estimator(StandardScaler(), np.zeros((2, 2)))


def test_a_threshold_in_an_array(points):
    """That of OneClassSVM."""
    detector = OneClassSVM().fit(points[0])
    display = ScoreHistogramDisplay.from_estimator(detector, points[0])
    assert display.threshold == float(detector.offset_[0])


@pytest.mark.parametrize(("lowest", "scale"), [(-9.0, "linear"), (-11.0, "symlog")])
def test_the_axis_is_logarithmic_above_a_factor_of_ten(lowest, scale):
    display = ScoreHistogramDisplay.from_predictions([lowest, -1.0])
    assert display.ax_.get_xscale() == scale


def test_values_at_the_thresholds():
    display = ScoreHistogramDisplay.from_predictions(
        [-0.5, -0.4], threshold=-0.5, p_values=[0.1, 0.5], alpha=0.1
    )
    assert labels(display.axes_[0])[0] == "images, 2, 0 below"
    assert labels(display.axes_[1])[0] == "images, 50.0% up to alpha"


class FirstValue(OutlierMixin, BaseEstimator):
    def fit(self, X, y=None):
        self.fitted_ = True
        return self

    def score_samples(self, X):
        return np.asarray(X)[:, 0]


def test_alpha_of_few_digits():
    rows = np.arange(99.0)[:, None]
    detector = ConformalDetector(FrozenEstimator(FirstValue().fit(rows)), alpha=np.float32(0.01))
    display = ScoreHistogramDisplay.from_estimator(detector.fit(rows), rows - 0.5)
    assert display.alpha == 0.01
    assert labels(display.axes_[1])[0] == "images, 1.0% up to alpha"
