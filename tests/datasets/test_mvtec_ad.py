"""load_mvtec_ad on small folders made here, and on the magnetic tiles where they are at hand."""

import os
import shutil
import warnings

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from skanomaly.datasets import ImageSequence, load_mvtec_ad
from skanomaly.datasets._mask_file import read_mask


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
        load_mvtec_ad(magnetic_tile, size=128, on_empty_mask="raise")
    with pytest.warns(UserWarning, match="4 defective .* no pixel"):
        data = load_mvtec_ad(magnetic_tile, size=128)
    assert len(data.X_train) == 761
    assert data.masks_test.shape == (583, 128, 128)
    assert (data.y_test == 1).sum() == 191
    assert len(set(data.kinds_test)) == 6
    is_marked = data.masks_test.any(axis=(1, 2))
    assert not is_marked[data.y_test == 1].any()
    assert is_marked[data.y_test == -1].mean() > 0.95


@pytest.fixture
def no_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


MASK = square_mask((12, 16)) > 0
IDS = np.where(MASK, 2, 0).astype(np.uint8)
IDS[2:4, 4:8] = 37


def as_palette(indices, colors):
    image = Image.fromarray(indices)
    image.putpalette(np.array(colors, dtype=np.uint8).ravel().tolist())
    return image


def rgba(color, alpha):
    return Image.fromarray(np.dstack([np.broadcast_to(color, (12, 16, 3)), alpha]).astype(np.uint8))


RED = np.zeros((12, 16, 3), np.uint8)
RED[MASK, 0] = 255
VOC = [(0, 0, 0), (128, 0, 0), (0, 64, 0), (128, 128, 0)]
MASKS = {
    "class ids": IDS,
    "one class id": np.where(MASK, 37, 0).astype(np.uint8),
    "class ids over half": np.where(IDS == 2, 100, IDS * 6).astype(np.uint8),
    "255 in 16 bits": MASK.astype(np.uint16) * 255,
    "1 in 16 bits": MASK.astype(np.uint16),
    "class ids in 16 bits": IDS.astype(np.uint16) * 300,
    "65535 beside 255": np.where(IDS == 2, 255, IDS.astype(np.uint16) // 37 * 65535),
    "palette": as_palette(MASK.astype(np.uint8), VOC),
    "palette of several classes": as_palette((IDS > 0).astype(np.uint8) + (IDS == 37), VOC),
    "palette without black": as_palette(MASK.astype(np.uint8), [(68, 1, 84), (253, 231, 36)]),
    "palette of black alone": as_palette(MASK.astype(np.uint8), [(0, 0, 0), (0, 0, 0)]),
    "red": RED,
    "dark blue": RED[..., ::-1] // 5,
    "red and dark green": np.dstack([(IDS == 37) * 255, (IDS == 2) * 60, IDS * 0]).astype(np.uint8),
    "alpha under black": rgba((0, 0, 0), MASK * 255),
    "alpha under white": rgba((255, 255, 255), MASK * 255),
    "alpha of class ids": rgba((0, 0, 0), IDS),
    "alpha of 1": rgba((0, 0, 0), MASK),
    "red on transparent": rgba(RED, MASK * 255),
    "black on transparent white": rgba((255 * ~MASK)[..., np.newaxis], MASK * 255),
    "opaque": rgba(RED, np.full((12, 16), 255)),
    "opaque, with all of it transparent": rgba(RED, np.zeros((12, 16))),
    "grey and alpha": np.dstack([np.zeros((12, 16)), MASK * 255]).astype(np.uint8),
    "float": MASK.astype(np.float32),
    "32 bits": IDS.astype(np.int32) * 70000,
}


@pytest.mark.parametrize("name", MASKS)
def test_masks_of_any_coding(root, name, no_warning):
    mask = MASKS[name]
    suffix = "tif" if name in ("float", "32 bits") else "png"
    (root / "tile/ground_truth/blot/000_mask.png").unlink()
    image = mask if isinstance(mask, Image.Image) else Image.fromarray(mask)
    image.save(root / f"tile/ground_truth/blot/000_mask.{suffix}")
    for size in (None, (24, 32)):
        data = load_mvtec_ad(root, "tile", size=size)
        expected = MASK if size is None else MASK.repeat(2, axis=0).repeat(2, axis=1)
        if size is None:
            np.testing.assert_array_equal(data.masks_test[2], expected)
        assert abs(data.masks_test[2].sum() - expected.sum()) <= 8


def test_class_ids_in_thin_lines_of_their_own(root):
    ids = np.zeros((12, 16), np.uint8)
    ids[1, 1:12], ids[4:9, 5:9] = 3, 200
    save(root / "tile/ground_truth/blot/000_mask.png", ids)
    np.testing.assert_array_equal(load_mvtec_ad(root, "tile").masks_test[2], ids > 0)


@pytest.mark.parametrize("scale", [1, 257], ids=["8 bits", "16 bits"])
@pytest.mark.parametrize("kind", ["box", "blur", "resize", "jpeg"])
def test_soft_rims_are_cut_at_half(tmp_path, kind, scale):
    disk = np.hypot(*np.mgrid[-32:32, -32:32]) < 13
    soft = disk.astype(np.uint8) * 255
    if kind == "box":
        soft = ndimage.uniform_filter(soft, 5)
    elif kind == "blur":
        soft = ndimage.gaussian_filter(soft, 3)
    else:
        soft = np.array(Image.fromarray(soft).resize((150, 150), Image.Resampling.BICUBIC))
    path = tmp_path / "a.png"
    if kind == "jpeg":
        Image.fromarray(soft).save(tmp_path / "a.jpg")
        soft = np.array(Image.open(tmp_path / "a.jpg"))
        if scale == 1:
            path = tmp_path / "a.jpg"
    if path.suffix == ".png":
        save(path, soft if scale == 1 else soft.astype(np.uint16) * 257)
    np.testing.assert_array_equal(read_mask(path) > 0.5, soft > 127.5)


@pytest.mark.parametrize("value", [np.nan, np.inf, -1])
def test_impossible_values_of_a_mask(root, value):
    (root / "tile/ground_truth/blot/000_mask.png").unlink()
    mask = np.where(MASK, value, 0).astype(np.float32)
    save(root / "tile/ground_truth/blot/000_mask.tif", mask)
    with pytest.raises(ValueError, match=r"000_mask\.tif.*no NaN, infinity or negative"):
        load_mvtec_ad(root, "tile")


def test_an_empty_mask_is_named(root):
    save(root / "tile/ground_truth/blot/000_mask.png", np.zeros((12, 16), np.uint8))
    message = r"1 defective image\(s\) .* marks no pixel: '.*blot/000\.jpg'"
    with pytest.raises(ValueError, match=f"{message}.*on_empty_mask='warn'"):
        load_mvtec_ad(root, "tile", on_empty_mask="raise")
    with pytest.warns(UserWarning, match=message):
        data = load_mvtec_ad(root, "tile")
    assert data.masks_test.sum(axis=(1, 2)).tolist() == [0, 0, 0, 16]
    with pytest.raises(ValueError, match="'on_empty_mask' parameter must be a str among"):
        load_mvtec_ad(root, "tile", on_empty_mask="ignore")


def test_masks_and_images_are_turned_upright(root):
    exif = Image.Exif()
    exif[0x0112] = 6
    for name in ("test/blot/000.jpg", "ground_truth/blot/000_mask.png"):
        path = root / "tile" / name
        stored = np.rot90(np.array(Image.open(path)))
        Image.fromarray(np.ascontiguousarray(stored)).save(path, exif=exif)
    data = load_mvtec_ad(root, "tile")
    assert data.X_test[2].shape == (12, 16)
    np.testing.assert_array_equal(data.masks_test[2], MASK)


@pytest.mark.parametrize("name", ["000.png", "000_mask.bmp", "000.tif", "000_mask.GIF"])
def test_names_of_masks(root, name, no_warning):
    folder = root / "tile/ground_truth/blot"
    (folder / "000_mask.png").rename(folder / "moved.png")
    Image.open(folder / "moved.png").save(folder / name)
    (folder / "moved.png").unlink()
    np.testing.assert_array_equal(load_mvtec_ad(root, "tile").masks_test[2], MASK)


def test_the_file_that_says_mask_comes_first(root):
    save(root / "tile/ground_truth/blot/000.png", np.full((12, 16), 90, np.uint8))
    np.testing.assert_array_equal(load_mvtec_ad(root, "tile").masks_test[2], MASK)


def test_several_masks_of_one_image_are_joined(root, no_warning):
    (root / "tile/ground_truth/blot/000_mask.png").unlink()
    parts = [IDS == 2, IDS == 37]
    for index, part in enumerate(parts):
        save(root / f"tile/ground_truth/blot/000/{index:03d}.png", part.astype(np.uint8) * 254)
    np.testing.assert_array_equal(load_mvtec_ad(root, "tile").masks_test[2], MASK)


@pytest.mark.parametrize("empty_folder", [False, True])
def test_without_masks(root, empty_folder, no_warning):
    shutil.rmtree(root / "tile/ground_truth")
    if empty_folder:
        (root / "tile/ground_truth/blot").mkdir(parents=True)
    data = load_mvtec_ad(root, "tile")
    assert data.masks_test is None
    assert data.y_test.tolist() == [1, 1, -1, -1]
    assert "no masks" in data.DESCR


def test_without_masks_and_defects_nothing_is_masked(root):
    for part in ("ground_truth", "test/blot", "test/scratch"):
        shutil.rmtree(root / "tile" / part)
    assert not load_mvtec_ad(root, "tile").masks_test.any()


def test_masks_of_one_kind_alone_are_an_error(root):
    shutil.rmtree(root / "tile/ground_truth/blot")
    with pytest.raises(FileNotFoundError, match="blot/000.jpg' has no mask"):
        load_mvtec_ad(root, "tile")


def test_subfolders_are_read(root, no_warning):
    image = np.full((12, 16), 7, np.uint8)
    save(root / "tile/train/good/camera/000.png", image)
    save(root / "tile/test/good/day/2/000.png", image)
    save(root / "tile/test/blot/camera/000.png", image)
    save(root / "tile/ground_truth/blot/camera/000_mask.png", 255 * MASK[::-1].astype(np.uint8))
    data = load_mvtec_ad(root, "tile")
    assert len(data.X_train) == 4
    assert data.kinds_test.tolist() == ["good"] * 3 + ["blot"] * 2 + ["scratch"]
    np.testing.assert_array_equal(data.masks_test[3], MASK)
    np.testing.assert_array_equal(data.masks_test[4], MASK[::-1])


@pytest.mark.parametrize("where", ["test", "train", "train/bad", "train/bad/deeper"])
def test_misplaced_images_are_named(root, where):
    save(root / "tile" / where / "loose.png", MASK)
    save(root / "tile" / where / "more.pgm", 9 * MASK.astype(np.uint8))
    with pytest.warns(UserWarning, match=rf"2 image file\(s\) .*{where}/loose\.png'"):
        data = load_mvtec_ad(root, "tile")
    assert (len(data.X_train), len(data.X_test)) == (3, 4)


@pytest.mark.parametrize("where", ["train/good", "test/good", "test/blot", "test", "ground_truth"])
def test_other_files_are_named(root, where):
    (root / "tile" / where / "000.heic").touch()
    with pytest.warns(UserWarning, match=rf"1 file\(s\) .*{where}/000\.heic'"):
        load_mvtec_ad(root, "tile")


def test_an_unlistable_folder_is_an_error(root, monkeypatch):
    def scandir(path, original=os.scandir):
        if os.fspath(path).endswith("blot"):
            raise PermissionError(13, "Permission denied", path)
        return original(path)

    monkeypatch.setattr(os, "scandir", scandir)
    with pytest.raises(PermissionError, match=r"blot' cannot be listed: Permission denied"):
        load_mvtec_ad(root, "tile")


def test_home_folder(root, monkeypatch):
    monkeypatch.setenv("HOME", str(root.parent))
    assert len(load_mvtec_ad(f"~/{root.name}", "tile").X_test) == 4


def test_what_is_transparent_has_no_colour(root):
    color = np.full((12, 16, 3), 255)
    color[MASK] = (60, 0, 0)
    color[2:4, 4:8] = (25, 0, 0)
    rgba(color, MASK * 255).save(root / "tile/ground_truth/blot/000_mask.png")
    np.testing.assert_array_equal(load_mvtec_ad(root, "tile").masks_test[2], MASK)


def test_a_mask_of_several_pages_is_refused(root):
    (root / "tile/ground_truth/blot/000_mask.png").unlink()
    pages = [Image.fromarray(IDS == value) for value in (2, 37)]
    path = root / "tile/ground_truth/blot/000_mask.tif"
    pages[0].save(path, save_all=True, append_images=pages[1:])
    with pytest.raises(ValueError, match=r"000_mask\.tif': a mask must be of 1 page.* holds 2"):
        load_mvtec_ad(root, "tile")


def test_hidden_folders_are_no_kinds(tmp_path):
    for name in ("train/good", "test/good", "test/.cache"):
        (tmp_path / name).mkdir(parents=True)
        Image.fromarray(np.zeros((8, 8), np.uint8)).save(tmp_path / name / "a.png")
    assert load_mvtec_ad(tmp_path).kinds_test.tolist() == ["good"]
