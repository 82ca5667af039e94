"""LossCurveDisplay: the curves as they are drawn."""

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pytest
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skanomaly import DenoisingAE
from skanomaly.inspection import LossCurveDisplay


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


@pytest.fixture
def rows():
    return np.random.default_rng(0).normal(size=(40, 3))


def test_curves_of_a_detector(rows):
    detector = DenoisingAE(max_iter=60, early_stopping=True, n_iter_no_change=20, random_state=0)
    pipeline = make_pipeline(StandardScaler(), detector).fit(rows)
    display = LossCurveDisplay.from_estimator(pipeline)
    each, mean, held_out, best = display.ax_.lines
    x, y = each.get_data()
    assert x[0] == 1 and x[-1] == detector.n_iter_
    np.testing.assert_array_equal(y, detector.loss_curve_)
    np.testing.assert_allclose(mean.get_ydata()[10], np.mean(detector.loss_curve_[9:12]))
    np.testing.assert_array_equal(np.transpose(held_out.get_data()), detector.validation_curve_)
    steps, losses = np.transpose(detector.validation_curve_)
    assert best.get_xdata()[0] == steps[np.argmin(losses)]
    assert display.ax_.get_yscale() == "log"
    assert len(display.ax_.get_legend().get_texts()) == 4


def test_without_validation_in_given_axes(rows):
    _, ax = plt.subplots()
    display = LossCurveDisplay.from_estimator(DenoisingAE(max_iter=1).fit(rows), ax=ax)
    assert display.ax_ is ax and display.figure_ is ax.figure
    assert [line.get_label() for line in ax.lines] == ["each step", "running mean"]
    assert len(ax.lines[1].get_ydata()) == 1


def test_a_loss_of_zero_is_drawn_on_a_linear_axis():
    display = LossCurveDisplay(loss_curve=np.array([1.0, 0.0])).plot()
    assert display.ax_.get_yscale() == "linear"


@pytest.mark.parametrize("estimator", [DenoisingAE(), StandardScaler()])
def test_estimators_without_a_curve(estimator):
    with pytest.raises(ValueError, match=f"{type(estimator).__name__} has no loss_curve_"):
        LossCurveDisplay.from_estimator(estimator)
