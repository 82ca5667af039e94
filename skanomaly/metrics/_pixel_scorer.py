"""Pixel metrics as scikit-learn scorers, with masks passed by metadata routing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sklearn.utils.metadata_routing import MetadataRequest

from .._estimators import find_method


def make_pixel_scorer(score_func: Callable[..., float], **kwargs: Any) -> _PixelScorer:
    """Make a scikit-learn scorer from a metric over masks and anomaly maps.

    The scorer is called as `scorer(estimator, X, y=None, masks=masks)` and gives `score_func(masks,
    estimator.anomaly_map(X))`. It asks for the metadata `masks` by itself, so that with metadata
    routing on, `masks` given to `GridSearchCV.fit`, or to `cross_validate` in `params`, reach it,
    fold by fold.

    Parameters
    ----------
    score_func : callable
        Called as `score_func(masks, maps, **kwargs)`; must return a number, higher is better.
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
    pixel_roc_auc_score, pixel_average_precision_score, per_region_overlap_score : Metrics to make a
        scorer of.

    Notes
    -----
    In a :class:`sklearn.pipeline.Pipeline`, X goes through the steps before the last, and the last
    step makes the map.

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
    """Callable that scores the anomaly maps of an estimator against masks."""

    def __init__(self, score_func: Callable[..., float], kwargs: dict[str, Any]) -> None:
        self._score_func = score_func
        self._kwargs = kwargs
        self._masks_request: bool | str | None = True

    def __call__(self, estimator: Any, X: Any, y: Any = None, masks: Any = None) -> float:
        """Score the anomaly maps of `X` against `masks`.

        Parameters
        ----------
        estimator : object
            A fitted detector with the method `anomaly_map`, or a pipeline or search that ends in
            one.
        X : array-like of shape (n, h, w) or (n, h, w, c), or ImageSequence
            The images.
        y : object, default=None
            Ignored.
        masks : array-like of shape (n, h, w) or list of n array-likes of shape (h, w)
            Where the images are defective.

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
                "This scorer needs 'masks', and got None. In cross-validation, turn on metadata "
                "routing with sklearn.set_config(enable_metadata_routing=True), and pass masks=... "
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
        """Set under which name `masks` are routed to this scorer.

        Parameters
        ----------
        masks : bool, str or None, default=True
            True for the name `masks`, a str for another name, as in scikit-learn's own scorers.

        Returns
        -------
        self
        """
        self._masks_request = masks
        return self

    def get_metadata_routing(self) -> MetadataRequest:
        """Say that this scorer takes `masks`.

        Returns
        -------
        sklearn.utils.metadata_routing.MetadataRequest
            The request.
        """
        request = MetadataRequest(owner=self)
        request.score.add_request(param="masks", alias=self._masks_request)
        return request
