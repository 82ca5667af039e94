"""Command line of the profile: ``python -m skanomaly.benchmark speed``."""

from __future__ import annotations

import argparse
import json
import sys
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
    report_error,
)
from .._files import check_output_file, write_text
from ..datasets._image_file import expand_user
from ..training import PRECISIONS, resolve_device, resolve_precision
from ._evaluation import Row
from ._processes import THREAD_VARIABLES
from ._report import environment_text, markdown_table
from ._speed import MOST_REPEATS, SpeedCase, describe_images, measure_speed

SPEED = "speed"
_PROGRAM = "python -m skanomaly.benchmark speed"
_DESCRIPTION = """\
Train and score made images with the default detector, and print how fast that is, as a fraction of
what a plain matrix product achieves in the same run, and which operators of torch take the time.
Each case (a size, grey or RGB, a precision) is measured in fresh processes.
"""
_EXAMPLES = """\
examples:
  {program}
  {program} --sizes 128 256 --channels 1 --threads 1 --json speed.json
"""
_NOTES = """\
All figures are medians, measured in turn with the plain matrix product: on a shared machine compare
ratios, not times. images/s is of gradient steps and of `score_samples`; "of product" is what the
network's convolutions and products achieve at that rate, as a fraction of the plain product.
Operators are those of torch that take the most time themselves, with their fraction of all; in
training, of a short fit with all that it does. FLOPs are multiplications and additions. Memory is
how far the peak of a process rose that had done the same with small images before, in MB and in
batches as the network reads them in float32."""


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
                print(f"{program}: failed: {case}: {one_line(error)}", file=sys.stderr)
                continue
            print(f"[{done}/{len(cases)}] {case}", file=sys.stderr, flush=True)
            if options.json is not None:
                write_text(options.json, json.dumps(rows, indent=1, allow_nan=False) + "\n")
    except KeyboardInterrupt:
        print(f"\n{program}: interrupted", file=sys.stderr)
        return INTERRUPTED
    if rows:
        print(speed_report(rows))
    return FAILURE if failures else 0


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

    def rates(kind: str) -> str:
        columns = {"images_per_second": "images/s", "of_product": "of product"}
        columns["operators"] = "operators"
        return table({f"{kind}_{name}": title for name, title in columns.items()})

    return "\n\n".join(
        [
            f"## Training, batches of {first['batch_size']}",
            rates("training"),
            "## Scoring",
            rates("scoring"),
            "## The network's forward pass alone",
            table(
                {
                    "flops_per_image": "10⁹ FLOPs per image",
                    "forward_flops_per_second": "10⁹ FLOPs per s",
                    "forward_of_product": "of product",
                    "product_side": "product of",
                    "product_flops_per_second": "its 10⁹ FLOPs per s",
                }
            ),
            *onnx,
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
        type=integer(1),
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
        "--batch-size", type=integer(1), default=16, metavar="N", help="of training (default: 16)"
    )
    parser.add_argument(
        "--precision",
        nargs="+",
        choices=[name for name in PRECISIONS if name != "auto"],
        help="(default: float32, and bfloat16 where the hardware multiplies it)",
    )
    parser.add_argument(
        "--threads", type=integer(1), metavar="N", help="(default: as many as torch takes)"
    )
    parser.add_argument(
        "--repeats",
        type=integer(1, MOST_REPEATS),
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
        "--json",
        type=expand_user,
        metavar="FILE",
        help="file to write all figures to, case by case",
    )
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
            # The graph is in float32: that is compared with its like.
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
