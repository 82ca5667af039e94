"""load_image_folder: which files it takes, in what order, and its errors."""

import os
import warnings

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


@pytest.mark.parametrize("part", ["train/good", "ground_truth/crack"])
def test_a_dataset_is_warned_of(tmp_path, part):
    save(tmp_path / part / "a.png")
    with pytest.warns(UserWarning, match="is a dataset .* use load_mvtec_ad"):
        assert len(load_image_folder(tmp_path)) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load_image_folder(tmp_path / part)


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


def save_pages(path, n_pages):
    pages = [Image.fromarray(np.full((4, 6), 9 * index, np.uint8)) for index in range(n_pages)]
    pages[0].save(path, save_all=True, append_images=pages[1:])


@pytest.fixture
def no_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def test_links_to_folders_are_followed(folder, tmp_path_factory, no_warning):
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    save(elsewhere / "x.png")
    save(elsewhere / "deep" / "y.png")
    (folder / "z").symlink_to(elsewhere, target_is_directory=True)
    (folder / "zz").symlink_to(elsewhere / "deep", target_is_directory=True)
    (folder / "0").symlink_to(folder / "sub", target_is_directory=True)
    (elsewhere / "back").symlink_to(elsewhere, target_is_directory=True)
    expected = ["a.JPG", "b.png", "sub/c.tiff", "sub/deeper/d.bmp"]
    # One folder is searched once, and folders in the tree have their own names.
    assert names(load_image_folder(folder), folder) == [*expected, "z/deep/y.png", "z/x.png"]
    assert names(load_image_folder(folder, recursive=False), folder) == ["a.JPG", "b.png"]


def test_a_link_to_what_holds_the_folder_is_named(folder):
    (folder / "up").symlink_to(folder.parent, target_is_directory=True)
    with pytest.warns(UserWarning, match=r"1 file\(s\) .*/up'"):
        images = load_image_folder(folder)
    assert len(images) == 4


def test_the_folder_itself_may_be_a_link(folder, tmp_path_factory, no_warning):
    link = tmp_path_factory.mktemp("links") / "link"
    link.symlink_to(folder, target_is_directory=True)
    assert len(load_image_folder(link)) == 4


@pytest.mark.parametrize("where", ["", "sub/deeper"])
def test_a_folder_that_may_not_be_listed_is_an_error(folder, monkeypatch, where):
    def scandir(path, original=os.scandir):
        if os.fspath(path) == os.fspath(folder / where):
            raise PermissionError(13, "Permission denied", path)
        return original(path)

    monkeypatch.setattr(os, "scandir", scandir)
    with pytest.raises(PermissionError, match=r"The folder '.*' cannot be listed: Permission"):
        load_image_folder(folder)


def test_files_left_out_are_counted_and_named(folder):
    for name in ("raw.dng", "sub/phone.heic", "sub/scan"):
        (folder / name).touch()
    with pytest.warns(
        UserWarning, match=r"3 file\(s\) in .*were skipped, such as '.*/raw\.dng'.*\.png"
    ):
        images = load_image_folder(folder)
    assert len(images) == 4


def test_text_beside_images_is_no_image(folder, no_warning):
    for name in ("readme.md", "labels.csv", "Thumbs.db", "sub/boxes.json", "sub/a.XML"):
        (folder / name).touch()
    assert len(load_image_folder(folder)) == 4


@pytest.mark.parametrize("suffix", ["tif", "gif"])
def test_further_pages_are_counted_and_named(tmp_path, suffix):
    save(tmp_path / f"a.{suffix}")
    save_pages(tmp_path / f"b.{suffix}", 3)
    save_pages(tmp_path / f"c.{suffix}", 5)
    message = rf"2 file\(s\) .* several pages.*6 page\(s\) are skipped. '.*b\.{suffix}'.* has 3"
    with pytest.warns(UserWarning, match=message):
        images = load_image_folder(tmp_path, mode="gray")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert images.read(slice(None)).shape == (3, 4, 6)


def test_a_sequence_warns_of_pages_once(tmp_path):
    paths = [tmp_path / "a.tif", tmp_path / "b.tif", tmp_path / "c.png"]
    save(paths[0])
    save_pages(paths[1], 3)
    save(paths[2])
    images = ImageSequence(paths)
    with pytest.warns(UserWarning, match=r"b\.tif' holds 3 pages.* 2 page\(s\) are skipped"):
        images[1:].read([0])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        images.read(slice(None))


def test_home_folder(folder, monkeypatch, tmp_path_factory):
    monkeypatch.setenv("HOME", str(folder.parent))
    assert len(load_image_folder(f"~/{folder.name}")) == 4
    assert ImageSequence([f"~/{folder.name}/b.png"]).shape == (1, 4, 6)
    # What has that very name comes first, and a name of no user is a name.
    here = tmp_path_factory.mktemp("here")
    save(here / "~" / "a.png")
    save(here / "~nobody-of-that-name.png")
    monkeypatch.chdir(here)
    assert len(load_image_folder(".").read(slice(None))) == 2


def test_pages_that_were_not_counted_are_named_on_reading(tmp_path):
    """Animated PNG files are not opened in advance."""
    save_pages(tmp_path / "a.tif", 3)
    save_pages(tmp_path / "b.webp", 2)
    save_pages(tmp_path / "c.png", 2)
    with pytest.warns(UserWarning, match=r"2 file\(s\) .* several pages.* 3 page\(s\)"):
        images = load_image_folder(tmp_path, mode="gray")
    with pytest.warns(UserWarning, match=r"c\.png' holds 2 pages") as caught:
        images.read(slice(None))
    assert len(caught) == 1
