"""Show how a model reads images, its thresholds and its parameters.

example:
  skanomaly info model.safetensors
"""

from __future__ import annotations

import argparse
import json
from typing import Any

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
    facts = {
        "detector": type(detector).__name__,
        "size": model.size,
        "mode": model.mode,
        "steps": detector.n_iter_,
        "threshold": float(detector.offset_),
        "map_threshold": float(detector.map_threshold_),
        "network_parameters": sum(each.numel() for each in detector.network_.parameters()),
    }
    parameters = {
        name: value
        if isinstance(value, (bool, int, float, str, type(None)))
        else " ".join(repr(value).split())
        for name, value in detector.get_params(deep=False).items()
    }
    if options.json:
        print(json.dumps({**facts, "parameters": parameters}))
        return
    height, width = model.size
    for name, value in (facts | {"size": f"{height} × {width} pixels (height × width)"}).items():
        print(f"{name.replace('_', ' '):20}{value}")
    print("parameters")
    for name, value in parameters.items():
        print(f"  {name:22}{value!r}")
