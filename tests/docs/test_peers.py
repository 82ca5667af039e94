"""docs/peers: the methods that need no further package, and the tables of the runs."""

import importlib
import json
import sys
from argparse import Namespace
from pathlib import Path

import numpy as np
import pytest

PEERS = Path(__file__).parents[2] / "docs" / "peers"


@pytest.fixture
def peers(monkeypatch):
    if not PEERS.is_dir():
        pytest.skip("docs/peers is not part of this copy of the library")
    monkeypatch.syspath_prepend(str(PEERS))
    yield importlib.import_module
    for name in ("_classical", "_ours", "_tables"):
        sys.modules.pop(name, None)


@pytest.mark.parametrize("shape", [(40, 16, 16), (40, 16, 16, 3)])
@pytest.mark.parametrize(
    ("module", "name", "budget", "defect"),
    [
        ("_classical", "PCAReconstruction", None, slice(4, 9)),
        ("_classical", "Forest", None, slice(None)),
        ("_ours", "Ours", 0.5, slice(4, 9)),
    ],
)
def test_methods_score_a_defect_lower_and_mark_it(
    peers, tmp_path, module, name, budget, defect, shape
):
    random = np.random.default_rng(0)
    # Images vary along one direction, which the methods can learn.
    ramp = np.linspace(60, 120, 16)[:, None] * np.ones(16)
    ramp = ramp if len(shape) == 3 else ramp[..., None] * np.ones(3)
    level = random.uniform(0.8, 1.2, (40, *[1] * (len(shape) - 1)))
    X = (level * ramp + random.normal(0, 2, shape)).clip(0, 255).astype(np.uint8)
    test = X[:8].copy()
    test[4:, defect, defect] = 250
    method = getattr(peers(module), name)()
    facts = method.fit(X[8:], tmp_path, budget, 0)
    scores, maps = method.detect(test)
    assert json.dumps(facts)
    if name != "Ours":  # trained for half a second only
        assert scores[4:].max() < scores[:4].min()
    assert scores.shape == (8,)
    if maps is not None:
        assert maps.shape == test.shape[:3]
        assert maps[4:, defect, defect].mean() > maps[4:, 11:, 11:].mean()
    method.save(tmp_path / "model")
    assert (tmp_path / "model").stat().st_size


def write_run(folder, name, method, seconds=None, **figures):
    row = {"set": name, "method": method, "seconds": seconds, "n_train": 5, "n_test": 4}
    row |= {"versions": {}, "python": "3", "processor": "p", "date": "d", "facts": {"steps": 7}}
    (folder / f"{name}-{method}-0.json").write_text(json.dumps(row | figures))


def test_table_gives_each_run_and_the_mean_of_methods_with_all_sets(peers, tmp_path, capsys):
    write_run(tmp_path, "a", "pca", image_roc_auc=0.5, pixel_roc_auc=0.75)
    write_run(tmp_path, "b", "pca", image_roc_auc=1.0, pixel_roc_auc=0.25)
    write_run(tmp_path, "a", "draem", seconds=300, image_roc_auc=0.625)
    peers("_tables").table(Namespace(output=tmp_path))
    runs, means = capsys.readouterr().out.split("mean over the sets")
    assert runs.count("PCA reconstruction") == 2
    (draem,) = [line for line in runs.splitlines() if line.startswith("DRAEM, 300 s")]
    assert draem.split()[3:] == ["0.625", "-", "-", "-", "-", "-", "-", "7"]
    (pca,) = [line for line in means.splitlines() if line.startswith("PCA")]
    assert pca.split()[2:4] == ["0.750", "0.500"]
    assert "DRAEM" not in means
