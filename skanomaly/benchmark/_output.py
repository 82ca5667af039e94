"""Output folder of a benchmark: a file for each finished run, and the tables."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import re
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from .._csv import escape_cell
from .._files import check_apart, check_output_folder, write_text
from ._evaluation import Row
from ._report import Reference, markdown_report
from ._runs import Run

# Older partial files were left by processes that were killed.
_ABANDONED_SECONDS = 600


class RunFile:
    """File with the result of a run, written atomically when the run is finished.

    Parameters
    ----------
    folder : Path
        Folder of the file. The file name holds a hash of all that the result depends on.
    run : Run
    dataset : dict
        Output of `Dataset.identity`.
    report : bool
        Whether a finished run also has an HTML page.

    Attributes
    ----------
    page : Path or None
        Path of the HTML page.
    """

    def __init__(self, folder: Path, run: Run, dataset: Row, *, report: bool = False) -> None:
        self.identity = {**dataset, **run.identity()}
        digest = hashlib.sha256(json.dumps(self.identity, sort_keys=True).encode()).hexdigest()
        words = (dataset["dataset"], type(run.detector).__name__, f"seed{run.seed}", digest[:16])
        name = "-".join(re.sub(r"[^\w.]+", "_", word) for word in words)
        self.path = folder / f"{name}.json"
        self.page = folder.parent / "reports" / f"{name}.html" if report else None

    def read(self, run: Run) -> Row | None:
        """Return the row of a finished run, or None."""
        if self.page is not None and not self.page.is_file():
            return None
        try:
            content = json.loads(self.path.read_text(encoding="utf-8"))
            row: Row = content["row"]
            is_it = content["identity"] == self.identity
        except (OSError, ValueError, KeyError, TypeError):
            return None
        # Evaluated without damaged images, which are not to be skipped this time.
        if not is_it or (row["damaged"] and not run.skip_damaged):
            return None
        return {**row, **run.names}

    def write(self, row: Row) -> None:
        """Write the row of a finished run."""
        content = {"identity": self.identity, "row": row}
        write_text(self.path, json.dumps(content, indent=1, allow_nan=False) + "\n")


def check_output(output: Path, inputs: Iterable[Path]) -> None:
    """Raise ValueError if a file or folder to be written would be, contain or lie in an input."""
    names = ("runs", "reports", "results.csv", "results.md")
    check_apart([("output", output / name) for name in names], inputs)


def make_output(output: Path) -> Path:
    """Create the output folder, and return the subfolder of the runs.

    Raises
    ------
    ValueError
        If it is a file.
    """
    check_output_folder(output, "output")
    runs = output / "runs"
    # Name of the subfolder up to version 0.2.
    if (before := output / "cells").is_dir() and not runs.exists():
        before.rename(runs)
    runs.mkdir(parents=True, exist_ok=True)
    for aside in [*runs.glob(".*.part"), *output.glob(".*.part")]:
        if time.time() - aside.stat().st_mtime > _ABANDONED_SECONDS:
            aside.unlink(missing_ok=True)
    return runs


def write_tables(output: Path, rows: Sequence[Row], references: Sequence[Reference]) -> None:
    """Write results.csv, with empty cells for unknown values, and results.md."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    table = io.StringIO()
    writer = csv.DictWriter(table, columns, restval="", lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow(
            {n: escape_cell(value) if isinstance(value, str) else value for n, value in row.items()}
        )
    write_text(output / "results.csv", table.getvalue())
    write_text(output / "results.md", markdown_report(rows, references=references))
