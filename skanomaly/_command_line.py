"""Shared parts of all commands: options, and errors in one line."""

from __future__ import annotations

import argparse
import functools
import io
import math
import os
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from ._files import expand_user

Main = TypeVar("Main", bound=Callable[..., int])

WRONG_USE = 2
FAILURE = 1
INTERRUPTED = 130
BROKEN_PIPE = 141


class OneLineParser(argparse.ArgumentParser):
    """Argument parser that reports wrong usage in one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(WRONG_USE, f"{self.prog}: error: {message}; see {self.prog} --help\n")


def escape_output() -> None:
    """Escape characters that stdout cannot encode, so that no result is lost."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


def print_message(text: str) -> None:
    """Print to stderr, which a program without a console lacks: stdout may hold a table."""
    if sys.stderr is not None:
        print(text, file=sys.stderr, flush=True)


def allows_closed_output(main: Main) -> Main:
    """End a command quietly if the reader of stdout closes it, as ``head`` does."""

    @functools.wraps(main)
    def wrapped(*arguments: Any, **options: Any) -> int:
        try:
            code: int = main(*arguments, **options)
            if sys.stdout is not None:
                sys.stdout.flush()
            return code
        except BrokenPipeError:
            # Python would write the rest at exit.
            with suppress(OSError, ValueError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return BROKEN_PIPE

    return wrapped  # type: ignore[return-value]


def report_error(program: str, error: Exception) -> None:
    """Print an error to stderr, in one line."""
    print_message(f"{program}: error: {one_line(error)}")


def one_line(error: Exception) -> str:
    """Return the message of an error without line breaks."""
    return " ".join(str(error).split()) or type(error).__name__


@contextmanager
def plain_warnings(program: str) -> Iterator[None]:
    """Print warnings of this library in one line, without the line of code."""
    before = warnings.formatwarning

    def format_warning(message: Any, category: Any, *args: Any, **kwargs: Any) -> str:
        if category is not UserWarning:
            return before(message, category, *args, **kwargs)
        return f"{program}: warning: {' '.join(str(message).split())}\n"

    warnings.formatwarning = format_warning
    try:
        yield
    finally:
        warnings.formatwarning = before


def finite(value: Any) -> Any:
    """Replace NaN and infinity, which JSON lacks, by None."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def user_path(text: str) -> Path:
    """Parse a path; a leading ~ is the home folder."""
    try:
        return expand_user(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def integer(lowest: int, highest: int | None = None) -> Callable[[str], int]:
    """Make the argument type of an integer within limits."""
    limits = f"{lowest} or more" if highest is None else f"from {lowest} to {highest}"

    def parse(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = lowest - 1
        if value < lowest or (highest is not None and value > highest):
            raise argparse.ArgumentTypeError(f"expected an integer {limits}, got {text!r}")
        return value

    return parse


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
    """Whether to show progress; by default on a terminal."""
    if options.progress is not None:
        return bool(options.progress)
    # stderr is None in a program without a console.
    return sys.stderr is not None and sys.stderr.isatty()
