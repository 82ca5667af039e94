"""``skanomaly demo``: learn three textures, find artificial defects, draw a figure."""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score, roc_auc_score
from sklearn.utils import Bunch

from .._command_line import add_shared_options, integer, wants_progress
from .._files import check_output_file
from ..datasets import make_textured_surfaces
from ..detectors import SelfSupervisedAutoencoderDetector
from ..inspection import AnomalyMapDisplay
from ..inspection._images import SMALL, load_matplotlib
from ..metrics import pixel_average_precision_score, pixel_roc_auc_score
from ._progress import training_callbacks

_TEXTURES = ("brick", "grass", "gravel")
_KINDS = ("crack", "stain", "smear", "hole", "foreign")
_DEFAULT_STEPS = 300
# The photographs look alike whichever way they are turned.
_AUGMENTATION = ("flip_horizontal", "flip_vertical", "rotate")
_COLUMNS = ("image AUROC", "image AP", "pixel AUROC", "pixel AP")

_DESCRIPTION = """\
Learn three real textures that ship with scikit-image from good pieces alone, find artificial
defects on pieces not seen before, print how well, and draw a figure. Takes up to three minutes on
two cores. The figure needs matplotlib: pip install "skanomaly[plot]"
"""

_EPILOG = """\
example:
  skanomaly demo
  skanomaly demo --max-iter 100 --output quick.png
"""


def add_parser(commands: Any) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "demo",
        help="find artificial defects on real textures",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--output",
        metavar="FIGURE",
        type=Path,
        default=Path("demo.png"),
        help="file to draw the figure to, overwritten if it exists (default demo.png)",
    )
    parser.add_argument(
        "--max-iter",
        metavar="N",
        type=integer(1),
        default=_DEFAULT_STEPS,
        help=f"number of training steps for each texture (default {_DEFAULT_STEPS})",
    )
    parser.add_argument(
        "--seed", metavar="S", type=integer(0, 2**32 - 1), default=0, help="random seed (default 0)"
    )
    parser.add_argument(
        "--image-size",
        metavar="PIXELS",
        type=integer(16, 256),
        default=128,
        help="side of the pieces that the textures are cut into, from 16 to 256 (default 128)",
    )
    add_shared_options(parser)
    parser.set_defaults(run=run)


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
        detector.set_callbacks(
            *training_callbacks(
                texture, options.max_iter, shown=wants_progress(options), bar=not options.json
            )
        )
        detector.fit(data.X_train)
        found = detector.detect(data.X_test)
        table.append(_evaluate(data, found.score_samples, found.anomaly_map))
        if not options.json:
            _print_row(texture, table[-1])
        if figure is not None:
            _draw(blocks[index], texture, index, data, detector, found.anomaly_map)
    seconds = time.monotonic() - start
    if figure is not None:
        figure.savefig(options.output, dpi=130)
    if options.json:
        textures = {
            texture: dict(zip(_COLUMNS, row, strict=True))
            for texture, row in zip(_TEXTURES, table, strict=True)
        }
        output = None if figure is None else str(options.output)
        print(json.dumps({"textures": textures, "seconds": seconds, "output": output}))
        return
    _print_row("mean", np.mean(table, axis=0))
    print("AP, average precision, counts defects as positive.")
    print(f"{seconds:.0f} s for training and evaluation.")
    if figure is not None:
        print(f"Wrote {options.output}")


def _open_figure(output: Path) -> Any:
    """Make the figure, and find out before the training if it could not be written."""
    try:
        figure = load_matplotlib("figure").Figure(figsize=(10.2, 4.2), layout="constrained")
    except ImportError as error:
        print(f"skanomaly: no figure will be written. {error}", file=sys.stderr)
        return None
    suffixes = figure.canvas.get_supported_filetypes()
    if output.suffix[1:].lower() not in suffixes:
        raise ValueError(
            f"--output must end in one of {', '.join(f'.{s}' for s in suffixes)}, got '{output}'."
        )
    check_output_file(output, "--output")
    return figure


def _evaluate(
    data: Bunch, scores: NDArray[np.float64], maps: NDArray[np.float64]
) -> tuple[float, float, float, float]:
    is_defective = data.y_test == -1
    return (
        float(roc_auc_score(is_defective, -scores)),
        float(average_precision_score(is_defective, -scores)),
        pixel_roc_auc_score(data.masks_test, maps),
        pixel_average_precision_score(data.masks_test, maps),
    )


def _print_row(name: str, values: Any) -> None:
    print(f"{name:8}" + "".join(f"{value:13.3f}" for value in values), flush=True)


def _draw(
    block: Any,
    texture: str,
    index: int,
    data: Bunch,
    detector: SelfSupervisedAutoencoderDetector,
    maps: NDArray[np.float64],
) -> None:
    """Draw the first good test image and those of two kinds of defects, others for each texture."""
    kinds = ["good", *(_KINDS[(2 * index + turn) % len(_KINDS)] for turn in range(2))]
    # Small images may lack a kind: argmax then takes the first image of all, a good one.
    chosen = [int(np.argmax(data.kinds_test == kind)) for kind in kinds]
    block.suptitle(texture, fontsize=11, fontweight="bold")
    grid = block.subplots(3, len(chosen))
    AnomalyMapDisplay.from_predictions(
        data.X_test[chosen],
        maps[chosen],
        masks=data.masks_test[chosen],
        map_threshold=detector.map_threshold_,
        names=list(data.kinds_test[chosen]),
        ax=grid[[0, 2]].T,
    )
    for ax, image in zip(grid[1], detector.reconstruct(data.X_test[chosen]), strict=True):
        ax.imshow(image, cmap="gray", vmin=0, vmax=255 if image.dtype == np.uint8 else 1)
        ax.set(xticks=[], yticks=[])
    if index == 0:
        for ax, label in zip(grid[:, 0], ("input", "reconstruction", "anomaly map"), strict=True):
            ax.set_ylabel(label, fontsize=SMALL)
