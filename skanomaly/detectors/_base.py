"""The contract that all detectors share."""

from __future__ import annotations

import copy
import math
from abc import ABCMeta, abstractmethod
from collections.abc import Callable, Iterator
from os import PathLike
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import DTypeLike, NDArray
from sklearn.base import BaseEstimator, OutlierMixin, clone
from sklearn.callback import CallbackSupportMixin, with_callbacks
from sklearn.utils import Bunch, Tags
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from .._memory import require_memory
from ..datasets._image_sequence import training_images
from ..scoring import ExpectedMap
from ..training import NonFiniteLossError, resolve_device
from ._calibration import calibrate
from ._fit_plan import FitPlan, Objective
from ._fitting import checkpoint_in_use, run_training, unchanged_on_error
from ._images import Shape, ValidatedInput, normalize_image_shape, to_image_dtype, validate_input
from ._inference import Inference, fill, reconstruction_function
from ._labels import warn_of_anomalies
from ._model import DetectorModel
from ._model_file import save_detector
from ._parameters import CONSTRAINTS, check_odd
from ._torch_state import in_usual_torch_state, usual_torch_state
from ._value_range import warn_of_other_scale

# Images that thresholds are taken from while training goes on.
_SNAPSHOT_LIMIT = 50


class BaseAutoencoderDetector(CallbackSupportMixin, OutlierMixin, BaseEstimator, metaclass=ABCMeta):
    """What detectors share: everything but the objective and their own parameters."""

    _doc_link_module = "skanomaly"
    _doc_link_template = (
        "https://skanomaly.readthedocs.io/en/latest/api/generated/skanomaly.{estimator_name}.html"
    )
    _parameter_constraints: dict[str, list[Any]] = CONSTRAINTS

    # What augmentation="auto" takes beside the symmetries that it finds.
    _auto_augmentation: tuple[str, ...] = ()

    model_: DetectorModel
    device_: torch.device
    image_shape_: Shape

    @abstractmethod
    def _make_objective(
        self, network: torch.nn.Module, represent: Callable[[Tensor], Tensor]
    ) -> Objective:
        """Make the objective that training minimises, on what ``represent`` makes of images."""

    def _auto_network(self, is_image: bool) -> str:
        """Name of the network that "auto" stands for."""
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
        """Means of the maps of normal images."""
        step = self.model_.steps[0]
        assert isinstance(step, ExpectedMap)
        return step.expected.numpy()

    @property
    def offset_(self) -> float:
        """Score below which an image is anomalous."""
        return self.model_.offset

    @offset_.setter
    def offset_(self, value: float) -> None:
        self.model_.offset = float(value)

    @property
    def map_threshold_(self) -> float:
        """Value of the anomaly map above which a pixel is anomalous."""
        return self.model_.map_threshold

    @map_threshold_.setter
    def map_threshold_(self, value: float) -> None:
        self.model_.map_threshold = float(value)

    @with_callbacks
    def fit(self, X: Any, y: Any = None) -> Self:
        """Learn what normal images look like.

        Parameters
        ----------
        X : array-like of shape (n, h, w), (n, h, w, c) or (n, n_features), or ImageSequence
            Normal images, at least two: uint8 or float, channels last; or flattened images with
            ``image_shape``; or plain vectors. Axes that seem to be in another order are refused,
            or warned of, unless ``image_shape`` says how they are meant.
        y : Ignored
            Present for scikit-learn's sake. A warning counts the labels -1, if it is made of 1 and
            -1: images are not left out by it.

        Returns
        -------
        self : object
            The fitted detector.

        Raises
        ------
        ValueError, TypeError
            If X or a parameter is not acceptable; before any training.
        NonFiniteLossError
            If the loss becomes NaN or infinite. The detector then holds the last good weights
            and thresholds that go with them.
        OSError
            If a checkpoint cannot be written, as on a full disk. The last one stays whole.
        RuntimeError
            If another fit, of this process or of another one, writes to the same checkpoint.
        KeyboardInterrupt
            On Ctrl-C. With ``checkpoint``, after the state was written to it, so that the next
            `fit` goes on from that step. After this and any error but the one of a loss that is
            not finite, the detector is what it was before.
        """
        with (
            usual_torch_state(),
            unchanged_on_error(self),
            checkpoint_in_use(self.checkpoint),
            training_images(X) as X,
        ):
            plan = self._plan(X, continued=self.warm_start and hasattr(self, "model_"))
            self._train(plan, X, y)
        return self

    @with_callbacks
    def partial_fit(self, X: Any, y: Any = None) -> Self:
        """Train further, by one pass over X at a tenth of the learning rate.

        On an unfitted detector this starts the training. The thresholds are taken from this X.

        Parameters
        ----------
        X : array-like or ImageSequence
            As in `fit`; of any size, but as many channels, if already fitted.
        y : Ignored
            Present for scikit-learn's sake.

        Returns
        -------
        self : object
            The detector, trained further.
        """
        with usual_torch_state(), unchanged_on_error(self), training_images(X) as X:
            plan = self._plan(X, continued=hasattr(self, "model_"), one_pass=True)
            self._train(plan, X, y)
        return self

    def calibrate(self, X: Any) -> Self:
        """Set expected map and thresholds anew, without training.

        For a change of light or camera, or of a parameter that says how maps and scores are made:
        ``contamination``, ``smoothing_size``, ``smoothing_passes``, ``normalize_map``,
        ``region_size`` or ``score_aggregation``. These take effect here and in `fit` only, so that
        scores and thresholds always go together.

        Parameters
        ----------
        X : array-like or ImageSequence
            Normal images or rows as in `fit`, at least two, that the detector was not trained on.
            Images may be of another size.

        Returns
        -------
        self : object
            The detector, with the same network.

        Raises
        ------
        ValueError, TypeError
            If X or a parameter is not acceptable. The detector is then what it was before.
        """
        check_is_fitted(self, "model_")
        self._validate_params()
        with usual_torch_state(), training_images(X) as X:
            data = self._validate(X, minimum=2)
            new = np.ones(len(data), dtype=bool)
            model = self.model_
            self.model_ = calibrate(
                self, model.standardization, model.network, data, new, self._inference()
            )
        return self

    @usual_torch_state()
    def detect(self, X: Any) -> Bunch:
        """Compute scores, decisions, maps and masks from one pass through the network.

        Parameters
        ----------
        X : array-like or ImageSequence
            Images or rows as in `fit`; images may be of another size.

        Returns
        -------
        Bunch
            With ``score_samples``, ``decision_function``, ``predict``, ``anomaly_map`` and
            ``predict_mask``: what the methods of these names return.

        Raises
        ------
        MemoryError
            If maps and masks surely take more memory than is free: see `detect_batches`.
        """
        data = self._validate(X)
        maps = _empty(data.map_shape, np.float64, "anomaly maps")
        masks = _empty(data.map_shape, np.bool_, "masks")
        batches: list[Bunch] = []
        start = 0
        for batch in self._detect_batches(data):
            part = slice(start, start + len(batch.predict))
            maps[part], masks[part] = batch.pop("anomaly_map"), batch.pop("predict_mask")
            batches.append(batch)
            start = part.stop
        joined = {name: np.concatenate([batch[name] for batch in batches]) for name in batches[0]}
        return Bunch(**joined, anomaly_map=maps, predict_mask=masks)

    def detect_batches(self, X: Any) -> Iterator[Bunch]:
        """Compute what `detect` does batch by batch, in constant memory.

        Parameters
        ----------
        X : array-like or ImageSequence
            Images or rows as in `fit`. They are checked at once, and read as they are needed.

        Yields
        ------
        Bunch
            What `detect` returns, of the next images in the order of X.
        """
        return in_usual_torch_state(self._detect_batches(self._validate(X)))

    @usual_torch_state()
    def score_samples(self, X: Any) -> NDArray[np.float64]:
        """Score images; higher is more normal.

        Parameters
        ----------
        X : array-like or ImageSequence
            Images or rows as in `fit`; images may be of another size.

        Returns
        -------
        ndarray of shape (n,), float64
            Minus the aggregate of the anomaly map, at most 0.

        Warns
        -----
        UserWarning
            Here and in all methods that compute scores, maps or reconstructions, if images of
            another dtype than uint8 and uint16 seem to be on another scale than those of `fit`: a
            tenth of the values are more than 2 and more than 50 times what is usual there, or all
            are fractions from 0 to 1 where 20 or more is usual.
        """
        # Numbers, not tensors: small tensors kept between large ones scatter the heap, which then
        # grows with every batch.
        scores: list[float] = []
        for maps in self._maps(self._validate(X)):
            scores.extend(self.model_.score(maps).tolist())
        return np.array(scores)

    def decision_function(self, X: Any) -> NDArray[np.float64]:
        """Score images against the threshold; 0 and above is normal.

        Parameters
        ----------
        X : array-like or ImageSequence
            Images or rows as in `fit`.

        Returns
        -------
        ndarray of shape (n,), float64
            ``score_samples(X) - offset_``.
        """
        return self.score_samples(X) - self.offset_

    def predict(self, X: Any) -> NDArray[np.int64]:
        """Tell normal images from anomalous ones.

        Parameters
        ----------
        X : array-like or ImageSequence
            Images or rows as in `fit`.

        Returns
        -------
        ndarray of shape (n,), int64
            1 for normal, -1 for anomalous.

        Warns
        -----
        UserWarning
            If images seem to be on another scale than those of `fit`, see `score_samples`.
        """
        return _decide(self.decision_function(X))

    @usual_torch_state()
    def anomaly_map(self, X: Any) -> NDArray[np.float64]:
        """Show where each image is anomalous.

        Parameters
        ----------
        X : array-like or ImageSequence
            Images or rows as in `fit`.

        Returns
        -------
        ndarray of shape (n, h, w) or (n, n_features), float64
            At least 0, higher is more anomalous; in multiples of the mean squared difference in
            normal images, weighed by the surroundings of each pixel with ``region_size``. With
            ``normalize_map=False``, in squared standard deviations.

        Raises
        ------
        MemoryError
            If the maps surely take more memory than is free.
        """
        data = self._validate(X)
        return fill(
            _empty(data.map_shape, np.float64, "anomaly maps"),
            (maps.cpu().numpy() for maps in self._maps(data)),
        )

    @usual_torch_state()
    def predict_mask(self, X: Any) -> NDArray[np.bool_]:
        """Mark the anomalous pixels of each image.

        Parameters
        ----------
        X : array-like or ImageSequence
            Images or rows as in `fit`.

        Returns
        -------
        ndarray of shape (n, h, w) or (n, n_features), bool
            Where the anomaly map exceeds ``map_threshold_``.

        Raises
        ------
        MemoryError
            If the masks surely take more memory than is free.
        """
        data = self._validate(X)
        masks = (self._mask(maps).cpu().numpy() for maps in self._maps(data))
        return fill(_empty(data.map_shape, np.bool_, "masks"), masks)

    @usual_torch_state()
    def reconstruct(self, X: Any) -> NDArray[Any]:
        """Compute what the network takes for normal.

        Parameters
        ----------
        X : array-like or ImageSequence
            Images or rows as in `fit`.

        Returns
        -------
        ndarray of X's shape, dtype and value range

        Raises
        ------
        MemoryError
            If the images surely take more memory than is free.
        """
        data = self._validate(X)
        parts = self._inference().reconstructions(self.model_, data)
        batches = (values.cpu().numpy() for values in parts)
        dtype = np.dtype(np.float64)
        if data.is_image:
            dtype = data.source.dtype
            batches = (to_image_dtype(np.moveaxis(b, 1, -1), dtype) for b in batches)
        values = fill(_empty((len(data), *data.shape), dtype, "reconstructions"), batches)
        return values.reshape(X.shape if hasattr(X, "shape") else np.shape(X))

    def save(self, path: str | PathLike[str]) -> None:
        """Write the fitted detector to a file that `skanomaly.load` reads without running code.

        The file holds parameters and weights as numbers and names, in the layout of safetensors,
        with a checksum; ``checkpoint``, random states other than numbers, and the code of
        networks are not part of it. What was there is replaced only once all is written.

        Parameters
        ----------
        path : str or path
            File in a folder that exists.

        Raises
        ------
        NotFittedError
            If the detector is not fitted.
        TypeError
            If a parameter is an object that numbers and names do not tell. Of one with
            `get_params` its parameters are stored, and its class is given to `skanomaly.load`; of a
            ``network`` that is a callable the weights alone are stored.
        ValueError
            If there are more than 2 GiB of it, or 4 MiB of parameters.
        OSError
            If the file cannot be written.
        """
        save_detector(self, path)

    def _validate_params(self) -> None:
        super()._validate_params()
        check_odd(self, "smoothing_size", "contrast_size")

    def _validate(self, X: Any, minimum: int = 1) -> ValidatedInput:
        check_is_fitted(self, "model_")
        data = validate_input(
            self,
            X,
            image_shape=normalize_image_shape(self.image_shape),
            fitted_shape=self.image_shape_,
            minimum=minimum,
        )
        warn_of_other_scale(data, self.model_)
        return data

    def _inference(self) -> Inference:
        dtype = torch.bfloat16 if self.precision == "bfloat16" else torch.float32
        return Inference(self.device_, dtype)

    def _maps(self, data: ValidatedInput) -> Iterator[Tensor]:
        return self._inference().maps(self.model_, data)

    def _mask(self, maps: Tensor) -> Tensor:
        # So that NaN, of a network that makes it, is anomalous.
        return ~(maps <= self.map_threshold_)

    def _detect_batches(self, data: ValidatedInput) -> Iterator[Bunch]:
        for maps in self._maps(data):
            scores = self.model_.score(maps).cpu().numpy()
            decisions = scores - self.offset_
            yield Bunch(
                score_samples=scores,
                decision_function=decisions,
                predict=_decide(decisions),
                anomaly_map=maps.cpu().numpy(),
                predict_mask=self._mask(maps).cpu().numpy(),
            )

    def _reconstruction(self, X: Any) -> tuple[Callable[[Tensor], Tensor], Tensor]:
        """The function f, which can be differentiated, and X as a tensor to put into it."""
        return reconstruction_function(self.model_, self._validate(X), self.device_)

    def _plan(self, X: Any, *, continued: bool, one_pass: bool = False) -> FitPlan:
        """Check parameters and data, and set up a network; self keeps what it has learned."""
        self._validate_params()
        data = validate_input(
            self,
            X,
            image_shape=normalize_image_shape(self.image_shape),
            fitted_shape=self.image_shape_ if continued else None,
            reset=not continued,
            minimum=2,
        )
        if continued:
            warn_of_other_scale(data, self.model_)
        corruption: Any = getattr(self, "corruption", None)
        if hasattr(corruption, "check_parameters"):
            corruption.check_parameters(rows=not data.is_image)
        return FitPlan.from_parameters(self, data, continued=continued, one_pass=one_pass)

    def _train(self, plan: FitPlan, X: Any, y: Any) -> None:
        """Run a plan, then take over its result."""
        warn_of_anomalies(y, len(plan.data))
        failure: NonFiniteLossError | None = None
        try:
            run_training(self, plan, X, y, self._attributes_so_far)
        except NonFiniteLossError as error:
            # Hours of training are not thrown away: the last good weights get thresholds too.
            failure = error
        self._take_over(plan, plan.network, plan.data, plan.held_out)
        if failure is not None:
            raise failure

    def _take_over(
        self,
        plan: FitPlan,
        network: torch.nn.Module,
        data: ValidatedInput,
        held_out: NDArray[np.bool_] | None,
    ) -> None:
        self.device_ = plan.device
        self.image_shape_ = plan.fitted_shape
        self.loss_curve_ = plan.outcome.loss_curve
        self.validation_curve_ = plan.outcome.validation_curve
        self.n_iter_ = len(plan.outcome.loss_curve)
        self.model_ = calibrate(
            self, plan.standardization, network, data, held_out, self._inference()
        )

    def _attributes_so_far(self, plan: FitPlan) -> dict[str, Any]:
        """What this detector would have learned if training ended now, for callbacks."""
        twin = clone(self)
        network = copy.deepcopy(plan.network).eval()
        twin._take_over(plan, network, plan.data.subset(_SNAPSHOT_LIMIT), None)
        twin.loss_curve_ = list(twin.loss_curve_)
        return {name: vars(twin)[name] for name in vars(twin).keys() - self.get_params().keys()}

    def __getstate__(self) -> dict[str, Any]:
        state = dict(super().__getstate__())
        if "model_" in state and self.device_.type != "cpu":
            # Weights travel on the CPU, so that a machine without this device can read them. Those
            # that are there go themselves: a process that is spawned maps their memory, which a
            # copy would free too early.
            state["model_"] = copy.deepcopy(state["model_"]).cpu()
        return state

    @usual_torch_state()
    def __setstate__(self, state: dict[str, Any]) -> None:
        if "network_" in state:
            raise ValueError(
                f"This {type(self).__name__} was fitted by an older version of skanomaly, whose "
                "maps are others: fit it again."
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


def _decide(decisions: NDArray[np.float64]) -> NDArray[np.int64]:
    # So that NaN, of a network that makes it, is anomalous.
    return np.where(decisions >= 0, 1, -1)


def _empty(shape: Shape, dtype: DTypeLike, what: str) -> NDArray[Any]:
    """An array for results, if there is memory for it."""
    require_memory(
        math.prod(shape) * np.dtype(dtype).itemsize,
        f"{what} of shape {shape}",
        "Pass fewer images at a time.",
    )
    return np.empty(shape, dtype)
