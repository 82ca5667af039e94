"""``skanomaly score``: from a model and a folder to a table and heat maps."""

from __future__ import annotations

import argparse
import csv
import json
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from .._command_line import add_shared_options, wants_progress
from .._files import written_aside
from ..datasets import ImageSequence, load_image_folder
from ..inspection import overlay_anomaly_map
from ..inspection._html_report import AddImage, html_report
from ..scoring import aggregate
from ._model_file import Model, load_model
from ._progress import progress

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

FILE.html is one page that shows the same and needs nothing but a browser: a table to sort and
filter, a histogram with the threshold, and the anomaly map of an image on a click. Images are read
batch by batch, so that a folder can hold any number of them.
"""

_EPILOG = """\
example:
  skanomaly score model.safetensors photos/new --report report.html
  skanomaly score model.safetensors photos/new --output scores --report report.html
  skanomaly score model.safetensors photos/new --json > scores.json
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
        "--output", metavar="OUT", type=Path, help="folder to write the table and overlays to"
    )
    parser.add_argument("--report", metavar="FILE.html", type=Path, help="page to write")
    parser.add_argument(
        "--force",
        action="store_true",
        help="write into OUT even if it holds something, and over FILE.html: files of the same "
        "names are overwritten, others stay",
    )
    parser.add_argument(
        "--no-overlays", action="store_true", help="write no overlays into OUT, scores.csv alone"
    )
    add_shared_options(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Score a folder."""
    output, page = options.output, options.report
    if output is None and page is None and not options.json:
        raise ValueError("Nothing to do: give --output OUT, --report FILE.html or --json.")
    model = load_model(options.model)
    paths = load_image_folder(options.folder).paths
    if page is not None:
        _check_page(page, output, force=options.force)
    if output is not None:
        _make_output(output, options.folder, force=options.force)
    images = ImageSequence(paths, size=model.size, mode=model.mode)
    names = [path.relative_to(options.folder).as_posix() for path in paths]
    overlays = None
    if output is not None and not options.no_overlays:
        overlays = _overlay_paths(names, output / "overlays")

    results: list[dict[str, Any]] = []
    n_anomalous = 0
    with ExitStack() as stack:
        writer = None if output is None else stack.enter_context(_table(output / "scores.csv"))
        add = None if page is None else stack.enter_context(_page(page, options, model))
        shown = wants_progress(options)
        bar = stack.enter_context(progress("scoring", len(images), "image", shown=shown))
        for index, score, decision, anomaly_map in _score(model, images):
            verdict = "normal" if decision >= 0 else "anomalous"
            n_anomalous += verdict == "anomalous"
            if writer is not None:
                writer.writerow((names[index], repr(score), repr(decision), verdict))
            if options.json:
                values = (names[index], score, decision, verdict)
                results.append(dict(zip(_COLUMNS, values, strict=True)))
            if overlays is not None or add is not None:
                # At the size that it is stored in.
                image = ImageSequence([paths[index]], mode=model.mode)[0]
            if overlays is not None:
                _write_overlay(image, overlays[index], anomaly_map, model)
            if add is not None:
                kind = names[index].rpartition("/")[0]
                add(names[index], image, anomaly_map, score=score, decision=decision, kind=kind)
            bar.show(index + 1)
    if options.json:
        print(_as_json(model, n_anomalous, options, results))
        return
    print(f"{n_anomalous} of {len(images)} images are anomalous.")
    if output is not None:
        print(f"Wrote {output / 'scores.csv'}")
    if overlays is not None:
        print(f"Wrote {len(overlays)} overlays to {output / 'overlays'}")
    if page is not None:
        print(f"Wrote {page}")


@contextmanager
def _table(path: Path) -> Iterator[Any]:
    """Open a CSV file, which is there once all is written."""
    with (
        written_aside(path) as aside,
        # File names need not be valid text: what is not comes out as the bytes that went in.
        aside.open("w", newline="", encoding="utf-8", errors="surrogateescape") as file,
    ):
        writer = csv.writer(file)
        writer.writerow(_COLUMNS)
        yield writer


def _page(
    path: Path, options: argparse.Namespace, model: Model
) -> AbstractContextManager[AddImage]:
    height, width = model.size
    return html_report(
        path,
        title=f"Anomalies in {options.folder.resolve().name}",
        facts={
            "folder": str(options.folder),
            "model": f"{options.model}, reads images at {height} × {width} pixels",
            "detector": " ".join(repr(model.detector).split()),
        },
        threshold=float(model.detector.offset_),
        map_threshold=float(model.detector.map_threshold_),
        kind_label="subfolder",
    )


def _as_json(
    model: Model, n_anomalous: int, options: argparse.Namespace, results: list[dict[str, Any]]
) -> str:
    return json.dumps(
        {
            "n_images": len(results),
            "n_anomalous": n_anomalous,
            "threshold": float(model.detector.offset_),
            "output": options.output and str(options.output),
            "report": options.report and str(options.report),
            "images": results,
        }
    )


def _check_page(page: Path, output: Path | None, *, force: bool) -> None:
    if page.is_dir():
        raise ValueError(f"--report must name a file, but '{page}' is a folder.")
    if page.exists() and not force:
        raise ValueError(f"'{page}' exists; pass --force to overwrite it.")
    if page.parent != output and not page.parent.is_dir():
        raise ValueError(f"The folder '{page.parent}' that --report lies in does not exist.")


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
    image: NDArray[Any], target: Path, anomaly_map: NDArray[np.float64], model: Model
) -> None:
    from PIL import Image

    overlay = overlay_anomaly_map(image, anomaly_map, model.detector.map_threshold_)
    target.parent.mkdir(parents=True, exist_ok=True)
    with written_aside(target) as aside:
        Image.fromarray(overlay).save(aside, format="PNG")
