"""Set the thresholds of a model from new good images.

This is useful after a change of light or camera. The network is not changed, so that it is much
faster than training.

example:
  skanomaly calibrate model.safetensors photos/good-today
  skanomaly calibrate model.safetensors photos/good-today --output new.safetensors
"""

from __future__ import annotations

import argparse
import json
from typing import Any

from sklearn.frozen import FrozenEstimator

from .._command_line import user_path
from .._files import check_output_file
from ..datasets import load_image_folder
from ..model_selection import ConformalDetector
from ._arguments import (
    add_command,
    add_good_folder,
    add_json,
    add_model,
    check_model_apart,
    fraction,
    refuse_dataset,
)
from ._model_file import load_model


def add_parser(commands: Any) -> None:
    """Add the command to the parser."""
    help = "set the thresholds of a model from new good images"
    parser = add_command(commands, "calibrate", run, help, __doc__)
    add = parser.add_argument
    add_model(parser)
    add_good_folder(parser)
    add(
        "--false-alarms",
        metavar="FRACTION",
        type=fraction,
        help="fraction of the good images that may be flagged (default: the contamination, or the "
        "alpha of a ConformalDetector, that the model was fitted with)",
    )
    add("--output", metavar="NEW", type=user_path, help="output file (default: replace MODEL)")
    add("--force", action="store_true", help="overwrite NEW if it exists")
    add_json(parser)


def run(options: argparse.Namespace) -> None:
    """Calibrate a model."""
    output = options.output or options.model
    model = load_model(options.model)
    refuse_dataset(options.folder)
    images = load_image_folder(options.folder, size=model.size, mode=model.mode)
    paths = images.paths
    in_place = output.resolve() == options.model.resolve()
    check_output_file(output, "--output", exist_ok=options.force or in_place)
    check_model_apart(output, options.folder, paths)
    detector: Any = model.detector
    before = float(detector.offset_)
    is_conformal = isinstance(detector, ConformalDetector)
    if is_conformal and len(model.trained) > 1:
        raise ValueError(
            f"'{options.model}' holds a ConformalDetector with cv={detector.cv!r}, whose "
            "thresholds belong to its folds. Fit it without cv to calibrate it again."
        )
    if options.false_alarms is not None:
        name = "alpha" if is_conformal else "contamination"
        detector.set_params(**{name: options.false_alarms})
    if is_conformal:
        detector.set_params(detector=FrozenEstimator(model.trained[0])).fit(images)
        if not detector.false_alarm_bound_:
            raise ValueError(
                f"{len(paths)} good images are too few for a threshold at false alarms of "
                f"{detector.alpha}. Pass more images, or a larger --false-alarms."
            )
    else:
        detector.calibrate(images)
    detector.save(output)
    if options.json:
        result = {
            "model": str(output),
            "images": len(paths),
            "threshold_before": before,
            "threshold": float(detector.offset_),
            "map_threshold": float(detector.map_threshold_),
        }
        print(json.dumps(result))
    else:
        print(
            f"Threshold {detector.offset_:.4g}, before {before:.4g}, from {len(paths)} good "
            f"images. Wrote {output}"
        )
