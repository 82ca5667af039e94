"""The type hints serve a program outside the library, under the strictest rules."""

import os
import subprocess
import sys
from pathlib import Path

PROGRAM = Path(__file__).with_name("user_program.py")


def test_a_program_passes_a_strict_type_check(tmp_path):
    # Of torch's own hints the program uses none, and they take most of the time.
    settings = tmp_path / "mypy.ini"
    settings.write_text("[mypy]\nstrict = True\n[mypy-torch.*]\nfollow_imports = skip\n")
    result = subprocess.run(
        [sys.executable, "-m", "mypy", "--config-file", settings, "--cache-dir", tmp_path, PROGRAM],
        # From there, mypy has to find skanomaly where it is installed, and py.typed with it.
        cwd=tmp_path,
        env={**os.environ, "MYPYPATH": ""},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stdout + result.stderr
