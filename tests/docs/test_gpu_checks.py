"""docs/gpu_checks runs on the CPU in its small form, and reports what fails and what it skips."""

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

FOLDER = Path(__file__).parents[2] / "docs" / "gpu_checks"


@pytest.fixture
def command(monkeypatch):
    """The module of the command, whose other modules lie beside it."""
    monkeypatch.syspath_prepend(FOLDER)
    # Restored, as the command changes it.
    monkeypatch.setenv("PYTHONPATH", os.environ.get("PYTHONPATH", ""))
    spec = importlib.util.spec_from_file_location("gpu_checks", FOLDER / "__main__.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    for name in ("checkout", "setting", "correctness", "figures"):
        del sys.modules[name]


def results(folder):
    found = json.loads((folder / "report.json").read_text(encoding="utf-8"))["results"]
    return {result["name"]: result for result in found}


def test_the_package_beside_the_command_is_checked(tmp_path):
    folder = tmp_path / "docs" / "gpu_checks"
    folder.mkdir(parents=True)
    shutil.copy(FOLDER / "checkout.py", folder)
    (tmp_path / "skanomaly").mkdir()
    (tmp_path / "skanomaly" / "__init__.py").write_text("print('here')")
    (folder / "__main__.py").write_text(
        "import subprocess, sys, checkout, skanomaly\n"
        "subprocess.run([sys.executable, '-c', 'import skanomaly'], check=True)"
    )
    run = [sys.executable, folder]
    done = subprocess.run(run, cwd=FOLDER, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["here", "here"]


def test_figures_of_any_type_are_reported(command, monkeypatch, tmp_path):
    def measure(setting):
        setting.figures |= {"single": np.float32(0.5), "path": Path("a")}

    monkeypatch.setattr(command, "PARTS", [("some", 1, {"first": measure, "second": measure})])
    assert command.main(["--output", str(tmp_path), "--small"]) == 0
    assert [each["status"] for each in results(tmp_path).values()] == ["passed", "passed"]
    assert "single: 0.5" in (tmp_path / "report.txt").read_text(encoding="utf-8")


@pytest.mark.slow
@pytest.mark.parametrize("part", ["correctness", "quality"])
def test_all_checks_pass_on_the_cpu(command, part, tmp_path):
    options = ["--small", "--parts", part, "--seconds", "3600"]
    code = command.main(["--output", str(tmp_path), *options])
    found = results(tmp_path)
    failed = {name: each["reason"] for name, each in found.items() if each["status"] == "failed"}
    assert not failed and code == 0
    assert found.keys() == next(checks for name, _, checks in command.PARTS if name == part).keys()
    # Of the packages that checks need, only onnx and its companions may be missing.
    assert {name for name, each in found.items() if each["status"] == "skipped"} <= {"onnx"}
    if part == "quality":
        for each in found.values():
            assert [point["steps"] for point in each["figures"]["points"]] == [2, 4]


def test_what_fails_and_what_is_skipped_is_reported(command, monkeypatch, tmp_path):
    def fail(setting):
        setting.figures["scores"] = 0.25
        assert 1 > 2, "as it must"

    def skip(setting):
        raise command.Skipped("no such package")

    def use_up(setting):
        setting.deadline = 0

    checks = {"bad": fail, "left out": skip, "slow": use_up, "late": fail}
    monkeypatch.setattr(command, "PARTS", [("some", 1, checks), ("other", 1, {"last": skip})])
    assert command.main(["--output", str(tmp_path), "--small"]) == 1
    found = results(tmp_path)
    statuses = {name: each["status"] for name, each in found.items()}
    assert statuses == {
        **{"bad": "failed", "left out": "skipped", "slow": "passed"},
        **{"late": "skipped", "last": "skipped"},
    }
    assert "as it must" in found["bad"]["reason"] and found["bad"]["figures"] == {"scores": 0.25}
    text = (tmp_path / "report.txt").read_text(encoding="utf-8")
    assert "no such package" in text and "scores: 0.25" in text and "used up" in text
