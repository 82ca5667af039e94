"""Single files: orientation, byte order, what decides the decoder, and what is no regular file."""

import os
import signal
import socket
import struct
import warnings
import zlib
from contextlib import contextmanager

import numpy as np
import pytest
from PIL import EpsImagePlugin, Image, PngImagePlugin

from skanomaly._cli import main
from skanomaly.datasets import ImageSequence, load_image_folder
from skanomaly.datasets._image_file import IMAGE_SUFFIXES, read_image_header, resize_image
from skanomaly.datasets._mask_file import read_mask

COLOR = np.zeros((48, 32, 3), np.uint8)
COLOR[:16, :16], COLOR[32:, 16:] = (250, 20, 30), (10, 60, 220)
GRAY = COLOR[..., 0]

# What a camera stores that is held so that EXIF says `orientation`.
STORED = {
    1: lambda upright: upright,
    2: np.fliplr,
    3: lambda upright: np.rot90(upright, 2),
    4: np.flipud,
    5: lambda upright: np.swapaxes(upright, 0, 1),
    6: lambda upright: np.rot90(upright, 1),
    7: lambda upright: np.swapaxes(np.rot90(upright, 2), 0, 1),
    8: lambda upright: np.rot90(upright, -1),
}


def save_turned(path, upright, orientation, **options):
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = np.ascontiguousarray(STORED.get(orientation, STORED[1])(upright))
    Image.fromarray(stored).save(path, exif=exif, **options)
    return path


def read(path, **options):
    return ImageSequence([path], **options)[0]


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize(
    ("name", "upright", "options"),
    [
        ("a.jpg", COLOR, {"quality": 95}),
        ("a.png", COLOR, {}),
        ("gray.png", GRAY, {}),
        ("deep.png", GRAY.astype(np.uint16) * 250, {}),
        ("a.webp", COLOR, {"lossless": True}),
        ("a.tif", GRAY, {}),
        ("compressed.tif", COLOR, {"compression": "tiff_lzw"}),
        ("float.tif", GRAY.astype(np.float32), {}),
    ],
)
def test_exif_orientation(tmp_path, name, upright, options, orientation):
    path = save_turned(tmp_path / name, upright, orientation, **options)
    image = read(path)
    assert image.shape == upright.shape and image.flags.c_contiguous
    difference = np.abs(image.astype(float) - upright)
    assert difference.mean() < (4 if name.endswith("jpg") else 1e-9)
    size, is_color = read_image_header(path)
    assert (size, is_color) == ((48, 32), upright.ndim == 3)
    assert read(path, size=(24, 16), mode="gray").shape == (24, 16)


@pytest.mark.parametrize("orientation", [0, 9, 300])
def test_an_orientation_that_is_none_is_ignored(tmp_path, orientation):
    path = save_turned(tmp_path / "a.png", GRAY, orientation)
    np.testing.assert_array_equal(read(path), GRAY)


def test_damaged_exif_is_ignored(tmp_path):
    Image.fromarray(GRAY).save(tmp_path / "a.png", exif=b"Exif\0\0nonsense")
    np.testing.assert_array_equal(read(tmp_path / "a.png"), GRAY)


def test_orientation_behind_the_pixels_of_a_png(tmp_path):
    path = save_turned(tmp_path / "a.png", GRAY, 6)
    data, chunks, start = path.read_bytes(), [], 8
    while start < len(data):
        end = start + 12 + int.from_bytes(data[start : start + 4], "big")
        chunks.append(data[start:end])
        start = end
    chunks.sort(key=lambda chunk: [b"IHDR", b"IDAT", b"eXIf", b"IEND"].index(chunk[4:8]))
    path.write_bytes(data[:8] + b"".join(chunks))
    assert read_image_header(path)[0] == (48, 32)
    np.testing.assert_array_equal(read(path), GRAY)


def test_fit_on_the_command_line_takes_the_upright_size(tmp_path, capsys):
    for index in range(2):
        save_turned(tmp_path / f"{index}.png", GRAY, 6)
    arguments = ["fit", str(tmp_path), "--output", str(tmp_path / "m"), "--max-iter", "1"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert main(arguments) == 0
    assert "of 48 × 32 pixels" in capsys.readouterr().out


def test_big_endian_files_give_native_values(tmp_path):
    values = (np.arange(12, dtype=np.uint16) * 5000).reshape(3, 4)
    Image.frombytes("I;16B", (4, 3), values.astype(">u2").tobytes()).save(tmp_path / "a.tif")
    (tmp_path / "b.pgm").write_bytes(b"P5 4 3 65535\n" + values.astype(">u2").tobytes())
    Image.fromarray(values).save(tmp_path / "c.png")
    images = np.asarray(load_image_folder(tmp_path))
    assert images.dtype == np.uint16 and images.dtype.isnative
    np.testing.assert_array_equal(images, [values] * 3)
    assert all(image.dtype.isnative for image in load_image_folder(tmp_path))
    floats = values.astype(np.float32) / 7
    header = struct.pack(">2sHI", b"MM", 42, 8) + struct.pack(">H", 9)
    tags = [(256, 3, 4), (257, 3, 3), (258, 3, 32), (259, 3, 1), (262, 3, 1), (273, 4, 122)]
    tags += [(277, 3, 1), (279, 4, 48), (339, 3, 3)]
    for tag, kind, value in tags:
        header += struct.pack(">HHI", tag, kind, 1)
        header += struct.pack(">HH", value, 0) if kind == 3 else struct.pack(">I", value)
    (tmp_path / "f.tif").write_bytes(header + bytes(4) + floats.astype(">f4").tobytes())
    image = read(tmp_path / "f.tif")
    assert image.dtype.isnative
    np.testing.assert_array_equal(image, floats)


@pytest.mark.parametrize(
    "name", ["a.pgm", "a.pnm", "a.ppm", "a.pbm", "a.gif", "a.jp2", "a.j2k", "a.jfif", "a.GIF"]
)
def test_further_formats(tmp_path, name):
    opened = Image.fromarray(255 * (GRAY > 0).astype(np.uint8))
    if name == "a.pbm":
        opened = opened.convert("1")
    options = {"quality": 95} if name == "a.jfif" else {}
    opened.save(tmp_path / name, **options)
    image = load_image_folder(tmp_path, mode="gray")[0]
    assert np.abs(image.astype(int) - 255 * (GRAY > 0)).mean() < 1
    assert read_image_header(tmp_path / name)[0] == GRAY.shape


def test_a_12_bit_pgm_fills_the_range(tmp_path):
    values = np.array([[0, 2048, 4095]], dtype=">u2")
    (tmp_path / "a.pgm").write_bytes(b"P5 3 1 4095\n" + values.tobytes())
    image = read(tmp_path / "a.pgm")
    assert image.dtype == np.uint16
    assert image[0, 0] == 0 and image[0, 2] == 65535 and abs(int(image[0, 1]) - 32776) < 16


def test_any_of_the_formats_may_have_any_of_the_suffixes(tmp_path):
    for kind in ("PNG", "BMP", "TIFF", "GIF", "PPM"):
        path = tmp_path / "a.jpg"
        Image.fromarray(GRAY).save(path, format=kind)
        np.testing.assert_array_equal(read(path, mode="gray"), GRAY)


EPS = b"""%!PS-Adobe-3.0 EPSF-3.0
%%BoundingBox: 0 0 10 10
%%EndComments
showpage
%%EOF
"""


@pytest.mark.parametrize("suffix", IMAGE_SUFFIXES)
def test_postscript_starts_no_interpreter(tmp_path, suffix, monkeypatch):
    def start(*args, **options):
        raise AssertionError("Ghostscript was started")

    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", start)
    path = tmp_path / f"a{suffix}"
    path.write_bytes(EPS)
    for attempt in (lambda: read(path), lambda: read_image_header(path)):
        with pytest.raises(ValueError, match=r"is not an image file that can be read.*PNG, JPEG"):
            attempt()


@pytest.mark.parametrize("kind", ["DDS", "TGA", "ICO", "PCX", "SGI", "PDF", "AVIF"])
def test_formats_of_other_suffixes_are_refused(tmp_path, kind):
    path = tmp_path / "a.png"
    Image.fromarray(COLOR).save(path, format=kind)
    with pytest.raises(ValueError, match=r"a\.png' is not an image file that can be read"):
        read(path)


def bomb(path):
    """A header that claims 40000 × 40000 pixels."""

    def chunk(kind, data):
        check = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + check

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 40000, 40000, 8, 0, 0, 0, 0))
    data = header + chunk(b"IDAT", zlib.compress(bytes(100))) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + data)


def test_a_decompression_bomb_is_refused_everywhere(tmp_path, capsys):
    bomb(tmp_path / "a.png")
    Image.fromarray(GRAY).save(tmp_path / "b.png")
    for attempt in (read, read_image_header):
        with pytest.raises(ValueError, match=r"a\.png' claims to be too large.*MAX_IMAGE_PIXELS"):
            attempt(tmp_path / "a.png")
    assert main(["fit", str(tmp_path), "--output", str(tmp_path / "m")]) == 2
    error = capsys.readouterr().err
    assert "claims to be too large" in error and error.count("\n") == 1


@contextmanager
def within_seconds(seconds):
    def stop(*_):
        raise TimeoutError("it hangs")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


@pytest.mark.skipif(os.name != "posix", reason="such files are on POSIX alone")
@pytest.mark.parametrize("kind", ["fifo", "socket", "device", "link to a fifo", "folder"])
def test_what_is_no_regular_file_is_refused(tmp_path, kind):
    path = tmp_path / "a.png"
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "link to a fifo":
        os.mkfifo(tmp_path / "fifo")
        path.symlink_to(tmp_path / "fifo")
    elif kind == "device":
        path.symlink_to("/dev/zero")
    elif kind == "folder":
        path.mkdir()
    else:
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(os.path.relpath(path))
    with within_seconds(5):
        for attempt in (read, read_image_header):
            with pytest.raises(ValueError, match=r"a\.png': it is not a regular file"):
                attempt(path)


def test_text_chunks_behind_the_pixels_need_not_turn(tmp_path):
    info = PngImagePlugin.PngInfo()
    info.add(b"tEXt", b"date\0today", after_idat=True)
    Image.fromarray(GRAY).save(tmp_path / "a.png", pnginfo=info)
    assert read_image_header(tmp_path / "a.png") == ((48, 32), False)


def write_tiff(path, values, photometric=1, sample_format=1):
    """Write grey values as Pillow does not."""
    height, width = values.shape
    tags = [(256, width), (257, height), (258, 8 * values.itemsize), (259, 1), (262, photometric)]
    tags += [(273, 10 + 12 * 9 + 4), (277, 1), (279, values.nbytes), (339, sample_format)]
    header = struct.pack("<2sHIH", b"II", 42, 8, len(tags))
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    path.write_bytes(header + entries + bytes(4) + values.tobytes())


@pytest.mark.parametrize("dtype", ["u1", "<u2"])
def test_white_is_zero(tmp_path, dtype):
    values = GRAY.astype(dtype) * (257 if dtype == "<u2" else 1)
    write_tiff(tmp_path / "a.tif", np.iinfo(dtype).max - values, photometric=0)
    write_tiff(tmp_path / "b.tif", values)
    for name in ("a.tif", "b.tif"):
        np.testing.assert_array_equal(read(tmp_path / name), values)


@pytest.mark.parametrize("dtype", ["u1", "<u2"])
def test_a_mask_whose_white_is_zero(tmp_path, dtype):
    marked = np.zeros((8, 9), bool)
    marked[2:5, 3:7] = True
    write_tiff(tmp_path / "a.tif", np.where(marked, 0, np.iinfo(dtype).max).astype(dtype), 0)
    np.testing.assert_array_equal(read_mask(tmp_path / "a.tif"), marked)


@pytest.mark.parametrize("dtype", ["i1", "<i2", "<i4"])
def test_signed_integers_are_refused(tmp_path, dtype):
    write_tiff(tmp_path / "a.tif", np.full((3, 4), -1, dtype), sample_format=2)
    with pytest.raises(ValueError, match=r"a\.tif.*signed and 32-bit integers are not supported"):
        read(tmp_path / "a.tif")


def test_kinds_of_tiff_that_are_not_read_are_named(tmp_path):
    write_tiff(tmp_path / "a.tif", np.zeros((3, 4), "<f8"), sample_format=3)
    with pytest.raises(ValueError, match=r"The file '.*a\.tif' .* of TIFF, integers.*32-bit float"):
        read(tmp_path / "a.tif")


@pytest.mark.parametrize("mode", ["auto", "gray"])
def test_a_transparent_palette_keeps_its_colors_in_silence(tmp_path, mode):
    opened = Image.fromarray(COLOR).quantize(8)
    opened.save(tmp_path / "a.png")
    opened.save(tmp_path / "b.png", transparency=bytes([0, 128, 255]))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        image = read(tmp_path / "b.png", mode=mode)
    np.testing.assert_array_equal(image, read(tmp_path / "a.png", mode=mode))


@pytest.mark.skipif(os.name != "posix", reason="names of bytes are on POSIX alone")
def test_folders_named_by_bytes(tmp_path):
    Image.fromarray(GRAY).save(tmp_path / "a.png")
    assert len(load_image_folder(os.fsencode(tmp_path))) == 1


def test_previews_of_a_photograph_are_no_pages(tmp_path):
    first, second = (Image.new("RGB", (16, 12), color) for color in ("white", "black"))
    first.save(tmp_path / "a.mpo", save_all=True, append_images=[second])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        image = ImageSequence([tmp_path / "a.mpo"])[0]
    assert image.min() > 250


def test_infinity_is_refused(tmp_path):
    Image.fromarray(np.array([[1, np.inf]], np.float32)).save(tmp_path / "a.tif")
    with pytest.raises(ValueError, match=r"a\.tif' contains NaN or infinity"):
        ImageSequence([tmp_path / "a.tif"])[0]


def test_resized_values_of_many_bits_are_rounded_and_not_clipped():
    assert resize_image(np.array([[0, 3]], np.uint16), (1, 1)) == 2
    assert resize_image(np.array([[0, 3]], np.float32), (1, 1)) == 1.5
    assert resize_image(np.array([[-9, -9]], np.float32), (1, 1)) == -9


@pytest.mark.parametrize("quality", [75, 85, 90, 95, 98])
def test_compression_of_masks_makes_no_classes(tmp_path, quality):
    mask = np.zeros((48, 48), np.uint8)
    mask[12:36, 12:36] = 255
    Image.fromarray(mask).save(tmp_path / "a.jpg", quality=quality)
    np.testing.assert_array_equal(read_mask(tmp_path / "a.jpg") > 0.5, mask > 0)


def test_masks_of_many_class_ids(tmp_path):
    ids = np.zeros((40, 40), np.uint8)
    for index in range(6):
        ids[2 + 6 * index : 6 + 6 * index, 4:12] = index + 1
    ids[4:30, 20:36] = 200
    Image.fromarray(ids).save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_mask(tmp_path / "a.png") > 0.5, ids > 0)
