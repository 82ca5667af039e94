"""All images of a folder as an ImageSequence."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from .._files import expand_user
from .._logging import warn
from ._image_file import IMAGE_SUFFIXES, count_pages, open_image
from ._image_sequence import ImageSequence

# Files that are often stored beside images, and need no warning.
_NO_IMAGES = (
    *(".csv", ".db", ".html", ".ini", ".json", ".log", ".md", ".py", ".rst", ".toml"),
    *(".txt", ".xml", ".yaml", ".yml"),
)
_PAGED = (".gif", ".tif", ".tiff", ".webp")


def load_image_folder(
    folder: str | os.PathLike[str],
    *,
    size: int | tuple[int, int] | None = None,
    mode: str = "auto",
    recursive: bool = True,
) -> ImageSequence:
    """Find the images in a folder.

    Images are not read here: see :class:`ImageSequence`. Files are sorted by path. Image files end
    in .bmp, .gif, .j2k, .jfif, .jp2, .jpe, .jpeg, .jpg, .mpo, .pbm, .pgm, .png, .pnm, .ppm, .tif,
    .tiff or .webp, in upper or lower case. Hidden files and folders, whose names begin with a dot,
    are ignored. Links to folders are followed; each folder is searched once. A warning counts what
    is skipped: files with other suffixes, except text and tables, and pages after the first.
    Another warning says that the folder is a dataset with defects and masks.

    Parameters
    ----------
    folder : str or path-like
        The folder. A leading ~ is the home folder.
    size : int or tuple of (height, width), default=None
        Size in pixels to which images are resized. None keeps them as they are.
    mode : {"auto", "gray", "rgb"}, default="auto"
        Whether to read images as grey or RGB; "auto" keeps the mode of the files.
    recursive : bool, default=True
        Whether to search subfolders.

    Returns
    -------
    ImageSequence
        At least one image.

    Raises
    ------
    FileNotFoundError
        If there is no such folder.
    NotADirectoryError
        If `folder` is a file.
    PermissionError
        If the folder or a subfolder cannot be listed.
    ValueError
        If there is no image.

    Examples
    --------
    >>> from pathlib import Path
    >>> import skimage
    >>> from skanomaly.datasets import load_image_folder
    >>> images = load_image_folder(
    ...     Path(skimage.__file__).parent / "data", size=(48, 64), mode="gray"
    ... )
    >>> images.paths[0].name
    'astronaut.png'
    >>> images[0].shape
    (48, 64)
    """
    root = expand_user(folder)
    paths, others = find_images(root, recursive=recursive)
    if not paths:
        where = "in it or its subfolders" if recursive else "in it (recursive=False)"
        raise ValueError(
            f"The folder '{folder}' holds no image. Accepted suffixes are "
            f"{', '.join(IMAGE_SUFFIXES)}; {len(others)} other file(s) found {where}."
        )
    if recursive and ((root / "train" / "good").is_dir() or (root / "ground_truth").is_dir()):
        warn(
            f"The folder '{folder}' is a dataset with parts such as train, test and ground_truth, "
            "all of which are loaded, defects and masks included. To train, pass the folder of its "
            "good images, such as train/good, or use load_mvtec_ad.",
        )
    images = ImageSequence(paths, size=size, mode=mode)
    warn_of_skipped(folder, others, images)
    return images


def find_images(folder: Path, *, recursive: bool = True) -> tuple[list[Path], list[Path]]:
    """Return the image files in a folder and its other files, both sorted.

    Links to folders are followed, except to folders that are searched anyway or contain this one.

    Raises
    ------
    FileNotFoundError
        If there is no such folder.
    NotADirectoryError
        If `folder` is a file.
    PermissionError
        If a folder cannot be listed.
    """
    if not folder.exists():
        raise FileNotFoundError(f"No such folder: '{folder}'.")
    if not folder.is_dir():
        raise NotADirectoryError(f"Expected a folder of images. Got the file '{folder}' instead.")
    images: list[Path] = []
    others: list[Path] = []
    links: list[Path] = []
    seen: set[str] = set()
    above = Path(os.path.realpath(folder)).parents
    to_search = [folder]
    while to_search or links:
        # Links come last, so that files get their real paths.
        parent = to_search.pop() if to_search else links.pop(links.index(min(links)))
        real = os.path.realpath(parent)
        if real in seen:
            continue
        if Path(real) in above:
            others.append(parent)
            continue
        seen.add(real)
        try:
            with os.scandir(parent) as listing:
                entries = [entry for entry in listing if not entry.name.startswith(".")]
        except OSError as error:
            message = f"The folder '{parent}' cannot be listed: {error.strerror}."
            raise type(error)(message) from error
        for entry in entries:
            path = parent / entry.name
            if not _is_folder(entry):
                is_image = entry.name.lower().endswith(IMAGE_SUFFIXES)
                (images if is_image else others).append(path)
            elif recursive:
                (links if entry.is_symlink() else to_search).append(path)
    return sorted(images), sorted(others)


def warn_of_skipped(
    folder: str | os.PathLike[str], others: list[Path], images: ImageSequence
) -> None:
    """Warn of files that are not read, and of pages after the first."""
    others = [path for path in others if not path.name.lower().endswith(_NO_IMAGES)]
    if others:
        warn(
            f"{len(others)} file(s) in '{folder}' were skipped, such as '{others[0]}'. Images end "
            f"in {', '.join(IMAGE_SUFFIXES)}.",
        )
    images._reader.counted = warn_of_pages(images.paths)


def warn_of_pages(paths: Iterable[Path]) -> frozenset[Path]:
    """Warn of pages after the first, and return the files that hold them."""
    paged = [path for path in paths if path.name.lower().endswith(_PAGED)]
    n_pages = {path: count for path in paged if (count := _count_pages(path)) > 1}
    if n_pages:
        path, count = next(iter(n_pages.items()))
        warn(
            f"{len(n_pages)} file(s) hold several pages, of which only the first is read: "
            f"{sum(n_pages.values()) - len(n_pages)} page(s) are skipped. '{path}' has {count}. "
            "Save each page as a file of its own.",
        )
    return frozenset(n_pages)


def _count_pages(path: Path) -> int:
    try:
        with open_image(path) as opened:
            return count_pages(opened)
    # The error is raised when the file is read.
    except (OSError, ValueError):
        return 1


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    # A circular link, or one to a place without access.
    except OSError:
        return False
