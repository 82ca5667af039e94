"""Ctrl-C, held back until a step of training is done."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def held_back_interrupt() -> Iterator[Callable[[], bool]]:
    """Hold back the first Ctrl-C, and raise it on leaving; a second one is raised at once.

    Where Python does not answer Ctrl-C itself, in another thread than the main one or under a
    handler of somebody else, nothing is held back.

    Yields
    ------
    callable
        Tells whether Ctrl-C was pressed.

    Raises
    ------
    KeyboardInterrupt
        On leaving, if it was.

    Examples
    --------
    >>> from skanomaly.training import held_back_interrupt
    >>> with held_back_interrupt() as is_pressed:
    ...     is_pressed()
    False
    """
    pressed = False

    def note(signal_number: int, frame: FrameType | None) -> None:
        nonlocal pressed
        if pressed:
            raise KeyboardInterrupt
        pressed = True

    usual = signal.default_int_handler
    in_main_thread = threading.current_thread() is threading.main_thread()
    if not in_main_thread or signal.getsignal(signal.SIGINT) is not usual:
        yield lambda: False
        return
    signal.signal(signal.SIGINT, note)
    try:
        yield lambda: pressed
    finally:
        signal.signal(signal.SIGINT, usual)
    if pressed:
        raise KeyboardInterrupt
