"""``skanomaly fit``: from a folder of good images to a model file."""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .._command_line import add_shared_options, wants_progress
from ..datasets import ImageSequence, load_image_folder
from ..datasets._image_file import read_image_header
from ..detectors import SelfSupervisedAutoencoderDetector
from ..training import AUGMENTATIONS
from ._arguments import image_size, integer, share
from ._progress import progress, training_callbacks

_LARGEST_DEFAULT_SIDE = 128
# Training time grows with the number of pixels; from here on a smaller size is worth a word.
_FAST_PIXELS = 128 * 128

_DESCRIPTION = f"""\
Learn what good images look like, and store a model for 'skanomaly score'.

All images of the folder and its subfolders are read, batch by batch. They are resized to one
size: by default the one that they have, or the median of their heights and widths where they
differ, shrunk to {_LARGEST_DEFAULT_SIDE} pixels on the longer side where that is larger. A smaller
--size trains faster; a larger one shows smaller defects.
"""

_EPILOG = """\
example:
  skanomaly fit photos/good --output model.safetensors
  skanomaly fit photos/good --output model.safetensors --size 96x128 --max-iter 1000 --force
"""


def add_parser(commands: Any) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "fit",
        help="learn from a folder of good images",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("folder", metavar="GOOD_FOLDER", type=Path, help="folder of good images")
    parser.add_argument(
        "--output", metavar="MODEL", type=Path, required=True, help="file to write the model to"
    )
    parser.add_argument("--force", action="store_true", help="overwrite MODEL if it exists")
    parser.add_argument(
        "--size",
        type=image_size,
        help="size in pixels to resize images to: 128 for a square, 96x128 for height x width",
    )
    parser.add_argument(
        "--mode",
        choices=("auto", "gray", "rgb"),
        default="auto",
        help="read images as grey or in colour; auto (default): in colour if any of them is",
    )
    parser.add_argument(
        "--max-iter",
        metavar="N",
        type=integer(1),
        help="number of training steps (default 3000, fewer for few images)",
    )
    parser.add_argument(
        "--augment",
        action="append",
        choices=(*AUGMENTATIONS, "none"),
        help="also learn from flipped, rotated or mixed images; can be given several times. By "
        "default, mixup and what the good images look alike under; none takes none",
    )
    parser.add_argument(
        "--contamination",
        metavar="SHARE",
        type=share,
        help="share of the good images that the threshold may flag (default 0.01)",
    )
    parser.add_argument(
        "--seed", metavar="S", type=integer(0, 2**32 - 1), default=0, help="random seed (default 0)"
    )
    parser.add_argument(
        "--device",
        default="auto",
        help="where to train: auto (default), cpu, cuda, cuda:1, mps",
    )
    add_shared_options(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Train a detector and write it to a file."""
    _check_output(options.output, force=options.force)
    paths = load_image_folder(options.folder).paths
    shown = wants_progress(options)
    sizes, has_color = _read_headers(paths, shown=shown)
    size = options.size or _choose_size(sizes)
    mode = options.mode if options.mode != "auto" else "rgb" if has_color else "gray"
    if not options.json:
        print(_describe(len(paths), sizes, size, mode), flush=True)

    detector = SelfSupervisedAutoencoderDetector(
        max_iter=options.max_iter or "auto",
        augmentation=_augmentation(options.augment),
        contamination=options.contamination or "auto",
        device=options.device,
        random_state=options.seed,
    )
    detector.set_callbacks(
        *training_callbacks("training", options.max_iter, shown=shown, bar=not options.json)
    )
    start = time.monotonic()
    detector.fit(ImageSequence(paths, size=size, mode=mode))
    detector.set_callbacks()
    seconds = time.monotonic() - start
    detector.save(options.output)
    if options.json:
        result = {
            "model": str(options.output),
            "images": len(paths),
            "size": size,
            "mode": mode,
            "steps": detector.n_iter_,
            "seconds": seconds,
            "device": str(detector.device_),
            "loss": float(detector.loss_curve_[-1]),
            "threshold": float(detector.offset_),
            "map_threshold": float(detector.map_threshold_),
        }
        print(json.dumps(result))
    else:
        print(
            f"Trained {detector.n_iter_} steps in {seconds:.0f} s on {detector.device_}. "
            f"Wrote {options.output}"
        )


def _augmentation(names: list[str] | None) -> str | tuple[str, ...] | None:
    if not names:
        return "auto"
    return None if "none" in names else tuple(names)


def _check_output(path: Path, *, force: bool) -> None:
    """Refuse before hours of training what could not be written after them."""
    if path.is_dir():
        raise ValueError(f"--output must name a file, but '{path}' is a folder.")
    if path.exists() and not force:
        raise ValueError(f"'{path}' exists; pass --force to overwrite it.")
    if not path.parent.is_dir():
        raise ValueError(f"The folder '{path.parent}' that --output lies in does not exist.")
    if not os.access(path.parent, os.W_OK):
        raise ValueError(f"The folder '{path.parent}' that --output lies in cannot be written to.")


def _read_headers(paths: Sequence[Path], *, shown: bool) -> tuple[list[tuple[int, int]], bool]:
    """Read size and kind of all images without decoding them.

    Returns
    -------
    sizes : list of (height, width)
    has_color : bool
        Whether any of them is a colour image.

    Raises
    ------
    ValueError
        If a file is not an image.
    """
    sizes, has_color = [], False
    with progress("looking through the folder", len(paths), "image", shown=shown) as bar:
        for path in paths:
            size, is_color = read_image_header(path)
            sizes.append(size)
            has_color |= is_color
            bar.show(len(sizes))
    return sizes, has_color


def _choose_size(sizes: Sequence[tuple[int, int]]) -> tuple[int, int]:
    """Take the median height and width, shrunk to what trains in reasonable time."""
    height, width = np.median(sizes, axis=0)
    shrink = max(1.0, max(height, width) / _LARGEST_DEFAULT_SIDE)
    return max(1, round(height / shrink)), max(1, round(width / shrink))


def _describe(
    count: int, sizes: Sequence[tuple[int, int]], size: tuple[int, int], mode: str
) -> str:
    """Say what is trained on."""
    stored = set(sizes)
    kind = "colour" if mode == "rgb" else "grey"
    text = f"{count} {kind} images of {_times(next(iter(stored)))} pixels (height × width)"
    if len(stored) > 1:
        text = f"{count} {kind} images of {len(stored)} sizes"
    if stored != {size}:
        text += f", resized to {_times(size)}"
    if size[0] * size[1] > _FAST_PIXELS:
        text += ". A smaller one trains faster: see --size"
    return text + "."


def _times(size: tuple[int, int]) -> str:
    return f"{size[0]} × {size[1]}"
