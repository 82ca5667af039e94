"""What all checks share: the device, the sizes, fitted detectors, and tolerances."""

import pickle
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import torch

from skanomaly import ContractiveAE, DenoisingAE, SelfSupervisedAutoencoderDetector
from skanomaly.datasets import make_textured_surfaces

ROOT = Path(__file__).parents[2]
# Largest difference between devices, as a fraction of the largest value.
TOLERANCES = {"float32": 1e-3, "float32 with TF32": 1e-2, "bfloat16": 5e-2}


class Skipped(Exception):
    """A check was left out, for the reason in its message."""


@dataclass
class Setting:
    """What the checks run on, when a part ends, and the figures that a check has found."""

    device: torch.device
    small: bool
    data: Path | None
    scratch: Path
    deadline: float = 0.0
    figures: dict = field(default_factory=dict)
    fit_errors: dict = field(default_factory=dict)

    @property
    def seconds_left(self):
        return self.deadline - time.monotonic()

    @cached_property
    def images(self):
        n_train, size = (6, 24) if self.small else (60, 64)
        return make_textured_surfaces("brick", image_size=size, n_train=n_train, random_state=0)

    @cached_property
    def rows(self):
        return self.images.X_train.reshape(len(self.images.X_train), -1)[:, :48] / 255

    def make(self, cls=SelfSupervisedAutoencoderDetector, **parameters):
        steps = 4 if self.small else 60
        shared = {"max_iter": steps, "batch_size": 4, "precision": "float32", "random_state": 0}
        return cls(**shared | {"device": str(self.device)} | parameters)

    @cached_property
    def fitted(self):
        """All detectors that could be fitted on the device, with what they are to score."""
        X, Z = self.images.X_test[: 6 if self.small else None], self.rows
        rgb = np.repeat(self.images.X_train[..., None], 3, axis=3) // [1, 2, 3]
        made = {
            "SelfSupervisedAutoencoderDetector": (self.make(), X),
            "DenoisingAE": (self.make(DenoisingAE), X),
            "ContractiveAE": (self.make(ContractiveAE), X),
            "ContractiveAE, reconstruction": (
                self.make(ContractiveAE, penalty="reconstruction"),
                X,
            ),
            "colour, dataset": (self.make(standardization="dataset"), rgb.astype(np.uint8)),
            "early stopping": (self.make(early_stopping=True, score_aggregation=0.05), X),
            "crops": (self.make(crop_size=16, augmentation=("rotate", "mixup")), X),
            "rows": (self.make(), Z),
            "rows, ContractiveAE": (self.make(ContractiveAE), Z),
        }
        fitted = {}
        for name, (detector, images) in made.items():
            try:
                fitted[name] = detector.fit(self.images.X_train if images is X else images), images
            except Exception as error:
                self.fit_errors[name] = f"{type(error).__name__}: {error}"
        return fitted


def on_device(detector, device, precision="float32"):
    """Copy of a fitted detector on another device."""
    copied = pickle.loads(pickle.dumps(detector))
    copied.set_params(device=str(device), precision=precision)
    return pickle.loads(pickle.dumps(copied))


def difference(found, expected):
    """Largest difference, as a fraction of the largest value."""
    found, expected = (np.asarray(each, dtype=float) for each in (found, expected))
    assert found.shape == expected.shape, (found.shape, expected.shape)
    return float(np.abs(found - expected).max() / max(np.abs(expected).max(), 1e-12))


def require(value, limit, what):
    assert value <= limit, f"{what}: {value:.2g}, where at most {limit:g} is accepted"
    return value


@contextmanager
def tf32(is_on):
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = is_on
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = before
