"""Fixtures for the tests of detectors."""

import pytest
from synthetic_images import make_images, plant_defects

from skanomaly import SelfSupervisedAutoencoderDetector


@pytest.fixture(scope="session")
def images():
    return make_images(40)


@pytest.fixture(scope="session")
def damaged():
    return plant_defects(make_images(20, seed=1))


@pytest.fixture(scope="session")
def detector(images):
    """Trained for long enough to find a planted defect."""
    return SelfSupervisedAutoencoderDetector(max_iter=60, random_state=0).fit(images)
