"""Markdown tables: mean and standard deviation over seeds, by dataset and kind of defect."""

from __future__ import annotations

import csv
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from ._evaluation import KIND_PREFIX, METRICS, Row, describe_environment

Reference = Mapping[str, str]

_LABELS = ("image AUROC", "image AP", "image F1-max", "pixel AUROC", "pixel AP", "AUPRO")
_METRICS = dict(zip(METRICS, _LABELS, strict=True))
_METRICS |= {"false_alarms": "false alarms", "misses": "misses"}
_COSTS = {
    "training_seconds": "training s",
    "scoring_images_per_second": "scoring images/s",
    "peak_memory_mb": "peak memory MB",
    "peak_gpu_memory_mb": "peak GPU memory MB",
}
_NOTHING = "–"
_NOTES = f"""\
Mean ± standard deviation over seeds; {_NOTHING} if not available. Anomalous is the positive class.
F1-max is the F1 score at the best threshold for the test images, AUPRO the per-region overlap up to
a false-positive rate of 0.3, false alarms the fraction of good test images that are flagged, misses
the fraction of defective ones that are not."""


def markdown_report(rows: Sequence[Row], *, references: Iterable[Reference] = ()) -> str:
    """Format results as Markdown tables, with mean and standard deviation over seeds.

    Parameters
    ----------
    rows : sequence of dict
        Output of :func:`run_benchmark` or :func:`evaluate`.
    references : iterable of dict of str to str, default=()
        Published results, as returned by `read_references`: a separate table, under a heading that
        says that they were not measured here.

    Returns
    -------
    str
        For each dataset, tables with a row per detector: the metrics, the image AUROC by kind of
        defect, and times and memory; then means over datasets, and versions and machine.

    Examples
    --------
    >>> from skanomaly.benchmark import markdown_report
    >>> rows = [
    ...     {"dataset": "nuts", "size": 64, "detector": "A", "seed": 0, "image_roc_auc": 0.75},
    ...     {"dataset": "nuts", "size": 64, "detector": "A", "seed": 1, "image_roc_auc": 0.85},
    ... ]
    >>> print(markdown_report(rows))  # doctest: +ELLIPSIS
    ## nuts, 64 px
    <BLANKLINE>
    | detector | seeds | image AUROC |
    |---|---|---|
    | A | 2 | 0.800 ± 0.071 |
    <BLANKLINE>
    Mean ± standard deviation over seeds; ...
    """
    by_dataset = _group(rows, "dataset", "size")
    parts: list[str] = []
    for group in by_dataset.values():
        parts += _describe_dataset(group)
    if len(by_dataset) > 1:
        means = _mean_over_datasets(rows, len(by_dataset))
        parts += [f"## Mean over {len(by_dataset)} datasets", *_table(means, _METRICS)]
    if rows:
        parts += [" ".join(_NOTES.split()), *_describe_environments(rows)]
    if published := list(references):
        columns = {name: name for reference in published for name in reference}
        lines = [[reference.get(name, "") for name in columns] for reference in published]
        parts += [
            "## Published figures, not measured here",
            "As reported by their sources, each with its own protocol.",
            markdown_table(list(columns), lines),
        ]
    return "\n\n".join(parts) + "\n"


def read_references(path: Path) -> list[dict[str, str]]:
    r"""Read published results from a CSV file.

    Parameters
    ----------
    path : Path
        UTF-8 file with the columns "detector" and "source", and any others.

    Returns
    -------
    list of dict of str to str
        One per line; missing values are empty.

    Raises
    ------
    ValueError
        If it is not a CSV file, lacks the column "detector" or "source", or a line has no source.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from skanomaly.benchmark import read_references
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder, "references.csv")
    ...     _ = path.write_text("detector,source,image_roc_auc\nSome method,A paper (2024),0.9\n")
    ...     read_references(path)
    [{'detector': 'Some method', 'source': 'A paper (2024)', 'image_roc_auc': '0.9'}]
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, restval="")
            columns = reader.fieldnames or ()
            lines = [(reader.line_num, line) for line in reader]
    except (csv.Error, UnicodeDecodeError) as error:
        raise ValueError(f"'{path}' is not a CSV file in UTF-8: {error}.") from error
    missing = [name for name in ("detector", "source") if name not in columns]
    if missing:
        raise ValueError(
            f"References need the columns 'detector' and 'source'; '{path}' lacks "
            f"{' and '.join(map(repr, missing))}."
        )
    for number, reference in lines:
        if None in reference:
            raise ValueError(f"Line {number} of '{path}' has too many values.")
        if not reference["source"].strip():
            raise ValueError(f"Line {number} of '{path}' names no source.")
    return [reference for _, reference in lines]


def _describe_dataset(rows: Sequence[Row]) -> list[str]:
    first = rows[0]
    parts = []
    if "dataset" in first:
        parts.append(f"## {first['dataset']}, {first['size']} px")
    if "n_train" in first:
        parts.append(f"{first['n_train']} training images, {first['n_test']} test images.")
    if damaged := list(dict.fromkeys(row["damaged"] for row in rows if row.get("damaged"))):
        parts.append(f"Damaged and skipped: {'; '.join(damaged)}.")
    kinds = [name for row in rows for name in row if name.startswith(KIND_PREFIX)]
    parts += _table(rows, _METRICS)
    if kinds:
        parts.append("Image AUROC by kind of defect, against all good images:")
        parts += _table(rows, {name: name.removeprefix(KIND_PREFIX) for name in kinds})
    return parts + _table(rows, _COSTS, digits=None)


def _mean_over_datasets(rows: Sequence[Row], n_datasets: int) -> list[Row]:
    """Average metrics over datasets, for detectors and seeds with results for all datasets."""
    means = []
    for group in _group(rows, "detector", "seed").values():
        if len(group) == n_datasets:
            values: dict[str, list[Any]] = {n: [row.get(n) for row in group] for n in _METRICS}
            known = {name: mean(each) for name, each in values.items() if None not in each}
            means.append({"detector": group[0]["detector"], **known})
    return means


def _table(rows: Sequence[Row], columns: Mapping[str, str], *, digits: int | None = 3) -> list[str]:
    """Format a table with a row per detector; nothing if no column has values."""
    known = [name for name in columns if any(row.get(name) is not None for row in rows)]
    if not known:
        return []
    n_names = 2 if columns is _METRICS else 1
    lines = []
    for group in _group(rows, "detector").values():
        values = [[row[name] for row in group if row.get(name) is not None] for name in known]
        names = [str(group[0]["detector"]), str(len(group))][:n_names]
        lines.append(names + [_summarize(each, digits) for each in values])
    head = ["detector", "seeds"][:n_names] + [columns[name] for name in known]
    return [markdown_table(head, lines)]


def _summarize(values: Sequence[float], digits: int | None) -> str:
    """Format mean and standard deviation, by default with three significant digits."""
    if not values:
        return _NOTHING
    middle = mean(values)
    if digits is None:
        digits = max(0, 2 - math.floor(math.log10(middle))) if middle > 0 else 0
    spread = f" ± {stdev(values):.{digits}f}" if len(values) > 1 else ""
    return f"{middle:.{digits}f}{spread}"


def _describe_environments(rows: Sequence[Row]) -> list[str]:
    texts = Counter(
        f"{environment_text(row)}; {row['n_jobs']} run(s) at a time"
        for row in rows
        if "skanomaly" in row
    )
    if not texts:
        return []
    lines = [
        f"- {f'{count} of {len(rows)} runs: ' if len(texts) > 1 else ''}{text}"
        for text, count in texts.items()
    ]
    parts = ["## Versions and machine", "\n".join(lines)]
    before = [row["start_memory_mb"] for row in rows if row.get("start_memory_mb") is not None]
    if before:
        parts.append(
            "Peak memory is that of one process per run, with Python and the libraries, which take "
            f"{mean(before):.0f} MB before the data are loaded."
        )
    return parts


def environment_text(row: Row) -> str:
    """Return versions and machine of a row, in one line."""
    names = dict.fromkeys([*describe_environment(), "GPU"])
    return ", ".join(f"{name} {row[name]}" for name in names if row.get(name))


def _group(rows: Iterable[Row], *names: str) -> dict[tuple[Any, ...], list[Row]]:
    groups: dict[tuple[Any, ...], list[Row]] = {}
    for row in rows:
        groups.setdefault(tuple(row.get(name) for name in names), []).append(row)
    return groups


def markdown_table(head: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    """Format a Markdown table."""
    cells = [[" ".join(cell.split()).replace("|", r"\|") for cell in line] for line in lines]
    rule = "|" + "---|" * len(head)
    return "\n".join([f"| {' | '.join(head)} |", rule, *(f"| {' | '.join(c)} |" for c in cells)])
