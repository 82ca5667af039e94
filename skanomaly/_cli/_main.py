"""Reads the command line, and turns what goes wrong into one line and an exit code."""

from __future__ import annotations

import argparse
import io
import re
import sys
from collections.abc import Sequence

import torch

from .. import __version__
from .._command_line import FAILURE, INTERRUPTED, WRONG_USE, OneLineParser, report_error
from . import _calibrate, _demo, _fit, _info, _score

_PROGRAM = "skanomaly"
_BENCHMARK = "benchmark"

_EPILOG = """\
example:
  skanomaly demo
  skanomaly fit photos/good --output model.safetensors
  skanomaly score model.safetensors photos/new --report report.html
  skanomaly calibrate model.safetensors photos/good-today
  skanomaly benchmark data/magnetic_tile --output results --report

exit codes: 0 done; 1 training failed, memory ran out or an image could not be read; 2 wrong usage
or input; 130 interrupted
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    arguments : sequence of str, optional
        What stands after the program's name; None takes it from the command line.

    Returns
    -------
    int
        0; 2 for wrong usage or input; 1 if training failed, memory ran out or an image that was to
        be scored could not be read; 130 if interrupted.
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    if arguments[:1] == [_BENCHMARK]:
        from ..benchmark._command import main as benchmark

        return benchmark(arguments[1:], program=f"{_PROGRAM} {_BENCHMARK}")
    options = _make_parser().parse_args(_join_numbers(arguments))
    # What a stream cannot encode is escaped: a result must not be lost to a character.
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        return int(options.run(options) or 0)
    except KeyboardInterrupt as interrupt:
        print(f"\n{_PROGRAM}: interrupted{interrupt}", file=sys.stderr)
        return INTERRUPTED
    except (OSError, ValueError) as error:
        report_error(_PROGRAM, error)
        return WRONG_USE
    except (FloatingPointError, MemoryError, torch.cuda.OutOfMemoryError) as error:
        report_error(_PROGRAM, error)
        return FAILURE


def _join_numbers(arguments: Sequence[str]) -> list[str]:
    """Write ``--threshold -1e-5`` as one word: before Python 3.14 it is taken for two options."""
    joined: list[str] = []
    for word in arguments:
        if joined and re.fullmatch(r"-[\d.]+[eE][-+]?\d+", word) and joined[-1].startswith("--"):
            joined[-1] += f"={word}"
        else:
            joined.append(word)
    return joined


def _make_parser() -> argparse.ArgumentParser:
    parser = OneLineParser(
        prog=_PROGRAM,
        description="Find what is wrong in images, after learning from good ones alone.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"{_PROGRAM} {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for command in (_demo, _fit, _score, _calibrate, _info):
        command.add_parser(commands)
    # Named here for --help alone: the benchmark reads what follows it.
    commands.add_parser(_BENCHMARK, help="measure detectors on datasets with known defects")
    return parser
