"""Datasets by name and folder, and damaged files in them."""

import shutil

import numpy as np
import pytest

from skanomaly import SelfSupervisedAutoencoderDetector
from skanomaly.benchmark import run_benchmark
from skanomaly.benchmark._command import main
from skanomaly.benchmark._datasets import Dataset, find_datasets
from skanomaly.datasets import load_mvtec_ad


def test_a_folder_of_datasets_stands_for_all_of_them(stripes, tmp_path):
    for name in ("nut", "bolt"):
        shutil.copytree(stripes, tmp_path / name)
    (tmp_path / "notes").mkdir()
    shutil.copytree(stripes, tmp_path / ".old")  # hidden
    found = find_datasets(["grass", tmp_path], 16)
    assert [dataset.name for dataset in found] == ["grass", "bolt", "nut"]
    assert find_datasets(str(tmp_path / "nut"), 16) == found[2:]
    # The same one twice is one.
    assert find_datasets([tmp_path, tmp_path / "nut", "grass", "grass"], 16) == [
        *found[1:],
        found[0],
    ]


def test_datasets_of_one_name_are_told_apart(stripes, tmp_path):
    folders = [tmp_path / name / "nut" for name in ("a", "b")]
    for folder in folders:
        shutil.copytree(stripes, folder)
    names = [dataset.name for dataset in find_datasets(folders, 16)]
    assert len(set(names)) == 2 and names[0].endswith("a/nut")


def test_a_folder_that_is_no_dataset(tmp_path):
    with pytest.raises(FileNotFoundError, match="train/good"):
        find_datasets(tmp_path, 16)
    with pytest.raises(ValueError, match="At least one dataset"):
        find_datasets([], 16)


def test_the_identity_is_of_what_the_files_are(copy, cut, tmp_path):
    identity = Dataset("any", 16, copy).identity()
    moved = copy.rename(tmp_path / "moved")
    moved = shutil.copytree(moved, tmp_path / "elsewhere" / "copy")
    assert Dataset("other", 16, moved).identity() == identity
    assert Dataset("any", 17, moved).identity() != identity
    (moved / "test" / "broken" / "000.png").rename(moved / "test" / "broken" / "900.png")
    renamed = Dataset("any", 16, moved).identity()
    cut(moved / "test" / "good" / "000.png")
    assert len({str(i) for i in (identity, renamed, Dataset("any", 16, moved).identity())}) == 3


def test_undamaged_datasets_are_loaded_as_ever(copy):
    data, left_out = Dataset("copy", 16, copy).load(skip_damaged=True)
    assert left_out == []
    np.testing.assert_array_equal(data.X_test, load_mvtec_ad(copy, size=16).X_test)


def test_damaged_files_are_left_out_with_their_mask_or_image(copy, cut):
    whole = load_mvtec_ad(copy, size=16)
    train, test = np.asarray(whole.X_train), np.asarray(whole.X_test)
    for image in ("train/good/000", "test/good/001", "test/broken/002"):
        cut(copy / f"{image}.png")
    cut(copy / "ground_truth/broken/004_mask.png")
    data, left_out = Dataset("copy", 16, copy).load(skip_damaged=True)
    assert sorted(left_out) == [
        "ground_truth/broken/004_mask.png",
        "test/broken/002.png",
        "test/good/001.png",
        "train/good/000.png",
    ]
    kept = [index for index in range(12) if index not in (1, 6 + 2, 6 + 4)]
    np.testing.assert_array_equal(data.X_train, train[1:])
    np.testing.assert_array_equal(data.X_test, test[kept])
    for name in ("y_test", "masks_test", "kinds_test"):
        np.testing.assert_array_equal(data[name], whole[name][kept])


def test_without_masks_there_are_image_metrics_alone(copy, tmp_path, in_this_process):
    shutil.rmtree(copy / "ground_truth")
    detector = SelfSupervisedAutoencoderDetector(max_iter=2, batch_size=2, device="cpu")
    (row,) = run_benchmark(copy, detector, size=16, seeds=[0], output=tmp_path, report=True)
    assert row["image_roc_auc"] is not None and row["pixel_roc_auc"] is None
    assert len(list(tmp_path.rglob("*.html"))) == 1


def test_a_size_may_be_a_height_and_a_width(copy, in_this_process, capsys):
    arguments = [str(copy), "--size", "16", "24", "--seeds", "0", "--set", "max_iter=1"]
    assert main(arguments) == 0
    assert f"## {copy.name}, 16 x 24 px" in capsys.readouterr().out
    assert main(["bars", "--size", "16", "24"]) == 2
    assert "must be an int. Got (16, 24) instead." in capsys.readouterr().err


def test_a_tilde_stands_for_the_home_folder(
    stripes, tmp_path, monkeypatch, in_this_process, capsys
):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    shutil.copytree(stripes, tmp_path / "nut")
    arguments = ["~/nut", "--size", "16", "--seeds", "0", "--output=~/results", "--report"]
    assert main([*arguments, "--set", "max_iter=1"]) == 0
    assert f"Wrote {tmp_path / 'results' / 'results.csv'} and" in capsys.readouterr().out
    assert sorted(path.name for path in tmp_path.iterdir()) == ["nut", "results"]
    detector = SelfSupervisedAutoencoderDetector(max_iter=1, device="cpu")
    (row,) = run_benchmark("~/nut", detector, size=16, seeds=[0], output="~/others")
    assert row["dataset"] == "nut" and (tmp_path / "others" / "results.md").is_file()
