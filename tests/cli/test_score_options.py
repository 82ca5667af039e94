"""What ``skanomaly score`` reads, writes and refuses, and how it goes on after an interruption."""

import csv
import os
import shutil
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from PIL import Image

import skanomaly
from skanomaly._cli import _model_file, main
from skanomaly._cli._score_output import COLUMNS, TableWriter, make_row, read_rows

PIXELS = 24 * 32


def score(photos, *arguments):
    return main(["score", str(photos.model), *map(str, arguments)])


def read_table(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def passes(monkeypatch):
    """Number of images in each pass through a convolutional network."""
    counted = []
    forward = skanomaly.networks.ConvolutionalAutoencoder.forward

    def counting(self, images):
        counted.append(len(images))
        return forward(self, images)

    monkeypatch.setattr(skanomaly.networks.ConvolutionalAutoencoder, "forward", counting)
    return counted


@pytest.fixture
def one_by_one(monkeypatch):
    """Batches of one image."""
    monkeypatch.setattr(_model_file, "_BATCH_PIXELS", PIXELS)


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


def test_each_image_passes_the_network_once(photos, tmp_path, passes):
    options = ["--output", tmp_path / "out", "--maps", "npy", "--masks"]
    assert score(photos, photos.new, *options, "--report", tmp_path / "a.html") == 0
    assert sum(passes) == 5


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


def test_an_image_that_is_removed_while_scoring_gets_a_row(photos, tmp_path, monkeypatch, capsys):
    folder, out = tmp_path / "in", tmp_path / "out"
    shutil.copytree(photos.new, folder)
    detect = skanomaly.SelfSupervisedAutoencoderDetector.detect

    def detect_and_remove(self, X):
        (folder / "d" / "bad.png").unlink()
        return detect(self, X)

    monkeypatch.setattr(skanomaly.SelfSupervisedAutoencoderDetector, "detect", detect_and_remove)
    assert score(photos, folder, "--output", out, "--report", tmp_path / "a.html") == 1
    rows = {row["path"]: row for row in read_table(out / "scores.csv")}
    assert len(rows) == 5 and rows["d/bad.png"]["decision"] == "unreadable"
    assert "bad.png" in rows["d/bad.png"]["error"]
    assert len(list((out / "overlays").rglob("*.png"))) == 4


def test_an_image_may_have_the_name_of_a_folder(photos, tmp_path):
    folder, out = tmp_path / "in", tmp_path / "out"
    (folder / "a.png").mkdir(parents=True)
    shutil.copy(photos.new / "d" / "e.bmp", folder / "a.bmp")
    shutil.copy(photos.new / "a.png", folder / "a.png" / "b.png")
    assert score(photos, folder, "--output", out) == 0
    written = {path.relative_to(out / "overlays").as_posix() for path in out.rglob("*.png")}
    assert written == {"a.bmp.png", "a.png", "a.png/b.png.png"}


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


def test_threshold(photos, tmp_path):
    out = tmp_path / "out"
    assert score(photos, photos.new, "--output", out, "--threshold", "-1e-6") == 0
    for row in read_table(out / "scores.csv"):
        assert row["decision"] == "anomalous"
        assert float(row["decision_function"]) == float(row["score"]) + 1e-6
        assert float(row["relative_score"]) == float(row["score"]) / -1e-6


def test_a_threshold_of_zero():
    assert make_row("a", 0.0, 0.0)["relative_score"] == 0
    assert make_row("a", -1.0, 0.0)["relative_score"] == np.inf
    assert make_row("a", np.nan, -1.0)["decision"] == "anomalous"


def test_files_and_folders(photos, tmp_path, capsys):
    a, bad = photos.new / "a.png", photos.new / "d" / "bad.png"
    assert score(photos, a) == 0
    assert capsys.readouterr().out.splitlines()[1].startswith("a.png,")
    assert score(photos, bad, photos.new / "d", a, bad) == 0
    lines = capsys.readouterr().out.splitlines()
    names = [line.split(",")[0] for line in lines[1:]]
    assert names == ["d/bad.png", "d/e.bmp", "d/f.png", "a.png"]
    assert score(photos, a, tmp_path / "none.png") == 2
    assert f"No such file or folder: '{tmp_path / 'none.png'}'" in capsys.readouterr().err


@pytest.mark.parametrize("kind", ["npy", "tiff"])
def test_maps_and_masks(photos, tmp_path, kind):
    large, out = tmp_path / "large", tmp_path / "out"
    shutil.copytree(photos.new, large)
    with Image.open(large / "d" / "bad.png") as opened:
        opened.resize((64, 48)).save(large / "big.png")
    options = ["--output", out, "--maps", kind, "--masks", "--no-overlays"]
    assert score(photos, large, *options) == 0
    detector = skanomaly.load(photos.model)

    def read(path):
        if kind == "npy":
            return np.load(path)
        with Image.open(path) as opened:
            return np.array(opened)

    values = set()
    for name in ("a", "d/bad"):
        with Image.open(photos.new / f"{name}.png") as opened:
            image = np.array(opened)[np.newaxis]
        anomaly_map = read(out / "maps" / f"{name}.{kind}")
        assert anomaly_map.dtype == np.float32
        np.testing.assert_allclose(anomaly_map, detector.anomaly_map(image)[0], rtol=1e-4)
        with Image.open(out / "masks" / f"{name}.png") as opened:
            mask = np.array(opened)
        values |= set(np.unique(mask).tolist())
        np.testing.assert_array_equal(mask == 255, detector.predict_mask(image)[0])
    assert values == {0, 255}
    assert read(out / "maps" / f"big.{kind}").shape == (48, 64)
    with Image.open(out / "masks" / "big.png") as opened:
        assert opened.size == (64, 48) and opened.mode == "L"
    assert not (out / "overlays").exists()


def test_outputs_never_replace_inputs(photos, tmp_path, capsys):
    data = tmp_path / "data"
    shutil.copytree(photos.new, data / "overlays")
    model = tmp_path / "model"
    shutil.copy(photos.model, model)
    out = data / "out"
    link = tmp_path / "link"
    link.symlink_to(data / "overlays")
    before = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    images = data / "overlays"
    for arguments in (
        [images, "--output", data],
        [images, "--output", images],
        [images, "--output", images / "out"],
        [images, "--output", link],
        [images / "a.png", "--output", images],
        [images, "--output", tmp_path],
        [images, "--report", model],
        [images, "--report", images / "d" / "bad.png"],
        [images / "a.png", "--report", images / "a.png"],
        [images, "--output", out, "--report", out],
        [images, "--output", out, "--report", out / "scores.csv"],
        [images, "--output", out, "--report", out / "overlays" / "a.html"],
    ):
        assert main(["score", str(model), *map(str, arguments), "--force"]) == 2
        assert "must not be, contain or lie in" in capsys.readouterr().err
    assert {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()} == before
    assert not out.exists()


@pytest.mark.parametrize("name", ["overlays/a.png", "overlays/d", "masks/d/b.png", "scores.csv"])
def test_links_in_the_output_never_lead_to_inputs(name, photos, tmp_path, capsys):
    data, out = tmp_path / "data", tmp_path / "out"
    shutil.copytree(photos.new, data)
    assert (data / "a.png").is_file() and (data / "d").is_dir()
    (out / name).parent.mkdir(parents=True)
    (out / name).symlink_to(data / "d" if name.endswith("d") else data / "a.png")
    (data / "d" / "b.png").write_bytes((data / "a.png").read_bytes())
    before = {p: p.read_bytes() for p in data.rglob("*") if p.is_file()}
    assert score(photos, data, "--output", out, "--force", "--masks") == 2
    assert "--output must not be, contain or lie in" in capsys.readouterr().err
    assert {p: p.read_bytes() for p in data.rglob("*") if p.is_file()} == before
    # Other links are followed.
    (out / name).unlink()
    (out / name).symlink_to(tmp_path / "elsewhere")
    if name.endswith("d"):
        (tmp_path / "elsewhere").mkdir()
    assert score(photos, data, "--output", out, "--force", "--masks") in (0, 1)
    assert (out / name).is_symlink() and (tmp_path / "elsewhere").exists()


def test_formulas_are_escaped_and_come_back(tmp_path):
    names = ["=1+1.png", "+a", "-b", "@c", "'d", "''=e", "\tf", "g", 'h"\r\n,i', "j\u2028k"]
    path = tmp_path / "scores.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = TableWriter(file)
        for name in names:
            writer.write(make_row(name, -2.0, -1.0))
    cells = [row["path"] for row in read_table(path)]
    assert not any(cell[0] in "=+-@\t" for cell in cells)
    rows = read_rows(path)
    assert [row["path"] for row in rows] == names
    assert rows[0] == make_row(names[0], -2.0, -1.0) and tuple(rows[0]) == COLUMNS


def test_a_formula_in_a_folder(photos, tmp_path, capsys):
    folder = tmp_path / "in"
    folder.mkdir()
    shutil.copy(photos.new / "a.png", folder / "=1+1.png")
    assert score(photos, folder) == 0
    assert capsys.readouterr().out.splitlines()[1].startswith("'=1+1.png,-")


def test_8_and_16_bits_in_one_folder(photos, tmp_path, capsys):
    folder = tmp_path / "in"
    folder.mkdir()
    with Image.open(photos.new / "a.png") as opened:
        pixels = np.array(opened)
    Image.fromarray(pixels).save(folder / "a.png")
    Image.fromarray(pixels.astype(np.uint16) * 257).save(folder / "b.png")
    assert score(photos, folder) == 0
    first, second = (line.split(",") for line in capsys.readouterr().out.splitlines()[1:])
    assert float(first[1]) == pytest.approx(float(second[1]), rel=1e-4)


def test_torch_is_left_alone(photos):
    state = torch.get_rng_state()
    assert score(photos, photos.new / "a.png") == 0
    assert torch.equal(state, torch.get_rng_state())


def test_without_a_console(photos, tmp_path, monkeypatch, capsys):
    folder = tmp_path / "in"
    folder.mkdir()
    shutil.copy(photos.new / "a.png", folder / "a.png")
    (folder / "b.png").write_bytes(b"no image")
    monkeypatch.setattr(sys, "stderr", None)
    assert score(photos, folder) == 1
    out = capsys.readouterr().out.splitlines()
    assert [line.split(",")[0] for line in out] == ["path", "a.png", "b.png"]
    options = ["--output", str(tmp_path / "model"), "--max-iter", "1", "--progress"]
    assert main(["fit", str(photos.good), *options]) == 0
    assert main(["fit", str(folder), *options]) == 2
    assert "error" not in capsys.readouterr().out
    monkeypatch.undo()
    monkeypatch.setattr(sys, "stdout", None)
    assert score(photos, folder) == 2
    assert "pass --output" in capsys.readouterr().err


def test_an_output_that_knows_ascii_alone(photos, tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    shutil.copy(photos.new / "a.png", folder / "ü.png")
    command = [sys.executable, "-m", "skanomaly", "score", str(photos.model), str(folder)]
    environment = {**os.environ, "PYTHONIOENCODING": "ascii", "OMP_NUM_THREADS": "1"}
    result = subprocess.run(command, capture_output=True, env=environment, check=True)
    assert result.stdout.splitlines()[1].startswith(rb"\xfc.png,-")
    model = tmp_path / "model"
    command[3:] = ["fit", str(photos.good), "--output", str(model), "--max-iter", "1"]
    result = subprocess.run(command, capture_output=True, env=environment, check=True)
    assert rb" \xd7 " in result.stdout and model.is_file()


def test_a_file_of_several_pages_is_named_once(photos, tmp_path):
    rng = np.random.default_rng(0)
    pages = [Image.fromarray(rng.integers(0, 255, (24, 32), dtype=np.uint8)) for _ in range(3)]
    folder = tmp_path / "scans"
    folder.mkdir()
    pages[0].save(folder / "a.tif", save_all=True, append_images=pages[1:])
    for images, name in ((folder, "scores"), (folder / "a.tif", "scores of one")):
        with pytest.warns(UserWarning, match="a.tif' has 3") as recorded:
            assert score(photos, images, "--output", tmp_path / name) == 0
        assert len(recorded) == 1
