"""``skanomaly info``: what a model file holds."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from ..model_selection import ConformalDetector
from ._model_file import finite, load_model


def add_parser(commands: Any) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "info",
        help="say what a model file holds",
        description="Say how a model reads images, its thresholds and its parameters.",
        epilog="example:\n  skanomaly info model.safetensors",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("model", metavar="MODEL", type=Path, help="file that 'skanomaly fit' wrote")
    parser.add_argument(
        "--json", action="store_true", help="print the result as one JSON object, and nothing else"
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Print what a model file holds."""
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
