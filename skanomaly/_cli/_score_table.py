"""The table of ``skanomaly score``: written row by row, and continued after an interruption."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from .._csv import escape_cell, unescape_cell
from .._files import atomic_write, write_text

COLUMNS = ("path", "score", "decision_function", "decision", "relative_score", "error")
TABLE = "scores.csv"
# Is there while a run is not finished, and says which one.
UNFINISHED = "unfinished.json"
_NUMBERS = ("score", "decision_function", "relative_score")

Row = dict[str, Any]


def make_row(name: str, score: float, threshold: float) -> Row:
    """Make the row of an image that was scored."""
    decision = score - threshold
    # A threshold of 0 is that of images which are reconstructed perfectly.
    relative = score / threshold if threshold else math.inf if score else 0.0
    # NaN is never normal.
    verdict = "normal" if decision >= 0 else "anomalous"
    return dict(zip(COLUMNS, (name, score, decision, verdict, relative, ""), strict=True))


def make_error_row(name: str, error: str) -> Row:
    """Make the row of an image that could not be read."""
    return dict.fromkeys(COLUMNS) | {"path": name, "decision": "unreadable", "error": error}


class TableWriter:
    """Writes rows to a text file, each at once."""

    def __init__(self, file: Any) -> None:
        self._file = file
        self._writer = csv.writer(file)

    def write_heading(self) -> None:
        """Write the names of the columns."""
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
    """Read the rows of images that were scored; a last one that was torn is left out."""
    text = path.read_bytes().decode(errors="surrogateescape")
    # Each row ends in CR LF; names may hold either.
    whole = text[: text.rindex("\r\n") + 2] if "\r\n" in text else ""
    rows = []
    for cells in csv.reader(io.StringIO(whole, newline="")):
        if len(cells) == len(COLUMNS) and cells[3] in ("normal", "anomalous"):
            row: Row = dict(zip(COLUMNS, map(unescape_cell, cells), strict=True))
            # Numbers begin with a minus sign and not with an apostrophe.
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
    folder: Path, run: Mapping[str, Any], rows: list[Row]
) -> Iterator[Callable[[Row], None]]:
    """Write a table row by row, after those of an interrupted run.

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
        writer.write_heading()
        for row in rows:
            writer.write(row)
    with table.open("a", **options) as file:
        try:
            yield TableWriter(file).write
        except KeyboardInterrupt:
            raise KeyboardInterrupt("; give the same command again to go on") from None
    (folder / UNFINISHED).unlink()
