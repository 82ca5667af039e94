"""``--report`` and ``--json`` of the commands, and the benchmark under the same name."""

import csv
import json
import os
import re
import shutil
import sys

import pytest

from skanomaly import load
from skanomaly._cli import main

ODD = "<b>&\"'ü.png"


def read_json(capsys):
    """What a command printed, which must be JSON and nothing else."""
    out, err = capsys.readouterr()
    assert err == "" and out.count("\n") == 1
    return json.loads(out)


def test_report_of_scores(photos, tmp_path, capsys):
    folder, page = tmp_path / "new", tmp_path / "report.html"
    shutil.copytree(photos.new, folder)
    (folder / "a.png").rename(folder / ODD)
    score = ["score", str(photos.model), str(folder), "--report", str(page)]
    assert main([*score, "--output", str(tmp_path / "out")]) == 0
    out = capsys.readouterr().out
    assert out.startswith("1 of 5 images are anomalous.\n") and f"Wrote {page}\n" in out
    text = page.read_text(encoding="utf-8")
    with (tmp_path / "out" / "scores.csv").open(newline="", encoding="utf-8") as file:
        table = list(csv.DictReader(file))
    rows = re.findall(r'data-score="(.*?)" data-decision="(\w+)"', text)
    assert rows == [(row["score"], row["decision"]) for row in table]
    kinds = re.findall(r'<td class="kind">(.*?)</td>', text)
    assert kinds == ["", "b c", "d", "d", "d"]
    assert "<bdi>&lt;b&gt;&amp;&quot;&#x27;ü.png</bdi>" in text
    detector = load(photos.model)
    assert f'data-threshold="{detector.offset_!r}"' in text

    # The page alone, where one exists.
    page.write_text("mine")
    assert main(score) == 2
    assert "--force" in capsys.readouterr().err and page.read_text() == "mine"
    assert main([*score, "--force"]) == 0
    assert page.read_text(encoding="utf-8") == text


@pytest.mark.parametrize("name", ["none/report.html", ""])
def test_a_page_that_cannot_be_written(photos, tmp_path, name, capsys):
    page = str(tmp_path / name)
    assert main(["score", str(photos.model), str(photos.new), "--report", page, "--force"]) == 2
    error = capsys.readouterr().err
    assert "--report" in error and error.count("\n") == 1


def test_without_options_the_table_is_on_stdout(photos, tmp_path, capsys):
    score = ["score", str(photos.model), str(photos.new)]
    assert main([*score, "--output", str(tmp_path / "out")]) == 0
    capsys.readouterr()
    assert main(score) == 0
    out, err = capsys.readouterr()
    assert out.encode() == (tmp_path / "out" / "scores.csv").read_bytes()
    assert err == "1 of 5 images are anomalous.\n"


def test_scores_as_json(photos, tmp_path, capsys):
    score = ["score", str(photos.model), str(photos.new), "--output", str(tmp_path / "out")]
    assert main([*score, "--json"]) == 0
    result = read_json(capsys)
    with (tmp_path / "out" / "scores.csv").open(newline="", encoding="utf-8") as file:
        table = list(csv.DictReader(file))
    assert [{name: str(value) for name, value in row.items()} for row in result["images"]] == table
    assert (result["n_images"], result["n_anomalous"], result["report"]) == (5, 1, None)
    assert result["threshold"] == load(photos.model).offset_


def test_fit_as_json(photos, tmp_path, capsys):
    model = tmp_path / "m"
    arguments = ["fit", str(photos.good), "--output", str(model), "--max-iter", "3", "--json"]
    assert main(arguments) == 0
    result = read_json(capsys)
    detector = load(model)
    assert (result["model"], result["images"], result["steps"]) == (str(model), 12, 3)
    assert (result["size"], result["mode"]) == ([24, 32], "gray")
    assert result["threshold"] == detector.offset_
    assert result["map_threshold"] == detector.map_threshold_


def test_demo_as_json(tmp_path, capsys):
    picture = tmp_path / "a.png"
    options = ["--max-iter", "1", "--image-size", "16", "--output", str(picture)]
    assert main(["demo", *options, "--json"]) == 0
    result = read_json(capsys)
    assert list(result["textures"]) == ["brick", "grass", "gravel"]
    assert all(0 <= row["pixel AUROC"] <= 1 for row in result["textures"].values())
    assert result["output"] == str(picture) and picture.is_file()


def test_the_benchmark_is_the_same_command(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["skanomaly", "benchmark", "no such folder"])
    assert main() == 2
    error = capsys.readouterr().err
    assert error.startswith("skanomaly benchmark: error: ") and error.count("\n") == 1
    with pytest.raises(SystemExit) as stop:
        main(["benchmark", "bars", "--size", "many"])
    assert stop.value.code == 2
    assert re.fullmatch("skanomaly benchmark: error: .*--size.*\n", capsys.readouterr().err)
    with pytest.raises(SystemExit) as stop:
        main(["benchmark", "speed", "--help"])
    assert stop.value.code == 0 and "skanomaly benchmark speed" in capsys.readouterr().out


def test_progress_bars_on_a_terminal(photos, tmp_path, monkeypatch, capsys):
    pytest.importorskip("rich")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    score = ["score", str(photos.model), str(photos.new), "--report", str(tmp_path / "a.html")]
    assert main(score) == 0
    assert re.search("scoring .*100%", capsys.readouterr().err)
    assert main([*score, "--force", "--no-progress"]) == 0
    assert capsys.readouterr().err == ""


@pytest.mark.skipif(os.name != "posix", reason="file names are bytes on POSIX alone")
def test_a_name_that_is_no_text(photos, tmp_path, capsys):
    folder, page = tmp_path / "new", tmp_path / "report.html"
    folder.mkdir()
    name = os.fsdecode(b"\xff<i>.png")
    shutil.copy(photos.new / "a.png", folder / name)
    score = ["score", str(photos.model), str(folder), "--report", str(page), "--json"]
    assert main(score) == 0
    assert read_json(capsys)["images"][0]["path"] == name
    assert r"<bdi>\udcff&lt;i&gt;.png</bdi>" in page.read_text(encoding="utf-8")


def test_a_threshold_of_zero_as_json(photos, tmp_path, capsys):
    score = ["score", str(photos.model), str(photos.new), "--threshold", "0", "--json"]
    assert main(score) == 0
    result = read_json(capsys)
    assert (result["threshold"], result["n_anomalous"], result["n_unreadable"]) == (0, 5, 0)
    # JSON has no infinity.
    assert [row["relative_score"] for row in result["images"]] == [None] * 5


def test_a_page_names_the_threshold_of_maps(photos, tmp_path):
    page, image = tmp_path / "report.html", str(photos.new / "a.png")
    score = ["score", str(photos.model), image, "--report", str(page), "--threshold", "-1e9"]
    assert main(score) == 0
    expected = f"map threshold, which is {load(photos.model).map_threshold_:.3g},"
    assert expected in page.read_text(encoding="utf-8")
