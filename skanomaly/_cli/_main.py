"""Reads the command line, and turns what goes wrong into one line and an exit code."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import NoReturn

import torch

from .. import __version__
from . import _demo, _fit, _score

_PROGRAM = "skanomaly"
_WRONG_USE = 2
_FAILURE = 1
_INTERRUPTED = 130

_EPILOG = """\
example:
  skanomaly demo
  skanomaly fit photos/good --output model.safetensors
  skanomaly score model.safetensors photos/new --output report
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
        0; 2 for wrong usage or input; 1 if training failed or memory ran out; 130 if interrupted.
    """
    options = _make_parser().parse_args(arguments)
    try:
        options.run(options)
    except KeyboardInterrupt:
        print(f"\n{_PROGRAM}: interrupted", file=sys.stderr)
        return _INTERRUPTED
    except (OSError, ValueError) as error:
        _report(error)
        return _WRONG_USE
    except (FloatingPointError, MemoryError, torch.cuda.OutOfMemoryError) as error:
        _report(error)
        return _FAILURE
    return 0


def _report(error: Exception) -> None:
    print(f"{_PROGRAM}: error: {' '.join(str(error).split()) or 'out of memory'}", file=sys.stderr)


class _Parser(argparse.ArgumentParser):
    """Reports wrong usage in one line, as all other errors are."""

    def error(self, message: str) -> NoReturn:
        self.exit(_WRONG_USE, f"{_PROGRAM}: error: {message}; see {self.prog} --help\n")


def _make_parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog=_PROGRAM,
        description="Find what is wrong in images, after learning from good ones alone.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"{_PROGRAM} {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for command in (_demo, _fit, _score):
        command.add_parser(commands)
    return parser
