"""Real textures with artificial defects, from photographs that ship with scikit-image."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.utils import Bunch, check_random_state

from ._surface_defects import DEFECTS, add_defect

TEXTURES = ("brick", "grass", "gravel")
_MIN_IMAGE_SIZE = 16
_TRAIN_FRACTION = 5 / 8


def make_textured_surfaces(
    texture: str = "brick",
    *,
    image_size: int = 64,
    n_train: int | None = None,
    n_defects: int | None = None,
    random_state: int | np.random.RandomState | None = None,
) -> Bunch:
    """Make a dataset of real textures with artificial defects.

    A photograph of 512 × 512 pixels is cut into tiles without overlap. Some train, and the others
    test: each once as it is, and with defects of five kinds. No pixel is in both. Nothing is
    downloaded: the photographs are part of scikit-image.

    Parameters
    ----------
    texture : {"brick", "grass", "gravel"}, default="brick"
        The photograph.
    image_size : int, default=64
        Side of a tile in pixels, from 16 to 256. There are (512 // image_size)² tiles.
    n_train : int, default=None
        Number of tiles to train on. None takes five eighths of them, 40 at 64 pixels.
    n_defects : int, default=None
        Number of test images with a defect. None makes two of each test tile, 48 at 64 pixels.
    random_state : int, RandomState instance or None, default=None
        Decides which tiles train and how defects look. Pass an int for the same dataset on each
        call.

    Returns
    -------
    Bunch
        With the fields

        X_train : ndarray of shape (n_train, image_size, image_size), dtype uint8
            Normal tiles to train on, grey.
        X_test : ndarray of shape (n, image_size, image_size), dtype uint8
            First each test tile as it is, then those with a defect.
        y_test : ndarray of shape (n,), dtype int64
            1 for normal, -1 for anomalous.
        masks_test : ndarray of shape (n, image_size, image_size), dtype bool
            True where a tile was changed by more than 10 grey levels of 255, small gaps inside a
            defect included. It covers 1 to 12 % of a tile with a defect.
        kinds_test : ndarray of shape (n,), dtype str
            "good" or the kind of defect: "crack", a line along a random walk; "stain", a blotch
            that darkens or brightens; "smear", a blurred rectangle; "hole", a polygon of flat grey;
            "foreign", a polygon of another texture.
        DESCR : str
            A description.

    Raises
    ------
    ValueError
        If `texture` is unknown, or a number is out of range.
    TypeError
        If a number is not an integer.

    See Also
    --------
    load_mvtec_ad : Real images with real defects.

    Notes
    -----
    The defects are meant for demonstrations and tests. They are drawn by other means than
    `skanomaly.corruption.PatchCorruption`, so that finding them is no matter of having trained on
    them; still, figures from them say little about real defects.

    Examples
    --------
    >>> from skanomaly.datasets import make_textured_surfaces
    >>> data = make_textured_surfaces("gravel", random_state=0)
    >>> data.X_train.shape, data.X_test.shape
    ((40, 64, 64), (72, 64, 64))
    >>> [str(kind) for kind in sorted(set(data.kinds_test))]
    ['crack', 'foreign', 'good', 'hole', 'smear', 'stain']
    """
    if texture not in TEXTURES:
        raise ValueError(
            f"The 'texture' parameter must be a str among {set(TEXTURES)}. Got {texture!r} instead."
        )
    _check_integer(image_size, "image_size", _MIN_IMAGE_SIZE, 256)
    tiles = _cut_tiles(texture, image_size)
    if n_train is None:
        n_train = int(_TRAIN_FRACTION * len(tiles))
    _check_integer(
        n_train,
        "n_train",
        1,
        len(tiles) - 1,
        f", one less than the {len(tiles)} tiles of this size",
    )
    n_clean = len(tiles) - n_train
    if n_defects is None:
        n_defects = 2 * n_clean
    _check_integer(n_defects, "n_defects", 0)

    random = check_random_state(random_state)
    tiles = tiles[random.permutation(len(tiles))]
    clean = tiles[n_train:]
    foreign_tiles = np.concatenate(
        [_cut_tiles(other, image_size) for other in TEXTURES if other != texture]
    )
    images = [*clean]
    masks = [*np.zeros(clean.shape, dtype=bool)]
    kinds = ["good"] * n_clean
    for index in range(n_defects):
        image, mask, kind = _add_some_defect(clean[index % n_clean], foreign_tiles, index, random)
        images.append(image)
        masks.append(mask)
        kinds.append(kind)
    return Bunch(
        X_train=tiles[:n_train],
        X_test=np.stack(images),
        y_test=np.where(np.array(kinds) == "good", 1, -1),
        masks_test=np.stack(masks),
        kinds_test=np.array(kinds),
        DESCR=(
            f"Tiles of {image_size} x {image_size} pixels of the photograph '{texture}' of "
            f"scikit-image: {n_train} normal to train on; to test on, {n_clean} normal and "
            f"{n_defects} with an artificial defect."
        ),
    )


def _add_some_defect(
    tile: np.ndarray, others: np.ndarray, index: int, random_state: np.random.RandomState
) -> tuple[np.ndarray, np.ndarray, str]:
    """Put a defect of the kind whose turn it is on a tile, or of the next kind that shows there."""
    kinds = list(DEFECTS)
    for turn in range(len(kinds)):
        kind = kinds[(index + turn) % len(kinds)]
        defect = add_defect(tile, others, kind, random_state)
        if defect is not None:
            return *defect, kind
    raise RuntimeError("No kind of defect shows on this tile.")


def _cut_tiles(texture: str, image_size: int) -> np.ndarray:
    """Return all tiles of a photograph, (n, image_size, image_size)."""
    from skimage import data

    photograph = getattr(data, texture)()
    n_rows, n_columns = (side // image_size for side in photograph.shape)
    grid = photograph[: n_rows * image_size, : n_columns * image_size]
    grid = grid.reshape(n_rows, image_size, n_columns, image_size).swapaxes(1, 2)
    return grid.reshape(-1, image_size, image_size)


def _check_integer(
    value: Any, name: str, lowest: int, highest: int | None = None, reason: str = ""
) -> None:
    if not isinstance(value, (int, np.integer)) or isinstance(value, bool):
        raise TypeError(f"The '{name}' parameter must be an int. Got {value!r} instead.")
    if value < lowest or (highest is not None and value > highest):
        limits = f"from {lowest} to {highest}{reason}" if highest is not None else f">= {lowest}"
        raise ValueError(f"The '{name}' parameter must be an int {limits}. Got {value!r} instead.")
