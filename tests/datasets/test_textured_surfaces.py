"""make_textured_surfaces: counts, no shared pixels, masks that say what was changed."""

import subprocess
import sys

import numpy as np
import pytest
from skimage import data as photographs

from skanomaly.datasets import make_textured_surfaces

TEXTURES = ["brick", "grass", "gravel"]
KINDS = ["crack", "foreign", "hole", "smear", "stain"]


@pytest.fixture(scope="module", params=TEXTURES)
def surfaces(request):
    return make_textured_surfaces(request.param, random_state=0), request.param


def test_default_counts(surfaces):
    data, texture = surfaces
    assert data.X_train.shape == (100, 64, 64)
    assert data.X_test.shape == data.masks_test.shape == (80, 64, 64)
    assert data.X_train.dtype == data.X_test.dtype == np.uint8
    assert data.masks_test.dtype == bool
    assert data.y_test.tolist() == [1] * 32 + [-1] * 48
    assert data.y_test.dtype == np.int64
    np.testing.assert_array_equal(data.kinds_test == "good", data.y_test == 1)
    kinds, counts = np.unique(data.kinds_test[32:], return_counts=True)
    assert kinds.tolist() == KINDS
    assert counts.min() >= 7
    assert texture in data.DESCR


@pytest.mark.parametrize("random_state", range(6))
def test_no_pixel_trains_and_tests(random_state):
    data = make_textured_surfaces("grass", n_train=30, n_defects=0, random_state=random_state)
    photograph = photographs.grass()
    windows = np.lib.stride_tricks.sliding_window_view(photograph, (64, 64))
    use = np.zeros(photograph.shape, dtype=int)
    for part, flag in ((data.X_train, 1), (data.X_test, 2)):
        for tile in part:
            ((top, left),) = np.argwhere(
                (windows[:, :, ::21, ::21] == tile[::21, ::21]).all((2, 3))
            )
            use[top : top + 64, left : left + 64] |= flag
    assert not (use == 3).any()
    # The tiles that test fill their half.
    assert (use == 2).sum() == 512 * 256


def test_masks_mark_what_was_changed(surfaces):
    data, _ = surfaces
    assert not data.masks_test[:32].any()
    for index, image in enumerate(data.X_test[32:]):
        clean = data.X_test[index % 32]
        mask = data.masks_test[32 + index]
        np.testing.assert_array_equal(image[~mask], clean[~mask])
        change = np.abs(image.astype(float) - clean)[mask]
        assert np.mean(change > 10) > 0.5
        assert change.mean() >= 15


def test_defects_cover_1_to_12_percent(surfaces):
    data, _ = surfaces
    areas = data.masks_test[32:].mean(axis=(1, 2))
    assert areas.min() >= 0.01
    assert areas.max() <= 0.12


def test_random_state():
    first = make_textured_surfaces("grass", random_state=3)
    again = make_textured_surfaces("grass", random_state=np.random.RandomState(3))
    other = make_textured_surfaces("grass", random_state=4)
    for field in ("X_train", "X_test", "masks_test", "kinds_test"):
        np.testing.assert_array_equal(first[field], again[field])
    assert not np.array_equal(first.X_train, other.X_train)


def test_random_state_none_draws_anew():
    assert not np.array_equal(make_textured_surfaces().X_train, make_textured_surfaces().X_train)


@pytest.mark.parametrize("texture", TEXTURES)
@pytest.mark.parametrize(
    ("image_size", "n_tiles"), [(16, 512), (33, 105), (128, 8), (200, 2), (256, 2)]
)
def test_other_sizes(texture, image_size, n_tiles):
    data = make_textured_surfaces(texture, image_size=image_size, n_defects=10, random_state=0)
    assert data.X_train.shape == (100, image_size, image_size)
    assert data.X_test.shape == (n_tiles + 10, image_size, image_size)
    assert np.all(data.masks_test[-10:].any(axis=(1, 2)))


def test_given_counts():
    data = make_textured_surfaces(n_train=np.int64(60), n_defects=0, random_state=0)
    assert (len(data.X_train), len(data.X_test)) == (60, 32)
    assert data.y_test.tolist() == [1] * 32
    assert make_textured_surfaces(n_train=3, n_defects=7).masks_test.shape == (39, 64, 64)


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"texture": "wood"}, "'texture' parameter must be a str among .*Got 'wood'"),
        ({"image_size": 15}, "'image_size' parameter must be an int from 16 to 256"),
        ({"image_size": 257}, "'image_size' parameter"),
        ({"n_train": 0}, "'n_train' parameter must be an int >= 1"),
        ({"n_defects": -1}, "'n_defects' parameter must be an int >= 0"),
    ],
)
def test_values_out_of_range(kwargs, message):
    with pytest.raises(ValueError, match=message):
        make_textured_surfaces(**kwargs)


@pytest.mark.parametrize("name", ["image_size", "n_train", "n_defects"])
@pytest.mark.parametrize("value", [32.0, "32", True])
def test_numbers_of_wrong_type(name, value):
    with pytest.raises(TypeError, match=f"'{name}' parameter must be an int"):
        make_textured_surfaces(**{name: value})


def test_needs_no_download_and_no_plotting():
    code = (
        "import sys; sys.modules['pooch'] = None\n"
        "from skanomaly.datasets import make_textured_surfaces\n"
        "assert not {'skimage.io', 'matplotlib'} & set(sys.modules)\n"
        "for texture in ('brick', 'grass', 'gravel'):\n"
        "    make_textured_surfaces(texture, n_defects=1)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
