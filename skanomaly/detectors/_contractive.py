"""The contractive autoencoder."""

from __future__ import annotations

from numbers import Integral, Real
from typing import Unpack

from sklearn.utils._param_validation import Interval, StrOptions
from torch import nn

from ..networks import find_encoder
from ..training import PENALTIES, ContractiveObjective
from ._base import BaseAutoencoderDetector
from ._fit_plan import Objective, Represent
from ._parameters import SharedParameters, set_shared, shared_parameters


@shared_parameters(auto_network='"sdc" for images, "dense" for vectors')
class ContractiveAE(BaseAutoencoderDetector):
    r"""Find anomalies by an autoencoder with a penalty on its sensitivity to the input.

    The network f learns to reconstruct normal images, with a penalty on the squared norm of a
    Jacobian: of the code (CAE, Rifai et al., ICML 2011) or of the reconstruction (RCAE, Alain and
    Bengio, JMLR 15, 2014). The directions along which normal images differ are reconstructed, and
    all other directions are suppressed. This is a baseline: its objective has no term against the
    reconstruction of anomalies, as that of `SelfSupervisedAutoencoderDetector` has.

    Parameters
    ----------
    penalty : {"encoder", "reconstruction"}, default="reconstruction"
        "encoder" penalizes the Jacobian of the code, divided by the standard deviation of the code
        over a batch, and "reconstruction" that of f. "encoder" needs a ``batch_size`` of at least 2
        and a network with a method ``encode`` whose result determines the output: "plain", "sdc",
        "dense", "linear" or your own.
    penalty_weight : float, default=0.1
        Weight γ of the squared norm, in squared units of the standardized values. With 0, only the
        bottleneck of the network keeps it from the identity.
    n_probes : int, default=1
        Number of random vectors for an unbiased estimate of the norm in each step. If the Jacobian
        has at most that many rows, or 32, its norm is computed exactly.
    {parameters}

    Attributes
    ----------
    {attributes}

    See Also
    --------
    DenoisingAE : Another baseline, which learns to remove noise.
    SelfSupervisedAutoencoderDetector : Learns to repair patches.

    Notes
    -----
    Training takes two to three times as long as that of `DenoisingAE`, since the gradient of the
    norm involves second derivatives of the network.

    Examples
    --------
    >>> from skanomaly import ContractiveAE
    >>> from skanomaly.datasets import make_textured_surfaces
    >>> data = make_textured_surfaces("brick", image_size=32, random_state=0)
    >>> detector = ContractiveAE(penalty="encoder", max_iter=20, random_state=0)
    >>> detector.fit(data.X_train).anomaly_map(data.X_test[:3]).shape
    (3, 32, 32)
    """

    _parameter_constraints = {
        **BaseAutoencoderDetector._parameter_constraints,
        "penalty": [StrOptions(set(PENALTIES))],
        "penalty_weight": [Interval(Real, 0, None, closed="left")],
        "n_probes": [Interval(Integral, 1, None, closed="left")],
    }

    def __init__(
        self,
        *,
        penalty: str = "reconstruction",
        penalty_weight: float = 0.1,
        n_probes: int = 1,
        **shared: Unpack[SharedParameters],
    ) -> None:
        set_shared(self, shared)
        self.penalty = penalty
        self.penalty_weight = penalty_weight
        self.n_probes = n_probes

    def _auto_network(self, is_image: bool) -> str:
        # With skip connections that bypass the code, the identity has a small penalty.
        return "sdc" if is_image else super()._auto_network(is_image)

    def _make_objective(self, network: nn.Module, represent: Represent) -> Objective:
        if self.penalty == "encoder":
            self._check_encoder(network)
        return ContractiveObjective(
            penalty=self.penalty,
            penalty_weight=float(self.penalty_weight),
            n_probes=int(self.n_probes),
            represent=represent,
        )

    def _check_encoder(self, network: nn.Module) -> None:
        if find_encoder(network) is None:
            raise ValueError(
                "penalty='encoder' needs a network whose output goes through a code, which its "
                "method encode returns: 'plain', 'sdc', 'dense' or 'linear', got "
                f"network={self.network!r} instead. penalty='reconstruction' accepts any network."
            )
        if self.batch_size < 2:
            raise ValueError(
                "penalty='encoder' takes the spread of the code over a batch. batch_size must be "
                f"at least 2, got {self.batch_size} instead."
            )
