"""Fit and score other methods and this library's on the same images, one process and thread each.

Needs the environment of ``requirements.txt`` beside this file::

    python docs/peers/compare.py run pca forest --data data/bottle data/grid --output peers
    python docs/peers/compare.py run draem ours --data data/bottle --seconds 300 --output peers
    python docs/peers/compare.py install --output peers
    python docs/peers/compare.py table --output peers

Each run writes a JSON file into the output folder; a run whose file is there is skipped. Seconds
are of the processor, in the process that fits and scores.
"""

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from datetime import date
from importlib import import_module
from importlib.metadata import version
from pathlib import Path

# Before NumPy and torch are imported.
os.environ.update(
    dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
)

SIZE = 128
PACKAGES = ("skanomaly", "anomalib", "pyod", "scikit-learn", "torch", "numpy")


# Module, class and arguments; modules are imported only for the methods that are run.
METHODS = {
    "pca": ("_classical", "PCAReconstruction"),
    "forest": ("_classical", "Forest"),
    "memory": ("_features", "PatchMemory", SIZE),
    "memory_224": ("_features", "PatchMemory", 224),
    "padim": ("_features", "PaDiM", SIZE),
    "padim_224": ("_features", "PaDiM", 224),
    "pyod": ("_pyod", "PyODAutoEncoder"),
    "draem": ("_anomalib", "AnomalibModel", "draem"),
    "ganomaly": ("_anomalib", "AnomalibModel", "ganomaly"),
    "ours": ("_ours", "Ours"),
}


def measure(name, folder, seconds, seed, limit):
    """Fit and score in this process: a dict of figures and facts."""
    import numpy as np
    import torch
    from sklearn.metrics import roc_auc_score

    from skanomaly.datasets import load_mvtec_ad
    from skanomaly.metrics import image_report

    torch.set_num_threads(1)
    torch.manual_seed(seed)
    np.random.seed(seed)  # noqa: NPY002
    data = load_mvtec_ad(folder, size=SIZE)
    train, test, y_true, masks = (
        np.asarray(data.X_train)[:limit],
        np.asarray(data.X_test),
        data.y_test,
        data.masks_test,
    )
    if limit is not None:
        some = np.r_[:limit, len(test) - limit : len(test)]
        test, y_true, masks = test[some], y_true[some], masks[some]
    module, kind, *arguments = METHODS[name]
    method = getattr(import_module(module), kind)(*arguments)
    with tempfile.TemporaryDirectory() as scratch:
        start = time.process_time()
        facts = method.fit(train, Path(scratch), seconds, seed)
        fitting = time.process_time() - start
        start = time.process_time()
        scores, maps = method.detect(test)
        scoring = time.process_time() - start
        saved = Path(scratch) / "model"
        method.save(saved)
        size = saved.stat().st_size
    row = {"image_roc_auc": float(roc_auc_score(y_true == 1, scores))}
    if maps is not None:
        report = image_report(masks, maps, y_true=y_true, scores=scores)
        names = ("pixel_roc_auc", "pixel_average_precision", "per_region_overlap")
        row |= {key: report[key] for key in names}
    return row | {
        "training_seconds": round(facts.pop("training_seconds", fitting), 1),
        "images_per_second": round(len(test) / scoring, 2),
        "peak_memory_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6),
        "model_mb": round(size / 1e6, 2),
        "facts": facts,
        "n_train": len(train),
        "n_test": len(test),
        "versions": {package: version(package) for package in PACKAGES},
        "python": platform.python_version(),
        "processor": torch.cpu.get_capabilities().get("cpu_name", platform.processor()),
        "date": date.today().isoformat(),
    }


def run(options):
    """Measure every method on every set, each in a process of its own."""
    options.output.mkdir(parents=True, exist_ok=True)
    for folder in options.data:
        for name in options.methods:
            budget = "" if options.seconds is None else f"-{options.seconds:g}s"
            path = options.output / f"{folder.name}-{name}{budget}-{options.seed}.json"
            if path.exists():
                continue
            command = [sys.executable, __file__, "one", name, str(folder), str(path)]
            command += ["--seed", str(options.seed)]
            for key in ("seconds", "limit"):
                if getattr(options, key) is not None:
                    command += [f"--{key}", str(getattr(options, key))]
            print(path.stem, flush=True)
            if subprocess.run(command).returncode:
                print(f"{path.stem} failed", flush=True)


def one(options):
    """Measure one method on one set, in this process."""
    seconds, seed, limit = options.seconds, options.seed, options.limit
    row = measure(options.method, options.folder, seconds, seed, limit)
    names = {"set": options.folder.name, "method": options.method}
    row = names | {"seconds": options.seconds, "seed": options.seed} | row
    options.path.write_text(json.dumps(row, indent=1))
    print(json.dumps(row), flush=True)


def main():
    """Read the command line."""
    from _tables import install, table

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(required=True)
    for name, function in (("run", run), ("one", one), ("install", install), ("table", table)):
        command = commands.add_parser(name, help=function.__doc__.splitlines()[0])
        command.set_defaults(function=function)
        if name == "one":
            command.add_argument("method", choices=METHODS)
            command.add_argument("folder", type=Path)
            command.add_argument("path", type=Path)
        else:
            command.add_argument("--output", type=Path, default=Path("peers"))
        if name == "run":
            command.add_argument("methods", nargs="+", choices=METHODS)
            command.add_argument("--data", type=Path, nargs="+", required=True)
        if name in ("run", "one"):
            command.add_argument("--seconds", type=float, help="of training, where it is by steps")
            command.add_argument("--seed", type=int, default=0)
            command.add_argument("--limit", type=int, help="number of images, for a quick trial")
    options = parser.parse_args()
    options.function(options)


if __name__ == "__main__":
    main()
