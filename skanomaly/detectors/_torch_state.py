"""The state of torch that detectors compute in, whatever the program around them has set."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TypeVar

import torch

T = TypeVar("T")


@contextmanager
def usual_torch_state() -> Iterator[None]:
    """Compute as if nothing was set: on the CPU by default, with gradients, no mixed precision.

    Only what belongs to a thread is set, so that others are left alone.
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
    """Compute each batch in `usual_torch_state`, which does not reach those who take them."""
    while True:
        with usual_torch_state():
            try:
                batch = next(batches)
            except StopIteration:
                return
        yield batch
