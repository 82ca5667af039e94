"""``skanomaly score``: from a model and images to a table, maps and masks."""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from .. import __version__
from .._command_line import add_shared_options, report_error, wants_progress
from .._files import check_apart, check_output_file, check_output_folder
from ..datasets import ImageSequence
from ..inspection._html_report import AddImage, html_report
from ._arguments import score
from ._inputs import find_inputs
from ._model_file import Model, Scored, finite, load_model
from ._progress import progress
from ._score_files import WriteFiles, file_writer
from ._score_table import (
    TABLE,
    UNFINISHED,
    Row,
    TableWriter,
    find_unfinished,
    make_error_row,
    make_row,
    open_table,
    read_rows,
)

_FILES = ("overlays", "maps", "masks")

_DESCRIPTION = """\
Score images, or all images of folders and their subfolders, by a model that 'skanomaly fit' wrote.
The table goes to stdout, or with --output into the folder OUT, which gets

  scores.csv   for each image: path within FOLDER, score (higher is more normal), decision_function
               (score minus the threshold), decision ('normal', 'anomalous' where decision_function
               is below 0, 'unreadable'), relative_score (score over the threshold: 1 is the limit,
               and more is anomalous) and error, why an image could not be read
  overlays/    for each image, a PNG of its size in the same subfolder: the image, coloured where
               the anomaly map exceeds the model's threshold, on one scale for all images
  maps/        with --maps, the anomaly maps in the sizes of the images, as float32
  masks/       with --masks, PNGs that are 255 where the map exceeds its threshold and 0 elsewhere

A text that a spreadsheet would run as a formula begins with an apostrophe in the table. Rows are
written as they come: after an interruption, the same command goes on where it was stopped, and
with --report from the start.

FILE.html is one page that shows the same and needs nothing but a browser: a table to sort and
filter, a histogram with the threshold, and the anomaly map of an image on a click. Images are read
batch by batch, so that a folder can hold any number of them.
"""

_EPILOG = """\
example:
  skanomaly score model.safetensors photos/new --report report.html
  skanomaly score model.safetensors photos/new --output scores --maps tiff --masks
  skanomaly score model.safetensors a.png b.png > scores.csv
  skanomaly score model.safetensors photos/new --json > scores.json

exit code 1: an image could not be read, and its row in the table says why
"""


def add_parser(commands: Any) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "score",
        help="score images and show where they are anomalous",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("model", metavar="MODEL", type=Path, help="file that 'skanomaly fit' wrote")
    parser.add_argument(
        "images",
        metavar="FOLDER_OR_IMAGE",
        type=Path,
        nargs="+",
        help="folder of images, or image file, to score",
    )
    parser.add_argument(
        "--output", metavar="OUT", type=Path, help="folder to write table and overlays to"
    )
    parser.add_argument("--report", metavar="FILE.html", type=Path, help="page to write")
    parser.add_argument(
        "--threshold",
        metavar="SCORE",
        type=score,
        help="score below which an image is anomalous, such as -1.5 (default: the model's)",
    )
    parser.add_argument(
        "--maps", choices=("npy", "tiff"), help="write anomaly maps into OUT, as .npy or TIFF"
    )
    parser.add_argument("--masks", action="store_true", help="write masks into OUT, as PNG")
    parser.add_argument("--no-overlays", action="store_true", help="write no overlays into OUT")
    parser.add_argument(
        "--force",
        action="store_true",
        help="write into OUT even if it holds something, and over FILE.html: files of the same "
        "names are overwritten, others stay",
    )
    add_shared_options(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Score images; 1 if one of them could not be read."""
    output, page = options.output, options.report
    if output is None and (options.maps or options.masks):
        raise ValueError("--maps and --masks need --output OUT, the folder to write them into.")
    model = load_model(options.model)
    paths, names = find_inputs(options.images)
    threshold = model.detector.offset_ if options.threshold is None else options.threshold
    threshold = float(threshold)
    _check_apart(options)
    if page is not None:
        check_output_file(page, "--report", exist_ok=options.force)
    identity = _identity(options, threshold)
    by_name = dict(zip(names, paths, strict=True))
    rows = [] if output is None else _find_rows(options, identity, by_name)
    summary = _Summary(rows, keeps_rows=options.json)
    scored_before = {row["path"] for row in rows}
    left = [index for index, name in enumerate(names) if name not in scored_before]
    suffixes = _suffixes(options)
    write_files = None
    if suffixes:
        map_threshold = float(model.detector.map_threshold_)
        write_files = file_writer(output, suffixes, names, map_threshold)

    with ExitStack() as stack:
        write_row: Callable[[Row], None] | None = None
        if output is not None:
            write_row = stack.enter_context(open_table(output, identity, rows))
        elif page is None and not options.json:
            table = TableWriter(sys.stdout)
            table.write_heading()
            write_row = table.write
        add = None
        if page is not None:
            add = stack.enter_context(_page(page, options, model, threshold))
        shown = wants_progress(options)
        bar = stack.enter_context(progress("scoring", len(left), "image", shown=shown))
        for done, scored in enumerate(model.score([paths[index] for index in left])):
            index = left[done]
            row = _make_row(names[index], scored, threshold)
            if write_files is not None or add is not None:
                _show(index, row, scored, paths[index], model, write_files, add)
            if write_row is not None:
                write_row(row)
            summary.add(row)
            bar.show(done + 1)
    summary.print(options, threshold)
    return int(bool(summary.errors))


def _check_apart(options: argparse.Namespace) -> None:
    """Refuse outputs that would replace an input, or one another."""
    inputs = [options.model, *options.images]
    parts = (
        []
        if options.output is None
        else [options.output / name for name in (TABLE, UNFINISHED, *_FILES)]
    )
    outputs = [("--output", path) for path in [options.output, *parts] if path is not None]
    if options.report is not None:
        check_apart([("--report", options.report)], [*inputs, *parts])
    check_apart(outputs, inputs)


def _identity(options: argparse.Namespace, threshold: float) -> dict[str, Any]:
    """What the table depends on beside the images themselves."""
    with options.model.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return {
        "model": digest,
        "images": [os.path.abspath(path) for path in options.images],
        "threshold": threshold,
        "files": _suffixes(options),
        "skanomaly": __version__,
    }


def _find_rows(
    options: argparse.Namespace, identity: dict[str, Any], paths: dict[str, Path]
) -> list[Row]:
    """Make the folder OUT, and read what an interrupted run of the same command wrote there."""
    output = options.output
    if options.force or not find_unfinished(output, identity):
        check_output_folder(output, "--output", exist_ok=options.force)
        output.mkdir(parents=True, exist_ok=True)
        (output / UNFINISHED).unlink(missing_ok=True)
        return []
    if options.report is not None or not (output / TABLE).is_file():
        return []
    start = (output / UNFINISHED).stat().st_mtime
    return [
        row
        for row in read_rows(output / TABLE)
        # Images that have changed since then are scored again.
        if row["path"] in paths and paths[row["path"]].stat().st_mtime <= start
    ]


def _make_row(name: str, scored: Scored, threshold: float) -> Row:
    if scored.error:
        return make_error_row(name, scored.error)
    return make_row(name, scored.score, threshold)


def _show(
    index: int,
    row: Row,
    scored: Scored,
    path: Path,
    model: Model,
    write_files: WriteFiles | None,
    add: AddImage | None,
) -> None:
    """Write the files of an image, and add it to the page."""
    name, kind = row["path"], row["path"].rpartition("/")[0]
    if scored.anomaly_map is None:
        if add is not None:
            blank = np.zeros((1, 1), np.uint8)
            add(f"{name} (could not be read)", blank, None, score=None, decision=None, kind=kind)
        return
    # At the size that it is stored in.
    image = ImageSequence([path], mode=model.mode)[0]
    if write_files is not None:
        write_files(index, image, scored.anomaly_map)
    if add is not None:
        decision = row["decision_function"]
        add(name, image, scored.anomaly_map, score=scored.score, decision=decision, kind=kind)


def _page(
    path: Path, options: argparse.Namespace, model: Model, threshold: float
) -> AbstractContextManager[AddImage]:
    height, width = model.size
    first, *others = options.images
    return html_report(
        path,
        title=f"Anomalies in {first.resolve().name}" + (" and others" if others else ""),
        facts={
            "images": ", ".join(map(str, options.images)),
            "model": f"{options.model}, reads images at {height} × {width} pixels",
            "detector": " ".join(repr(model.detector).split()),
        },
        threshold=threshold,
        map_threshold=float(model.detector.map_threshold_),
        kind_label="subfolder",
    )


class _Summary:
    """Counts what was found, and keeps the rows for JSON."""

    def __init__(self, rows: Sequence[Row], *, keeps_rows: bool) -> None:
        self.counts: Counter[str] = Counter()
        self.errors: list[str] = []
        self.rows: list[Row] | None = [] if keeps_rows else None
        for row in rows:
            self.add(row)

    def add(self, row: Row) -> None:
        """Take note of a row."""
        self.counts[row["decision"]] += 1
        if row["error"]:
            self.errors.append(row["error"])
        if self.rows is not None:
            self.rows.append({name: finite(value) for name, value in row.items()})

    def print(self, options: argparse.Namespace, threshold: float) -> None:
        """Say it on stdout, or on stderr where stdout holds the table."""
        total, n_anomalous = self.counts.total(), self.counts["anomalous"]
        output, page = options.output, options.report
        if self.rows is not None:
            result = {
                "n_images": total,
                "n_anomalous": n_anomalous,
                "n_unreadable": len(self.errors),
                "threshold": finite(threshold),
                "output": output and str(output),
                "report": page and str(page),
                "images": self.rows,
            }
            print(json.dumps(result))
        else:
            stream = sys.stderr if output is None and page is None else sys.stdout
            print(f"{n_anomalous} of {total} images are anomalous.", file=stream)
            if output is not None:
                print(f"Wrote {', '.join(str(output / n) for n in (TABLE, *_suffixes(options)))}")
            if page is not None:
                print(f"Wrote {page}")
        if self.errors:
            more = f" And {len(self.errors) - 1} more." if len(self.errors) > 1 else ""
            text = f"{len(self.errors)} of {total} images could not be read: {self.errors[0]}{more}"
            report_error("skanomaly", ValueError(text))


def _suffixes(options: argparse.Namespace) -> dict[str, str]:
    """Suffixes of the files that are wanted of each image, by their folder in OUT."""
    if options.output is None:
        return {}
    wanted = {
        "overlays": None if options.no_overlays else ".png",
        "maps": options.maps and f".{options.maps}",
        "masks": ".png" if options.masks else None,
    }
    return {kind: suffix for kind, suffix in wanted.items() if suffix}
