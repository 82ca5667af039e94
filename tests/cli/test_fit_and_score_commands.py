"""``skanomaly fit`` and ``skanomaly score`` on small folders, from end to end."""

import csv

import numpy as np
import pytest
from PIL import Image

import skanomaly
from skanomaly._cli import _model_file, _progress, main
from skanomaly.datasets import load_image_folder

NAMES = ["a.png", "b c/ü.png", "d/bad.png", "d/e.bmp", "d/f.png"]


def read_table(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def all_files(folder):
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


@pytest.fixture(scope="module")
def report(photos, tmp_path_factory):
    out = tmp_path_factory.mktemp("scored") / "report"
    assert main(["score", str(photos.model), str(photos.new), "--output", str(out)]) == 0
    return out


def test_table(photos, report):
    table = read_table(report / "scores.csv")
    assert list(table[0]) == [
        "path",
        "score",
        "decision_function",
        "decision",
        "relative_score",
        "error",
    ]
    assert [row["path"] for row in table] == NAMES
    scores = [float(row["score"]) for row in table]
    assert NAMES[int(np.argmin(scores))] == "d/bad.png"
    assert table[2]["decision"] == "anomalous"

    detector = skanomaly.load(photos.model)
    images = load_image_folder(photos.new)
    np.testing.assert_array_equal(scores, detector.score_samples(images))
    decisions = [float(row["decision_function"]) for row in table]
    np.testing.assert_array_equal(decisions, detector.decision_function(images))
    relative = [float(row["relative_score"]) for row in table]
    np.testing.assert_array_equal(relative, np.array(scores) / detector.offset_)
    assert [value > 1 for value in relative] == [row["decision"] == "anomalous" for row in table]
    verdicts = [1 if row["decision"] == "normal" else -1 for row in table]
    np.testing.assert_array_equal(verdicts, detector.predict(images))


def test_overlays(photos, report):
    names = ["a.png", "b c/ü.png", "d/bad.png", "d/e.png", "d/f.png"]
    assert all_files(report) == [f"overlays/{name}" for name in names] + ["scores.csv"]
    for source, name in zip(NAMES, names, strict=True):
        with Image.open(report / "overlays" / name) as overlay:
            assert (overlay.mode, overlay.size, overlay.format) == ("RGB", (32, 24), "PNG")
            shown = np.array(overlay).astype(int)
        with Image.open(photos.new / source) as opened:
            stored = np.array(opened).astype(int)
        colored = (shown != stored[..., np.newaxis]).any(axis=2)
        assert colored[photos.defect] == (name == "d/bad.png")


def test_a_batch_at_a_time(photos, report, tmp_path, monkeypatch):
    sizes = []

    def note_and_detect(self, X, original=skanomaly.SelfSupervisedAutoencoderDetector.detect):
        sizes.append(len(X))
        return original(self, X)

    monkeypatch.setattr(_model_file, "_BATCH_PIXELS", 2 * 24 * 32)
    monkeypatch.setattr(skanomaly.SelfSupervisedAutoencoderDetector, "detect", note_and_detect)
    out = tmp_path / "out"
    arguments = ["score", str(photos.model), str(photos.new), "--output", str(out)]
    assert main([*arguments, "--no-overlays"]) == 0
    assert sizes == [2, 2, 1]
    assert all_files(out) == ["scores.csv"]
    # Kernels differ from one batch size to another in the last digits: the same batches give the
    # same scores, and all else is that of one large batch.
    monkeypatch.undo()
    detector = skanomaly.load(photos.model)
    images = load_image_folder(photos.new, size=detector.image_shape_[:2], mode="gray")
    scores = np.concatenate([detector.score_samples(images[i : i + 2]) for i in (0, 2, 4)])
    tables = read_table(out / "scores.csv"), read_table(report / "scores.csv")
    for score, row, whole in zip(scores, *tables, strict=True):
        assert float(row.pop("score")) == score
        assert float(row.pop("decision_function")) == score - detector.offset_
        assert float(row.pop("relative_score")) == pytest.approx(
            score / detector.offset_, rel=1e-12
        )
        for name in ("score", "decision_function", "relative_score"):
            del whole[name]
        assert row == whole


def test_any_saved_detector_of_images_is_a_model(photos, tmp_path, capsys):
    images = load_image_folder(photos.good, size=(16, 16), mode="rgb")
    detector = skanomaly.DenoisingAE(max_iter=2, random_state=0).fit(images)
    detector.save(tmp_path / "model")
    out = tmp_path / "out"
    assert main(["score", str(tmp_path / "model"), str(photos.new), "--output", str(out)]) == 0
    scores = [float(row["score"]) for row in read_table(out / "scores.csv")]
    new = load_image_folder(photos.new, size=(16, 16), mode="rgb")
    np.testing.assert_array_equal(scores, detector.score_samples(new))
    skanomaly.DenoisingAE(max_iter=2).fit(np.eye(8)).save(tmp_path / "model")
    assert main(["score", str(tmp_path / "model"), str(photos.new), "--output", str(out)]) == 2
    assert "detector of arrays of shape (8,)" in capsys.readouterr().err


def test_images_of_another_size_are_resized(photos, tmp_path):
    large = tmp_path / "large"
    for name in ("a.png", "d/bad.png"):
        with Image.open(photos.new / name) as opened:
            (large / name).parent.mkdir(parents=True, exist_ok=True)
            opened.resize((640, 480)).convert("RGB").save(large / name)
    out = tmp_path / "out"
    assert main(["score", str(photos.model), str(large), "--output", str(out)]) == 0
    scores = {row["path"]: float(row["score"]) for row in read_table(out / "scores.csv")}
    assert scores["d/bad.png"] < scores["a.png"]
    with Image.open(out / "overlays" / "d" / "bad.png") as overlay:
        assert overlay.size == (640, 480)


def test_images_that_share_a_stem_keep_their_suffixes(photos, tmp_path):
    folder, out = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    with Image.open(photos.new / "a.png") as opened:
        for name in ("a.png", "a.BMP", "b.png"):
            opened.save(folder / name)
    assert main(["score", str(photos.model), str(folder), "--output", str(out)]) == 0
    assert all_files(out / "overlays") == ["a.BMP.png", "a.png.png", "b.png.png"]


def test_force(photos, tmp_path, capsys):
    out = tmp_path / "out"
    arguments = ["score", str(photos.model), str(photos.new), "--output", str(out)]
    assert main(arguments) == 0
    (out / "notes.txt").write_text("mine")
    (out / "scores.csv").write_text("old")
    assert main(arguments) == 2
    assert "--force" in capsys.readouterr().err
    assert (out / "scores.csv").read_text() == "old"
    assert main([*arguments, "--force"]) == 0
    assert len(read_table(out / "scores.csv")) == 5
    assert (out / "notes.txt").read_text() == "mine"


def test_fit_keeps_an_existing_model_unless_forced(photos, tmp_path, capsys):
    model = tmp_path / "model"
    model.write_text("old")
    arguments = ["fit", str(photos.good), "--output", str(model), "--max-iter", "1"]
    assert main(arguments) == 2
    assert "--force" in capsys.readouterr().err
    assert model.read_text() == "old"
    assert main([*arguments, "--force", "--size", "16x20", "--mode", "rgb"]) == 0
    assert "resized to 16 × 20" in capsys.readouterr().out
    assert all_files(tmp_path) == ["model"]
    assert skanomaly.load(model).image_shape_ == (16, 20, 3)


def test_options_reach_the_detector(photos, tmp_path):
    model = tmp_path / "model"
    options = "--max-iter 2 --seed 5 --device cpu --contamination 0.1 --augment rotate"
    arguments = ["fit", str(photos.good), "--output", str(model), *options.split()]
    assert main([*arguments, "--augment", "flip_vertical"]) == 0
    parameters = skanomaly.load(model).get_params()
    assert parameters["max_iter"] == 2
    assert parameters["random_state"] == 5
    assert parameters["device"] == "cpu"
    assert parameters["contamination"] == 0.1
    assert parameters["augmentation"] == ("rotate", "flip_vertical")


def test_images_of_several_sizes_and_kinds(photos, tmp_path, capsys):
    folder, model = tmp_path / "in", tmp_path / "model"
    folder.mkdir()
    with Image.open(photos.good / "00.png") as opened:
        opened.save(folder / "a.png")
        opened.resize((30, 20)).convert("RGB").save(folder / "b.png")
        opened.resize((36, 28)).save(folder / "c.png")
    assert main(["fit", str(folder), "--output", str(model), "--max-iter", "1"]) == 0
    out = capsys.readouterr().out
    assert "3 colour images of 3 sizes, resized to 24 × 32." in out
    assert skanomaly.load(model).image_shape_ == (24, 32, 3)


def test_large_images_are_shrunk(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("skanomaly._cli._fit._DEFAULT_SIDE", 12)
    for name in ("a.png", "b.png"):
        Image.fromarray(np.arange(24 * 32, dtype=np.uint16).reshape(24, 32)).save(tmp_path / name)
    model = tmp_path / "model"
    assert main(["fit", str(tmp_path), "--output", str(model), "--max-iter", "1"]) == 0
    assert "2 grey images of 24 × 32 pixels" in capsys.readouterr().out
    assert skanomaly.load(model).image_shape_ == (12, 16, 1)


@pytest.mark.parametrize(
    "stored, chosen",
    [
        ((1024, 1024), (128, 128)),
        ((480, 640), (128, 171)),
        # Of long images, twice the pixels of a square.
        ((4000, 400), (572, 57)),
        ((100, 90), (100, 90)),
    ],
)
def test_the_size_follows_the_shorter_side(stored, chosen):
    from skanomaly._cli._fit import _choose_size

    assert _choose_size([stored, stored]) == chosen


def test_progress_is_shown_on_stderr(photos, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(_progress, "_SECONDS_BETWEEN_LINES", 0.0)
    model, out = tmp_path / "model", tmp_path / "out"
    fit = ["fit", str(photos.good), "--output", str(model), "--max-iter", "3"]
    assert main([*fit, "--progress"]) == 0
    captured = capsys.readouterr()
    assert "training: step 2 of 3, about " in captured.err
    assert "training: step" not in captured.out
    score = ["score", str(model), str(photos.new), "--output", str(out), "--force"]
    assert main([*score, "--progress"]) == 0
    assert "scoring: image 4 of 5, about 0 s left" in capsys.readouterr().err
    # Neither is a terminal.
    assert main([*fit, "--force"]) == 0
    assert main(score) == 0
    assert capsys.readouterr().err == ""
