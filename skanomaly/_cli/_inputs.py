"""Images that a command is given, and folders that it had better not be given."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from ..datasets import load_image_folder


def find_inputs(given: Sequence[Path]) -> tuple[list[Path], list[str]]:
    """Find the images among files and folders.

    Parameters
    ----------
    given : sequence of Path
        Files, and folders that are looked through with their subfolders.

    Returns
    -------
    paths : list of Path
        Each image once.
    names : list of str
        Their paths within the only folder given, or else within the one that all lie in.

    Raises
    ------
    FileNotFoundError
        If there is no such file or folder.
    ValueError
        If a folder holds no image.
    """
    found: dict[str, Path] = {}
    for path in given:
        if not path.exists():
            raise FileNotFoundError(f"No such file or folder: '{path}'.")
        images = load_image_folder(path).paths if path.is_dir() else [path]
        for image in images:
            found.setdefault(os.path.abspath(image), image)
    root = os.path.abspath(given[0])
    if len(given) > 1 or not given[0].is_dir():
        root = os.path.commonpath([os.path.dirname(os.path.abspath(path)) for path in given])
    names = [Path(os.path.relpath(path, root)).as_posix() for path in found]
    return list(found.values()), names


def refuse_dataset(folder: Path) -> None:
    """Refuse a folder that holds defective images and masks beside the good ones.

    Raises
    ------
    ValueError
    """
    good = folder / "train" / "good"
    if good.is_dir():
        remedy = f"Pass '{good}' instead"
    elif any(folder.glob("*/train/good")):
        remedy = "Pass the folder train/good of one of its datasets instead"
    elif (folder / "ground_truth").is_dir():
        remedy = "Pass the folder of its good images instead"
    else:
        return
    raise ValueError(
        f"GOOD_FOLDER must hold good images alone, got the dataset '{folder}', with its test "
        f"images and masks. {remedy}."
    )
