"""The HTML page of each run."""

import json
import re

import pytest

from skanomaly.benchmark import run_benchmark
from skanomaly.benchmark._command import main

OPTIONS = ["--size", "16", "--seeds", "0", "--set", "max_iter=2"]


def read_rows(page):
    """Name, kind and decision of each row."""
    text = page.read_text(encoding="utf-8")
    found = r'data-decision="(\w*)">.*<bdi>(.*)</bdi></td><td class="kind">(\w+)</td>'
    return [(name, kind, decision) for decision, name, kind in re.findall(found, text)]


def test_pages_lie_beside_the_results(stripes, tmp_path, in_this_process, capsys):
    output = tmp_path / "o"
    detectors = ["--detector", "DenoisingAE", "--detector", "sklearn.svm.OneClassSVM"]
    detectors += ["--detector", "skanomaly.benchmark.PCAReconstruction"]
    assert main([str(stripes), *OPTIONS, *detectors, "--output", str(output), "--report"]) == 0
    assert f"Wrote 3 pages to {output / 'reports'}" in capsys.readouterr().out
    pages = sorted((output / "reports").iterdir())
    runs = sorted((output / "runs").iterdir())
    assert [page.stem for page in pages] == [run.stem for run in runs]
    for page, run in zip(pages, runs, strict=True):
        rows = read_rows(page)
        names = [f"{kind}/{index:03d}.png" for kind in ("broken", "good") for index in range(6)]
        assert sorted(name for name, _, _ in rows) == names
        assert all(name.startswith(f"{kind}/") for name, kind, _ in rows)
        flagged = [decision for _, kind, decision in rows if kind == "good"].count("anomalous")
        measured = json.loads(run.read_text())["row"]["false_alarms"]
        assert flagged / 6 == pytest.approx(measured)
        text = page.read_text(encoding="utf-8")
        assert text.count('alt="true mask"') == 12
        assert text.count('alt="anomaly map"') == (0 if "OneClassSVM" in page.name else 12)
        assert ("99% quantile" in text) == ("PCAReconstruction" in page.name)


def test_a_finished_run_without_a_page_is_computed_again(stripes, tmp_path, in_this_process):
    from sklearn.svm import OneClassSVM

    options = {"detectors": OneClassSVM(), "size": 16, "seeds": [0], "output": tmp_path}
    run_benchmark(stripes, **options)
    assert not (tmp_path / "reports").exists()
    run_benchmark(stripes, **options, report=True)
    (page,) = (tmp_path / "reports").iterdir()
    before = page.stat().st_mtime_ns
    run_benchmark(stripes, **options, report=True)
    assert page.stat().st_mtime_ns == before
    page.unlink()
    run_benchmark(stripes, **options, report=True)
    assert page.is_file()


def test_made_images_have_numbers_for_names(tmp_path, in_this_process):
    assert main(["bars", *OPTIONS, "--output", str(tmp_path), "--report"]) == 0
    (page,) = (tmp_path / "reports").iterdir()
    rows = read_rows(page)
    assert all(name == f"{kind} {index}" for index, (name, kind, _) in enumerate(rows))
    assert {kind for _, kind, _ in rows} > {"good"}


def test_pages_need_a_folder(capsys):
    assert main(["bars", *OPTIONS, "--report"]) == 2
    assert capsys.readouterr().err.endswith("error: --report needs --output FOLDER.\n")
    with pytest.raises(ValueError, match="'output'"):
        run_benchmark("bars", report=True)


def test_json_holds_the_rows_and_nothing_else(stripes, in_this_process, capsys):
    assert main([str(stripes), *OPTIONS, "--json"]) == 0
    out, err = capsys.readouterr()
    result = json.loads(out)
    assert [row["dataset"] for row in result["rows"]] == ["stripes"]
    assert result["failures"] == [] and err == ""
