"""load_image_folder: which files it takes, in what order, and its errors."""

import numpy as np
import pytest
from PIL import Image

from skanomaly.datasets import ImageSequence, load_image_folder


def save(path, value=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((4, 6), value, dtype=np.uint8)).save(path)


@pytest.fixture
def folder(tmp_path):
    for name in ("b.png", "a.JPG", "sub/c.tiff", "sub/deeper/d.bmp", ".hidden.png", ".cache/e.png"):
        save(tmp_path / name)
    (tmp_path / "notes.txt").write_text("not an image")
    (tmp_path / "folder.png").mkdir()
    return tmp_path


def names(images, folder):
    return [path.relative_to(folder).as_posix() for path in images.paths]


def test_recursive(folder):
    images = load_image_folder(folder)
    assert isinstance(images, ImageSequence)
    assert names(images, folder) == ["a.JPG", "b.png", "sub/c.tiff", "sub/deeper/d.bmp"]
    assert images.shape == (4, 4, 6)


def test_not_recursive_and_parameters(folder):
    images = load_image_folder(str(folder), size=(3, 2), mode="rgb", recursive=False)
    assert names(images, folder) == ["a.JPG", "b.png"]
    assert images.shape == (2, 3, 2, 3)


@pytest.mark.parametrize("suffix", ["png", "jpg", "jpeg", "bmp", "tif", "tiff", "webp", "PNG"])
def test_suffixes(tmp_path, suffix):
    save(tmp_path / f"a.{suffix}")
    assert load_image_folder(tmp_path)[0].shape[:2] == (4, 6)


def test_missing_folder(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"No such folder: .*nowhere"):
        load_image_folder(tmp_path / "nowhere")


def test_file_for_a_folder(folder):
    with pytest.raises(NotADirectoryError, match=r"folder of images.*b\.png"):
        load_image_folder(folder / "b.png")


def test_folder_without_images(tmp_path):
    for name in ("a.txt", "b.csv", ".hidden"):
        (tmp_path / name).touch()
    with pytest.raises(ValueError, match=r"holds no image.*\.png.*2 other file\(s\)"):
        load_image_folder(tmp_path)


def test_images_in_subfolders_alone(tmp_path):
    save(tmp_path / "sub" / "a.png")
    with pytest.raises(ValueError, match="recursive=False"):
        load_image_folder(tmp_path, recursive=False)
    assert len(load_image_folder(tmp_path)) == 1


@pytest.mark.parametrize(
    ("kwargs", "error"),
    [({"size": 0}, ValueError), ({"size": "8"}, TypeError), ({"mode": "x"}, ValueError)],
)
def test_bad_parameters(folder, kwargs, error):
    with pytest.raises(error):
        load_image_folder(folder, **kwargs)
