"""The state of torch in which this library computes, whatever its caller has set."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TypeVar

import torch

T = TypeVar("T")


@contextmanager
def usual_torch_state() -> Iterator[None]:
    """Compute on the CPU by default, with gradients and without mixed precision.

    Only the state of this thread is set.
    """
    with ExitStack() as stack:
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.enable_grad())
        for kind in ("cpu", "cuda", "mps"):
            if torch.is_autocast_enabled(kind):
                stack.enter_context(torch.autocast(kind, enabled=False))
        if torch.get_default_device().type != "cpu":
            # Slows every call of torch down a little.
            stack.enter_context(torch.device("cpu"))
        yield


def in_usual_torch_state(batches: Iterator[T]) -> Iterator[T]:
    """Compute each batch in `usual_torch_state`, and yield it in the state of the caller."""
    while True:
        with usual_torch_state():
            try:
                batch = next(batches)
            except StopIteration:
                return
        yield batch
