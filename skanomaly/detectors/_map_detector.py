"""What a fitted detector computes: maps, and scores and decisions from them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import DTypeLike, NDArray
from sklearn.base import OutlierMixin
from sklearn.utils import Bunch
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from .._memory import require_memory
from ..scoring import FrameTerm, Surroundings, aggregate, leave_one_out, resize_map
from ._images import Shape, ValidatedInput, normalize_image_shape, to_image_dtype, validate_input
from ._inference import (
    Piece,
    assemble,
    fill,
    reconstruct_in_batches,
    reconstruction_function,
    reconstruction_in_own_range,
    smoothed_difference_map,
    weigh_by_tiles,
)
from ._parameters import SharedParameters
from ._standardization import Standardization


class MapDetector(OutlierMixin, SharedParameters):
    """What is computed of new images once all below is learned."""

    network_: torch.nn.Module
    device_: torch.device
    image_shape_: Shape
    expected_map_: NDArray[np.float64]
    offset_: float
    map_threshold_: float
    _standardization: Standardization
    _surroundings: Surroundings | None
    _frame_term: FrameTerm | None

    def score_samples(self, X: Any) -> NDArray[np.float64]:
        """Score images; higher is more normal.

        Parameters
        ----------
        X : array-like or ImageSequence
            Images or rows as in `fit`; images may be of another size.

        Returns
        -------
        ndarray of shape (n,), float64
            Minus the aggregate of the anomaly map, at most 0.
        """
        data = self._validate(X)
        # Numbers, not tensors: small tensors kept between large ones scatter the heap, which then
        # grows with every batch.
        scores: list[float] = []
        for maps in self._maps(data):
            scores.extend(aggregate(maps, self.score_aggregation).tolist())
        return -np.array(scores)

    def decision_function(self, X: Any) -> NDArray[np.float64]:
        """Score images against the threshold; 0 and above is normal.

        Parameters
        ----------
        X : array-like or ImageSequence
            Images or rows as in `fit`.

        Returns
        -------
        ndarray of shape (n,), float64
            ``score_samples(X) - offset_``.
        """
        return self.score_samples(X) - self.offset_

    def predict(self, X: Any) -> NDArray[np.int64]:
        """Tell normal images from anomalous ones.

        Parameters
        ----------
        X : array-like or ImageSequence
            Images or rows as in `fit`.

        Returns
        -------
        ndarray of shape (n,), int64
            1 for normal, -1 for anomalous.
        """
        return np.where(self.decision_function(X) < 0, -1, 1)

    def anomaly_map(self, X: Any) -> NDArray[np.float64]:
        """Show where each image is anomalous.

        Parameters
        ----------
        X : array-like or ImageSequence
            Images or rows as in `fit`.

        Returns
        -------
        ndarray of shape (n, h, w) or (n, n_features), float64
            At least 0, higher is more anomalous; in multiples of the mean squared difference in
            normal images, weighed by the surroundings of each pixel with ``region_size``. With
            ``normalize_map=False``, in squared standard deviations.

        Raises
        ------
        MemoryError
            If the maps surely take more memory than is free.
        """
        data = self._validate(X)
        return fill(
            _empty(data.map_shape, np.float64, "anomaly maps"),
            (maps.cpu().numpy() for maps in self._maps(data)),
        )

    def predict_mask(self, X: Any) -> NDArray[np.bool_]:
        """Mark the anomalous places of each image.

        Parameters
        ----------
        X : array-like or ImageSequence
            Images or rows as in `fit`.

        Returns
        -------
        ndarray of shape (n, h, w) or (n, n_features), bool
            Where the anomaly map exceeds ``map_threshold_``.

        Raises
        ------
        MemoryError
            If the masks surely take more memory than is free.
        """
        data = self._validate(X)
        masks = ((maps > self.map_threshold_).cpu().numpy() for maps in self._maps(data))
        return fill(_empty(data.map_shape, np.bool_, "masks"), masks)

    def detect(self, X: Any) -> Bunch:
        """Compute scores, decisions, maps and masks from one pass through the network.

        Parameters
        ----------
        X : array-like or ImageSequence
            Images or rows as in `fit`.

        Returns
        -------
        Bunch
            With ``score_samples``, ``decision_function``, ``predict``, ``anomaly_map`` and
            ``predict_mask``: what the methods of these names return.

        Raises
        ------
        MemoryError
            If maps and masks surely take more memory than is free: see `detect_batches`.
        """
        data = self._validate(X)
        maps = _empty(data.map_shape, np.float64, "anomaly maps")
        masks = _empty(data.map_shape, np.bool_, "masks")
        batches: list[Bunch] = []
        start = 0
        for batch in self._detect_batches(data):
            part = slice(start, start + len(batch.predict))
            maps[part], masks[part] = batch.pop("anomaly_map"), batch.pop("predict_mask")
            batches.append(batch)
            start = part.stop
        joined = {name: np.concatenate([batch[name] for batch in batches]) for name in batches[0]}
        return Bunch(**joined, anomaly_map=maps, predict_mask=masks)

    def detect_batches(self, X: Any) -> Iterator[Bunch]:
        """Compute what `detect` does batch by batch, in constant memory.

        Parameters
        ----------
        X : array-like or ImageSequence
            Images or rows as in `fit`. They are checked at once, and read as they are needed.

        Yields
        ------
        Bunch
            What `detect` returns, of the next images in the order of X.
        """
        return self._detect_batches(self._validate(X))

    def _detect_batches(self, data: ValidatedInput) -> Iterator[Bunch]:
        for maps in self._maps(data):
            scores = -aggregate(maps, self.score_aggregation).cpu().numpy()
            decisions = scores - self.offset_
            yield Bunch(
                score_samples=scores,
                decision_function=decisions,
                predict=np.where(decisions < 0, -1, 1),
                anomaly_map=maps.cpu().numpy(),
                predict_mask=(maps > self.map_threshold_).cpu().numpy(),
            )

    def reconstruct(self, X: Any) -> NDArray[Any]:
        """Compute what the network takes for normal.

        Parameters
        ----------
        X : array-like or ImageSequence
            Images or rows as in `fit`.

        Returns
        -------
        ndarray of X's shape, dtype and value range

        Raises
        ------
        MemoryError
            If the images surely take more memory than is free.
        """
        data = self._validate(X)
        own_range = partial(reconstruction_in_own_range, channels=data.shape[-1])
        batches = (values.cpu().numpy() for values in assemble(self._forward(data), own_range))
        dtype = np.dtype(np.float64)
        if data.is_image:
            dtype = data.source.dtype
            batches = (to_image_dtype(np.moveaxis(b, 1, -1), dtype) for b in batches)
        values = fill(_empty((len(data), *data.shape), dtype, "reconstructions"), batches)
        return values.reshape(X.shape if hasattr(X, "shape") else np.shape(X))

    def _validate(self, X: Any) -> ValidatedInput:
        check_is_fitted(self, "network_")
        return validate_input(
            self,
            X,
            image_shape=normalize_image_shape(self.image_shape),
            fitted_shape=self.image_shape_,
        )

    def _forward(self, data: ValidatedInput) -> Iterator[Piece]:
        """Images and reconstructions, standardised, and what undoes that, piece by piece."""
        contrast = self._standardization.contrast_size or 0
        return reconstruct_in_batches(
            self.network_,
            data,
            self._standardization,
            device=self.device_,
            dtype=torch.bfloat16 if self.precision == "bfloat16" else torch.float32,
            margin=contrast // 2 + self.smoothing_passes * (self.smoothing_size // 2),
        )

    def _reconstruction(self, X: Any) -> tuple[Callable[[Tensor], Tensor], Tensor]:
        """The function f, which can be differentiated, and X as a tensor to put into it."""
        return reconstruction_function(
            self.network_, self._validate(X), self._standardization, device=self.device_
        )

    def _residual_map(self, piece: Piece) -> Tensor:
        """Smoothed difference maps of a piece: (b, k, h, w) or (b, 1, n_features)."""
        channels = piece.images.shape[1] - (self._standardization.contrast_size is not None)
        return smoothed_difference_map(piece, channels, self.smoothing_size, self.smoothing_passes)

    def _residual_maps(self, data: ValidatedInput) -> Iterator[Tensor]:
        """Smoothed difference maps, batch by batch."""
        return assemble(self._forward(data), self._residual_map)

    def _maps(
        self,
        data: ValidatedInput,
        *,
        averaged: int | None = None,
        frames: list[list[float]] | None = None,
    ) -> Iterator[Tensor]:
        """Anomaly maps batch by batch: float64 (b, h, w) or (b, n_features).

        With ``averaged``, as if each image were not among the so many of the expected maps. In
        ``frames`` the sums of `frame_sums` are collected.
        """
        expected = torch.from_numpy(self.expected_map_)
        frame = torch.empty(0)

        def relative_map(piece: Piece) -> Tensor:
            nonlocal frame
            frame = piece.frame
            maps = self._residual_map(piece)
            size, part = maps.shape[2:], None
            if piece.tile is not None and not piece.tile.is_whole:
                size, part = torch.Size(piece.tile.size), piece.tile.kept
            ratio = maps / resize_map(expected.to(maps.device), size, part)
            if averaged is not None and self.normalize_map:
                ratio = leave_one_out(ratio, averaged)
            return ratio.mean(1)

        for ratio in assemble(self._forward(data), relative_map):
            if self._surroundings is not None:
                ratio = weigh_by_tiles(self._surroundings, ratio)
            if frames is not None:
                frames.extend(frame.tolist())
            if self._frame_term is not None:
                scores = aggregate(ratio, self.score_aggregation)
                ratio = ratio.mul_(self._frame_term.factor(frame, scores))
            yield ratio


def _empty(shape: Shape, dtype: DTypeLike, what: str) -> NDArray[Any]:
    """An array for results, if there is memory for it."""
    require_memory(
        math.prod(shape) * np.dtype(dtype).itemsize,
        f"{what} of shape {shape}",
        "Pass fewer images at a time.",
    )
    return np.empty(shape, dtype)
