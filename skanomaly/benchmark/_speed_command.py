"""Command line of the profile: ``python -m skanomaly.benchmark speed``."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from .._command_line import OneLineParser
from ..training import PRECISIONS, resolve_device, resolve_precision
from ._evaluation import Row
from ._output import write_whole
from ._processes import THREAD_VARIABLES
from ._report import environment_text, markdown_table
from ._speed import SpeedCase, describe_images, measure_speed
from ._stages import SCORING_STAGES, TRAINING_STAGES

SPEED = "speed"
_PROGRAM = "python -m skanomaly.benchmark speed"
_DESCRIPTION = """\
Train and score made images with the default detector, and print where the time goes, as shares of a
real training step and of a real scoring, and what is achieved, as a share of what a plain
convolution and a plain matrix product achieve in the same run. Each case (a size, grey or RGB, a
precision) is measured in fresh processes.
"""
_EXAMPLES = """\
examples:
  {program}
  {program} --sizes 128 256 --channels 1 --threads 1 --json speed.json
"""
_NOTES = """\
All figures are medians, measured in turn with the plain convolution and the plain matrix product:
on a shared machine compare ratios, not times. images/s is of gradient steps and of `score_samples`;
"of convolution" is what the network's products achieve at that rate, as a share of the plain
convolution. The other columns are shares of the time and add up to 1: data is reading and
standardising, representation local contrast and noise, optimiser clipping too, other mostly the
loss; with scoring, reading is local contrast too, maps all from the network's output to the scores.
Operations are multiplications and additions. Memory is how far the peak of a process rose that
had done the same with small images before, in MB and in batches as the network reads them in
float32."""


def speed(arguments: Sequence[str], *, program: str = _PROGRAM) -> int:
    """Measure training and scoring, and print tables.

    Parameters
    ----------
    arguments : sequence of str
        What stands after ``speed``.
    program : str
        What it was called as.

    Returns
    -------
    int
        0; 1 if a case failed, the others being printed; 2 for wrong usage; 130 if interrupted.
    """
    options = _make_parser(program).parse_args(arguments)
    try:
        cases = _make_cases(options)
        _check_output(options.json)
    except (OSError, ValueError) as error:
        print(f"{program}: error: {_in_one_line(error)}", file=sys.stderr)
        return 2
    threads = options.threads
    environment = {} if threads is None else dict.fromkeys(THREAD_VARIABLES, str(threads))
    rows, failures = [], 0
    try:
        for done, case in enumerate(cases, start=1):
            try:
                rows.append(measure_speed(case, environment))
            except Exception as error:
                failures += 1
                print(f"{program}: failed: {case}: {_in_one_line(error)}", file=sys.stderr)
                continue
            print(f"[{done}/{len(cases)}] {case}", file=sys.stderr, flush=True)
            if options.json is not None:
                write_whole(options.json, json.dumps(rows, indent=1, allow_nan=False) + "\n")
    except KeyboardInterrupt:
        print(f"\n{program}: interrupted", file=sys.stderr)
        return 130
    if rows:
        print(speed_report(rows))
    return 1 if failures else 0


def speed_report(rows: Sequence[Row]) -> str:
    """Write tables of what `measure_speed` returns."""

    def table(columns: dict[str, str]) -> str:
        lines = [
            [
                describe_images(row["size"], row["channels"]),
                row["precision"],
                *(_write(row, column) for column in columns),
            ]
            for row in rows
        ]
        return markdown_table(["images", "precision", *columns.values()], lines)

    def shares(kind: str, stages: Sequence[str]) -> str:
        rates = {
            f"{kind}_images_per_second": "images/s",
            f"{kind}_of_convolution": "of convolution",
        }
        return table(rates | {f"{kind}_share_{stage}": stage for stage in stages})

    first = rows[0]
    onnx = []
    if any("of_onnx" in row for row in rows):
        columns = {
            "onnx_images_per_second": "onnxruntime images/s",
            "of_onnx": "ours / onnxruntime",
            "onnx_single_images_per_second": "one by one",
            "single_of_onnx": "ours / onnxruntime, one by one",
        }
        onnx = ["## Scoring with onnxruntime, in float32", table(columns)]
    return "\n\n".join(
        [
            f"## Training, batches of {first['batch_size']}",
            shares("training", TRAINING_STAGES),
            "## Scoring",
            shares("scoring", SCORING_STAGES),
            "## The network's forward pass alone",
            table(
                {
                    "operations_per_image": "10⁹ operations per image",
                    "forward_operations_per_second": "10⁹ per s",
                    "forward_of_convolution": "of convolution",
                    "forward_of_product": "of product",
                }
            ),
            *onnx,
            "## Plain operations",
            table(
                {
                    "convolution_shape": "3 × 3 convolution of",
                    "convolution_operations_per_second": "10⁹ per s",
                    "product_side": "product of",
                    "product_operations_per_second": "10⁹ per s",
                }
            ),
            "## Memory",
            table(
                {
                    "training_memory_mb": "training MB",
                    "training_memory_batches": "in batches",
                    "scoring_memory_mb": "scoring MB",
                    "scoring_memory_batches": "in batches",
                }
            ),
            " ".join(_NOTES.split()),
            f"- device {first['device']}, {environment_text(first)}",
        ]
    )


def _make_parser(program: str) -> argparse.ArgumentParser:
    parser = OneLineParser(
        prog=program,
        description=_DESCRIPTION,
        epilog=_EXAMPLES.format(program=program),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--sizes",
        type=_positive,
        nargs="+",
        default=[128, 256, 512],
        metavar="N",
        help="sides in pixels (default: 128 256 512)",
    )
    parser.add_argument(
        "--channels",
        type=int,
        nargs="+",
        choices=(1, 3),
        default=[1, 3],
        help="1 for grey, 3 for RGB (default: both)",
    )
    parser.add_argument(
        "--batch-size", type=_positive, default=16, metavar="N", help="of training (default: 16)"
    )
    parser.add_argument(
        "--precision",
        nargs="+",
        choices=[name for name in PRECISIONS if name != "auto"],
        help="(default: float32, and bfloat16 where the hardware multiplies it)",
    )
    parser.add_argument(
        "--threads", type=_positive, metavar="N", help="(default: as many as torch takes)"
    )
    parser.add_argument(
        "--repeats",
        type=_positive,
        default=5,
        metavar="N",
        help="how often each figure is measured, for the median (default: 5)",
    )
    parser.add_argument("--device", default="auto", help="as for a detector (default: auto)")
    parser.add_argument(
        "--onnx",
        action="store_true",
        help="with float32, measure onnxruntime on the exported graph too (needs the extra onnx)",
    )
    parser.add_argument(
        "--json", type=Path, metavar="FILE", help="file to write all figures to, case by case"
    )
    return parser


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"expected a positive integer, got {text!r}")
    return int(text)


def _make_cases(options: argparse.Namespace) -> list[SpeedCase]:
    device = resolve_device(options.device)
    precisions = options.precision
    if precisions is None:
        has_bfloat16 = resolve_precision("auto", device) == torch.bfloat16
        precisions = ["float32", "bfloat16"] if has_bfloat16 else ["float32"]
    return [
        SpeedCase(
            size,
            channels,
            precision,
            batch_size=options.batch_size,
            device=options.device,
            repeats=options.repeats,
            # The graph is in float32: that is compared with its like.
            with_onnx=options.onnx and precision == "float32",
        )
        for size in dict.fromkeys(options.sizes)
        for channels in dict.fromkeys(options.channels)
        for precision in dict.fromkeys(precisions)
    ]


def _check_output(path: Path | None) -> None:
    """Raise OSError now, and not after minutes, if no file can be written there."""
    if path is not None and path.is_dir():
        raise IsADirectoryError(f"The file for JSON must not be a folder. Got '{path}'.")
    if path is not None and not path.parent.is_dir():
        raise NotADirectoryError(f"The file for JSON must lie in a folder. Got '{path}'.")


def _write(row: Row, column: str) -> str:
    value: Any = row.get(column)
    if value is None:
        return "–"
    if isinstance(value, list):
        return " × ".join(map(str, value))
    if column == "product_side":
        return f"{value} × {value}"
    if "operations" in column:
        value /= 1e9
    if "share" in column or "of_" in column:
        return f"{value:.3f}"
    return f"{value:.3g}" if value < 100 else f"{value:.0f}"


def _in_one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
