"""What a program of a user may look like; it is checked, and never run."""

from pathlib import Path
from typing import assert_type

import numpy as np
from numpy.typing import NDArray

from skanomaly import ContractiveAE, DenoisingAE, PatchCorruption, SelfSupervisedAutoencoderDetector
from skanomaly.datasets import ImageSequence, load_image_folder
from skanomaly.export import to_onnx
from skanomaly.inspection import overlay_anomaly_map
from skanomaly.metrics import per_region_overlap_score
from skanomaly.model_selection import ConformalDetector, NormalOnlySplit


def score_folder(good: Path, new: Path, masks: NDArray[np.bool_]) -> float:
    """Train on a folder, score another one."""
    images = load_image_folder(good, size=128)
    assert_type(images, ImageSequence)
    detector = SelfSupervisedAutoencoderDetector(
        max_iter=600, corruption=PatchCorruption(radius=(0.05, 0.2)), random_state=0
    )
    detector.fit(images)
    unseen = load_image_folder(new, size=(128, 96))
    assert_type(detector.score_samples(unseen), NDArray[np.float64])
    assert_type(detector.predict(unseen), NDArray[np.int64])
    assert_type(detector.predict_mask(unseen), NDArray[np.bool_])
    maps = detector.anomaly_map(unseen)
    assert_type(maps, NDArray[np.float64])
    overlay_anomaly_map(np.asarray(unseen)[0], maps[0], threshold=detector.map_threshold_)
    to_onnx(detector, good / "detector.onnx")
    return per_region_overlap_score(masks, maps)


def compare(images: NDArray[np.uint8]) -> list[NDArray[np.float64]]:
    """Calibrate the baselines."""
    detectors = [DenoisingAE(noise=0.5), ContractiveAE(penalty="encoder")]
    calibrated = [ConformalDetector(detector, alpha=0.01) for detector in detectors]
    for detector in calibrated:
        detector.fit(images)
    return [detector.p_values(images) for detector in calibrated]


def folds(labels: NDArray[np.int64]) -> int:
    """Count folds."""
    return len(list(NormalOnlySplit(3).split(labels, labels)))
