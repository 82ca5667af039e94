import numpy as np
import pytest
from skimage import io
from synthetic_images import make_images, plant_defects

from skanomaly import SelfSupervisedAutoencoderDetector
from skanomaly.benchmark import describe_environment, evaluate, markdown_table
from skanomaly.benchmark.__main__ import main
from skanomaly.datasets import load_mvtec_ad


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    """A dataset in MVTec AD layout: stripes, with a broken square in the defective ones."""
    root = tmp_path_factory.mktemp("stripes")
    bad, masks = plant_defects(make_images(6, size=(16, 16), seed=2))

    def write(folder, images, suffix=""):
        (root / folder).mkdir(parents=True)
        for index, image in enumerate(images):
            path = root / folder / f"{index:03d}{suffix}.png"
            io.imsave(path, (image * 255).astype(np.uint8), check_contrast=False)

    write("train/good", make_images(12, size=(16, 16)))
    write("test/good", make_images(6, size=(16, 16), seed=1))
    write("test/broken", bad)
    write("ground_truth/broken", masks, "_mask")
    return root


def test_a_trained_detector_scores_well_and_the_table_says_so(dataset):
    detector = SelfSupervisedAutoencoderDetector(max_iter=60, batch_size=8)
    rows = evaluate(detector, load_mvtec_ad(dataset, size=16), seeds=(0, 1))
    assert [row["seed"] for row in rows] == [0, 1]
    assert not hasattr(detector, "network_")
    for row in rows:
        assert row["image AUROC"] > 0.9 and row["pixel AUROC"] > 0.9
        assert row["AUROC broken"] == row["image AUROC"]
        assert 0 <= row["false alarms"] <= 1 and row["training s"] > 0
    table = markdown_table(rows)
    mean = np.mean([row["image AUROC"] for row in rows])
    spread = np.std([row["image AUROC"] for row in rows], ddof=1)
    line = next(line for line in table.splitlines() if line.startswith("| image AUROC"))
    assert line.endswith(f"| {mean:.3f} ± {spread:.3f} |")
    assert "±" not in markdown_table(rows[:1]).splitlines()[2]


def test_the_command_prints_table_and_versions(dataset, capsys):
    options = ["--set", "max_iter=2", "precision=float32", "--network", "width=8", "dilations=(1,)"]
    main([str(dataset), "brick", "--size", "16", "--seeds", "3", *options])
    out = capsys.readouterr().out
    assert out.count("| image AUROC |") == 2 and "seed 3" in out
    assert f"torch {describe_environment()['torch']}" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere"], "nowhere"),
        (["brick", "--set", "smoothness=3"], "smoothness"),
        (["brick", "--network", "size=3"], "size"),
    ],
)
def test_errors_are_one_line(arguments, message, capsys):
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == 2
    err = capsys.readouterr().err
    assert message in err and err.count("\n") == 1


@pytest.mark.slow
def test_real_tiles_are_told_apart(magnetic_tile):
    """Far better than chance, after a moment on tiny images."""
    detector = SelfSupervisedAutoencoderDetector(max_iter=60, batch_size=8)
    (row,) = evaluate(detector, load_mvtec_ad(magnetic_tile, size=32), seeds=(0,))
    assert row["image AUROC"] > 0.6
