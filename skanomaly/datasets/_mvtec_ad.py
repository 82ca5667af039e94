"""Any dataset in the folder layout of MVTec AD."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from sklearn.utils import Bunch

from ._image_file import (
    check_mode,
    check_size,
    read_image,
    read_stored_size,
    resize_image,
)
from ._image_folder import find_images, load_image_folder
from ._image_sequence import ImageSequence

_LAYOUT = "Expected train/good, test/good, test/<defect> and ground_truth/<defect>/<name>_mask.png."


def load_mvtec_ad(
    root: str | os.PathLike[str],
    category: str | None = None,
    *,
    size: int | tuple[int, int] | None = None,
    mode: str = "auto",
) -> Bunch:
    """Load a dataset in the folder layout of MVTec AD.

    The layout, introduced by Bergmann et al. [1]_, is `train/good`, `test/good`, `test/<defect>`
    and `ground_truth/<defect>/<name>_mask.png`. Many other datasets come in it or can be brought
    into it. Images are not read here, masks are.

    Parameters
    ----------
    root : str or path-like
        The folder of the dataset.
    category : str, default=None
        A subfolder of `root` that holds train and test. None takes `root` itself.
    size : int or tuple of (height, width), default=None
        Size in pixels to which images and masks are resized. None keeps them as they are.
    mode : {"auto", "gray", "rgb"}, default="auto"
        Whether images are read as grey or RGB; "auto" keeps what the files hold.

    Returns
    -------
    Bunch
        With the fields

        X_train : ImageSequence
            The normal images to train on.
        X_test : ImageSequence
            The images to test on, the good ones first, then by the name of the defect.
        y_test : ndarray of shape (n,), dtype int64
            1 for normal, -1 for anomalous.
        masks_test : ndarray of shape (n, h, w), dtype bool, or list of ndarray of shape (h, w)
            True where an image is defective, False all over good ones. A list if `size` is None and
            the images differ in size. Masks are resized as the images are and cut at half: at a
            much smaller size a very thin defect can vanish from its mask.
        kinds_test : ndarray of shape (n,), dtype str
            "good" or the name of the defect's folder.
        DESCR : str
            A description.

    Raises
    ------
    FileNotFoundError
        If a folder or a mask is missing.
    ValueError
        If a folder holds no image, a mask cannot be read, or a mask and its image differ in size.

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
    target_size = check_size(size)
    check_mode(mode)
    folder = _find_category(Path(root), category)
    X_train = load_image_folder(folder / "train" / "good", size=size, mode=mode, recursive=False)

    paths: list[Path] = []
    kinds: list[str] = []
    for kind_folder in _find_kinds(folder / "test"):
        found, _ = find_images(kind_folder, recursive=False)
        paths += found
        kinds += [kind_folder.name] * len(found)
    if not paths:
        raise ValueError(f"The folders in '{folder / 'test'}' hold no image. {_LAYOUT}")

    masks = [
        _make_mask(folder, path, kind, target_size) for path, kind in zip(paths, kinds, strict=True)
    ]
    same_size = len({mask.shape for mask in masks}) == 1
    kinds_test = np.array(kinds)
    return Bunch(
        X_train=X_train,
        X_test=ImageSequence(paths, size=size, mode=mode),
        y_test=np.where(kinds_test == "good", 1, -1),
        masks_test=np.stack(masks) if same_size else masks,
        kinds_test=kinds_test,
        DESCR=_describe(folder, len(X_train), kinds_test),
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
            f"The 'category' parameter must be a subfolder of root. Got {category!r}, and there is "
            f"no folder '{folder}'. {known}"
        )
    missing = "train/good" if not (folder / "train" / "good").is_dir() else "test"
    raise FileNotFoundError(f"There is no folder '{missing}' in '{folder}'. {known}")


def _find_kinds(test_folder: Path) -> list[Path]:
    kinds = [
        path for path in test_folder.iterdir() if path.is_dir() and not path.name.startswith(".")
    ]
    return sorted(kinds, key=lambda path: (path.name != "good", path.name))


def _make_mask(
    folder: Path, image_path: Path, kind: str, size: tuple[int, int] | None
) -> np.ndarray:
    image_size = read_stored_size(image_path)
    if kind == "good":
        return np.zeros(size or image_size, dtype=bool)
    mask_path = folder / "ground_truth" / kind / f"{image_path.stem}_mask.png"
    if not mask_path.is_file():
        raise FileNotFoundError(
            f"The image '{image_path}' has no mask: expected the file '{mask_path}'."
        )
    stored = read_image(mask_path, mode="gray")
    if stored.shape != image_size:
        raise ValueError(
            f"A mask must have the size of its image. '{mask_path}' has shape {stored.shape}, "
            f"while '{image_path}' has shape {image_size}."
        )
    # Some datasets write 0 and 1 instead of black and white.
    white = 1 if stored.max() <= 1 else np.iinfo(stored.dtype).max
    values = (stored / white).astype(np.float32)
    if size is not None:
        values = resize_image(values, size)
    return values > 0.5


def _describe(folder: Path, n_train: int, kinds: np.ndarray) -> str:
    names, counts = np.unique(kinds, return_counts=True)
    tests = ", ".join(f"{count} {name}" for name, count in zip(names, counts, strict=True))
    return (
        f"Images in MVTec AD layout from '{folder}': {n_train} normal images to train on; "
        f"to test on, {tests}."
    )
