"""Command line of the benchmark: ``python -m skanomaly.benchmark DATASET``, or ``speed``."""

from __future__ import annotations

import argparse
import ast
import json
import sys
from collections.abc import Sequence
from functools import partial
from typing import Any

from .._command_line import (
    FAILURE,
    INTERRUPTED,
    WRONG_USE,
    OneLineParser,
    add_shared_options,
    report_error,
    wants_progress,
)
from ..datasets._image_file import expand_user
from ..detectors._base import BaseAutoencoderDetector
from ..networks import ConvolutionalAutoencoder
from ._datasets import MADE
from ._detectors import has_parameter, make_detector
from ._report import markdown_report, read_references
from ._run_benchmark import BenchmarkError, run_benchmark
from ._speed_command import SPEED, speed

_PROGRAM = "python -m skanomaly.benchmark"
_DESCRIPTION = """\
Fit detectors on the good images of datasets, and print how well they find the defects in others, as
Markdown tables with mean and spread over seeds. With --output, each finished run (a dataset, a
detector and a seed) is kept in a file, and the same command goes on where it was stopped.
With the word speed in place of datasets, measure how fast training and scoring are instead, see
{program} speed --help; a dataset of that name is ./speed.
"""
_EXAMPLES = """\
examples:
  {program} data/magnetic_tile --size 128 --seeds 0 1 --output results --report
  {program} bars grass --size 64 --set max_iter=500 --output results --jobs 2 \\
      --detector SelfSupervisedAutoencoderDetector --detector DenoisingAE noise=0.5
  {program} data/mvtec --detector skanomaly.benchmark.PCAReconstruction \\
      --detector sklearn.ensemble.IsolationForest n_estimators=200
  {program} bars --size 32 --seeds 0 --json > rows.json
"""


def main(arguments: Sequence[str] | None = None, *, program: str = _PROGRAM) -> int:
    """Run the benchmark and print its tables.

    Parameters
    ----------
    arguments : sequence of str, default=None
        What stands after the program's name; None takes it from the command line.
    program : str, default="python -m skanomaly.benchmark"
        What it was called as.

    Returns
    -------
    int
        0; 1 if a run failed, the others being kept; 2 for wrong usage or input; 130 if
        interrupted.
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    if arguments[:1] == [SPEED]:
        return speed(arguments[1:], program=f"{program} {SPEED}")
    options = _make_parser(program).parse_args(arguments)
    try:
        if options.report and options.output is None:
            raise ValueError("--report needs --output FOLDER.")
        references = [] if options.references is None else read_references(options.references)
        rows = run_benchmark(
            options.datasets,
            _make_detectors(options.detector, options.set, options.network),
            size=options.size,
            seeds=options.seeds,
            n_jobs=options.jobs,
            output=options.output,
            on_damaged=options.on_damaged,
            references=options.references,
            report=options.report,
            verbose=int(wants_progress(options)),
        )
        failures = []
    except BenchmarkError as error:
        rows, failures = error.rows, error.messages()
    except KeyboardInterrupt:
        again = "" if options.output is None else "; the same command goes on from here"
        print(f"\n{program}: interrupted{again}", file=sys.stderr)
        return INTERRUPTED
    except (OSError, ValueError, TypeError) as error:
        report_error(program, error)
        return WRONG_USE
    if options.json:
        print(json.dumps({"rows": rows, "failures": failures}, allow_nan=False))
    else:
        print(markdown_report(rows, references=references))
        if options.output is not None:
            print(f"Wrote {options.output / 'results.csv'} and {options.output / 'results.md'}")
        if options.report:
            print(f"Wrote {len(rows)} pages to {options.output / 'reports'}")
    for failure in failures:
        print(f"{program}: failed: {failure}", file=sys.stderr)
    return FAILURE if failures else 0


def _make_parser(program: str) -> argparse.ArgumentParser:
    parser = OneLineParser(
        prog=program,
        description=_DESCRIPTION.format(program=program),
        epilog=_EXAMPLES.format(program=program),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "datasets",
        nargs="+",
        metavar="DATASET",
        help="folder with train/good, test/KIND and ground_truth/KIND, or a folder of such "
        f"folders, or one of {', '.join(MADE)}",
    )
    parser.add_argument("--size", type=int, default=128, help="side in pixels (default: 128)")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1], help="(default: 0 1)")
    parser.add_argument(
        "--detector",
        nargs="+",
        action="append",
        metavar=("DETECTOR", "NAME=VALUE"),
        help="a detector of skanomaly, or the import path of a class or estimator with the same "
        "methods, and its parameters; can be given several times (default: "
        "SelfSupervisedAutoencoderDetector)",
    )
    parser.add_argument(
        "--set",
        nargs="+",
        action="extend",
        default=[],
        type=_assignment,
        metavar="NAME=VALUE",
        help="parameters of skanomaly's detectors, of all that have them and are not given others; "
        "those of a corruption as corruption__NAME",
    )
    parser.add_argument(
        "--network",
        nargs="+",
        action="extend",
        default=[],
        type=_assignment,
        metavar="NAME=VALUE",
        help="parameters of the convolutional autoencoder in skanomaly's detectors",
    )
    parser.add_argument(
        "--jobs", type=int, default=1, metavar="N", help="runs at a time, -1 for all processors"
    )
    parser.add_argument(
        "--output",
        type=expand_user,
        metavar="FOLDER",
        help="folder to keep results in, and to resume",
    )
    parser.add_argument(
        "--report",
        action="store_true",
        help="write an HTML page for each run into FOLDER/reports: scores, maps and true masks",
    )
    parser.add_argument(
        "--on-damaged",
        choices=("raise", "skip"),
        default="raise",
        help="what to do about an image file that cannot be read (default: raise)",
    )
    parser.add_argument(
        "--references",
        type=expand_user,
        metavar="FILE.csv",
        help="published figures to show beside, in columns detector, source and others",
    )
    add_shared_options(parser)
    return parser


def _make_detectors(
    given: Sequence[Sequence[str]] | None,
    common: Sequence[tuple[str, Any]],
    network: Sequence[tuple[str, Any]],
) -> list[Any]:
    """Make the detectors, and set what is set for all.

    Raises
    ------
    ValueError, TypeError
        If there is no such detector or parameter, or a parameter that none of them has.
    """
    shared = dict(common)
    if network:
        # An unknown name fails here and not in each run.
        ConvolutionalAutoencoder((16, 16, 1), **dict(network))
        shared["network"] = partial(ConvolutionalAutoencoder, **dict(network))
    detectors = []
    taken: set[str] = set()
    for name, *texts in given or [["SelfSupervisedAutoencoderDetector"]]:
        own = dict(_read_assignment(text) for text in texts)
        plain = make_detector(name, {})
        takes = {}
        # A name such as max_iter means something else in another library.
        if isinstance(plain, BaseAutoencoderDetector):
            takes = {key: value for key, value in shared.items() if has_parameter(plain, key)}
        detectors.append(make_detector(name, {**takes, **own}))
        taken |= takes.keys()
    if unknown := ", ".join(name for name in shared if name not in taken):
        raise ValueError(f"No detector of skanomaly among those given has a parameter {unknown}.")
    return detectors


def _assignment(text: str) -> tuple[str, Any]:
    try:
        return _read_assignment(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _read_assignment(text: str) -> tuple[str, Any]:
    """Read NAME=VALUE, where VALUE is a Python literal or else a string."""
    name, equals, value = text.partition("=")
    if not (name and equals):
        raise ValueError(f"expected NAME=VALUE, got {text!r}; datasets come before all options")
    try:
        return name, ast.literal_eval(value)
    except (ValueError, SyntaxError):
        return name, value
