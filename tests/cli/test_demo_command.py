"""``skanomaly demo``, short and small."""

import sys

import pytest
from PIL import Image

from skanomaly._cli import main

SHORT = ["demo", "--max-iter", "3", "--image-size", "32", "--seed", "1"]


def parse(table):
    rows = [line.split() for line in table.splitlines()[1:5]]
    return {name: [float(value) for value in values] for name, *values in rows}


def test_demo(tmp_path, capsys):
    picture, target = tmp_path / "figure.png", tmp_path / "target"
    picture.symlink_to(target)
    target.touch(mode=0o600)
    assert main([*SHORT, "--output", str(picture)]) == 0
    # As all output files: a link stays, and so does the mode.
    assert picture.is_symlink() and target.stat().st_mode & 0o777 == 0o600
    assert sorted(tmp_path.iterdir()) == [picture, target]
    out = capsys.readouterr().out
    assert out.split("\n")[0].split("  ")[-1].strip() == "pixel AP"
    table = parse(out)
    assert list(table) == ["brick", "grass", "gravel", "mean"]
    assert all(len(row) == 4 and 0 < min(row) <= max(row) <= 1 for row in table.values())
    mean = [sum(column) / 3 for column in zip(*list(table.values())[:3], strict=True)]
    assert table["mean"] == pytest.approx(mean, abs=0.001)
    with Image.open(picture) as opened:
        assert opened.width > 1000
        # Grey pictures and coloured maps, not an empty canvas.
        assert len(opened.convert("RGB").getcolors(2**24)) > 500


def test_without_matplotlib(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    picture = tmp_path / "figure.png"
    assert main([*SHORT, "--output", str(picture)]) == 0
    captured = capsys.readouterr()
    assert list(parse(captured.out)) == ["brick", "grass", "gravel", "mean"]
    assert 'pip install "skanomaly[plot]"' in captured.err
    assert captured.err.count("\n") == 1
    assert not picture.exists()


@pytest.mark.parametrize(
    ("name", "part"), [("figure.doc", ".png"), ("none/figure.png", "does not exist")]
)
def test_output_that_cannot_be_written_is_told_before_training(tmp_path, capsys, name, part):
    assert main(["demo", "--output", str(tmp_path / name)]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert part in captured.err and captured.err.count("\n") == 1
