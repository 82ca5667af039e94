"""A fitted detector with the inputs and outputs of an exported graph."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from .._arrays import integer_scale
from .._validation import LARGEST_IN_ROWS, LARGEST_PIXEL

OUTPUTS = ("anomaly_map", "predict_mask", "score_samples", "decision_function", "predict")


class DetectorGraph(nn.Module):
    """Compute a detector's maps, scores and decisions of images, channels last.

    Parameters
    ----------
    detector : BaseAutoencoderDetector
        Fitted. Its model is copied to the CPU.
    input_dtype : str
        Dtype of the images or rows that `forward` takes.
    """

    def __init__(self, detector: Any, input_dtype: str) -> None:
        super().__init__()
        self.is_image = len(detector.image_shape_) == 3
        self.model = copy.deepcopy(detector.model_).cpu().eval().requires_grad_(False)
        # Rows are computed in double precision, as by the detector.
        self.model.network.to(torch.float32 if self.is_image else torch.float64)
        self.white = integer_scale(np.dtype(input_dtype)) if self.is_image else 1.0
        self.largest = LARGEST_PIXEL if self.is_image else LARGEST_IN_ROWS

    def forward(self, X: Tensor) -> tuple[Tensor, ...]:
        """(n, h, w[, c]) or (n, n_features) → ``OUTPUTS``, floats in float32."""
        values = X.double()
        if self.is_image:
            images = X.unsqueeze(1) if X.ndim == 3 else X.permute(0, 3, 1, 2)
            # Quotients in float32, as in the detector. Sums in float64: onnxruntime adds value by
            # value, and means of whole images would lose digits.
            values = (images.float() / self.white).double()
        maps, scores = self.model(values)
        masks = maps > self.model.map_threshold
        decisions = scores - self.model.offset
        if X.is_floating_point():
            # The outcome of NaN in onnxruntime is undefined, but it must never look normal. Nor
            # must values that the detector refuses, which may overflow.
            bad = ~(values.flatten(1).abs() <= self.largest).all(1)
            scores = scores.masked_fill(bad, -torch.inf)
            decisions = decisions.masked_fill(bad, -torch.inf)
            masks = masks | bad.view(-1, *[1] * (masks.ndim - 1))
        return (
            maps.float(),
            masks,
            scores.float(),
            decisions.float(),
            torch.where(decisions < 0, -1, 1),
        )
