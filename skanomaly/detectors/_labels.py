"""A warning for labels that `fit` does not follow."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np


def warn_of_anomalies(y: Any, count: int) -> None:
    """Warn if y calls some of the training images anomalous.

    Parameters
    ----------
    y : object
        As given to `fit`. Only vectors of that length that hold nothing but 1 and -1 are labels.
    count : int
        Number of training images.

    Warns
    -----
    UserWarning
    """
    labels = np.asarray(y)
    if labels.shape != (count,) or not np.isin(labels, (1, -1)).all():
        return
    anomalous = int((labels == -1).sum())
    if anomalous:
        warnings.warn(
            f"y calls {anomalous} of {count} images anomalous (-1), but fit ignores y and trains "
            "on them as on normal ones. Pass X[y == 1]. In a search, cv=NormalOnlySplit() leaves "
            "them out of the folds, and refit=False keeps them from the detector fitted last.",
            UserWarning,
            stacklevel=3,
        )
