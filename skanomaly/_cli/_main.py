"""Detect anomalies in images, after training on good images only.

example:
  skanomaly demo
  skanomaly fit photos/good --output model.safetensors
  skanomaly score model.safetensors photos/new --report report.html
  skanomaly calibrate model.safetensors photos/good-today
  skanomaly benchmark data/magnetic_tile --output results --report

exit codes: 0 success; 1 training failed, out of memory, or an image could not be read; 2 invalid
usage or input; 130 interrupted; 141 stdout closed by its reader
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Sequence

import torch

from .. import __version__
from .._command_line import (
    FAILURE,
    INTERRUPTED,
    WRONG_USE,
    OneLineParser,
    allows_closed_output,
    escape_output,
    plain_warnings,
    print_message,
    report_error,
)
from . import _calibrate, _demo, _fit, _info, _score

_PROGRAM = "skanomaly"
_BENCHMARK = "benchmark"


@allows_closed_output
def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    arguments : sequence of str, optional
        Arguments after the program name; None means those of the command line.

    Returns
    -------
    int
        0; 1 if training failed, memory ran out or an image to score could not be read; 2 for
        invalid usage or input; 130 if interrupted; 141 if the reader of stdout closed it.
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    if arguments[:1] == [_BENCHMARK]:
        from ..benchmark._command import main as benchmark

        return benchmark(arguments[1:], program=f"{_PROGRAM} {_BENCHMARK}")
    options = _make_parser().parse_args(_join_numbers(arguments))
    escape_output()
    try:
        with plain_warnings(_PROGRAM):
            return int(options.run(options) or 0)
    except KeyboardInterrupt as interrupt:
        print_message(f"\n{_PROGRAM}: interrupted{interrupt}")
        return INTERRUPTED
    except BrokenPipeError:  # the one OSError that is no wrong use
        raise
    except (OSError, ValueError) as error:
        report_error(_PROGRAM, error)
        return WRONG_USE
    except (FloatingPointError, MemoryError, torch.cuda.OutOfMemoryError) as error:
        report_error(_PROGRAM, error)
        return FAILURE


def _join_numbers(arguments: Sequence[str]) -> list[str]:
    """Join ``--threshold -1e-5`` or ``-5.``, which Python before 3.14 parses as two options."""
    joined: list[str] = []
    for word in arguments:
        if joined and re.fullmatch(r"-[\d.]+([eE][-+]?\d+)?", word) and joined[-1].startswith("--"):
            joined[-1] += f"={word}"
        else:
            joined.append(word)
    return joined


def _make_parser() -> argparse.ArgumentParser:
    parser = OneLineParser(
        prog=_PROGRAM, description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--version", action="version", version=f"{_PROGRAM} {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for command in (_demo, _fit, _score, _calibrate, _info):
        command.add_parser(commands)
    # Only for --help: the benchmark parses its arguments itself.
    commands.add_parser(_BENCHMARK, help="measure detectors on datasets with known defects")
    return parser
