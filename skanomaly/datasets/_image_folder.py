"""All images of a folder as an ImageSequence."""

from __future__ import annotations

import os
from pathlib import Path

from ._image_file import IMAGE_SUFFIXES
from ._image_sequence import ImageSequence


def load_image_folder(
    folder: str | os.PathLike[str],
    *,
    size: int | tuple[int, int] | None = None,
    mode: str = "auto",
    recursive: bool = True,
) -> ImageSequence:
    """Find the images in a folder.

    No image is read: see :class:`ImageSequence`. Files are sorted by their path, and are images if
    they end in .bmp, .jpeg, .jpg, .png, .tif, .tiff or .webp, in whatever case. Hidden files and
    folders, whose name begins with a dot, are passed over.

    Parameters
    ----------
    folder : str or path-like
        The folder.
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
    paths, n_others = find_images(Path(folder), recursive=recursive)
    if not paths:
        where = "in it or its subfolders" if recursive else "in it (recursive=False)"
        raise ValueError(
            f"The folder '{folder}' holds no image. Accepted suffixes are "
            f"{', '.join(IMAGE_SUFFIXES)}; {n_others} other file(s) found {where}."
        )
    return ImageSequence(paths, size=size, mode=mode)


def find_images(folder: Path, *, recursive: bool = True) -> tuple[list[Path], int]:
    """Return the sorted image files of a folder and the number of other files there.

    Raises
    ------
    FileNotFoundError
        If there is no such folder.
    NotADirectoryError
        If `folder` is a file.
    """
    if not folder.exists():
        raise FileNotFoundError(f"No such folder: '{folder}'.")
    if not folder.is_dir():
        raise NotADirectoryError(f"Expected a folder of images. Got the file '{folder}' instead.")
    images = []
    n_others = 0
    for parent, folder_names, file_names in os.walk(folder):
        folder_names[:] = (
            [name for name in folder_names if not name.startswith(".")] if recursive else []
        )
        for name in file_names:
            if name.startswith("."):
                continue
            if name.lower().endswith(IMAGE_SUFFIXES):
                images.append(Path(parent, name))
            else:
                n_others += 1
    return sorted(images), n_others
