"""Train a detector on good images, and write a model file for 'skanomaly score'.

All images in the folder and its subfolders are read, batch by batch, and resized to one size. The
default is the median height and width, shrunk to 128 pixels on the shorter side if that is larger.
A smaller --size trains faster; a larger one shows smaller defects.

example:
  skanomaly fit photos/good --output model.safetensors
  skanomaly fit photos/good --output model.safetensors --size 96x128 --max-iter 1000 --force
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .._command_line import (
    add_shared_options,
    integer,
    print_message,
    user_path,
    wants_progress,
)
from .._files import check_output_file
from ..datasets import ImageSequence, load_image_folder
from ..datasets._image_file import read_image_header
from ..detectors import SelfSupervisedAutoencoderDetector
from ..training import AUGMENTATIONS
from ._arguments import (
    add_command,
    add_good_folder,
    add_seed,
    check_model_apart,
    fraction,
    image_size,
    refuse_dataset,
)
from ._progress import progress, training_callbacks

# Shorter side after resizing, and largest number of pixels, in squares of this side.
_DEFAULT_SIDE = 128
_MOST_SQUARES = 2
# Above this number of pixels, the output suggests a smaller size.
_FAST_PIXELS = 128 * 128


def add_parser(commands: Any) -> None:
    """Add the command to the parser."""
    help = "train on a folder of good images"
    parser = add_command(commands, "fit", run, help, __doc__)
    add = parser.add_argument
    add_good_folder(parser)
    add("--output", metavar="MODEL", type=user_path, required=True, help="model file to write")
    add("--force", action="store_true", help="overwrite MODEL if it exists")
    add(
        "--size",
        type=image_size,
        help="size in pixels to resize images to: 128 for a square, 96x128 for height x width",
    )
    add(
        "--mode",
        choices=("auto", "gray", "rgb"),
        default="auto",
        help="read images as grey or RGB; auto (default): RGB if any image has colours",
    )
    add(
        "--max-iter",
        metavar="N",
        type=integer(1),
        help="number of training steps (default: 3000, fewer for few images)",
    )
    add(
        "--augment",
        action="append",
        choices=(*AUGMENTATIONS, "none"),
        help="also train on flipped, rotated or mixed images, or none; can be repeated (default: "
        "mixup, and the flips and rotations under which the good images look alike)",
    )
    add(
        "--contamination",
        metavar="FRACTION",
        type=fraction,
        help="fraction of the good images that the threshold may flag (default: set the threshold "
        "on held-out good images)",
    )
    add(
        "--on-error",
        choices=("raise", "skip"),
        default="raise",
        help="if an image cannot be read, stop (raise, the default) or skip it",
    )
    add_seed(parser)
    add("--device", default="auto", help="device: auto (default), cpu, cuda, cuda:1, mps")
    add_shared_options(parser)


def run(options: argparse.Namespace) -> None:
    """Train a detector and write it to a file."""
    check_output_file(options.output, "--output", exist_ok=options.force)
    refuse_dataset(options.folder)
    paths = list(load_image_folder(options.folder).paths)
    check_model_apart(options.output, options.folder, paths)
    shown = wants_progress(options)
    skip = options.on_error == "skip"
    paths, sizes, has_color = _read_headers(paths, skip=skip, shown=shown)
    size = options.size or _choose_size(sizes)
    mode = options.mode if options.mode != "auto" else "rgb" if has_color else "gray"
    if not options.json:
        print(_describe(len(paths), sizes, size, mode), flush=True)

    augmentation: Any = tuple(options.augment) if options.augment else "auto"
    if "none" in augmentation:
        augmentation = None
    detector = SelfSupervisedAutoencoderDetector(
        max_iter=options.max_iter or "auto",
        augmentation=augmentation,
        contamination=options.contamination or "auto",
        device=options.device,
        random_state=options.seed,
    )
    bar = not options.json
    callbacks = training_callbacks("training", options.max_iter, shown=shown, bar=bar)
    start = time.monotonic()
    images = ImageSequence(paths, size=size, mode=mode, on_error=options.on_error)
    detector.set_callbacks(*callbacks).fit(images).set_callbacks()
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


def _read_headers(
    paths: Sequence[Path], *, skip: bool, shown: bool
) -> tuple[list[Path], list[tuple[int, int]], bool]:
    """Read size and kind of all images from their headers.

    Returns
    -------
    paths : list of Path
        Readable images.
    sizes : list of (height, width)
    has_color : bool
        Whether any image has colours.

    Raises
    ------
    ValueError
        If a file is not an image and `skip` is False, or no file is an image.
    """
    read, sizes, has_color = [], [], False
    errors = []
    with progress("reading headers", len(paths), "image", shown=shown) as show:
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
            show(done)
    if errors:
        more = f" And {len(errors) - 1} more." if len(errors) > 1 else ""
        print_message(
            f"skanomaly: {len(errors)} of {len(paths)} images are skipped: {errors[0]}{more}"
        )
    return read, sizes, has_color


def _choose_size(sizes: Sequence[tuple[int, int]]) -> tuple[int, int]:
    """Return the median height and width, shrunk for a reasonable training time."""
    height, width = np.median(sizes, axis=0)
    side = max(min(height, width), (height * width / _MOST_SQUARES) ** 0.5)
    shrink = max(1.0, side / _DEFAULT_SIDE)
    return max(1, round(height / shrink)), max(1, round(width / shrink))


def _describe(
    count: int, sizes: Sequence[tuple[int, int]], size: tuple[int, int], mode: str
) -> str:
    """Describe the training images."""
    stored = set(sizes)
    kind = "colour" if mode == "rgb" else "grey"
    text = f"{count} {kind} images of {len(stored)} sizes"
    if len(stored) == 1:
        height, width = sizes[0]
        text = f"{count} {kind} images of {height} × {width} pixels (height × width)"
    if stored != {size}:
        text += f", resized to {size[0]} × {size[1]}"
    if size[0] * size[1] > _FAST_PIXELS:
        text += ". A smaller --size trains faster"
    return text + "."
