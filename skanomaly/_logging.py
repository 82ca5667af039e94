"""Progress messages of the logger "skanomaly", and warnings."""

from __future__ import annotations

import logging
import sys
import warnings

_LOGGER = logging.getLogger("skanomaly")
# Packages whose lines are not the user's.
_LIBRARIES = ("skanomaly", "sklearn", "joblib", "torch", "contextlib")


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


def warn(message: str) -> None:
    """Warn at the line of the user's program from which this library was called."""
    # Python 3.12 has `skip_file_prefixes` for this.
    frame, level = sys._getframe(), 1
    while frame.f_back and frame.f_globals.get("__name__", "").split(".")[0] in _LIBRARIES:
        frame, level = frame.f_back, level + 1
    warnings.warn(message, UserWarning, stacklevel=level)


def _write(message: str) -> None:
    """Write a line to stderr in its encoding."""
    if sys.stderr is None:  # as under pythonw
        return
    encoding = getattr(sys.stderr, "encoding", None) or "utf-8"
    sys.stderr.write(message.encode(encoding, "backslashreplace").decode(encoding) + "\n")
    sys.stderr.flush()
