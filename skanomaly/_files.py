"""Files that are written whole or not at all."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def written_aside(path: Path, *, durable: bool = False) -> Iterator[Path]:
    """Give the path of a new file beside ``path`` that takes its place when all went well.

    Parameters
    ----------
    path : Path
    durable : bool, default=False
        Whether the new file is on the disk, and not in its cache alone, before it replaces the
        old one, so that a power cut leaves one of them too.
    """
    # A name of the greatest length leaves no room for more.
    aside = path.parent / f".{path.name[:40]}.{secrets.token_hex(8)}.part"
    # Made as any new file is, with the permissions that the user's mask leaves.
    os.close(os.open(aside, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o666))
    try:
        yield aside
        if durable:
            _flush(aside)
        aside.replace(path)
        if durable and os.name == "posix":
            _flush(path.parent)
    finally:
        aside.unlink(missing_ok=True)


def _flush(path: Path) -> None:
    """Bring a file, or the names in a folder, to the disk."""
    handle = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
