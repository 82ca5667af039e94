"""Detect artificial defects on real textures, and draw a figure.

Train a detector on good images of each of three textures that are part of scikit-image, detect
artificial defects in test images, print metrics and draw a figure. Takes up to three minutes on two
cores. The figure needs matplotlib: pip install "skanomaly[plot]"

example:
  skanomaly demo
  skanomaly demo --max-iter 100 --output quick.png
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score, roc_auc_score
from sklearn.utils import Bunch

from .._command_line import (
    add_shared_options,
    integer,
    print_message,
    user_path,
    wants_progress,
)
from .._files import atomic_write, check_output_file
from ..datasets import make_textured_surfaces
from ..detectors import SelfSupervisedAutoencoderDetector
from ..inspection import AnomalyMapDisplay
from ..inspection._images import SMALL, load_matplotlib
from ..metrics import pixel_average_precision_score, pixel_roc_auc_score
from ._arguments import add_command, add_seed
from ._progress import training_callbacks

_TEXTURES = ("brick", "grass", "gravel")
_KINDS = ("crack", "stain", "smear", "hole", "foreign")
# The photographs look alike when flipped or rotated.
_AUGMENTATION = ("flip_horizontal", "flip_vertical", "rotate")
_IMAGE_METRICS = (roc_auc_score, average_precision_score)
_PIXEL_METRICS = (pixel_roc_auc_score, pixel_average_precision_score)
_COLUMNS = ("image AUROC", "image AP", "pixel AUROC", "pixel AP")


def add_parser(commands: Any) -> None:
    """Add the command to the parser."""
    help = "detect artificial defects on real textures"
    parser = add_command(commands, "demo", run, help, __doc__)
    add = parser.add_argument
    add(
        "--output",
        metavar="FIGURE",
        type=user_path,
        default=Path("demo.png"),
        help="file of the figure, overwritten if it exists (default: demo.png)",
    )
    add(
        "--max-iter",
        metavar="N",
        type=integer(1),
        default=450,
        help="number of training steps per texture (default: 450)",
    )
    add_seed(parser)
    add(
        "--image-size",
        metavar="PIXELS",
        type=integer(16, 256),
        default=96,
        help="side of the images in pixels, from 16 to 256 (default: 96)",
    )
    add_shared_options(parser)


def run(options: argparse.Namespace) -> None:
    """Run the demo."""
    figure = _open_figure(options.output)
    blocks = [] if figure is None else figure.subfigures(1, len(_TEXTURES), wspace=0.02)
    start = time.monotonic()
    if not options.json:
        print(f"{'':8}" + "".join(f"{column:>13}" for column in _COLUMNS), flush=True)
    table = []
    for index, texture in enumerate(_TEXTURES):
        data = make_textured_surfaces(
            texture, image_size=options.image_size, random_state=options.seed
        )
        detector = SelfSupervisedAutoencoderDetector(
            max_iter=options.max_iter, augmentation=_AUGMENTATION, random_state=options.seed
        )
        shown = wants_progress(options)
        callbacks = training_callbacks(texture, options.max_iter, shown=shown, bar=not options.json)
        detector.set_callbacks(*callbacks).fit(data.X_train)
        found = detector.detect(data.X_test)
        is_defective = data.y_test == -1
        table.append(
            [metric(is_defective, -found.score_samples) for metric in _IMAGE_METRICS]
            + [metric(data.masks_test, found.anomaly_map) for metric in _PIXEL_METRICS]
        )
        if not options.json:
            _print_row(texture, table[-1])
        if figure is not None:
            _draw(blocks[index], index, data, detector, found.anomaly_map)
    seconds = time.monotonic() - start
    if figure is not None:
        kind = options.output.suffix[1:].lower()
        with atomic_write(options.output) as aside:
            figure.savefig(aside, dpi=130, format=kind)
    if options.json:
        textures = {
            texture: dict(zip(_COLUMNS, row, strict=True))
            for texture, row in zip(_TEXTURES, table, strict=True)
        }
        output = None if figure is None else str(options.output)
        print(json.dumps({"textures": textures, "seconds": seconds, "output": output}))
        return
    _print_row("mean", np.mean(table, axis=0))
    print("AP is the average precision; defects are the positive class.")
    print(f"Training and evaluation took {seconds:.0f} s.")
    if figure is not None:
        print(f"Wrote {options.output}")


def _open_figure(output: Path) -> Any:
    """Create the figure, and check before training that it can be written."""
    try:
        figure = load_matplotlib("figure").Figure(figsize=(10.2, 4.2), layout="constrained")
    except ImportError as error:
        print_message(f"skanomaly: no figure will be written. {error}")
        return None
    suffixes = figure.canvas.get_supported_filetypes()
    if output.suffix[1:].lower() not in suffixes:
        raise ValueError(
            f"--output must end in one of {', '.join(f'.{s}' for s in suffixes)}, got '{output}' "
            "instead."
        )
    check_output_file(output, "--output")
    return figure


def _print_row(name: str, values: Any) -> None:
    print(f"{name:8}" + "".join(f"{value:13.3f}" for value in values), flush=True)


def _draw(block: Any, index: int, data: Bunch, detector: Any, maps: NDArray[np.float64]) -> None:
    """Draw a good test image and two with defects, of other kinds for each texture."""
    kinds = ["good", *(_KINDS[(2 * index + turn) % len(_KINDS)] for turn in range(2))]
    # If a kind is missing, as for small images, argmax selects the first good image.
    chosen = [int(np.argmax(data.kinds_test == kind)) for kind in kinds]
    block.suptitle(_TEXTURES[index], fontsize=11, fontweight="bold")
    grid = block.subplots(3, len(chosen))
    AnomalyMapDisplay.from_predictions(
        data.X_test[chosen],
        maps[chosen],
        masks=data.masks_test[chosen],
        map_threshold=detector.map_threshold_,
        vmax=4 * detector.map_threshold_,
        names=list(data.kinds_test[chosen]),
        ax=grid[[0, 2]].T,
    )
    for ax, image in zip(grid[1], detector.reconstruct(data.X_test[chosen]), strict=True):
        ax.imshow(image, cmap="gray", vmin=0, vmax=255 if image.dtype == np.uint8 else 1)
        ax.set(xticks=[], yticks=[])
    if index == 0:
        for ax, label in zip(grid[:, 0], ("input", "reconstruction", "anomaly map"), strict=True):
            ax.set_ylabel(label, fontsize=SMALL)
