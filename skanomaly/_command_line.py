"""What all commands have in common: errors in one line, and what is shown while they run."""

from __future__ import annotations

import argparse
import sys
from typing import NoReturn

WRONG_USE = 2
FAILURE = 1
INTERRUPTED = 130


class OneLineParser(argparse.ArgumentParser):
    """Reports wrong usage in one line, as all other errors are."""

    def error(self, message: str) -> NoReturn:
        self.exit(WRONG_USE, f"{self.prog}: error: {message}; see {self.prog} --help\n")


def report_error(program: str, error: Exception) -> None:
    """Write an error on stderr, in one line."""
    text = " ".join(str(error).split()) or type(error).__name__
    print(f"{program}: error: {text}", file=sys.stderr)


def add_shared_options(parser: argparse.ArgumentParser) -> None:
    """Add ``--json`` and ``--progress``."""
    parser.add_argument(
        "--json", action="store_true", help="print the result as one JSON object, and nothing else"
    )
    parser.add_argument(
        "--progress",
        action=argparse.BooleanOptionalAction,
        help="show progress on stderr (default: where that is a terminal)",
    )


def wants_progress(options: argparse.Namespace) -> bool:
    """Whether to show progress: as asked, or else on a terminal."""
    if options.progress is not None:
        return bool(options.progress)
    # A program without a console has no stderr.
    return sys.stderr is not None and sys.stderr.isatty()
