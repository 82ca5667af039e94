import numpy as np
import pytest
import torch

from skanomaly.scoring import RegionTerm, smooth


@pytest.fixture
def normal():
    """Maps of normal images, in multiples of the usual."""
    generator = torch.Generator().manual_seed(0)
    return 0.5 + torch.rand(20, 32, 32, generator=generator, dtype=torch.double)


def test_a_region_that_is_large_and_faint_counts(normal):
    term = RegionTerm.fit([normal[:12], normal[12:]], 15)
    wide, narrow = normal[:1].clone(), normal[:1].clone()
    wide[:, :16] += 0.8
    narrow[:, 3:6, 3:6] += 0.8
    before = normal[0].amax()
    assert term.add_to(wide)[0, 4:12].min() > term.add_to(normal)[0].max()
    assert term.add_to(narrow)[0, 20:].max() < term.add_to(wide)[0, 4:12].min()
    # The same faint change is lost in the map itself.
    assert wide[0, 4:12].min() < before


def test_a_strong_small_defect_adds_no_more_than_one_twice_the_usual(normal):
    term = RegionTerm.fit([normal], 15)
    twice, more = normal[:1].clone(), normal[:1].clone()
    twice[:, 10:13, 10:13], more[:, 10:13, 10:13] = 2.0, 1000.0
    torch.testing.assert_close(term.add_to(twice) - twice, term.add_to(more) - more)


def test_the_parts_of_normal_images_are_equally_high(normal):
    term = RegionTerm.fit(list(normal.split(7)), 15)
    wide = smooth(normal.clamp(max=2.0), 15, 2)
    peaks = normal.flatten(1).amax(1).mean()
    assert term.weight == pytest.approx(float(peaks / wide.flatten(1).amax(1).mean()))
    assert term.floor == pytest.approx(float(wide.min()))
    added = term.add_to(normal) - normal
    torch.testing.assert_close(added, term.weight * (wide - term.floor).clamp(min=0))
    assert float(added.min()) >= 0


def test_maps_that_are_zero_stay_zero():
    term = RegionTerm.fit([torch.zeros(3, 8, 8, dtype=torch.double)], 5)
    assert np.isfinite(term.weight)
    assert float(term.add_to(torch.zeros(1, 8, 8, dtype=torch.double)).abs().max()) == 0
