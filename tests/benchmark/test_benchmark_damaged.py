"""Damaged files end in an error that names them, or are left out and reported, on request."""

import pytest
from PIL import Image
from sklearn.svm import OneClassSVM

from skanomaly.benchmark import BenchmarkError, markdown_report, run_benchmark
from skanomaly.benchmark._command import main


@pytest.mark.parametrize(
    "name", ["train/good/003.png", "test/broken/002.png", "ground_truth/broken/004_mask.png"]
)
def test_a_damaged_file_is_named_and_other_datasets_are_finished(
    copy, cut, tmp_path, name, capsys, in_this_process
):
    cut(copy / name)
    arguments = [str(copy), "bars", "--size", "16", "--output", str(tmp_path / "o")]
    arguments += ["--detector", "sklearn.svm.OneClassSVM"]
    assert main(arguments) == 1
    out, err = capsys.readouterr()
    assert "## bars, 16 px" in out and "## copy" not in out
    (line,) = [line for line in err.splitlines() if "failed:" in line]
    assert "copy, OneClassSVM, seed 0 and 1 more: " in line and str(copy / name) in line
    assert len(list((tmp_path / "o" / "runs").iterdir())) == 2

    assert main([*arguments, "--on-damaged", "skip", "--progress"]) == 0
    out, err = capsys.readouterr()
    assert f"Damaged and skipped: {name}." in out
    assert "[2/4] finished before" in err
    # What was measured without the file does not pass for the whole.
    assert main(arguments) == 1
    assert main([*arguments, "--on-damaged", "skip", "--progress"]) == 0
    assert "[4/4] finished before" in capsys.readouterr().err


def test_images_of_different_kinds_are_no_damage(copy, in_this_process):
    path = copy / "train" / "good" / "005.png"
    Image.open(path).convert("RGB").save(path)
    with pytest.raises(BenchmarkError, match="same shape and dtype"):
        run_benchmark(copy, OneClassSVM(), size=16, seeds=[0], on_damaged="skip")


def test_what_is_left_out_is_in_the_rows(copy, cut, in_this_process):
    cut(copy / "train" / "good" / "003.png")
    (row,) = run_benchmark(copy, OneClassSVM(), size=16, seeds=[0], on_damaged="skip")
    assert (row["n_train"], row["n_test"]) == (11, 12)
    assert row["damaged"] == "train/good/003.png"
    assert "skipped: train/good/003.png" in markdown_report([row])
    with pytest.raises(ValueError, match=r"'on_damaged' .* Got 'ignore' instead"):
        run_benchmark(copy, on_damaged="ignore")


def test_links_to_nothing_are_damage(copy, tmp_path, in_this_process):
    (copy / "test" / "good" / "lost.png").symlink_to(copy / "nothing.png")
    # Its mask would be missing, too.
    (copy / "test" / "broken" / "lost.png").symlink_to(copy / "nothing.png")
    options = {"size": 16, "seeds": [0], "output": tmp_path / "o"}
    with pytest.raises(BenchmarkError, match="no mask|No such image file"):
        run_benchmark(copy, OneClassSVM(), **options)
    (row,) = run_benchmark(copy, OneClassSVM(), on_damaged="skip", **options)
    assert row["damaged"] == "test/broken/lost.png; test/good/lost.png"
