"""Shared fixtures."""

import os
from pathlib import Path

# Read when scipy is imported: without it scikit-learn skips one of its estimator checks.
os.environ.setdefault("SCIPY_ARRAY_API", "1")
# Parallel test processes share the cores.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
import torch


@pytest.fixture(autouse=True)
def fixed_random_numbers() -> None:
    """Seed torch's global generator: with four channels, an unlucky start has no gradient."""
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def full_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    """Disable TF32 on GPUs, whose precision of 11 bits is too low for tests of equality."""
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)


@pytest.fixture(scope="session")
def magnetic_tile() -> Path:
    """Folder of the magnetic tile images in MVTec AD layout; skips where it is missing."""
    beside_the_checkout = Path(__file__).parents[2] / "shared" / "data"
    folder = Path(os.environ.get("SKANOMALY_DATA") or beside_the_checkout) / "magnetic_tile"
    if not folder.is_dir():
        pytest.skip(f"no images at {folder}: set SKANOMALY_DATA to the folder that holds them")
    return folder
