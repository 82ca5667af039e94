"""Cross-validation whose training folds hold no anomaly."""

from __future__ import annotations

import numbers
from collections.abc import Iterator
from typing import Any

import numpy as np
from sklearn.model_selection import BaseCrossValidator, StratifiedKFold, check_cv
from sklearn.utils import column_or_1d, indexable
from sklearn.utils.metadata_routing import MetadataRequest, get_routing_for_object


class NormalOnlySplit(BaseCrossValidator):
    """Drop anomalies from every training fold and keep both classes in the test folds.

    A detector that learns from normal images alone must not see anomalies in `fit`, but needs some
    to be scored. This splitter takes the folds of another one and drops the rows with y = -1 from
    the training sides.

    Parameters
    ----------
    cv : int or splitter, default=5
        A number of folds stands for a shuffled :class:`sklearn.model_selection.StratifiedKFold`.
        Else any splitter of scikit-learn, or a list of (train, test) indices.
    random_state : int, RandomState instance or None, default=0
        Seed of the shuffling if `cv` is a number, else without effect. The default gives the same
        folds on each call.

    Notes
    -----
    `cv=5` itself, given to `GridSearchCV` or `cross_val_score` with an outlier detector, is an
    unshuffled KFold: with sorted y it has folds of one class, and trains on anomalies.

    Examples
    --------
    >>> import numpy as np
    >>> from skanomaly.model_selection import NormalOnlySplit
    >>> X = np.zeros((6, 8, 8))
    >>> y = np.array([1, 1, 1, 1, -1, -1])
    >>> for train, test in NormalOnlySplit(cv=2).split(X, y):
    ...     print(y[train], np.sort(y[test]))
    [1 1] [-1  1  1]
    [1 1] [-1  1  1]
    """

    def __init__(self, cv: Any = 5, *, random_state: Any = 0) -> None:
        self.cv = cv
        self.random_state = random_state

    def split(
        self, X: Any, y: Any = None, groups: Any = None
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Give the indices of each training and test fold.

        All folds are made and checked at once, before the first is given.

        Parameters
        ----------
        X : array-like or ImageSequence of length n
            The images.
        y : array-like of shape (n,)
            1 for normal, -1 for anomalous.
        groups : array-like of shape (n,), default=None
            Passed on to the splitter `cv`.

        Returns
        -------
        iterator of tuple (train, test)
            Indices, ndarrays of int. All of `y[train]` is 1.

        Raises
        ------
        ValueError
            If `y` is not made of 1 and -1, both present; if a test fold holds one class alone, or a
            training fold no normal image.
        """
        y = _check_y(y)
        X, y, groups = indexable(X, y, groups)
        folds = []
        for number, (train, test) in enumerate(self._splitter().split(X, y, groups)):
            train, test = np.asarray(train), np.asarray(test)
            n_normal = int(np.sum(y[test] == 1))
            if n_normal in (0, len(test)):
                raise ValueError(
                    f"The test fold {number} holds {n_normal} normal and {len(test) - n_normal} "
                    "anomalous images. Each test fold needs both, or else roc_auc would be NaN: "
                    "use fewer folds, or a cv that is shuffled and stratified, such as an int."
                )
            train = train[y[train] == 1]
            if len(train) == 0:
                raise ValueError(f"The training fold {number} holds no normal image (y = 1).")
            folds.append((train, test))
        return iter(folds)

    def get_n_splits(self, X: Any = None, y: Any = None, groups: Any = None) -> int:
        """Return the number of folds.

        Parameters
        ----------
        X : object, default=None
            Passed on to the splitter `cv`.
        y : object, default=None
            Passed on to the splitter `cv`.
        groups : object, default=None
            Passed on to the splitter `cv`.

        Returns
        -------
        int
            The number of folds.
        """
        return self._splitter().get_n_splits(X, y, groups)

    def get_metadata_routing(self) -> MetadataRequest:
        """Say whether `groups` are taken, which is so if the splitter `cv` takes them.

        Returns
        -------
        sklearn.utils.metadata_routing.MetadataRequest
            The request.
        """
        request = MetadataRequest(owner=self)
        if get_routing_for_object(self._splitter()).consumes("split", ["groups"]):
            request.split.add_request(param="groups", alias=True)
        return request

    def _splitter(self) -> Any:
        if isinstance(self.cv, numbers.Integral) and not isinstance(self.cv, bool):
            return StratifiedKFold(int(self.cv), shuffle=True, random_state=self.random_state)
        return check_cv(self.cv)


def _check_y(y: Any) -> np.ndarray:
    expected = "y must hold 1 for normal and -1 for anomalous images, both at least once."
    if y is None:
        raise ValueError(f"{expected} Got None instead.")
    y = column_or_1d(y)
    values = np.unique(y)
    if not np.array_equal(values, [-1, 1]):
        hint = ""
        if np.array_equal(values, [0, 1]):
            hint = " If y is 1 for defects and 0 for good images, pass np.where(y == 1, -1, 1)."
        shown = ", ".join(str(value) for value in values[:5]) + (", ..." if len(values) > 5 else "")
        raise ValueError(f"{expected} Got the values [{shown}] instead.{hint}")
    return y
