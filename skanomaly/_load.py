"""Loading a model file."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from torch import nn

from .corruption import PatchCorruption
from .detectors import ContractiveAE, DenoisingAE, SelfSupervisedAutoencoderDetector
from .detectors._model_file import Arrays, Network, class_name, load_detector, restore_detector

if TYPE_CHECKING:
    from .detectors._base import BaseAutoencoderDetector
    from .model_selection import ConformalDetector

_CLASSES = (SelfSupervisedAutoencoderDetector, DenoisingAE, ContractiveAE, PatchCorruption)


def load(
    path: str | os.PathLike[str],
    *,
    network: Callable[..., nn.Module] | None = None,
    classes: Sequence[type] = (),
) -> BaseAutoencoderDetector | ConformalDetector:
    """Load a fitted detector that its ``save`` wrote.

    The file holds only numbers and names, which are checked before memory is allocated, and no code
    from it is run. So loading an untrusted model is safe, but its results are not to be trusted.

    Parameters
    ----------
    path : str or path
        The file. A leading ~ is the home folder.
    network : callable, default=None
        The callable that makes the network, if the detector was fitted with one, since its code is
        not in the file.
    classes : sequence of type, default=()
        Your own classes of the detector or its parameters, such as a subclass of a detector or a
        corruption with `get_params`. No other classes named in the file are instantiated.

    Returns
    -------
    detector : SelfSupervisedAutoencoderDetector, DenoisingAE, ContractiveAE or ConformalDetector
        It gives the same scores, is on its ``device`` if that is available or else on the CPU, and
        has ``checkpoint=None``.

    Raises
    ------
    ModelFileError
        If the file is not a model, is damaged, was altered, has another format version, or its
        weights do not fit the network.
    OSError
        If the file does not exist or cannot be read.

    See Also
    --------
    SelfSupervisedAutoencoderDetector.save : Save a detector.
    skanomaly.model_selection.ConformalDetector.save : Save a calibrated detector.

    Examples
    --------
    >>> import os, tempfile
    >>> import numpy as np
    >>> import skanomaly
    >>> X = np.random.default_rng(0).random((20, 5))
    >>> detector = skanomaly.DenoisingAE(max_iter=10, random_state=0).fit(X)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "detector.safetensors")
    ...     detector.save(path)
    ...     loaded = skanomaly.load(path)
    >>> bool((loaded.score_samples(X) == detector.score_samples(X)).all())
    True
    """
    accepted = {class_name(each): each for each in (*_CLASSES, *classes)}
    return load_detector(path, accepted, network, _restore)


def _restore(data: Any, arrays: Arrays, classes: Mapping[str, type], network: Network) -> Any:
    """Make a detector, or a ConformalDetector, which holds detectors."""
    if "detectors" not in data:
        return restore_detector(data, arrays, classes, network)
    # Imported only if a file needs it, as it takes time.
    from .model_selection import ConformalDetector
    from .model_selection._conformal_file import restore_conformal

    classes = {**classes, class_name(ConformalDetector): ConformalDetector}
    return restore_conformal(data, arrays, classes, network)
