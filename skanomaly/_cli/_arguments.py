"""Command-line arguments: shared options, types, and input files."""

from __future__ import annotations

import argparse
import math
import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from .._command_line import integer, user_path
from .._files import check_apart
from ..datasets import load_image_folder
from ..datasets._image_file import IMAGE_SUFFIXES
from ..datasets._image_folder import warn_of_pages

# Usual names of folders of good images beside those of defective ones.
_GOOD = ("good", "normal", "ok")


def add_command(
    commands: Any, name: str, run: Callable[..., Any], help: str, description: str | None
) -> argparse.ArgumentParser:
    """Add a command with its description, and return its parser."""
    parser: argparse.ArgumentParser = commands.add_parser(
        name,
        help=help,
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(run=run)
    return parser


def add_model(parser: argparse.ArgumentParser) -> None:
    """Add the argument MODEL."""
    parser.add_argument(
        "model", metavar="MODEL", type=user_path, help="model file written by 'skanomaly fit'"
    )


def add_good_folder(parser: argparse.ArgumentParser) -> None:
    """Add the argument GOOD_FOLDER."""
    parser.add_argument(
        "folder", metavar="GOOD_FOLDER", type=user_path, help="folder of good images"
    )


def add_json(parser: argparse.ArgumentParser) -> None:
    """Add the option ``--json`` of a command without progress."""
    help = "print the result as one JSON object, and nothing else"
    parser.add_argument("--json", action="store_true", help=help)


def add_seed(parser: argparse.ArgumentParser) -> None:
    """Add the option ``--seed``."""
    seed = integer(0, 2**32 - 1)
    parser.add_argument(
        "--seed", metavar="S", type=seed, default=0, help="random seed (default: 0)"
    )


def image_size(text: str) -> tuple[int, int]:
    """Parse ``128`` or ``96x128`` (height, width), in pixels."""
    match = re.fullmatch(r"(\d+)(?:[xX×](\d+))?", text)
    size = (int(match[1]), int(match[2] or match[1])) if match else (0, 0)
    if min(size) < 1:
        raise argparse.ArgumentTypeError(
            f"must be a size in pixels such as 128 or 96x128 (height x width), got {text!r}"
        )
    return size


def fraction(text: str) -> float:
    """Parse a fraction above 0 and up to 0.5."""
    value = _number(text)
    if not 0 < value <= 0.5:
        raise argparse.ArgumentTypeError(f"must be above 0 and at most 0.5, got {text!r}")
    return value


def score(text: str) -> float:
    """Parse a score, which is at most 0."""
    value = _number(text)
    if not -math.inf < value <= 0:
        raise argparse.ArgumentTypeError(f"must be a score of 0 or less, got {text!r}")
    return value


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def find_inputs(given: Sequence[Path]) -> tuple[list[Path], list[str]]:
    """Find the images among files and folders.

    Parameters
    ----------
    given : sequence of Path
        Files, and folders that are searched with their subfolders.

    Returns
    -------
    paths : list of Path
        Each image once.
    names : list of str
        Paths relative to the folder if only one is given, else to the common folder.

    Raises
    ------
    FileNotFoundError
        If a file or folder does not exist.
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
    warn_of_pages(path for path in given if not path.is_dir())
    root = os.path.abspath(given[0])
    if len(given) > 1 or not given[0].is_dir():
        root = os.path.commonpath([os.path.dirname(os.path.abspath(path)) for path in given])
    names = [Path(os.path.relpath(path, root)).as_posix() for path in found]
    return list(found.values()), names


def check_model_apart(output: Path, folder: Path, paths: Sequence[Path]) -> None:
    """Raise ValueError if a model to be written is one of the images, or would be taken for one."""
    would_be_read = output.suffix.lower() in IMAGE_SUFFIXES
    check_apart([("--output", output)], [folder] if would_be_read else paths)


def refuse_dataset(folder: Path) -> None:
    """Raise ValueError for a folder that also holds defective images or masks."""
    good = folder / "train" / "good"
    named, others = _find_good(folder)
    if good.is_dir():
        remedy = f"'{good}'"
    elif any(folder.glob("[!.]*/train/good")):
        remedy = "the folder train/good of one of its datasets"
    elif (folder / "ground_truth").is_dir():
        remedy = "the folder of its good images"
    elif named is not None and others:
        raise ValueError(
            f"GOOD_FOLDER must hold good images only, got '{folder}' with the subfolder "
            f"'{others[0].name}' beside '{named.name}' instead. Pass '{named}'."
        )
    else:
        return
    raise ValueError(
        f"GOOD_FOLDER must hold good images only, got the dataset '{folder}' with test images and "
        f"masks instead. Pass {remedy}."
    )


def _find_good(folder: Path) -> tuple[Path | None, list[Path]]:
    """Find the subfolder of good images by its name, and the other subfolders."""
    parts = sorted(folder.glob("[!.]*/")) if folder.is_dir() else []
    good = next((part for part in parts if part.name.lower() in _GOOD), None)
    return good, [part for part in parts if part != good]
