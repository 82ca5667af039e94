r"""Evaluate detectors on datasets with known defects.

Fit detectors on the good training images of datasets, evaluate them on the test images, and print
Markdown tables with mean and standard deviation over seeds. With --output, each finished run (a
dataset, a detector and a seed) is stored in a file, and the same command resumes an interrupted
benchmark. With the word speed in place of datasets, measure the speed of training and scoring
instead, see %(prog)s speed --help; a dataset of that name is ./speed.

example:
  %(prog)s data/magnetic_tile --size 128 --seeds 0 1 --output results --report
  %(prog)s bars grass --size 64 --set max_iter=500 --output results --jobs 2 \
      --detector SelfSupervisedAutoencoderDetector --detector DenoisingAE noise=0.5
  %(prog)s data/mvtec --detector skanomaly.benchmark.PCAReconstruction \
      --detector sklearn.ensemble.IsolationForest n_estimators=200
  %(prog)s bars --size 32 --seeds 0 --json > rows.json
"""

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
    allows_closed_output,
    escape_output,
    print_message,
    report_error,
    user_path,
    wants_progress,
)
from ..detectors._base import BaseAutoencoderDetector
from ..networks import ConvolutionalAutoencoder
from ._datasets import MADE
from ._detectors import has_parameter, make_detector
from ._report import markdown_report, read_references
from ._run_benchmark import BenchmarkError, run_benchmark
from ._speed_command import SPEED, speed

_PROGRAM = "python -m skanomaly.benchmark"


@allows_closed_output
def main(arguments: Sequence[str] | None = None, *, program: str = _PROGRAM) -> int:
    """Run the benchmark and print its tables.

    Parameters
    ----------
    arguments : sequence of str, default=None
        Arguments after the program name; None means those of the command line.
    program : str, default="python -m skanomaly.benchmark"
        Program name in messages.

    Returns
    -------
    int
        0; 1 if a run failed; 2 for invalid usage or input; 130 if interrupted; 141 if the reader of
        stdout closed it.
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    if arguments[:1] == [SPEED]:
        return speed(arguments[1:], program=f"{program} {SPEED}")
    options = _make_parser(program).parse_args(arguments)
    escape_output()
    try:
        if options.report and options.output is None:
            raise ValueError("--report needs --output FOLDER.")
        references = [] if options.references is None else read_references(options.references)
        rows = run_benchmark(
            options.datasets,
            _make_detectors(options),
            size=options.size[0] if len(options.size) == 1 else tuple(options.size),
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
        again = "" if options.output is None else "; the same command resumes the benchmark"
        print_message(f"\n{program}: interrupted{again}")
        return INTERRUPTED
    except (OSError, ValueError, TypeError, argparse.ArgumentTypeError) as error:
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
        print_message(f"{program}: failed: {failure}")
    return FAILURE if failures else 0


def _make_parser(program: str) -> argparse.ArgumentParser:
    parser = OneLineParser(
        prog=program, description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    assignments: dict[str, Any] = {"nargs": "+", "action": "extend", "default": []}
    assignments |= {"type": _assignment, "metavar": "NAME=VALUE"}
    add(
        "datasets",
        nargs="+",
        metavar="DATASET",
        help="folder with train/good, test/KIND and ground_truth/KIND, a folder of such folders, "
        f"or one of {', '.join(MADE)}",
    )
    add(
        "--size",
        type=int,
        nargs="+",
        default=[128],
        metavar="PIXELS",
        help="side of the images in pixels, or height and width (default: 128)",
    )
    add("--seeds", type=int, nargs="+", default=[0, 1], help="random seeds (default: 0 1)")
    add(
        "--detector",
        nargs="+",
        action="append",
        metavar=("DETECTOR", "NAME=VALUE"),
        help="detector of skanomaly, or import path of a class or an estimator with the same "
        "methods, and its parameters; repeat for several detectors (default: "
        "SelfSupervisedAutoencoderDetector)",
    )
    add(
        "--set",
        help="parameters for all detectors of skanomaly that have them, unless --detector sets "
        "them; corruption__NAME for those of a corruption",
        **assignments,
    )
    add(
        "--network",
        help="parameters of the convolutional autoencoder in detectors of skanomaly",
        **assignments,
    )
    add("--jobs", type=int, default=1, metavar="N", help="parallel runs, -1 for all processors")
    add("--output", type=user_path, metavar="FOLDER", help="folder of results, to resume from")
    add(
        "--report",
        action="store_true",
        help="write an HTML page with scores, maps and true masks for each run into FOLDER/reports",
    )
    add(
        "--on-damaged",
        choices=("raise", "skip"),
        default="raise",
        help="whether an image file that cannot be read is an error or skipped (default: raise)",
    )
    add(
        "--references",
        type=user_path,
        metavar="FILE.csv",
        help="published results to show, with the columns detector, source and any others",
    )
    add_shared_options(parser)
    return parser


def _make_detectors(options: argparse.Namespace) -> list[Any]:
    """Make the detectors, and set the common parameters.

    Raises
    ------
    ValueError, TypeError
        If there is no such detector or parameter, or no detector has a common parameter.
    """
    shared = dict(options.set)
    if options.network:
        if "network" in shared:
            raise ValueError("Pass --network NAME=VALUE or --set network=…, not both.")
        network = dict(options.network)
        # Fail now for an unknown name, and not in each run.
        ConvolutionalAutoencoder((16, 16, 1), **network)
        shared["network"] = partial(ConvolutionalAutoencoder, **network)
    detectors = []
    taken: set[str] = set()
    for name, *texts in options.detector or [["SelfSupervisedAutoencoderDetector"]]:
        own = dict(_assignment(text) for text in texts)
        plain = make_detector(name, {})
        takes = {}
        # max_iter and others have another meaning in other libraries.
        if isinstance(plain, BaseAutoencoderDetector):
            takes = {key: value for key, value in shared.items() if has_parameter(plain, key)}
        detectors.append(make_detector(name, {**takes, **own}))
        taken |= takes.keys()
    if unknown := ", ".join(name for name in shared if name not in taken):
        raise ValueError(f"No detector of skanomaly among those given has a parameter {unknown}.")
    return detectors


def _assignment(text: str) -> tuple[str, Any]:
    """Parse NAME=VALUE, where VALUE is a Python literal or else a string."""
    name, equals, value = text.partition("=")
    if not (name and equals):
        message = f"expected NAME=VALUE, got {text!r}; datasets come before all options"
        raise argparse.ArgumentTypeError(message)
    try:
        return name, ast.literal_eval(value)
    except (ValueError, SyntaxError):
        return name, value
