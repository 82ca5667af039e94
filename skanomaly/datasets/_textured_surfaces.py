"""Real textures with artificial defects, from photographs that ship with scikit-image."""

from __future__ import annotations

import numpy as np
from sklearn.utils import Bunch, check_random_state

from ._checks import check_choice, check_number
from ._surface_defects import DEFECTS, add_defect

TEXTURES = ("brick", "grass", "gravel")


def make_textured_surfaces(
    texture: str = "brick",
    *,
    image_size: int = 64,
    n_train: int = 100,
    n_defects: int = 48,
    random_state: int | np.random.RandomState | None = None,
) -> Bunch:
    """Make a dataset of real textures with artificial defects.

    Training images are random crops from one half of a photograph of 512 × 512 pixels. Test images
    are non-overlapping tiles of the other half: each once without defect, and then with defects of
    five kinds. No pixel is in both. The photographs are part of scikit-image: no download is
    needed.

    Parameters
    ----------
    texture : {"brick", "grass", "gravel"}, default="brick"
        Name of the photograph.
    image_size : int, default=64
        Side of an image in pixels, from 16 to 256. The test half is cut into
        (512 // image_size) × (256 // image_size) tiles, 32 at 64 pixels.
    n_train : int, default=100
        Number of training crops, which overlap.
    n_defects : int, default=48
        Number of test images with a defect, drawn on the tiles in turn.
    random_state : int, RandomState instance or None, default=None
        Determines the training half (left, right, upper or lower), the crops and the defects. Pass
        an int for reproducible output.

    Returns
    -------
    Bunch
        With the fields

        X_train : ndarray of shape (n_train, image_size, image_size), dtype uint8
            Normal training crops, grey.
        X_test : ndarray of shape (n, image_size, image_size), dtype uint8
            The test tiles without defect, then those with a defect.
        y_test : ndarray of shape (n,), dtype int64
            1 for normal, -1 for anomalous.
        masks_test : ndarray of shape (n, image_size, image_size), dtype bool
            True where a tile was changed by more than 10 of 255 grey levels, and in small gaps
            inside a defect. A defect covers 1 to 12 % of its tile.
        kinds_test : ndarray of shape (n,), dtype str
            "good" or the kind of defect: "crack", a line along a random walk; "stain", a darker or
            brighter region; "smear", a blurred rectangle; "hole", a polygon of constant grey;
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
    The defects are meant for demonstrations and tests. They are drawn differently from
    `skanomaly.corruption.PatchCorruption`, so that detectors are not tested on what they were
    trained on. Results do not transfer to real defects.

    Examples
    --------
    >>> from skanomaly.datasets import make_textured_surfaces
    >>> data = make_textured_surfaces("gravel", random_state=0)
    >>> data.X_train.shape, data.X_test.shape
    ((100, 64, 64), (80, 64, 64))
    >>> [str(kind) for kind in sorted(set(data.kinds_test))]
    ['crack', 'foreign', 'good', 'hole', 'smear', 'stain']
    """
    check_choice(texture, "texture", TEXTURES)
    check_number(image_size, "image_size", int, 16, 256)
    check_number(n_train, "n_train", int, 1)
    check_number(n_defects, "n_defects", int, 0)

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
            f"scikit-image: {n_train} normal training images; test images: {n_clean} normal and "
            f"{n_defects} with an artificial defect."
        ),
    )


def _add_some_defect(
    tile: np.ndarray, others: np.ndarray, index: int, random_state: np.random.RandomState
) -> tuple[np.ndarray, np.ndarray, str]:
    """Put a defect of the next kind on a tile, or of the first kind after it that is visible."""
    kinds = list(DEFECTS)
    start = index % len(kinds)
    for kind in kinds[start:] + kinds[:start]:
        defect = add_defect(tile, others, kind, random_state)
        if defect is not None:
            return *defect, kind
    raise RuntimeError("No kind of defect shows on this tile.")


def _load_photograph(texture: str) -> np.ndarray:
    """Load a photograph of 512 × 512 grey pixels from scikit-image's package."""
    from skimage import data

    return getattr(data, texture)()


def _cut_tiles(photograph: np.ndarray, image_size: int) -> np.ndarray:
    """Cut all tiles out of a photograph, (n, image_size, image_size)."""
    n_rows, n_columns = (side // image_size for side in photograph.shape)
    grid = photograph[: n_rows * image_size, : n_columns * image_size]
    grid = grid.reshape(n_rows, image_size, n_columns, image_size).swapaxes(1, 2)
    return grid.reshape(-1, image_size, image_size)
