"""Atomic writes of new and existing files."""

import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from threading import Barrier, Thread

import pytest

from skanomaly import _files
from skanomaly._files import atomic_write, check_output_file, exclusive_use

posix = pytest.mark.skipif(os.name != "posix", reason="pipes, modes and locks are of POSIX")


def write(path, text="new"):
    with atomic_write(path) as aside:
        aside.write_text(text)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@posix
def test_what_is_no_regular_file_is_refused(tmp_path):
    pipe, link, folder = tmp_path / "pipe", tmp_path / "link", tmp_path / "folder"
    os.mkfifo(pipe)
    folder.mkdir()
    link.symlink_to(os.devnull)
    for path in (pipe, link, folder, Path(os.devnull)):
        with pytest.raises(OSError, match="Not a regular file"):
            write(path)
    for path in (pipe, link):
        with pytest.raises(ValueError, match="--output must be a regular file"):
            check_output_file(path, "--output")
    assert pipe.is_fifo() and link.is_symlink() and Path(os.devnull).is_char_device()
    assert names(tmp_path) == ["folder", "link", "pipe"] and not names(folder)


@posix
def test_a_link_stays_and_its_target_is_replaced(tmp_path):
    (tmp_path / "there").mkdir()
    link, target = tmp_path / "link", tmp_path / "there" / "target"
    link.symlink_to(target)
    for text in ("first", "second"):
        write(link, text)
        assert link.is_symlink() and target.read_text() == text
    assert names(tmp_path) == ["link", "there"] and names(tmp_path / "there") == ["target"]


@posix
@pytest.mark.parametrize("mode", [0o600, 0o640, 0o400, 0o666])
def test_the_mode_of_a_file_stays(mode, tmp_path):
    path = tmp_path / "file"
    path.touch()
    path.chmod(mode)
    with atomic_write(path) as aside:
        # The new file is not readable by others than the old one.
        assert aside.stat().st_mode & 0o777 & ~mode & ~0o600 == 0
        aside.write_text("new")
    assert path.stat().st_mode & 0o777 == mode


@posix
def test_a_new_file_has_the_mode_of_any_other(tmp_path):
    write(tmp_path / "file")
    (tmp_path / "usual").touch()
    assert (tmp_path / "file").stat().st_mode == (tmp_path / "usual").stat().st_mode


# The file alone, without the library and torch.
KILLED = """
import os, runpy, signal, sys
from pathlib import Path
atomic_write = runpy.run_path(sys.argv[2])["atomic_write"]
with atomic_write(Path(sys.argv[1])) as aside:
    aside.write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)
"""


@posix
@pytest.mark.parametrize("name", ["file", "x" * 255])
def test_the_next_write_removes_what_a_kill_left(name, tmp_path):
    path, other = tmp_path / name, tmp_path / (name[:-1] + "y")
    for killed in (path, other):
        done = subprocess.run([sys.executable, "-c", KILLED, killed, _files.__file__])
        assert done.returncode == -signal.SIGKILL
    assert len(names(tmp_path)) == 2 and not path.exists()
    write(path)
    assert path.read_text() == "new" and len(names(tmp_path)) == 2
    write(other)
    assert names(tmp_path) == sorted([path.name, other.name])


def test_writes_of_one_file_at_the_same_time(tmp_path):
    path, together = tmp_path / "file", Barrier(8)
    errors = []

    def repeat(number):
        together.wait()
        for _ in range(50):
            try:
                write(path, str(number) * 1000)
            except Exception as error:
                errors.append(error)

    threads = [Thread(target=repeat, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == [] and names(tmp_path) == ["file"]
    assert len(text := path.read_text()) == 1000 and len(set(text)) == 1


def test_an_error_leaves_the_old_file(tmp_path):
    path = tmp_path / "file"
    path.write_text("old")
    with suppress(KeyError), atomic_write(path) as aside:
        aside.write_text("half")
        raise KeyError
    assert path.read_text() == "old" and names(tmp_path) == ["file"]


@posix
def test_exclusive_use(tmp_path):
    path = tmp_path / "file"
    with exclusive_use(path) as first:
        with exclusive_use(path) as second, exclusive_use(tmp_path / "other") as other:
            assert (first, second, other) == (True, False, True)
        with exclusive_use(path) as second:
            assert not second
    with exclusive_use(path) as again:
        assert again
    assert not names(tmp_path)
