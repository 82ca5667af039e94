"""per_region_overlap_score against a plain computation from the definition, and tiny cases."""

from itertools import pairwise

import numpy as np
import pytest

from skanomaly.metrics import per_region_overlap_score


def find_regions(mask):
    """Sets of pixels (row, column) that are connected by a side or a corner."""
    left = {tuple(pixel) for pixel in np.argwhere(mask)}
    regions = []
    while left:
        region, frontier = set(), [left.pop()]
        while frontier:
            row, column = frontier.pop()
            region.add((row, column))
            for neighbour in [(row + i, column + j) for i in (-1, 0, 1) for j in (-1, 0, 1)]:
                if neighbour in left:
                    left.remove(neighbour)
                    frontier.append(neighbour)
        regions.append(region)
    return regions


def plain_per_region_overlap(masks, maps, max_fpr):
    """The definition, threshold by threshold and region by region."""
    thresholds = sorted({value for image in maps for value in image.ravel()}, reverse=True)
    n_normal = sum(int(np.sum(~mask)) for mask in masks)
    pairs = list(zip(masks, maps, strict=True))
    regions = [(image, region) for mask, image in pairs for region in find_regions(mask)]
    points = [(0.0, 0.0)]
    for threshold in thresholds:
        alarms = sum(int(np.sum((image >= threshold) & ~mask)) for mask, image in pairs)
        overlaps = [
            sum(image[pixel] >= threshold for pixel in region) / len(region)
            for image, region in regions
        ]
        points.append((alarms / n_normal, sum(overlaps) / len(overlaps)))
    area = 0.0
    for (left, low), (right, high) in pairwise(points):
        if left >= max_fpr:
            break
        if right > max_fpr:
            high = low + (high - low) * (max_fpr - left) / (right - left)
            right = max_fpr
        area += (right - left) * (low + high) / 2
    return area / max_fpr


def make_case(seed):
    """Images of several sizes with regions that touch by corners, and maps with many ties."""
    rng = np.random.default_rng(seed)
    masks = [rng.random(size) < 0.15 for size in [(9, 7), (5, 12), (8, 8)]]
    masks.append(np.zeros((6, 6), dtype=bool))
    maps = [np.round(rng.normal(size=mask.shape) + mask, 1) for mask in masks]
    return masks, maps


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("max_fpr", [0.01, 0.05, 0.3, 1.0])
def test_agrees_with_the_definition(seed, max_fpr):
    masks, maps = make_case(seed)
    expected = plain_per_region_overlap(masks, maps, max_fpr)
    assert per_region_overlap_score(masks, maps, max_fpr=max_fpr) == pytest.approx(
        expected, abs=1e-12
    )


def test_limit_is_three_tenths():
    masks, maps = make_case(0)
    expected = per_region_overlap_score(masks, maps, max_fpr=0.3)
    assert per_region_overlap_score(masks, maps) == expected


@pytest.mark.parametrize("max_fpr", [0.05, 0.3, 1.0])
def test_perfect_constant_and_reversed(max_fpr):
    masks = np.zeros((3, 9, 9), dtype=bool)
    masks[0, 2:5, 2:4] = masks[0, 7, 7] = masks[1, 0:2, 0:7] = True
    score = per_region_overlap_score(masks, masks + 0.0, max_fpr=max_fpr)
    assert score == 1.0
    score = per_region_overlap_score(masks, np.ones(masks.shape), max_fpr=max_fpr)
    assert score == pytest.approx(max_fpr / 2)
    assert per_region_overlap_score(masks, -1.0 * masks, max_fpr=max_fpr) == 0.0


@pytest.mark.parametrize(
    ("mask", "anomaly_map", "max_fpr", "expected"),
    [
        # One region of two pixels: half of it at once, the rest after one of four normal pixels.
        ([[1, 1, 0], [0, 0, 0]], [[9, 2, 5], [0, 0, 0]], 0.5, 0.75),
        # The same, up to the second pixel.
        ([[1, 1, 0], [0, 0, 0]], [[9, 2, 5], [0, 0, 0]], 0.25, 0.5),
        # The second pixel ties with one of four: a straight line from 0.5 to 1.
        ([[1, 1, 0], [0, 0, 0]], [[9, 5, 5], [0, 0, 0]], 0.25, 0.75),
        # The limit cuts that line in the middle.
        ([[1, 1, 0], [0, 0, 0]], [[9, 5, 5], [0, 0, 0]], 0.125, 0.625),
        # Two regions, of one pixel and of three: the first found, or a third of the second.
        ([[1, 0, 1, 1, 1]], [[9, 5, 0, 0, 0]], 1.0, 1 / 2),
        ([[1, 0, 1, 1, 1]], [[0, 5, 9, 0, 0]], 1.0, 1 / 6),
        # Corners connect: one region of two pixels and one of one, which alone is found.
        ([[1, 0, 0, 1], [0, 1, 0, 0]], [[0, 5, 5, 9], [5, 0, 5, 5]], 1.0, 0.5),
    ],
)
def test_by_hand(mask, anomaly_map, max_fpr, expected):
    score = per_region_overlap_score([mask], [anomaly_map], max_fpr=max_fpr)
    assert score == pytest.approx(expected, abs=1e-12)


def test_regions_of_different_images_are_apart():
    # Two pixels at the end of one image and one at the start of the next: the first are found.
    masks, maps = [[[0, 1, 1]], [[1, 0, 0]]], [[[0, 9, 9]], [[-1, 0, 0]]]
    assert per_region_overlap_score(masks, maps, max_fpr=1.0) == pytest.approx(0.5)


def test_soft_rims_are_cut_at_half():
    soft = np.array([[0, 100, 255, 200, 127, 0, 0, 128]], dtype=np.uint8)
    maps = [np.array([[1, 0, 3, 3, 0, 1, 1, 0]])]
    expected = per_region_overlap_score([soft > 127], maps)
    assert per_region_overlap_score([soft], maps) == expected
    assert per_region_overlap_score([soft / 255], maps) == expected
    assert expected != per_region_overlap_score([soft > 0], maps)


@pytest.mark.parametrize("max_fpr", [0, -0.1, 1.01, np.nan, None, "0.3"])
def test_limit_out_of_range(max_fpr):
    with pytest.raises(ValueError, match="'max_fpr' must be above 0 and at most 1"):
        per_region_overlap_score(np.eye(3)[None], np.ones((1, 3, 3)), max_fpr=max_fpr)


def test_rows_have_no_regions():
    with pytest.raises(ValueError, match=r"shape \(h, w\)\. Got shape \(3,\) at index 0"):
        per_region_overlap_score([[0, 0, 0], [0, 1, 0]], [[0, 1, 0], [0, 1, 0]])
