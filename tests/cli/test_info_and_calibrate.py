"""``skanomaly info`` and ``skanomaly calibrate``, and what ``fit`` refuses or leaves out."""

import json
import shutil
import warnings

import numpy as np
import pytest
from PIL import Image
from sklearn.frozen import FrozenEstimator

import skanomaly
from skanomaly._cli import main
from skanomaly.datasets import ImageSequence
from skanomaly.model_selection import ConformalDetector


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
    for name in ("00.png", "new.png"):
        assert main([*arguments, "--output", str(good / name)]) == 2
        assert "--output must not be" in capsys.readouterr().err and not calibrated
    assert not (good / "new.png").exists()


@pytest.mark.parametrize("command", ["fit", "calibrate"])
@pytest.mark.parametrize(
    ("folders", "part", "remedy"),
    [
        (["train/good", "test/good", "ground_truth/bent"], "", "train/good"),
        (["train/good", "test/good"], "", "train/good"),
        (["images", "ground_truth/bent"], "", "good images"),
        (["nut/train/good", "nut/ground_truth/bent", "bolt/train/good"], "", "one of its datasets"),
        (["train/good", "test/good", "test/bent"], "test", "'bent' beside 'good'"),
        (["Normal", "Anomaly"], "", "'Anomaly' beside 'Normal'"),
        (["ok", "nok"], "", "/ok'."),
    ],
)
def test_a_dataset_is_refused(photos, tmp_path, command, folders, part, remedy, capsys):
    for folder in folders:
        shutil.copytree(photos.good, tmp_path / "data" / folder)
    model = tmp_path / "model"
    shutil.copy(photos.model, model)
    data = str(tmp_path / "data" / part)
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
    shutil.copytree(photos.good, tmp_path / "cameras" / "a")
    shutil.copytree(photos.good, tmp_path / "cameras" / "b")
    assert main(["fit", str(tmp_path / "cameras"), *arguments, "--force"]) == 0


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
    for name in ("00.png", "new.png"):
        assert main(["fit", str(good), "--output", str(good / name), "--force"]) == 2
        assert "--output must not be" in capsys.readouterr().err
    assert not (good / "new.png").exists()
    assert (good / "00.png").read_bytes() == (photos.good / "00.png").read_bytes()


@pytest.fixture(scope="module")
def calibrated_models(photos, tmp_path_factory):
    """A ConformalDetector in a file: of one detector, of two, and with an infinite threshold."""
    folder = tmp_path_factory.mktemp("conformal")
    detector = skanomaly.DenoisingAE(network="plain", max_iter=20, batch_size=4, random_state=0)
    images = ImageSequence(sorted(photos.good.iterdir()))
    cases = {"one": dict(calibration_size=6), "two": dict(cv=2), "none": dict(alpha=0.01)}
    for name, options in cases.items():
        conformal = ConformalDetector(detector, random_state=0, **{"alpha": 0.2} | options)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            conformal.fit(images).save(folder / name)
    return folder


@pytest.mark.parametrize("name", ["one", "two", "none"])
def test_info_and_score_of_a_conformal_detector(name, calibrated_models, photos, tmp_path, capsys):
    model = calibrated_models / name
    conformal = skanomaly.load(model)
    assert main(["info", str(model)]) == 0
    assert "ConformalDetector" in capsys.readouterr().out
    assert main(["info", str(model), "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    count = 2 if name == "two" else 1
    assert (facts["detector"], facts["size"], facts["mode"]) == (
        "ConformalDetector",
        [24, 32],
        "gray",
    )
    assert facts["calibrated"] == f"{count} × DenoisingAE" and facts["steps"] == 20 * count
    assert facts["calibration_images"] == {"one": 6, "two": 12, "none": 3}[name]
    assert facts["false_alarm_bound"] == conformal.false_alarm_bound_
    assert facts["parameters"]["alpha"] == conformal.alpha
    threshold = None if name == "none" else conformal.offset_
    assert facts["threshold"] == threshold

    arguments = ["score", str(model), str(photos.new), "--output", str(tmp_path / "out")]
    page = ["--report", str(tmp_path / "page.html")]
    assert main([*arguments, *page, "--masks", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["threshold"] == threshold
    for row in result["images"]:
        X = np.asarray(Image.open(photos.new / row["path"]))[np.newaxis]
        expected = {1: "normal", -1: "anomalous"}[conformal.predict(X)[0]]
        assert row["decision"] == expected
        assert row["score"] == pytest.approx(conformal.score_samples(X)[0])
        path = (tmp_path / "out" / "masks" / row["path"]).with_suffix(".png")
        mask = np.asarray(Image.open(path))
        np.testing.assert_array_equal(mask > 0, conformal.predict_mask(X)[0])
    assert result["n_anomalous"] == (0 if name == "none" else 1)


def test_calibrate_a_conformal_detector(calibrated_models, photos, tmp_path, capsys):
    output = tmp_path / "new"
    arguments = ["calibrate", str(calibrated_models / "one"), str(photos.good)]
    arguments += ["--output", str(output), "--json"]
    assert main(arguments) == 0
    result = json.loads(capsys.readouterr().out)
    before, after = skanomaly.load(calibrated_models / "one"), skanomaly.load(output)
    images = ImageSequence(sorted(photos.good.iterdir()))
    frozen = FrozenEstimator(before.detectors_[0])
    expected = ConformalDetector(frozen, alpha=0.2).fit(images)
    assert result["threshold"] == after.offset_ == expected.offset_
    assert result["map_threshold"] == after.map_threshold_ == expected.map_threshold_
    assert result["threshold_before"] == before.offset_
    assert len(after.calibration_scores_[0]) == 12
    # Again, and for another level.
    assert main([*arguments, "--force", "--false-alarms", "0.5"]) == 0
    assert skanomaly.load(output).alpha == 0.5
    assert skanomaly.load(output).offset_ > after.offset_


def test_a_conformal_detector_that_cannot_be_calibrated(
    calibrated_models, photos, tmp_path, capsys
):
    for name in ("one", "two"):
        shutil.copy(calibrated_models / name, tmp_path / name)
    assert main(["calibrate", str(tmp_path / "two"), str(photos.good)]) == 2
    assert "cv=2, whose thresholds belong to its folds" in capsys.readouterr().err
    arguments = ["calibrate", str(tmp_path / "one"), str(photos.good), "--false-alarms", "0.01"]
    with pytest.warns(UserWarning, match="at least 99 images"):
        assert main(arguments) == 2
    assert "12 good images are too few" in capsys.readouterr().err
    for name in ("one", "two"):
        assert (tmp_path / name).read_bytes() == (calibrated_models / name).read_bytes()
