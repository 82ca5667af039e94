"""A small dataset on disk."""

import shutil

import numpy as np
import pytest
from skimage import io
from synthetic_images import make_images, plant_defects


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
