"""What goes wrong on the command line ends in one line and an exit code."""

import csv
import html
import os
import re
import signal
import subprocess
import sys

import joblib
import numpy as np
import pytest
from PIL import Image

from skanomaly import SelfSupervisedAutoencoderDetector, __version__
from skanomaly._cli import main


def run(*arguments):
    """Run the command line in this process; wrong usage exits, as argparse does."""
    try:
        return main([str(argument) for argument in arguments])
    except SystemExit as exit_:
        return exit_.code


def assert_one_line(capsys, *parts):
    error = capsys.readouterr().err
    assert re.match(r"skanomaly( demo| fit| score| calibrate| info)?: error: ", error)
    assert error.count("\n") == 1 and error.endswith("\n")
    for part in parts:
        assert str(part) in error


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        ([], "COMMAND"),
        (["train"], "train"),
        (["fit", "x"], "--output"),
        (["fit", "x", "--output", "y", "--size", "0"], "--size"),
        (["fit", "x", "--output", "y", "--size", "3x4x5"], "96x128"),
        (["fit", "x", "--output", "y", "--max-iter", "0"], "1 or more"),
        (["fit", "x", "--output", "y", "--max-iter", "1.5"], "--max-iter"),
        (["fit", "x", "--output", "y", "--mode", "cmyk"], "cmyk"),
        (["fit", "x", "--output", "y", "--contamination", "0.7"], "0.5"),
        (["fit", "x", "--output", "y", "--contamination", "nan"], "0.5"),
        (["fit", "x", "--output", "y", "--seed", "-1"], "--seed"),
        (["score", "x"], "FOLDER"),
        (["score", "x", "y", "--maps", "png"], "npy"),
        (["score", "x", "y", "--masks"], "--output"),
        (["score", "x", "y", "--threshold", "1"], "0 or less"),
        (["score", "x", "y", "--threshold", "nan"], "0 or less"),
        (["fit", "x", "--output", "y", "--on-error", "ignore"], "skip"),
        (["calibrate", "x"], "GOOD_FOLDER"),
        (["calibrate", "x", "y", "--false-alarms", "1"], "0.5"),
        (["info"], "MODEL"),
        (["info", "/dev/null"], "not a regular file"),
        (["fit", "", "--output", "y"], "must not be empty"),
        (["score", "x", "", "--threshold", "-5."], "must not be empty"),
        (["score", "x", "y", "--output", ""], "must not be empty"),
        (["demo", "--image-size", "8"], "16"),
    ],
)
def test_wrong_usage(arguments, part, capsys):
    assert run(*arguments) == 2
    assert_one_line(capsys, part)


@pytest.mark.parametrize(
    "command", [[], ["demo"], ["fit"], ["score"], ["calibrate"], ["info"], ["benchmark"]]
)
def test_help_has_an_example(command, capsys):
    assert run(*command, "--help") == 0
    text = capsys.readouterr().out
    assert re.search(r"\nexamples?:\n  skanomaly ", text)


def test_version(capsys):
    assert run("--version") == 0
    assert capsys.readouterr().out == f"skanomaly {__version__}\n"


def test_fit_on_a_missing_folder(tmp_path, capsys):
    assert run("fit", tmp_path / "none", "--output", tmp_path / "m") == 2
    assert_one_line(capsys, "No such folder", tmp_path / "none")


def test_fit_on_a_file(photos, tmp_path, capsys):
    assert run("fit", photos.model, "--output", tmp_path / "m") == 2
    assert_one_line(capsys, "folder of images")


def test_fit_on_a_folder_without_images(tmp_path, capsys):
    assert run("fit", tmp_path, "--output", tmp_path / "m") == 2
    assert_one_line(capsys, "holds no image")


def test_fit_on_one_image(photos, tmp_path, capsys):
    with Image.open(photos.good / "00.png") as opened:
        opened.save(tmp_path / "a.png")
    assert run("fit", tmp_path, "--output", tmp_path / "m") == 2
    assert_one_line(capsys, "minimum of 2")


@pytest.mark.parametrize("content", [b"no image", None])
def test_fit_on_an_unreadable_image(photos, tmp_path, content, capsys):
    for name in ("a.png", "b.png", "c.png"):
        (tmp_path / name).write_bytes((photos.good / "00.png").read_bytes())
    whole = (photos.good / "00.png").read_bytes()
    (tmp_path / "b.png").write_bytes(whole[: len(whole) // 2] if content is None else content)
    model = tmp_path / "m"
    assert run("fit", tmp_path, "--output", model, "--max-iter", "1") == 2
    assert_one_line(capsys, tmp_path / "b.png")
    assert not model.exists()


def test_fit_into_a_missing_folder(photos, tmp_path, capsys):
    assert run("fit", photos.good, "--output", tmp_path / "none" / "m") == 2
    assert_one_line(capsys, tmp_path / "none")


def test_fit_onto_a_folder(photos, tmp_path, capsys):
    assert run("fit", photos.good, "--output", tmp_path, "--force") == 2
    assert_one_line(capsys, "is a folder")


def test_fit_on_an_unknown_device(photos, tmp_path, capsys):
    assert run("fit", photos.good, "--output", tmp_path / "m", "--device", "abacus") == 2
    assert_one_line(capsys, "abacus")


def test_score_by_a_missing_model(photos, tmp_path, capsys):
    assert run("score", tmp_path / "m", photos.new, "--output", tmp_path / "out") == 2
    assert_one_line(capsys, tmp_path / "m", "does not exist")
    assert run("score", tmp_path, photos.new, "--output", tmp_path / "out") == 2
    assert_one_line(capsys, "is a folder")


@pytest.mark.parametrize("kind", ["text", "image", "pickle", "detector", "truncated"])
def test_score_by_something_else(photos, tmp_path, kind, capsys):
    file = tmp_path / "m"
    if kind == "pickle":
        joblib.dump({"a": 1}, file)
    elif kind == "detector":
        joblib.dump(SelfSupervisedAutoencoderDetector(), file)
    else:
        content = {
            "text": b"hello",
            "image": (photos.good / "00.png").read_bytes(),
            "truncated": photos.model.read_bytes()[:1000],
        }
        file.write_bytes(content[kind])
    assert run("score", file, photos.new, "--output", tmp_path / "out") == 2
    assert_one_line(capsys, file, "damaged")
    assert not (tmp_path / "out").exists()


def test_score_an_unreadable_image(photos, tmp_path, capsys):
    folder, out = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    whole = (photos.new / "a.png").read_bytes()
    (folder / "a.png").write_text("no image")
    (folder / "b.png").write_bytes(whole[: len(whole) // 2])
    (folder / "c.png").write_bytes(whole)
    values = np.full((24, 32), 0.5, np.float32)
    values[0, 0] = 1e30
    Image.fromarray(values).save(folder / "d.tiff")
    Image.fromarray(values - 1e30).save(folder / "e.tiff")
    options = ["--output", out, "--masks", "--report", tmp_path / "page.html"]
    assert run("score", photos.model, folder, *options) == 1
    assert_one_line(capsys, "4 of 5 images could not be read", folder / "a.png", "3 more")
    with (out / "scores.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["path"] for row in rows] == ["a.png", "b.png", "c.png", "d.tiff", "e.tiff"]
    assert [row["decision"] == "unreadable" for row in rows] == [True, True, False, True, True]
    for row, name in zip(rows[:2], ("a.png", "b.png"), strict=True):
        assert str(folder / name) in row["error"] and row["score"] == ""
    assert float(rows[2]["score"]) < 0 and rows[2]["error"] == ""
    assert [file.name for file in (out / "masks").iterdir()] == ["c.png"]
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert page.count("<bdi>") == 5 and page.count('data-decision="unreadable"') == 4
    assert html.escape(rows[0]["error"]) in page


def test_score_into_the_scored_folder(photos, tmp_path, capsys):
    assert run("score", photos.model, photos.new, "--output", photos.new / "out") == 2
    assert_one_line(capsys, "--output")
    assert not (photos.new / "out").exists()


def test_score_onto_a_file(photos, tmp_path, capsys):
    file = tmp_path / "out"
    file.write_text("mine")
    assert run("score", photos.model, photos.new, "--output", file, "--force") == 2
    assert_one_line(capsys, "is a file")


def test_interrupt(photos, tmp_path, monkeypatch, capsys):
    def interrupt(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(SelfSupervisedAutoencoderDetector, "fit", interrupt)
    assert run("fit", photos.good, "--output", tmp_path / "m") == 130
    assert "interrupted" in capsys.readouterr().err
    assert not any(tmp_path.iterdir())


def test_failed_training(photos, tmp_path, monkeypatch, capsys):
    def fail(*arguments):
        raise FloatingPointError("Training stopped\nat step 3.")

    monkeypatch.setattr(SelfSupervisedAutoencoderDetector, "fit", fail)
    assert run("fit", photos.good, "--output", tmp_path / "m") == 1
    assert_one_line(capsys, "Training stopped at step 3.")


@pytest.mark.skipif(not hasattr(signal, "SIGPIPE"), reason="pipes of POSIX")
@pytest.mark.parametrize("command", ["score", "info", "benchmark"])
def test_a_reader_that_stops_early_is_no_error(photos, command):
    words = [sys.executable, "-m", "skanomaly", command]
    words += {
        "score": [str(photos.model), str(photos.new)],
        "info": [str(photos.model)],
        "benchmark": ["bars", "--size=12", "--seeds=0", "--detector", "sklearn.svm.OneClassSVM"],
    }[command]
    read, write = os.pipe()
    os.close(read)
    try:
        result = subprocess.run(words, stdout=write, stderr=subprocess.PIPE, text=True, check=False)
    finally:
        os.close(write)
    assert (result.returncode, result.stderr) == (141, "")


def test_as_a_program(tmp_path):
    program = [sys.executable, "-m", "skanomaly"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    result = subprocess.run(
        [*program, "score", str(tmp_path / "m"), str(tmp_path), "--output", str(tmp_path / "o")],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
    )
    assert result.returncode == 2
    assert result.stdout == ""
    assert result.stderr.startswith("skanomaly: error: ") and result.stderr.count("\n") == 1


def test_import_is_light():
    code = "import sys, skanomaly._cli; sys.exit('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_warnings_are_lines_without_code(photos, tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "raw.dng").write_bytes(b"1")
    for index, path in enumerate(sorted(photos.new.rglob("*.png"))):
        (tmp_path / "in" / f"{index}.png").write_bytes(path.read_bytes())
    arguments = ["score", str(photos.model), "--output=~/out", str(tmp_path / "in")]
    result = subprocess.run(
        [sys.executable, "-m", "skanomaly", *arguments],
        capture_output=True,
        text=True,
        env=os.environ | {"HOME": str(tmp_path), "USERPROFILE": str(tmp_path)},
    )
    lines = result.stderr.splitlines()
    assert result.returncode == 0 and len(lines) == 1
    assert lines[0].startswith("skanomaly: warning: 1 file(s) in '") and "raw.dng" in lines[0]
    assert (tmp_path / "out" / "scores.csv").exists()
