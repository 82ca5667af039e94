"""A baseline detector: reconstruction from principal components."""

from __future__ import annotations

from numbers import Integral, Real
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, OutlierMixin
from sklearn.decomposition import PCA
from sklearn.utils import check_array
from sklearn.utils._param_validation import Interval
from sklearn.utils.validation import check_is_fitted

from .._arrays import integer_scale


class PCAReconstruction(OutlierMixin, BaseEstimator):
    """Detect anomalies by the reconstruction error of a principal component analysis.

    A baseline for comparison: the map is the squared difference between an image and its projection
    onto the leading principal components, without smoothing.

    Parameters
    ----------
    n_components : int, float or None, default=0.95
        As in `sklearn.decomposition.PCA`: the number of components, or the fraction of explained
        variance.
    contamination : float, default=0.01
        Fraction of the training images below the threshold. The fraction of new normal images is
        larger, since they are reconstructed less well.
    random_state : int, RandomState instance or None, default=None
        Seed of `sklearn.decomposition.PCA`, which may use a randomised solver.

    Attributes
    ----------
    pca_ : sklearn.decomposition.PCA
        Fitted on flattened images from 0 to 1.
    offset_ : float
        Score below which an image is anomalous.

    Examples
    --------
    >>> from skanomaly.benchmark import PCAReconstruction
    >>> from skanomaly.datasets import make_bar_images
    >>> data = make_bar_images(n_test=20, random_state=0)
    >>> detector = PCAReconstruction(n_components=50).fit(data.X_train)
    >>> detector.anomaly_map(data.X_test).shape
    (40, 16, 16)
    """

    _parameter_constraints = {
        "n_components": [
            Interval(Integral, 1, None, closed="left"),
            Interval(Real, 0, 1, closed="neither"),
            None,
        ],
        "contamination": [Interval(Real, 0, 0.5, closed="both")],
        "random_state": ["random_state"],
    }

    def __init__(
        self,
        n_components: int | float | None = 0.95,
        *,
        contamination: float = 0.01,
        random_state: int | np.random.RandomState | None = None,
    ) -> None:
        self.n_components = n_components
        self.contamination = contamination
        self.random_state = random_state

    def fit(self, X: ArrayLike, y: Any = None) -> Self:
        """Learn the principal components.

        Parameters
        ----------
        X : array-like of shape (n, h, w), (n, h, w, c) or (n, n_features)
            Normal images, uint8 or float from 0 to 1, or rows.
        y : Ignored
            Not used, present for API consistency.

        Returns
        -------
        self : object
        """
        self._validate_params()
        rows, _ = _to_rows(X)
        self.pca_ = PCA(self.n_components, random_state=self.random_state).fit(rows)
        self.offset_ = float(np.quantile(self.score_samples(X), self.contamination))
        return self

    def anomaly_map(self, X: ArrayLike) -> NDArray[np.float64]:
        """Compute the squared difference between images and their projections.

        Parameters
        ----------
        X : array-like of shape (n, h, w), (n, h, w, c) or (n, n_features)
            Images or rows as in `fit`.

        Returns
        -------
        ndarray of shape (n, h, w) or (n, n_features), float64
            Squared difference, averaged over channels.
        """
        check_is_fitted(self, "pca_")
        rows, shape = _to_rows(X)
        squares = (rows - self.pca_.inverse_transform(self.pca_.transform(rows))) ** 2
        squares = squares.reshape(len(rows), *shape)
        return squares.mean(axis=-1) if len(shape) == 3 else squares

    def score_samples(self, X: ArrayLike) -> NDArray[np.float64]:
        """Return the negative mean of each map; higher is more normal.

        Parameters
        ----------
        X : array-like of shape (n, h, w), (n, h, w, c) or (n, n_features)
            Images or rows as in `fit`.

        Returns
        -------
        ndarray of shape (n,), float64
        """
        maps = self.anomaly_map(X)
        return -maps.reshape(len(maps), -1).mean(axis=1)

    def decision_function(self, X: ArrayLike) -> NDArray[np.float64]:
        """Return the score minus the threshold; 0 and above is normal.

        Parameters
        ----------
        X : array-like of shape (n, h, w), (n, h, w, c) or (n, n_features)
            Images or rows as in `fit`.

        Returns
        -------
        ndarray of shape (n,), float64
        """
        return self.score_samples(X) - self.offset_

    def predict(self, X: ArrayLike) -> NDArray[np.int64]:
        """Predict whether images are normal or anomalous.

        Parameters
        ----------
        X : array-like of shape (n, h, w), (n, h, w, c) or (n, n_features)
            Images or rows as in `fit`.

        Returns
        -------
        ndarray of shape (n,), int64
            1 for normal, -1 for anomalous.
        """
        return np.where(self.decision_function(X) < 0, -1, 1)


def _to_rows(X: ArrayLike) -> tuple[NDArray[np.float64], tuple[int, ...]]:
    """Return flattened images from 0 to 1, and the shape of one image."""
    images = check_array(X, ensure_2d=False, allow_nd=True, dtype=None)
    rows = images.reshape(len(images), -1) / integer_scale(images.dtype)
    return rows.astype(np.float64, copy=False), images.shape[1:]
