"""Paths of users, and output files: checked before the work, and written atomically."""

from __future__ import annotations

import errno
import hashlib
import os
import secrets
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryFile

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]


def expand_user(path: str | bytes | os.PathLike[str]) -> Path:
    """Replace a leading ~ by the home folder, unless a file or folder of that name exists.

    Raises
    ------
    ValueError
        If the path is empty, which would mean the current folder.
    """
    path = os.fsdecode(path)
    if not path:
        raise ValueError("A path must not be empty; the current folder is '.'.")
    if path.startswith("~") and not os.path.lexists(path):
        return Path(os.path.expanduser(path))
    return Path(path)


@contextmanager
def atomic_write(path: Path, *, durable: bool = False) -> Iterator[Path]:
    """Yield the path of a temporary file that replaces ``path`` if the block succeeds.

    If ``path`` is a link, its target is replaced; an existing file keeps its mode. The temporary
    file of a killed process is removed by the next write.

    Parameters
    ----------
    path : Path
    durable : bool, default=False
        Whether to flush the new file to the disk before it replaces the old one, so that one of
        them survives a power cut.

    Raises
    ------
    OSError
        If ``path`` is not a regular file, or cannot be written.
    """
    path = Path(os.path.realpath(path))
    mode = None
    if path.exists():
        if not path.is_file():
            raise OSError(errno.EINVAL, "Not a regular file", str(path))
        mode = stat.S_IMODE(path.stat().st_mode)
    aside, handle = _create_aside(path, mode)
    try:
        try:
            yield aside
            if durable:
                _flush(aside)
            if mode is not None:
                aside.chmod(mode)
            aside.replace(path)
        except BaseException:
            aside.unlink(missing_ok=True)
            raise
        # From here on, another write may use the name.
        if durable and os.name == "posix":
            _flush(path.parent)
    finally:
        if handle is not None:
            os.close(handle)


def _create_aside(path: Path, mode: int | None) -> tuple[Path, int | None]:
    """Create an empty file beside another, which is locked while the handle is open."""
    # A name of maximum length cannot be extended.
    start = f".{path.name[:40]}."
    digest = hashlib.sha256(os.fsencode(path.name)).hexdigest()
    aside = path.parent / f"{start}{digest[:16]}.part"
    # The permissions of a new file, or at most those of the old one.
    mode = 0o666 if mode is None else mode & 0o666 | 0o600
    flags = os.O_CREAT | os.O_EXCL | os.O_RDWR
    while True:
        _remove_abandoned(aside)
        try:
            handle = os.open(aside, flags, mode)
        except FileExistsError:
            # Another write of the same file is running.
            aside = path.parent / f"{start}{secrets.token_hex(8)}.part"
            handle = os.open(aside, flags, mode)
        if fcntl is None:
            # Windows cannot move a file that is open.
            os.close(handle)
            return aside, None
        if _try_lock(handle) is not False and _is_at(aside, handle):
            return aside, handle
        # Another process removed it as abandoned before it was locked.
        os.close(handle)


def _remove_abandoned(aside: Path) -> None:
    """Remove the file of a killed process; that of a running one is locked."""
    if fcntl is None:
        return
    with suppress(OSError):
        handle = os.open(aside, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK)
        try:
            if _try_lock(handle) and _is_at(aside, handle):
                aside.unlink()
        finally:
            os.close(handle)


def _try_lock(handle: int) -> bool | None:
    """Lock a file, if it is not locked; None if the file system has no locks."""
    assert fcntl is not None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


def _is_at(path: Path, handle: int) -> bool:
    """Whether the path is that of the open file, not of a later one."""
    try:
        return os.path.samestat(path.lstat(), os.fstat(handle))
    except FileNotFoundError:
        return False


@contextmanager
def exclusive_use(path: Path) -> Iterator[bool]:
    """Reserve a path among all threads and processes that use this function.

    Parameters
    ----------
    path : Path
        File in a writable folder, which need not exist. The lock is on an empty file beside it,
        which is removed at the end.

    Yields
    ------
    bool
        False if the path is reserved. True on systems without such locks, such as Windows.
    """
    if fcntl is None:
        yield True
        return
    path = Path(os.path.realpath(path))
    digest = hashlib.sha256(os.fsencode(path.name)).hexdigest()
    beside = path.parent / f".{path.name[:40]}.{digest[:16]}.lock"
    while True:
        handle = os.open(beside, os.O_CREAT | os.O_RDWR | os.O_NOFOLLOW, 0o666)
        locked = _try_lock(handle)
        # The last holder may have removed it since it was opened.
        if locked is not True or _is_at(beside, handle):
            break
        os.close(handle)
    try:
        yield locked is not False
    finally:
        if locked:
            beside.unlink(missing_ok=True)
        os.close(handle)


def write_text(path: Path, text: str) -> None:
    """Write text durably and atomically; it may contain undecodable file names."""
    with atomic_write(path, durable=True) as aside:
        aside.write_text(text, encoding="utf-8", errors="surrogateescape", newline="")


def check_output_file(path: Path, name: str, *, exist_ok: bool = True) -> None:
    """Check before the work that a file can be written.

    Parameters
    ----------
    path : Path
    name : str
        Name of the option or parameter.
    exist_ok : bool, default=True
        Whether a file that exists may be replaced.

    Raises
    ------
    ValueError
        If the path is a folder, its folder does not exist, or the file exists and may not.
    OSError
        If the folder is not writable.
    """
    if path.is_dir():
        raise ValueError(f"{name} must be a file, but '{path}' is a folder.")
    if path.exists() and not path.is_file():
        raise ValueError(f"{name} must be a regular file, but '{path}' is a device or a pipe.")
    if not path.parent.is_dir():
        raise ValueError(
            f"{name} must lie in a folder that exists, got '{path}', but '{path.parent}' does not "
            "exist."
        )
    if path.exists() and not exist_ok:
        raise ValueError(f"{name}: '{path}' exists; pass --force to overwrite it.")
    try:
        with TemporaryFile(dir=Path(os.path.realpath(path)).parent):
            pass
    except OSError as error:
        message = f"{name} cannot be written to '{path}': {error.strerror}"
        raise OSError(error.errno, message) from error


def check_output_folder(folder: Path, name: str, *, exist_ok: bool = True) -> None:
    """Check before the work that a folder can be created or written into.

    Parameters
    ----------
    folder : Path
    name : str
        Name of the option or parameter.
    exist_ok : bool, default=True
        Whether it may be a folder with files.

    Raises
    ------
    ValueError
    """
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{name} must be a folder, but '{folder}' is a file.")
    if folder.is_dir() and not exist_ok and any(folder.iterdir()):
        raise ValueError(f"{name}: '{folder}' is not empty; pass --force to write into it.")


def check_apart(outputs: Iterable[tuple[str, Path]], others: Iterable[Path]) -> None:
    """Check that no output is, contains or lies in an input or another output.

    Parameters
    ----------
    outputs : iterable of (str, Path)
        Options, and the files or folders that they name.
    others : iterable of Path
        Inputs and other outputs.

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
    """Flush a file, or the names in a folder, to the disk."""
    handle = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
