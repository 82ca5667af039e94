"""Cross-validation without anomalies in training folds."""

from __future__ import annotations

import numbers
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
from sklearn.model_selection import (
    BaseCrossValidator,
    StratifiedGroupKFold,
    StratifiedKFold,
    check_cv,
)
from sklearn.utils import column_or_1d, indexable
from sklearn.utils.metadata_routing import MetadataRequest, get_routing_for_object

from ..metrics._image_metrics import check_labels


class NormalOnlySplit(BaseCrossValidator):
    """Drop anomalies from every training fold and keep both classes in the test folds.

    A detector that learns from normal images alone must not see anomalies in `fit`, but its score
    needs some. This splitter takes the folds of another one and drops the images with y = -1 from
    the training folds. It can spread the kinds of defects evenly over the folds, and keeps crops of
    one image in one fold.

    Parameters
    ----------
    cv : int or splitter, default=5
        A number of folds is that of a shuffled :class:`sklearn.model_selection.StratifiedKFold`,
        or, with groups, of a :class:`sklearn.model_selection.StratifiedGroupKFold`. Otherwise any
        splitter of scikit-learn, or a list of (train, test) indices.
    random_state : int, RandomState instance or None, default=0
        Seed of the shuffling if `cv` is a number, otherwise ignored. An int gives the same folds on
        each call.

    Notes
    -----
    With an outlier detector, `cv=5` in `GridSearchCV` or `cross_val_score` is an unshuffled KFold:
    it trains on anomalies, and with sorted y its folds hold one class.

    With scikit-learn's metadata routing, `groups` and `kinds` are requested: `GridSearchCV(...,
    cv=NormalOnlySplit(3)).fit(X, y, kinds=kinds)` and `cross_validate(..., params={"kinds":
    kinds})` pass them on. Without routing, pass the folds themselves:
    `cv=list(NormalOnlySplit(3).split(X, y, kinds=kinds))`.

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

    Each kind of defect is spread over the test folds:

    >>> y = np.array([1, 1, 1, 1, -1, -1, -1, -1])
    >>> kinds = np.array(["good", "good", "good", "good", "crack", "crack", "stain", "stain"])
    >>> for _, test in NormalOnlySplit(cv=2).split(np.zeros((8, 8, 8)), y, kinds=kinds):
    ...     print(np.sort(kinds[test]))
    ['crack' 'good' 'good' 'stain']
    ['crack' 'good' 'good' 'stain']
    """

    __metadata_request__split = {"groups": True, "kinds": True}

    def __init__(self, cv: Any = 5, *, random_state: Any = 0) -> None:
        self.cv = cv
        self.random_state = random_state

    def split(
        self, X: Any, y: Any = None, groups: Any = None, kinds: Any = None
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Generate the indices of each training and test fold.

        All folds are checked before the first is returned.

        Parameters
        ----------
        X : array-like or ImageSequence of length n
            The images.
        y : array-like of shape (n,)
            1 for normal, -1 for anomalous.
        groups : array-like of shape (n,), default=None
            Groups of images, such as crops of one image; passed on to the splitter `cv`. No group
            is in both the training and the test fold.
        kinds : array-like of shape (n,), default=None
            The kind of defect of each anomalous image, such as the `kinds_test` of
            :func:`skanomaly.datasets.load_mvtec_ad`; values of normal images are ignored. The
            splitter `cv` gets the kinds in place of y, so that a stratifying one spreads each kind
            over the test folds. A kind with fewer images than folds is in some of them. A splitter
            that ignores y ignores kinds too.

        Returns
        -------
        iterator of tuple (train, test)
            Indices, ndarrays of int. All of `y[train]` is 1.

        Raises
        ------
        ValueError
            If `y` does not hold both 1 and -1 and nothing else; if a test fold holds only one
            class, or a training fold no normal image; if a group is in the training and the test
            fold.
        """
        if y is None:
            raise ValueError(
                "'y' must hold 1 for normal and -1 for anomalous images, both at least once. Got "
                "None instead."
            )
        check_labels(y, "y")
        y = column_or_1d(y)
        X, y, groups, kinds = indexable(X, y, groups, kinds)
        groups = None if groups is None else column_or_1d(groups)
        if kinds is None:
            raw_folds = list(self._splitter(groups).split(X, y, groups))
        else:
            raw_folds = self._split_by_kind(X, _label_kinds(y, column_or_1d(kinds)), groups)
        folds = []
        for number, (train, test) in enumerate(raw_folds):
            train, test = np.asarray(train), np.asarray(test)
            n_normal = int(np.sum(y[test] == 1))
            if n_normal in (0, len(test)):
                raise ValueError(
                    f"The test fold {number} holds {n_normal} normal and {len(test) - n_normal} "
                    "anomalous images. Each test fold needs both for roc_auc to be defined: use "
                    "fewer folds, or a cv that is shuffled and stratified, such as an int."
                )
            train = train[y[train] == 1]
            if len(train) == 0:
                raise ValueError(f"The training fold {number} holds no normal image (y = 1).")
            if groups is not None:
                self._check_groups(groups[train], groups[test], number)
            folds.append((train, test))
        return iter(folds)

    def get_n_splits(
        self, X: Any = None, y: Any = None, groups: Any = None, kinds: Any = None
    ) -> int:
        """Return the number of folds.

        Parameters
        ----------
        X : object, default=None
            Passed on to the splitter `cv`.
        y : object, default=None
            Passed on to the splitter `cv`.
        groups : object, default=None
            Passed on to the splitter `cv`.
        kinds : object, default=None
            Ignored: the number of folds does not depend on it.

        Returns
        -------
        int
            The number of folds.
        """
        return self._splitter(groups).get_n_splits(X, y, groups)

    def get_metadata_routing(self) -> MetadataRequest:
        """Return the metadata request: `kinds`, and `groups` if the splitter `cv` takes them.

        Returns
        -------
        sklearn.utils.metadata_routing.MetadataRequest
            The request.
        """
        request = super().get_metadata_routing()
        if not self._makes_its_own_folds():
            splitter = get_routing_for_object(self._splitter())
            is_default = request.split.requests.get("groups") is True
            if is_default and not splitter.consumes("split", ["groups"]):
                request.split.add_request(param="groups", alias=None)
        return request

    def _makes_its_own_folds(self) -> bool:
        return isinstance(self.cv, numbers.Integral) and not isinstance(self.cv, bool)

    def _splitter(self, groups: Any = None) -> Any:
        if self._makes_its_own_folds():
            stratified = StratifiedKFold if groups is None else StratifiedGroupKFold
            return stratified(int(self.cv), shuffle=True, random_state=self.random_state)
        return check_cv(self.cv)

    def _split_by_kind(
        self, X: Any, labels: np.ndarray, groups: np.ndarray | None
    ) -> list[tuple[np.ndarray, np.ndarray]]:
        """Folds stratified by the labels, which are 0 for normal images."""
        splitter = self._splitter(groups)
        if not self._makes_its_own_folds():
            return list(splitter.split(X, labels, groups))
        # StratifiedKFold distributes classes in their order of appearance. With normal images
        # first, the numbers of anomalies in the folds differ by one at most.
        order = np.argsort(labels, kind="stable")
        groups = None if groups is None else groups[order]
        with warnings.catch_warnings():
            # Kinds of defects may be rarer than folds.
            warnings.filterwarnings("ignore", message="The least populated class in y")
            folds = list(splitter.split(order, labels[order], groups))
        return [(np.sort(order[train]), np.sort(order[test])) for train, test in folds]

    def _check_groups(self, train: np.ndarray, test: np.ndarray, number: int) -> None:
        shared = np.intersect1d(train, test)
        if len(shared):
            raise ValueError(
                f"The fold {number} has images of the group '{shared[0]}' in its training and its "
                f"test set: cv={self.cv!r} does not keep groups together. Use an int, or a "
                "splitter that takes groups, such as StratifiedGroupKFold."
            )


def _label_kinds(y: np.ndarray, kinds: np.ndarray) -> np.ndarray:
    """0 for normal images, and a number from 1 on for each kind of defect."""
    labels = np.zeros(len(y), dtype=np.intp)
    anomalous = y == -1
    # As text, so that a missing kind can stand among names.
    labels[anomalous] = 1 + np.unique(kinds[anomalous].astype(str), return_inverse=True)[1]
    return labels
