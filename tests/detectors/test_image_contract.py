"""Equal results for every kind of X that holds the same images."""

import copy
from functools import partial

import numpy as np
import pytest
import torch
from skimage import io
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.metrics import roc_auc_score
from small_networks import NARROW
from synthetic_images import make_images, plant_defects

from skanomaly import ContractiveAE, DenoisingAE, SelfSupervisedAutoencoderDetector
from skanomaly._validation import to_image_dtype
from skanomaly.datasets import ImageSequence
from skanomaly.networks import NETWORKS

DETECTORS = (SelfSupervisedAutoencoderDetector, DenoisingAE, ContractiveAE)


@pytest.fixture(scope="module", params=DETECTORS, ids=[cls.__name__ for cls in DETECTORS])
def prototype(request):
    options = dict(max_iter=3, batch_size=4, contamination=0.2, random_state=0)
    return request.param(network=NARROW, **options)


@pytest.fixture(scope="module")
def pictures():
    """Grey and colour images as uint8, with a side that no stride divides."""
    grey = make_images(12, size=(22, 17))
    color = make_images(12, size=(22, 17), channels=3)
    return {
        "grey": (grey * 255).round().astype(np.uint8),
        "color": (color * 255).round().astype(np.uint8),
    }


@pytest.fixture(scope="module")
def fitted_on(prototype, pictures):
    """The prototype fitted on each of the pictures, which tests leave as it is."""
    return {color: clone(prototype).fit(images) for color, images in pictures.items()}


def as_sequence(images, folder):
    paths = [folder / f"{index:03d}.png" for index in range(len(images))]
    for path, image in zip(paths, images, strict=True):
        io.imsave(path, image, check_contrast=False)
    return ImageSequence(paths)


FORMS = {
    "uint8": lambda images, folder: (images, None),
    "float64": lambda images, folder: (images / 255.0, None),
    "float32": lambda images, folder: ((images / 255.0).astype(np.float32), None),
    "uint16": lambda images, folder: (images.astype(np.uint16) * 257, None),
    "channels": lambda images, folder: (images.reshape(*images.shape[:3], -1), None),
    "rows": lambda images, folder: (images.reshape(len(images), -1), images.shape[1:]),
    "float rows": lambda images, folder: (
        images.reshape(len(images), -1) / 255.0,
        images.shape[1:],
    ),
    "tensor": lambda images, folder: (torch.from_numpy(images), None),
    "float tensor": lambda images, folder: (torch.from_numpy(images) / 255.0, None),
    "list": lambda images, folder: (list(images), None),
    "strided": lambda images, folder: (np.repeat(images, 2, axis=2)[:, :, ::2], None),
    "big endian": lambda images, folder: ((images / 255.0).astype(">f8"), None),
    "sequence": lambda images, folder: (as_sequence(images, folder), None),
}


@pytest.mark.parametrize("color", ["grey", "color"])
@pytest.mark.parametrize("form", FORMS)
def test_the_same_pictures_score_the_same_in_every_form(
    form, color, prototype, fitted_on, pictures, tmp_path
):
    images = pictures[color]
    expected = -fitted_on[color].anomaly_map(images).max((1, 2))
    X, image_shape = FORMS[form](images, tmp_path)
    fitted = clone(prototype).set_params(image_shape=image_shape, score_aggregation="max").fit(X)
    assert fitted.image_shape_ == (22, 17, 3 if color == "color" else 1)
    assert fitted.n_features_in_ == np.prod(fitted.image_shape_)

    scores = fitted.score_samples(X)
    assert scores.dtype == np.float64 and scores.shape == (12,)
    np.testing.assert_allclose(scores, expected, rtol=1e-5)
    np.testing.assert_array_equal(fitted.decision_function(X), scores - fitted.offset_)
    labels = fitted.predict(X)
    np.testing.assert_array_equal(labels, np.where(scores < fitted.offset_, -1, 1))
    assert labels.dtype.kind == "i" and set(labels) == {1, -1}

    maps = fitted.anomaly_map(X)
    assert isinstance(maps, np.ndarray) and maps.dtype == np.float64
    assert maps.shape == (12, 22, 17) and maps.min() >= 0
    np.testing.assert_array_equal(maps.max((1, 2)), -scores)
    masks = fitted.predict_mask(X)
    assert masks.dtype == bool
    np.testing.assert_array_equal(masks, maps > fitted.map_threshold_)
    # With the maximum as the score, image and mask agree.
    np.testing.assert_array_equal(masks.any((1, 2)), labels == -1)

    repaired = fitted.reconstruct(X)
    assert isinstance(repaired, np.ndarray)
    assert repaired.shape == tuple(np.shape(X)[i] for i in range(repaired.ndim))
    assert repaired.dtype == (np.asarray(X[0]).dtype.newbyteorder("=")) or form == "big endian"
    white = {"u": np.iinfo(repaired.dtype).max}.get("u") if repaired.dtype.kind == "u" else 1.0
    distance = np.abs(repaired.reshape(-1) / white - images.reshape(-1) / 255.0)
    assert distance.mean() < 0.5


@pytest.mark.parametrize("color", ["grey", "color"])
def test_a_float_picture_scores_like_the_uint8_one_it_was_trained_on(color, fitted_on, pictures):
    images, fitted = pictures[color], fitted_on[color]
    np.testing.assert_allclose(
        fitted.score_samples(images / 255.0), fitted.score_samples(images), rtol=1e-5
    )


@pytest.mark.parametrize("dtype", ["uint8", "int16", "float16"])
def test_reconstructions_stay_within_the_range_of_the_dtype(dtype):
    values = to_image_dtype(np.array([-9e4, 0.0, 9e4], np.float32), np.dtype(dtype))
    limits = np.iinfo(dtype) if dtype != "float16" else np.finfo(dtype)
    assert values.dtype == dtype and values.tolist() == [limits.min, 0, limits.max]


def test_scores_do_not_depend_on_the_company(fitted_on, pictures):
    images, fitted = np.concatenate([pictures["grey"]] * 30), fitted_on["grey"]
    together = fitted.score_samples(images)
    # But for the rounding of float32: kernels may differ from one batch size to another, and those
    # of a GPU differ more.
    rtol = 1e-6 if fitted.device_.type == "cpu" else 1e-5
    np.testing.assert_allclose(together[:12], together[-12:], rtol=rtol)
    alone = np.concatenate([fitted.score_samples(images[i : i + 1]) for i in range(12)])
    np.testing.assert_allclose(alone, together[:12], rtol=rtol)
    some = fitted.score_samples(images[:5])
    np.testing.assert_allclose(some, together[:5], rtol=rtol)


def test_one_image_costs_one_pass(fitted_on, pictures):
    network, passed = fitted_on["grey"].network_, []
    hook = lambda module, inputs: passed.append(len(inputs[0]))  # noqa: E731
    with network.register_forward_pre_hook(hook):
        fitted_on["grey"].score_samples(pictures["grey"][:1])
    assert passed == [1]


def test_predicting_leaves_no_trace(fitted_on, pictures):
    fitted = fitted_on["grey"]
    before = {**vars(fitted)}
    weights = {k: v.clone() for k, v in fitted.network_.state_dict().items()}
    for method in ("predict", "anomaly_map", "predict_mask", "reconstruct", "score_samples"):
        getattr(fitted, method)(pictures["grey"])
    assert vars(fitted).keys() == before.keys()
    assert all(vars(fitted)[key] is before[key] for key in before)
    assert all(bool((v == weights[k]).all()) for k, v in fitted.network_.state_dict().items())


def test_read_only_memory_maps_are_read(prototype, fitted_on, pictures, tmp_path):
    np.save(tmp_path / "images.npy", pictures["grey"])
    mapped = np.load(tmp_path / "images.npy", mmap_mode="r")
    scores = clone(prototype).fit(mapped).score_samples(mapped)
    expected = fitted_on["grey"].score_samples(pictures["grey"])
    np.testing.assert_array_equal(scores, expected)


def test_fit_predict_is_fit_then_predict(prototype, fitted_on, pictures):
    images = pictures["grey"]
    np.testing.assert_array_equal(
        clone(prototype).fit_predict(images), fitted_on["grey"].predict(images)
    )


@pytest.mark.parametrize("size", [(1, 1), (2, 5), (40, 3), (64, 48)])
def test_other_sizes_than_in_training(size, detector):
    images = make_images(3, size=size)
    assert detector.anomaly_map(images).shape == (3, *size)
    assert np.isfinite(detector.score_samples(images)).all()
    assert detector.reconstruct(images).shape == images.shape


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (3, 3), (130, 6)])
def test_any_size_trains(size, prototype):
    images = make_images(6, size=size)
    fitted = clone(prototype).fit(images)
    assert np.isfinite(fitted.score_samples(images)).all()


# The named networks with a quarter of their channels.
PLAIN, SDC, SDCC = (partial(NETWORKS[name], width=16) for name in ("plain", "sdc", "sdcc"))
TRAINED = {
    "plain": SelfSupervisedAutoencoderDetector(network=PLAIN),
    "sdc": SelfSupervisedAutoencoderDetector(network=SDC),
    "sdcc": SelfSupervisedAutoencoderDetector(network=SDCC),
    "gaussian": DenoisingAE(network=SDCC),
    "masking": DenoisingAE(network=SDCC, noise=0.3, noise_type="masking"),
    "salt and pepper": DenoisingAE(network=SDCC, noise=0.3, noise_type="salt_and_pepper"),
    "reconstruction": ContractiveAE(network=SDC, penalty="reconstruction"),
    "encoder": ContractiveAE(network=SDC, penalty="encoder"),
}


@pytest.mark.parametrize("name", TRAINED)
def test_a_trained_detector_finds_planted_defects(name, images, damaged):
    pictures, masks = damaged
    clean = make_images(20, seed=2)

    def qualities(max_iter):
        fitted = clone(TRAINED[name]).set_params(max_iter=max_iter, random_state=0).fit(images)
        scores = fitted.score_samples(np.concatenate([clean, pictures]))
        image = roc_auc_score(np.repeat([1, -1], 20), scores)
        maps = fitted.anomaly_map(pictures)
        return image, roc_auc_score(masks.ravel(), maps.ravel()), fitted

    repairs = isinstance(TRAINED[name], SelfSupervisedAutoencoderDetector)
    # The repair has a tenth of the weight, and is learned after the rest.
    image, pixel, fitted = qualities(240 if repairs else 160)
    untrained_image, untrained_pixel, _ = qualities(1)
    assert image > 0.95 and pixel > 0.97
    assert image + pixel > untrained_image + untrained_pixel + 0.1
    assert np.mean(fitted.loss_curve_[-20:]) < 0.2 * np.mean(fitted.loss_curve_[:5])
    # In the defect the repaired image is closer to the normal image.
    repaired = fitted.reconstruct(pictures)
    truth = make_images(20, seed=1)
    left = np.abs(repaired - truth)[masks].mean() / np.abs(pictures - truth)[masks].mean()
    # Noise and contraction do not train the repair of a whole patch.
    assert left < (0.35 if repairs else 0.95)


def test_a_large_faint_region_shows_by_its_extent(images, detector):
    raised = make_images(20, seed=1)
    # Half of each image is slightly noisier, too little to be visible in single pixels.
    noise = np.random.default_rng(2).normal(0, 0.03, raised.shape)
    noise[:, 16:] = 0
    raised = (raised + noise).clip(0, 1)
    masks = np.broadcast_to(noise != 0, raised.shape)
    alone = copy.deepcopy(detector).set_params(region_size=None).calibrate(images)
    by_place, by_extent = (d.anomaly_map(raised) for d in (alone, detector))
    found, missed = (roc_auc_score(masks.ravel(), m.ravel()) for m in (by_extent, by_place))
    assert found > missed + 0.02
    plain = clone(detector).set_params(normalize_map=False, max_iter=1).fit(images)
    assert len(plain.model_.steps) == 2 and (plain.expected_map_ == 1).all()


def test_color_images_and_masks(images):
    color = make_images(40, channels=3)
    pictures, masks = plant_defects(make_images(10, channels=3, seed=1))
    fitted = SelfSupervisedAutoencoderDetector(network=SDCC, max_iter=80, random_state=0).fit(color)
    assert roc_auc_score(masks.ravel(), fitted.anomaly_map(pictures).ravel()) > 0.95


def test_unfitted_use_is_refused(prototype, pictures):
    for method in ("predict", "anomaly_map", "reconstruct", "score_samples", "predict_mask"):
        with pytest.raises(NotFittedError, match="not fitted yet"):
            getattr(clone(prototype), method)(pictures["grey"])


def test_pixels_with_nan_are_marked(detector):
    maps = torch.tensor([[[0.0, np.nan, np.inf]]], dtype=torch.float64)
    assert detector.model_.mask(maps).tolist() == [[[False, True, True]]]
