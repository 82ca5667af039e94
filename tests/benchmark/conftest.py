"""A small dataset on disk, and benchmarks without the start of a process for each run."""

import shutil
from concurrent.futures import Future

import numpy as np
import pytest
from skimage import io
from synthetic_images import make_images, plant_defects

from skanomaly.benchmark import _processes


@pytest.fixture(scope="session")
def stripes(tmp_path_factory):
    """A dataset in MVTec AD layout: stripes, with a broken square in the defective ones."""
    root = tmp_path_factory.mktemp("data") / "stripes"
    bad, masks = plant_defects(make_images(6, size=(16, 16), seed=2))

    def write(folder, images, suffix=""):
        (root / folder).mkdir(parents=True)
        for index, image in enumerate(images):
            path = root / folder / f"{index:03d}{suffix}.png"
            io.imsave(path, (image * 255).astype(np.uint8), check_contrast=False)

    write("train/good", make_images(12, size=(16, 16)))
    write("test/good", make_images(6, size=(16, 16), seed=1))
    write("test/broken", bad)
    write("ground_truth/broken", masks, "_mask")
    return root


@pytest.fixture
def copy(stripes, tmp_path):
    """The same to do damage to."""
    return shutil.copytree(stripes, tmp_path / "copy").resolve()


@pytest.fixture
def cut():
    """Cut off most of a file."""
    return lambda path: path.write_bytes(path.read_bytes()[:60])


class _ThisProcess:
    def __init__(self, **options):
        pass

    def submit(self, function, *arguments):
        future = Future()
        try:
            future.set_result(function(*arguments))
        except Exception as error:
            future.set_exception(error)
        return future

    def shutdown(self, **options):
        pass


@pytest.fixture
def in_this_process(monkeypatch):
    """Compute runs here: a process of its own takes seconds to import torch."""
    monkeypatch.setattr(_processes, "ProcessPoolExecutor", _ThisProcess)
