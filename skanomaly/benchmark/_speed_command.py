"""Measure the speed of training and scoring.

Train and score generated images with the default detector. Print the speed, also as a fraction of
the speed of a plain matrix product in the same run, and the slowest torch operators. Each case (a
size, grey or RGB, a precision) is measured in fresh processes.

example:
  %(prog)s
  %(prog)s --sizes 128 256 --channels 1 --threads 1 --json speed.json
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from typing import Any

import torch

from .._command_line import (
    FAILURE,
    INTERRUPTED,
    WRONG_USE,
    OneLineParser,
    integer,
    one_line,
    print_message,
    report_error,
    user_path,
)
from .._files import check_output_file, write_text
from ..training import PRECISIONS, resolve_device, resolve_precision
from ._evaluation import Row
from ._processes import THREAD_VARIABLES
from ._report import environment_text, markdown_table
from ._speed import MOST_REPEATS, SpeedCase, describe_images, measure_speed

SPEED = "speed"
_PROGRAM = "python -m skanomaly.benchmark speed"
_NOTES = """\
All values are medians, measured alternately with the plain matrix product: on a shared machine,
compare ratios, not times. images/s is for gradient steps and for `score_samples`. "of product" is
the FLOPs per second of the network's convolutions and products, as a fraction of the plain product.
Operators are the torch operators with the longest own time, with their fraction of the total; in
training, of a short complete fit. FLOPs are multiplications and additions. Memory is the rise of
the peak memory of a process that had already processed small images, in MB and in units of a
float32 input batch of the network."""


def speed(arguments: Sequence[str], *, program: str = _PROGRAM) -> int:
    """Measure training and scoring, and print tables.

    Parameters
    ----------
    arguments : sequence of str
        Arguments after ``speed``.
    program : str
        Program name in messages.

    Returns
    -------
    int
        0; 1 if a case failed; 2 for invalid usage; 130 if interrupted.
    """
    options = _make_parser(program).parse_args(arguments)
    try:
        cases = _make_cases(options)
        if options.json is not None:
            check_output_file(options.json, "--json")
    except (OSError, ValueError) as error:
        report_error(program, error)
        return WRONG_USE
    threads = options.threads
    environment = {} if threads is None else dict.fromkeys(THREAD_VARIABLES, str(threads))
    rows, failures = [], 0
    try:
        for done, case in enumerate(cases, start=1):
            try:
                rows.append(measure_speed(case, environment))
            except Exception as error:
                failures += 1
                print_message(f"{program}: failed: {case}: {one_line(error)}")
                continue
            print_message(f"[{done}/{len(cases)}] {case}")
            if options.json is not None:
                write_text(options.json, json.dumps(rows, indent=1, allow_nan=False) + "\n")
    except KeyboardInterrupt:
        print_message(f"\n{program}: interrupted")
        return INTERRUPTED
    if rows:
        print(speed_report(rows))
    return FAILURE if failures else 0


def speed_report(rows: Sequence[Row]) -> str:
    """Format the output of `measure_speed` as tables."""

    def table(columns: dict[str, str]) -> str:
        lines = [
            [describe_images(row["size"], row["channels"]), row["precision"]]
            + [_write(row, column) for column in columns]
            for row in rows
        ]
        return markdown_table(["images", "precision", *columns.values()], lines)

    rates = {"images_per_second": "images/s", "of_product": "of product", "operators": "operators"}
    memory = {"memory_mb": "{} MB", "memory_batches": "in batches"}
    kinds = ("training", "scoring")
    training, scoring = (table({f"{kind}_{n}": t for n, t in rates.items()}) for kind in kinds)
    forward = {
        "flops_per_image": "10⁹ FLOPs per image",
        "forward_flops_per_second": "10⁹ FLOPs per s",
        "forward_of_product": "of product",
        "product_side": "product of",
        "product_flops_per_second": "its 10⁹ FLOPs per s",
    }
    onnx = {
        "onnx_images_per_second": "onnxruntime images/s",
        "of_onnx": "ours / onnxruntime",
        "onnx_single_images_per_second": "one by one",
        "single_of_onnx": "ours / onnxruntime, one by one",
    }
    first = rows[0]
    parts = [f"## Training, batches of {first['batch_size']}", training, "## Scoring", scoring]
    parts += ["## Forward pass of the network", table(forward)]
    if any("of_onnx" in row for row in rows):
        parts += ["## Scoring with onnxruntime, in float32", table(onnx)]
    columns = {f"{kind}_{n}": t.format(kind) for kind in kinds for n, t in memory.items()}
    parts += ["## Memory", table(columns), " ".join(_NOTES.split())]
    return "\n\n".join([*parts, f"- device {first['device']}, {environment_text(first)}"])


def _make_parser(program: str) -> argparse.ArgumentParser:
    parser = OneLineParser(
        prog=program, description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    number: dict[str, Any] = {"type": integer(1), "metavar": "N"}
    add(
        "--sizes",
        nargs="+",
        default=[128, 256, 512],
        help="sides of the images in pixels (default: 128 256 512)",
        **number,
    )
    add(
        "--channels",
        type=int,
        nargs="+",
        choices=(1, 3),
        default=[1, 3],
        help="1 for grey, 3 for RGB (default: both)",
    )
    add("--batch-size", default=16, help="batch size of training (default: 16)", **number)
    add(
        "--precision",
        nargs="+",
        choices=[name for name in PRECISIONS if name != "auto"],
        help="(default: float32, and bfloat16 if the hardware supports it)",
    )
    add("--threads", help="(default: as in torch)", **number)
    number["type"] = integer(1, MOST_REPEATS)
    add(
        "--repeats",
        default=5,
        help="number of measurements of which the median is taken (default: 5)",
        **number,
    )
    add("--device", default="auto", help="as for a detector (default: auto)")
    add(
        "--onnx",
        action="store_true",
        help="for float32, also measure onnxruntime on the exported graph (needs the extra onnx)",
    )
    add("--json", type=user_path, metavar="FILE", help="file to write the results to")
    return parser


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
            # The graph is in float32.
            with_onnx=options.onnx and precision == "float32",
        )
        for size in dict.fromkeys(options.sizes)
        for channels in dict.fromkeys(options.channels)
        for precision in dict.fromkeys(precisions)
    ]


def _write(row: Row, column: str) -> str:
    value: Any = row.get(column)
    if value is None:
        return "–"
    if isinstance(value, dict):
        return ", ".join(f"{name} {fraction:.2f}" for name, fraction in value.items())
    if column == "product_side":
        return f"{value} × {value}"
    if "flops" in column:
        value /= 1e9
    if "of_" in column:
        return f"{value:.3f}"
    return f"{value:.3g}" if value < 100 else f"{value:.0f}"
