"""The base class of all detectors."""

from __future__ import annotations

import copy
from abc import ABCMeta, abstractmethod
from collections.abc import Callable, Iterator
from os import PathLike
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, OutlierMixin
from sklearn.callback import CallbackSupportMixin, with_callbacks
from sklearn.utils import Bunch, Tags
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from .._arrays import open_container
from .._device import in_usual_torch_state, usual_torch_state
from .._validation import Shape, ValidatedInput, normalize_image_shape, validate_input
from .._value_scale import warn_of_other_scale
from ..datasets._image_sequence import training_images
from ..training import resolve_device
from ._fit_plan import Objective, Represent
from ._fitting import calibrate, fit_detector
from ._inference import Inference, allocate, fill, reconstruction_function
from ._model import DetectorModel
from ._model_file import save_detector
from ._parameters import CONSTRAINTS, takes_images


class BaseAutoencoderDetector(CallbackSupportMixin, OutlierMixin, BaseEstimator, metaclass=ABCMeta):
    """Base class of detectors, which add an objective and its parameters."""

    _doc_link_module = "skanomaly"
    _doc_link_template = (
        "https://skanomaly.readthedocs.io/en/latest/api/generated/skanomaly.{estimator_name}.html"
    )
    _parameter_constraints: dict[str, list[Any]] = CONSTRAINTS

    # Added to the symmetries that augmentation="auto" finds.
    _auto_augmentation: tuple[str, ...] = ()

    model_: DetectorModel
    device_: torch.device
    image_shape_: Shape

    @abstractmethod
    def _make_objective(self, network: torch.nn.Module, represent: Represent) -> Objective:
        """Make the training objective, on images with their local contrast."""

    def _auto_network(self, is_image: bool) -> str:
        """Name of the network for "auto"."""
        return "sdcc" if is_image else "dense"

    @property
    def network_(self) -> torch.nn.Module:
        """The trained network."""
        return self.model_.network

    @network_.setter
    def network_(self, network: torch.nn.Module) -> None:
        self.model_.network = network

    @property
    def expected_map_(self) -> NDArray[np.float64]:
        """Mean difference maps of normal images."""
        return self.model_.steps[0].get_buffer("expected").numpy()

    @property
    def offset_(self) -> float:
        """Score threshold; images with lower scores are anomalous."""
        return self.model_.offset

    @offset_.setter
    def offset_(self, value: float) -> None:
        self.model_.offset = float(value)

    @property
    def map_threshold_(self) -> float:
        """Map threshold; pixels with larger values are anomalous."""
        return self.model_.map_threshold

    @map_threshold_.setter
    def map_threshold_(self, value: float) -> None:
        self.model_.map_threshold = float(value)

    @with_callbacks
    def fit(self, X: Any, y: Any = None) -> Self:
        """Fit the detector to normal images.

        Parameters
        ----------
        X : array-like of shape (n, h, w), (n, h, w, c) or (n, n_features), or ImageSequence
            At least two normal images, uint8 or float, channels last; or flattened images with
            ``image_shape``; or plain vectors. If axes seem to be in another order, an error or a
            warning says so, unless ``image_shape`` is given.
        y : Ignored
            Labels -1, and labels 0 and 1, are warned of, but no image is left out.

        Returns
        -------
        self : object
            The fitted detector.

        Raises
        ------
        ValueError, TypeError
            If X or a parameter is invalid, before training starts.
        NonFiniteLossError
            If the loss becomes NaN or infinite. The detector then has the last good weights, with
            thresholds for them. After any other error it is unchanged.
        OSError, RuntimeError
            If the checkpoint cannot be written, or is in use by another fit.
        KeyboardInterrupt
            On Ctrl-C, after writing a checkpoint if there is one.
        """
        fit_detector(self, X, y, continued=self.warm_start and hasattr(self, "model_"))
        return self

    @with_callbacks
    def partial_fit(self, X: Any, y: Any = None) -> Self:
        """Train by one pass over X at a tenth of the learning rate, and set thresholds on X.

        Parameters
        ----------
        X : array-like or ImageSequence
            As in `fit`. For a fitted detector, images may have another size.
        y : Ignored

        Returns
        -------
        self : object
            The fitted detector.
        """
        fit_detector(self, X, y, continued=hasattr(self, "model_"), one_pass=True)
        return self

    def calibrate(self, X: Any) -> Self:
        """Set expected map, thresholds and range of whole images again, without training.

        Use it after a change of lighting or camera, or of ``contamination``, ``smoothing_size``,
        ``smoothing_passes``, ``normalize_map``, ``region_size`` or ``score_aggregation``, which
        take effect only here and in `fit`.

        Parameters
        ----------
        X : array-like or ImageSequence
            At least two normal images or rows that the detector was not trained on. Images may have
            another size.

        Returns
        -------
        self : object
            The detector, with the same network. After an error it is unchanged.
        """
        check_is_fitted(self, "model_")
        self._validate_params()
        with usual_torch_state(), training_images(X) as X:
            data = self._validate(X, minimum=2)
            new, model = np.ones(len(data), dtype=bool), self.model_
            self.model_ = calibrate(
                self, model.standardization, model.network, model.window, data, new
            )
        return self

    @takes_images
    @usual_torch_state()
    def detect(self, X: Any) -> Bunch:
        """Compute scores, decisions, maps and masks in one pass through the network.

        Returns
        -------
        Bunch
            With ``score_samples``, ``decision_function``, ``predict``, ``anomaly_map`` and
            ``predict_mask``, as the methods of these names return them.

        Raises
        ------
        MemoryError
            Here and in other methods that return images or maps, if these do not fit into memory.
            Then use `detect_batches`.
        """
        data = self._validate(X)
        maps = allocate(data.map_shape, np.float64, "anomaly maps")
        masks = allocate(data.map_shape, np.bool_, "masks")
        batches: list[Bunch] = []
        start = 0
        for batch in self._detect_batches(data):
            part = slice(start, start + len(batch.predict))
            maps[part], masks[part] = batch.pop("anomaly_map"), batch.pop("predict_mask")
            batches.append(batch)
            start = part.stop
        joined = {name: np.concatenate([batch[name] for batch in batches]) for name in batches[0]}
        return Bunch(**joined, anomaly_map=maps, predict_mask=masks)

    @takes_images
    def detect_batches(self, X: Any) -> Iterator[Bunch]:
        """Compute `detect` batch by batch, in constant memory; X is validated before.

        Yields
        ------
        Bunch
            Results of `detect` for the next images in the order of X.
        """
        return in_usual_torch_state(self._detect_batches(self._validate(X)))

    @takes_images
    @usual_torch_state()
    def score_samples(self, X: Any) -> NDArray[np.float64]:
        """Score images; higher is more normal.

        Returns
        -------
        ndarray of shape (n,), float64
            Minus the aggregate of the anomaly map, at most 0.

        Warns
        -----
        UserWarning
            In all methods that take X, if images seem to be on another scale than those of `fit`: a
            tenth of the values exceed 2 and 50 times the usual value, all are from 0 to 1 where 20
            or more is usual, or 8-bit values come in a wider dtype where 16 bits are usual.
        """
        # A list of numbers: small tensors kept between large ones would fragment the heap.
        scores: list[float] = []
        for maps in self._inference().maps(self._validate(X)):
            scores.extend(self.model_.score(maps).tolist())
        return np.array(scores)

    @takes_images
    def decision_function(self, X: Any) -> NDArray[np.float64]:
        """Compare scores with the threshold; 0 and above is normal.

        Returns
        -------
        ndarray of shape (n,), float64
            ``score_samples(X) - offset_``.
        """
        return self.score_samples(X) - self.offset_

    @takes_images
    def predict(self, X: Any) -> NDArray[np.int64]:
        """Predict whether images are normal.

        Returns
        -------
        ndarray of shape (n,), int64
            1 for normal, -1 for anomalous.
        """
        return np.where(self.decision_function(X) >= 0, 1, -1)  # NaN is anomalous

    @takes_images
    @usual_torch_state()
    def anomaly_map(self, X: Any) -> NDArray[np.float64]:
        """Compute how anomalous each pixel or feature is.

        Returns
        -------
        ndarray of shape (n, h, w) or (n, n_features), float64
            At least 0, higher is more anomalous; in multiples of the mean squared difference in
            normal images, weighted by the surroundings of each pixel with ``region_size``. With
            ``normalize_map=False``, in squared standard deviations.
        """
        data = self._validate(X)
        maps = (maps.cpu().numpy() for maps in self._inference().maps(data))
        return fill(allocate(data.map_shape, np.float64, "anomaly maps"), maps)

    @takes_images
    @usual_torch_state()
    def predict_mask(self, X: Any) -> NDArray[np.bool_]:
        """Predict which pixels are anomalous.

        Returns
        -------
        ndarray of shape (n, h, w) or (n, n_features), bool
            Whether the anomaly map exceeds ``map_threshold_``.
        """
        data = self._validate(X)
        masks = (self.model_.mask(maps).cpu().numpy() for maps in self._inference().maps(data))
        return fill(allocate(data.map_shape, np.bool_, "masks"), masks)

    @takes_images
    @usual_torch_state()
    def reconstruct(self, X: Any) -> NDArray[Any]:
        """Reconstruct images or rows by the network.

        Returns
        -------
        ndarray of X's shape, dtype and value range
        """
        data = self._validate(X)
        dtype = data.source.dtype
        out = allocate((len(data), *data.shape), dtype, "reconstructions")
        values = fill(out, self._inference().reconstructions(data))
        X = X if hasattr(X, "shape") else open_container(X, is_flat=self.image_shape is not None)
        return values.reshape(tuple(X.shape))

    def save(self, path: str | PathLike[str]) -> None:
        """Save the fitted detector to a file for `skanomaly.load`, which runs no code from it.

        The file has the safetensors format with a checksum, and replaces an old one atomically. It
        does not hold ``checkpoint``, random states other than integers, or the code of networks.

        Parameters
        ----------
        path : str or path
            File in an existing folder.

        Raises
        ------
        NotFittedError
            If the detector is not fitted.
        TypeError
            If a parameter is neither data nor has `get_params`. Of an object with `get_params`, the
            parameters are stored, and `skanomaly.load` is given its class. Of a callable
            ``network``, only the weights are stored.
        ValueError
            If the file would exceed 2 GiB, or its parameters 4 MiB.
        OSError
            If the file cannot be written.
        """
        save_detector(self, path)

    def _validate_params(self) -> None:
        super()._validate_params()
        for name in ("smoothing_size", "contrast_size"):
            size = getattr(self, name)
            if size is not None and size % 2 == 0:
                raise ValueError(f"{name} must be odd, got {size} instead.")

    def _validate(self, X: Any, minimum: int = 1) -> ValidatedInput:
        check_is_fitted(self, "model_")
        data = validate_input(
            self,
            X,
            image_shape=normalize_image_shape(self.image_shape),
            fitted_shape=self.image_shape_,
            minimum=minimum,
        )
        warn_of_other_scale(data, self.model_.usual_value)
        return data

    def _inference(self) -> Inference:
        check_is_fitted(self, "model_")
        return Inference(self.model_, self.device_, self.precision)

    def _detect_batches(self, data: ValidatedInput) -> Iterator[Bunch]:
        for maps in self._inference().maps(data):
            scores = self.model_.score(maps).cpu().numpy()
            decisions = scores - self.offset_
            yield Bunch(
                score_samples=scores,
                decision_function=decisions,
                predict=np.where(decisions >= 0, 1, -1),
                anomaly_map=maps.cpu().numpy(),
                predict_mask=self.model_.mask(maps).cpu().numpy(),
            )

    def _reconstruction(self, X: Any) -> tuple[Callable[[Tensor], Tensor], Tensor]:
        return reconstruction_function(self.model_, self._validate(X), self.device_)

    def __getstate__(self) -> dict[str, Any]:
        state = dict(super().__getstate__())
        if "model_" in state:
            # For machines without this device. Weights on the CPU are not copied: a spawned process
            # maps their memory, which a copy would free too early.
            on_cpu, model = self.device_.type == "cpu", state["model_"]
            state["model_"] = copy.copy(model) if on_cpu else copy.deepcopy(model).cpu()
        return state

    @usual_torch_state()
    def __setstate__(self, state: dict[str, Any]) -> None:
        if "network_" in state:
            raise ValueError(
                f"This {type(self).__name__} was fitted by an older version of skanomaly, whose "
                "maps differ. Fit it again."
            )
        super().__setstate__(state)
        if "model_" in state:
            try:
                self.device_ = resolve_device(self.device)
            except ValueError:
                self.device_ = torch.device("cpu")
            self.model_.network.to(self.device_)

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = True
        tags.input_tags.three_d_array = True
        return tags
