"""Real textures with artificial defects, from photographs that ship with scikit-image."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.utils import Bunch, check_random_state

from ._surface_defects import DEFECTS, add_defect

TEXTURES = ("brick", "grass", "gravel")
_MIN_IMAGE_SIZE = 16


def make_textured_surfaces(
    texture: str = "brick",
    *,
    image_size: int = 64,
    n_train: int = 100,
    n_defects: int = 48,
    random_state: int | np.random.RandomState | None = None,
) -> Bunch:
    """Make a dataset of real textures with artificial defects.

    One half of a photograph of 512 × 512 pixels trains, cut into crops at random positions. The
    other half tests, cut into tiles without overlap: each once as it is, and with defects of five
    kinds. No pixel is in both. Nothing is downloaded: the photographs are part of scikit-image.

    Parameters
    ----------
    texture : {"brick", "grass", "gravel"}, default="brick"
        The photograph.
    image_size : int, default=64
        Side of an image in pixels, from 16 to 256. The half that tests makes
        (512 // image_size) × (256 // image_size) tiles, 32 at 64 pixels.
    n_train : int, default=100
        Number of crops to train on, which overlap.
    n_defects : int, default=48
        Number of test images with a defect; the tiles take turns.
    random_state : int, RandomState instance or None, default=None
        Decides which half trains (left, right, upper or lower), where it is cut and how defects
        look. Pass an int for the same dataset on each call.

    Returns
    -------
    Bunch
        With the fields

        X_train : ndarray of shape (n_train, image_size, image_size), dtype uint8
            Normal crops to train on, grey.
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
    ((100, 64, 64), (80, 64, 64))
    >>> [str(kind) for kind in sorted(set(data.kinds_test))]
    ['crack', 'foreign', 'good', 'hole', 'smear', 'stain']
    """
    if texture not in TEXTURES:
        raise ValueError(
            f"The 'texture' parameter must be a str among {set(TEXTURES)}. Got {texture!r} instead."
        )
    _check_integer(image_size, "image_size", _MIN_IMAGE_SIZE, 256)
    _check_integer(n_train, "n_train", 1)
    _check_integer(n_defects, "n_defects", 0)

    random = check_random_state(random_state)
    photograph = _load_photograph(texture)
    axis = random.randint(2)
    halves = np.split(photograph, 2, axis=axis)
    train, test = halves[:: random.choice([-1, 1])]
    top = random.randint(train.shape[0] - image_size + 1, size=n_train)
    left = random.randint(train.shape[1] - image_size + 1, size=n_train)
    windows = np.lib.stride_tricks.sliding_window_view(train, (image_size, image_size))
    clean = _cut_tiles(test, image_size)
    n_clean = len(clean)
    foreign_tiles = np.concatenate(
        [_cut_tiles(_load_photograph(other), image_size) for other in TEXTURES if other != texture]
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
        X_train=windows[top, left],
        X_test=np.stack(images),
        y_test=np.where(np.array(kinds) == "good", 1, -1),
        masks_test=np.stack(masks),
        kinds_test=np.array(kinds),
        DESCR=(
            f"Pieces of {image_size} x {image_size} pixels of the photograph '{texture}' of "
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


def _load_photograph(texture: str) -> np.ndarray:
    """Load a photograph of 512 × 512 grey pixels from scikit-image's package."""
    from skimage import data

    photograph: np.ndarray = getattr(data, texture)()
    return photograph


def _cut_tiles(photograph: np.ndarray, image_size: int) -> np.ndarray:
    """Cut all tiles out of a photograph, (n, image_size, image_size)."""
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
