import math

import numpy as np
import pytest
import torch
from scipy import ndimage, stats

from skanomaly.scoring import (
    ExpectedMap,
    FrameTerm,
    aggregate,
    difference_map,
    frame_sums,
    score_offset,
    smooth,
)

FRAMES = torch.zeros(40, 5)


def test_difference_map_is_the_mean_square_over_channels():
    images = torch.zeros(2, 3, 4, 4)
    reconstructions = torch.zeros(2, 3, 4, 4)
    reconstructions[1, :, 2, 3] = torch.tensor([1.0, 2.0, 3.0])
    maps = difference_map(images, reconstructions)
    assert maps.shape == (2, 4, 4)
    assert float(maps[1, 2, 3]) == pytest.approx(14 / 3)
    assert float(maps.sum()) == pytest.approx(14 / 3)
    assert difference_map(torch.zeros(2, 5), torch.full((2, 5), 2.0)).tolist() == [[4.0] * 5] * 2


@pytest.mark.parametrize(("size", "passes"), [(3, 1), (5, 2), (7, 3), (21, 1), (29, 2)])
def test_smoothing_is_a_repeated_mean_filter(size, passes):
    maps = torch.rand(2, 20, 30, dtype=torch.double)
    smoothed = smooth(maps, size, passes)
    expected = maps.numpy()
    for _ in range(passes):
        # Zero outside, divided by the fraction inside: the mean over the pixels inside.
        inside = ndimage.uniform_filter(np.ones_like(expected), (0, size, size), mode="constant")
        expected = ndimage.uniform_filter(expected, (0, size, size), mode="constant") / inside
    np.testing.assert_allclose(smoothed.numpy(), expected, rtol=1e-10)


def test_smoothing_keeps_a_flat_map_flat_up_to_the_border():
    maps = torch.full((1, 9, 4), 2.5, dtype=torch.double)
    np.testing.assert_allclose(smooth(maps, 7, 3).numpy(), 2.5, rtol=1e-12)
    assert smooth(maps, 1, 4) is maps and smooth(maps, 5, 0) is maps


def test_aggregation():
    maps = torch.arange(100.0).reshape(1, 10, 10)
    assert float(aggregate(maps, "max")) == 99
    assert float(aggregate(maps, "mean")) == pytest.approx(49.5)
    assert float(aggregate(maps, 0.04)) == pytest.approx(97.5)
    assert float(aggregate(maps, 1.0)) == pytest.approx(49.5)
    assert float(aggregate(maps, 1e-9)) == 99


def test_expected_map_is_a_mean_pulled_towards_the_overall_mean():
    batches = [torch.full((30, 2, 2, 2), 1.0), torch.full((60, 2, 2, 2), 1.0)]
    for batch in batches:
        batch[:, 0, 0, 0] = 4.0
        batch[:, 1] = 0.0
    expected = ExpectedMap.fit(batches).expected.numpy()
    overall = 7 / 4
    assert expected[0, 0, 0] == pytest.approx((90 * 4 + 10 * overall) / 100)
    assert expected[0, 1, 1] == pytest.approx((90 * 1 + 10 * overall) / 100)
    # Maps that are 0 everywhere are divided by 1.
    assert (expected[1] == 1).all()


def test_an_image_is_compared_with_the_others():
    generator = torch.Generator().manual_seed(0)
    maps = torch.rand(40, 2, 6, 6, generator=generator, dtype=torch.double)
    maps[7, 0, 2, 3] = 500.0
    step = ExpectedMap.fit([maps])
    alike, alone = step(maps, FRAMES), step.leave_one_out(maps, 40)
    for index in (0, 7):
        others = torch.cat([maps[:index], maps[index + 1 :]])
        compared = ExpectedMap.fit([others])(maps[index : index + 1], FRAMES[:1])[0]
        # The overall mean, which includes the image, remains.
        far = (alone[index] / compared - 1).abs()
        assert float(far.max()) < (0.25 if index == 7 else 0.02)
    # Without leaving the image out, no value could exceed about the number of images.
    assert float(alike.max()) < 25 < 250 < float(alone[7, 2, 3])


def test_an_expected_map_serves_images_of_other_sizes():
    step = ExpectedMap(expected=torch.tensor([[[1.0]], [[3.0]]], dtype=torch.double))
    maps = torch.full((2, 2, 5, 7), 3.0, dtype=torch.double)
    assert step(maps, FRAMES[:2]).tolist() == torch.full((2, 5, 7), 2.0).tolist()
    with pytest.raises(ValueError, match="expected must be above 0, got 0.0 instead"):
        ExpectedMap(expected=torch.zeros(1, 1, 1))


def test_thresholds_flag_their_fraction():
    rng = np.random.default_rng(0)
    scores = -rng.random(200)
    assert (scores < score_offset(scores, 0.1)).sum() == 20
    assert (scores < score_offset(scores, "auto")).sum() == 2


def test_the_automatic_threshold_makes_up_for_what_training_took_off():
    """Held-out images score three times as badly: so will new ones."""
    rng = np.random.default_rng(0)
    held_out = np.arange(500) % 10 == 0
    scores = -rng.lognormal(sigma=0.3, size=500) * np.where(held_out, 3.0, 1.0)
    new = -3.0 * rng.lognormal(sigma=0.3, size=5000)
    flagged = (new < score_offset(scores, "auto", held_out)).mean()
    assert 0.002 < flagged < 0.04
    assert (new < score_offset(scores, "auto")).mean() > 0.05
    # A number is a fraction of the images, held out or not.
    assert (scores < score_offset(scores, 0.1, held_out)).sum() == 50


@pytest.mark.parametrize("stretch", [1, 2])
@pytest.mark.parametrize("tail", [1, 1.5])
def test_the_automatic_threshold_flags_its_fraction_of_new_images(stretch, tail):
    """Also where their scores vary more than of those trained on, and whatever their tail."""

    def draw(size):
        normal = rng.normal(size=size)
        return np.sign(normal) * np.abs(normal) ** tail

    rng = np.random.default_rng(0)
    held_out = np.arange(1100) < 100
    flagged = []
    for _ in range(200):
        logs = draw(1100) * np.where(held_out, stretch, 1) + held_out
        offset = score_offset(-np.exp(logs), "auto", held_out)
        flagged.append((-np.exp(1 + stretch * draw(1000)) < offset).mean())
    assert 0.005 < np.mean(flagged) < 0.02


@pytest.mark.parametrize(("count", "held"), [(12, 4), (20, 6), (40, 13), (100, 20)])
def test_the_automatic_threshold_flags_its_fraction_of_new_images_with_few(count, held):
    """The 99th percentile of few scores is on average below that of many."""
    rng = np.random.default_rng(0)
    held_out = np.arange(count) < held
    flagged = []
    for _ in range(500):
        logs = rng.normal(size=count) + held_out
        limit = np.log(-score_offset(-np.exp(logs), "auto", held_out))
        flagged.append(stats.norm.sf(limit - 1))
    assert 0.01 < np.mean(flagged) < 0.02


def test_one_held_out_image_moves_the_threshold_and_does_not_stretch_it():
    scores = -np.exp(np.linspace(-1, 1, 201))
    held_out = np.arange(201) == 150
    limit = np.log(-score_offset(scores, "auto", held_out))
    assert limit == pytest.approx(0.98 + 0.5, abs=0.01)


def test_scores_of_zero_have_a_threshold():
    held_out = np.arange(50) < 5
    assert score_offset(np.zeros(50), "auto", held_out) == 0
    scores = -np.linspace(0, 1, 50)
    assert -2 < score_offset(scores, "auto", held_out) < -0.9


def test_a_threshold_is_never_loosened_below_the_images_trained_on():
    scores = -np.linspace(1, 2, 100)
    held_out = np.arange(100) < 10
    assert score_offset(scores, "auto", held_out) == np.percentile(scores[10:], 1)


def test_a_map_of_zeros_stays_finite():
    images = torch.randn(10, 1, 16, 16, dtype=torch.float64)
    term = FrameTerm.fit(frame_sums(images), weight=1.0, brightness=True, aggregation="max")
    frame = frame_sums(torch.zeros(1, 1, 16, 16, dtype=torch.float64))
    assert bool(term(torch.zeros(1, 16, 16, dtype=torch.float64), frame).isfinite().all())


def sums_of(means, variance=1.0, roughness=1.0, count=100.0):
    """Frame sums of images with these means, as if of that many values."""
    means = torch.as_tensor(means, dtype=torch.float64)
    ones = torch.ones_like(means)
    squares = means.square() + variance
    parts = [ones, means, squares, ones, ones * roughness * variance]
    return count * torch.stack(parts, dim=1)


def fit_frames(means, **sums):
    frames = sums_of(means, **sums)
    return FrameTerm.fit(frames, weight=1.0, brightness=True, aggregation="max")


def test_the_margin_is_half_the_range_or_at_least_what_defects_do():
    wide = fit_frames([0.0, 10.0])
    assert wide.margin.tolist() == pytest.approx([5.0, math.log(4), 0.4])
    assert fit_frames([0.0, 1.0]).margin[0] == 1
    # Means are in units of the usual deviation.
    doubled = fit_frames([0.0, 20.0], variance=4.0)
    assert (doubled.lowest[0], doubled.highest[0]) == (0, pytest.approx(10.0))
    # Nothing up to half of the margin, 1 at the margin.
    excess = wide.excess(sums_of([5.0, 12.5, -2.5, 15.0, -5.0, 20.0]))
    assert excess.tolist() == pytest.approx([0, 0, 0, 1, 1, 3])


def test_the_excess_is_that_of_the_worst_statistic_at_any_size():
    term = fit_frames([0.0, 10.0])
    far = sums_of([20.0], variance=1e-3)
    alone = [float(term.excess(sums_of(*each))) for each in (([20.0],), ([10.0], 1e-3))]
    assert min(alone) > 1
    assert float(term.excess(far)) == pytest.approx(max(alone), rel=1e-3)
    # Larger images than those of fit are not held to more.
    assert term.excess(sums_of([15.0], count=900.0)).tolist() == pytest.approx([1.0])
    assert term.excess(sums_of([15.0], count=25.0)).tolist() == [0.0]


def test_a_frame_raises_the_score_of_its_aggregation():
    frames = sums_of([0.0, 10.0])
    term = FrameTerm.fit(frames, weight=7.0, brightness=True, aggregation="mean")
    maps = torch.rand(1, 4, 4, dtype=torch.float64)
    raised = term(maps, sums_of([20.0]))
    assert float(raised.mean()) == pytest.approx(7.0 * 3.0)


def test_frames_without_contrast_or_neighbours_are_finite():
    flat = torch.zeros(5, 1, 8, 8, dtype=torch.float64)
    term = FrameTerm.fit(frame_sums(flat), weight=1.0, brightness=True, aggregation="max")
    assert term.excess(frame_sums(flat)).tolist() == [0.0] * 5
    # The mean square of the first is below the squared mean, by rounding.
    far = torch.full((1, 1, 15, 15), 913628022.0, dtype=torch.float64) / 3
    for values in (far, torch.zeros(1, 3, 1, 1, dtype=torch.float64)):
        assert bool(term.excess(frame_sums(values)).isfinite().all())


def test_sums_of_values_far_from_0_keep_their_digits():
    images = 4096 + torch.randn(2, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    expected = frame_sums(images.double())[:, :3]
    torch.testing.assert_close(frame_sums(images)[:, :3], expected, rtol=1e-13, atol=0)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("lowest", torch.zeros(2), "shape"),
        ("highest", torch.tensor([0.0, math.nan, 0.0]), "finite"),
        ("margin", torch.zeros(3), "margin above 0"),
        ("variance", 0.0, "above 0"),
        ("count", 0.0, "above 0"),
        ("weight", math.inf, "weight finite"),
    ],
)
def test_a_frame_term_refuses_numbers_that_make_no_factor(name, value, message):
    settings = dict(lowest=torch.zeros(3), highest=torch.ones(3), margin=torch.ones(3))
    settings |= dict(variance=1.0, count=1.0, weight=1.0, aggregation="max")
    FrameTerm(**settings)
    if name == "lowest":
        settings["highest"] = value
    with pytest.raises(ValueError, match=message):
        FrameTerm(**settings | {name: value})
