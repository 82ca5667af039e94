"""How much memory this process has held."""

from __future__ import annotations

import sys
from contextlib import suppress
from pathlib import Path

import torch


def peak_memory() -> float | None:
    """Return the most resident memory that this process has held, in 10⁶ bytes.

    None where the system does not tell.
    """
    try:
        # Linux counts in ru_maxrss what the parent held when it started this process.
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024 / 1e6
    except OSError:
        pass
    try:
        import resource
    except ImportError:
        return None
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


def reset_peak_memory() -> None:
    """Let `peak_memory` begin anew from what this process holds now, on Linux."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def peak_gpu_memory() -> float | None:
    """Return the most memory that tensors have held on the GPU, in 10⁶ bytes, None if unused."""
    if not torch.cuda.is_initialized():
        return None
    return torch.cuda.max_memory_allocated() / 1e6
