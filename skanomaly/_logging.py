"""Messages of long tasks, under the logger "skanomaly"."""

from __future__ import annotations

import logging
import sys

_LOGGER = logging.getLogger("skanomaly")


def log_progress(message: str, *, verbose: int) -> None:
    """Log a message on how far a task is: at INFO if it is verbose, else at DEBUG.

    With ``verbose`` a message is seen by those who have set up no logging, too: it goes to stderr
    where logging has no handler, or is left at a level of warnings. A level above INFO that is set
    on the logger "skanomaly" itself keeps it quiet.

    Parameters
    ----------
    message : str
    verbose : int
    """
    if not verbose:
        _LOGGER.debug("%s", message)
    elif _LOGGER.hasHandlers() and _LOGGER.isEnabledFor(logging.INFO):
        _LOGGER.info("%s", message)
    elif _LOGGER.level <= logging.INFO:
        _write(message)


def _write(message: str) -> None:
    """Write a line to stderr, where there is one, in the characters that it has."""
    if sys.stderr is None:  # as under pythonw
        return
    encoding = getattr(sys.stderr, "encoding", None) or "utf-8"
    sys.stderr.write(message.encode(encoding, "backslashreplace").decode(encoding) + "\n")
    sys.stderr.flush()
