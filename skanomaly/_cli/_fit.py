"""``skanomaly fit``: from a folder of good images to a model file."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .._command_line import add_shared_options, integer, wants_progress
from .._files import check_apart, check_output_file
from ..datasets import ImageSequence, load_image_folder
from ..datasets._image_file import read_image_header
from ..detectors import SelfSupervisedAutoencoderDetector
from ..training import AUGMENTATIONS
from ._arguments import fraction, image_size
from ._inputs import refuse_dataset
from ._progress import progress, training_callbacks

# Of the shorter side, and how many times the pixels of such a square there may be.
_DEFAULT_SIDE = 128
_MOST_SQUARES = 2
# Training time grows with the number of pixels; from here on a smaller size is worth a word.
_FAST_PIXELS = 128 * 128

_DESCRIPTION = f"""\
Learn what good images look like, and store a model for 'skanomaly score'.

All images of the folder and its subfolders are read, batch by batch. They are resized to one
size: by default the one that they have, or the median of their heights and widths where they
differ, shrunk to {_DEFAULT_SIDE} pixels on the shorter side where that is larger. A smaller
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
        metavar="FRACTION",
        type=fraction,
        help="fraction of the good images that the threshold may flag; auto (default): by good "
        "images that are kept from training",
    )
    parser.add_argument(
        "--on-error",
        choices=("raise", "skip"),
        default="raise",
        help="what to do about an image that cannot be read: stop (default), or leave it out",
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
    check_output_file(options.output, "--output", exist_ok=options.force)
    refuse_dataset(options.folder)
    paths = list(load_image_folder(options.folder).paths)
    check_apart([("--output", options.output)], paths)
    shown = wants_progress(options)
    skip = options.on_error == "skip"
    paths, sizes, has_color = _read_headers(paths, skip=skip, shown=shown)
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
    detector.fit(ImageSequence(paths, size=size, mode=mode, on_error=options.on_error))
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


def _read_headers(
    paths: Sequence[Path], *, skip: bool, shown: bool
) -> tuple[list[Path], list[tuple[int, int]], bool]:
    """Read size and kind of all images without decoding them.

    Returns
    -------
    paths : list of Path
        Those that could be read.
    sizes : list of (height, width)
    has_color : bool
        Whether any of them is a colour image.

    Raises
    ------
    ValueError
        If a file is not an image, and is not to be skipped, or if none of them is.
    """
    read, sizes, has_color = [], [], False
    errors = []
    with progress("looking through the folder", len(paths), "image", shown=shown) as bar:
        for done, path in enumerate(paths, start=1):
            try:
                size, is_color = read_image_header(path)
            except (OSError, ValueError) as error:
                errors.append(str(error))
                if not skip or len(errors) == len(paths):
                    raise ValueError(errors[0]) from error
            else:
                read.append(path)
                sizes.append(size)
                has_color |= is_color
            bar.show(done)
    if errors:
        more = f" And {len(errors) - 1} more." if len(errors) > 1 else ""
        print(
            f"skanomaly: {len(errors)} of {len(paths)} images are left out: {errors[0]}{more}",
            file=sys.stderr,
        )
    return read, sizes, has_color


def _choose_size(sizes: Sequence[tuple[int, int]]) -> tuple[int, int]:
    """Take the median height and width, shrunk to what trains in reasonable time."""
    height, width = np.median(sizes, axis=0)
    side = max(min(height, width), (height * width / _MOST_SQUARES) ** 0.5)
    shrink = max(1.0, side / _DEFAULT_SIDE)
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
