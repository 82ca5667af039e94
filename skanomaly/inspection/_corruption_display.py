"""What a detector is trained to repair, as a figure."""

from __future__ import annotations

from collections.abc import Sequence
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


class CorruptionDisplay:
    """Images, and below each what a corruption makes of it, and its mask.

    Make one with `from_corruption` or `from_estimator`.

    Parameters
    ----------
    images, corrupted : ndarray of shape (n, h, w) or (n, h, w, 3)
        From 0 to 1.
    masks : ndarray of shape (n, h, w)
        How much of each pixel was replaced, from 0 to 1.
    names : list of n str, default=None
        What stands above each image.

    Attributes
    ----------
    figure_ : matplotlib Figure
        What was drawn on.
    axes_ : ndarray of shape (n, 3), of matplotlib Axes
        Of each image, of the corrupted one and of the mask.

    See Also
    --------
    skanomaly.corruption.PatchCorruption : The corruption, and its parameters.

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

    figure_: Any
    axes_: NDArray[np.object_]

    def __init__(
        self,
        *,
        images: NDArray[np.float64],
        corrupted: NDArray[np.float64],
        masks: NDArray[np.float32],
        names: list[str] | None = None,
    ) -> None:
        self.images = images
        self.corrupted = corrupted
        self.masks = masks
        self.names = names

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
        """Draw what a corruption makes of images.

        Parameters
        ----------
        corruption : PatchCorruption
            Or anything that can be called on images and returns corrupted ones and masks.
        X : array-like, tensor or ImageSequence of shape (n, h, w), (n, h, w, 1) or (n, h, w, 3)
            Normal images: uint8, uint16, or floats from 0 to 1; other numbers are drawn from their
            smallest to their largest. Where patches are taken from other images, from these.
        names : sequence of n str, default=None
            What stands above each image.
        ax : matplotlib Axes, or array-like of them of shape (n, 3), default=None
            Where to draw: see `plot`.
        n_columns : int, default=6
            Images beside each other.

        Returns
        -------
        CorruptionDisplay

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        ValueError
            If X or another argument is not as described.
        """
        load_matplotlib("pyplot")
        if not callable(corruption):
            raise ValueError(
                "A corruption must be callable on images and return corrupted ones and masks, got "
                f"{corruption!r}."
            )
        clean = load_images(X)
        corrupted, masks = corruption(clean)
        # Together, so that both are drawn on one scale.
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
        """Draw what a detector is going to be trained on, or has been.

        Parameters
        ----------
        estimator : SelfSupervisedAutoencoderDetector
            Fitted or not; or a pipeline that ends in one. Its own `random_state` decides on the
            draws.
        X : array-like, tensor or ImageSequence
            Normal images of 1 or 3 channels. In a pipeline, what comes out of the steps before.
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
            If the estimator has no corruption, or an argument is not as described.

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
                "'estimator' must be trained on a corruption, as SelfSupervisedAutoencoderDetector "
                f"is, got {type(detector).__name__}."
            )
        corruption = PatchCorruption() if detector.corruption is None else detector.corruption
        if "random_state" in corruption.get_params():
            corruption = clone(corruption).set_params(random_state=detector.random_state)
        images = load_images(X, find_parameter(detector, "image_shape"))
        return cls.from_corruption(corruption, images, names=names, ax=ax, n_columns=n_columns)

    def plot(self, *, ax: Any = None, n_columns: int = 6) -> Self:
        """Draw.

        Parameters
        ----------
        ax : matplotlib Axes, or array-like of them of shape (n, 3), default=None
            Single Axes, which must be part of a grid, are divided. Of an array, each
            row takes an image, the corrupted one and the mask. None makes a figure.
        n_columns : int, default=6
            Images beside each other, before the next go below.

        Returns
        -------
        CorruptionDisplay
            Itself.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        ValueError
            If an argument is not as described.
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
