"""Damaged image files on the command line: a reason for each, no traceback and no process."""

import csv
import io
import random
import re
import shutil
from collections import Counter

import numpy as np
import pytest
from hostile_files import PROCESS_EVENTS, damage, watched
from PIL import Image

from skanomaly._cli import main

GRAY = np.random.default_rng(0).integers(0, 256, (16, 20), dtype=np.uint8)
COLOR = np.random.default_rng(1).integers(0, 256, (16, 20, 3), dtype=np.uint8)


def make_originals():
    """Suffix, content and depth of images in all formats that are read, in many variants."""
    gray, color = Image.fromarray(GRAY), Image.fromarray(COLOR)
    exif = Image.Exif()
    exif[0x0112] = 6
    animated = {"save_all": True, "append_images": [color.rotate(90, expand=False)] * 2}
    variants = [
        (gray, "png", {}),
        (color, "png", {"exif": exif}),
        (color.convert("RGBA"), "png", {}),
        (color.convert("P"), "png", {"transparency": 3}),
        (gray.convert("1"), "png", {}),
        (Image.fromarray(GRAY.astype(np.uint16) * 257), "png", {}),
        (gray, "jpg", {}),
        (color, "jpg", {"exif": exif}),
        (color, "jpg", {"progressive": True}),
        (color.convert("CMYK"), "jpg", {}),
        (color, "bmp", {}),
        (color.convert("P"), "bmp", {}),
        (gray, "tif", {}),
        (color, "tif", {"compression": "tiff_lzw", "exif": exif}),
        (color, "tif", {"compression": "jpeg"}),
        (gray.convert("1"), "tif", {"compression": "group4"}),
        (Image.fromarray(GRAY.astype(np.float32)), "tif", {"compression": "tiff_deflate"}),
        (color, "tiff", animated),
        (gray, "pgm", {}),
        (color, "ppm", {}),
        (color, "gif", animated),
        (color, "webp", {"exif": exif}),
        (color, "webp", {"lossless": True, **animated}),
        (color, "jp2", {}),
        (gray, "j2k", {}),
        (color, "mpo", animated),
    ]
    originals = []
    for image, suffix, options in variants:
        file = io.BytesIO()
        image.save(file, format=Image.registered_extensions()[f".{suffix}"], **options)
        originals.append((suffix, file.getvalue(), image.mode.startswith(("I", "F"))))
    return originals


def run(capfd, *arguments):
    """Exit code, output and messages of a command, which must be no traceback."""
    code = main([str(argument) for argument in arguments])
    output, messages = capfd.readouterr()
    assert "Traceback" not in messages, messages
    return code, output, messages


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("files", "folder_size"),
    [
        (130, 65),
        pytest.param(10_000, 500, marks=[pytest.mark.long, pytest.mark.timeout(3600)]),
    ],
)
def test_damaged_images_are_scored_or_reported(tmp_path, capfd, files, folder_size):
    draw = random.Random(0)
    originals = make_originals()
    # A detector is trained on images of one depth.
    of_8_bits = [original for original in originals if not original[2]]
    models = {}
    for mode, image in (("gray", GRAY), ("rgb", COLOR)):
        good, models[mode] = tmp_path / f"good {mode}", tmp_path / f"{mode}.safetensors"
        good.mkdir()
        for index in range(4):
            Image.fromarray(np.roll(image, index, 0)).save(good / f"{index}.png")
        options = ("--output", models[mode], "--max-iter", 1)
        assert run(capfd, "fit", good, *options)[0] == 0
    counts, fits = Counter(), Counter()
    with watched() as events:
        for first in range(0, files, folder_size):
            folder = tmp_path / "images"
            folder.mkdir()
            chosen = originals if first // folder_size % 2 else of_8_bits
            for index in range(first, first + folder_size):
                suffix, content, _ = chosen[index % len(chosen)]
                for _ in range(draw.choice([1, 1, 2, 4])):
                    content = content and damage(content, draw)
                (folder / f"{index:05}.{suffix}").write_bytes(content)
            mode = draw.choice(sorted(models))
            code, output, _ = run(capfd, "score", models[mode], folder)
            rows = list(csv.DictReader(io.StringIO(output)))
            assert [row["path"] for row in rows] == sorted(p.name for p in folder.iterdir())
            for row in rows:
                if row["decision"] == "unreadable":
                    assert row["error"] and "\n" not in row["error"] and not row["score"]
                else:
                    assert row["decision"] in ("normal", "anomalous") and not row["error"]
                    assert np.isfinite(float(row["score"]))
                counts[row["decision"]] += 1
            assert code == int(any(row["error"] for row in rows))
            # All of the folder, with the readable files to train on.
            model = tmp_path / "fitted.safetensors"
            options = ("--output", model, "--max-iter", 1, "--size", 16, "--force")
            code, _, messages = run(capfd, "fit", folder, "--on-error", "skip", *options)
            assert code in (0, 2), messages
            fits[code] += 1
            if code:
                assert re.match(r"skanomaly( fit)?: error: .+\n", messages.splitlines(True)[-1])
            code, _, messages = run(capfd, "fit", folder, *options)
            assert code == 2 and re.search(r"skanomaly( fit)?: error: .+", messages)
            shutil.rmtree(folder)
            with capfd.disabled():
                print(f"{first + folder_size}: {dict(counts)}, exit codes of fit {dict(fits)}")
    assert sum(counts.values()) == files and counts["unreadable"] > files / 4
    assert counts["normal"] + counts["anomalous"] > files / 20
    assert not [event for event in events if event[0] in PROCESS_EVENTS]
