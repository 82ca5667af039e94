"""Axes in another order, and X that is not numeric."""

import datetime
import io
import warnings
from collections import UserList, deque
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.sparse import csr_matrix
from sklearn.base import clone
from synthetic_images import make_images
from torch.utils.data import DataLoader, TensorDataset

from skanomaly import DenoisingAE, PatchCorruption
from skanomaly.inspection import AnomalyMapDisplay, overlay_anomaly_map
from skanomaly.model_selection import SyntheticDefectScorer

DETECTOR = DenoisingAE(max_iter=1, batch_size=4, random_state=0, contamination=0.1)
GREY = make_images(20, size=(16, 18))
COLOR = make_images(20, size=(16, 18), channels=3)
CHANNELS_FIRST = np.moveaxis(COLOR, -1, 1)


@pytest.fixture(scope="module")
def grey():
    return clone(DETECTOR).fit(GREY)


@pytest.fixture(scope="module")
def color():
    return clone(DETECTOR).fit(COLOR)


@pytest.fixture
def silent():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


@pytest.mark.parametrize("method", ["predict", "score_samples", "anomaly_map", "calibrate"])
def test_one_image_for_a_detector_of_color_gets_its_remedy(method, color):
    for image in (COLOR[0], torch.from_numpy(COLOR[0])):
        with pytest.raises(
            ValueError, match=r"fitted on images with 3 .*single image is X\[None\]"
        ):
            getattr(color, method)(image)
    with pytest.raises(ValueError, match=r"np\.moveaxis\(X, 0, -1\)\[None\]"):
        getattr(color, method)(CHANNELS_FIRST[0])
    with pytest.raises(ValueError, match=r"X\.permute\(1, 2, 0\)\[None\]"):
        getattr(color, method)(torch.from_numpy(CHANNELS_FIRST[0]))


def test_one_image_for_a_detector_of_grey_gets_its_remedy(grey):
    with pytest.raises(ValueError, match=r"holds rows of shape \(18,\).*single image is X\[None\]"):
        grey.predict(GREY[0])
    with pytest.raises(ValueError, match=r"got shape \(16, 18, 1\): one image .* is X\[None\]"):
        grey.predict(GREY[0][..., None])
    with pytest.raises(ValueError, match=r"\(16, 18, 3\): one image .* Convert it to one channel"):
        grey.predict(COLOR[0])
    with pytest.raises(ValueError, match=r"\(16, 18, 4\): one image"):
        grey.predict(np.zeros((16, 18, 4)))
    flat = clone(DETECTOR).set_params(image_shape=(16, 18)).fit(GREY.reshape(20, -1))
    with pytest.raises(ValueError, match=r"of shape \(n, 288\), got .*single image is X\[None\]"):
        flat.predict(GREY[0])


@pytest.mark.parametrize("channels", [3, 4])
def test_what_looks_like_one_image_is_said_at_fit(channels, grey):
    image = make_images(1, size=(40, 30), channels=channels)[0]
    message = rf"read as 40 grey image\(s\) of 30 x {channels} pixels.*pass X\[None\]"
    with pytest.warns(UserWarning, match=message):
        clone(DETECTOR).fit(image)
    with pytest.warns(UserWarning, match=message):
        grey.predict(image)
    with pytest.warns(UserWarning, match=message):
        SyntheticDefectScorer(n_defects=2).make_defects(image)


def test_images_of_width_3_are_taken_as_image_shape_says(silent):
    images = make_images(24, size=(30, 3))
    detector = clone(DETECTOR).set_params(image_shape=(30, 3)).fit(images)
    assert detector.anomaly_map(images).shape == (24, 30, 3)
    SyntheticDefectScorer(n_defects=2, image_shape=(30, 3)).make_defects(images)


def test_a_detector_fitted_on_images_of_width_3_takes_them_without_a_word():
    images = make_images(24, size=(30, 3))
    with pytest.warns(UserWarning, match="grey image"):
        detector = clone(DETECTOR).fit(images)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(detector.predict(images)) == 24
        assert len(detector.predict(make_images(30, size=(30, 3)))) == 30


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_channels_first_are_refused_at_fit(channels):
    images = np.zeros((20, channels, 16, 18), dtype=np.uint8)
    before = vars(clone(DETECTOR))
    detector = clone(DETECTOR)
    with pytest.raises(ValueError, match=r"channels last.*np\.moveaxis\(X, 1, -1\)"):
        detector.fit(images)
    assert vars(detector).keys() == before.keys()
    for call in (detector.partial_fit, SyntheticDefectScorer().make_defects):
        with pytest.raises(ValueError, match=r"channels last.*X\.permute\(0, 2, 3, 1\)"):
            call(torch.from_numpy(images))


def test_channels_first_are_refused_where_the_fit_contradicts_them(grey, color):
    with pytest.raises(ValueError, match=r"Channels come last: pass np\.moveaxis\(X, 1, -1\)"):
        color.predict(CHANNELS_FIRST)
    with pytest.raises(ValueError, match=r"Channels come last: pass X\.permute\(0, 2, 3, 1\)"):
        color.predict(torch.from_numpy(CHANNELS_FIRST))
    with pytest.raises(ValueError, match="Channels come last"):
        grey.predict(GREY[:, None])
    shaped = clone(DETECTOR).set_params(image_shape=(16, 18, 3))
    with pytest.raises(ValueError, match="image_shape=.* was given. Channels come last"):
        shaped.fit(CHANNELS_FIRST)
    np.testing.assert_array_equal(
        color.predict(np.moveaxis(CHANNELS_FIRST, 1, -1)), color.predict(COLOR)
    )


@pytest.mark.parametrize("size", [(2, 9), (5, 5), (16, 18)])
def test_images_of_many_channels_still_work(size, silent):
    images = np.random.default_rng(0).random((20, *size, 30))
    detector = clone(DETECTOR).fit(images)
    assert detector.anomaly_map(images).shape == (20, *size)
    # Smaller ones with as many channels, too.
    assert detector.anomaly_map(images[:, :1]).shape == (20, 1, size[1])


def test_lines_of_many_channels_are_taken_as_image_shape_says(silent):
    lines = np.random.default_rng(0).random((20, 1, 18, 30))
    detector = clone(DETECTOR).set_params(image_shape=(1, 18, 30)).fit(lines)
    assert detector.anomaly_map(lines).shape == (20, 1, 18)


def masked(values):
    return np.ma.masked_array(values, values > 0.7)


@pytest.mark.parametrize(
    "X",
    [
        masked(GREY),
        masked(COLOR),
        list(masked(GREY)),
        masked(GREY.reshape(20, -1)),
        np.ma.masked_array(GREY, np.arange(20).reshape(-1, 1, 1) * np.ones(GREY.shape) == 3),
    ],
    ids=["grey", "color", "list", "rows", "one image"],
)
def test_masked_values_are_refused(X, grey):
    for call in (clone(DETECTOR).fit, grey.predict, SyntheticDefectScorer().make_defects):
        with pytest.raises(ValueError, match=r"no masked values, got \d+ .*filled\(value\)"):
            call(X)


def test_masked_values_are_refused_by_corruptions_and_displays():
    pytest.importorskip("matplotlib")
    for call in (
        lambda: PatchCorruption()(masked(GREY)),
        lambda: PatchCorruption(texture_images=masked(GREY))(GREY),
        lambda: AnomalyMapDisplay.from_predictions(masked(GREY), anomaly_maps=GREY),
        lambda: overlay_anomaly_map(masked(GREY)[0], GREY[0], 0.5),
        lambda: overlay_anomaly_map(GREY[0], masked(GREY)[0], 0.5),
    ):
        with pytest.raises(ValueError, match="no masked values"):
            call()


def test_masked_arrays_that_mask_nothing_are_arrays(grey):
    images = np.ma.masked_array(GREY, np.zeros(GREY.shape, dtype=bool))
    np.testing.assert_array_equal(grey.score_samples(images), grey.score_samples(GREY))
    np.testing.assert_array_equal(grey.score_samples(list(images)), grey.score_samples(GREY))


DATES = np.zeros((20, 5), dtype="M8[s]")


@pytest.mark.parametrize(
    "X",
    [
        DATES,
        DATES - DATES,
        np.zeros((20, 4, 4), dtype="M8[D]"),
        np.zeros((20, 4, 4, 3), dtype="m8[s]"),
        np.zeros(20, dtype="f8,f8"),
        np.zeros((20, 2), dtype=[("height", "f4"), ("width", "f4")]),
        np.zeros((20, 4, 4), dtype="u1,u1,u1"),
        [list(DATES[0])] * 3,
        np.full((20, 5), np.datetime64("2026-01-01"), dtype=object),
        np.full((20, 5), datetime.datetime(2026, 1, 1), dtype=object),
        np.full((20, 4, 4), np.timedelta64(1, "s"), dtype=object),
    ],
)
def test_dates_and_records_are_refused(X):
    with pytest.raises(ValueError, match="X must hold numbers, got"):
        clone(DETECTOR).fit(X)


def test_dates_in_frames_are_refused():
    pandas = pytest.importorskip("pandas")
    for frame in (
        pandas.DataFrame(DATES),
        pandas.DataFrame(DATES - DATES),
        pandas.DataFrame({"size": np.ones(20), "when": DATES[:, 0]}),
        pandas.DataFrame({"when": pandas.date_range("2026", periods=20, tz="UTC")}),
        pandas.DataFrame({"when": pandas.period_range("2026", periods=20, freq="D")}),
    ):
        with pytest.raises(ValueError, match="X must hold numbers, got the column"):
            clone(DETECTOR).fit(frame)


def as_objects(images):
    objects = np.empty(len(images), dtype=object)
    objects[:] = list(images)
    return objects


def test_images_of_differing_shapes_in_an_object_array_are_named(grey):
    objects = as_objects([np.zeros((4, 4)), np.zeros((5, 5))])
    for call in (clone(DETECTOR).fit, grey.predict):
        with pytest.raises(ValueError, match=r"images of one shape.*\(4, 4\), \(5, 5\).*size="):
            call(objects)
    scores = grey.score_samples(as_objects(GREY))
    np.testing.assert_array_equal(scores, grey.score_samples(GREY))


class ArrayLike:
    """Has nothing of an array but the conversion."""

    def __init__(self, values):
        self.values = values

    def __array__(self, dtype=None, copy=None):
        return self.values if dtype is None else self.values.astype(dtype)


@pytest.mark.parametrize("convert", [ArrayLike, deque, UserList, lambda X: [*map(ArrayLike, X)]])
def test_what_numpy_takes_for_an_array_is_one(convert, grey, color):
    for detector, images in ((grey, GREY), (color, COLOR)):
        expected = detector.score_samples(images)
        np.testing.assert_array_equal(detector.score_samples(convert(images)), expected)


def test_images_of_pillow(grey):
    stored = (GREY * 255).astype(np.uint8)
    images = [Image.fromarray(image) for image in stored]
    np.testing.assert_array_equal(grey.predict(images), grey.predict(stored))
    palettes = [Image.fromarray(image).quantize(16) for image in (COLOR * 255).astype(np.uint8)]
    for X in (palettes, palettes[0]):
        with pytest.raises(ValueError, match=r"without a palette.*mode 'P'.*convert\('RGB'\)"):
            grey.predict(X)
    with pytest.raises(ValueError, match=r"A single image is X\[None\]"):
        grey.predict(images[0])


def test_lists_that_are_no_array_are_named(grey):
    for X in ([(image, 0) for image in GREY], [[[1, 2], [3]], [[1, 2], [3, 4]]]):
        with pytest.raises(ValueError, match="X must be a list of images or rows of one shape"):
            grey.predict(X)


@pytest.mark.parametrize("X", [torch.zeros(3, 16, 18, device="meta"), torch.eye(18).to_sparse()])
def test_tensors_without_dense_values_are_refused(X, grey):
    for each in (X, [X]):
        with pytest.raises(TypeError, match=r"X must be a dense tensor.*X\.to_dense\(\)"):
            grey.predict(each)


def test_tensors_of_few_bits(grey):
    for dtype in (torch.bfloat16, torch.float8_e4m3fn):
        images = torch.from_numpy(GREY).to(dtype)
        expected = grey.score_samples(images.float())
        np.testing.assert_array_equal(grey.score_samples(images), expected)


@pytest.mark.parametrize(
    "X",
    [
        *(3.0, np.float64(3), np.zeros(288), range(5), np.zeros((2,) * 5)),
        [csr_matrix(image) for image in GREY],
    ],
)
def test_arrays_of_other_rank_are_told_what_is_expected(X, grey):
    for call in (grey.predict, clone(DETECTOR).fit):
        with pytest.raises((ValueError, TypeError), match=r"X must (hold|be an array of) images"):
            call(X)


TENSORS = TensorDataset(torch.from_numpy(GREY))


@pytest.mark.parametrize(
    ("make", "named"),
    [
        (lambda: ["a.png", "b.png"], "list of str"),
        (lambda: ("a.png",), "tuple of str"),
        (lambda: [Path("a.png"), Path("b.png")], r"list of \w*Path"),
        (lambda: np.array(["a.png", "b.png"]), "str"),
        (lambda: np.array([Path("a.png")], dtype=object), "Path"),
        (lambda: "folder/of/images", "folder/of/images"),
        (lambda: Path("image.png"), r"image\.png"),
        (lambda: TENSORS, "TensorDataset"),
        (lambda: torch.utils.data.Subset(TENSORS, [1, 2]), "Subset"),
        (lambda: DataLoader(TENSORS), "DataLoader"),
        (lambda: {"images": np.zeros((3, 8, 8))}, "dict"),
        (lambda: {"a.png"}, "set"),
        (lambda: (image for image in GREY), "generator"),
        (lambda: map(np.asarray, GREY), "map"),
        (lambda: iter(GREY), "iterator"),
        (lambda: None, "NoneType"),
        (lambda: np.asarray, "function"),
        (lambda: bytearray(b"image"), "bytearray"),
        (lambda: [None, None], "list of NoneType"),
        (lambda: [{"image": GREY[0]}] * 3, "list of dict"),
        (lambda: [io.BytesIO(b"image")], "list of BytesIO"),
    ],
)
def test_what_holds_no_array_is_pointed_to_image_sequence(make, named, grey):
    calls = (
        *(clone(DETECTOR).fit, clone(DETECTOR).partial_fit, clone(DETECTOR).fit_predict),
        *(grey.predict, grey.score_samples, grey.detect, grey.detect_batches, grey.calibrate),
        SyntheticDefectScorer().make_defects,
    )
    for call in calls:
        with pytest.raises(TypeError, match=rf"{named}.* instead\. .*ImageSequence\(paths\)"):
            call(make())


def test_a_series_of_paths_is_pointed_to_image_sequence(grey):
    pandas = pytest.importorskip("pandas")
    with pytest.raises(TypeError, match="ImageSequence"):
        grey.predict(pandas.Series(["a.png", "b.png"]))


@pytest.mark.parametrize("X", [[], (), np.array([]), torch.zeros(0)])
def test_nothing_at_all_is_told_what_is_expected(X, grey):
    message = r"images of shape \(n, h, w\) .* rows of shape \(n, n_features\), got an empty"
    for call in (grey.predict, clone(DETECTOR).fit):
        with pytest.raises(ValueError, match=message):
            call(X)


@pytest.mark.parametrize("value", ["a.png", Path("a.png"), GREY[0]], ids=["str", "path", "array"])
def test_a_data_frame_of_paths_or_images_gets_its_remedy(value, grey):
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"image": [value] * 20, "label": 1})
    for call in (clone(DETECTOR).fit, grey.predict):
        with pytest.raises(TypeError, match="the column 'image' of .*ImageSequence"):
            call(frame)
    numbers = pandas.DataFrame({"a": ["1.5", "2"] * 10, "b": [None, 2.0] * 10}, dtype=object)
    with pytest.raises(ValueError, match="NaN"):
        clone(DETECTOR).fit(numbers)
    clone(DETECTOR).fit(numbers[["a"]])


def test_names_of_columns_are_forgotten_with_the_data(tmp_path):
    """Images after a data frame."""
    pandas = pytest.importorskip("pandas")
    rows = pandas.DataFrame(np.random.default_rng(0).random((20, 4)), columns=list("abcd"))
    detector = DenoisingAE(max_iter=1, random_state=0).fit(rows)
    assert list(detector.feature_names_in_) == list("abcd")
    detector.fit(make_images(8, size=(16, 16)))
    assert not hasattr(detector, "feature_names_in_")
    detector.save(tmp_path / "model")


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_rows_are_reconstructed_in_their_dtype(dtype):
    rows = np.random.default_rng(0).random((20, 4)).astype(dtype)
    detector = DenoisingAE(max_iter=1, random_state=0).fit(rows)
    assert detector.reconstruct(rows).dtype == dtype


@pytest.mark.parametrize(
    "change", [torch.Tensor.bfloat16, lambda image: image.requires_grad_()], ids=["short", "grad"]
)
def test_lists_of_tensors_are_reconstructed(change, grey):
    X = [change(torch.tensor(image, dtype=torch.float32)) for image in GREY[:2] / 255.0]
    assert grey.reconstruct(X).shape == (2, 16, 18)
