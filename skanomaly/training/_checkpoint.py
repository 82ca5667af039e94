"""The state of an interrupted training, in a file."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path
from typing import Any

import torch

from .._files import atomic_write

_MAGIC = b"skanomaly checkpoint 3\n"
_DIGEST_SIZE = hashlib.sha256().digest_size


def save_checkpoint(path: Path, fingerprint: str, state: dict[str, Any]) -> None:
    """Write a state so that a reader finds the old file or the new one, never a torn one.

    Raises
    ------
    OSError
        If it cannot be written, as on a full disk. What was there is left as it was.
    """
    buffer = io.BytesIO()
    torch.save({"fingerprint": fingerprint, **state}, buffer)
    content = buffer.getvalue()
    try:
        with atomic_write(path, durable=True) as aside:
            aside.write_bytes(_MAGIC + hashlib.sha256(content).digest() + content)
    except OSError as error:
        kept = "The one before it is whole." if path.exists() else "There is none yet."
        raise OSError(
            error.errno,
            f"A checkpoint could not be written to checkpoint={str(path)!r}: {error.strerror}. "
            f"{kept} Training has ended",
        ) from error


def load_checkpoint(path: Path, fingerprint: str) -> dict[str, Any] | None:
    """Read a state; None where there is no file.

    Raises
    ------
    ValueError
        If the file cannot be read, or belongs to other parameters or data.
    """
    state = _read(path)
    if state is None:
        return None
    if state.pop("fingerprint") != fingerprint:
        raise ValueError(
            f"checkpoint={str(path)!r} was written with other parameters or other data. Set "
            "another path, or remove the file to train anew. In a search, cross-validation or "
            "ensemble, whose clones share the path, set checkpoint=None."
        )
    return state


def checkpoint_seed(path: Path) -> int | None:
    """Read the seed that an interrupted training began with.

    Parameters
    ----------
    path : Path
        Of the checkpoint.

    Returns
    -------
    int or None
        None where there is no file.

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
            raise ValueError("it is something else, or of another version")
        start = len(_MAGIC) + _DIGEST_SIZE
        if hashlib.sha256(content[start:]).digest() != content[len(_MAGIC) : start]:
            raise ValueError("it was cut short or altered")
        state = torch.load(io.BytesIO(content[start:]), map_location="cpu", weights_only=True)
        return {"fingerprint": state["fingerprint"], "seed": state["seed"], **state}
    except Exception as error:
        raise ValueError(
            f"checkpoint={str(path)!r} cannot be read as a checkpoint of skanomaly: {error}. "
            "Remove the file to train anew."
        ) from error
