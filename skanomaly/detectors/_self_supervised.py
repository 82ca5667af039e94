"""The self-supervised autoencoder."""

from __future__ import annotations

from numbers import Real
from typing import Any, Self, Unpack

from sklearn.utils._param_validation import HasMethods, Interval
from torch import nn

from ..corruption import PatchCorruption
from ..training import RepairObjective
from ._base import BaseAutoencoderDetector
from ._fit_plan import Objective, Represent
from ._parameters import SharedParameters, set_shared, shared_parameters


@shared_parameters(auto_network='"sdcc" for images, "dense" for vectors')
class SelfSupervisedAutoencoderDetector(BaseAutoencoderDetector):
    r"""Find anomalies by an autoencoder that repairs artificially damaged normal images.

    In training, parts of normal images are replaced by foreign content, and the network f learns
    to restore them and to keep the rest unchanged (SSAE, Bauer, Nakajima and Müller, Mathematics
    12(24):3988, 2024). It then acts as a projection onto normal images: an image x is anomalous
    where it differs from f(x). The anomaly map is the squared difference, averaged over channels
    and smoothed; the score of an image depends on the largest values of its map. The local contrast
    is a further channel of the image, so that missing or foreign texture is detected too.

    Parameters
    ----------
    corruption : PatchCorruption or None, default=None
        Corruption of the training images; None is ``PatchCorruption()``. Any object with
        ``get_params``, ``set_params`` and ``corrupt(images, generator)`` is accepted. A search sets
        its parameters as ``corruption__radius`` and so on.
    mask_weight : float, default=0.1
        Weight λ, from 0 to 1, of repairing the damaged part, against keeping the rest.
    identity_noise : float, default=0.1
        Standard deviation σ, in units of that of the image, of Gaussian noise that is added to both
        damaged input and target, so that f is trained to be the identity where it does not repair
        (FAE, Bauer and Müller, arXiv 2511.07233). 0 adds no noise.
    idempotence_weight : float, default=0.0
        Weight of ‖f(f(x)) − f(x)‖², which makes f closer to a projection (Bauer, arXiv 2606.15280).
        Above 0, a training step takes at least 1.5 times as long.
    {parameters}

    Attributes
    ----------
    {attributes}

    See Also
    --------
    skanomaly.corruption.PatchCorruption : Default corruption.
    skanomaly.model_selection.NormalOnlySplit : Cross-validation with normal training folds.

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
        """Set parameters, including those of the corruption.

        Parameters
        ----------
        **params : dict
            Names as in the constructor, or ``corruption__radius`` and so on, which replace
            ``corruption=None`` by a `PatchCorruption`.

        Returns
        -------
        self : object
        """
        nested = [name for name in params if name.startswith("corruption__")]
        if nested and params.get("corruption", self.corruption) is None:
            corruption = PatchCorruption()
            corruption.set_params(**{n.removeprefix("corruption__"): params[n] for n in nested})
            params = {name: value for name, value in params.items() if name not in nested}
            params["corruption"] = corruption
        return super().set_params(**params)

    def _make_objective(self, network: nn.Module, represent: Represent) -> Objective:
        corruption: Any = PatchCorruption() if self.corruption is None else self.corruption
        return RepairObjective(
            corruption.corrupt,
            mask_weight=self.mask_weight,
            identity_noise=self.identity_noise,
            idempotence_weight=self.idempotence_weight,
            represent=represent,
        )
