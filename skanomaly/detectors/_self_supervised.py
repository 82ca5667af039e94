"""The self-supervised autoencoder."""

from __future__ import annotations

from collections.abc import Callable
from numbers import Real
from typing import Any, Self, Unpack

from sklearn.utils._param_validation import HasMethods, Interval
from torch import Tensor, nn

from ..corruption import PatchCorruption
from ..training import RepairObjective
from ._base import BaseAutoencoderDetector, Objective
from ._parameters import SharedParameters, set_shared, shared_parameters


@shared_parameters(auto_network='"sdcc" for images, "dense" for vectors')
class SelfSupervisedAutoencoderDetector(BaseAutoencoderDetector):
    r"""Find anomalies by an autoencoder that repairs artificially damaged normal images.

    In training, parts of normal images are replaced by foreign content, and the network f learns
    to restore them and to leave the rest alone (SSAE, Bauer, Nakajima and Müller, Mathematics
    12(24):3988, 2024). It then acts as a projection onto what is normal: where an image x differs
    from f(x), it is anomalous. The anomaly map is the squared difference, averaged over channels
    and smoothed; the image's score is the mean of its largest values. The network reads and repairs
    the local contrast beside the image, so that missing or foreign texture shows too.

    Parameters
    ----------
    corruption : PatchCorruption or None, default=None
        How training images are damaged; None is ``PatchCorruption()``. Its parameters can be
        searched over as ``corruption__radius`` and the like. Any object with ``get_params``,
        ``set_params`` and ``corrupt(images, generator)`` will do.
    mask_weight : float, default=0.1
        λ from 0 to 1: what repairing the damaged part weighs against keeping the rest.
    identity_noise : float, default=0.1
        Standard deviation σ, in those of the image, of Gaussian noise on damaged input and target
        alike; asks f to be the identity wherever it does not repair (FAE, Bauer and
        Müller, arXiv 2511.07233). 0 leaves it out.
    idempotence_weight : float, default=0.0
        Weight of ‖f(f(x)) − f(x)‖², which pulls f towards a projection (Bauer, arXiv 2606.15280).
        Above 0, a training step costs half as much again, or more.
    {parameters}

    Attributes
    ----------
    {attributes}

    See Also
    --------
    skanomaly.corruption.PatchCorruption : The damage that the network learns to repair.
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

    _auto_augmentation = ("mixup",)

    def __init__(
        self,
        *,
        corruption: PatchCorruption | None = None,
        mask_weight: float = 0.1,
        identity_noise: float = 0.1,
        idempotence_weight: float = 0.0,
        **shared: Unpack[SharedParameters],
    ) -> None:
        set_shared(self, shared)
        self.corruption = corruption
        self.mask_weight = mask_weight
        self.identity_noise = identity_noise
        self.idempotence_weight = idempotence_weight

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

    def _make_objective(
        self, network: nn.Module, represent: Callable[[Tensor], Tensor]
    ) -> Objective:
        corruption: Any = PatchCorruption() if self.corruption is None else self.corruption
        return RepairObjective(
            corruption.corrupt,
            mask_weight=self.mask_weight,
            identity_noise=self.identity_noise,
            idempotence_weight=self.idempotence_weight,
            represent=represent,
        )
