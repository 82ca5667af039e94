"""Errors that come before memory runs out, where it can be known."""

from __future__ import annotations

import math
from pathlib import Path

_MEMINFO = Path("/proc/meminfo")
# Bytes that are not worth a look at what is free.
_LITTLE = 2**26
_LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))


def available_memory() -> float:
    """Read how much memory is free.

    Returns
    -------
    float
        Bytes that can be had at most, swap among them and the limit of a container respected;
        infinite on systems other than Linux.
    """
    try:
        lines = dict(line.split(":", 1) for line in _MEMINFO.read_text().splitlines())
        free = sum(1024.0 * int(lines[name].split()[0]) for name in ("MemAvailable", "SwapFree"))
    except (OSError, KeyError, ValueError):
        return math.inf
    for path in _LIMITS:
        try:
            free = min(free, float(path.read_text()))
        except (OSError, ValueError):  # no container, or "max"
            continue
    return free


def require_memory(n_bytes: float, what: str, remedy: str) -> None:
    """Refuse what cannot fit into memory, before any of it is taken.

    Parameters
    ----------
    n_bytes : float
    what : str
        What takes it, in the plural.
    remedy : str
        What to do, as a sentence.

    Raises
    ------
    MemoryError
    """
    if n_bytes < _LITTLE:
        return
    free = available_memory()
    if n_bytes > free:
        raise MemoryError(
            f"Not enough memory: {what} take {n_bytes / 2**30:.3g} GiB, and {free / 2**30:.3g} GiB "
            f"are free. {remedy}"
        )
