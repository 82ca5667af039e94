"""The contractive autoencoder."""

from __future__ import annotations

from collections.abc import Callable
from numbers import Integral, Real
from typing import Unpack

from sklearn.utils._param_validation import Interval, StrOptions
from torch import Tensor, nn

from ..networks import find_encoder
from ..training import PENALTIES, ContractiveObjective
from ._base import BaseAutoencoderDetector, Objective
from ._parameters import SharedParameters, set_shared, shared_parameters


@shared_parameters(auto_network='"sdc" for images, "dense" for vectors')
class ContractiveAE(BaseAutoencoderDetector):
    r"""Find anomalies by an autoencoder that pays for every change that its input makes.

    The network f learns to give normal images back, while the squared norm of a Jacobian is kept
    small: of the code (CAE, Rifai et al., ICML 2011) or of the whole reconstruction (RCAE, Alain
    and Bengio, JMLR 15, 2014). What reconstruction needs, the directions along which normal images
    differ, is kept, and all other directions are given up. A baseline: nothing here punishes
    that an anomaly is reconstructed too, which `SelfSupervisedAutoencoderDetector` does.

    Parameters
    ----------
    penalty : {"encoder", "reconstruction"}, default="reconstruction"
        Whose Jacobian is penalised: that of the code, in units of the code's own spread, or that
        of f. "encoder" needs a network with a method ``encode`` that all of the output depends
        on: "plain", "sdc", "dense", "linear" or one of your own, and a ``batch_size`` of at least
        2, which the spread is taken over.
    penalty_weight : float, default=0.1
        Weight γ of the squared norm, in squared units of the standardised values. 0 leaves it
        out, and nothing holds the network back from the identity but its own narrowness.
    n_probes : int, default=1
        Random vectors that the norm is estimated with in each step, without bias. Where the
        Jacobian has at most as many rows as that, or 32, it is computed exactly.
    {parameters}

    Attributes
    ----------
    {attributes}

    See Also
    --------
    DenoisingAE : Another baseline, which is trained by noise.
    SelfSupervisedAutoencoderDetector : Learns to repair damage.

    Notes
    -----
    Training costs about three times as much as that of `DenoisingAE`: the norm's gradient goes
    through the network's derivative.

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
        # Where the image passes by the code, the identity costs little.
        return "sdc" if is_image else super()._auto_network(is_image)

    def _make_objective(
        self, network: nn.Module, represent: Callable[[Tensor], Tensor]
    ) -> Objective:
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
                "method encode gives: 'plain', 'sdc', 'dense' or 'linear'; got "
                f"network={self.network!r}. penalty='reconstruction' takes any network."
            )
        if self.batch_size < 2:
            raise ValueError(
                "penalty='encoder' takes the spread of the code over a batch: batch_size must be "
                f"at least 2, got {self.batch_size}."
            )
