"""The state of an interrupted training, in a file."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

import torch


def save_checkpoint(path: Path, fingerprint: str, state: dict[str, Any]) -> None:
    """Write a state so that a reader finds the old file or the new one, never a torn one."""
    handle, aside = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            torch.save({"fingerprint": fingerprint, **state}, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(aside, path)
    except BaseException:
        Path(aside).unlink(missing_ok=True)
        raise


def load_checkpoint(path: Path, fingerprint: str) -> dict[str, Any] | None:
    """Read a state; None where there is no file.

    Raises
    ------
    ValueError
        If the file cannot be read, or belongs to other parameters or data.
    """
    if not path.exists():
        return None
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        found = state.pop("fingerprint")
    except Exception as error:
        raise ValueError(
            f"checkpoint={str(path)!r} cannot be read as a checkpoint of skanomaly: {error}"
        ) from error
    if found != fingerprint:
        raise ValueError(
            f"checkpoint={str(path)!r} was written with other parameters or other data. Give "
            "another path, or remove the file to train anew."
        )
    return dict(state)
