"""``skanomaly score``: from a model and a folder to a table and heat maps."""

from __future__ import annotations

import argparse
import csv
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from .._files import written_aside
from ..datasets import ImageSequence, load_image_folder
from ..inspection import overlay_anomaly_map
from ..scoring import aggregate
from ._model_file import Model, load_model
from ._progress import Lines

# Pixels of a batch: bounds the memory that is held however many images there are.
_BATCH_PIXELS = 2**20

_COLUMNS = ("path", "score", "decision_function", "decision")

_DESCRIPTION = """\
Score all images of a folder and its subfolders by a model that 'skanomaly fit' wrote. OUT gets

  scores.csv   for each image, sorted by path: path within FOLDER, score (higher is more normal),
               decision_function (score minus the model's threshold) and decision, 'anomalous'
               where decision_function is below 0 and 'normal' elsewhere
  overlays/    for each image, a PNG of its size in the same subfolder: the image, coloured where
               the anomaly map exceeds the model's threshold, on one scale for all images

Images are read batch by batch, so that a folder can hold any number of them.
"""

_EPILOG = """\
example:
  skanomaly score model.safetensors photos/new --output report
"""


def add_parser(commands: Any) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "score",
        help="score a folder of images and show where they are anomalous",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("model", metavar="MODEL", type=Path, help="file that 'skanomaly fit' wrote")
    parser.add_argument("folder", metavar="FOLDER", type=Path, help="folder of images to score")
    parser.add_argument(
        "--output", metavar="OUT", type=Path, required=True, help="folder to write to; is made"
    )
    parser.add_argument(
        "--force",
        action="store_true",
        help="write into OUT even if it holds something: files of the same names are overwritten, "
        "others stay",
    )
    parser.add_argument("--no-overlays", action="store_true", help="write scores.csv alone")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Score a folder."""
    model = load_model(options.model)
    paths = load_image_folder(options.folder).paths
    _make_output(options.output, options.folder, force=options.force)
    images = ImageSequence(paths, size=model.size, mode=model.mode)
    names = [path.relative_to(options.folder).as_posix() for path in paths]
    overlays = None if options.no_overlays else _overlay_paths(names, options.output / "overlays")

    table = options.output / "scores.csv"
    n_anomalous = 0
    lines = Lines("scoring", len(images), "image")
    with written_aside(table) as aside:
        # File names need not be valid text: what is not comes out as the bytes that went in.
        with aside.open("w", newline="", encoding="utf-8", errors="surrogateescape") as file:
            writer = csv.writer(file)
            writer.writerow(_COLUMNS)
            for index, score, decision, anomaly_map in _score(model, images):
                verdict = "normal" if decision >= 0 else "anomalous"
                n_anomalous += verdict == "anomalous"
                writer.writerow((names[index], repr(score), repr(decision), verdict))
                if overlays is not None:
                    _write_overlay(paths[index], overlays[index], anomaly_map, model)
                lines.show(index + 1)
    print(f"{n_anomalous} of {len(images)} images are anomalous. Wrote {table}")
    if overlays is not None:
        print(f"Wrote {len(overlays)} overlays to {options.output / 'overlays'}")


def _make_output(output: Path, folder: Path, *, force: bool) -> None:
    if output.resolve().is_relative_to(folder.resolve()):
        raise ValueError(
            f"--output must not lie in the folder that is scored, got '{output}' in '{folder}'."
        )
    if output.exists() and not output.is_dir():
        raise ValueError(f"--output must name a folder, but '{output}' is a file.")
    if output.is_dir() and not force and any(output.iterdir()):
        raise ValueError(f"The folder '{output}' is not empty; pass --force to write into it.")
    output.mkdir(parents=True, exist_ok=True)


def _overlay_paths(names: Sequence[str], folder: Path) -> list[Path]:
    """Name overlays as their images; a.jpg beside a.png makes all keep their suffixes, too."""
    overlays = [folder / Path(name).with_suffix(".png") for name in names]
    if len({str(path).casefold() for path in overlays}) == len(names):
        return overlays
    return [folder / f"{name}.png" for name in names]


def _score(
    model: Model, images: ImageSequence
) -> Iterator[tuple[int, float, float, NDArray[np.float64]]]:
    """Score images batch by batch.

    Yields
    ------
    index : int
    score, decision : float
        As of `score_samples` and `decision_function`.
    anomaly_map : ndarray of shape (h, w), float64
    """
    detector = model.detector
    size = max(1, _BATCH_PIXELS // (model.size[0] * model.size[1]))
    for start in range(0, len(images), size):
        maps = detector.anomaly_map(images[start : start + size])
        # One pass of the network serves map and score.
        scores = -aggregate(torch.from_numpy(maps), detector.score_aggregation).numpy()
        decisions = scores - detector.offset_
        for offset, (score, decision) in enumerate(zip(scores, decisions, strict=True)):
            yield start + offset, float(score), float(decision), maps[offset]


def _write_overlay(
    source: Path, target: Path, anomaly_map: NDArray[np.float64], model: Model
) -> None:
    from PIL import Image

    image = ImageSequence([source], mode=model.mode)[0]
    overlay = overlay_anomaly_map(image, anomaly_map, model.detector.map_threshold_)
    target.parent.mkdir(parents=True, exist_ok=True)
    with written_aside(target) as aside:
        Image.fromarray(overlay).save(aside, format="PNG")
