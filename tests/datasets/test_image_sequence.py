"""ImageSequence: reading, selecting, errors, and life inside scikit-learn."""

import pickle
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.base import BaseEstimator, OutlierMixin
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GridSearchCV, cross_val_score, train_test_split
from sklearn.utils import _safe_indexing, check_consistent_length, indexable
from sklearn.utils.validation import _num_samples

from skanomaly.datasets import ImageSequence
from skanomaly.datasets import _image_sequence as module
from skanomaly.model_selection import NormalOnlySplit


def save(path, array):
    Image.fromarray(array).save(path)
    return path


@pytest.fixture
def stored_images():
    return np.random.RandomState(0).randint(0, 256, (6, 9, 7), dtype=np.uint8)


@pytest.fixture
def paths(tmp_path, stored_images):
    return [
        save(tmp_path / f"{index}.png", stored_image)
        for index, stored_image in enumerate(stored_images)
    ]


@pytest.fixture
def read_paths(monkeypatch):
    """Record the files read."""
    read = []
    original = module.read_image

    def read_image(path, *args):
        read.append(path)
        return original(path, *args)

    monkeypatch.setattr(module, "read_image", read_image)
    return read


class BrightnessDetector(OutlierMixin, BaseEstimator):
    """Calls bright images anomalous; reads the sequence in batches of two."""

    def __init__(self, power=1.0):
        self.power = power

    def fit(self, X, y=None):
        assert isinstance(X, ImageSequence)
        self.n_seen_ = len(X)
        self.offset_ = 0.0
        return self

    def score_samples(self, X):
        batches = [X.read(slice(start, start + 2)) for start in range(0, len(X), 2)]
        return -(np.concatenate([batch.mean(axis=(1, 2)) for batch in batches]) ** self.power)

    def decision_function(self, X):
        return self.score_samples(X) - self.offset_

    def predict(self, X):
        return np.where(self.decision_function(X) >= 0, 1, -1)


def test_looks_like_the_array(paths, stored_images):
    images = ImageSequence(paths)
    assert len(images) == 6
    assert images.shape == stored_images.shape
    assert images.ndim == 3
    assert images.dtype == np.uint8
    assert images.paths == paths
    assert images.size is None
    assert images.mode == "auto"
    np.testing.assert_array_equal(np.asarray(images), stored_images)
    assert np.asarray(images, dtype=np.float32).dtype == np.float32
    np.testing.assert_array_equal(np.stack(list(images)), stored_images)
    assert repr(images) == "ImageSequence(6 files, size=None, mode='auto')"


def test_array_without_copy_is_refused(paths):
    with pytest.raises(ValueError, match="without a copy"):
        np.asarray(ImageSequence(paths), copy=False)


def test_construction_and_selection_touch_no_file():
    images = ImageSequence(["nowhere/a.png", Path("nowhere/b.png")])
    selected = images[[1]]
    assert selected.paths == [Path("nowhere/b.png")]
    with pytest.raises(FileNotFoundError, match=r"nowhere/a\.png"):
        selected.shape  # noqa: B018


@pytest.mark.parametrize("index", [0, 5, -1, np.int64(3), np.array(2)])
def test_integer_reads_one_image(paths, stored_images, index):
    image = ImageSequence(paths)[index]
    assert isinstance(image, np.ndarray)
    np.testing.assert_array_equal(image, stored_images[index])


@pytest.mark.parametrize(
    "key",
    [
        slice(1, None, 2),
        slice(None, None, -1),
        [4, 0, 0],
        (slice(2), ...),
        (np.array([5, -2]), ...),
        np.array([5, 1], dtype=np.uint8),
        np.array([True, False, True, False, False, True]),
        [False, True, False, False, False, False],
        [],
        np.zeros(6, dtype=bool),
    ],
    ids=str,
)
def test_selection_is_lazy_and_agrees_with_numpy(paths, stored_images, read_paths, key):
    selected = ImageSequence(paths)[key]
    assert isinstance(selected, ImageSequence)
    assert read_paths == []
    array_key = np.array([], dtype=int) if isinstance(key, list) and not key else key
    np.testing.assert_array_equal(np.asarray(selected), stored_images[array_key])
    assert selected.shape == stored_images[array_key].shape


@pytest.mark.parametrize(
    ("key", "message"),
    [
        (6, "out of range"),
        (-7, "out of range"),
        ([0, 6], "index 6 is out of bounds for axis 0 with size 6"),
        ([-7], "index -7 is out of bounds"),
        ([True, False], "boolean index did not match .* size of axis is 6"),
        ([0.5], "integer"),
        ("a", "one-dimensional"),
        (["a"], "integer"),
        (None, "one-dimensional"),
        (True, "one-dimensional"),
        ([[0, 1]], "one-dimensional"),
        ((0, 1), "first axis only"),
        ((slice(2), slice(2)), "first axis only"),
    ],
    ids=str,
)
def test_bad_index(paths, key, message):
    with pytest.raises(IndexError, match=message):
        ImageSequence(paths)[key]


def test_read_gives_one_batch(paths, stored_images, read_paths):
    images = ImageSequence(paths)
    np.testing.assert_array_equal(images.read([3, 0]), stored_images[[3, 0]])
    assert set(read_paths) <= {paths[3], paths[0]}
    assert images.read([]).shape == (0, 9, 7)
    with pytest.raises(IndexError, match="one-dimensional"):
        images.read(3)


def test_shape_is_read_once_for_all_selections(paths, read_paths):
    images = ImageSequence(paths)
    selected = images[3:]
    assert (selected.shape, selected.dtype, images.ndim) == ((3, 9, 7), np.uint8, 3)
    assert read_paths == [paths[0]]


@pytest.mark.parametrize("size", [(4, 5), (18, 21), 6, np.int64(6)])
@pytest.mark.parametrize("mode", ["auto", "rgb"])
def test_size(paths, stored_images, size, mode):
    images = ImageSequence(paths, size=size, mode=mode)
    height, width = size if isinstance(size, tuple) else (size, size)
    assert images.size == (height, width)
    assert images.shape[:3] == (6, height, width)
    expected = Image.fromarray(stored_images[0]).resize((width, height), Image.Resampling.BILINEAR)
    image = images[0] if mode == "auto" else images[0][..., 1]
    np.testing.assert_array_equal(image, np.array(expected))


def test_shrinking_averages_fine_stripes(tmp_path):
    stripes = np.tile(np.array([0, 200], dtype=np.uint8), (64, 32))
    shrunk = ImageSequence([save(tmp_path / "a.png", stripes)], size=8)[0]
    assert np.all(np.abs(shrunk.astype(int) - 100) < 15)


def test_pixel_formats(tmp_path):
    rng = np.random.RandomState(0)
    gray = rng.randint(0, 256, (5, 4), dtype=np.uint8)
    rgb = rng.randint(0, 256, (5, 4, 3), dtype=np.uint8)
    alpha = np.full((5, 4, 1), 90, dtype=np.uint8)
    deep = rng.randint(0, 65536, (5, 4), dtype=np.uint16)
    real = rng.normal(size=(5, 4)).astype(np.float32)

    def read(name, array, **kwargs):
        images = ImageSequence([save(tmp_path / name, array)], **kwargs)
        assert images[0].dtype == images.dtype
        return images[0]

    np.testing.assert_array_equal(read("gray.bmp", gray), gray)
    np.testing.assert_array_equal(read("gray.png", np.dstack([gray, alpha[..., 0]])), gray)
    np.testing.assert_array_equal(read("rgb.png", rgb), rgb)
    np.testing.assert_array_equal(read("rgba.png", np.dstack([rgb, alpha])), rgb)
    for name in ("deep.png", "deep.tif"):
        stored = read(name, deep)
        assert stored.dtype == np.uint16
        np.testing.assert_array_equal(stored, deep)
        np.testing.assert_array_equal(read(name, deep, mode="gray"), deep)
        np.testing.assert_array_equal(read(name, deep, mode="rgb"), np.dstack([deep] * 3))
        assert read(name, deep, size=3).dtype == np.uint16
    stored = read("real.tif", real)
    assert stored.dtype == np.float32
    np.testing.assert_array_equal(stored, real)
    assert read("real.tif", real, size=(2, 3)).shape == (2, 3)
    bits = read("bits.png", gray > 100)
    assert bits.dtype == np.uint8
    np.testing.assert_array_equal(bits, 255 * (gray > 100))

    palette = Image.fromarray(np.dstack([gray] * 3)).quantize(8)
    palette.save(tmp_path / "palette.png")
    assert ImageSequence([tmp_path / "palette.png"])[0].shape == (5, 4, 3)


def test_modes_convert(tmp_path):
    gray = np.full((5, 4), 50, dtype=np.uint8)
    red = np.zeros((5, 4, 3), dtype=np.uint8)
    red[..., 0] = 200
    files = [save(tmp_path / "a.png", gray), save(tmp_path / "b.png", red)]
    as_gray = np.asarray(ImageSequence(files, mode="gray"))
    assert as_gray.shape == (2, 5, 4)
    assert np.unique(as_gray[1]).tolist() == [60]
    as_rgb = np.asarray(ImageSequence(files, mode="rgb"))
    assert as_rgb.shape == (2, 5, 4, 3)
    np.testing.assert_array_equal(as_rgb[0], 50)


def test_transparent_pixels_keep_their_colour_in_gray(tmp_path):
    rgba = np.full((5, 4, 4), 80, dtype=np.uint8)
    rgba[..., 3] = 0
    assert np.unique(ImageSequence([save(tmp_path / "a.png", rgba)], mode="gray")[0]) == [80]


@pytest.mark.parametrize(
    ("array", "remedy"),
    [
        (np.zeros((3, 7), np.uint8), r"\(3, 7\).*\(9, 7\).*size="),
        (np.zeros((9, 7, 3), np.uint8), r"\(9, 7, 3\).*\(9, 7\).*mode="),
        (np.zeros((3, 7, 3), np.uint8), r"size=.* and mode="),
        (np.zeros((9, 7), np.uint16), "uint16.*uint8.*bit depth"),
    ],
)
def test_image_unlike_the_first(tmp_path, paths, array, remedy):
    odd = save(tmp_path / "odd.png", array)
    images = ImageSequence([*paths, odd])
    assert len(images[:6].read(slice(None))) == 6
    for read in (lambda: images[6], lambda: images[6:].read([0]), lambda: np.asarray(images)):
        with pytest.raises(ValueError, match=rf"(?s)odd\.png.*{remedy}"):
            read()


def test_damaged_files(tmp_path, paths):
    text = tmp_path / "text.png"
    text.write_text("no image")
    empty = tmp_path / "empty.jpg"
    empty.touch()
    big = save(tmp_path / "big.png", _noise())
    truncated = tmp_path / "truncated.png"
    truncated.write_bytes(big.read_bytes()[:3000])
    jpeg = save(tmp_path / "big.jpg", _noise())
    truncated_jpeg = tmp_path / "truncated.jpg"
    truncated_jpeg.write_bytes(jpeg.read_bytes()[:3000])
    for path in (text, empty, truncated, truncated_jpeg, tmp_path):
        with pytest.raises(ValueError, match=path.name):
            ImageSequence([path])[0]
        with pytest.raises(ValueError, match=path.name):
            ImageSequence([path]).shape  # noqa: B018
    with pytest.raises(FileNotFoundError, match=r"missing\.png"):
        ImageSequence([*paths, tmp_path / "missing.png"])[-1]


def _noise():
    return np.random.RandomState(0).randint(0, 256, (200, 150), dtype=np.uint8)


def test_deep_integers_are_refused(tmp_path):
    path = save(tmp_path / "deep.tif", np.full((3, 3), 70000, dtype=np.int32))
    with pytest.raises(ValueError, match=r"deep\.tif.*32-bit"):
        ImageSequence([path])[0]


@pytest.mark.parametrize("paths", ["a.png", b"a.png", Path("a.png"), 3, None, [1, 2], [None]])
def test_paths_of_wrong_type(paths):
    with pytest.raises(TypeError, match="'paths' parameter"):
        ImageSequence(paths)


@pytest.mark.parametrize("paths", [[], (), iter(())])
def test_no_paths(paths):
    with pytest.raises(ValueError, match=r"0 sample\(s\)"):
        ImageSequence(paths)


@pytest.mark.parametrize("size", [1.5, "64", True, (1, 2, 3), (4.0, 4), [3]])
def test_size_of_wrong_type(size):
    with pytest.raises(TypeError, match=r"'size' parameter must be None, an int or a tuple"):
        ImageSequence(["a.png"], size=size)


@pytest.mark.parametrize("size", [0, -3, (0, 5), (5, -1)])
def test_size_out_of_range(size):
    with pytest.raises(ValueError, match="'size'"):
        ImageSequence(["a.png"], size=size)


@pytest.mark.parametrize("mode", ["grey", None, 3])
def test_unknown_mode(mode):
    with pytest.raises(ValueError, match="'mode' parameter must be a str among"):
        ImageSequence(["a.png"], mode=mode)


def test_addition(paths, stored_images, read_paths):
    images = ImageSequence(paths[:4], size=None)
    assert (images[2:] + images[:1]).paths == [paths[2], paths[3], paths[0]]
    images += ImageSequence(paths[4:])
    assert isinstance(images, ImageSequence) and read_paths == []
    np.testing.assert_array_equal(np.asarray(images), stored_images)
    assert images[1:3].paths == paths[1:3]
    np.testing.assert_array_equal(
        np.asarray(sum([images[:1], images[5:]], images[:0])), stored_images[[0, 5]]
    )


def test_an_empty_part_of_a_sum_is_no_reference(tmp_path, paths):
    other = ImageSequence([save(tmp_path / "other.png", np.zeros((3, 4), np.uint8))])
    empty = ImageSequence(paths)[:0]
    assert (empty + other).shape == (other + empty).shape == (1, 3, 4)
    with pytest.raises(ValueError, match=r"other\.png.*first image"):
        np.asarray(ImageSequence(paths) + other)


@pytest.mark.parametrize("parameter", [{"size": 5}, {"mode": "gray"}, {"on_error": "skip"}])
def test_sequences_of_different_parameters_are_not_added(paths, parameter):
    (name,) = parameter
    with pytest.raises(ValueError, match=f"must have the same {name}. Got"):
        ImageSequence(paths) + ImageSequence(paths, **parameter)


@pytest.mark.parametrize("other", [[], ["a.png"], 1, None])
def test_only_sequences_are_added(paths, other):
    with pytest.raises(TypeError):
        ImageSequence(paths) + other


@pytest.mark.parametrize("is_read", [False, True])
def test_pickle(paths, stored_images, is_read):
    images = ImageSequence(paths, size=5, mode="rgb")[1:]
    if is_read:
        assert images.shape == (5, 5, 5, 3)
    loaded = pickle.loads(pickle.dumps(images))
    assert loaded.paths == paths[1:]
    np.testing.assert_array_equal(np.asarray(loaded), np.asarray(images))


def test_scikit_learn_helpers_read_one_image_at_most(paths, read_paths):
    images = ImageSequence(paths)
    (same,) = indexable(images)
    assert same is images
    check_consistent_length(images, np.zeros(6))
    assert _num_samples(images) == 6
    for key in (np.array([0, 2]), [0, 2], (0, 2), slice(0, 3, 2)):
        assert _safe_indexing(images, key).paths == [paths[0], paths[2]]
    train, test = train_test_split(images, test_size=2, random_state=0)
    assert (len(train), len(test)) == (4, 2)
    assert set(read_paths) <= {paths[0]}
    assert len(read_paths) <= 1


@pytest.fixture
def labelled(tmp_path):
    y = np.array([1, -1] * 6)
    files = []
    for index, label in enumerate(y):
        stored_image = np.full((4, 5), 60 + index if label == 1 else 200, dtype=np.uint8)
        files.append(save(tmp_path / f"{index:02d}.png", stored_image))
    return ImageSequence(files), y


def test_cross_val_score(labelled):
    images, y = labelled
    scores = cross_val_score(
        BrightnessDetector(),
        images,
        y,
        scoring="roc_auc",
        cv=NormalOnlySplit(3),
        error_score="raise",
    )
    np.testing.assert_array_equal(scores, 1.0)


@pytest.mark.parametrize("n_jobs", [None, 2])
def test_grid_search(labelled, n_jobs):
    images, y = labelled
    search = GridSearchCV(
        BrightnessDetector(),
        {"power": [-1.0, 1.0]},
        scoring="roc_auc",
        cv=NormalOnlySplit(2),
        error_score="raise",
        n_jobs=n_jobs,
    ).fit(images, y)
    assert search.best_params_ == {"power": 1.0}
    assert search.best_score_ == 1.0
    assert search.best_estimator_.n_seen_ == 12
    assert roc_auc_score(y, search.decision_function(images)) == 1.0


def test_the_next_readable_file_is_read_instead(tmp_path):
    paths = [tmp_path / f"{index}.png" for index in range(5)]
    for index, path in enumerate(paths):
        Image.fromarray(np.full((4, 4), index, np.uint8)).save(path)
    paths[2].write_bytes(b"no image")
    paths[4].write_bytes(b"no image")
    with (
        pytest.warns(UserWarning, match="2 of 5 image files could not be read"),
        module.training_images(ImageSequence(paths, on_error="skip")) as images,
    ):
        assert images.read([0, 1, 2, 3, 4])[:, 0, 0].tolist() == [0, 1, 3, 3, 0]


@pytest.mark.parametrize(("count", "more"), [(5, ""), (7, "And 2 more.")])
def test_five_skipped_files_are_named(tmp_path, count, more):
    paths = [tmp_path / f"{index}.png" for index in range(8)]
    for path in paths:
        Image.fromarray(np.zeros((4, 4), np.uint8)).save(path)
    for path in paths[:count]:
        path.write_bytes(b"no image")
    with (
        pytest.warns(UserWarning, match="could not be read") as caught,
        module.training_images(ImageSequence(paths, on_error="skip")) as images,
    ):
        images.read(slice(None))
    message = str(caught[-1].message)
    assert message.count(".png'") == 5
    assert more in message if more else "more" not in message
