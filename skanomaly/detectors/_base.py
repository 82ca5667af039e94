"""The contract that all detectors share."""

from __future__ import annotations

import copy
from abc import ABCMeta, abstractmethod
from collections.abc import Callable, Iterator
from functools import partial
from numbers import Integral
from os import PathLike
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import OutlierMixin, clone
from sklearn.callback import CallbackSupportMixin, with_callbacks
from sklearn.utils import Tags, check_random_state
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from ..datasets._image_sequence import training_images
from ..scoring import (
    FrameTerm,
    RegionTerm,
    aggregate,
    expected_map,
    leave_one_out,
    map_threshold,
    resize_map,
    score_offset,
)
from ..training import (
    NonFiniteLossError,
    checkpoint_seed,
    resolve_device,
    resolve_precision,
    to_channels_last,
)
from ._fitting import FitPlan, Objective, run_training, unchanged_on_error
from ._images import ValidatedInput, normalize_image_shape, to_image_dtype, validate_input
from ._inference import (
    Piece,
    add_by_tiles,
    assemble,
    fill,
    reconstruct_in_batches,
    reconstruction_function,
    reconstruction_in_own_range,
    smoothed_difference_map,
)
from ._model_file import save_detector
from ._network import make_network
from ._parameters import SharedParameters
from ._standardization import Standardization

# Images that the expected map is averaged over.
_CALIBRATION_LIMIT = 1000
# Images that the weight of large regions is taken from.
_REGION_LIMIT = 200
# Images that thresholds are taken from while training goes on.
_SNAPSHOT_LIMIT = 50


class BaseAutoencoderDetector(
    CallbackSupportMixin, OutlierMixin, SharedParameters, metaclass=ABCMeta
):
    """What detectors share: everything but the objective."""

    _doc_link_module = "skanomaly"
    _doc_link_template = (
        "https://skanomaly.readthedocs.io/en/latest/api/generated/skanomaly.{estimator_name}.html"
    )

    @abstractmethod
    def _make_objective(
        self, network: torch.nn.Module, represent: Callable[[Tensor], Tensor]
    ) -> Objective:
        """Make the objective that training minimises, on what ``represent`` makes of images."""

    def _auto_network(self, is_image: bool) -> str:
        """Name of the network that "auto" stands for."""
        return "sdcc" if is_image else "dense"

    @with_callbacks
    def fit(self, X: Any, y: Any = None) -> Self:
        """Learn what normal images look like.

        Parameters
        ----------
        X : array-like of shape (n, h, w), (n, h, w, c) or (n, n_features), or ImageSequence
            Normal images, at least two: uint8 or float, channels last; or flattened images with
            ``image_shape``; or plain vectors.
        y : Ignored
            Present for scikit-learn's sake.

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
        KeyboardInterrupt
            On Ctrl-C. With ``checkpoint``, after the state was written to it, so that the next
            `fit` goes on from that step. After this and any error but the one of a loss that is
            not finite, the detector is what it was before.
        """
        with unchanged_on_error(self), training_images(X) as X:
            plan = self._plan(X, continued=self.warm_start and hasattr(self, "network_"))
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
        with unchanged_on_error(self), training_images(X) as X:
            plan = self._plan(X, continued=hasattr(self, "network_"), resumable=False)
            plan.max_iter = -(-len(plan.data) // int(self.batch_size))
            plan.learning_rate = 0.1 * self.learning_rate
            plan.constant_rate = True
            plan.early_stopping = False
            self._train(plan, X, y)
        return self

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
        """
        data = self._validate(X)
        # Numbers, not tensors: small tensors kept between large ones scatter the heap, which then
        # grows with every batch.
        scores: list[float] = []
        for maps in self._maps(data):
            scores.extend(aggregate(maps, self.score_aggregation).tolist())
        return -np.array(scores)

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
        """
        return np.where(self.decision_function(X) < 0, -1, 1)

    def anomaly_map(self, X: Any) -> NDArray[np.float64]:
        """Show where each image is anomalous.

        Parameters
        ----------
        X : array-like or ImageSequence
            Images or rows as in `fit`.

        Returns
        -------
        ndarray of shape (n, h, w) or (n, n_features), float64
            At least 0, higher is more anomalous; in multiples of the squared difference that
            the training images show at that place, to which ``region_size`` adds what large
            regions show. With ``normalize_map=False``, in squared standard deviations.
        """
        data = self._validate(X)
        return fill(np.empty(data.map_shape), self._maps(data))

    def predict_mask(self, X: Any) -> NDArray[np.bool_]:
        """Mark the anomalous places of each image.

        Parameters
        ----------
        X : array-like or ImageSequence
            Images or rows as in `fit`.

        Returns
        -------
        ndarray of shape (n, h, w) or (n, n_features), bool
            Where the anomaly map exceeds ``map_threshold_``.
        """
        data = self._validate(X)
        masks = (maps > self.map_threshold_ for maps in self._maps(data))
        return fill(np.empty(data.map_shape, dtype=bool), masks)

    def reconstruct(self, X: Any) -> NDArray[Any]:
        """Compute what the network takes for normal.

        Parameters
        ----------
        X : array-like or ImageSequence
            Images or rows as in `fit`.

        Returns
        -------
        ndarray of X's shape, dtype and value range
        """
        data = self._validate(X)
        own_range = partial(reconstruction_in_own_range, channels=data.shape[-1])
        parts = [values.cpu() for values in assemble(self._forward(data), own_range)]
        values = torch.cat(parts).numpy()
        if data.is_image:
            values = to_image_dtype(np.moveaxis(values, 1, -1), data.source.dtype)
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
            If a parameter is an object that numbers and names do not tell, such as a corruption
            of one's own. Of a ``network`` that is a callable the weights alone are stored.
        ValueError
            If there are more than 2 GiB of it, or 4 MiB of parameters.
        OSError
            If the file cannot be written.
        """
        save_detector(self, path)

    def _validate(self, X: Any) -> ValidatedInput:
        check_is_fitted(self, "network_")
        return validate_input(
            self,
            X,
            image_shape=normalize_image_shape(self.image_shape),
            fitted_shape=self.image_shape_,
        )

    def _plan(self, X: Any, *, continued: bool, resumable: bool = True) -> FitPlan:
        """Check parameters and data, and set up a network; self keeps what it has learned."""
        self._validate_params()
        data = validate_input(
            self,
            X,
            image_shape=normalize_image_shape(self.image_shape),
            fitted_shape=self.image_shape_ if continued else None,
            reset=not continued,
        )
        checkpoint = Path(self.checkpoint) if resumable and self.checkpoint is not None else None
        random_state = check_random_state(self.random_state)
        seed = int(random_state.randint(2**31 - 1))
        if checkpoint is not None and not isinstance(self.random_state, Integral):
            # Another seed than the one that was drawn then would make another training.
            drawn = checkpoint_seed(checkpoint)
            seed = seed if drawn is None else drawn
        device = resolve_device(self.device)
        if continued:
            network = copy.deepcopy(self.network_)
            standardization = self._standardization
        else:
            standardization = Standardization.fit(
                data,
                standardization=self.standardization,
                contrast_size=self.contrast_size,
            )
            automatic = self.network == "auto"
            network = make_network(
                self._auto_network(data.is_image) if automatic else self.network,
                standardization.network_shape(data),
                seed,
            )
        network = network.to(device, torch.float32)
        if data.is_image:
            network = to_channels_last(network)
        return FitPlan.from_parameters(
            self,
            data=data,
            network=network,
            standardization=standardization,
            objective=self._make_objective(network, standardization.represent),
            device=device,
            dtype=resolve_precision(self.precision, device) if data.is_image else torch.float32,
            seed=seed,
            continued=continued,
            checkpoint=checkpoint,
        )

    def _train(self, plan: FitPlan, X: Any, y: Any) -> None:
        """Run a plan, then take over its result."""
        failure: NonFiniteLossError | None = None
        try:
            run_training(self, plan, X, y, self._attributes_so_far)
        except NonFiniteLossError as error:
            # Hours of training are not thrown away: the last good weights get thresholds too.
            failure = error
        self._take_over(plan, plan.network)
        self._calibrate(plan.data, plan.held_out)
        if failure is not None:
            raise failure

    def _take_over(self, plan: FitPlan, network: torch.nn.Module) -> None:
        self.network_ = network
        self.device_ = plan.device
        self.image_shape_ = plan.fitted_shape
        self.loss_curve_ = plan.outcome.loss_curve
        self.validation_curve_ = plan.outcome.validation_curve
        self.n_iter_ = len(plan.outcome.loss_curve)
        self._standardization = plan.standardization

    def _attributes_so_far(self, plan: FitPlan) -> dict[str, Any]:
        """What this detector would have learned if training ended now, for callbacks."""
        twin = clone(self)
        twin._take_over(plan, copy.deepcopy(plan.network).eval())
        twin.loss_curve_ = list(twin.loss_curve_)
        twin._calibrate(plan.data.subset(_SNAPSHOT_LIMIT), None)
        return {name: vars(twin)[name] for name in vars(twin).keys() - self.get_params().keys()}

    def _calibrate(self, data: ValidatedInput, held_out: NDArray[np.bool_] | None) -> None:
        """Take the expected maps and the thresholds from the maps of the normal images."""
        self.expected_map_ = np.ones((1, *data.shape[:2]))
        if self.normalize_map:
            sample = data.subset(_CALIBRATION_LIMIT)
            self.expected_map_ = expected_map(maps.cpu() for maps in self._residual_maps(sample))
        self._region_term: RegionTerm | None = None
        self._frame_term: FrameTerm | None = None
        if self.normalize_map and self.region_size is not None and data.is_image:
            sample = data.subset(_REGION_LIMIT)
            side = int(self.region_size * min(data.shape[:2])) // 2 * 2 + 1
            self._region_term = RegionTerm.fit((maps.cpu() for maps in self._maps(sample)), side)
        scores: list[float] = []
        maxima: list[float] = []
        frames: list[list[float]] = []
        # A number for contamination is a share of these very images, as `predict` takes them.
        shared = self.contamination == "auto" and len(data) <= _CALIBRATION_LIMIT
        for maps in self._maps(data, averaged=len(data) if shared else None, frames=frames):
            scores.extend((-aggregate(maps, self.score_aggregation)).tolist())
            maxima.extend(maps.flatten(1).amax(1).tolist())
        self.offset_ = score_offset(np.array(scores), self.contamination, held_out)
        self.map_threshold_ = map_threshold(np.array(maxima), self.contamination, held_out)
        if data.is_image:
            # In units of the threshold, so that it flags a picture of whatever map.
            self._frame_term = FrameTerm.fit(
                torch.tensor(frames, dtype=torch.float64),
                weight=-self.offset_ or 1.0,
                brightness=not self._standardization.per_image,
            )

    def _forward(self, data: ValidatedInput) -> Iterator[Piece]:
        """Images and reconstructions, standardised, and what undoes that, piece by piece."""
        contrast = self._standardization.contrast_size or 0
        return reconstruct_in_batches(
            self.network_,
            data,
            self._standardization,
            device=self.device_,
            dtype=torch.bfloat16 if self.precision == "bfloat16" else torch.float32,
            margin=contrast // 2 + self.smoothing_passes * (self.smoothing_size // 2),
        )

    def _reconstruction(self, X: Any) -> tuple[Callable[[Tensor], Tensor], Tensor]:
        """The function f, which can be differentiated, and X as a tensor to put into it."""
        return reconstruction_function(
            self.network_, self._validate(X), self._standardization, device=self.device_
        )

    def _residual_map(self, piece: Piece) -> Tensor:
        """Smoothed difference maps of a piece: (b, k, h, w) or (b, 1, n_features)."""
        channels = piece.images.shape[1] - (self._standardization.contrast_size is not None)
        return smoothed_difference_map(piece, channels, self.smoothing_size, self.smoothing_passes)

    def _residual_maps(self, data: ValidatedInput) -> Iterator[Tensor]:
        """Smoothed difference maps, batch by batch."""
        return assemble(self._forward(data), self._residual_map)

    def _maps(
        self,
        data: ValidatedInput,
        *,
        averaged: int | None = None,
        frames: list[list[float]] | None = None,
    ) -> Iterator[Tensor]:
        """Anomaly maps batch by batch: float64 (b, h, w) or (b, n_features).

        With ``averaged``, as if each image were not among the so many of the expected maps. In
        ``frames`` the sums of `frame_sums` are collected.
        """
        expected = torch.from_numpy(self.expected_map_)
        frame = torch.empty(0)

        def relative_map(piece: Piece) -> Tensor:
            nonlocal frame
            frame = piece.frame
            maps = self._residual_map(piece)
            size, part = maps.shape[2:], None
            if piece.tile is not None and not piece.tile.is_whole:
                size, part = torch.Size(piece.tile.size), piece.tile.kept
            ratio = maps / resize_map(expected.to(maps.device), size, part)
            if averaged is not None and self.normalize_map:
                ratio = leave_one_out(ratio, averaged)
            return ratio.mean(1)

        for ratio in assemble(self._forward(data), relative_map):
            if self._region_term is not None:
                ratio = add_by_tiles(self._region_term, ratio)
            if frames is not None:
                frames.extend(frame.tolist())
            if self._frame_term is not None:
                scores = aggregate(ratio, self.score_aggregation)
                ratio = ratio.mul_(self._frame_term.factor(frame, scores))
            yield ratio

    def __getstate__(self) -> dict[str, Any]:
        state = dict(super().__getstate__())
        if "network_" in state and self.device_.type != "cpu":
            # Weights travel on the CPU, so that a machine without this device can read them. Those
            # that are there go themselves: a process that is spawned maps their memory, which a
            # copy would free too early.
            state["network_"] = copy.deepcopy(state["network_"]).cpu()
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        if "network_" in state:
            try:
                self.device_ = resolve_device(self.device)
            except ValueError:
                self.device_ = torch.device("cpu")
            self.network_ = self.network_.to(self.device_)

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = True
        tags.input_tags.three_d_array = True
        return tags
