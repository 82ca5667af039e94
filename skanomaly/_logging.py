"""Progress messages of the logger "skanomaly"."""

from __future__ import annotations

import logging
import sys

_LOGGER = logging.getLogger("skanomaly")


def log_progress(message: str, *, verbose: int) -> None:
    """Log a progress message at level INFO if ``verbose``, else at DEBUG.

    Verbose messages go to stderr if logging has no handler, or the level of another logger hides
    them. A level above INFO of the logger "skanomaly" itself silences them.
    """
    if not verbose:
        _LOGGER.debug("%s", message)
    elif _LOGGER.hasHandlers() and _LOGGER.isEnabledFor(logging.INFO):
        _LOGGER.info("%s", message)
    elif _LOGGER.level <= logging.INFO:
        _write(message)


def _write(message: str) -> None:
    """Write a line to stderr in its encoding."""
    if sys.stderr is None:  # as under pythonw
        return
    encoding = getattr(sys.stderr, "encoding", None) or "utf-8"
    sys.stderr.write(message.encode(encoding, "backslashreplace").decode(encoding) + "\n")
    sys.stderr.flush()
