"""The self-supervised autoencoder."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from numbers import Real
from os import PathLike
from typing import Any, Self

import numpy as np
import torch
from sklearn.utils._param_validation import HasMethods, Interval
from torch import Tensor, nn

from ..corruption import PatchCorruption
from ..training import RepairObjective
from ._base import BaseAutoencoderDetector, Objective


class SelfSupervisedAutoencoderDetector(BaseAutoencoderDetector):
    r"""Find anomalies by an autoencoder that repairs artificially damaged normal images.

    In training, parts of normal images are replaced by foreign content, and the network f learns
    to restore them and to leave the rest alone (SSAE, Bauer, Nakajima and Müller, Mathematics
    12(24):3988, 2024). It then acts as a projection onto what is normal: where an image x differs
    from f(x), it is anomalous. The anomaly map is the squared difference, averaged over channels
    and smoothed; the image's score is its largest value. The network reads and repairs the local
    contrast beside the image, so that missing or foreign texture shows too.

    Parameters
    ----------
    corruption : PatchCorruption or None, default=None
        How training images are damaged; None is ``PatchCorruption()``. Its parameters can be
        searched over as ``corruption__radius`` and the like. Any object with ``get_params``,
        ``set_params`` and ``corrupt(images, generator)`` will do.
    mask_weight : float, default=0.5
        λ from 0 to 1: what repairing the damaged part weighs against keeping the rest.
    identity_noise : float, default=0.03
        Deviation σ, in standard deviations of the image, of Gaussian noise on damaged input and
        target alike; asks f to be the identity wherever it does not repair (FAE, Bauer and
        Müller, arXiv 2511.07233). 0 leaves it out.
    idempotence_weight : float, default=0.0
        Weight of ‖f(f(x)) − f(x)‖², which pulls f towards a projection (Bauer, arXiv 2606.15280).
        Above 0, a training step costs half as much again, or more.
    network : {"auto", "plain", "sdc", "sdcc", "dense"} or callable, default="auto"
        "plain" is a convolutional autoencoder, "sdc" one with stacked dilated convolutions,
        "sdcc" one with convex combination modules besides, "dense" a network for plain vectors;
        "auto" is "sdcc" for images and "dense" for vectors. A callable gets (h, w, c), where c
        counts the local contrast as a channel, or the number of features, and makes a
        `torch.nn.Module` that maps (b, c, h, w) or (b, n_features) to the same shape;
        `functools.partial` of a class in `skanomaly.networks` sets width, depth, dilations or
        normalisation.
    image_shape : (int, int) or (int, int, int), default=None
        (h, w) or (h, w, c) of images that come as flattened rows. None takes rows as vectors.
    standardization : {"image", "dataset"}, default="image"
        "dataset" scales by the training data's mean and deviation in each channel; "image"
        scales each image by its own overall mean and deviation on top of that, which takes
        differences in lighting out. Vectors are always scaled feature by feature.
    contrast_size : int or None, default=5
        Side of the window, in pixels, odd, whose logarithmic standard deviation goes beside the
        image as a further channel. The best repair of a random texture is smooth, so that a
        blurred or flat place differs little from its repair, but its contrast does. None leaves
        it out. Vectors have none.
    max_iter : int, default=3000
        Number of gradient steps.
    batch_size : int, default=16
        Images in a step.
    crop_size : int or (int, int), default=None
        Train on random crops of that many pixels; None trains on whole images.
    learning_rate : float, default=2e-3
        Largest rate of AdamW; it rises over the first tenth of the steps and falls to 0 by a
        cosine.
    weight_decay : float, default=1e-4
        Weight decay of AdamW.
    augmentation : str or sequence of str, default=None
        Any of "flip_horizontal", "flip_vertical" and "rotate" (by right angles), where a
        mirrored or turned good image is still a good one.
    contamination : "auto" or float, default="auto"
        Share of the training images, up to 0.5, to fall beyond the threshold. "auto" aims at
        0.01 of new normal images instead: ``validation_fraction`` of the images are not trained
        on, and the threshold is moved by as much as those score lower.
    smoothing_size : int, default=5
        Side of the mean filter on the map, in pixels, odd.
    smoothing_passes : int, default=2
        How often the filter is applied.
    normalize_map : bool, default=True
        Whether maps are divided by ``expected_map_``, so that places which are always hard to
        reconstruct do not hide those that rarely are.
    score_aggregation : {"max", "mean"} or float, default="max"
        How the map becomes the image's score; a number is the mean of that share of the largest
        values.
    early_stopping : bool, default=False
        Whether to hold out images and to stop when their loss, under a corruption that stays
        the same, no longer falls. The best weights are restored.
    validation_fraction : float, default=0.1
        Share of the images to hold out, for early stopping or ``contamination="auto"``.
    n_iter_no_change : int, default=500
        Gradient steps without improvement after which early stopping ends training; the loss
        is taken every 50 steps, or as often as this if it is less.
    warm_start : bool, default=False
        Whether `fit` goes on from the weights of the last one.
    checkpoint : str or path, default=None
        File to which the state of training is written every 200 steps, by renaming, so that it
        is never torn. A `fit` with the same parameters and data goes on from it; with others it
        is refused. Its outcome is the same as without the interruption.
    device : str or torch.device, default="auto"
        "auto" is the first GPU if there is one, else the CPU.
    precision : {"auto", "float32", "bfloat16"}, default="auto"
        Of the network's products on images. "auto" trains in bfloat16 where the processor has
        it in hardware, and scores in float32. Vectors are trained in float32 and scored in
        float64 always.
    random_state : int, RandomState instance or None, default=None
        Seed of the weights, the order of the images and the corruption.
    verbose : int, default=0
        Above 0, prints the loss now and then. ``set_callbacks(sklearn.callback.ProgressBar())``
        shows a bar.

    Attributes
    ----------
    network_ : torch.nn.Module
        The trained network, in evaluation mode; works on standardised images, channels first.
    offset_ : float
        Score below which an image is anomalous.
    map_threshold_ : float
        Value of the anomaly map above which a place is anomalous: the share ``contamination`` of
        the images exceed it somewhere.
    expected_map_ : ndarray of shape (k, h, w) or (1, n_features)
        Mean maps of the training images, in squared standard deviations: of the image, and of
        its local contrast.
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

    See Also
    --------
    skanomaly.PatchCorruption : The damage that the network learns to repair.
    skanomaly.model_selection.NormalOnlySplit : Cross-validation that trains on normals only.

    Examples
    --------
    >>> from skanomaly import SelfSupervisedAutoencoderDetector
    >>> from skanomaly.datasets import make_textured_surfaces
    >>> data = make_textured_surfaces("brick", image_size=32, random_state=0)
    >>> detector = SelfSupervisedAutoencoderDetector(max_iter=20, random_state=0)
    >>> detector.fit(data.X_train).anomaly_map(data.X_test[:3]).shape
    (3, 32, 32)
    >>> detector.predict(data.X_test[:3]).shape
    (3,)
    """

    _parameter_constraints = {
        **BaseAutoencoderDetector._parameter_constraints,
        "corruption": [None, HasMethods(["corrupt", "get_params", "set_params"])],
        "mask_weight": [Interval(Real, 0, 1, closed="both")],
        "identity_noise": [Interval(Real, 0, None, closed="left")],
        "idempotence_weight": [Interval(Real, 0, None, closed="left")],
    }

    def __init__(
        self,
        *,
        corruption: PatchCorruption | None = None,
        mask_weight: float = 0.5,
        identity_noise: float = 0.03,
        idempotence_weight: float = 0.0,
        network: str | Callable[..., nn.Module] = "auto",
        image_shape: tuple[int, ...] | None = None,
        standardization: str = "image",
        contrast_size: int | None = 5,
        max_iter: int = 3000,
        batch_size: int = 16,
        crop_size: int | tuple[int, int] | None = None,
        learning_rate: float = 2e-3,
        weight_decay: float = 1e-4,
        augmentation: str | Sequence[str] | None = None,
        contamination: str | float = "auto",
        smoothing_size: int = 5,
        smoothing_passes: int = 2,
        normalize_map: bool = True,
        score_aggregation: str | float = "max",
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        n_iter_no_change: int = 500,
        warm_start: bool = False,
        checkpoint: str | PathLike[str] | None = None,
        device: str | torch.device = "auto",
        precision: str = "auto",
        random_state: int | np.random.RandomState | None = None,
        verbose: int = 0,
    ) -> None:
        self.corruption = corruption
        self.mask_weight = mask_weight
        self.identity_noise = identity_noise
        self.idempotence_weight = idempotence_weight
        self.network = network
        self.image_shape = image_shape
        self.standardization = standardization
        self.contrast_size = contrast_size
        self.max_iter = max_iter
        self.batch_size = batch_size
        self.crop_size = crop_size
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.augmentation = augmentation
        self.contamination = contamination
        self.smoothing_size = smoothing_size
        self.smoothing_passes = smoothing_passes
        self.normalize_map = normalize_map
        self.score_aggregation = score_aggregation
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.warm_start = warm_start
        self.checkpoint = checkpoint
        self.device = device
        self.precision = precision
        self.random_state = random_state
        self.verbose = verbose

    def set_params(self, **params: Any) -> Self:
        """Set parameters, those of the corruption too.

        Parameters
        ----------
        **params : dict
            Names as in the constructor, or ``corruption__radius`` and the like, which turn the
            default corruption into one of its own.

        Returns
        -------
        self : object
        """
        nested = any(name.startswith("corruption__") for name in params)
        if nested and params.get("corruption", self.corruption) is None:
            params = {**params, "corruption": PatchCorruption()}
        return super().set_params(**params)

    def _make_objective(self, represent: Callable[[Tensor], Tensor]) -> Objective:
        corruption: Any = PatchCorruption() if self.corruption is None else self.corruption
        return RepairObjective(
            corruption.corrupt,
            mask_weight=self.mask_weight,
            identity_noise=self.identity_noise,
            idempotence_weight=self.idempotence_weight,
            represent=represent,
        )
