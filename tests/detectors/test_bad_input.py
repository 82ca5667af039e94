from functools import partial

import numpy as np
import pytest
import torch
from PIL import Image
from skimage import io
from sklearn.base import clone
from synthetic_images import make_images
from torch import nn

from skanomaly import (
    ContractiveAE,
    DenoisingAE,
    NonFiniteLossError,
    PatchCorruption,
    SelfSupervisedAutoencoderDetector,
)
from skanomaly.datasets import ImageSequence
from skanomaly.networks import LinearAutoencoder

DETECTOR = SelfSupervisedAutoencoderDetector(max_iter=3, batch_size=4, random_state=0)
IMAGES = make_images(6, size=(16, 16))


def make_nothing_but_a_forward(image_shape):
    return nn.Conv2d(image_shape[2], image_shape[2], 3, padding=1)


def with_value(value):
    images = IMAGES.copy()
    images[2, 3, 4] = value
    return images


@pytest.mark.parametrize(
    ("X", "message"),
    [
        (np.zeros((0, 16, 16)), r"0 sample\(s\).*minimum of 2"),
        (np.zeros((0, 5)), r"0 sample\(s\)"),
        (IMAGES[:1], r"1 sample\(s\).*minimum of 2 is required by SelfSupervised"),
        (with_value(np.nan), "NaN"),
        (with_value(np.inf), "infinity"),
        (with_value(-np.inf), "infinity"),
        (np.zeros(7), r"rows of shape \(n, n_features\), got shape \(7,\) instead"),
        (np.float64(3.0), r"got shape \(\) instead\. Reshape"),
        (np.zeros((2, 3, 4, 5, 6)), r"\(n, h, w, c\), .*got shape \(2, 3, 4, 5, 6\) instead"),
        (np.zeros((4, 0, 5)), "at least one pixel"),
        ([np.zeros((4, 4)), np.zeros((5, 4))], r"images of one shape.*\(4, 4\), \(5, 4\)"),
        (np.full((3, 4, 4), "text"), "not compatible with arrays of bytes/strings"),
        (IMAGES.astype(complex), "Complex data not supported"),
    ],
)
def test_bad_X_is_refused_before_anything_is_fitted(X, message):
    detector = clone(DETECTOR)
    before = set(vars(detector))
    with pytest.raises(ValueError, match=message):
        detector.fit(X)
    assert set(vars(detector)) == before


def test_sparse_input_is_refused():
    from scipy import sparse

    with pytest.raises(TypeError, match="[Ss]parse"):
        clone(DETECTOR).fit(sparse.eye(5).tocsr())


@pytest.mark.parametrize("value", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("standardization", ["image", "dataset"])
def test_constant_images_give_finite_scores(value, standardization):
    images = np.full((5, 16, 16), value)
    detector = clone(DETECTOR).set_params(standardization=standardization).fit(images)
    for X in (images, IMAGES, np.zeros_like(images)):
        assert np.isfinite(detector.score_samples(X)).all()
        assert np.isfinite(detector.anomaly_map(X)).all()
        assert np.isfinite(detector.reconstruct(X)).all()


@pytest.mark.parametrize(
    ("X", "message"),
    [
        (make_images(2, size=(16, 16), channels=3), r"3 channel\(s\).*fitted on.*1 channel\(s\)"),
        (np.zeros((2, 256)), r"holds rows of shape \(256,\).*fitted on images"),
        (np.zeros((0, 16, 16)), r"0 sample\(s\).*minimum of 1"),
        (np.full((1, 16, 16), np.nan), "NaN"),
    ],
)
def test_bad_X_after_fit_is_refused(X, message):
    detector = clone(DETECTOR).fit(IMAGES)
    for method in ("predict", "anomaly_map", "reconstruct"):
        with pytest.raises(ValueError, match=message):
            getattr(detector, method)(X)


def test_images_for_a_detector_of_rows_are_refused():
    detector = clone(DETECTOR).fit(IMAGES.reshape(6, -1))
    with pytest.raises(ValueError, match="holds images of shape.*fitted on rows"):
        detector.predict(IMAGES)
    with pytest.raises(ValueError, match="X has 255 features, but"):
        detector.predict(IMAGES.reshape(6, -1)[:, :255])


def test_image_shape_must_fit():
    with pytest.raises(ValueError, match=r"256 features, but image_shape=\(16, 15, 1\) makes 240"):
        clone(DETECTOR).set_params(image_shape=(16, 15)).fit(IMAGES.reshape(6, -1))
    with pytest.raises(ValueError, match=r"shape \(16, 16, 1\), but image_shape=\(8, 8, 1\)"):
        clone(DETECTOR).set_params(image_shape=(8, 8)).fit(IMAGES)


@pytest.mark.parametrize(
    ("parameter", "value"),
    [
        ("network", "resnet"),
        ("network", "dense"),
        ("network", "linear"),
        ("network", 3),
        ("image_shape", (16,)),
        ("image_shape", (16, -1)),
        ("image_shape", 16),
        ("standardization", "row"),
        ("max_iter", 0),
        ("max_iter", 1.5),
        ("batch_size", 0),
        ("crop_size", 17),
        ("crop_size", 0),
        ("crop_size", (8, 8, 8)),
        ("crop_size", "whole"),
        ("learning_rate", 0.0),
        ("weight_decay", -1.0),
        ("augmentation", "blur"),
        ("augmentation", ["rotate", "shear"]),
        ("contamination", 0.0),
        ("contamination", 0.6),
        ("smoothing_size", 4),
        ("smoothing_size", 0),
        ("smoothing_size", 10**7 + 1),
        ("contrast_size", 4),
        ("contrast_size", 1),
        ("contrast_size", 10**7 + 1),
        ("smoothing_passes", -1),
        ("smoothing_passes", 10**7),
        ("normalize_map", "yes"),
        ("region_size", 0),
        ("region_size", 1.5),
        ("score_aggregation", "median"),
        ("score_aggregation", 1.5),
        ("early_stopping", 2),
        ("validation_fraction", 1.0),
        ("n_iter_no_change", 0),
        ("checkpoint", 5),
        ("checkpoint", "no/such/folder/state.pt"),
        ("device", "abacus"),
        ("precision", "float8"),
        ("random_state", "seed"),
        ("verbose", -1),
        ("corruption", "blobs"),
        ("mask_weight", 1.1),
        ("identity_noise", -0.1),
        ("idempotence_weight", -1),
    ],
)
def test_parameters_out_of_range_are_named(parameter, value):
    detector = clone(DETECTOR).set_params(**{parameter: value})
    before = set(vars(detector))
    with pytest.raises((ValueError, TypeError), match=parameter):
        detector.fit(IMAGES)
    assert set(vars(detector)) == before


@pytest.mark.parametrize(
    ("detector", "parameter", "value"),
    [
        (DenoisingAE(), "noise", -0.1),
        (DenoisingAE(noise_type="masking"), "noise", 1.1),
        (DenoisingAE(noise_type="salt_and_pepper"), "noise", 2),
        (DenoisingAE(), "noise_type", "speckle"),
        (ContractiveAE(), "penalty", "decoder"),
        (ContractiveAE(), "penalty_weight", -1.0),
        (ContractiveAE(), "n_probes", 0),
        (ContractiveAE(penalty="encoder"), "batch_size", 1),
        (ContractiveAE(penalty="encoder"), "network", "sdcc"),
        (ContractiveAE(penalty="encoder"), "network", make_nothing_but_a_forward),
    ],
)
def test_parameters_of_the_baselines_out_of_range_are_named(detector, parameter, value):
    detector = clone(detector).set_params(**{parameter: value})
    before = set(vars(detector))
    with pytest.raises((ValueError, TypeError), match=parameter):
        detector.fit(IMAGES)
    assert set(vars(detector)) == before


def test_the_rank_of_a_linear_network_must_fit():
    with pytest.raises(ValueError, match="rank must be None or from 1 to .* 256, got 300"):
        clone(DETECTOR).set_params(network=partial(LinearAutoencoder, rank=300)).fit(
            IMAGES.reshape(6, -1)
        )


@pytest.mark.parametrize("name", ["radius", "n_patches", "opacity", "focus"])
def test_an_array_without_axes_is_no_range(name):
    with pytest.raises(ValueError, match=name):
        PatchCorruption(**{name: np.array(0.5)}).check_parameters()


def test_corruption_out_of_range_is_named_before_training():
    with pytest.raises(ValueError, match="opacity must be"):
        clone(DETECTOR).set_params(corruption=PatchCorruption(opacity=3.0)).fit(IMAGES)


@pytest.mark.parametrize(("parameter", "value"), [("crop_size", 4), ("augmentation", "rotate")])
def test_rows_have_no_crops_and_no_turns(parameter, value):
    with pytest.raises(ValueError, match=f"{parameter} must be 'auto' or None for plain vectors"):
        clone(DETECTOR).set_params(**{parameter: value}).fit(IMAGES.reshape(6, -1))


def test_rows_need_the_dense_network():
    with pytest.raises(ValueError, match="network='sdc' does not read plain vectors.*dense"):
        clone(DETECTOR).set_params(network="sdc").fit(IMAGES.reshape(6, -1))


def test_unreadable_and_truncated_files_are_named(tmp_path):
    paths = [tmp_path / f"{index}.png" for index in range(4)]
    for path, image in zip(paths, IMAGES, strict=False):
        io.imsave(path, (image * 255).astype(np.uint8), check_contrast=False)
    fitted = clone(DETECTOR).fit(ImageSequence(paths))
    paths[2].write_bytes(paths[2].read_bytes()[:60])
    with pytest.raises(ValueError, match=r"2\.png"):
        fitted.predict(ImageSequence(paths))
    paths[2].write_text("no picture")
    with pytest.raises(ValueError, match=r"2\.png"):
        clone(DETECTOR).fit(ImageSequence(paths))
    paths[2].unlink()
    with pytest.raises(FileNotFoundError, match=r"2\.png"):
        fitted.predict(ImageSequence(paths))


def test_files_of_mixed_sizes_are_named(tmp_path):
    paths = [tmp_path / "a.png", tmp_path / "b.png"]
    for path, side in zip(paths, (8, 9), strict=True):
        io.imsave(path, np.zeros((side, side), dtype=np.uint8), check_contrast=False)
    with pytest.raises(ValueError, match=r"b\.png.*size="):
        clone(DETECTOR).fit(ImageSequence(paths))


def test_one_file_is_too_few(tmp_path):
    io.imsave(tmp_path / "a.png", np.zeros((8, 8), dtype=np.uint8), check_contrast=False)
    with pytest.raises(ValueError, match=r"1 image\(s\) while a minimum of 2"):
        clone(DETECTOR).fit(ImageSequence([tmp_path / "a.png"]))


def test_a_failed_refit_keeps_the_detector():
    detector = clone(DETECTOR).fit(IMAGES)
    scores = detector.score_samples(IMAGES)
    with pytest.raises(ValueError, match="NaN"):
        detector.fit(with_value(np.nan))
    with pytest.raises(ValueError, match="mask_weight"):
        detector.set_params(mask_weight=2.0).fit(IMAGES)
    np.testing.assert_array_equal(detector.score_samples(IMAGES), scores)


def test_a_non_finite_loss_leaves_a_usable_detector():
    detector = clone(DETECTOR).set_params(
        learning_rate=1e30, max_iter=200, network="plain", precision="float32"
    )
    with pytest.raises(NonFiniteLossError, match="learning_rate"):
        detector.fit(IMAGES)
    assert np.isfinite(detector.score_samples(IMAGES)).all()
    assert np.isfinite(detector.loss_curve_).all() and detector.n_iter_ < 200


def test_a_network_that_makes_no_module_is_refused():
    with pytest.raises(TypeError, match=r"network must make a torch\.nn\.Module"):
        clone(DETECTOR).set_params(network=lambda shape: None).fit(IMAGES)


def test_a_module_in_place_of_what_makes_one_is_refused():
    detector = SelfSupervisedAutoencoderDetector(network=nn.Linear(6, 6), max_iter=1)
    with pytest.raises(TypeError, match=r"a callable that makes .*got a module of type Linear"):
        detector.fit(np.random.default_rng(0).normal(size=(20, 6)))


def test_unknown_parameters_of_the_corruption_leave_it_as_it_was():
    detector = SelfSupervisedAutoencoderDetector()
    with pytest.raises(ValueError, match="Invalid parameter 'size' for estimator PatchCorr"):
        detector.set_params(corruption__size=3)
    assert detector.corruption is None
    detector.set_params(corruption__radius=(0.1, 0.2), max_iter=5)
    assert detector.corruption.radius == (0.1, 0.2) and detector.max_iter == 5


def test_a_network_that_changes_the_shape_is_refused():
    detector = clone(DETECTOR).set_params(network=lambda shape: torch.nn.Conv2d(shape[2], 1, 3))
    with pytest.raises(ValueError, match=r"\(1, 2, 16, 16\) to the same shape, got \(1, 1, 14, 14"):
        detector.fit(IMAGES)


def test_values_far_below_zero_are_refused():
    with pytest.raises(ValueError, match=r"values up to ±1e\+10, got 1e\+11"):
        DenoisingAE(max_iter=1).fit(np.full((4, 8, 8), -1e11))


def test_a_palette_with_alpha_is_refused():
    with pytest.raises(ValueError, match="without a palette, got a Pillow image of mode 'PA'"):
        DenoisingAE(max_iter=1).fit([Image.new("PA", (8, 8))] * 3)
