"""What a fitted detector computes, as one module that torch can export."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from ..detectors._images import integer_scale
from ..networks import ConvolutionalAutoencoder
from ..scoring import aggregate, difference_map, frame_sums, smooth

OUTPUTS = ("anomaly_map", "predict_mask", "score_samples", "decision_function", "predict")


class DetectorGraph(nn.Module):
    """From images to a detector's maps, scores and decisions.

    Parameters
    ----------
    detector : BaseAutoencoderDetector
        Fitted. Its network is copied, to the CPU.
    input_dtype : str
        Of the images or rows that `forward` gets.
    """

    network: nn.Module
    expected: Tensor

    def __init__(self, detector: Any, input_dtype: str) -> None:
        super().__init__()
        self.is_image = len(detector.image_shape_) == 3
        # Rows are computed in double precision, as by the detector.
        precision = torch.float32 if self.is_image else torch.float64
        network = copy.deepcopy(detector.network_).to("cpu", precision)
        self.network = network.eval().requires_grad_(False)
        self.register_buffer("expected", torch.from_numpy(detector.expected_map_).to(precision))
        self.white = integer_scale(np.dtype(input_dtype)) if self.is_image else 1.0
        self.standardization = detector._standardization
        self.smoothing = (detector.smoothing_size, detector.smoothing_passes)
        self.surroundings = detector._surroundings
        self.frame_term = detector._frame_term
        self.score_aggregation = detector.score_aggregation
        self.map_threshold = float(detector.map_threshold_)
        self.offset = float(detector.offset_)

    def forward(self, X: Tensor) -> tuple[Tensor, ...]:
        """(n, h, w[, c]) or (n, n_features) → ``OUTPUTS``, numbers in float32."""
        maps = self._maps_of_images(X) if self.is_image else self._maps_of_rows(X)
        scores = -_aggregate(maps, self.score_aggregation)
        decisions = scores - self.offset
        return (
            maps.float(),
            maps > self.map_threshold,
            scores.float(),
            decisions.float(),
            torch.where(decisions < 0, -1, 1),
        )

    def _maps_of_rows(self, rows: Tensor) -> Tensor:
        rows = self.standardization.apply(rows.double())[0]
        return difference_map(rows, self.network(rows)) / self.expected

    def _maps_of_images(self, images: Tensor) -> Tensor:
        images = images.unsqueeze(1) if images.ndim == 3 else images.permute(0, 3, 1, 2)
        channels = images.shape[1]
        # onnxruntime adds value by value, which costs digits of float32 in means of whole images.
        values = (images.float() / self.white).double()
        shift, scale = self.standardization.of_dataset(values)
        frame = frame_sums((values - shift) / scale)
        images = self.standardization.apply(values)[0]
        images = self.standardization.represent(images).float()
        pair = images.double(), self._reconstruct(images).double()
        parts = zip(*(tensor.split(channels, 1) for tensor in pair), strict=True)
        maps = [smooth(difference_map(*part), *self.smoothing) for part in parts]
        # `resize_map` asks whether the size is another one; at the same size this changes nothing.
        # In float32, as onnxruntime resizes in no other.
        expected = functional.interpolate(
            self.expected.unsqueeze(0), size=images.shape[2:], mode="bilinear", align_corners=False
        )
        ratio = (torch.stack(maps, dim=1) / expected.double()).mean(1)
        ratio = ratio if self.surroundings is None else self.surroundings.apply(ratio)
        scores = _aggregate(ratio, self.score_aggregation)
        return ratio * self.frame_term.factor(frame, scores)

    def _reconstruct(self, images: Tensor) -> Tensor:
        if not isinstance(self.network, ConvolutionalAutoencoder):
            return self.network(images)
        # The network's own padding asks whether it is needed; given whole multiples it is not.
        height, width = images.shape[2:]
        padded, stride = images, self.network.stride
        for axis, side in enumerate((height, width), start=2):
            places = torch.arange((side + stride - 1) // stride * stride, device=images.device)
            padded = padded.index_select(axis, places.clamp(max=side - 1))
        return self.network(padded)[..., :height, :width]


def _aggregate(maps: Tensor, aggregation: str | float) -> Tensor:
    flat = maps.flatten(1)
    places: Any = flat.shape[1]
    if isinstance(aggregation, str) or isinstance(places, int):
        return aggregate(maps, aggregation)
    # A share of an unknown number of places has to be rounded by the graph.
    share = torch.tensor(float(aggregation), dtype=torch.float64)
    count = (share * torch.scalar_tensor(places, dtype=torch.float64)).round().clamp(min=1)
    largest: Any = count.long().item()
    torch._check(largest >= 1)
    torch._check(largest <= places)
    return torch.topk(flat, largest, dim=1).values.mean(1)
