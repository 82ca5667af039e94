"""Equal images of any dtype give equal results, and another scale is warned of."""

import warnings

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.base import clone
from synthetic_images import make_images

from skanomaly import DenoisingAE, PatchCorruption
from skanomaly._validation import ValidatedInput
from skanomaly._value_scale import _is_other_scale, warn_of_other_scale
from skanomaly.datasets import ImageSequence
from skanomaly.model_selection import SyntheticDefectScorer

GREY = (make_images(24, size=(16, 16)) * 255).round().astype(np.uint8)
ROWS = GREY.reshape(24, -1)
DETECTOR = DenoisingAE(max_iter=3, batch_size=4, random_state=0)
OTHER_SCALE = "on another scale than the images that the detector was fitted on"


def flattened(detector=DETECTOR):
    return clone(detector).set_params(image_shape=(16, 16))


@pytest.fixture(scope="module")
def fitted():
    return clone(DETECTOR).fit(GREY)


@pytest.fixture(scope="module")
def fitted_on_bytes_as_floats():
    return clone(DETECTOR).fit(GREY.astype(np.float32))


@pytest.mark.parametrize("dtype", ["u2", "f2", "f4", "f8", "i2", "i4", "i8", "u4", "u8"])
def test_byte_order_changes_nothing(dtype, tmp_path):
    values = GREY * np.uint16(257) if dtype == "u2" else GREY
    little, big = values.astype(f"<{dtype}"), values.astype(f">{dtype}")
    detector = clone(DETECTOR).fit(little)
    expected = detector.score_samples(little)
    np.testing.assert_array_equal(detector.score_samples(big), expected)
    np.testing.assert_array_equal(clone(DETECTOR).fit(big).score_samples(big), expected)
    np.testing.assert_array_equal(detector.reconstruct(big), detector.reconstruct(little))
    np.save(tmp_path / "big.npy", big)
    mapped = np.load(tmp_path / "big.npy", mmap_mode="r")
    np.testing.assert_array_equal(detector.score_samples(mapped), expected)
    rows = flattened().fit(big.reshape(24, -1))
    np.testing.assert_array_equal(rows.score_samples(little.reshape(24, -1)), expected)


def test_sixteen_bits_mean_the_same_as_eight(fitted):
    expected = fitted.score_samples(GREY)
    for images in ((GREY * np.uint16(257)).astype(">u2"), torch.from_numpy(GREY * np.uint16(257))):
        np.testing.assert_allclose(fitted.score_samples(images), expected, rtol=1e-5)


def test_byte_order_changes_no_artificial_defect(fitted):
    little, big = GREY.astype("<u2") * 257, (GREY.astype("<u2") * 257).astype(">u2")
    scorer = SyntheticDefectScorer(n_defects=12)
    defects = scorer.make_defects(big)
    assert defects.images.dtype == big.dtype
    np.testing.assert_array_equal(defects.images, scorer.make_defects(little).images)
    assert scorer(fitted, big) == scorer(fitted, little)


def test_byte_order_changes_no_corruption():
    little, big = GREY.astype("<u2") * 257, (GREY.astype("<u2") * 257).astype(">u2")
    corruption = PatchCorruption(random_state=0)
    (one, masks), (other, other_masks) = corruption(little), corruption(big)
    assert other.dtype == big.dtype
    np.testing.assert_array_equal(one, other)
    np.testing.assert_array_equal(masks, other_masks)
    textured = PatchCorruption(texture_images=big[:3], random_state=0)
    expected = PatchCorruption(texture_images=little[:3], random_state=0)(little)[0]
    np.testing.assert_array_equal(textured(little)[0], expected)


FRAMES = {
    "numpy": lambda frame: frame,
    "nullable": lambda frame: frame.astype("UInt8"),
    "converted": lambda frame: frame.convert_dtypes(),
    "mixed with nullable": lambda frame: frame.astype({3: "UInt8"}),
    "arrow": lambda frame: pytest.importorskip("pyarrow") and frame.astype("uint8[pyarrow]"),
}


@pytest.mark.parametrize("form", FRAMES)
def test_bytes_in_a_frame_are_bytes(form):
    pandas = pytest.importorskip("pandas")
    frame = FRAMES[form](pandas.DataFrame(ROWS))
    frame.columns = [f"pixel{index}" for index in range(256)]
    detector = flattened().fit(frame)
    expected = flattened().fit(ROWS).score_samples(ROWS)
    np.testing.assert_array_equal(detector.score_samples(frame), expected)
    assert detector.reconstruct(frame).dtype == np.uint8
    assert len(detector.feature_names_in_) == 256


def test_sixteen_bits_in_a_frame_are_sixteen_bits():
    pandas = pytest.importorskip("pandas")
    rows = ROWS * np.uint16(257)
    expected = flattened().fit(rows).score_samples(rows)
    frame = pandas.DataFrame(rows).astype("UInt16")
    np.testing.assert_array_equal(flattened().fit(frame).score_samples(frame), expected)


def test_a_polars_frame_of_bytes_is_bytes():
    polars = pytest.importorskip("polars")
    frame = polars.DataFrame({f"pixel{index}": ROWS[:, index] for index in range(256)})
    expected = flattened().fit(ROWS).score_samples(ROWS)
    np.testing.assert_array_equal(flattened().fit(frame).score_samples(frame), expected)


@pytest.mark.parametrize("dtype", ["int64", "float64", "uint16", "Int64", "bool", "object"])
def test_columns_that_leave_white_open_are_refused(dtype):
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(ROWS)
    mixed = frame.astype({7: dtype})
    for call in (flattened().fit, flattened().fit(frame).predict):
        with pytest.raises(ValueError, match=f"columns of X must have one dtype.*{dtype.lower()}"):
            call(mixed)
    # Plain vectors have no white.
    DenoisingAE(max_iter=1, random_state=0).fit(mixed)


def test_missing_bytes_in_a_frame_are_refused():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(ROWS).astype("UInt8")
    frame.iloc[3, 5] = pandas.NA
    with pytest.raises(ValueError, match="NaN"):
        flattened().fit(frame)


def test_lists_of_images_have_one_scale(fitted):
    for images in ([GREY[0], GREY[1] / 255.0], [GREY[0] * np.uint16(257), torch.tensor(GREY[1])]):
        with pytest.raises(ValueError, match="images of one dtype, got .* value of white"):
            fitted.predict(images)
    tensors = [torch.from_numpy(image) for image in GREY]
    np.testing.assert_array_equal(fitted.score_samples(tensors), fitted.score_samples(GREY))


METHODS = ("predict", "score_samples", "decision_function", "anomaly_map", "predict_mask", "detect")
SCALED = {
    "float64": GREY * 1.0,
    "float32, one image": GREY[:1].astype(np.float32),
    "big-endian float16": GREY.astype(">f2"),
    "int64": GREY.astype(np.int64),
    "int16": GREY.astype(np.int16),
    "uint32": GREY.astype(np.uint32),
    "16 bits as floats": GREY * 257.0,
    "tensor": torch.from_numpy(GREY).float(),
    "a quarter of the light": GREY * 0.25,
}


@pytest.mark.parametrize("method", [*METHODS, "reconstruct", "calibrate", "partial_fit"])
def test_every_method_warns_once_of_another_scale(method, fitted):
    with pytest.warns(UserWarning, match=OTHER_SCALE) as caught:
        getattr(clone(DETECTOR).fit(GREY), method)(GREY * 1.0)
    assert len([w for w in caught if OTHER_SCALE in str(w.message)]) == 1


@pytest.mark.parametrize("form", SCALED)
@pytest.mark.parametrize("standardization", ["image", "dataset", "none"])
def test_values_up_to_255_are_warned_of_where_white_is_1(form, standardization):
    detector = clone(DETECTOR).set_params(standardization=standardization).fit(GREY)
    with pytest.warns(UserWarning, match=f"{OTHER_SCALE}.*X / 255"):
        detector.predict(SCALED[form])


def test_flattened_images_and_files_are_warned_of(fitted, tmp_path):
    with pytest.warns(UserWarning, match=OTHER_SCALE):
        flattened().fit(ROWS).predict(ROWS * 1.0)
    for index, image in enumerate(GREY[:3]):
        Image.fromarray(image.astype(np.float32)).save(tmp_path / f"{index}.tif")
    with pytest.warns(UserWarning, match=OTHER_SCALE):
        fitted.predict(ImageSequence(sorted(tmp_path.glob("*.tif"))))


def test_fractions_are_warned_of_where_white_is_255(fitted_on_bytes_as_floats):
    with pytest.warns(UserWarning, match=OTHER_SCALE):
        fitted_on_bytes_as_floats.predict(GREY / 255.0)


RNG = np.random.default_rng(0)
# On the scale from 0 to 1.
DAMAGED = {
    "as they are": GREY / 255.0,
    "inverted": 1 - GREY / 255.0,
    "black": np.zeros(GREY.shape),
    "white": np.ones(GREY.shape),
    "noise": RNG.random(GREY.shape),
    "loud noise": RNG.normal(0.5, 0.5, GREY.shape),
    "dark": GREY / 255.0 * 0.001,
    "twice the light": GREY / 255.0 * 2,
    "broken pixels": np.where(RNG.random(GREY.shape) < 0.01, 1e4, GREY / 255.0),
}


@pytest.mark.parametrize("kind", DAMAGED)
@pytest.mark.parametrize("white", [1.0, 255.0])
@pytest.mark.parametrize("light", [0.05, 1.0])
@pytest.mark.parametrize("standardization", ["image", "none"])
def test_damage_is_no_other_scale(kind, white, light, standardization):
    """No warning by detectors of bright and of very dark images."""
    images = GREY / 255.0 * white * light
    detector = clone(DETECTOR).set_params(standardization=standardization, max_iter=1).fit(images)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        detector.predict(DAMAGED[kind] * white)


@pytest.mark.parametrize("form", ["uint8", "uint16", "black", "dark", "dark uint16", "bool"])
def test_damaged_integers_are_no_other_scale(form, fitted):
    images = {
        "uint8": 255 - GREY,
        "uint16": GREY * np.uint16(257),
        "black": np.zeros(GREY.shape, np.uint16),
        "dark": GREY // 64,
        # Noise of a few levels in 16 bits.
        "dark uint16": RNG.integers(0, 30, GREY.shape, dtype=np.uint16),
        "bool": GREY > 100,
    }[form]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fitted.predict(images)
        fitted.predict(images[:1])


@pytest.mark.parametrize("dtype", ["<u2", ">u2", "i4", "f4"])
@pytest.mark.parametrize("standardization", ["image", "none"])
def test_bytes_are_warned_of_where_images_use_16_bits(dtype, standardization):
    """Images of 8 bits in a wider dtype look black."""
    detector = clone(DETECTOR).set_params(standardization=standardization)
    detector.fit((GREY * np.uint16(257)).astype(dtype))
    for images in (GREY.astype(dtype), (GREY // 2 + 70).astype(dtype)[:1]):
        with pytest.warns(UserWarning, match=rf"{OTHER_SCALE}.*X\.astype\('uint8'\)"):
            detector.predict(images)


def test_files_of_8_bits_in_16_are_warned_of(fitted, tmp_path):
    for index, image in enumerate(GREY[:3]):
        Image.fromarray(image.astype(np.uint16)).save(tmp_path / f"{index}.png")
    images = ImageSequence(sorted(tmp_path.glob("*.png")))
    with pytest.warns(UserWarning, match=rf"X of dtype uint16 .* of white\), {OTHER_SCALE}"):
        fitted.predict(images)
    # The detector may be fitted on such files, and then on no others.
    detector = clone(DETECTOR).fit(GREY.astype(np.uint16))
    for other in (GREY, GREY * np.uint16(257)):
        with pytest.warns(UserWarning, match=OTHER_SCALE):
            detector.predict(other)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        detector.predict(images)
        detector.predict(255 - GREY.astype(np.uint16))


@pytest.mark.parametrize("white", [255, 65535])
def test_integers_are_warned_of_where_floats_reach_their_white(white):
    detector = clone(DETECTOR).fit(GREY / 255.0 * white)
    for images in (GREY, GREY * np.uint16(257)):
        with pytest.warns(UserWarning, match=OTHER_SCALE):
            detector.predict(images)


def test_rows_that_lie_far_out_are_no_other_scale():
    rows = RNG.normal(size=(60, 3))
    detector = DenoisingAE(max_iter=3, random_state=0).fit(rows)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        detector.predict(rows * 1e4)


@pytest.mark.parametrize(
    ("values", "dtype", "usual", "expected"),
    [
        # Bright.
        ([5.0, 5.0], float, 0.02, True),
        ([1.9, 1.9], float, 0.02, False),
        ([5.0, -5.0], float, 0.2, False),
        ([-50.0, -50.0], float, 0.2, True),
        # 8-bit values in 16 bits were trained on, or others as dark.
        ([40000, 40000], np.uint16, 0.002, True),
        ([0.6, 0.6], float, 0.002, False),
        ([40000, 40000], np.uint16, 0.0001, False),
        # Fractions where white is 255.
        ([0.0, 0.5], float, 128.0, True),
        ([0.5, 1.0], float, 30.0, True),
        ([0.0, 0.5], float, 15.0, False),
        ([0.0, 1.0], float, 128.0, False),
        ([-0.5, 0.5], float, 128.0, False),
        ([0.0, 0.2], float, 128.0, False),
        ([0, 255], np.uint8, 128.0, True),
        # 8-bit values in 16 bits.
        ([200, 200], np.uint16, 0.5, True),
        ([200.0, 200.0], float, 32768.0, True),
        ([20, 20], np.uint16, 0.5, False),
        ([300, 300], np.uint16, 0.5, False),
        ([30, 30], np.uint16, 0.05, False),
    ],
)
def test_limits_of_another_scale(values, dtype, usual, expected):
    images = np.array(values, dtype).reshape(1, 1, 2, 1)
    assert _is_other_scale(images, usual) is expected
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        warn_of_other_scale(ValidatedInput(images, (1, 2, 1)), usual)
        warn_of_other_scale(ValidatedInput(images, (1, 2, 1)), None)
    assert len(caught) == expected


@pytest.mark.parametrize(
    ("values", "dtype", "start"),
    [
        ([150, 200], np.uint16, "X of dtype uint16 holds values up to 200 (0.00305 of white), on "),
        ([-150.0, -200.0], float, "X of dtype float64 holds values up to 200, on another scale "),
    ],
)
def test_the_largest_value_is_named(values, dtype, start):
    images = np.array(values, dtype).reshape(1, 1, 2, 1)
    with pytest.warns(UserWarning) as caught:
        warn_of_other_scale(ValidatedInput(images, (1, 2, 1)), 0.5)
    message = str(caught[0].message)
    assert message.startswith(start) and "with values of about 0.5." in message
