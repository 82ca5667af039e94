"""The parameters and attributes that all detectors share, and their documentation."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from numbers import Integral, Real
from os import PathLike
from typing import Any, TypedDict, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.utils._param_validation import Interval, StrOptions
from torch import nn

from .._validation import Shape
from ..networks import NETWORKS
from ..training import PRECISIONS
from ._model import STANDARDIZATIONS, DetectorModel

Class = TypeVar("Class", bound=type)
Method = TypeVar("Method", bound=Callable[..., Any])

_X = """\
Parameters
----------
X : array-like or ImageSequence
    Images or rows as in `fit`. Images may have another size.
"""


class SharedParameters(TypedDict, total=False):
    """Keyword arguments of the constructors of all detectors.

    Parameters
    ----------
    network : {"auto", "plain", "sdc", "sdcc", "dense", "linear"} or callable, default="auto"
        For images, "plain" is a convolutional autoencoder, "sdc" has stacked dilated convolutions,
        and "sdcc" has convex combination modules as well. For vectors, "dense" is a multilayer
        autoencoder and "linear" an affine map. "auto" is {auto_network}. A callable is given
        (h, w, c), where c counts the local contrast as a channel, or the number of features, and
        returns a new `torch.nn.Module` that maps (b, c, h, w) or (b, n_features) to that shape.
        Use `functools.partial` of a class in `skanomaly.networks` to set width, depth, dilations,
        normalization or rank.
    image_shape : (int, int) or (int, int, int), default=None
        Shape (h, w) or (h, w, c) of images that come as flattened rows, or of arrays whose axes are
        ambiguous. None treats rows as vectors.
    standardization : {"image", "dataset", "none"}, default="image"
        "dataset" scales each channel, or each feature of vectors, by mean and standard deviation of
        the training data. "image" also scales each image by its own overall mean and standard
        deviation, which removes differences in lighting; for vectors it is the same as "dataset".
        "none" does not scale values.
    contrast_size : int or None, default=5
        Side, in pixels, of the window in which the logarithm of the standard deviation is computed
        as a further channel; odd, from 3 to 16385. The best repair of a random texture is smooth,
        so that a blurred or flat region differs little from its repair, but its contrast does. None
        adds no channel.
        Ignored for vectors.
    max_iter : int or "auto", default="auto"
        Number of gradient steps, at least 1. "auto" is 3000 for vectors. For images it is 300
        passes over them, but at least 1000 and at most 3000 steps; each flip or rotation in use
        doubles the number of images.
    batch_size : int, default=16
        Number of images in a step, at least 1.
    crop_size : int or (int, int), "auto" or None, default="auto"
        Side, or height and width, in pixels of random crops to train on. None trains on whole
        images. "auto" takes crops if the images are not aligned, have at least 128 pixels on each
        side, and the network accepts crops. Images are not aligned if ``augmentation`` has all
        flips and rotations, or if it is "auto" and the images are similar to images that are
        shifted, as textures are, or that are flipped and rotated, as parts at any angle are. The
        crops have half of the shorter side, but from 64 to 128 pixels, and an image gives as many
        of them as have 128 × 128 pixels together. Scores and maps are of whole images, which the
        network sees in overlapping windows of the size of the crops.
    learning_rate : float, default=2e-3
        Largest learning rate, above 0, reached by a linear rise over the first tenth of the steps
        and followed by a cosine decay to 0. Convolutions with at least 16 input and output channels
        are trained by Muon (orthogonalized momentum, Jordan et al. 2024) at three times this rate,
        all other weights by AdamW.
    weight_decay : float, default=0.1
        Weight decay, at least 0, which is multiplied by the learning rate.
    augmentation : "auto", str or sequence of str, or None, default="auto"
        Any of "flip_horizontal", "flip_vertical" and "rotate" (by right angles), for images that
        stay normal under them, and "mixup", which adds a small fraction of the difference to
        another image. "auto" chooses the flips and rotations that keep the training images alike:
        a changed image must be as close to the other images as an unchanged one, and the mean
        power spectrum must stay the same. This is true for most textures and for parts in any
        orientation, not for aligned parts. For `SelfSupervisedAutoencoderDetector`, "auto" includes
        "mixup". None is no augmentation, as is "auto" for vectors.
    contamination : "auto" or float, default="auto"
        Fraction of the training images beyond the threshold, above 0 and up to 0.5. "auto" aims at
        0.01 of new normal images instead: ``validation_fraction`` of the images, but at least 20,
        or a third of all if that is fewer, are held out, and the threshold is corrected by the mean
        and spread of their scores.
    smoothing_size : int, default=3
        Side of the mean filter on difference maps, in pixels, odd and at most 16385.
    smoothing_passes : int, default=2
        Number of times that the filter is applied, at most 1000.
    normalize_map : bool, default=True
        Whether maps are divided by ``expected_map_``, so that the maps of the image and of its
        local contrast, or the features of a vector, are on the same scale.
    region_size : float or None, default=0.6
        Side of the surroundings of a pixel, as a fraction, above 0 and up to 1, of the shorter side
        of the training images. The map is raised where the surroundings are anomalous too, and
        lowered at single peaks, see `skanomaly.scoring.Surroundings`. None disables this, and it
        does not apply to vectors or with ``normalize_map=False``.
    score_aggregation : {"max", "mean"} or float, default=0.01
        How a map is reduced to the score of the image; a number, above 0 and up to 1, is the mean
        of that fraction of the largest values.
    early_stopping : bool, default=False
        Whether to hold out images, stop when their loss under a fixed corruption no longer falls,
        and restore the best weights.
    validation_fraction : float, default=0.1
        Fraction, between 0 and 1, of the images to hold out for early stopping or
        ``contamination="auto"``.
    n_iter_no_change : int, default=500
        Number of gradient steps, at least 1, without improvement after which early stopping ends
        training. The loss is evaluated every 50 steps, or every ``n_iter_no_change`` if that is
        less.
    warm_start : bool, default=False
        Whether `fit` starts from the weights of the last fit. Its `network`, `standardization` and
        `contrast_size` stay. Thresholds are too strict if images that were trained on before are
        held out now; `calibrate` on others corrects them.
    checkpoint : str or path, default=None
        File to which the state of training is written, atomically, every 200 steps and on Ctrl-C.
        A `fit` with the same parameters and data resumes from it, with the same result as without
        the interruption; with others it raises an error. Set None in a search or cross-validation,
        whose clones share the path.
    device : str or torch.device, default="auto"
        "auto" is the current CUDA device, else the CPU. "mps" is experimental, for images only.
    precision : {"auto", "float32", "bfloat16"}, default="auto"
        Precision of the network's products on images. "auto" trains in bfloat16 if the hardware
        supports it, and scores in float32. Vectors are always trained in float32 and scored in
        float64.
    random_state : int, RandomState instance or None, default=None
        Seed of the weights, the order of the images, the corruption and the images held out. A
        continued training draws other patches and noise, and holds out the same of equal images.
    verbose : int, default=0
        Above 0, logs the loss at most twenty times during training, at level INFO of the logger
        "skanomaly", or to stderr if `logging` does not show it. With 0 the level is DEBUG. Use
        ``set_callbacks(sklearn.callback.ProgressBar())`` for a progress bar.
    """

    network: str | Callable[..., nn.Module]
    image_shape: tuple[int, ...] | None
    standardization: str
    contrast_size: int | None
    max_iter: int | str
    batch_size: int
    crop_size: int | tuple[int, int] | str | None
    learning_rate: float
    weight_decay: float
    augmentation: str | Sequence[str] | None
    contamination: str | float
    smoothing_size: int
    smoothing_passes: int
    normalize_map: bool
    region_size: float | None
    score_aggregation: str | float
    early_stopping: bool
    validation_fraction: float
    n_iter_no_change: int
    warm_start: bool
    checkpoint: str | PathLike[str] | None
    device: str | torch.device
    precision: str
    random_state: int | np.random.RandomState | None
    verbose: int


class FittedAttributes(TypedDict, total=False):
    """Attributes of fitted detectors, those of ``model_`` included.

    Attributes
    ----------
    model_ : torch.nn.Module
        Maps floats (b, c, h, w), with white 1, or rows (b, n_features) to anomaly maps and scores.
    network_ : torch.nn.Module
        The trained network, in evaluation mode. Its input is standardized, channels first.
    offset_ : float
        Score threshold; images with lower scores are anomalous.
    map_threshold_ : float
        Map threshold; pixels with larger values are anomalous. With a number as
        ``contamination``, this fraction of the training images has such pixels.
    expected_map_ : ndarray of shape (k, 1, 1) or (1, n_features)
        Mean difference maps of normal images, in squared standard deviations: of the image, and of
        its local contrast. Held-out images are used if there are any.
    n_features_in_ : int
        Number of values in an image, or of features in a row.
    feature_names_in_ : ndarray of shape (n_features,)
        Names of the columns, if X was a data frame with names.
    image_shape_ : (int, int, int) or (int,)
        (h, w, c) of the training images, or (n_features,).
    n_iter_ : int
        Number of gradient steps done.
    loss_curve_ : list of float
        Loss of each gradient step.
    validation_curve_ : list of (int, float)
        Number of steps done, and loss on held-out images, with early stopping.
    device_ : torch.device
        Device of the network.
    """

    model_: DetectorModel
    n_features_in_: int
    feature_names_in_: NDArray[np.object_]
    image_shape_: Shape
    n_iter_: int
    loss_curve_: list[float]
    validation_curve_: list[tuple[int, float]]
    device_: torch.device


# Limits on the cost of scoring, also by a model from a file, far beyond useful values.
WIDEST_FILTER = 2**14 + 1
MOST_PASSES = 1000
LARGEST_WINDOW = 2**20


def _at_least(lowest: int) -> Interval:
    return Interval(Integral, lowest, None, closed="left")


def _from_to(lowest: int, highest: int) -> Interval:
    return Interval(Integral, lowest, highest, closed="both")


# Default value and constraints of each.
_SHARED: dict[str, tuple[Any, list[Any]]] = {
    "network": ("auto", [StrOptions({"auto", *NETWORKS}), callable]),
    "image_shape": (None, [None, tuple, list]),
    "standardization": ("image", [StrOptions(set(STANDARDIZATIONS))]),
    "contrast_size": (5, [None, _from_to(3, WIDEST_FILTER)]),
    "max_iter": ("auto", [StrOptions({"auto"}), _at_least(1)]),
    "batch_size": (16, [_at_least(1)]),
    "crop_size": ("auto", [None, StrOptions({"auto"}), _at_least(1), tuple]),
    "learning_rate": (2e-3, [Interval(Real, 0, None, closed="neither")]),
    "weight_decay": (0.1, [Interval(Real, 0, None, closed="left")]),
    "augmentation": ("auto", [None, str, tuple, list]),
    "contamination": ("auto", [StrOptions({"auto"}), Interval(Real, 0, 0.5, closed="right")]),
    "smoothing_size": (3, [_from_to(1, WIDEST_FILTER)]),
    "smoothing_passes": (2, [_from_to(0, MOST_PASSES)]),
    "normalize_map": (True, ["boolean"]),
    "region_size": (0.6, [None, Interval(Real, 0, 1, closed="right")]),
    "score_aggregation": (
        0.01,
        [StrOptions({"max", "mean"}), Interval(Real, 0, 1, closed="right")],
    ),
    "early_stopping": (False, ["boolean"]),
    "validation_fraction": (0.1, [Interval(Real, 0, 1, closed="neither")]),
    "n_iter_no_change": (500, [_at_least(1)]),
    "warm_start": (False, ["boolean"]),
    "checkpoint": (None, [None, str, PathLike]),
    "device": ("auto", [str, torch.device]),
    "precision": ("auto", [StrOptions(set(PRECISIONS))]),
    "random_state": (None, ["random_state"]),
    "verbose": (0, ["verbose"]),
}
CONSTRAINTS = {name: constraints for name, (_, constraints) in _SHARED.items()}


def shared_parameters(*, auto_network: str) -> Callable[[Class], Class]:
    """Complete the signature and the docstring of a detector whose constructor takes ``**shared``.

    In the docstring, {parameters} and {attributes} are replaced by the entries of
    `SharedParameters` and `FittedAttributes`.

    Parameters
    ----------
    auto_network : str
        Description of ``network="auto"``.
    """

    def decorate(cls: Class) -> Class:
        init: Any = cls.__init__  # type: ignore[misc]
        signature = inspect.signature(init)
        own = [p for p in signature.parameters.values() if p.kind is not p.VAR_KEYWORD]
        hints = SharedParameters.__annotations__
        shared = [
            inspect.Parameter(
                name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=hints[name]
            )
            for name, (default, _) in _SHARED.items()
        ]
        # scikit-learn reads the names of parameters from the signature, and help() shows it.
        init.__signature__ = signature.replace(parameters=[*own, *shared])
        # There are no docstrings under python -OO.
        if cls.__doc__ is not None:
            sections = {
                "{parameters}": _entries(SharedParameters, "Parameters"),
                "{attributes}": _entries(FittedAttributes, "Attributes"),
                "{auto_network}": auto_network,
            }
            text = inspect.cleandoc(cls.__doc__)
            for placeholder, entries in sections.items():
                text = text.replace(placeholder, entries)
            cls.__doc__ = text
        return cls

    return decorate


def _entries(documented: type, section: str) -> str:
    """Entries of the last section in the docstring of a class."""
    heading = f"{section}\n{'-' * len(section)}\n"
    return inspect.cleandoc(documented.__doc__ or "").partition(heading)[2]


def takes_images(method: Method) -> Method:
    """Add the section on X to the docstring of a method, before the section on its result."""
    if method.__doc__ is not None:
        text = inspect.cleandoc(method.__doc__)
        result = text.index("Yields\n" if "Yields\n" in text else "Returns\n")
        method.__doc__ = f"{text[:result]}{_X}\n{text[result:]}"
    return method


def set_shared(detector: Any, shared: SharedParameters) -> None:
    """Set the shared parameters of a detector, given or default."""
    if unknown := sorted(shared.keys() - _SHARED.keys()):
        raise TypeError(
            f"{type(detector).__name__}.__init__() got an unexpected keyword argument "
            f"{unknown[0]!r}"
        )
    defaults = {name: default for name, (default, _) in _SHARED.items()}
    vars(detector).update({**defaults, **shared})
