"""The parameters that all detectors share, and what docstrings say of them."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from numbers import Integral, Real
from os import PathLike
from textwrap import indent
from typing import Any, TypedDict, TypeVar

import numpy as np
import torch
from sklearn.utils._param_validation import Interval, StrOptions
from torch import nn

from ..networks import NETWORKS
from ..training import PRECISIONS
from ._standardization import STANDARDIZATIONS

Class = TypeVar("Class", bound=type)

_PARAMETERS = """\
network : {"auto", "plain", "sdc", "sdcc", "dense", "linear"} or callable, default="auto"
    "plain" is a convolutional autoencoder, "sdc" one with stacked dilated convolutions,
    "sdcc" one with convex combination modules besides; "dense" is a network for plain vectors,
    "linear" an affine map of them. "auto" is {auto_network}. A callable gets (h, w, c), where c
    counts the local contrast as a channel, or the number of features, and makes a
    `torch.nn.Module` that maps (b, c, h, w) or (b, n_features) to the same shape;
    `functools.partial` of a class in `skanomaly.networks` sets width, depth, dilations,
    normalisation or rank.
image_shape : (int, int) or (int, int, int), default=None
    (h, w) or (h, w, c) of images that come as flattened rows, or of arrays whose axes might be
    taken for others. None takes rows as vectors.
standardization : {"image", "dataset", "none"}, default="image"
    "dataset" scales by the training data's mean and standard deviation in each channel, and vectors
    feature by feature. "image" scales each image by its own overall mean and standard deviation
    besides, which takes differences in lighting out; for vectors it is the same as "dataset".
    "none" leaves values as they are.
contrast_size : int or None, default=5
    Side of the window, in pixels, odd, whose logarithmic standard deviation goes beside the
    image as a further channel. The best repair of a random texture is smooth, so that a
    blurred or flat region differs little from its repair, but its contrast does. None leaves
    it out. Vectors have none.
max_iter : int or "auto", default="auto"
    Number of gradient steps. "auto" is 3000, or fewer for few images, so that they are not
    memorised: 150 passes over the images, which count twice for each flip or rotation, but at least
    300 steps. For vectors it is 3000.
batch_size : int, default=16
    Images in a step.
crop_size : int or (int, int), default=None
    Train on random crops of that many pixels; None trains on whole images.
learning_rate : float, default=2e-3
    Largest learning rate; it rises over the first tenth of the steps and falls to 0 by a cosine.
    Convolutions are trained by Muon (orthogonalised momentum, Jordan et al. 2024) at three times
    this rate, all other weights by AdamW.
weight_decay : float, default=0.1
    Weight decay, for each unit of the learning rate.
augmentation : "auto", str or sequence of str, or None, default="auto"
    Any of "flip_horizontal", "flip_vertical" and "rotate" (by right angles), where a flipped or
    rotated good image is still a good one, and "mixup", which adds a small fraction of the
    difference to another image. "auto" takes those flips and rotations under which the training
    images look alike: a changed image has to be as close to the other images as an unchanged one,
    and the mean power spectrum has to stay. It finds most textures and parts in any orientation to
    be symmetric, and aligned parts not. For `SelfSupervisedAutoencoderDetector` it takes "mixup"
    too. None takes none, as do vectors with "auto".
contamination : "auto" or float, default="auto"
    Fraction of the training images, up to 0.5, to fall beyond the threshold. "auto" aims at
    0.01 of new normal images instead: ``validation_fraction`` of the images, and at least 20 or
    a third of them, are not trained on, and the threshold is moved by as much as their scores are
    lower and vary more.
smoothing_size : int, default=5
    Side of the mean filter on the map, in pixels, odd.
smoothing_passes : int, default=2
    How often the filter is applied.
normalize_map : bool, default=True
    Whether maps are divided by ``expected_map_``, so that the map of the image and that of its
    local contrast, or each feature of a vector, count alike.
region_size : float or None, default=0.6
    Side of the surroundings that count for a pixel, as a fraction of the shorter side of the
    training images. Where they stand out, the map is raised; a single peak in normal
    surroundings is lowered, see `skanomaly.scoring.Surroundings`. None leaves this out, as do
    vectors and ``normalize_map=False``.
score_aggregation : {"max", "mean"} or float, default=0.01
    How the map becomes the image's score; a number is the mean of that fraction of the largest
    values.
early_stopping : bool, default=False
    Whether to hold out images and to stop when their loss, under a corruption that stays
    the same, no longer falls. The best weights are restored.
validation_fraction : float, default=0.1
    Fraction of the images to hold out, for early stopping or ``contamination="auto"``.
n_iter_no_change : int, default=500
    Gradient steps without improvement after which early stopping ends training; the loss
    is taken every 50 steps, or as often as this if it is less.
warm_start : bool, default=False
    Whether `fit` goes on from the weights of the last one.
checkpoint : str or path, default=None
    File to which the state of training is written every 200 steps and on Ctrl-C, by renaming,
    so that it is never torn. A `fit` with the same parameters and data goes on from it; with
    others it is refused. Its outcome is the same as without the interruption, of a drawn seed
    too. Set None in a search or cross-validation: its clones would share the file.
device : str or torch.device, default="auto"
    "auto" is the first GPU if there is one, else the CPU.
precision : {"auto", "float32", "bfloat16"}, default="auto"
    Of the network's products on images. "auto" trains in bfloat16 where the processor has
    it in hardware, and scores in float32. Vectors are trained in float32 and scored in
    float64 always.
random_state : int, RandomState instance or None, default=None
    Seed of the weights, the order of the images and the corruption.
verbose : int, default=0
    Above 0, logs the loss twenty times in a training, at level INFO of the logger "skanomaly".
    Where `logging` is not set up to show that, it is written to stderr. With 0 it is logged at
    level DEBUG. ``set_callbacks(sklearn.callback.ProgressBar())`` shows a bar.
"""

_ATTRIBUTES = """\
model_ : torch.nn.Module
    All that is computed of images, as one module: maps floats (b, c, h, w), white is 1, or rows
    (b, n_features) to anomaly maps and scores.
network_ : torch.nn.Module
    The trained network, in evaluation mode; works on standardised images, channels first.
offset_ : float
    Score below which an image is anomalous.
map_threshold_ : float
    Value of the anomaly map above which a pixel is anomalous: the fraction ``contamination`` of
    the images exceed it somewhere.
expected_map_ : ndarray of shape (k, 1, 1) or (1, n_features)
    Means of the maps of normal images, in squared standard deviations: of the image, and of its
    local contrast. Of images that were not trained on, where there are any.
n_features_in_ : int
    Values in one image, or features in one row.
feature_names_in_ : ndarray of shape (n_features,)
    Names of the columns, where X was a data frame of them.
image_shape_ : (int, int, int) or (int,)
    (h, w, c) of the training images, or (n_features,).
n_iter_ : int
    Gradient steps done.
loss_curve_ : list of float
    Loss of each gradient step.
validation_curve_ : list of (int, float)
    Steps done and loss on the held-out images, with early stopping.
device_ : torch.device
    Where the network lives.
"""


class SharedParameters(TypedDict, total=False):
    """What the constructors of all detectors take, beside their own parameters."""

    network: str | Callable[..., nn.Module]
    image_shape: tuple[int, ...] | None
    standardization: str
    contrast_size: int | None
    max_iter: int | str
    batch_size: int
    crop_size: int | tuple[int, int] | None
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


DEFAULTS: SharedParameters = {
    "network": "auto",
    "image_shape": None,
    "standardization": "image",
    "contrast_size": 5,
    "max_iter": "auto",
    "batch_size": 16,
    "crop_size": None,
    "learning_rate": 2e-3,
    "weight_decay": 0.1,
    "augmentation": "auto",
    "contamination": "auto",
    "smoothing_size": 5,
    "smoothing_passes": 2,
    "normalize_map": True,
    "region_size": 0.6,
    "score_aggregation": 0.01,
    "early_stopping": False,
    "validation_fraction": 0.1,
    "n_iter_no_change": 500,
    "warm_start": False,
    "checkpoint": None,
    "device": "auto",
    "precision": "auto",
    "random_state": None,
    "verbose": 0,
}

CONSTRAINTS: dict[str, list[Any]] = {
    "network": [StrOptions({"auto", *NETWORKS}), callable],
    "image_shape": [None, tuple, list],
    "standardization": [StrOptions(set(STANDARDIZATIONS))],
    "contrast_size": [None, Interval(Integral, 3, None, closed="left")],
    "max_iter": [StrOptions({"auto"}), Interval(Integral, 1, None, closed="left")],
    "batch_size": [Interval(Integral, 1, None, closed="left")],
    "crop_size": [None, Interval(Integral, 1, None, closed="left"), tuple],
    "learning_rate": [Interval(Real, 0, None, closed="neither")],
    "weight_decay": [Interval(Real, 0, None, closed="left")],
    "augmentation": [None, str, tuple, list],
    "contamination": [StrOptions({"auto"}), Interval(Real, 0, 0.5, closed="right")],
    "smoothing_size": [Interval(Integral, 1, None, closed="left")],
    "smoothing_passes": [Interval(Integral, 0, None, closed="left")],
    "normalize_map": ["boolean"],
    "region_size": [None, Interval(Real, 0, 1, closed="right")],
    "score_aggregation": [
        StrOptions({"max", "mean"}),
        Interval(Real, 0, 1, closed="right"),
    ],
    "early_stopping": ["boolean"],
    "validation_fraction": [Interval(Real, 0, 1, closed="neither")],
    "n_iter_no_change": [Interval(Integral, 1, None, closed="left")],
    "warm_start": ["boolean"],
    "checkpoint": [None, str, PathLike],
    "device": [str, torch.device],
    "precision": [StrOptions(set(PRECISIONS))],
    "random_state": ["random_state"],
    "verbose": ["verbose"],
}


def shared_parameters(*, auto_network: str) -> Callable[[Class], Class]:
    """Complete the signature and the docstring of a detector whose constructor takes ``**shared``.

    The docstring gets the shared entries where it says {parameters} and {attributes}.

    Parameters
    ----------
    auto_network : str
        What ``network="auto"`` stands for.
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
            for name, default in DEFAULTS.items()
        ]
        # scikit-learn takes the names of parameters from here, and help() what it shows.
        init.__signature__ = signature.replace(parameters=[*own, *shared])
        # Docstrings are stripped under python -OO.
        if cls.__doc__ is not None:
            parameters = _PARAMETERS.replace("{auto_network}", auto_network)
            for name, text in (("parameters", parameters), ("attributes", _ATTRIBUTES)):
                cls.__doc__ = cls.__doc__.replace(f"    {{{name}}}\n", indent(text, "    "))
        return cls

    return decorate


def set_shared(detector: Any, shared: SharedParameters) -> None:
    """Set the shared parameters of a detector, to their defaults where they are not given."""
    if unknown := sorted(shared.keys() - DEFAULTS.keys()):
        raise TypeError(
            f"{type(detector).__name__}.__init__() got an unexpected keyword argument "
            f"{unknown[0]!r}"
        )
    vars(detector).update(DEFAULTS | shared)


def check_odd(detector: Any, *names: str) -> None:
    """Refuse parameters that are even numbers."""
    for name in names:
        size = getattr(detector, name)
        if size is not None and size % 2 == 0:
            raise ValueError(f"{name} must be odd, got {size}.")
