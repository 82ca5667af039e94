"""Errors for results that do not fit into memory, before they are allocated."""

from __future__ import annotations

import math
from pathlib import Path

_MEMINFO = Path("/proc/meminfo")
# Smaller allocations are not checked.
_LITTLE = 2**26
_LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))


def available_memory() -> float:
    """Return the available memory in bytes, infinite on systems other than Linux.

    It includes swap and respects the limit of a container.
    """
    try:
        lines = dict(line.split(":", 1) for line in _MEMINFO.read_text().splitlines())
        free = sum(1024.0 * int(lines[name].split()[0]) for name in ("MemAvailable", "SwapFree"))
    except (OSError, KeyError, ValueError):
        return math.inf
    for path in _LIMITS:
        try:
            free = min(free, float(path.read_text()))
        except (OSError, ValueError):  # no container, or no limit
            continue
    return free


def require_memory(n_bytes: float, what: str, remedy: str) -> None:
    """Raise a MemoryError if more memory is required than is available.

    Parameters
    ----------
    n_bytes : float
    what : str
        Name of the result, in the plural.
    remedy : str
        Advice, as a sentence.
    """
    if n_bytes < _LITTLE:
        return
    free = available_memory()
    if n_bytes > free:
        raise MemoryError(
            f"Not enough memory: {what} take {n_bytes / 2**30:.3g} GiB, and {free / 2**30:.3g} GiB "
            f"are free. {remedy}"
        )
