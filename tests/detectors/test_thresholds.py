"""What the automatic thresholds are taken from."""

import numpy as np
import pytest
import torch
from synthetic_images import make_images

from skanomaly import SelfSupervisedAutoencoderDetector
from skanomaly.scoring import expected_map, score_offset

OPTIONS = dict(max_iter=10, batch_size=4, region_size=None, random_state=0)


@pytest.fixture(scope="module")
def images():
    """A third of them with a spot, each at a place of its own."""
    images = make_images(30)
    for index in range(0, 30, 3):
        images[index, index : index + 3, 20:23] = 0
    return images


def held_out_of(detector, count):
    rng = np.random.RandomState(detector.random_state)
    order = np.random.default_rng(rng.randint(2**31 - 1)).permutation(count)
    held_out = np.zeros(count, dtype=bool)
    held_out[order[: round(detector.validation_fraction * count)]] = True
    return held_out


def test_each_image_is_judged_by_the_expected_map_of_the_others(images):
    detector = SelfSupervisedAutoencoderDetector(**OPTIONS).fit(images)
    maps = torch.cat(list(detector._residual_maps(detector._validate(images))))
    scores = []
    for index in range(len(maps)):
        others = torch.cat([maps[:index], maps[index + 1 :]])
        ratio = maps[index] / torch.from_numpy(expected_map([others]))
        scores.append(-float(ratio.mean(0).max()))
    held_out = held_out_of(detector, len(images))
    offset = score_offset(np.array(scores), "auto", held_out)
    assert detector.offset_ == pytest.approx(offset, rel=0.05)
    assert detector.map_threshold_ == -detector.offset_
    # Each image's own share in the expected map would hide its spot.
    naive = score_offset(detector.score_samples(images), "auto", held_out)
    assert detector.offset_ < 1.2 * naive


def test_a_number_is_the_share_of_the_images_given(images):
    detector = SelfSupervisedAutoencoderDetector(**OPTIONS, contamination=0.2).fit(images)
    assert (detector.predict(images) == -1).sum() == 6
