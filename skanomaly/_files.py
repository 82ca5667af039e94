"""Outputs: checked before the work is done, and written whole or not at all."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryFile


@contextmanager
def atomic_write(path: Path, *, durable: bool = False) -> Iterator[Path]:
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


def write_text(path: Path, text: str) -> None:
    """Write text durably and atomically; file names in it need not be valid text."""
    with atomic_write(path, durable=True) as aside:
        aside.write_text(text, encoding="utf-8", errors="surrogateescape", newline="")


def check_output_file(path: Path, name: str, *, exist_ok: bool = True) -> None:
    """Find out before the work whether a file can be written.

    Parameters
    ----------
    path : Path
    name : str
        Of the option or parameter.
    exist_ok : bool, default=True
        Whether a file that exists may be replaced.

    Raises
    ------
    ValueError
        If it is a folder or exists, or there is no such folder.
    OSError
        If the folder cannot be written to.
    """
    if path.is_dir():
        raise ValueError(f"{name} must be a file, but '{path}' is a folder.")
    if not path.parent.is_dir():
        raise ValueError(
            f"{name} must lie in a folder that exists, got '{path}', but '{path.parent}' does not "
            "exist."
        )
    if path.exists() and not exist_ok:
        raise ValueError(f"{name}: '{path}' exists; pass --force to overwrite it.")
    try:
        with TemporaryFile(dir=path.parent):
            pass
    except OSError as error:
        message = f"{name} cannot be written to '{path}': {error.strerror}"
        raise OSError(error.errno, message) from error


def check_output_folder(folder: Path, name: str, *, exist_ok: bool = True) -> None:
    """Find out before the work whether a folder can be made or written into.

    Parameters
    ----------
    folder : Path
    name : str
        Of the option or parameter.
    exist_ok : bool, default=True
        Whether it may hold something.

    Raises
    ------
    ValueError
    """
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{name} must be a folder, but '{folder}' is a file.")
    if folder.is_dir() and not exist_ok and any(folder.iterdir()):
        raise ValueError(f"{name}: '{folder}' is not empty; pass --force to write into it.")


def check_apart(outputs: Iterable[tuple[str, Path]], others: Iterable[Path]) -> None:
    """Refuse outputs that are, contain or lie in an input or another output.

    Parameters
    ----------
    outputs : iterable of (str, Path)
        Files and folders, and the options that name them.
    others : iterable of Path
        What they must leave alone.

    Raises
    ------
    ValueError
    """
    resolved = [(name, path, path.resolve()) for name, path in outputs]
    for other_path in others:
        other = other_path.resolve()
        for name, path, output in resolved:
            if output.is_relative_to(other) or other.is_relative_to(output):
                raise ValueError(
                    f"{name} must not be, contain or lie in another file or folder of the command, "
                    f"got '{path}' beside '{other_path}'."
                )


def _flush(path: Path) -> None:
    """Bring a file, or the names in a folder, to the disk."""
    handle = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
