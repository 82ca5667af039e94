"""Command line of the benchmark: ``python -m skanomaly.benchmark DATASET``."""

from __future__ import annotations

import argparse
import ast
from functools import partial
from typing import Any

from sklearn.utils import Bunch

from .. import SelfSupervisedAutoencoderDetector
from ..datasets import load_mvtec_ad, make_textured_surfaces
from ..networks import ConvolutionalAutoencoder
from . import describe_environment, evaluate, markdown_table

_TEXTURES = ("brick", "grass", "gravel")
_EXAMPLES = """examples:
  python -m skanomaly.benchmark data/magnetic_tile --size 128 --seeds 0 1
  python -m skanomaly.benchmark grass gravel --size 64 --set max_iter=300 precision=float32
  python -m skanomaly.benchmark grass --size 64 --set max_iter=300 --network width=48
"""


def main(arguments: list[str] | None = None) -> None:
    """Print the tables of some datasets."""
    parser = argparse.ArgumentParser(
        prog="python -m skanomaly.benchmark",
        description="Fit SelfSupervisedAutoencoderDetector, with its default parameters where none "
        "are given, and print how well it does as a Markdown table for each dataset.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "datasets",
        nargs="+",
        metavar="DATASET",
        help=f"folder with train/good, test/KIND and ground_truth/KIND, or one of {_TEXTURES}",
    )
    parser.add_argument("--size", type=int, default=128, help="side in pixels (default: 128)")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1], help="(default: 0 1)")
    parser.add_argument(
        "--set",
        nargs="+",
        default=[],
        type=_assignment,
        metavar="NAME=VALUE",
        help="parameters of the detector, of its corruption as corruption__NAME",
    )
    parser.add_argument(
        "--network",
        nargs="+",
        default=[],
        type=_assignment,
        metavar="NAME=VALUE",
        help="parameters of the convolutional autoencoder",
    )
    options = parser.parse_args(arguments)
    detector = SelfSupervisedAutoencoderDetector()
    try:
        if options.network:
            detector.set_params(network=partial(ConvolutionalAutoencoder, **dict(options.network)))
        detector.set_params(**dict(options.set))
        for name in options.datasets:
            rows = evaluate(detector, _load(name, options.size), seeds=options.seeds)
            print(f"{name}, {options.size} px\n\n{markdown_table(rows)}\n", flush=True)
    except (OSError, ValueError, TypeError) as error:
        parser.exit(2, f"{parser.prog}: error: {error}\n")
    print(", ".join(f"{name} {value}" for name, value in describe_environment().items()))


def _load(name: str, size: int) -> Bunch:
    if name in _TEXTURES:
        return make_textured_surfaces(name, image_size=size, random_state=0)
    return load_mvtec_ad(name, size=size)


def _assignment(text: str) -> tuple[str, Any]:
    """Read NAME=VALUE, where VALUE is a Python literal or else a string."""
    name, equals, value = text.partition("=")
    if not (name and equals):
        raise argparse.ArgumentTypeError(f"expected NAME=VALUE, got {text!r}")
    try:
        return name, ast.literal_eval(value)
    except (ValueError, SyntaxError):
        return name, value


if __name__ == "__main__":
    main()
