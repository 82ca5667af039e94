"""Pixel metrics as scikit-learn scorers, with masks passed through metadata routing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sklearn.utils.metadata_routing import MetadataRequest

from .._estimators import find_method


def make_pixel_scorer(score_func: Callable[..., float], **kwargs: Any) -> _PixelScorer:
    """Make a scikit-learn scorer from a metric of masks and anomaly maps.

    The scorer is called as `scorer(estimator, X, y=None, masks=masks)` and returns
    `score_func(masks, estimator.anomaly_map(X))`. It requests the metadata `masks`: with metadata
    routing enabled, `masks` passed to `GridSearchCV.fit`, or to `cross_validate` in `params`, are
    routed to it, fold by fold.

    Parameters
    ----------
    score_func : callable
        Called as `score_func(masks, maps, **kwargs)`; returns a number, higher is better.
    **kwargs : dict
        Further arguments of `score_func`.

    Returns
    -------
    callable
        The scorer. It can be pickled if `score_func` can.

    Raises
    ------
    TypeError
        If `score_func` is not callable.

    See Also
    --------
    pixel_roc_auc_score, pixel_average_precision_score, per_region_overlap_score : Metrics that can
        be passed as `score_func`.

    Notes
    -----
    A :class:`sklearn.pipeline.Pipeline` transforms X by its first steps, and the last step computes
    the maps.

    Examples
    --------
    >>> import numpy as np
    >>> from skanomaly.metrics import make_pixel_scorer, pixel_roc_auc_score
    >>> class BrightnessDetector:
    ...     def anomaly_map(self, X):
    ...         return np.asarray(X, dtype=float)
    >>> X = np.array([[[10, 20], [15, 90]]], dtype=np.uint8)
    >>> scorer = make_pixel_scorer(pixel_roc_auc_score)
    >>> scorer(BrightnessDetector(), X, masks=X > 50)
    1.0
    """
    if not callable(score_func):
        raise TypeError(
            "The 'score_func' parameter must be a callable score_func(masks, maps). Got "
            f"{score_func!r} instead."
        )
    return _PixelScorer(score_func, kwargs)


class _PixelScorer:
    """Callable that compares the anomaly maps of an estimator with masks."""

    def __init__(self, score_func: Callable[..., float], kwargs: dict[str, Any]) -> None:
        self._score_func = score_func
        self._kwargs = kwargs
        self._masks_request: bool | str | None = True

    def __call__(self, estimator: Any, X: Any, y: Any = None, masks: Any = None) -> float:
        """Compare the anomaly maps of `X` with `masks`.

        Parameters
        ----------
        estimator : object
            A fitted detector with `anomaly_map`, or a pipeline or search that ends in one.
        X : array-like of shape (n, h, w) or (n, h, w, c), or ImageSequence
            The images.
        y : object, default=None
            Ignored.
        masks : array-like of shape (n, h, w) or list of n array-likes of shape (h, w)
            True where an image is defective.

        Returns
        -------
        float
            The score.

        Raises
        ------
        ValueError
            If there are no masks.
        AttributeError
            If the estimator has no `anomaly_map`.
        """
        if masks is None:
            raise ValueError(
                "This scorer needs 'masks', and got None. In cross-validation, enable metadata "
                "routing by sklearn.set_config(enable_metadata_routing=True), and pass masks=... "
                "to the fit method of the search, or params={'masks': ...} to cross_validate."
            )
        anomaly_map = find_method(estimator, "anomaly_map")
        if anomaly_map is None:
            raise AttributeError(
                f"{type(estimator).__name__} has none of the following attributes: anomaly_map. A "
                "pixel scorer needs a detector with this method, or a Pipeline that ends in one."
            )
        return self._score_func(masks, anomaly_map(X), **self._kwargs)

    def __repr__(self) -> str:
        name = getattr(self._score_func, "__name__", repr(self._score_func))
        kwargs = "".join(f", {key}={value!r}" for key, value in self._kwargs.items())
        return f"make_pixel_scorer({name}{kwargs})"

    def set_score_request(self, *, masks: bool | str | None = True) -> _PixelScorer:
        """Set the name under which `masks` are routed to this scorer.

        Parameters
        ----------
        masks : bool, str or None, default=True
            True for the name `masks`, a str for another name, as in scikit-learn's scorers.

        Returns
        -------
        self
        """
        self._masks_request = masks
        return self

    def get_metadata_routing(self) -> MetadataRequest:
        """Return the metadata request of this scorer, which is for `masks`.

        Returns
        -------
        sklearn.utils.metadata_routing.MetadataRequest
        """
        request = MetadataRequest(owner=self)
        request.score.add_request(param="masks", alias=self._masks_request)
        return request
