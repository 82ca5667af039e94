"""Show how a model reads images, its thresholds and its parameters.

example:
  skanomaly info model.safetensors
"""

from __future__ import annotations

import argparse
import json
from typing import Any

from .._command_line import finite
from ..model_selection import ConformalDetector
from ._arguments import add_command, add_json, add_model
from ._model_file import load_model


def add_parser(commands: Any) -> None:
    """Add the command to the parser."""
    help = "show the contents of a model file"
    parser = add_command(commands, "info", run, help, __doc__)
    add_model(parser)
    add_json(parser)


def run(options: argparse.Namespace) -> None:
    """Print the contents of a model file."""
    model = load_model(options.model)
    detector = model.detector
    networks = [each.network_ for each in model.trained]
    facts: dict[str, Any] = {
        "detector": type(detector).__name__,
        "size": model.size,
        "mode": model.mode,
        "steps": sum(each.n_iter_ for each in model.trained),
        "threshold": float(detector.offset_),
        "map_threshold": float(detector.map_threshold_),
        "network_parameters": sum(each.numel() for net in networks for each in net.parameters()),
    }
    if isinstance(detector, ConformalDetector):
        facts |= {
            "calibrated": f"{len(networks)} × {type(model.trained[0]).__name__}",
            "calibration_images": sum(map(len, detector.calibration_scores_)),
            "false_alarm_bound": detector.false_alarm_bound_,
        }
    parameters = {
        name: value
        if isinstance(value, (bool, int, float, str, type(None)))
        else " ".join(repr(value).split())
        for name, value in detector.get_params(deep=False).items()
    }
    if options.json:
        facts = {name: finite(value) for name, value in facts.items()}
        print(json.dumps({**facts, "parameters": parameters}))
        return
    height, width = model.size
    for name, value in (facts | {"size": f"{height} × {width} pixels (height × width)"}).items():
        print(f"{name.replace('_', ' '):20}{value}")
    print("parameters")
    for name, value in parameters.items():
        print(f"  {name:22}{value!r}")
