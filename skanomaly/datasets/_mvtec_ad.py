"""Datasets in the folder layout of MVTec AD."""

from __future__ import annotations

import os
from collections.abc import Collection
from pathlib import Path

import numpy as np
from sklearn.utils import Bunch

from .._files import expand_user
from .._logging import warn
from ._checks import check_choice, check_size
from ._image_file import MODES, read_image_header, resize_image
from ._image_folder import find_images, load_image_folder, warn_of_skipped
from ._image_sequence import ImageSequence
from ._mask_file import MaskFolder, read_mask

_LAYOUT = "Expected train/good, test/good, test/<defect> and ground_truth/<defect>/<name>_mask.png."
_NAMED = 5


def load_mvtec_ad(
    root: str | os.PathLike[str],
    category: str | None = None,
    *,
    size: int | tuple[int, int] | None = None,
    mode: str = "auto",
    on_empty_mask: str = "warn",
) -> Bunch:
    """Load a dataset in the folder layout of MVTec AD.

    The layout of Bergmann et al. [1]_ is `train/good`, `test/good`, `test/<defect>` and
    `ground_truth/<defect>/<name>_mask.png`. Many other datasets use it, or can be converted. Images
    can be in subfolders of these folders, with their masks in the same subfolders of
    `ground_truth/<defect>`. A mask can have any suffix of an image file, can be called `<name>.png`
    or, as in MVTec LOCO, be split into several files in a folder `<name>`. Masks are read here,
    images are not. A warning counts skipped files, such as those beside `train/good`.

    Parameters
    ----------
    root : str or path-like
        The folder of the dataset. A leading ~ is the home folder.
    category : str, default=None
        Subfolder of `root` that holds train and test. None means `root` itself.
    size : int or tuple of (height, width), default=None
        Size in pixels to which images and masks are resized. None keeps them as they are.
    mode : {"auto", "gray", "rgb"}, default="auto"
        Whether to read images as grey or RGB; "auto" keeps the mode of the files.
    on_empty_mask : {"raise", "warn"}, default="warn"
        Whether defective images whose mask marks no pixel raise an error or a warning.

    Returns
    -------
    Bunch
        With the fields

        X_train : ImageSequence
            Normal training images.
        X_test : ImageSequence
            Test images: the good ones, then the others by name of the defect.
        y_test : ndarray of shape (n,), dtype int64
            1 for normal, -1 for anomalous.
        masks_test : ndarray of shape (n, h, w), dtype bool, list of ndarray of shape (h, w) or None
            True where an image is defective. A list if `size` is None and the images differ in
            size; None if `ground_truth` holds no image. Masks are resized like the images and
            binarised at one half: at a much smaller size, a thin defect can vanish from its mask.
        kinds_test : ndarray of shape (n,), dtype str
            "good" or the name of the defect's folder.
        DESCR : str
            A description.

    Raises
    ------
    FileNotFoundError
        If a folder or a mask is missing.
    ValueError
        If a folder holds no image, a mask cannot be read or is empty, a mask and its image differ
        in size, or a parameter is invalid.

    Notes
    -----
    Masks can be grey, in colour or in the alpha channel, with 1 to 32 bits per value. In uniform
    areas, such as class ids, all values except black are defective; in the soft edge of a brighter
    area, values above half of white are.

    References
    ----------
    .. [1] P. Bergmann, K. Batzner, M. Fauser, D. Sattlegger, C. Steger, "The MVTec Anomaly
       Detection Dataset: A Comprehensive Real-World Dataset for Unsupervised Anomaly Detection",
       International Journal of Computer Vision 129, 2021.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import numpy as np
    >>> from PIL import Image
    >>> from skanomaly.datasets import load_mvtec_ad
    >>> def save(path, value):
    ...     path.parent.mkdir(parents=True, exist_ok=True)
    ...     Image.fromarray(np.full((8, 8), value, dtype=np.uint8)).save(path)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     category = Path(folder) / "tile"
    ...     save(category / "train/good/000.png", 100)
    ...     save(category / "test/good/000.png", 100)
    ...     save(category / "test/crack/000.png", 50)
    ...     save(category / "ground_truth/crack/000_mask.png", 255)
    ...     data = load_mvtec_ad(folder, "tile")
    >>> data.kinds_test
    array(['good', 'crack'], dtype='<U5')
    >>> data.y_test
    array([ 1, -1])
    >>> data.masks_test.shape
    (2, 8, 8)
    """
    check_choice(mode, "mode", MODES)
    check_choice(on_empty_mask, "on_empty_mask", ("raise", "warn"))
    folder = _find_category(expand_user(root), category)
    return load_without(folder, (), size=size, mode=mode, on_empty_mask=on_empty_mask)


def load_without(
    folder: Path,
    skipped: Collection[Path],
    *,
    size: int | tuple[int, int] | None = None,
    mode: str = "auto",
    on_empty_mask: str = "warn",
) -> Bunch:
    """Load the dataset in a folder, without `skipped` images and images with `skipped` masks.

    The other parameters, and errors, are those of `load_mvtec_ad`.
    """
    target_size = check_size(size)
    X_train = load_image_folder(folder / "train" / "good", size=size, mode=mode)
    if skipped:
        kept = [path for path in X_train.paths if path not in skipped]
        X_train = ImageSequence(kept, size=size, mode=mode)

    misplaced, others = find_images(folder / "test", recursive=False)
    misplaced += find_images(folder / "train", recursive=False)[0]
    for part in _find_folders(folder / "train"):
        misplaced += find_images(part)[0] if part.name != "good" else []
    masks = MaskFolder(folder / "ground_truth")
    others += masks.others
    # Of each test image, its path, kind and masks.
    images: list[tuple[Path, str, list[Path]]] = []
    for kind_folder in _find_folders(folder / "test"):
        kind = kind_folder.name
        found, unread = find_images(kind_folder)
        others += unread
        for path in found:
            if path in skipped:
                continue
            name = path.relative_to(kind_folder.parent)
            own = masks.find(name) if masks.paths and kind != "good" else []
            if not any(mask in skipped for mask in own):
                images.append((path, kind, own))
    if not images:
        raise ValueError(f"The folders in '{folder / 'test'}' hold no image. {_LAYOUT}")
    X_test = ImageSequence([path for path, _, _ in images], size=size, mode=mode)
    if misplaced:
        warn(
            f"{len(misplaced)} image file(s) in '{folder}' lie neither in train/good nor in "
            f"test/good or test/<defect> and were skipped, such as '{misplaced[0]}'.",
        )
    warn_of_skipped(folder, others, X_test)

    kinds_test = np.array([kind for _, kind, _ in images])
    masks_test = None
    if masks.paths or (kinds_test == "good").all():
        masks_test = _read_masks(images, target_size, on_empty_mask)
    names, counts = np.unique(kinds_test, return_counts=True)
    tests = ", ".join(f"{count} {name}" for name, count in zip(names, counts, strict=True))
    return Bunch(
        X_train=X_train,
        X_test=X_test,
        y_test=np.where(kinds_test == "good", 1, -1),
        masks_test=masks_test,
        kinds_test=kinds_test,
        DESCR=f"Images in MVTec AD layout from '{folder}': {len(X_train)} normal images for "
        f"training; test images: {tests}{', no masks' if masks_test is None else ''}.",
    )


def _find_category(root: Path, category: str | None) -> Path:
    if not root.is_dir():
        raise FileNotFoundError(f"No such folder: '{root}', given as 'root'.")
    folder = root if category is None else root / category
    if (folder / "train" / "good").is_dir() and (folder / "test").is_dir():
        return folder
    categories = sorted(path.parent.parent.name for path in root.glob("*/train/good"))
    known = f"Categories found in '{root}': {', '.join(categories)}." if categories else _LAYOUT
    if category is not None and not folder.is_dir():
        raise FileNotFoundError(
            f"The 'category' parameter must be a subfolder of root. Got {category!r}, but there is "
            f"no folder '{folder}'. {known}"
        )
    missing = "train/good" if not (folder / "train" / "good").is_dir() else "test"
    raise FileNotFoundError(f"There is no folder '{missing}' in '{folder}'. {known}")


def _find_folders(parent: Path) -> list[Path]:
    folders = [path for path in parent.iterdir() if path.is_dir() and not path.name.startswith(".")]
    return sorted(folders, key=lambda path: (path.name != "good", path.name))


def _read_masks(
    images: list[tuple[Path, str, list[Path]]], size: tuple[int, int] | None, on_empty_mask: str
) -> np.ndarray | list[np.ndarray]:
    """Read the masks of images; images without a mask file are good."""
    masks = []
    empty = []
    for path, _, own in images:
        image_size, _ = read_image_header(path)
        mask = np.zeros(image_size, dtype=np.float32)
        for mask_path in own:
            stored = read_mask(mask_path)
            if stored.shape != image_size:
                raise ValueError(
                    f"A mask must have the size of its image. '{mask_path}' has shape "
                    f"{stored.shape}, while '{path}' has shape {image_size}."
                )
            np.maximum(mask, stored, out=mask)
        if own and not np.any(mask > 0.5):
            empty.append(path)
        masks.append((mask if size is None else resize_image(mask, size)) > 0.5)
    if empty:
        named = ", ".join(f"'{path}'" for path in empty[:_NAMED])
        more = f" and {len(empty) - _NAMED} more" if len(empty) > _NAMED else ""
        message = f"{len(empty)} defective image(s) have a mask that marks no pixel: {named}{more}."
        if on_empty_mask == "raise":
            raise ValueError(f"{message} Correct the masks, or pass on_empty_mask='warn'.")
        warn(message)
    return np.stack(masks) if len({mask.shape for mask in masks}) == 1 else masks
