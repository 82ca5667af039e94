"""One detector on one dataset, and the command."""

import csv
import io
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from sklearn.ensemble import IsolationForest
from sklearn.mixture import GaussianMixture
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skanomaly import SelfSupervisedAutoencoderDetector
from skanomaly._estimators import detect
from skanomaly.benchmark import PCAReconstruction, describe_environment, evaluate
from skanomaly.benchmark._command import main
from skanomaly.benchmark._evaluation import _METHODS
from skanomaly.datasets import load_mvtec_ad, make_bar_images
from skanomaly.metrics import image_report
from skanomaly.networks import ConvolutionalAutoencoder

PIXEL_COLUMNS = ("pixel_roc_auc", "pixel_average_precision", "per_region_overlap")


def test_a_trained_detector_scores_well(stripes):
    data = load_mvtec_ad(stripes, size=16)
    detector = SelfSupervisedAutoencoderDetector(max_iter=60, batch_size=8)
    rows = evaluate(detector, data, seeds=(0, 1))
    assert [row["seed"] for row in rows] == [0, 1]
    assert not hasattr(detector, "network_")
    for row in rows:
        assert row["image_roc_auc"] > 0.9 and row["pixel_roc_auc"] > 0.9
        assert row["image_roc_auc broken"] == row["image_roc_auc"]
        assert 0 <= row["false_alarms"] <= 1 and row["training_seconds"] > 0


def test_each_kind_of_defect_is_measured_against_all_good_images():
    data = make_bar_images(n_train=50, n_test=20, random_state=0)
    (row,) = evaluate(PCAReconstruction(20), data, seeds=[0])
    detector = PCAReconstruction(20).fit(data.X_train)
    scores = detector.score_samples(data.X_test)
    is_good = data.kinds_test == "good"
    good, blob = scores[is_good], scores[data.kinds_test == "blob"]
    wins = np.mean(blob[:, np.newaxis] < good)
    assert row["image_roc_auc blob"] == pytest.approx(wins)
    kinds = [row[f"image_roc_auc {kind}"] for kind in ("blob", "gap", "patch", "shift")]
    assert np.mean(kinds) == pytest.approx(row["image_roc_auc"])
    assert row["false_alarms"] == np.mean(detector.predict(data.X_test[is_good]) == -1)
    assert row["misses"] == np.mean(detector.predict(data.X_test[~is_good]) == 1)
    maps = detector.anomaly_map(data.X_test)
    report = image_report(data.masks_test, maps, y_true=data.y_test, scores=scores)
    for name in ("image_roc_auc", "image_average_precision", "image_f1_max", *PIXEL_COLUMNS):
        assert row[name] == pytest.approx(report[name])


def test_each_image_passes_the_network_once(monkeypatch):
    data = make_bar_images(n_train=20, n_test=8, image_size=16, random_state=0)
    detector = SelfSupervisedAutoencoderDetector(max_iter=2).fit(data.X_train)
    scores, decisions, maps = (
        detector.score_samples(data.X_test),
        detector.decision_function(data.X_test),
        detector.anomaly_map(data.X_test),
    )
    passes = []
    forward = ConvolutionalAutoencoder.forward

    def counting(self, images):
        passes.append(len(images))
        return forward(self, images)

    monkeypatch.setattr(ConvolutionalAutoencoder, "forward", counting)
    found = detect(detector, data.X_test, *_METHODS).values()
    assert sum(passes) == len(data.X_test)
    for one, expected in zip(found, (scores, decisions, maps), strict=True):
        np.testing.assert_array_equal(one, expected)


@pytest.mark.parametrize("maximum", [255, 1.0])
def test_detectors_without_maps_get_rows_from_0_to_1(maximum):
    class Watching(IsolationForest):
        def fit(self, X, y=None):
            seen.append((X, self.random_state))
            return super().fit(X, y)

    seen = []
    data = make_bar_images(n_train=30, n_test=8, random_state=0)
    if maximum == 255:
        data.update({name: (data[name] * 255).astype(np.uint8) for name in ("X_train", "X_test")})
    rows = evaluate(Watching(n_estimators=5), data, seeds=(3, 4))
    assert [seed for _, seed in seen] == [3, 4]
    np.testing.assert_allclose(seen[0][0], data.X_train.reshape(30, -1) / maximum)
    for row in rows:
        assert row["image_roc_auc"] is not None and row["false_alarms"] is not None
        assert all(row[name] is None for name in PIXEL_COLUMNS)


def test_seeds_reach_the_parts_of_a_detector_and_not_the_one_given():
    data = make_bar_images(n_train=30, n_test=8, random_state=0)
    detector = make_pipeline(StandardScaler(), IsolationForest(n_estimators=3))
    first, second, again = evaluate(detector, data, seeds=(0, 1, 0))
    assert first["image_roc_auc"] == again["image_roc_auc"]
    assert first["image_roc_auc"] != second["image_roc_auc"]
    assert detector[-1].random_state is None


def test_a_detector_without_a_threshold_raises_no_false_alarms():
    data = make_bar_images(image_size=12, n_train=30, n_test=8, random_state=0)
    detector = GaussianMixture(covariance_type="diag", reg_covar=1e-3)
    (row,) = evaluate(detector, data, seeds=[0])
    assert row["false_alarms"] is None and row["misses"] is None and row["image_f1_max"] > 0


def test_the_command_prints_tables_and_versions(stripes, in_this_process, capsys):
    options = ["--set", "max_iter=2", "precision=float32", "--network", "width=8", "dilations=(1,)"]
    arguments = [str(stripes), "brick", "--size", "16", "--seeds", "3", "--progress", *options]
    assert main(arguments) == 0
    out, err = capsys.readouterr()
    assert out.count("| detector | seeds | image AUROC |") == 3
    for heading in ("## stripes, 16 px", "## brick, 16 px", "## Mean over 2 datasets"):
        assert heading in out
    assert "(dilations=(1,), width=8)" in out or "(width=8, dilations=(1,))" in out
    assert f"torch {describe_environment()['torch']}" in out
    assert "[2/2] brick, " in err


def test_the_command_runs_several_detectors_and_writes_tables(stripes, tmp_path, in_this_process):
    arguments = [str(stripes), "--size", "16", "--seeds", "0", "1", "--output", str(tmp_path / "o")]
    arguments += ["--detector", "DenoisingAE", "noise=0.7", "batch_size=2"]
    arguments += ["--set", "max_iter=3", "batch_size=4"]
    arguments += ["--detector", "sklearn.ensemble.IsolationForest", "n_estimators=5"]
    arguments += ["--detector", "sklearn.svm.OneClassSVM", "--network", "width=4"]
    assert main(arguments) == 0
    with (tmp_path / "o" / "results.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    labels = list(dict.fromkeys(row["detector"] for row in rows))
    # OneClassSVM has a max_iter too, of another meaning.
    assert labels[1:] == ["IsolationForest(n_estimators=5)", "OneClassSVM"]
    for parameter in ("noise=0.7", "max_iter=3", "batch_size=2"):
        assert parameter in labels[0]
    assert [row["seed"] for row in rows] == ["0", "1"] * 3
    assert float(rows[0]["pixel_roc_auc"]) > 0 and rows[2]["pixel_roc_auc"] == ""
    table = (tmp_path / "o" / "results.md").read_text()
    line = next(text for text in table.splitlines() if text.startswith("| IsolationForest"))
    assert line.count("| – ") == 3
    assert "nan" not in table.lower()
    assert len(list((tmp_path / "o" / "runs").iterdir())) == 6


def test_a_ready_estimator_is_run_with_its_own_parameters(tmp_path, monkeypatch, in_this_process):
    (tmp_path / "my_detectors.py").write_text(
        "from sklearn.ensemble import IsolationForest\n"
        "from sklearn.pipeline import make_pipeline\n"
        "ready = make_pipeline(IsolationForest(n_estimators=7))\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    arguments = ["bars", "--size", "12", "--seeds", "0", "--output", str(tmp_path / "o")]
    own = ["my_detectors.ready", "isolationforest__max_samples=9"]
    assert main([*arguments, "--detector", *own]) == 0
    (run,) = (tmp_path / "o" / "runs").iterdir()
    description = json.loads(run.read_text())["identity"]["detector"]
    assert "n_estimators=7" in description and "max_samples=9" in description


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere"], "nowhere"),
        (["brick", "--set", "smoothness=3"], "smoothness"),
        (["brick", "--set", "max_iter=-1"], "max_iter"),
        (["brick", "--set", "corruption__size=3"], "size"),
        (["brick", "--network", "size=3"], "size"),
        (["brick", "--network", "width=8", "--set", "network=plain"], "not both"),
        (["bars", "--size", "128"], "12 to 64"),
        ([str(Path(__file__).parents[1]), "--size", "0"], "'size' must be 1 pixel or more"),
        ([str(Path(__file__).parents[1]), "--size", "4294967296"], "'size' must be below 2**31"),
        (["brick", "--seeds", "-1"], "'seeds'"),
        (
            ["brick", "--detector", "PatchCore"],
            "SelfSupervisedAutoencoderDetector, or",
        ),
        (["brick", "--detector", "no_such.Detector"], "'no_such.Detector' cannot be imported"),
        (
            ["brick", "--detector", "sklearn.svm.NoSVM"],
            "module 'sklearn.svm' has no attribute 'NoSVM'",
        ),
        (["brick", "--detector", "sklearn.svm.SVC"], "lacks score_samples"),
        (["brick", "--detector", "math.pi"], "math.pi"),
        (["brick", "--detector", "sklearn.pipeline.Pipeline"], "steps"),
        (["brick", "--detector", "sklearn.svm.OneClassSVM", "mu=3"], "'mu'"),
        (["brick", "--detector", "sklearn.svm.OneClassSVM", "nu=3"], "'nu'"),
        (["--detector", "DenoisingAE", "brick"], "arguments are required: DATASET"),
        (["brick", "--detector", "DenoisingAE", "grass"], "NAME=VALUE, got 'grass'"),
        (["brick", "--detector", "sklearn.svm.OneClassSVM", "--set", "nu=0.1"], "nu"),
        (["brick", "--detector", "sklearn.svm.OneClassSVM", "--network", "width=4"], "network"),
        (["brick", "--references", "nowhere.csv"], "nowhere.csv"),
        (["brick", "--jobs", "0"], "n_jobs"),
    ],
)
def test_errors_are_one_line_and_come_before_any_run(arguments, message, capsys):
    try:
        code = main(arguments)
    except SystemExit as stop:
        code = stop.code
    assert code == 2
    out, err = capsys.readouterr()
    assert message in err.splitlines()[-1] and out == ""
    assert err.count("\n") == 1 or err.startswith("usage: ")


def test_an_output_that_is_a_file(tmp_path, capsys):
    (tmp_path / "o").write_text("mine")
    assert main(["brick", "--size", "16", "--output", str(tmp_path / "o")]) == 2
    assert "must be a folder" in capsys.readouterr().err
    assert (tmp_path / "o").read_text() == "mine"


@pytest.mark.slow
def test_a_table_for_an_output_that_knows_ascii_alone(stripes, in_this_process, monkeypatch):
    output = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(output, encoding="ascii"))
    detector = ["--detector", "sklearn.ensemble.IsolationForest", "n_estimators=2"]
    assert main([str(stripes), *detector, "--seeds", "0", "1", "--no-progress"]) == 0
    sys.stdout.flush()
    assert rb" \xb1 " in output.getvalue()


def test_an_output_never_touches_an_input(copy, tmp_path, capsys):
    references = tmp_path / "out" / "results.csv"
    references.parent.mkdir()
    references.write_text("detector,image AUROC,source\nPeer,0.9,Web\n")
    before = sorted(tmp_path.rglob("*"))
    for output in (copy, copy / "test", copy / "new", references.parent):
        arguments = [str(copy), "--output", str(output), "--references", str(references)]
        assert main(arguments) == 2
        assert "output must not be, contain or lie in" in capsys.readouterr().err
    assert sorted(tmp_path.rglob("*")) == before


def test_real_tiles_are_told_apart(magnetic_tile):
    """Far better than chance, after a moment on tiny images."""
    detector = SelfSupervisedAutoencoderDetector(max_iter=60, batch_size=8)
    data = load_mvtec_ad(magnetic_tile, size=32)
    (row,) = evaluate(detector, data, seeds=(0,))
    assert row["image_roc_auc"] > 0.6
