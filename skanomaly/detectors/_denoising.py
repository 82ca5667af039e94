"""The denoising autoencoder."""

from __future__ import annotations

from functools import partial
from numbers import Real
from typing import Unpack

from sklearn.utils._param_validation import Interval, StrOptions
from torch import nn

from ..corruption import NOISES, add_noise
from ..training import DenoisingObjective
from ._base import BaseAutoencoderDetector
from ._fit_plan import Objective, Represent
from ._parameters import SharedParameters, set_shared, shared_parameters


@shared_parameters(auto_network='"sdcc" for images, "dense" for vectors')
class DenoisingAE(BaseAutoencoderDetector):
    r"""Find anomalies by an autoencoder that removes noise from normal images.

    The network f is given a normal image with noise and learns to return the image without noise
    (DAE, Vincent et al., JMLR 11, 2010). For Gaussian noise of a small standard deviation σ,
    f(x) - x is σ² times the gradient of the log-density of normal images, which points towards more
    normal images (Alain and Bengio, JMLR 15, 2014). This is a baseline: independent noise trains
    the network little for damage of whole regions, which `SelfSupervisedAutoencoderDetector` is
    trained on.

    Parameters
    ----------
    noise : float, default=1.0
        Standard deviation σ of Gaussian noise on the standardized values, including the local
        contrast. With another ``noise_type``, fraction of the values to replace, up to 1. Images
        allow strong noise, since neighbouring pixels are correlated; vectors of few features need
        less, such as 0.5.
    noise_type : {"gaussian", "masking", "salt_and_pepper"}, default="gaussian"
        "gaussian" adds noise to each value; "masking" replaces standardized values by 0, which is
        usually their mean; "salt_and_pepper" replaces values by the smallest or largest value of
        the batch.
    {parameters}

    Attributes
    ----------
    {attributes}

    See Also
    --------
    ContractiveAE : Another baseline, which is equivalent for σ → 0.
    SelfSupervisedAutoencoderDetector : Learns to repair patches instead of noise.

    Examples
    --------
    >>> from skanomaly import DenoisingAE
    >>> from skanomaly.datasets import make_textured_surfaces
    >>> data = make_textured_surfaces("brick", image_size=32, random_state=0)
    >>> detector = DenoisingAE(noise=0.3, max_iter=20, random_state=0).fit(data.X_train)
    >>> detector.anomaly_map(data.X_test[:3]).shape
    (3, 32, 32)
    """

    _parameter_constraints = {
        **BaseAutoencoderDetector._parameter_constraints,
        "noise": [Interval(Real, 0, None, closed="left")],
        "noise_type": [StrOptions(set(NOISES))],
    }

    def __init__(
        self,
        *,
        noise: float = 1.0,
        noise_type: str = "gaussian",
        **shared: Unpack[SharedParameters],
    ) -> None:
        set_shared(self, shared)
        self.noise = noise
        self.noise_type = noise_type

    def _make_objective(self, network: nn.Module, represent: Represent) -> Objective:
        if self.noise_type != "gaussian" and self.noise > 1:
            raise ValueError(
                f"noise must be a fraction from 0 to 1 with noise_type={self.noise_type!r}, got "
                f"{self.noise} instead."
            )
        noisy = partial(add_noise, kind=self.noise_type, amount=float(self.noise))
        return DenoisingObjective(noisy, represent=represent)
