"""Command line of the benchmark: ``python -m skanomaly.benchmark ROOT``."""

from __future__ import annotations

import argparse

from .. import SelfSupervisedAutoencoderDetector
from . import describe_environment, evaluate, markdown_table


def main(arguments: list[str] | None = None) -> None:
    """Print the table of one dataset."""
    parser = argparse.ArgumentParser(
        prog="python -m skanomaly.benchmark",
        description="Fit SelfSupervisedAutoencoderDetector with its default parameters on a "
        "dataset in MVTec AD layout, and print how well it does as a Markdown table.",
        epilog="example: python -m skanomaly.benchmark data/magnetic_tile --size 128 --seeds 0 1",
    )
    parser.add_argument("root", help="folder with train/good, test/<kind>, ground_truth/<kind>")
    parser.add_argument("--category", help="subfolder of ROOT")
    parser.add_argument("--size", type=int, default=128, help="side in pixels (default: 128)")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1], help="(default: 0 1)")
    parser.add_argument("--max-iter", type=int, help="gradient steps, if not the default")
    options = parser.parse_args(arguments)
    detector = SelfSupervisedAutoencoderDetector()
    if options.max_iter is not None:
        detector.set_params(max_iter=options.max_iter)
    try:
        rows = evaluate(
            detector, options.root, options.category, size=options.size, seeds=options.seeds
        )
    except (OSError, ValueError) as error:
        parser.exit(2, f"{parser.prog}: error: {error}\n")
    print(markdown_table(rows))
    print()
    print(", ".join(f"{name} {value}" for name, value in describe_environment().items()))


if __name__ == "__main__":
    main()
