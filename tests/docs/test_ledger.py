import importlib.util
import json
from pathlib import Path
from types import SimpleNamespace

import pytest
from sklearn.base import clone

from skanomaly import SelfSupervisedAutoencoderDetector
from skanomaly.corruption import PatchCorruption
from skanomaly.datasets import make_bar_images

SCRIPT = Path(__file__).parents[2] / "docs" / "ledger.py"


@pytest.fixture
def ledger(monkeypatch):
    if not SCRIPT.exists():
        pytest.skip("the documentation is not here")
    monkeypatch.syspath_prepend(SCRIPT.parent)
    spec = importlib.util.spec_from_file_location("ledger", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_tables_are_those_of_the_measurements(ledger, tmp_path, monkeypatch):
    monkeypatch.setattr(ledger, "DOCS", tmp_path)
    ledger.make_tables()
    written = sorted(tmp_path.glob("*.csv"))
    assert [file.name for file in written] == [
        "ledger_made.csv",
        "ledger_settings.csv",
        "ledger_tiles.csv",
    ]
    for file in written:
        assert file.read_text() == (SCRIPT.parent / file.name).read_text()


def test_the_defaults_are_among_the_settings_of_the_ledger(ledger):
    start = ledger.EXPERIMENTS["mask_weight=0.1"].detector.get_params(deep=False)
    defaults = SelfSupervisedAutoencoderDetector().get_params(deep=False)
    corruption = start.pop("corruption")
    assert defaults.pop("corruption") is None
    assert start == defaults
    assert corruption.get_params() == PatchCorruption().get_params()


def test_experiments_are_measured_and_kept(ledger, tmp_path, monkeypatch):
    names = ["start", "region_size=None", "replaced share added", "two networks"]
    names += ["average of weights", "blur in a fifth of the patches"]
    names += ["grain in a quarter of the patches", "code residual added", "repaired twice"]
    monkeypatch.setattr(ledger, "EXPERIMENTS", {n: ledger.EXPERIMENTS[n] for n in names})
    monkeypatch.setattr(ledger, "STEPS", {"bars": 2})
    data = make_bar_images(image_size=32, n_train=20, n_test=10, random_state=0)
    monkeypatch.setattr(ledger, "load", lambda *_: data)
    monkeypatch.setattr(ledger.torch, "set_num_threads", lambda _: None)
    options = SimpleNamespace(output=tmp_path, tiles=None)
    for group in ledger.groups():
        ledger.run_group(group, "bars", 0, options)
    files = sorted(tmp_path.glob("*.json"))
    assert len(files) == len(names)
    scores = {}
    for file in files:
        rows = json.loads(file.read_text())
        whole = {row["part"]: row for row in rows}["all"]
        scores[whole["experiment"]] = (whole["image_roc_auc"], whole["pixel_roc_auc"])
    assert sorted(scores) == sorted(names)
    assert len(set(scores.values())) > len(names) // 2
    # Nothing is measured twice.
    before = [file.stat().st_mtime_ns for file in files]
    for group in ledger.groups():
        ledger.run_group(group, "bars", 0, options)
    assert [file.stat().st_mtime_ns for file in files] == before


def test_every_experiment_is_a_detector(ledger):
    assert len(ledger.EXPERIMENTS) > 30
    for experiment in ledger.EXPERIMENTS.values():
        clone(experiment.detector)
        assert experiment.expected
