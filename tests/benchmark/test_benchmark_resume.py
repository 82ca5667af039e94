"""Runs in processes of their own: killed, resumed, in parallel."""

import contextlib
import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from recording_detectors import RecordingDetector
from sklearn.ensemble import IsolationForest
from sklearn.svm import OneClassSVM

import skanomaly
from skanomaly import _files
from skanomaly._files import write_text
from skanomaly.benchmark import BenchmarkError, _processes, run_benchmark
from skanomaly.benchmark._command import main

# Differ from run to run, or are those of the machine.
_COSTS = ("training_seconds", "scoring_images_per_second", "n_jobs", "threads")


def without_costs(rows):
    return [
        {name: value for name, value in row.items() if name not in _COSTS and "memory" not in name}
        for row in rows
    ]


def wait_until(condition, what):
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        time.sleep(0.05)


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="signals are those of POSIX")
def test_a_run_killed_in_the_middle_is_resumed(tmp_path, capsys):
    output, fits = tmp_path / "results", tmp_path / "fits"
    arguments = ["bars", "--size", "12", "--seeds", "0", "1", "2", "--output", str(output)]
    arguments += ["--detector", "recording_detectors.RecordingDetector", "waiting_seed=1"]
    arguments += [f"folder={str(tmp_path)!r}"]
    paths = [Path(skanomaly.__file__).parents[1], Path(__file__).parents[1]]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, paths))}

    command = [sys.executable, "-m", "skanomaly.benchmark", *arguments]
    run = subprocess.Popen(command, env=environment, start_new_session=True)
    try:
        sign = tmp_path / "waiting"
        wait_until(sign.exists, "the second run")
        run.kill()
        assert run.wait() == -signal.SIGKILL
        wait_until(lambda: time.time() - sign.stat().st_mtime > 2, "the end of the second run")
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(run.pid, signal.SIGKILL)

    (first,) = (output / "runs").iterdir()
    kept = json.loads(first.read_text())
    assert kept["row"]["seed"] == 0
    before = first.stat()
    with (output / "results.csv").open(newline="") as file:
        assert [row["seed"] for row in csv.DictReader(file)] == ["0"]

    (tmp_path / "go").touch()
    assert main([*arguments, "--jobs", "2", "--progress"]) == 0
    log = capsys.readouterr().err
    seeds, processes = zip(*map(str.split, fits.read_text().splitlines()), strict=True)
    assert sorted(seeds) == [*"0112"] and len(set(processes)) == 4
    assert "[1/3] finished before" in log and "seed 0" not in log
    assert (first.stat().st_ino, first.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    runs = [json.loads(file.read_text())["row"] for file in (output / "runs").iterdir()]
    assert sorted(row["seed"] for row in runs) == [0, 1, 2]
    with (output / "results.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["seed"], row["n_jobs"]) for row in rows] == [("0", "1"), ("1", "2"), ("2", "2")]
    assert float(rows[0]["training_seconds"]) == kept["row"]["training_seconds"]


def test_parallel_runs_give_what_serial_runs_give(tmp_path, request):
    # What this process holds is not to count for the others.
    ballast = np.ones(300 * 125_000)
    hungry = RecordingDetector(str(tmp_path), megabytes=300)
    detectors = [hungry, IsolationForest(n_estimators=5)]
    parallel = run_benchmark("bars", detectors, size=12, seeds=[3], n_jobs=2)
    del ballast
    (line,) = (tmp_path / "fits").read_text().splitlines()
    assert line.split()[1] != str(os.getpid())
    peaks = [row["peak_memory_mb"] for row in parallel]
    assert peaks[0] > peaks[1] + 200
    assert peaks[0] > parallel[0]["start_memory_mb"] + 200
    assert parallel[1]["start_memory_mb"] + 100 > peaks[1] > 50

    request.getfixturevalue("in_this_process")
    serial = run_benchmark("bars", detectors, size=12, seeds=[3])
    assert without_costs(parallel) == without_costs(serial)
    assert [row["n_jobs"] for row in [*parallel, *serial]] == [2, 2, 1, 1]


def test_finished_runs_are_those_of_the_same_dataset_detector_and_seed(tmp_path, in_this_process):
    def fits(*detectors, **options):
        (tmp_path / "fits").unlink(missing_ok=True)
        options = {"datasets": "bars", "size": 12, "seeds": [0], "output": tmp_path} | options
        rows = run_benchmark(detectors=detectors, **options)
        made = tmp_path / "fits"
        return len(rows), len(made.read_text().splitlines()) if made.exists() else 0

    detector = RecordingDetector(str(tmp_path))
    assert fits(detector) == (1, 1)
    assert fits(detector) == (1, 0)
    assert fits(detector, detector, seeds=[0, 0]) == (1, 0)
    assert fits(detector.set_params(random_state=5)) == (1, 0)  # the seed takes its place
    assert fits(detector, seeds=[1, 0]) == (2, 1)
    with (tmp_path / "results.csv").open(newline="") as file:
        assert [row["seed"] for row in csv.DictReader(file)] == ["1", "0"]
    assert fits(detector, size=13) == (1, 1)
    assert fits(detector, datasets=["bars", "brick"], size=16) == (2, 2)
    other = RecordingDetector(str(tmp_path), megabytes=1)
    assert fits(detector, other) == (2, 1)
    (tmp_path / "results.csv").unlink()
    assert fits(other, detector) == (2, 0)
    lines = (tmp_path / "results.csv").read_text().splitlines()
    assert "megabytes=1" in lines[1] and "megabytes=1" not in lines[2]


def test_another_version_measures_again(tmp_path, in_this_process, monkeypatch):
    detector = RecordingDetector(str(tmp_path))
    run_benchmark("bars", detector, size=12, seeds=[0], output=tmp_path)
    monkeypatch.setattr("skanomaly.benchmark._runs.__version__", "99.0")
    run_benchmark("bars", detector, size=12, seeds=[0], output=tmp_path)
    assert len((tmp_path / "fits").read_text().splitlines()) == 2


@pytest.mark.parametrize("damage", ["torn", "empty", "of another run"])
def test_a_file_that_is_no_finished_run_is_written_anew(tmp_path, damage, in_this_process):
    detector = RecordingDetector(str(tmp_path))
    rows = run_benchmark("bars", detector, size=12, seeds=[0], output=tmp_path)
    (file,) = (tmp_path / "runs").iterdir()
    whole = file.read_text()
    broken = {
        "torn": whole[: len(whole) // 2],
        "empty": "",
        "of another run": whole.replace('"seed": 0', '"seed": 8'),
    }
    file.write_text(broken[damage])
    again = run_benchmark("bars", detector, size=12, seeds=[0], output=tmp_path)
    assert without_costs(again) == without_costs(rows)
    assert len((tmp_path / "fits").read_text().splitlines()) == 2
    assert json.loads(file.read_text())["row"]["seed"] == 0


def test_a_file_is_seen_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "run.json"
    write_text(path, "old")

    def stop(descriptor):
        assert path.read_text() == "old"
        assert next(tmp_path.glob(".*.part")).read_text() == "new"
        raise KeyboardInterrupt

    monkeypatch.setattr(_files.os, "fsync", stop)
    with pytest.raises(KeyboardInterrupt):
        write_text(path, "new")
    assert [(file.name, file.read_text()) for file in tmp_path.iterdir()] == [("run.json", "old")]


def test_what_a_killed_run_was_writing_is_cleared_away_later(tmp_path, in_this_process):
    runs = tmp_path / "runs"
    runs.mkdir()
    old, new = runs / ".a.json.1.part", runs / ".b.json.2.part"
    for aside in (old, new):
        aside.write_text("{")
    os.utime(old, (time.time() - 3600,) * 2)
    run_benchmark("bars", OneClassSVM(), size=12, seeds=[0], output=tmp_path)
    assert not old.exists() and new.exists()


def test_results_in_the_folder_of_before_are_taken_over(tmp_path, in_this_process):
    detector = RecordingDetector(str(tmp_path))
    run_benchmark("bars", detector, size=12, seeds=[0], output=tmp_path)
    (tmp_path / "runs").rename(tmp_path / "cells")
    run_benchmark("bars", detector, size=12, seeds=[0], output=tmp_path)
    assert len((tmp_path / "fits").read_text().splitlines()) == 1
    assert len(list((tmp_path / "runs").iterdir())) == 1 and not (tmp_path / "cells").exists()


def test_formulas_in_the_table_are_escaped(tmp_path, in_this_process):
    detectors = {"=1+1": OneClassSVM(), "plain": OneClassSVM()}
    run_benchmark("bars", detectors, size=12, seeds=[0], output=tmp_path)
    with (tmp_path / "results.csv").open(newline="") as file:
        assert [row["detector"] for row in csv.DictReader(file)] == ["'=1+1", "plain"]


def test_a_run_that_fails_leaves_the_others_alone(tmp_path, in_this_process):
    detectors = {"ruined": OneClassSVM(kernel="precomputed"), "sound": OneClassSVM()}
    with pytest.raises(BenchmarkError, match="2 of 4 runs failed") as caught:
        run_benchmark("bars", detectors, size=12, output=tmp_path)
    error = caught.value
    assert [row["detector"] for row in error.rows] == ["sound", "sound"]
    assert [(failure.detector, failure.seed) for failure in error.failures] == [
        ("ruined", 0),
        ("ruined", 1),
    ]
    assert "bars, ruined, seed 0 and 1 more: Precomputed" in str(error)
    assert error.__cause__ is error.failures[0].error
    lines = (tmp_path / "results.csv").read_text().splitlines()
    assert len(lines) == 3 and len(list((tmp_path / "runs").iterdir())) == 2


def test_processors_are_shared_out(monkeypatch):
    monkeypatch.setattr(_processes, "cpu_count", lambda: 8)
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    monkeypatch.delenv("MKL_NUM_THREADS", raising=False)
    assert _processes._limit_threads(1) == {}
    limits = _processes._limit_threads(2)
    assert (limits["OMP_NUM_THREADS"], limits["MKL_NUM_THREADS"]) == ("3", "4")
    assert set(_processes._limit_threads(16).values()) == {"1"}
