"""Checks and figures on a GPU, in one command of about ten minutes.

``python docs/gpu_checks --output FOLDER --data DATA`` compares detectors on a GPU with the same
ones on the CPU, runs tests on it, and measures throughput, peak memory, and quality over training
time. DATA holds the datasets ``magnetic_tile`` and ``bottle`` in the layout of MVTec AD; images are
resized to 256 pixels. FOLDER gets ``report.txt`` and ``report.json``, written after each check.
Checks that the time does not suffice for are skipped, and the report says so. The exit code is 1 if
a check failed. ``--small`` runs everything on the CPU, with tiny images and a few steps.
"""

import argparse
import json
import sys
import tempfile
import time
import traceback
import warnings
from pathlib import Path

import checkout  # noqa: F401
import torch
from correctness import CHECKS
from figures import QUALITY_CHECKS, SPEED_CHECKS, run_tests
from setting import Setting, Skipped

from skanomaly.benchmark._evaluation import describe_environment

# Name, relative time, and checks by their names. What a part leaves goes to the next.
PARTS = [
    ("correctness", 0.35, {check.__name__.removeprefix("check_"): check for check in CHECKS}),
    ("tests", 0.2, {"selection of the test suite": run_tests}),
    ("speed", 0.17, SPEED_CHECKS),
    ("quality", 0.28, QUALITY_CHECKS),
]


class Report:
    """The results, in two files that are written anew after each."""

    def __init__(self, folder, environment):
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.content = folder, {"environment": environment, "results": []}

    def add(self, **result):
        """Add a result and write the files."""
        self.content["results"].append(result)
        # A figure of another type must not end the other checks.
        text = json.dumps(self.content, indent=1, default=str)
        (self.folder / "report.json").write_text(text + "\n", encoding="utf-8")
        (self.folder / "report.txt").write_text(str(self), encoding="utf-8")

    def __str__(self):
        lines = [f"{name}: {value}" for name, value in self.content["environment"].items()]
        part = None
        for result in self.content["results"]:
            if result["part"] != part:
                part = result["part"]
                lines += ["", part, "=" * len(part)]
            lines.append(f"{result['status']:<8}{result['seconds']:6.1f} s  {result['name']}")
            lines += [f"    {line}" for line in result["reason"].splitlines()]
            lines += [f"    {line}" for line in describe(result["figures"])]
        return "\n".join(lines) + "\n"


def describe(figures):
    """Lines of text for figures."""
    for name, value in figures.items():
        if isinstance(value, list):
            yield f"{name}:"
            yield from (f"  {'; '.join(describe(point))}" for point in value)
        elif isinstance(value, tuple):
            yield f"{name}: {value[0]:.2g} ({value[1]})"
        else:
            yield f"{name}: {value:.4g}" if isinstance(value, float) else f"{name}: {value}"


def run_check(check, setting):
    """Status of one check, and the reason of it; a check may raise anything."""
    setting.figures = {}
    if setting.seconds_left <= 0:
        return "skipped", "the time of this part is used up"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            check(setting)
    except Skipped as reason:
        return "skipped", str(reason)
    except Exception as error:
        place = traceback.extract_tb(error.__traceback__)[-1]
        name = f"{Path(place.filename).name}:{place.lineno}"
        return "failed", f"{type(error).__name__}: {error} ({name})"
    return "passed", ""


def main(arguments=None):
    """Run all parts; 1 if a check failed."""
    parser = argparse.ArgumentParser(
        prog="python docs/gpu_checks",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--output", metavar="FOLDER", type=Path, required=True)
    parser.add_argument("--data", metavar="DATA", type=Path)
    parser.add_argument("--device", help="default: cuda, with --small cpu")
    parser.add_argument("--seconds", type=float, default=600, help="time for all (default: 600)")
    parser.add_argument("--small", action="store_true", help="tiny images and a few steps")
    parser.add_argument("--parts", nargs="+", choices=[name for name, *_ in PARTS])
    options = parser.parse_args(arguments)
    start = time.monotonic()
    device = torch.device(options.device or ("cpu" if options.small else "cuda"))
    if device.type == "cuda" and not torch.cuda.is_available():
        parser.error("no GPU is available: --device cpu or --small run on the CPU")
    if device.type == "cuda" and device.index is None:
        # Limits on memory need an index.
        device = torch.device("cuda", torch.cuda.current_device())
    environment = describe_environment() | {
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else str(device)
    }
    report = Report(options.output, environment)
    with tempfile.TemporaryDirectory() as scratch:
        setting = Setting(device, options.small, options.data, Path(scratch))
        chosen = [part for part in PARTS if not options.parts or part[0] in options.parts]
        second = options.seconds / sum(weight for _, weight, _ in chosen)
        setting.deadline = start
        for part, weight, checks in chosen:
            setting.deadline += weight * second
            for name, check in checks.items():
                began = time.monotonic()
                status, reason = run_check(check, setting)
                seconds = time.monotonic() - began
                print(f"{status:<8}{seconds:6.1f} s  {part}: {name} {reason[:200]}", flush=True)
                report.add(
                    part=part,
                    name=name,
                    status=status,
                    seconds=round(seconds, 2),
                    reason=reason,
                    figures=setting.figures,
                )
    statuses = [result["status"] for result in report.content["results"]]
    counts = ", ".join(f"{statuses.count(each)} {each}" for each in ("passed", "failed", "skipped"))
    print(f"{counts} in {time.monotonic() - start:.0f} s: {options.output / 'report.txt'}")
    return int("failed" in statuses)


if __name__ == "__main__":
    sys.exit(main())
