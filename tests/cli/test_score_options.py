"""What ``skanomaly score`` reads, writes and refuses."""

import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image
from scoring_command import read_table, score

import skanomaly
from skanomaly._cli import main
from skanomaly._cli._score_output import (
    COLUMNS,
    TableWriter,
    file_writer,
    make_row,
    name_files,
    read_rows,
)


def test_each_image_passes_the_network_once(photos, tmp_path, passes):
    options = ["--output", tmp_path / "out", "--maps", "npy", "--masks"]
    assert score(photos, photos.new, *options, "--report", tmp_path / "a.html") == 0
    assert sum(passes) == 5


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


def test_a_score_at_the_threshold_is_normal():
    assert make_row("a", -1.0, -1.0)["decision"] == "normal"


def test_rows_are_in_the_file_at_once(tmp_path):
    path = tmp_path / "scores.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        TableWriter(file).write(make_row("a", -2.0, -1.0))
        assert [row["path"] for row in read_rows(path)] == ["a"]


def test_masks_mark_what_exceeds_the_threshold(tmp_path):
    suffixes = {"masks": ".png"}
    write = file_writer(name_files(["a.png"], tmp_path, suffixes), suffixes, 2.0)
    write(0, np.full((1, 3), 100, np.uint8), np.array([[1.0, 2.0, 2.1]]))
    with Image.open(tmp_path / "masks" / "a.png") as opened:
        assert np.array(opened).tolist() == [[0, 0, 255]]


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["a.png", "b.bmp"], ["a.png", "b.png"]),
        # Some file systems take them for one name.
        (["a.png", "A.bmp"], ["a.png.png", "A.bmp.png"]),
        (["a.bmp", "a.png/b/c.png"], ["a.bmp.png", "a.png/b/c.png.png"]),
        (
            ["a.png", "a.bmp", "a.png.png/b.bmp"],
            ["a.png.png.png", "a.bmp.png.png", "a.png.png/b.bmp.png.png"],
        ),
    ],
)
def test_no_two_files_of_the_output_have_one_name(names, expected, tmp_path):
    files = name_files(names, tmp_path, {"masks": ".png"})["masks"]
    assert [file.relative_to(tmp_path / "masks").as_posix() for file in files] == expected


def test_colours_of_an_image_are_read_like_those_of_fit(photos, tmp_path):
    out = tmp_path / "out"
    folder = tmp_path / "in"
    folder.mkdir()
    with Image.open(photos.new / "a.png") as opened:
        pixels = np.array(opened)
    Image.fromarray(np.stack([pixels, pixels // 2, pixels], axis=-1)).save(folder / "a.png")
    assert score(photos, folder, "--output", out, "--masks") == 0
    with Image.open(out / "overlays" / "a.png") as overlay, Image.open(out / "masks/a.png") as mask:
        outside = np.array(overlay)[np.array(mask) == 0]
    assert (np.ptp(outside.astype(int), axis=1) == 0).mean() > 0.5


def test_the_threshold_of_scores_leaves_masks_alone(photos, tmp_path):
    bad = photos.new / "d" / "bad.png"
    for name, options in (("one", []), ("two", ["--threshold", "-1e9"])):
        assert score(photos, bad, "--output", tmp_path / name, "--masks", *options) == 0
    masks = [(tmp_path / name / "masks" / "bad.png").read_bytes() for name in ("one", "two")]
    assert masks[0] == masks[1]
