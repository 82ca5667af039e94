"""Score images with a model that 'skanomaly fit' has written.

Folders are searched with their subfolders. The table is written to stdout or, with --output, to the
folder OUT, which gets

  scores.csv   for each image: path within FOLDER, score (higher is more normal), decision_function
               (score minus threshold), decision ('normal', 'anomalous' if decision_function is
               negative, or 'unreadable'), relative_score (score divided by threshold; above 1 is
               anomalous) and error, the reason why an image could not be read
  overlays/    for each image, a PNG of its size in the same subfolder: the image, coloured where
               the anomaly map exceeds the threshold, with the same scale for all images
  maps/        with --maps, the anomaly maps in the sizes of the images, as float32
  masks/       with --masks, PNGs that are 255 where the map exceeds its threshold and 0 elsewhere

Text that a spreadsheet would run as a formula starts with an apostrophe in the table. Rows are
written one by one: after an interruption, the same command continues, or starts again with
--report.

FILE.html is a self-contained page with the same results: a table to sort and filter, a histogram
with the threshold, and the anomaly map of an image on a click. Images are read batch by batch, so
that their number is not limited by memory.

example:
  skanomaly score model.safetensors photos/new --report report.html
  skanomaly score model.safetensors photos/new --output scores --maps tiff --masks
  skanomaly score model.safetensors a.png b.png > scores.csv
  skanomaly score model.safetensors photos/new --json > scores.json

exit code 1: an image could not be read; the table shows the reason
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import os
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import __version__
from .._command_line import (
    add_shared_options,
    finite,
    one_line,
    print_message,
    report_error,
    user_path,
    wants_progress,
)
from .._files import check_apart, check_output_file, check_output_folder
from ..datasets._image_file import read_image
from ..inspection._html_report import AddImage, html_report
from ._arguments import add_command, add_model, find_inputs, score
from ._model_file import Model, Scored, load_model
from ._progress import progress
from ._score_output import (
    TABLE,
    UNFINISHED,
    Row,
    TableWriter,
    WriteFiles,
    file_writer,
    find_unfinished,
    links_in,
    make_row,
    name_files,
    open_table,
    read_rows,
)

_FILES = ("overlays", "maps", "masks")


def add_parser(commands: Any) -> None:
    """Add the command to the parser."""
    help = "score images and show where they are anomalous"
    parser = add_command(commands, "score", run, help, __doc__)
    add_model(parser)
    add = parser.add_argument
    add(
        "images",
        metavar="FOLDER_OR_IMAGE",
        type=user_path,
        nargs="+",
        help="image file, or folder of images",
    )
    add("--output", metavar="OUT", type=user_path, help="folder for table and overlays")
    add("--report", metavar="FILE.html", type=user_path, help="HTML page to write")
    add(
        "--threshold",
        metavar="SCORE",
        type=score,
        help="images with a score below are anomalous, such as -1.5 (default: threshold of MODEL)",
    )
    add("--maps", choices=("npy", "tiff"), help="write anomaly maps to OUT, as .npy or TIFF")
    add("--masks", action="store_true", help="write masks to OUT, as PNG")
    add("--no-overlays", action="store_true", help="do not write overlays to OUT")
    add(
        "--force",
        action="store_true",
        help="allow OUT to hold files and FILE.html to exist: files of the same names are "
        "overwritten, others stay",
    )
    add_shared_options(parser)


def run(options: argparse.Namespace) -> int:
    """Score images; return 1 if an image could not be read."""
    output, page = options.output, options.report
    if output is None and (options.maps or options.masks):
        raise ValueError("--maps and --masks need --output OUT.")
    model = load_model(options.model)
    paths, names = find_inputs(options.images)
    threshold = options.threshold
    threshold = float(model.detector.offset_ if threshold is None else threshold)
    suffixes = _suffixes(options)
    targets = {} if output is None else name_files(names, output, suffixes)
    _check_apart(options, targets)
    if page is not None:
        check_output_file(page, "--report", exist_ok=options.force)
    identity = _identity(options, threshold, suffixes)
    by_name = dict(zip(names, paths, strict=True))
    rows = [] if output is None else _find_rows(options, identity, by_name)
    # With another number of images, the files may have other names.
    written = {name: [files[i] for files in targets.values()] for i, name in enumerate(names)}
    rows = [row for row in rows if all(file.exists() for file in written[row["path"]])]
    # Rows are kept in memory for JSON only.
    kept: list[Row] = []
    counts: Counter[str] = Counter()
    first_error = ""
    scored_before = {row["path"] for row in rows}
    left = [index for index, name in enumerate(names) if name not in scored_before]
    write_files = None
    if suffixes:
        map_threshold = float(model.detector.map_threshold_)
        write_files = file_writer(targets, suffixes, map_threshold)

    with ExitStack() as stack:
        write_row: Callable[[Row], None] | None = None
        if output is not None:
            table = open_table(output, identity, rows, resumable=page is None)
            write_row = stack.enter_context(table)
        elif page is None and not options.json:
            if sys.stdout is None:
                raise ValueError("There is no stdout to write the table to: pass --output OUT.")
            write_row = TableWriter(sys.stdout).write
        add = None
        if page is not None:
            add = stack.enter_context(_page(page, options, model, threshold))
        shown = wants_progress(options)
        show = stack.enter_context(progress("scoring", len(left), "image", shown=shown))
        for done, scored in enumerate(model.score([paths[index] for index in left])):
            index = left[done]
            image = None
            if scored.anomaly_map is not None and (write_files or add):
                # In its stored size.
                try:
                    image = read_image(paths[index], mode=model.mode)
                except (OSError, ValueError) as error:  # It was removed or changed meanwhile.
                    scored = Scored(error=one_line(error))
            row = make_row(names[index], scored.score, threshold, scored.error)
            _write(index, row, scored, image, write_files, add)
            if write_row is not None:
                write_row(row)
            counts[row["decision"]] += 1
            first_error = first_error or row["error"]
            if options.json:
                kept.append(row)
            show(done + 1)
    counts.update(row["decision"] for row in rows)
    total, n_anomalous = counts.total(), counts["anomalous"]
    n_unreadable = counts["unreadable"]
    if options.json:
        result = {
            "n_images": total,
            "n_anomalous": n_anomalous,
            "n_unreadable": n_unreadable,
            "threshold": finite(threshold),
            "output": output and str(output),
            "report": page and str(page),
            "images": [{n: finite(value) for n, value in row.items()} for row in rows + kept],
        }
        print(json.dumps(result))
    else:
        # Without files, stdout holds the table.
        say = print_message if output is None and page is None else print
        say(f"{n_anomalous} of {total} images are anomalous.")
        if output is not None:
            print(f"Wrote {', '.join(str(output / name) for name in (TABLE, *suffixes))}")
        if page is not None:
            print(f"Wrote {page}")
    if n_unreadable:
        more = f" And {n_unreadable - 1} more." if n_unreadable > 1 else ""
        text = f"{n_unreadable} of {total} images could not be read: {first_error}{more}"
        report_error("skanomaly", ValueError(text))
    return int(n_unreadable > 0)


def _check_apart(options: argparse.Namespace, targets: Mapping[str, Sequence[Path]]) -> None:
    """Refuse outputs that would replace an input or one another, also through a link in OUT."""
    inputs = [options.model, *options.images]
    outputs: list[Path] = []
    if options.output is not None:
        outputs = [options.output / name for name in (TABLE, UNFINISHED, *_FILES)]
    if options.report is not None:
        check_apart([("--report", options.report)], [*inputs, *outputs])
    if options.output is not None:
        paths = [options.output, *outputs, *links_in(options.output, targets)]
        check_apart([("--output", path) for path in paths], inputs)


def _suffixes(options: argparse.Namespace) -> dict[str, str]:
    """Return the suffixes of the requested files, by subfolder of OUT."""
    if options.output is None:
        return {}
    wanted = {
        "overlays": None if options.no_overlays else ".png",
        "maps": options.maps and f".{options.maps}",
        "masks": ".png" if options.masks else None,
    }
    return {kind: suffix for kind, suffix in wanted.items() if suffix}


def _identity(
    options: argparse.Namespace, threshold: float, suffixes: dict[str, str]
) -> dict[str, Any]:
    """Return what the results depend on, except for the contents of the images."""
    with options.model.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return {
        "model": digest,
        "images": [os.path.abspath(path) for path in options.images],
        "threshold": threshold,
        "files": suffixes,
        "skanomaly": __version__,
    }


def _find_rows(
    options: argparse.Namespace, identity: dict[str, Any], paths: dict[str, Path]
) -> list[Row]:
    """Create the folder OUT, and read the rows of an interrupted run of the same command."""
    output = options.output
    if not find_unfinished(output, identity):
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
        # Images that were changed since are scored again.
        if row["path"] in paths and _last_change(paths[row["path"]]) <= start
    ]


def _last_change(path: Path) -> float:
    """Time of the last change of a file, or of a link to it; infinite if it is missing.

    A copied or moved file may have an old time of modification. That of its metadata is new.
    """
    try:
        return max(max(found.st_mtime, found.st_ctime) for found in (path.stat(), path.lstat()))
    except OSError:
        return math.inf


def _write(
    index: int,
    row: Row,
    scored: Scored,
    image: NDArray[Any] | None,
    write_files: WriteFiles | None,
    add: AddImage | None,
) -> None:
    """Write the files of an image, and add it to the page."""
    name, kind = row["path"], row["path"].rpartition("/")[0]
    if scored.anomaly_map is None or image is None:
        if add is not None:
            blank = np.zeros((1, 1), np.uint8)
            add(name, blank, score=None, decision=None, kind=kind, error=row["error"])
        return
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
            "model": f"{options.model}, for images of {height} × {width} pixels",
            "detector": " ".join(repr(model.detector).split()),
        },
        threshold=threshold,
        map_threshold=float(model.detector.map_threshold_),
        kind_label="subfolder",
    )
