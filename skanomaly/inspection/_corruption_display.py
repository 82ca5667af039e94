"""Images and their corrupted versions, as a figure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone

from .._estimators import find_parameter, layers
from ..corruption import PatchCorruption
from ._images import (
    SMALL,
    check_names,
    load_images,
    load_matplotlib,
    make_image_axes,
    read_images,
    shorten,
)


@dataclass(kw_only=True, eq=False, repr=False)
class CorruptionDisplay:
    """Images, and below each the corrupted image and the mask.

    Create it with `from_corruption` or `from_estimator`.

    Parameters
    ----------
    images, corrupted : ndarray of shape (n, h, w) or (n, h, w, 3)
        From 0 to 1.
    masks : ndarray of shape (n, h, w)
        Opacity of the corruption at each pixel, from 0 to 1.
    names : list of n str, default=None
        Titles of the images.

    Attributes
    ----------
    figure_ : matplotlib Figure
        The figure.
    axes_ : ndarray of shape (n, 3), of matplotlib Axes
        Axes of each image, of the corrupted image and of the mask.

    See Also
    --------
    skanomaly.corruption.PatchCorruption : The corruption and its parameters.

    Examples
    --------
    >>> import numpy as np
    >>> from skanomaly.corruption import PatchCorruption
    >>> from skanomaly.inspection import CorruptionDisplay
    >>> images = np.random.default_rng(0).random((4, 32, 32))
    >>> display = CorruptionDisplay.from_corruption(PatchCorruption(random_state=0), images)
    >>> display.axes_.shape
    (4, 3)
    """

    images: NDArray[np.float64]
    corrupted: NDArray[np.float64]
    masks: NDArray[np.float32]
    names: list[str] | None = None
    figure_: Any = field(init=False)
    axes_: NDArray[np.object_] = field(init=False)

    @classmethod
    def from_corruption(
        cls,
        corruption: Any,
        X: Any,
        *,
        names: Sequence[Any] | None = None,
        ax: Any = None,
        n_columns: int = 6,
    ) -> Self:
        """Draw images and their corrupted versions.

        Parameters
        ----------
        corruption : PatchCorruption
            Or any callable that takes images and returns corrupted images and masks.
        X : array-like, tensor or ImageSequence of shape (n, h, w), (n, h, w, 1) or (n, h, w, 3)
            Normal images: uint8, uint16, or floats from 0 to 1; other values are scaled from their
            minimum to their maximum. Patches of other images are taken from these, too.
        names : sequence of n str, default=None
            Titles of the images.
        ax : matplotlib Axes, or array-like of them of shape (n, 3), default=None
            Where to draw: see `plot`.
        n_columns : int, default=6
            Images per row.

        Returns
        -------
        CorruptionDisplay

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        ValueError
            If X or another argument is invalid.
        """
        load_matplotlib("pyplot")
        if not callable(corruption):
            raise ValueError(
                "A corruption must be callable on images and return corrupted images and masks, "
                f"got {corruption!r} instead."
            )
        clean = load_images(X)
        corrupted, masks = corruption(clean)
        # Together, so that both have one scale.
        both = read_images(np.concatenate([clean, corrupted]))
        display = cls(
            images=both[: len(clean)],
            corrupted=both[len(clean) :],
            masks=np.asarray(masks),
            names=check_names(names, len(clean)),
        )
        return display.plot(ax=ax, n_columns=n_columns)

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,
        *,
        names: Sequence[Any] | None = None,
        ax: Any = None,
        n_columns: int = 6,
    ) -> Self:
        """Draw images with the corruption that a detector is trained on.

        Parameters
        ----------
        estimator : SelfSupervisedAutoencoderDetector
            Fitted or not; or a pipeline that ends in one. Its `random_state` seeds the corruption.
        X : array-like, tensor or ImageSequence
            Normal images of 1 or 3 channels; in a pipeline, transformed by the steps before.
        names, ax, n_columns
            As in `from_corruption`.

        Returns
        -------
        CorruptionDisplay

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        ValueError
            If the estimator has no corruption, or an argument is invalid.

        Examples
        --------
        >>> import numpy as np
        >>> from skanomaly import SelfSupervisedAutoencoderDetector
        >>> from skanomaly.inspection import CorruptionDisplay
        >>> images = np.random.default_rng(0).random((4, 32, 32))
        >>> detector = SelfSupervisedAutoencoderDetector(random_state=0)
        >>> display = CorruptionDisplay.from_estimator(detector, images)
        """
        load_matplotlib("pyplot")
        *_, detector = layers(estimator)
        if not hasattr(detector, "corruption"):
            raise ValueError(
                "'estimator' must be trained on a corruption, got "
                f"{type(detector).__name__} instead. SelfSupervisedAutoencoderDetector is."
            )
        corruption = PatchCorruption() if detector.corruption is None else detector.corruption
        if "random_state" in corruption.get_params():
            corruption = clone(corruption).set_params(random_state=detector.random_state)
        images = load_images(X, find_parameter(detector, "image_shape"))
        return cls.from_corruption(corruption, images, names=names, ax=ax, n_columns=n_columns)

    def plot(self, *, ax: Any = None, n_columns: int = 6) -> Self:
        """Draw the display.

        Parameters
        ----------
        ax : matplotlib Axes, or array-like of them of shape (n, 3), default=None
            A single Axes, which must be part of a grid, is divided. In an array, each row
            is for an image, the corrupted image and the mask. None creates a figure.
        n_columns : int, default=6
            Images per row.

        Returns
        -------
        CorruptionDisplay

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        ValueError
            If an argument is invalid.
        """
        head = 0.0 if self.names is None else 0.17
        figure, axes = make_image_axes(
            ax, self.images, ("clean", "corrupted", "mask"), n_columns, head=head
        )
        for index, panels in enumerate(axes):
            images = (self.images[index], self.corrupted[index], self.masks[index])
            for panel, image in zip(panels, images, strict=True):
                panel.imshow(image, cmap="gray", vmin=0, vmax=1)
            if self.names is not None:
                panels[0].set_title(shorten(self.names[index]), fontsize=SMALL, parse_math=False)
        self.figure_, self.axes_ = figure, axes
        return self
