"""Output of verbose, with and without a logging configuration, and lines of warnings."""

import io
import logging
import os
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image
from sklearn.model_selection import GridSearchCV
from synthetic_images import make_images

from skanomaly import DenoisingAE
from skanomaly._logging import log_progress
from skanomaly.datasets import load_image_folder
from skanomaly.export import to_onnx
from skanomaly.metrics import image_report
from skanomaly.model_selection import ConformalDetector

LAST = "step 20/20, loss "
PROGRAM = """
import logging, sys, numpy, skanomaly

def fit(verbose):
    X = numpy.random.default_rng(0).random((20, 8))
    skanomaly.DenoisingAE(max_iter=20, random_state=0, verbose=verbose).fit(X)
    sys.stderr.write("=")

fit(1)
fit(0)
logging.basicConfig(format="LOG %(message)s")
fit(1)
logging.getLogger().setLevel(logging.INFO)
fit(1)
logging.getLogger("skanomaly").setLevel(logging.WARNING)
fit(1)
"""


def test_verbose_is_seen_unless_the_logger_is_told_otherwise():
    # In another process, since pytest configures logging.
    run = [sys.executable, "-c", PROGRAM]
    result = subprocess.run(run, capture_output=True, text=True, check=True)
    assert result.stdout == ""
    plain, silent, at_warning, at_info, told, end = result.stderr.split("=")
    for shown in (plain, at_warning, at_info):
        assert shown.count("\n") == 20 and LAST in shown
    assert "LOG" not in plain + at_warning and at_info.count("LOG") == 20
    assert silent == told == end == ""


@pytest.mark.parametrize(("verbose", "level"), [(1, logging.INFO), (0, logging.DEBUG)])
def test_messages_are_logged_once_where_logging_is_set_up(caplog, capsys, verbose, level):
    caplog.set_level(logging.DEBUG, logger="skanomaly")
    DenoisingAE(max_iter=20, random_state=0, verbose=verbose).fit(np.eye(6))
    records = [record for record in caplog.records if record.name == "skanomaly"]
    assert len(records) == 20 and {record.levelno for record in records} == {level}
    assert records[-1].getMessage().startswith(LAST)
    assert capsys.readouterr() == ("", "")


def test_characters_that_stderr_does_not_have_are_told_otherwise(monkeypatch):
    monkeypatch.setattr(logging.getLogger("skanomaly"), "propagate", False)
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii", errors="strict")
    monkeypatch.setattr(sys, "stderr", stream)
    log_progress("32 × 32", verbose=1)
    assert stream.buffer.getvalue().decode() == "32 \\xd7 32" + os.linesep
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    log_progress("32 × 32", verbose=1)
    assert sys.stderr.getvalue() == "32 × 32\n"


@pytest.mark.parametrize(("max_iter", "n_lines"), [(1, 1), (19, 19), (20, 20), (39, 20), (60, 20)])
def test_the_loss_is_logged_at_most_twenty_times(max_iter, n_lines, caplog):
    caplog.set_level(logging.INFO, logger="skanomaly")
    DenoisingAE(network="linear", max_iter=max_iter, verbose=1).fit(np.eye(6))
    steps = [record for record in caplog.records if "loss" in record.getMessage()]
    assert len(steps) == n_lines
    assert f"step {max_iter}/{max_iter}" in steps[-1].getMessage()


def test_verbose_needs_no_stderr(monkeypatch):
    monkeypatch.setattr(logging.getLogger("skanomaly"), "propagate", False)
    monkeypatch.setattr(sys, "stderr", None)
    DenoisingAE(max_iter=2, random_state=0, verbose=1).fit(np.eye(6))


def test_calibration_and_export_tell_what_they_do(caplog, tmp_path):
    for package in ("onnx", "onnxruntime", "onnxscript"):
        pytest.importorskip(package)
    rows = make_images(24, size=(3, 2)).reshape(24, 6)
    for verbose, level in ((1, logging.INFO), (0, logging.DEBUG)):
        caplog.clear()
        caplog.set_level(logging.DEBUG, logger="skanomaly")
        detector = DenoisingAE(max_iter=1, random_state=0, verbose=verbose)
        ConformalDetector(detector, alpha=0.2, cv=2, random_state=0).fit(rows)
        to_onnx(detector.fit(rows), tmp_path / "rows.onnx")
        records = [record for record in caplog.records if record.name == "skanomaly"]
        assert {record.levelno for record in records} == {level}
        messages = " ".join(record.getMessage() for record in records)
        for step in ("detector 1/2: training on 12", "2/2: calibration on 12", "ONNX", "comparing"):
            assert step in messages


def test_warnings_name_the_line_that_called_the_library(tmp_path, recwarn):
    images = (255 * make_images(6, size=(16, 16))).astype(np.uint8)
    (tmp_path / "notes.pdf").touch()
    Image.fromarray(images[0]).save(tmp_path / "a.png")
    load_image_folder(tmp_path)
    detector = DenoisingAE(max_iter=1, random_state=0).fit(images)
    detector.predict(images * 1.0)
    next(detector.detect_batches(images * 1.0))
    search = GridSearchCV(detector, {"noise": [0.1]}, scoring=lambda *_: 0.0, cv=2)
    search.fit(images, [1, 1, 1, 1, 1, -1])
    masks = images[:2] > 100
    masks[0] = False
    image_report(masks, masks * 1.0, y_true=[1, -1], scores=[0.0, 1.0])
    told = " ".join(str(warning.message) for warning in recwarn)
    for message in (
        "notes.pdf",
        "too few to set thresholds",
        "on another scale",
        "higher 'scores'",
    ):
        assert message in told
    assert {warning.filename for warning in recwarn} == {__file__}
