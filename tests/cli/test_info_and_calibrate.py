"""``skanomaly info`` and ``skanomaly calibrate``, and what ``fit`` refuses or leaves out."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image

import skanomaly
from skanomaly._cli import main


@pytest.fixture
def calibrated(monkeypatch):
    """What `calibrate` is called with."""
    calls = []
    detector = skanomaly.SelfSupervisedAutoencoderDetector
    original = getattr(detector, "calibrate", None)

    def calibrate(self, X):
        calls.append((X, self.contamination))
        if original is not None:
            return original(self, X)
        self.offset_ = float(np.quantile(self.score_samples(X), 0.2))
        return self

    monkeypatch.setattr(detector, "calibrate", calibrate, raising=False)
    return calls


def test_info(photos, capsys):
    assert main(["info", str(photos.model)]) == 0
    text = capsys.readouterr().out
    detector = skanomaly.load(photos.model)
    assert "24 × 32 pixels" in text and repr(detector.offset_) in text
    assert main(["info", str(photos.model), "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["detector"] == "SelfSupervisedAutoencoderDetector"
    assert (facts["size"], facts["mode"], facts["steps"]) == ([24, 32], "gray", 40)
    assert facts["threshold"] == detector.offset_
    assert facts["map_threshold"] == detector.map_threshold_
    assert facts["parameters"]["max_iter"] == 40


def test_calibrate(photos, tmp_path, calibrated, capsys):
    model, other = tmp_path / "model", tmp_path / "other"
    shutil.copy(photos.model, model)
    arguments = ["calibrate", str(model), str(photos.good)]
    assert main([*arguments, "--output", str(other), "--false-alarms", "0.05", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    images, contamination = calibrated[0]
    assert (len(images), images.size, images.mode, contamination) == (12, (24, 32), "gray", 0.05)
    assert result["threshold_before"] == skanomaly.load(photos.model).offset_
    assert result["threshold"] == skanomaly.load(other).offset_ != result["threshold_before"]
    assert model.read_bytes() == photos.model.read_bytes()

    assert main([*arguments, "--output", str(other)]) == 2
    assert "--force" in capsys.readouterr().err
    assert main(arguments) == 0
    assert calibrated[-1][1] == "auto"
    assert f"Wrote {model}" in capsys.readouterr().out
    assert model.read_bytes() != photos.model.read_bytes()
    assert skanomaly.load(model).offset_ != result["threshold_before"]


def test_calibrate_never_replaces_an_image(photos, tmp_path, calibrated, capsys):
    good = tmp_path / "good"
    shutil.copytree(photos.good, good)
    arguments = ["calibrate", str(photos.model), str(good), "--force"]
    assert main([*arguments, "--output", str(good / "00.png")]) == 2
    assert "--output must not be" in capsys.readouterr().err and not calibrated


@pytest.mark.parametrize("command", ["fit", "calibrate"])
@pytest.mark.parametrize(
    ("folders", "part", "remedy"),
    [
        (["train/good", "test/good", "ground_truth/bent"], "", "train/good"),
        (["train/good", "test/good"], "", "train/good"),
        (["images", "ground_truth/bent"], "", "good images"),
        (["nut/train/good", "nut/ground_truth/bent", "bolt/train/good"], "", "one of its datasets"),
    ],
)
def test_a_dataset_is_refused(photos, tmp_path, command, folders, part, remedy, capsys):
    for folder in folders:
        shutil.copytree(photos.good, tmp_path / "data" / folder)
    model = tmp_path / "model"
    shutil.copy(photos.model, model)
    data = str(tmp_path / "data")
    arguments = {
        "fit": ["fit", data, "--output", str(model), "--force", "--max-iter", "1"],
        "calibrate": ["calibrate", str(model), data],
    }
    assert main(arguments[command]) == 2
    error = capsys.readouterr().err
    assert "GOOD_FOLDER must hold good images only" in error and remedy in error
    assert model.read_bytes() == photos.model.read_bytes()


def test_its_good_images_are_taken(photos, tmp_path):
    shutil.copytree(photos.good, tmp_path / "train" / "good")
    arguments = ["--output", str(tmp_path / "m"), "--max-iter", "1"]
    assert main(["fit", str(tmp_path / "train" / "good"), *arguments]) == 0
    assert main(["fit", str(tmp_path / "train"), *arguments, "--force"]) == 0


def test_fit_leaves_out_what_cannot_be_read(photos, tmp_path, capsys):
    good, model = tmp_path / "good", tmp_path / "model"
    shutil.copytree(photos.good, good)
    (good / "00.png").write_text("no image")
    whole = (good / "01.png").read_bytes()
    (good / "01.png").write_bytes(whole[: len(whole) // 2])
    # More pixels than Pillow opens.
    Image.fromarray(np.zeros((1, 1), np.uint8)).save(good / "02.png")
    header = bytearray((good / "02.png").read_bytes())
    header[16:24] = (2**16).to_bytes(4, "big") * 2
    (good / "02.png").write_bytes(bytes(header))
    arguments = ["fit", str(good), "--output", str(model), "--max-iter", "2"]
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert str(good / "00.png") in error and error.count("\n") == 1
    with pytest.warns(UserWarning, match="1 of 10 image files could not be read"):
        assert main([*arguments, "--on-error", "skip"]) == 0
    captured = capsys.readouterr()
    assert "2 of 12 images are skipped" in captured.err and str(good / "00.png") in captured.err
    assert "10 grey images" in captured.out
    assert skanomaly.load(model).n_iter_ == 2


def test_fit_never_replaces_an_image(photos, tmp_path, capsys):
    good = tmp_path / "good"
    shutil.copytree(photos.good, good)
    assert main(["fit", str(good), "--output", str(good / "00.png"), "--force"]) == 2
    assert "--output must not be" in capsys.readouterr().err
    assert (good / "00.png").read_bytes() == (photos.good / "00.png").read_bytes()
