"""The folder of a benchmark: a file for each finished cell, and the tables made of them."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import re
import time
from collections.abc import Sequence
from pathlib import Path

from ._cells import Cell
from ._evaluation import Row
from ._report import Reference, markdown_report

# Writing takes far less: what is older was left by a run that was killed.
_ABANDONED_SECONDS = 600


class CellFile:
    """The file of a cell's result, which is there once the cell is finished, and then whole.

    Parameters
    ----------
    folder : Path
        Where it lies. Its name tells all that the result depends on, as a hash.
    cell : Cell
    dataset : dict
        What `Dataset.identity` returns, which reads a folder.
    report : bool
        Whether an HTML page belongs to it, without which it is not finished.

    Attributes
    ----------
    page : Path or None
        Where the page lies.
    """

    def __init__(self, folder: Path, cell: Cell, dataset: Row, *, report: bool = False) -> None:
        self.identity = {**dataset, **cell.identity()}
        digest = hashlib.sha256(json.dumps(self.identity, sort_keys=True).encode()).hexdigest()
        words = (dataset["dataset"], type(cell.detector).__name__, f"seed{cell.seed}", digest[:16])
        name = "-".join(re.sub(r"[^\w.]+", "_", word) for word in words)
        self.path = folder / f"{name}.json"
        self.page = folder.parent / "reports" / f"{name}.html" if report else None

    def read(self, cell: Cell) -> Row | None:
        """Return the row of a finished cell, or None."""
        if self.page is not None and not self.page.is_file():
            return None
        try:
            content = json.loads(self.path.read_text(encoding="utf-8"))
            row: Row = content["row"]
            is_it = content["identity"] == self.identity
        except (OSError, ValueError, KeyError, TypeError):
            return None
        # Measured without some images, which was not asked for this time.
        if not is_it or (row["damaged"] and not cell.skip_damaged):
            return None
        return {**row, **cell.names}

    def write(self, row: Row) -> None:
        """Write the row of a finished cell."""
        content = {"identity": self.identity, "row": row}
        write_whole(self.path, json.dumps(content, indent=1, allow_nan=False) + "\n")


def write_whole(path: Path, text: str) -> None:
    """Write a file aside and then put it in place, so that nobody ever sees a part of it."""
    aside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with aside.open("w", encoding="utf-8", errors="surrogateescape", newline="") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)


def make_output(output: Path) -> Path:
    """Make the folder of results, and return the one of the cells in it.

    Raises
    ------
    NotADirectoryError
        If it is a file.
    """
    if output.exists() and not output.is_dir():
        raise NotADirectoryError(f"The output must be a folder, but '{output}' is a file.")
    cells = output / "cells"
    cells.mkdir(parents=True, exist_ok=True)
    for aside in [*cells.glob(".*.part"), *output.glob(".*.part")]:
        if time.time() - aside.stat().st_mtime > _ABANDONED_SECONDS:
            aside.unlink(missing_ok=True)
    return cells


def write_tables(output: Path, rows: Sequence[Row], references: Sequence[Reference]) -> None:
    """Write results.csv, a line for each row and nothing for what is not known, and results.md."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    table = io.StringIO()
    writer = csv.DictWriter(table, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_whole(output / "results.csv", table.getvalue())
    write_whole(output / "results.md", markdown_report(rows, references=references))
