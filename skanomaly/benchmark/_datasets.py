"""Datasets by name or folder, and what tells one from another."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from sklearn.utils import Bunch

from ..datasets import make_bar_images, make_textured_surfaces
from ..datasets._image_file import expand_user, read_image
from ..datasets._image_folder import find_images
from ..datasets._mask_file import read_mask
from ..datasets._mvtec_ad import _find_category, load_without
from ..datasets._textured_surfaces import TEXTURES

MADE = (*TEXTURES, "bars")


@dataclass(frozen=True)
class Dataset:
    """A dataset that is loaded where it is needed.

    Attributes
    ----------
    name : str
        What a table calls it.
    size : int
        Side of its images in pixels.
    folder : Path or None
        Where it lies, resolved, in MVTec AD layout; None for one that is made, whose name says
        which.
    """

    name: str
    size: int
    folder: Path | None = None

    def identity(self) -> dict[str, str | int]:
        """What tells it from other datasets: for a folder, the names and lengths of its files."""
        if self.folder is None:
            return {"dataset": self.name, "size": self.size}
        files = hashlib.sha256()
        for path in _find_files(self.folder):
            line = f"{path.relative_to(self.folder).as_posix()} {path.stat().st_size}\n"
            files.update(line.encode(errors="surrogateescape"))
        # Not where the folder lies: it may be moved.
        name = self.folder.name
        return {"dataset": name, "size": self.size, "files": files.hexdigest()}

    def load(self, *, skip_damaged: bool = False) -> tuple[Bunch, list[str]]:
        """Load the dataset.

        Returns
        -------
        data : Bunch
        left_out : list of str
            Files that cannot be read, relative to the folder. Test images are left out with their
            mask if either is damaged.

        Raises
        ------
        ValueError
            If a file cannot be read and `skip_damaged` is False.
        """
        if self.folder is None:
            return _make(self.name, self.size), []
        damaged = _find_damaged(self.folder) if skip_damaged else []
        names = [path.relative_to(self.folder).as_posix() for path in damaged]
        return load_without(self.folder, set(damaged), size=self.size), names


def find_datasets(
    names: str | os.PathLike[str] | Iterable[str | os.PathLike[str]], size: int
) -> list[Dataset]:
    """Find datasets by name, by folder, or by a folder of folders.

    Raises
    ------
    FileNotFoundError
        If there is no such folder, or not in MVTec AD layout.
    ValueError
        If no image can be made of that size, or `names` is empty.
    """
    found: list[Dataset] = []
    for name in [names] if isinstance(names, (str, os.PathLike)) else names:
        if name in MADE:
            found.append(_check_made(str(name), size))
            continue
        root = expand_user(name)
        folders = sorted(path.parent.parent for path in root.glob("*/train/good"))
        if not folders or (root / "train" / "good").is_dir():
            folders = [_find_category(root, None)]
        found += [Dataset(path.resolve().name, size, path.resolve()) for path in folders]
    if not found:
        raise ValueError("At least one dataset is required.")
    found = list(dict.fromkeys(found))
    short = [dataset.name for dataset in found]
    return [
        # Two categories of the same name are told apart by where they lie.
        replace(dataset, name=dataset.folder.as_posix())
        if dataset.folder is not None and short.count(dataset.name) > 1
        else dataset
        for dataset in found
    ]


def _check_made(name: str, size: int) -> Dataset:
    try:
        _make(name, size, n_train=1)
    except (TypeError, ValueError) as error:
        raise type(error)(f"Dataset '{name}': {error}") from error
    return Dataset(name, size)


def _make(name: str, size: int, **numbers: int) -> Bunch:
    if name == "bars":
        return make_bar_images(image_size=size, random_state=0, **numbers)
    return make_textured_surfaces(name, image_size=size, random_state=0, **numbers)


def _find_damaged(folder: Path) -> list[Path]:
    """Find the images and masks that cannot be read."""
    damaged = []
    for path in _find_files(folder):
        try:
            (read_mask if path.is_relative_to(folder / "ground_truth") else read_image)(path)
        except ValueError:
            damaged.append(path)
    return damaged


def _find_files(folder: Path) -> list[Path]:
    """Find all images and masks of a dataset."""
    parts = [folder / "train" / "good", folder / "test", folder / "ground_truth"]
    return [path for part in parts if part.is_dir() for path in find_images(part)[0]]
