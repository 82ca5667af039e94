"""Large images are cut into tiles, with the same results."""

import numpy as np
import pytest
import torch
from small_networks import NARROW
from synthetic_images import make_images

from skanomaly import ContractiveAE, DenoisingAE, SelfSupervisedAutoencoderDetector
from skanomaly.detectors import _inference
from skanomaly.detectors._inference import tiles
from skanomaly.networks import ConvolutionalAutoencoder, apply_in_windows


@pytest.mark.parametrize(
    ("length", "margin", "step"), [(100, 5, 1), (101, 9, 8), (64, 9, 8), (65, 30, 4), (300, 70, 8)]
)
def test_inference_cover_a_picture_once_and_see_what_they_need(monkeypatch, length, margin, step):
    monkeypatch.setattr(_inference, "_SIDE", 64)
    covered = np.zeros((length, 40), dtype=int)
    cuts = list(tiles((length, 40), (margin, margin), (step, step)))
    assert (len(cuts) > 1) == (length > 64)
    for number, cut in enumerate(cuts):
        covered[cut.kept] += 1
        (seen, _), (kept, columns) = cut.seen, cut.kept
        assert seen.start <= max(0, kept.start - margin)
        assert seen.stop >= min(length, kept.stop + margin)
        assert seen.start % step == 0 and columns == slice(0, 40)
        assert cut.is_last == (number == len(cuts) - 1) and cut.is_whole == (len(cuts) == 1)
    assert (covered == 1).all()
    assert len(list(tiles((length, 40), (None, None)))) == 1


@pytest.mark.parametrize("normalization", ["batch", "group"])
def test_an_output_depends_on_nothing_farther_than_a_window(normalization):
    torch.manual_seed(0)
    network = ConvolutionalAutoencoder((32, 32, 1), width=8, normalization=normalization).eval()
    image = torch.randn(1, 1, 100, 100, requires_grad=True)
    output = apply_in_windows(network, image, (32, 32))
    farthest = 0
    for place in range(40, 60):
        (gradient,) = torch.autograd.grad(output[0, 0, place, place], image, retain_graph=True)
        rows, columns = torch.nonzero(gradient[0, 0], as_tuple=True)
        farthest = max(farthest, int(torch.cat([rows - place, columns - place]).abs().max()))
    assert 16 <= farthest < 32


def fitted(kind, channels, **parameters):
    images = make_images(12, channels=channels)
    options = dict(network=NARROW, max_iter=6, batch_size=4, random_state=0)
    return kind(**options, **parameters).fit(images)


@pytest.fixture(scope="module")
def detectors():
    return {
        "grey": fitted(SelfSupervisedAutoencoderDetector, 1),
        "color": fitted(SelfSupervisedAutoencoderDetector, 3, region_size=None),
        "no contrast": fitted(DenoisingAE, 1, contrast_size=None, standardization="dataset"),
        "plain map": fitted(ContractiveAE, 1, normalize_map=False, score_aggregation=0.01),
    }


def largest_seen(detector, monkeypatch):
    """Collect the sizes of the inputs of the network."""
    sizes = []
    forward = detector.network_.forward
    monkeypatch.setattr(
        detector.network_, "forward", lambda x: (sizes.append(tuple(x.shape[2:])), forward(x))[1]
    )
    return sizes


@pytest.mark.parametrize("name", ["grey", "color", "no contrast", "plain map"])
def test_the_map_of_inference_is_the_map_of_the_picture(detectors, name, monkeypatch):
    detector = detectors[name]
    channels = detector.image_shape_[2]
    pictures = make_images(2, size=(603, 251), channels=channels, seed=3)
    pictures[0, 300:330, 100:140] = 0.1
    whole = detector.anomaly_map(pictures), detector.score_samples(pictures)
    repaired, marked = detector.reconstruct(pictures), detector.predict_mask(pictures)
    monkeypatch.setattr(_inference, "_SIDE", 256)
    sizes = largest_seen(detector, monkeypatch)
    maps = detector.anomaly_map(pictures)
    # Every tile is smaller than the image, since memory grows with its size.
    assert len(sizes) > 2 and max(size[0] for size in sizes) < 603
    np.testing.assert_allclose(maps, whole[0], rtol=1e-4, atol=1e-4 * whole[0].mean())
    np.testing.assert_allclose(detector.score_samples(pictures), whole[1], rtol=1e-5)
    np.testing.assert_allclose(detector.reconstruct(pictures), repaired, atol=1e-5)
    assert (detector.predict_mask(pictures) == marked).mean() > 0.9999


@pytest.mark.parametrize("name", ["grey", "color"])
def test_a_lens_cap_is_as_far_off_in_inference_as_whole(detectors, name, monkeypatch):
    detector = detectors[name]
    shape = (2, 603, 251) if name != "color" else (2, 603, 251, 3)
    caps = np.random.default_rng(0).normal(0.02, 0.004, shape).clip(0, 1)
    whole = detector.score_samples(caps)
    monkeypatch.setattr(_inference, "_SIDE", 256)
    np.testing.assert_allclose(detector.score_samples(caps), whole, rtol=1e-5)
    monkeypatch.setitem(detector.model_._modules, "steps", detector.model_.steps[:-1])
    assert (detector.score_samples(caps) > 0.99 * whole).all()


def test_a_margin_too_small_would_show(detectors, monkeypatch):
    detector = detectors["grey"]
    pictures = make_images(1, size=(603, 251), seed=3)
    whole = detector.anomaly_map(pictures)
    monkeypatch.setattr(_inference, "_SIDE", 256)
    monkeypatch.setattr(_inference, "_margin_and_step", lambda *axis: (8, 4))
    maps = detector.anomaly_map(pictures)
    assert np.abs(maps - whole).max() > 1e-3 * whole.mean()


def test_files_of_large_pictures_are_read_one_at_a_time(detectors, monkeypatch, tmp_path):
    from skimage.io import imsave

    from skanomaly.datasets import ImageSequence

    detector = detectors["grey"]
    pictures = (255 * make_images(3, size=(300, 300), seed=3)).astype(np.uint8)
    paths = [tmp_path / f"{number}.png" for number in range(3)]
    for path, picture in zip(paths, pictures, strict=True):
        imsave(path, picture, check_contrast=False)
    whole = detector.score_samples(pictures)
    monkeypatch.setattr(_inference, "_SIDE", 256)
    np.testing.assert_allclose(detector.score_samples(ImageSequence(paths)), whole, rtol=1e-5)


def test_tiles_of_wide_pictures_see_what_each_axis_needs(monkeypatch):
    """Windows of 24 × 80 pixels, and cuts along both axes."""
    options = dict(network=NARROW, max_iter=6, batch_size=4, random_state=0)
    detector = SelfSupervisedAutoencoderDetector(**options).fit(make_images(12, size=(24, 80)))
    pictures = make_images(1, size=(300, 500), seed=3)
    pictures[0, 140:170, 230:290] = 0.1
    whole = detector.anomaly_map(pictures)
    monkeypatch.setattr(_inference, "_SIDE", 256)
    maps = detector.anomaly_map(pictures)
    np.testing.assert_allclose(maps, whole, rtol=1e-4, atol=1e-4 * whole.mean())
