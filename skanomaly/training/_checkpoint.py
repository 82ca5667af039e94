"""Interrupted training: Ctrl-C, and the state stored in a file."""

import hashlib
import io
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import torch

from .._files import atomic_write

_MAGIC = b"skanomaly checkpoint 3\n"
_DIGEST_SIZE = hashlib.sha256().digest_size


@contextmanager
def held_back_interrupt() -> Iterator[Callable[[], bool]]:
    """Delay the first Ctrl-C until the end of the block; a second one is raised at once.

    Outside the main thread, and if another handler of the signal is installed, nothing is delayed.

    Yields
    ------
    callable
        Returns whether Ctrl-C was pressed.

    Raises
    ------
    KeyboardInterrupt
        At the end of the block, if Ctrl-C was pressed.

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


def save_checkpoint(path: Path, fingerprint: str, state: dict[str, Any]) -> None:
    """Write a state atomically: a reader finds the old file or the new one.

    Raises
    ------
    OSError
        If the file cannot be written, as on a full disk. The old file is then left unchanged.
    """
    buffer = io.BytesIO()
    torch.save({"fingerprint": fingerprint, **state}, buffer)
    content = buffer.getvalue()
    try:
        with atomic_write(path, durable=True) as aside:
            aside.write_bytes(_MAGIC + hashlib.sha256(content).digest() + content)
    except OSError as error:
        kept = "The previous checkpoint is intact" if path.exists() else "No checkpoint exists yet"
        raise OSError(
            error.errno,
            f"A checkpoint could not be written to checkpoint={str(path)!r}: {error.strerror}. "
            f"{kept}. Training has ended",
        ) from error


def load_checkpoint(path: Path, fingerprint: str) -> dict[str, Any] | None:
    """Read a state; None if there is no file.

    Raises
    ------
    ValueError
        If the file cannot be read, or was written with other parameters or data.
    """
    state = _read(path)
    if state is not None and state.pop("fingerprint") != fingerprint:
        raise ValueError(
            f"checkpoint={str(path)!r} was written with other parameters or other data, or from "
            "other weights in a warm start. Give another path, or remove the file to train from "
            "scratch. In a search, cross-validation or ensemble, whose clones share the path, set "
            "checkpoint=None."
        )
    return state


def checkpoint_seed(path: Path) -> int | None:
    """Read the seed of an interrupted training.

    Parameters
    ----------
    path : Path
        File of the checkpoint.

    Returns
    -------
    int or None
        None if there is no file.

    Raises
    ------
    ValueError
        If the file cannot be read.

    Examples
    --------
    >>> from pathlib import Path
    >>> from skanomaly.training import checkpoint_seed
    >>> checkpoint_seed(Path("no-training-yet.checkpoint")) is None
    True
    """
    state = _read(path)
    return None if state is None else int(state["seed"])


def _read(path: Path) -> dict[str, Any] | None:
    if not path.exists():
        return None
    try:
        content = path.read_bytes()
        if not content.startswith(_MAGIC):
            raise ValueError("not a checkpoint, or of another version")
        start = len(_MAGIC) + _DIGEST_SIZE
        if hashlib.sha256(content[start:]).digest() != content[len(_MAGIC) : start]:
            raise ValueError("checksum mismatch, the file is truncated or damaged")
        state = torch.load(io.BytesIO(content[start:]), map_location="cpu", weights_only=True)
        return {"fingerprint": state["fingerprint"], "seed": state["seed"], **state}
    except Exception as error:
        raise ValueError(
            f"checkpoint={str(path)!r} cannot be read as a checkpoint of skanomaly: {error}. "
            "Remove the file to train from scratch."
        ) from error
