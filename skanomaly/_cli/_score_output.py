"""Output of ``skanomaly score``: the table, which can be resumed, and files for each image."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._csv import escape_cell, unescape_cell
from .._files import atomic_write, write_text
from ..inspection._overlay import overlay_anomaly_map, resize_map

COLUMNS = ("path", "score", "decision_function", "decision", "relative_score", "error")
TABLE = "scores.csv"
# Exists until a run is finished, and identifies the run.
UNFINISHED = "unfinished.json"
_NUMBERS = ("score", "decision_function", "relative_score")

Row = dict[str, Any]
WriteFiles = Callable[[int, NDArray[Any], NDArray[np.float64]], None]


def make_row(name: str, score: float, threshold: float, error: str = "") -> Row:
    """Make the row of an image that was scored, or could not be read."""
    if error:
        return dict.fromkeys(COLUMNS) | {"path": name, "decision": "unreadable", "error": error}
    decision = score - threshold
    # The threshold is 0 for perfectly reconstructed images.
    relative = score / threshold if threshold else math.inf if score else 0.0
    # NaN is never normal.
    verdict = "normal" if decision >= 0 else "anomalous"
    return dict(zip(COLUMNS, (name, score, decision, verdict, relative, ""), strict=True))


class TableWriter:
    """Writes the heading, and then rows, to a text file; each row is flushed."""

    def __init__(self, file: Any, *, heading: bool = True) -> None:
        self._file = file
        self._writer = csv.writer(file)
        if heading:
            self._writer.writerow(COLUMNS)

    def write(self, row: Row) -> None:
        """Write a row."""
        cells = (row[column] for column in COLUMNS)
        self._writer.writerow(
            "" if cell is None else escape_cell(cell) if isinstance(cell, str) else repr(cell)
            for cell in cells
        )
        self._file.flush()


def read_rows(path: Path) -> list[Row]:
    """Read the rows of scored images; an incomplete last row is skipped."""
    text = path.read_bytes().decode(errors="surrogateescape")
    # Rows end in CR LF; names can contain either.
    whole = text[: text.rindex("\r\n") + 2] if "\r\n" in text else ""
    rows = []
    for cells in csv.reader(io.StringIO(whole, newline="")):
        if len(cells) == len(COLUMNS) and cells[3] in ("normal", "anomalous"):
            row: Row = dict(zip(COLUMNS, map(unescape_cell, cells), strict=True))
            # Numbers are not escaped, even if negative.
            rows.append(row | {name: float(row[name]) for name in _NUMBERS})
    return rows


def find_unfinished(folder: Path, run: Mapping[str, Any]) -> bool:
    """Whether a run with the same model, images and options was interrupted in a folder."""
    try:
        return bool(json.loads((folder / UNFINISHED).read_text(encoding="utf-8")) == run)
    except (OSError, ValueError):
        return False


@contextmanager
def open_table(
    folder: Path, run: Mapping[str, Any], rows: list[Row], *, resumable: bool
) -> Iterator[Callable[[Row], None]]:
    """Open a table for writing, after the rows of an interrupted run.

    Parameters
    ----------
    folder : Path
        Folder of the table.
    run : mapping
        Identifies the run, see `find_unfinished`.
    rows : list of dict
        Rows of the interrupted run.
    resumable : bool
        Whether the same command resumes the run; said on an interruption.

    Yields
    ------
    write : callable
        Takes a row.
    """
    table = folder / TABLE
    options: dict[str, Any] = {"newline": "", "encoding": "utf-8", "errors": "surrogateescape"}
    if not find_unfinished(folder, run):
        write_text(folder / UNFINISHED, json.dumps(run))
    with atomic_write(table) as aside, aside.open("w", **options) as file:
        writer = TableWriter(file)
        for row in rows:
            writer.write(row)
    with table.open("a", **options) as file:
        try:
            yield TableWriter(file, heading=False).write
        except KeyboardInterrupt:
            again = "resumes the run" if resumable else "starts again"
            raise KeyboardInterrupt(f"; the same command {again}") from None
    (folder / UNFINISHED).unlink()


def name_files(
    names: Sequence[str], folder: Path, suffixes: Mapping[str, str]
) -> dict[str, list[Path]]:
    """Name the files of all images, by the subfolders of OUT in `suffixes`."""
    return {kind: _name_files(names, folder / kind, suffix) for kind, suffix in suffixes.items()}


def links_in(folder: Path, targets: Mapping[str, Sequence[Path]]) -> Iterator[Path]:
    """Yield the links in OUT that lead to files to be written."""
    paths = {
        folder / TABLE,
        folder / UNFINISHED,
        *(path for kind in targets.values() for path in kind),
    }
    parents = {parent for path in paths for parent in path.parents if folder in parent.parents}
    yield from (path for path in parents | paths if path.is_symlink())


def file_writer(
    targets: Mapping[str, Sequence[Path]], suffixes: Mapping[str, str], threshold: float
) -> WriteFiles:
    """Make the function that writes the files of an image.

    Parameters
    ----------
    targets : mapping of str to sequence of Path
        Files of all images in the requested subfolders "overlays", "maps" and "masks".
    suffixes : mapping of str to str
        Suffixes of these files.
    threshold : float
        Threshold of the maps.
    """

    def write(index: int, image: NDArray[Any], anomaly_map: NDArray[np.float64]) -> None:
        from PIL import Image

        anomaly_map = resize_map(anomaly_map, image.shape[:2])
        for kind, paths in targets.items():
            paths[index].parent.mkdir(parents=True, exist_ok=True)
            with atomic_write(paths[index]) as aside, aside.open("wb") as file:
                if suffixes[kind] == ".npy":
                    np.save(file, anomaly_map.astype(np.float32))
                    continue
                pixels: NDArray[Any] = anomaly_map.astype(np.float32)
                if kind == "overlays":
                    pixels = overlay_anomaly_map(image, anomaly_map, threshold)
                elif kind == "masks":
                    pixels = (anomaly_map > threshold).astype(np.uint8) * 255
                Image.fromarray(pixels).save(file, format="TIFF" if kind == "maps" else "PNG")

    return write


def _name_files(names: Sequence[str], folder: Path, suffix: str) -> list[Path]:
    """Name files like their images, with both suffixes if files or folders would collide."""
    files = [folder / Path(name).with_suffix(suffix) for name in names]
    ending = suffix
    while _collide(files):
        files = [folder / f"{name}{ending}" for name in names]
        ending += suffix
    return files


def _collide(files: Sequence[Path]) -> bool:
    """Whether two files have the same name, or one has that of a folder of another."""
    taken = {str(path).casefold() for path in files}
    parents = {path.parent for path in files}
    folders = {str(each).casefold() for parent in parents for each in (parent, *parent.parents)}
    return len(taken) < len(files) or not taken.isdisjoint(folders)
