"""All images of a folder as an ImageSequence."""

from __future__ import annotations

import os
import warnings
from pathlib import Path

from ._image_file import IMAGE_SUFFIXES, count_pages, expand_user, open_image
from ._image_sequence import ImageSequence

# What often lies beside images and is none.
_NO_IMAGES = (
    *(".csv", ".db", ".html", ".ini", ".json", ".log", ".md", ".py", ".rst", ".toml"),
    *(".txt", ".xml", ".yaml", ".yml"),
)
_PAGED = (".gif", ".tif", ".tiff")


def load_image_folder(
    folder: str | os.PathLike[str],
    *,
    size: int | tuple[int, int] | None = None,
    mode: str = "auto",
    recursive: bool = True,
) -> ImageSequence:
    """Find the images in a folder.

    No image is read: see :class:`ImageSequence`. Files are sorted by their path, and are images if
    they end in .bmp, .gif, .j2k, .jfif, .jp2, .jpe, .jpeg, .jpg, .mpo, .pbm, .pgm, .png, .pnm,
    .ppm, .tif, .tiff or .webp, in whatever case. Hidden files and folders, whose name begins with a
    dot, are passed over. Links to folders are followed; a folder that is reached in two ways is
    searched once. A warning counts what is left out: files of other suffixes, save those of text
    and tables, and pages behind the first.

    Parameters
    ----------
    folder : str or path-like
        The folder. A leading ~ stands for the home folder.
    size : int or tuple of (height, width), default=None
        Size in pixels to which each image is resized on reading. None keeps the images as they are.
    mode : {"auto", "gray", "rgb"}, default="auto"
        Whether images are read as grey or RGB; "auto" keeps what the files hold.
    recursive : bool, default=True
        Whether to look into subfolders.

    Returns
    -------
    ImageSequence
        The images, n ≥ 1.

    Raises
    ------
    FileNotFoundError
        If there is no such folder.
    NotADirectoryError
        If `folder` is a file.
    PermissionError
        If the folder or a subfolder may not be listed.
    ValueError
        If the folder holds no image.

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
    paths, others = find_images(expand_user(folder), recursive=recursive)
    if not paths:
        where = "in it or its subfolders" if recursive else "in it (recursive=False)"
        raise ValueError(
            f"The folder '{folder}' holds no image. Accepted suffixes are "
            f"{', '.join(IMAGE_SUFFIXES)}; {len(others)} other file(s) found {where}."
        )
    images = ImageSequence(paths, size=size, mode=mode)
    warn_of_left_out(folder, others, images)
    return images


def find_images(folder: Path, *, recursive: bool = True) -> tuple[list[Path], list[Path]]:
    """Return the image files of a folder, and what else lies there, both sorted.

    Links to folders are followed, save to folders that are searched anyway or hold this one.

    Raises
    ------
    FileNotFoundError
        If there is no such folder.
    NotADirectoryError
        If `folder` is a file.
    PermissionError
        If a folder may not be listed.
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
        # What is no link comes first, so that a file has the name under which it truly lies.
        parent = to_search.pop() if to_search else links.pop(links.index(min(links)))
        real = os.path.realpath(parent)
        if real in seen:
            continue
        if Path(real) in above:
            others.append(parent)
            continue
        seen.add(real)
        for entry in _list(parent):
            path = parent / entry.name
            if not _is_folder(entry):
                is_image = entry.name.lower().endswith(IMAGE_SUFFIXES)
                (images if is_image else others).append(path)
            elif recursive:
                (links if entry.is_symlink() else to_search).append(path)
    return sorted(images), sorted(others)


def warn_of_left_out(
    folder: str | os.PathLike[str], others: list[Path], images: ImageSequence
) -> None:
    """Count and name files that are not read, and pages behind the first of those that are."""
    others = [path for path in others if not path.name.lower().endswith(_NO_IMAGES)]
    if others:
        warnings.warn(
            f"{len(others)} file(s) in '{folder}' were left out, '{others[0]}' for one. Images end "
            f"in {', '.join(IMAGE_SUFFIXES)}.",
            UserWarning,
            stacklevel=3,
        )
    paged = [path for path in images.paths if os.fspath(path).lower().endswith(_PAGED)]
    n_pages = {path: _count_pages(path) for path in paged}
    paged = [path for path in paged if n_pages[path] > 1]
    if paged:
        n_left_out = sum(n_pages[path] - 1 for path in paged)
        warnings.warn(
            f"{len(paged)} file(s) in '{folder}' hold several pages, of which only the first is "
            f"read: {n_left_out} page(s) were left out, '{paged[0]}' for one has "
            f"{n_pages[paged[0]]}. Save each page as a file of its own.",
            UserWarning,
            stacklevel=3,
        )
        images._layout.warns_of_pages = False


def _count_pages(path: Path) -> int:
    try:
        with open_image(path) as opened:
            return count_pages(opened)
    # Reading it says what is wrong.
    except (OSError, ValueError):
        return 1


def _list(folder: Path) -> list[os.DirEntry[str]]:
    """Return what is in a folder, without what is hidden."""
    try:
        with os.scandir(folder) as entries:
            return [entry for entry in entries if not entry.name.startswith(".")]
    except OSError as error:
        raise type(error)(f"The folder '{folder}' cannot be listed: {error.strerror}.") from error


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    # A link in a circle, or to what may not be looked at.
    except OSError:
        return False
