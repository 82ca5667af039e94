"""The self-supervised autoencoder."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from numbers import Real
from os import PathLike
from typing import Any, Self

import numpy as np
import torch
from sklearn.utils._param_validation import HasMethods, Interval
from torch import nn

from ..corruption import PatchCorruption
from ..training import RepairObjective
from ._base import BaseAutoencoderDetector, Objective


class SelfSupervisedAutoencoderDetector(BaseAutoencoderDetector):
    """Find anomalies by an autoencoder that repairs artificially damaged normal images.

    PLACEHOLDER
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

    def _make_objective(self) -> Objective:
        corruption: Any = PatchCorruption() if self.corruption is None else self.corruption
        return RepairObjective(
            corruption.corrupt,
            mask_weight=self.mask_weight,
            identity_noise=self.identity_noise,
            idempotence_weight=self.idempotence_weight,
        )
