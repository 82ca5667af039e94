"""Reading a model file."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from torch import nn

from ..corruption import PatchCorruption
from ._contractive import ContractiveAE
from ._denoising import DenoisingAE
from ._model_file import Arrays, Network, class_name, load_detector, restore_detector
from ._self_supervised import SelfSupervisedAutoencoderDetector

if TYPE_CHECKING:
    from ..model_selection import ConformalDetector
    from ._base import BaseAutoencoderDetector

_CLASSES = (SelfSupervisedAutoencoderDetector, DenoisingAE, ContractiveAE, PatchCorruption)


def load(
    path: str | os.PathLike[str],
    *,
    network: Callable[..., nn.Module] | None = None,
    classes: Sequence[type] = (),
) -> BaseAutoencoderDetector | ConformalDetector:
    """Read a fitted detector that its ``save`` wrote.

    No code of the file is run: it holds numbers and names alone, which are checked before memory
    is taken. This makes a model of a stranger safe to read, not right: what it calls normal is
    the stranger's choice.

    Parameters
    ----------
    path : str or path
    network : callable, default=None
        What makes the network, if the detector was given a callable rather than a name: its code
        is not in the file.
    classes : sequence of type, default=()
        Classes of your own that the detector or its parameters may be of, such as a corruption with
        `get_params` or a subclass of a detector. A file names them, and only those that are given
        here are made.

    Returns
    -------
    detector : SelfSupervisedAutoencoderDetector, DenoisingAE, ContractiveAE or ConformalDetector
        With the same scores and thresholds, on the device that it asks for or else the CPU, and
        with ``checkpoint=None``.

    Raises
    ------
    ModelFileError
        If the file is something else, is damaged, was altered, is of a newer version, or its
        weights do not fit the network.
    OSError
        If there is no such file, or it cannot be read.

    See Also
    --------
    SelfSupervisedAutoencoderDetector.save : Writes it.
    skanomaly.model_selection.ConformalDetector.save : Writes a calibrated detector.

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
    # It imports this package, and is imported only if a file needs it.
    from ..model_selection import ConformalDetector
    from ..model_selection._conformal_file import restore_conformal

    classes = {**classes, class_name(ConformalDetector): ConformalDetector}
    return restore_conformal(data, arrays, classes, network)
