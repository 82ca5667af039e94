"""The data of automatic thresholds."""

import numpy as np
import pytest
import torch
from scipy.stats import norm
from synthetic_images import make_images

from skanomaly import SelfSupervisedAutoencoderDetector
from skanomaly.scoring import ExpectedMap, score_offset

OPTIONS = dict(max_iter=10, batch_size=4, region_size=None, random_state=0)


@pytest.fixture(scope="module")
def rows():
    """Rows of which a third have an odd value, each in another feature."""
    rows = np.random.default_rng(0).normal(size=(60, 20))
    for index in range(0, 60, 3):
        rows[index, index // 3] += 8
    return rows


def held_out_of(detector, count):
    rng = np.random.RandomState(detector.random_state)
    order = np.random.default_rng(rng.randint(2**31 - 1)).permutation(count)
    held_out = np.zeros(count, dtype=bool)
    held_out[order[: min(20, count // 3)]] = True
    return held_out


def test_each_row_is_judged_by_the_expected_map_of_the_others(rows):
    detector = SelfSupervisedAutoencoderDetector(**OPTIONS).fit(rows)
    on_device = torch.from_numpy(rows).to(detector.device_)
    standardized = detector.model_.standardization(on_device)[0]
    network = detector.model_.network.double()
    maps = (standardized - network(standardized)).square().detach().unsqueeze(1).cpu()
    scores = []
    for index in range(len(maps)):
        others = torch.cat([maps[:index], maps[index + 1 :]])
        ratio = ExpectedMap.fit([others])(maps[index : index + 1], torch.zeros(1, 5))
        scores.append(-float(ratio.max()))
    held_out = held_out_of(detector, len(rows))
    offset = score_offset(np.array(scores), "auto", held_out)
    assert detector.offset_ == pytest.approx(offset, rel=0.05)
    assert detector.map_threshold_ == -detector.offset_
    # The contribution of each row to the expected map would hide its odd value.
    naive = score_offset(detector.score_samples(rows), "auto", held_out)
    assert detector.offset_ < 1.2 * naive


def test_images_are_judged_by_scores_of_trained_and_held_out_ones():
    images = make_images(40)
    detector = SelfSupervisedAutoencoderDetector(**OPTIONS).fit(images)
    held_out = held_out_of(detector, len(images))
    offset = score_offset(detector.score_samples(images), "auto", held_out)
    assert detector.offset_ == pytest.approx(offset, rel=1e-6)


@pytest.mark.parametrize("count", [30, 99, 100, 101, 150, 199, 200, 400])
def test_one_in_a_hundred_new_images_exceeds_a_calibrated_threshold(count):
    random = np.random.default_rng(count)
    rates = []
    for _ in range(400):
        scores = -random.lognormal(1.0, 0.5, count)
        offset = score_offset(scores, "auto", np.ones(count, bool))
        rates.append(norm.sf((np.log(-offset) - 1.0) / 0.5))
    assert 0.008 < np.mean(rates) < 0.0125


def test_a_number_is_the_share_of_the_images_given():
    images = make_images(30)
    detector = SelfSupervisedAutoencoderDetector(**OPTIONS, contamination=0.2).fit(images)
    assert (detector.predict(images) == -1).sum() == 6


@pytest.mark.parametrize(("count", "is_percentile"), [(99, False), (100, True)])
def test_from_a_hundred_new_images_on_the_threshold_is_their_percentile(count, is_percentile):
    scores = -np.random.default_rng(0).lognormal(sigma=0.3, size=count)
    # So that the prediction limit is beyond.
    scores[scores.argmin()] = np.sort(scores)[1]
    offset = score_offset(scores, "auto", np.ones(count, dtype=bool))
    assert (offset == np.quantile(scores, 0.01, method="weibull")) == is_percentile


def test_two_held_out_images_do_not_show_the_spread():
    scores = -np.exp(np.linspace(-1, 1, 201))
    held_out = np.isin(np.arange(201), [90, 110])
    limit = np.log(-score_offset(scores, "auto", held_out))
    assert limit == pytest.approx(0.98, abs=0.01)
