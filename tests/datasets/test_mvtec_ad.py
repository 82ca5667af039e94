"""load_mvtec_ad on small folders made here, and on the magnetic tiles where they are at hand."""

import shutil

import numpy as np
import pytest
from PIL import Image

from skanomaly.datasets import ImageSequence, load_mvtec_ad


def save(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)


def square_mask(shape, value=255):
    mask = np.zeros(shape, dtype=np.uint8)
    mask[2:6, 4:8] = value
    return mask


@pytest.fixture
def root(tmp_path):
    image = np.full((12, 16), 100, dtype=np.uint8)
    tile = tmp_path / "tile"
    for index in range(3):
        save(tile / f"train/good/{index:03d}.png", image)
    for index in range(2):
        save(tile / f"test/good/{index:03d}.png", image)
    for kind in ("scratch", "blot"):
        save(tile / f"test/{kind}/000.jpg", image)
        save(tile / f"ground_truth/{kind}/000_mask.png", square_mask(image.shape))
    (tile / "license.txt").touch()
    (tile / "test" / ".cache").mkdir()
    (tmp_path / "readme.txt").touch()
    return tmp_path


@pytest.mark.parametrize("by_category", [True, False])
def test_fields(root, by_category):
    data = load_mvtec_ad(root, "tile") if by_category else load_mvtec_ad(str(root / "tile"))
    assert isinstance(data.X_train, ImageSequence)
    assert isinstance(data.X_test, ImageSequence)
    assert (data.X_train.shape, data.X_test.shape) == ((3, 12, 16), (4, 12, 16))
    assert data.kinds_test.tolist() == ["good", "good", "blot", "scratch"]
    assert [path.parent.name for path in data.X_test.paths] == data.kinds_test.tolist()
    assert data.y_test.tolist() == [1, 1, -1, -1]
    assert data.y_test.dtype == np.int64
    assert data.masks_test.dtype == bool
    assert data.masks_test.shape == (4, 12, 16)
    assert not data.masks_test[:2].any()
    np.testing.assert_array_equal(data.masks_test[2], square_mask((12, 16)) > 0)
    assert "3 normal images" in data.DESCR
    assert "1 scratch" in data.DESCR


def test_masks_are_resized_with_the_images(root):
    data = load_mvtec_ad(root, "tile", size=(6, 8), mode="rgb")
    assert data.X_test.shape == (4, 6, 8, 3)
    assert data.masks_test.shape == (4, 6, 8)
    np.testing.assert_array_equal(data.masks_test[3], square_mask((12, 16))[::2, ::2] > 0)


def test_images_of_several_sizes(root):
    save(root / "tile/test/blot/001.png", np.zeros((5, 9), np.uint8))
    save(root / "tile/ground_truth/blot/001_mask.png", square_mask((5, 9)))
    data = load_mvtec_ad(root, "tile")
    assert isinstance(data.masks_test, list)
    assert [mask.shape for mask in data.masks_test] == [(12, 16)] * 3 + [(5, 9), (12, 16)]
    assert all(mask.dtype == bool for mask in data.masks_test)
    assert load_mvtec_ad(root, "tile", size=8).masks_test.shape == (5, 8, 8)


@pytest.mark.parametrize(
    "mask",
    [
        square_mask((12, 16), 1),
        square_mask((12, 16), 128),
        np.dstack([square_mask((12, 16))] * 3),
        square_mask((12, 16)).astype(np.uint16) * 257,
        square_mask((12, 16)) > 0,
    ],
    ids=["zero-one", "just above half", "rgb", "16 bits", "1 bit"],
)
def test_mask_codings(root, mask):
    save(root / "tile/ground_truth/blot/000_mask.png", mask)
    masks = load_mvtec_ad(root, "tile").masks_test
    np.testing.assert_array_equal(masks[2], square_mask((12, 16)) > 0)


def test_soft_rim_is_cut_at_half(root):
    mask = square_mask((12, 16))
    mask[6, 4:8] = 127
    save(root / "tile/ground_truth/blot/000_mask.png", mask)
    masks = load_mvtec_ad(root, "tile").masks_test
    np.testing.assert_array_equal(masks[2], square_mask((12, 16)) > 0)


def test_missing_mask(root):
    (root / "tile/ground_truth/blot/000_mask.png").unlink()
    with pytest.raises(FileNotFoundError, match=r"has no mask.*ground_truth/blot/000_mask\.png"):
        load_mvtec_ad(root, "tile")


def test_mask_of_another_size(root):
    save(root / "tile/ground_truth/blot/000_mask.png", square_mask((8, 8)))
    with pytest.raises(ValueError, match=r"000_mask\.png.*\(8, 8\).*\(12, 16\)"):
        load_mvtec_ad(root, "tile", size=4)


def test_damaged_mask(root):
    (root / "tile/ground_truth/blot/000_mask.png").write_text("no image")
    with pytest.raises(ValueError, match=r"000_mask\.png"):
        load_mvtec_ad(root, "tile")


def test_missing_folders(root):
    with pytest.raises(FileNotFoundError, match=r"nowhere.*'root'"):
        load_mvtec_ad(root / "nowhere")
    with pytest.raises(FileNotFoundError, match=r"'category'.*'leather'.*Categories found.*tile"):
        load_mvtec_ad(root, "leather")
    with pytest.raises(FileNotFoundError, match=r"train/good.*Categories found.*tile"):
        load_mvtec_ad(root)
    shutil.rmtree(root / "tile/test")
    with pytest.raises(FileNotFoundError, match="no folder 'test'"):
        load_mvtec_ad(root, "tile")
    shutil.rmtree(root / "tile/train")
    with pytest.raises(FileNotFoundError, match=r"no folder 'train/good'.*Expected train/good"):
        load_mvtec_ad(root, "tile")


def test_empty_folders(root):
    for kind in ("good", "blot", "scratch"):
        shutil.rmtree(root / "tile/test" / kind)
        (root / "tile/test" / kind).mkdir()
    with pytest.raises(ValueError, match="hold no image"):
        load_mvtec_ad(root, "tile")
    for path in (root / "tile/train/good").iterdir():
        path.unlink()
    with pytest.raises(ValueError, match="holds no image"):
        load_mvtec_ad(root, "tile")


@pytest.mark.parametrize(
    ("kwargs", "error"), [({"size": 1.5}, TypeError), ({"mode": "x"}, ValueError)]
)
def test_bad_parameters(root, kwargs, error):
    with pytest.raises(error):
        load_mvtec_ad(root, "tile", **kwargs)


def test_magnetic_tiles(magnetic_tile):
    with pytest.raises(ValueError, match="4 defective .* no pixel"):
        load_mvtec_ad(magnetic_tile, size=128)
    with pytest.warns(UserWarning, match="4 defective .* no pixel"):
        data = load_mvtec_ad(magnetic_tile, size=128, on_empty_mask="warn")
    assert len(data.X_train) == 761
    assert data.masks_test.shape == (583, 128, 128)
    assert (data.y_test == 1).sum() == 191
    assert len(set(data.kinds_test)) == 6
    is_marked = data.masks_test.any(axis=(1, 2))
    assert not is_marked[data.y_test == 1].any()
    assert is_marked[data.y_test == -1].mean() > 0.95
