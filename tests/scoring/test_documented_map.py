"""The anomaly map is the product of factors that docs/method.rst states."""

import numpy as np
import pytest
import torch
from scipy import ndimage
from synthetic_images import make_images

from skanomaly import DenoisingAE

IMAGES = make_images(30)
# Images like those of the training, a black one, noise, one of low contrast, and a smaller one.
NOISE = np.random.default_rng(0).random(IMAGES[:1].shape)
UNUSUAL = np.concatenate([IMAGES[:2], 0 * IMAGES[:1], NOISE, 0.3 + 0.02 * IMAGES[:1]])
CROPS = UNUSUAL[:, :20, :24]


def mean_filter(maps, size):
    """Two passes of a mean filter, over the pixels inside."""
    for _ in range(2):
        inside = ndimage.uniform_filter(np.ones_like(maps), (0, size, size), mode="constant")
        maps = ndimage.uniform_filter(maps, (0, size, size), mode="constant") / inside
    return maps


def top(maps):
    """The mean of the largest hundredth."""
    flat = np.sort(maps.reshape(len(maps), -1), axis=1)
    return flat[:, -max(1, round(0.01 * flat.shape[1])) :].mean(1)


def statistics(images, usual):
    """Mean, contrast and roughness of standardised images."""
    down, right = np.diff(images, axis=1), np.diff(images, axis=2)
    pairs = down[0].size + right[0].size
    rough = 0.5 * ((down**2).sum((1, 2)) + (right**2).sum((1, 2))) / pairs
    contrast = 0.5 * np.log(images.var((1, 2)) / usual + 0.001)
    mean = images.mean((1, 2)) / usual**0.5
    return np.stack([mean, contrast, 0.5 * np.log(rough / usual + 0.001) - contrast], axis=1)


def documented_map(detector, images, training):
    """Compute R, S, F and A in turn, from what the network returns."""
    model = detector.model_
    with torch.no_grad():
        on_device = torch.from_numpy(images[:, None]).to(detector.device_)
        standardized = model.standardization(on_device)[0].float()
        read, repaired = (t.cpu().numpy().astype(np.float64) for t in model.repair(standardized))
    usual_maps = detector.expected_map_ if detector.normalize_map else [1.0] * read.shape[1]
    maps = [mean_filter((read - repaired)[:, kind] ** 2, 3) for kind in range(read.shape[1])]
    relative = np.mean([m / e for m, e in zip(maps, usual_maps, strict=True)], axis=0)
    weighted = relative
    if detector.normalize_map and detector.region_size is not None:
        side = 0.6 * min(training.shape[1:])
        wide, near = (int(s) // 2 * 2 + 1 for s in (side, 0.4 * (int(side) // 2 * 2 + 1)))
        factor = mean_filter(relative**0.25, near)
        weighted = (relative + 0.5 * mean_filter(np.minimum(relative, 10), wide)) * factor
    mean, deviation = training.mean(), training.std()
    training, images = (training - mean) / deviation, (images - mean) / deviation
    usual = training.var((1, 2)).mean()
    known, given = statistics(training, usual), statistics(images, usual)
    lowest, highest = known.min(0), known.max(0)
    margin = np.maximum((highest - lowest) / 2, [1, np.log(4), 0.4])
    margin = margin * max(1, np.sqrt(training[0].size / images[0].size))
    distance = np.maximum(lowest - given, given - highest).clip(0) / margin
    if detector.standardization == "image":
        distance[:, 0] = 0
    excess = (2 * distance.max(1) - 1).clip(0)
    raised = np.maximum(1, -detector.offset_ * excess / top(weighted))
    return weighted * raised[:, None, None], raised


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"standardization": "dataset"},
        {"contrast_size": None},
        {"region_size": None},
        {"normalize_map": False},
    ],
)
def test_the_map_is_the_documented_product(options):
    detector = DenoisingAE(max_iter=8, random_state=0, precision="float32", **options).fit(IMAGES)
    for images in (UNUSUAL, CROPS):
        wanted, raised = documented_map(detector, images, IMAGES)
        if images is UNUSUAL:
            assert raised[:2].max() == 1 < raised.max()
        np.testing.assert_allclose(detector.anomaly_map(images), wanted, rtol=2e-3)
        np.testing.assert_allclose(detector.score_samples(images), -top(wanted), rtol=2e-3)
