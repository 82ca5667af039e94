"""How ``skanomaly score`` goes on after an interruption, and when it starts again."""

import json
import os
import shutil
import time

import pytest
from scoring_command import read_table, score

import skanomaly
from skanomaly._cli import main


def interrupt_at(monkeypatch, number):
    """Interrupt the scoring of image `number`, counted from 1; returns what scores once more."""
    detect = skanomaly.SelfSupervisedAutoencoderDetector.detect
    calls = []

    def interrupted(self, X):
        calls.append(len(X))
        if len(calls) == number:
            raise KeyboardInterrupt
        return detect(self, X)

    monkeypatch.setattr(skanomaly.SelfSupervisedAutoencoderDetector, "detect", interrupted)
    return calls


@pytest.mark.usefixtures("one_by_one")
def test_an_interrupted_run_goes_on(photos, tmp_path, monkeypatch, passes, capsys):
    whole, out = tmp_path / "whole", tmp_path / "out"
    assert score(photos, photos.new, "--output", whole) == 0
    with monkeypatch.context() as patched:
        interrupt_at(patched, 4)
        assert score(photos, photos.new, "--output", out) == 130
    assert capsys.readouterr().err.endswith("interrupted; the same command resumes the run\n")
    assert [row["path"] for row in read_table(out / "scores.csv")] == [
        "a.png",
        "b c/ü.png",
        "d/bad.png",
    ]
    # What a process that was killed had half written.
    with (out / "scores.csv").open("ab") as file:
        file.write(b"d/e.bmp,-0.3")
    passes.clear()
    assert score(photos, photos.new, "--output", out) == 0
    assert sum(passes) == 2
    assert (out / "scores.csv").read_bytes() == (whole / "scores.csv").read_bytes()
    names = [sorted(p.relative_to(o) for p in o.rglob("*")) for o in (whole, out)]
    assert names[0] == names[1]


@pytest.mark.usefixtures("one_by_one")
@pytest.mark.parametrize(
    ("option", "n_left"), [("--force", 2), ("--report", 5)], ids=["force", "report"]
)
def test_what_is_said_of_the_next_run_is_true(
    photos, tmp_path, monkeypatch, passes, capsys, option, n_left
):
    options = ["--output", tmp_path / "out", option]
    if option == "--report":
        options.append(tmp_path / "page.html")
    else:
        (tmp_path / "out").mkdir()
        (tmp_path / "out" / "notes.txt").write_text("mine")
    with monkeypatch.context() as patched:
        interrupt_at(patched, 4)
        assert score(photos, photos.new, *options) == 130
    said = "resumes the run" if option == "--force" else "starts again"
    assert capsys.readouterr().err.endswith(f"interrupted; the same command {said}\n")
    passes.clear()
    assert score(photos, photos.new, *options) == 0
    assert sum(passes) == n_left
    assert len(read_table(tmp_path / "out" / "scores.csv")) == 5
    if option == "--force":
        # A finished run is done anew.
        passes.clear()
        assert score(photos, photos.new, *options) == 0
        assert sum(passes) == 5


@pytest.mark.usefixtures("one_by_one")
def test_only_the_same_run_goes_on(photos, tmp_path, monkeypatch, capsys, passes):
    folder, out = tmp_path / "in", tmp_path / "out"
    shutil.copytree(photos.new, folder)
    with monkeypatch.context() as patched:
        interrupt_at(patched, 3)
        assert score(photos, folder, "--output", out) == 130
    for options in (["--threshold", "-1"], ["--masks"], ["--no-overlays"]):
        assert score(photos, folder, "--output", out, *options) == 2
        assert "--force" in capsys.readouterr().err
    # An image that has changed since then is scored again.
    shutil.copy(folder / "d" / "bad.png", folder / "a.png")
    os.utime(folder / "a.png", (2**32, 2**32))
    passes.clear()
    assert score(photos, folder, "--output", out) == 0
    assert sum(passes) == 4
    decisions = {row["path"]: row["decision"] for row in read_table(out / "scores.csv")}
    assert len(decisions) == 5 and decisions["a.png"] == decisions["d/bad.png"] == "anomalous"
    # It is finished: nothing is left to go on with.
    assert score(photos, folder, "--output", out) == 2


@pytest.mark.usefixtures("one_by_one")
def test_images_that_were_exchanged_or_lost_are_scored_again(photos, tmp_path, monkeypatch):
    old, folder, out = tmp_path / "old.png", tmp_path / "in", tmp_path / "out"
    shutil.copy(photos.new / "d" / "bad.png", old)
    os.utime(old, (0, 0))
    shutil.copytree(photos.new, folder)
    (folder / "b c" / "ü.png").unlink()
    (folder / "b c" / "ü.png").symlink_to(photos.new / "b c" / "ü.png")
    with monkeypatch.context() as patched:
        interrupt_at(patched, 4)
        assert score(photos, folder, "--output", out) == 130
    time.sleep(0.05)  # times of files are rounded
    shutil.copy2(old, folder / "a.png")
    (folder / "b c" / "ü.png").unlink()
    (folder / "b c" / "ü.png").symlink_to(tmp_path / "nothing.png")
    # Another file of that name gives the files of the images other names.
    shutil.copy(photos.new / "a.png", folder / "d" / "bad.bmp")
    assert score(photos, folder, "--output", out) == 1
    decisions = {row["path"]: row["decision"] for row in read_table(out / "scores.csv")}
    assert decisions["a.png"] == "anomalous" and decisions["b c/ü.png"] == "unreadable"
    assert (out / "overlays" / "d" / "bad.png.png").exists()
    assert (out / "overlays" / "d" / "bad.bmp.png").exists()


@pytest.mark.usefixtures("one_by_one")
def test_a_page_is_made_from_the_start(photos, tmp_path, monkeypatch, passes):
    page, options = (
        tmp_path / "a.html",
        ["--output", tmp_path / "out", "--report", tmp_path / "a.html"],
    )
    with monkeypatch.context() as patched:
        interrupt_at(patched, 3)
        assert score(photos, photos.new, *options) == 130
    assert not page.exists()
    passes.clear()
    assert score(photos, photos.new, *options) == 0
    assert sum(passes) == 5 == page.read_text(encoding="utf-8").count("<bdi>")
    assert len(read_table(tmp_path / "out" / "scores.csv")) == 5


@pytest.mark.skipif(os.name != "posix", reason="file names are bytes on POSIX alone")
@pytest.mark.usefixtures("one_by_one")
def test_an_unreadable_image_and_a_name_that_is_no_text_in_a_run_that_goes_on(
    photos, tmp_path, monkeypatch, passes, capsys
):
    folder, out = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    (folder / "a.png").write_bytes(b"no image")
    (folder / "b.png").write_bytes(b"no image")
    names = [os.fsdecode(b"c\xff.png"), "d.png", "e.png"]
    for name in names:
        shutil.copy(photos.new / "d" / "bad.png", folder / name)
    with monkeypatch.context() as patched:
        interrupt_at(patched, 3)
        assert score(photos, folder, "--output", out) == 130
    (folder / "d.png").unlink()
    capsys.readouterr()
    passes.clear()
    assert score(photos, folder, "--output", out, "--json") == 1
    assert sum(passes) == 1
    printed, error = capsys.readouterr()
    result = json.loads(printed)
    counts = [result[f"n_{name}"] for name in ("images", "anomalous", "unreadable")]
    assert counts == [4, 2, 2]
    assert sorted(row["path"] for row in result["images"]) == ["a.png", "b.png", names[0], "e.png"]
    assert "2 of 4 images could not be read: " in error and "a.png" in error
    assert "b.png" not in error and error.endswith(" And 1 more.\n")
    # A single one has no others.
    (folder / "a.png").unlink()
    assert score(photos, folder) == 1
    assert "more" not in capsys.readouterr().err


@pytest.mark.usefixtures("one_by_one")
def test_another_model_or_folder_is_another_run(photos, tmp_path, monkeypatch):
    out, model = tmp_path / "out", tmp_path / "model.safetensors"
    detector = skanomaly.load(photos.model)
    detector.offset_ *= 2
    detector.save(model)
    for place in ("one", "two"):
        shutil.copytree(photos.new, tmp_path / place / "in")
    monkeypatch.chdir(tmp_path / "one")
    with monkeypatch.context() as patched:
        interrupt_at(patched, 3)
        assert score(photos, "in", "--output", out, "--threshold", "-1") == 130
    assert main(["score", str(model), "in", "--output", str(out), "--threshold", "-1"]) == 2
    assert score(photos, tmp_path / "two" / "in", "--output", out, "--threshold", "-1") == 2
    monkeypatch.chdir(tmp_path / "two")
    assert score(photos, "in", "--output", out, "--threshold", "-1") == 2
    assert score(photos, tmp_path / "one" / "in", "--output", out, "--threshold", "-1") == 0


@pytest.mark.usefixtures("one_by_one")
def test_each_image_that_was_exchanged_and_each_lost_file_is_made_again(
    photos, tmp_path, monkeypatch
):
    old, folder, out = tmp_path / "old", tmp_path / "in", tmp_path / "out"
    shutil.copytree(photos.new, old)
    bad = old / "d" / "bad.png"
    os.utime(bad, (0, 0))
    folder.mkdir()
    (folder / "a.png").symlink_to(old / "a.png")
    for name in "bcde":
        shutil.copy(old / "a.png", folder / f"{name}.png")
    time.sleep(0.05)  # times of files are rounded
    options = [folder, "--output", out, "--masks"]
    with monkeypatch.context() as patched:
        interrupt_at(patched, 5)
        assert score(photos, *options) == 130
    time.sleep(0.05)
    # A link to another file that is older than the run, and a copy that keeps the old time.
    (folder / "a.png").unlink()
    (folder / "a.png").symlink_to(bad)
    shutil.copy2(bad, folder / "b.png")
    (out / "masks" / "c.png").unlink()
    calls = interrupt_at(monkeypatch, 0)
    assert score(photos, *options) == 0
    assert len(calls) == 4 and (out / "masks" / "c.png").exists()
    decisions = {row["path"][0]: row["decision"] for row in read_table(out / "scores.csv")}
    assert decisions == dict(zip("abcde", ["anomalous"] * 2 + ["normal"] * 3, strict=True))


def test_a_run_without_a_table_or_with_a_damaged_note_starts_again(photos, tmp_path, monkeypatch):
    out = tmp_path / "out"
    for damage in ("scores.csv", "unfinished.json"):
        with monkeypatch.context() as patched:
            interrupt_at(patched, 1)
            assert score(photos, photos.new, "--output", out, "--force") == 130
        if damage == "scores.csv":
            (out / damage).unlink()
        else:
            (out / damage).write_text('{"model":')
        assert score(photos, photos.new, "--output", out, "--force") == 0
        assert len(read_table(out / "scores.csv")) == 5
