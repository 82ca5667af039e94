"""The contract that all detectors share."""

from __future__ import annotations

import copy
from abc import ABCMeta, abstractmethod
from collections.abc import Callable
from numbers import Integral
from os import PathLike
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import clone
from sklearn.callback import CallbackSupportMixin, with_callbacks
from sklearn.utils import Tags, check_random_state
from torch import Tensor

from ..datasets._image_sequence import training_images
from ..scoring import (
    FrameTerm,
    Surroundings,
    aggregate,
    expected_map,
    map_threshold,
    score_offset,
)
from ..training import (
    NonFiniteLossError,
    checkpoint_seed,
    resolve_device,
    resolve_precision,
    to_channels_last,
)
from ._fit_plan import FitPlan, Objective
from ._fitting import run_training, unchanged_on_error
from ._images import ValidatedInput, normalize_image_shape, validate_input
from ._map_detector import MapDetector
from ._model_file import save_detector
from ._network import make_network
from ._standardization import Standardization

# Images that the expected map is averaged over.
_CALIBRATION_LIMIT = 1000
# Images that thresholds are taken from while training goes on.
_SNAPSHOT_LIMIT = 50


class BaseAutoencoderDetector(CallbackSupportMixin, MapDetector, metaclass=ABCMeta):
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
        corruption: Any = getattr(self, "corruption", None)
        if hasattr(corruption, "check_parameters"):
            corruption.check_parameters(rows=not data.is_image)
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
        self.expected_map_ = np.ones((1, *([1, 1] if data.is_image else data.shape)))
        if self.normalize_map:
            # What was trained on is reconstructed better than anything new.
            sample = data
            if data.is_image and held_out is not None and held_out.any():
                sample = data.take(np.flatnonzero(held_out))
            self.expected_map_ = expected_map(
                (maps.mean((2, 3), keepdim=True) if data.is_image else maps).cpu()
                for maps in self._residual_maps(sample.subset(_CALIBRATION_LIMIT))
            )
        self._frame_term = None
        self._surroundings = None
        if self.normalize_map and self.region_size is not None and data.is_image:
            self._surroundings = Surroundings.of_images(data.shape[:2], self.region_size)
        scores: list[float] = []
        maxima: list[float] = []
        frames: list[list[float]] = []
        # A number for contamination is a share of these very images, as `predict` takes them.
        shared = not data.is_image and self.contamination == "auto"
        shared = shared and len(data) <= _CALIBRATION_LIMIT
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

    def __getstate__(self) -> dict[str, Any]:
        state = dict(super().__getstate__())
        if "network_" in state and self.device_.type != "cpu":
            # Weights travel on the CPU, so that a machine without this device can read them. Those
            # that are there go themselves: a process that is spawned maps their memory, which a
            # copy would free too early.
            state["network_"] = copy.deepcopy(state["network_"]).cpu()
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        if "network_" in state and "_surroundings" not in state:
            raise ValueError(
                f"This {type(self).__name__} was fitted by an older version of skanomaly, whose "
                "maps are others: fit it again."
            )
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
