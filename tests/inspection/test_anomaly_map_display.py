"""AnomalyMapDisplay: the numbers that are drawn, where, and its errors."""

import sys

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pytest
from sklearn.ensemble import IsolationForest
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from synthetic_images import make_images, plant_defects

from skanomaly import SelfSupervisedAutoencoderDetector
from skanomaly.inspection import AnomalyMapDisplay
from skanomaly.model_selection import ConformalDetector


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


@pytest.fixture(scope="module", params=[None, 3])
def fitted(request):
    """A detector, images with defects and their masks; grey and RGB."""
    images = make_images(12, channels=request.param)
    detector = SelfSupervisedAutoencoderDetector(network="plain", max_iter=20, random_state=0)
    return detector.fit(images), *plant_defects(images[:4])


@pytest.fixture
def sample():
    random = np.random.default_rng(0)
    return random.random((3, 16, 20)), random.random((3, 16, 20))


def drawn(axes):
    """Arrays of the images in some axes, bottom to top."""
    return [image.get_array() for image in axes.images]


def test_what_is_drawn_of_a_detector(fitted):
    detector, images, masks = fitted
    display = AnomalyMapDisplay.from_estimator(detector, images, masks=masks, names=list("abcd"))
    assert display.axes_.shape == (4, 2)
    assert {ax.figure for ax in display.axes_.flat} == {display.figure_}
    maps, scores = detector.anomaly_map(images), detector.score_samples(images)
    labels = detector.predict(images)
    for index, (image_ax, map_ax) in enumerate(display.axes_):
        np.testing.assert_array_equal(drawn(image_ax)[0], images[index])
        underlay, overlay = drawn(map_ax)
        assert underlay.shape == images.shape[1:3]
        np.testing.assert_array_equal(overlay, maps[index])
        name, score, decision = image_ax.get_title().splitlines()
        assert name == "abcd"[index]
        assert float(score.removeprefix("score ")) == pytest.approx(scores[index], rel=6e-3)
        assert decision == {1: "normal", -1: "anomalous"}[labels[index]]
    assert display.axes_[0, 0].get_ylabel() == "image"
    assert display.axes_[0, 1].get_ylabel() == "anomaly map"
    assert f"above {detector.map_threshold_:.3g}" in display.color_bar_.ax.get_xlabel()


def test_all_maps_share_a_scale_that_the_bar_tells(sample):
    images, maps = sample
    maps[2] *= 10
    display = AnomalyMapDisplay.from_predictions(images, maps)
    limits = {ax.images[1].get_clim() for ax in display.axes_[:, 1]}
    assert limits == {(0, np.percentile(maps, 99.5))}
    assert (display.color_bar_.vmin, display.color_bar_.vmax) == limits.pop()
    assert display.color_bar_.extend == "max"
    assert AnomalyMapDisplay.from_predictions(images, maps, vmax=20).color_bar_.vmax == 20
    assert AnomalyMapDisplay.from_predictions(images, maps, map_threshold=8).color_bar_.vmax == 16
    assert AnomalyMapDisplay.from_predictions(images, maps - 2).color_bar_.vmin == maps.min() - 2


def test_the_darkest_anomaly_is_lighter_than_the_lightest_image(sample):
    images, maps = sample
    display = AnomalyMapDisplay.from_predictions(images, maps)
    overlay = display.axes_[0, 1].images[1]
    lightness = overlay.get_cmap()([0.0, 1.0])[:, :3] @ [0.2125, 0.7154, 0.0721]
    alpha = overlay.get_alpha()
    assert alpha * lightness[0] + (1 - alpha) < alpha * lightness[1]


def test_outlines_are_those_of_threshold_and_mask(sample):
    images, maps = sample[0], np.zeros((3, 16, 20))
    maps[0, 4:8, 5:11] = 2.0
    masks = np.zeros((3, 16, 20), dtype=np.uint8)
    masks[:2, 10:12, 3:6] = 255
    display = AnomalyMapDisplay.from_predictions(images, maps, map_threshold=1.0, masks=masks)
    lines = [ax.collections for ax in display.axes_[:, 1]]
    assert [len(found) for found in lines] == [2, 1, 0]
    solid, dashed = lines[0]
    np.testing.assert_allclose(solid.get_paths()[0].get_extents().extents, [4.5, 3.5, 10.5, 7.5])
    np.testing.assert_allclose(dashed.get_paths()[0].get_extents().extents, [2.5, 9.5, 5.5, 11.5])
    assert [line.get_linestyle()[0][1] is None for line in (solid, dashed)] == [True, False]
    assert all(not ax.collections for ax in display.axes_[:, 0])
    assert display.color_bar_.ax.lines[0].get_xdata()[0] == 1.0


def test_maps_of_another_size_cover_the_image(sample):
    maps = np.zeros((3, 8, 10))
    maps[:, 2:4, 5:10] = 2.0
    display = AnomalyMapDisplay.from_predictions(sample[0], maps, map_threshold=1.0)
    map_ax = display.axes_[0, 1]
    for image in map_ax.images:
        assert tuple(image.get_extent()) == (-0.5, 19.5, 15.5, -0.5)
    left, top, _, bottom = map_ax.collections[0].get_paths()[0].get_extents().extents
    np.testing.assert_allclose([left, top, bottom], [9.5, 3.5, 7.5])


@pytest.mark.parametrize("value", [0.0, 3.0, -2.0])
def test_constant_maps(sample, value, tmp_path):
    maps = np.full((3, 16, 20), value)
    display = AnomalyMapDisplay.from_predictions(sample[0], maps, map_threshold=1.0)
    assert display.color_bar_.vmin < display.color_bar_.vmax
    assert not any(ax.collections for ax in display.axes_.flat)
    display.figure_.savefig(tmp_path / "constant.png")


@pytest.mark.parametrize("shape", [(8, 64), (32, 80), (20, 20)])
def test_labels_of_rows_do_not_overlap(shape):
    display = AnomalyMapDisplay.from_predictions(np.zeros((2, *shape)), np.zeros((2, *shape)))
    display.figure_.canvas.draw()
    upper, lower = (ax.yaxis.label.get_window_extent() for ax in display.axes_[0])
    assert upper.y0 >= lower.y1 and upper.x0 >= 0
    assert upper.x1 <= display.axes_[0, 0].get_window_extent().x0


@pytest.mark.parametrize(("count", "n_columns", "rows"), [(1, 6, 1), (6, 6, 1), (7, 3, 3)])
def test_images_stand_in_rows_and_titles_inside_the_figure(count, n_columns, rows):
    images = np.zeros((count, 16, 20))
    names = [f"long_file_$name_of_{index}.png" for index in range(count)]
    display = AnomalyMapDisplay.from_predictions(
        images,
        images,
        names=names,
        scores=-np.ones(count),
        labels=-np.ones(count),
        n_columns=n_columns,
    )
    figure = display.figure_
    figure.canvas.draw()
    assert len(figure.axes) == 2 * count + 1
    tops = {round(ax.get_position().y1, 6) for ax in display.axes_[:, 0]}
    assert len(tops) == rows
    title = display.axes_[0, 0].title
    assert title.get_text() == "…e_$name_of_0.png\nscore -1\nanomalous"
    assert title.get_fontweight() == "bold"
    assert title.get_window_extent().y1 < figure.bbox.y1


def test_inside_other_axes(sample):
    figure, (left, right) = plt.subplots(1, 2)
    display = AnomalyMapDisplay.from_predictions(*sample, ax=right)
    assert display.figure_ is figure
    assert not left.images and not right.axison
    assert all(ax.get_position().x0 > 0.5 for ax in display.axes_.flat)

    _, grid = plt.subplots(2, 3)
    display = AnomalyMapDisplay.from_predictions(*sample, ax=grid.T)
    assert (display.axes_ == grid.T).all()
    np.testing.assert_array_equal(drawn(grid[1, 2])[1], sample[1][2])


def test_plot_can_be_called_again(sample):
    display = AnomalyMapDisplay.from_predictions(*sample)
    first = display.figure_
    assert display.plot(cmap="cividis") is display
    assert display.figure_ is not first
    assert display.axes_[0, 1].images[1].get_cmap().name == "cividis"


def test_estimators_around_a_detector(fitted):
    detector, images, _ = fitted
    expected = detector.anomaly_map(images)
    halve = FunctionTransformer(lambda X: X[:, ::2, ::2])
    search = GridSearchCV(detector, {"max_iter": [2]}, cv=2, scoring="roc_auc", refit=False)
    with pytest.raises(ValueError, match="anomaly_map, got GridSearchCV"):
        AnomalyMapDisplay.from_estimator(search, images)
    for around in (make_pipeline(FunctionTransformer(), FrozenEstimator(detector)), detector):
        display = AnomalyMapDisplay.from_estimator(around, images)
        np.testing.assert_array_equal(display.anomaly_maps, expected)
        assert display.map_threshold == detector.map_threshold_
    display = AnomalyMapDisplay.from_estimator(make_pipeline(halve, detector), images)
    assert display.anomaly_maps.shape == (4, 16, 16) and display.images.shape[1:3] == (32, 32)
    channels = images.shape[3] if images.ndim == 4 else None
    others = make_images(12, channels=channels, seed=1)
    calibrated = ConformalDetector(FrozenEstimator(detector), alpha=0.2).fit(others)
    display = AnomalyMapDisplay.from_estimator(calibrated, images)
    assert display.map_threshold == calibrated.map_threshold_ != detector.map_threshold_


def test_flattened_rows_are_drawn_as_images():
    images = make_images(12, size=(16, 20))
    rows = images.reshape(12, -1)
    detector = SelfSupervisedAutoencoderDetector(
        network="plain", image_shape=(16, 20), max_iter=3, random_state=0
    ).fit(rows)
    display = AnomalyMapDisplay.from_estimator(detector, rows[:2])
    np.testing.assert_array_equal(display.images, images[:2])


@pytest.mark.parametrize(
    ("X", "expected"),
    [
        (np.array([[[0, 51, 255]]], np.uint8), [[[0, 0.2, 1]]]),
        (np.array([[[0, 13107, 65535]]], np.uint16), [[[0, 0.2, 1]]]),
        (np.array([[[0, 13107, 52428]]], ">u2"), [[[0, 0.2, 0.8]]]),
        (np.array([[[0.1, 0.2]]]), [[[0.1, 0.2]]]),
        (np.array([[[-1.0, 0.0]], [[1.0, 3.0]]]), [[[0, 0.25]], [[0.5, 1]]]),
        (np.full((1, 1, 2), 7.0), [[[0, 0]]]),
        (np.full((1, 2, 2, 1), 255, np.uint8), [[[1, 1], [1, 1]]]),
    ],
)
def test_value_ranges(X, expected):
    display = AnomalyMapDisplay.from_predictions(X, np.zeros(X.shape[:3]))
    np.testing.assert_allclose(display.images, expected, atol=1e-12)
    assert display.axes_[0, 0].images[0].get_clim() == (0, 1)


@pytest.mark.parametrize(
    ("changes", "part"),
    [
        ({"X": np.zeros((16, 20))}, r"shape \(n, h, w\).*X\[np.newaxis\]"),
        ({"X": np.zeros((3, 16, 20, 5))}, "1 or 3 channels"),
        ({"X": np.zeros((0, 16, 20))}, "0 sample"),
        ({"X": np.full((3, 16, 20), np.nan)}, "NaN"),
        ({"anomaly_maps": np.zeros((2, 16, 20))}, "'anomaly_maps' has 2.*3 images"),
        ({"anomaly_maps": np.zeros((3, 320))}, r"'anomaly_maps'.*\(3, 320\)"),
        ({"anomaly_maps": np.full((3, 16, 20), np.inf)}, "'anomaly_maps' contains"),
        ({"masks": np.zeros((1, 16, 20))}, "'masks' has 1"),
        ({"X": []}, "must hold images"),
        ({"scores": [1.0]}, "'scores' has 1"),
        ({"scores": [1.0, np.nan, 1.0]}, "'scores' contains NaN"),
        ({"labels": [1, 0, 1]}, r"'labels' must be 1.*\[0, 1\]"),
        ({"names": ["a"]}, "'names' has 1"),
        ({"map_threshold": np.nan}, "'map_threshold'"),
        ({"vmax": 0}, "'vmax' must be above 0"),
        ({"n_columns": 0}, "'n_columns'"),
        ({"ax": "here"}, "'ax' must be matplotlib Axes"),
        ({"ax": np.empty((2, 3), dtype=object)}, r"'ax'.*\(3, 2\).*got shape \(2, 3\)"),
    ],
)
def test_errors(sample, changes, part):
    arguments = {"X": sample[0], "anomaly_maps": sample[1], **changes}
    with pytest.raises(ValueError, match=part):
        AnomalyMapDisplay.from_predictions(**arguments)
    assert plt.get_fignums() == []


@pytest.mark.parametrize("X", [3, None])
def test_what_is_no_array(sample, X):
    message = f"X must be an array of images .*, got {type(X).__name__} instead"
    with pytest.raises(TypeError, match=message):
        AnomalyMapDisplay.from_predictions(X, sample[1])
    assert plt.get_fignums() == []


def test_axes_that_are_not_part_of_a_grid(sample):
    with pytest.raises(ValueError, match="part of a grid"):
        AnomalyMapDisplay.from_predictions(*sample, ax=plt.figure().add_axes([0, 0, 1, 1]))


def test_estimators_without_maps():
    forest = IsolationForest().fit(np.zeros((4, 2)))
    with pytest.raises(ValueError, match="anomaly_map, got IsolationForest"):
        AnomalyMapDisplay.from_estimator(forest, np.zeros((2, 8, 8)))
    vectors = SelfSupervisedAutoencoderDetector(max_iter=2).fit(np.arange(80.0).reshape(10, 8))
    with pytest.raises(ValueError, match="must hold images"):
        AnomalyMapDisplay.from_estimator(vectors, np.zeros((2, 8)))


def test_without_matplotlib(sample, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    with pytest.raises(ImportError, match=r"pip install \"skanomaly\[plot\]\""):
        AnomalyMapDisplay.from_predictions(*sample)


def test_colors_and_a_scale_that_ends_below_the_threshold():
    images = np.zeros((1, 8, 8, 3))
    images[..., 0] = 1.0
    maps = np.random.default_rng(0).random((1, 8, 8))
    display = AnomalyMapDisplay.from_predictions(images, maps, map_threshold=2.0, vmax=1.0)
    # The weight of red.
    np.testing.assert_allclose(display.axes_[0, 1].images[0].get_array(), 0.2125)
    assert display.color_bar_.extend == "neither"
    assert len(display.color_bar_.ax.lines) == 0


def test_an_infinite_threshold_leaves_the_scale():
    maps = np.random.default_rng(0).random((1, 8, 8))
    display = AnomalyMapDisplay.from_predictions(maps, maps, map_threshold=np.inf)
    assert display.color_bar_.vmax == np.percentile(maps, 99.5)


def test_the_bar_shows_colors_as_on_middle_grey():
    maps = np.random.default_rng(0).random((1, 8, 8))
    display = AnomalyMapDisplay.from_predictions(np.full((1, 8, 8), 0.5), maps)
    overlay = display.axes_[0, 1].images[1]
    alpha = overlay.get_alpha()
    drawn = alpha * overlay.get_cmap()([0.0, 0.5, 1.0])[:, :3] + (1 - alpha) * 0.5
    np.testing.assert_allclose(display.color_bar_.cmap([0.0, 0.5, 1.0])[:, :3], drawn)


def test_dollar_signs_make_no_formula():
    maps = np.zeros((1, 8, 8))
    display = AnomalyMapDisplay.from_predictions(maps, maps, names=["a$b$c"])
    assert not display.axes_[0, 0].title.get_parse_math()
