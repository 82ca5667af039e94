"""Datasets by name or folder, and their identity."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sklearn.utils import Bunch

from .._files import expand_user
from ..datasets import make_bar_images, make_textured_surfaces
from ..datasets._checks import check_size
from ..datasets._image_file import read_image
from ..datasets._image_folder import find_images
from ..datasets._mask_file import read_mask
from ..datasets._mvtec_ad import _find_category, load_without
from ..datasets._textured_surfaces import TEXTURES

MADE = (*TEXTURES, "bars")


@dataclass(frozen=True)
class Dataset:
    """A dataset that is loaded on demand.

    Attributes
    ----------
    name : str
        Name in the tables.
    size : int or (int, int)
        Side of its images in pixels, or their height and width.
    folder : Path or None
        Resolved folder in MVTec AD layout; None for a generated dataset.
    """

    name: str
    size: int | tuple[int, int]
    folder: Path | None = None

    @property
    def shown_size(self) -> int | str:
        """The size in tables and results."""
        return " x ".join(map(str, self.size)) if isinstance(self.size, tuple) else self.size

    def identity(self) -> dict[str, str | int]:
        """Return its identity: size and name, and a hash of the names and sizes of its files."""
        if self.folder is None:
            return {"dataset": self.name, "size": self.shown_size}
        files = hashlib.sha256()
        for path in _find_files(self.folder):
            # A link to nothing exists, but not its target.
            n_bytes = path.stat().st_size if path.exists() else -1
            line = f"{path.relative_to(self.folder).as_posix()} {n_bytes}\n"
            files.update(line.encode(errors="surrogateescape"))
        # Without the path, so that the folder can be moved.
        name = self.folder.name
        return {"dataset": name, "size": self.shown_size, "files": files.hexdigest()}

    def load(self, *, skip_damaged: bool = False) -> tuple[Bunch, list[str]]:
        """Load the dataset.

        Returns
        -------
        data : Bunch
        skipped : list of str
            Files that cannot be read, relative to the folder. A test image is skipped if its mask
            is damaged, too.

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
    names: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
    size: int | tuple[int, int],
) -> list[Dataset]:
    """Find datasets by name, by folder, or by a folder of folders.

    Raises
    ------
    FileNotFoundError
        If a folder does not exist or is not in MVTec AD layout.
    ValueError
        If `size` is invalid, images of this size cannot be generated, or `names` is empty.
    """
    check_size(size)
    found: list[Dataset] = []
    for name in [names] if isinstance(names, (str, os.PathLike)) else names:
        if name in MADE:
            try:
                _make(str(name), size, n_train=1)
            except (TypeError, ValueError) as error:
                raise type(error)(f"Dataset '{name}': {error}") from error
            found.append(Dataset(str(name), size))
            continue
        root = expand_user(name)
        folders = sorted(path.parent.parent for path in root.glob("[!.]*/train/good"))
        if not folders or (root / "train" / "good").is_dir():
            folders = [_find_category(root, None)]
        found += [Dataset(path.resolve().name, size, path.resolve()) for path in folders]
    if not found:
        raise ValueError("At least one dataset is required.")
    found = list(dict.fromkeys(found))
    short = [dataset.name for dataset in found]
    return [
        # Categories of the same name are distinguished by their paths.
        replace(dataset, name=dataset.folder.as_posix())
        if dataset.folder is not None and short.count(dataset.name) > 1
        else dataset
        for dataset in found
    ]


def _make(name: str, size: Any, **numbers: int) -> Bunch:
    if name == "bars":
        return make_bar_images(image_size=size, random_state=0, **numbers)
    return make_textured_surfaces(name, image_size=size, random_state=0, **numbers)


def _find_damaged(folder: Path) -> list[Path]:
    """Find the images and masks that cannot be read."""
    damaged = []
    for path in _find_files(folder):
        try:
            (read_mask if path.is_relative_to(folder / "ground_truth") else read_image)(path)
        except (OSError, ValueError):  # OSError of a link to nothing.
            damaged.append(path)
    return damaged


def _find_files(folder: Path) -> list[Path]:
    """Find all images and masks of a dataset."""
    parts = [folder / "train" / "good", folder / "test", folder / "ground_truth"]
    return [path for part in parts if part.is_dir() for path in find_images(part)[0]]
