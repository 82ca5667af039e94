"""Measure one change of the method at a time, and write the tables of the experiment ledger.

``python docs/ledger.py measure data/magnetic_tile --output results`` fits and measures every
experiment on every dataset with every seed, and keeps a file for each. A run that was interrupted
goes on where it was. ``python docs/ledger.py tables --output results`` writes
``docs/ledger_results.csv``, a line for each measurement, and from that file the tables of the
page; without ``--output`` the tables alone.
"""

import argparse
import copy
import csv
import functools
import json
import time
from dataclasses import dataclass
from pathlib import Path

import joblib
import numpy as np
import torch
from ledger_variants import (
    START_MASK_WEIGHT,
    START_TEXTURES,
    AbsoluteResidual,
    AveragedWeights,
    BlurredPatches,
    CodeResidual,
    ContrastResidual,
    GradientResidual,
    GrainyPatches,
    ImageResidual,
    MirroredPasses,
    ReplacedShare,
    SecondPass,
    TwoNetworks,
    start_corruption,
)
from sklearn.metrics import roc_auc_score

from skanomaly import ContractiveAE, DenoisingAE
from skanomaly import SelfSupervisedAutoencoderDetector as SelfSupervised
from skanomaly.datasets import load_mvtec_ad, make_bar_images, make_textured_surfaces
from skanomaly.metrics import image_report
from skanomaly.networks import ConvolutionalAutoencoder

DOCS = Path(__file__).parent
RESULTS = DOCS / "ledger_results.csv"
SIZE = 64
TEXTURES = ("brick", "grass", "gravel")
STEPS = {"magnetic_tile": 400, **dict.fromkeys(TEXTURES, 150), "bars": 100}
# Settings are chosen on these kinds of defect, and reported on the others too.
CHOOSING = ("blowhole", "uneven")
FIGURES = ("image_roc_auc", "pixel_roc_auc", "per_region_overlap")


@dataclass(frozen=True)
class Experiment:
    """What is changed, and what was expected of it.

    With ``rescored``, the trained networks of the start are taken, and only what is made of
    their output is changed.
    """

    detector: SelfSupervised | DenoisingAE | ContractiveAE
    expected: str
    rescored: bool = False


def _changed(kind=SelfSupervised, **parameters):
    start = {"corruption": start_corruption(), "mask_weight": START_MASK_WEIGHT}
    return kind(**{**start, **parameters})


_deeper = functools.partial(ConvolutionalAutoencoder, depth=4)
_blur = start_corruption(texture=(*START_TEXTURES, "blur"))

EXPERIMENTS = {
    "start": Experiment(_changed(), "what all others are compared with"),
    "region_size=None": Experiment(
        _changed(region_size=None), "large defects found near their rims alone", True
    ),
    "region_size=0.3": Experiment(
        _changed(region_size=0.3), "sharper maps, less of large defects", True
    ),
    "region_size=0.9": Experiment(
        _changed(region_size=0.9), "more of large defects, blurred maps", True
    ),
    "normalize_map=False": Experiment(
        _changed(normalize_map=False), "edges of the pictures give false alarms", True
    ),
    "smoothing_size=3": Experiment(
        _changed(smoothing_size=3), "thin defects better, noise worse", True
    ),
    "smoothing_size=9": Experiment(_changed(smoothing_size=9), "thin defects blurred away", True),
    "score_aggregation=mean": Experiment(
        _changed(score_aggregation="mean"), "small defects drown", True
    ),
    "score_aggregation=0.01": Experiment(
        _changed(score_aggregation=0.01), "steadier than one largest value", True
    ),
    "absolute residual": Experiment(
        _changed(AbsoluteResidual), "large faint defects count for more", True
    ),
    "image residual alone": Experiment(_changed(ImageResidual), "changed texture missed", True),
    "contrast residual alone": Experiment(
        _changed(ContrastResidual), "changed brightness missed", True
    ),
    "gradient residual added": Experiment(_changed(GradientResidual), "thin defects better", True),
    "replaced share added": Experiment(
        _changed(ReplacedShare), "shows a repair that changes values little", True
    ),
    "code residual added": Experiment(
        _changed(CodeResidual), "shows the inside of large defects", True
    ),
    "four mirrored passes": Experiment(_changed(MirroredPasses), "steadier residuals", True),
    "repaired twice": Experiment(
        _changed(SecondPass), "repair proceeds from the rim inwards", True
    ),
    "average of weights": Experiment(_changed(AveragedWeights), "steadier weights"),
    "radius up to 0.6": Experiment(
        _changed(corruption=start_corruption(radius=(0.03, 0.6))), "large defects repaired whole"
    ),
    "grain in a quarter of the patches": Experiment(
        _changed(corruption=GrainyPatches()), "what denoising finds besides"
    ),
    "blur in a fifth of the patches": Experiment(
        _changed(corruption=BlurredPatches()), "smears and wear found better"
    ),
    "learning_rate=0.004": Experiment(_changed(learning_rate=4e-3), "faster at first"),
    "plain, no anchor": Experiment(
        _changed(network="plain", identity_noise=0), "ablation: the plainest"
    ),
    "sdc, no anchor": Experiment(
        _changed(network="sdc", identity_noise=0), "ablation: sees farther"
    ),
    "sdcc, no anchor": Experiment(
        _changed(identity_noise=0), "ablation: keeps fine normal texture"
    ),
    "sdcc, anchor, idempotence 0.1": Experiment(
        _changed(idempotence_weight=0.1), "ablation: closer to a projection"
    ),
    "DenoisingAE noise=1": Experiment(DenoisingAE(noise=1.0), "tuning of the baseline"),
    "DenoisingAE noise=2": Experiment(DenoisingAE(noise=2.0), "tuning of the baseline"),
    "ContractiveAE penalty_weight=0.1": Experiment(
        ContractiveAE(penalty_weight=0.1), "tuning of the baseline"
    ),
    "contrast_size=None": Experiment(_changed(contrast_size=None), "changed texture missed"),
    "elongation up to 25": Experiment(
        _changed(corruption=start_corruption(elongation=(1, 25))), "thin cracks better"
    ),
    "mask_weight=0.9": Experiment(_changed(mask_weight=0.9), "stronger repairs, more noise"),
    "mask_weight=0.2": Experiment(_changed(mask_weight=0.2), "truer copies, weaker repairs"),
    "mask_weight=0.1": Experiment(_changed(mask_weight=0.1), "truer copies still"),
    "mask_weight=0.05": Experiment(_changed(mask_weight=0.05), "repairs too weak"),
    "mask_weight=0.2 and blur": Experiment(
        _changed(mask_weight=0.2, corruption=_blur), "the better of both"
    ),
    "mask_weight=0.1 and blur": Experiment(
        _changed(mask_weight=0.1, corruption=_blur), "the better of both"
    ),
    "mask_weight=0.02": Experiment(_changed(mask_weight=0.02), "hardly any repair"),
    "mask_weight=0.1, radius up to 0.6": Experiment(
        _changed(mask_weight=0.1, corruption=start_corruption(radius=(0.03, 0.6))),
        "the better of both",
    ),
    "depth 4": Experiment(_changed(network=_deeper), "sees farther"),
    "two networks": Experiment(_changed(TwoNetworks), "steadier maps at twice the cost"),
}


def load(name, tiles, seed):
    """A dataset; made ones differ from seed to seed."""
    if name == "magnetic_tile":
        return load_mvtec_ad(tiles, size=SIZE)
    if name == "bars":
        return make_bar_images(image_size=SIZE, random_state=seed)
    return make_textured_surfaces(name, image_size=SIZE, random_state=seed)


def measure(detector, data):
    """The figures on all images, and on the good ones with part of the kinds of defect."""
    images = np.asarray(data.X_test)
    scores, maps = detector.score_samples(images), detector.anomaly_map(images)
    anomalous = data.y_test == -1
    kinds = np.unique(data.kinds_test[anomalous])
    parts = {"all": kinds}
    if set(CHOOSING) <= set(kinds):
        parts.update(choosing=CHOOSING, others=np.setdiff1d(kinds, CHOOSING))
    rows = []
    for part, chosen in parts.items():
        mine = ~anomalous | np.isin(data.kinds_test, chosen)
        report = image_report(
            data.masks_test[mine], maps[mine], y_true=data.y_test[mine], scores=scores[mine]
        )
        rows.append({"part": part, **{name: report[name] for name in FIGURES}})
    for kind in kinds:
        mine = ~anomalous | (data.kinds_test == kind)
        rows.append(
            {
                "part": str(kind),
                "image_roc_auc": float(roc_auc_score(anomalous[mine], -scores[mine])),
            }
        )
    return rows


def rescore(fitted, experiment, images):
    """A detector with the network of another one and its own way to make maps of its output."""
    detector = copy.copy(fitted)
    detector.__class__ = type(experiment.detector)
    changed = experiment.detector.get_params(deep=False)
    kept = {name: getattr(fitted, name) for name in ("max_iter", "random_state")}
    detector.set_params(**{**changed, **kept})
    detector._calibrate(detector._validate(images), None)
    return detector


def run_group(names, dataset, seed, options):
    """Measure experiments that share one training, on one dataset with one seed."""
    torch.set_num_threads(1)
    files = {name: options.output / f"{_slug(name)}-{dataset}-{seed}.json" for name in names}
    if all(file.exists() for file in files.values()):
        return
    data = load(dataset, options.tiles, seed)
    images = np.asarray(data.X_train)
    fitted = copy.deepcopy(EXPERIMENTS[names[0]].detector)
    fitted.set_params(max_iter=STEPS[dataset], random_state=seed)
    start = time.perf_counter()
    fitted.fit(images)
    seconds = time.perf_counter() - start
    for name, file in files.items():
        if file.exists():
            continue
        experiment = EXPERIMENTS[name]
        detector = rescore(fitted, experiment, images) if experiment.rescored else fitted
        cell = {"experiment": name, "dataset": dataset, "seed": seed, "training_seconds": seconds}
        text = json.dumps([{**cell, **row} for row in measure(detector, data)])
        part = file.with_suffix(".part")
        part.write_text(text)
        part.rename(file)
        print(name, dataset, seed, f"{seconds:.0f} s", flush=True)


def _slug(name):
    return "".join(letter if letter.isalnum() else "_" for letter in name)


def groups():
    """Names of experiments that share one training, the start's first."""
    first = [name for name, experiment in EXPERIMENTS.items() if experiment.rescored]
    yield ["start", *first]
    for name, experiment in EXPERIMENTS.items():
        if name != "start" and not experiment.rescored:
            yield [name]


def run(options):
    """Measure all that is not measured yet."""
    options.output.mkdir(parents=True, exist_ok=True)
    cells = [
        (names, dataset, seed)
        for names in groups()
        for dataset in options.datasets
        for seed in options.seeds
    ]
    joblib.Parallel(n_jobs=options.jobs)(
        joblib.delayed(run_group)(*cell, options) for cell in cells
    )


def gather(folder):
    """Write the results of a run to the file that the tables are made from."""
    order = list(EXPERIMENTS)
    rows = [row for file in folder.glob("*.json") for row in json.loads(file.read_text())]
    rows = [row for row in rows if row["experiment"] in EXPERIMENTS]
    datasets = list(STEPS)
    rows.sort(
        key=lambda row: (
            order.index(row["experiment"]),
            datasets.index(row["dataset"]),
            row["seed"],
        )
    )
    names = ["experiment", "dataset", "seed", "part", *FIGURES, "training_seconds"]
    with open(RESULTS, "w", newline="") as file:
        writer = csv.DictWriter(file, names, restval="", lineterminator="\n")
        writer.writeheader()
        for row in rows:
            writer.writerow(
                {name: f"{v:.5f}" if isinstance(v, float) else v for name, v in row.items()}
            )


def make_tables():
    """Write the tables that the ledger's page shows."""
    with open(RESULTS, newline="") as file:
        rows = list(csv.DictReader(file))
    measured = [name for name in EXPERIMENTS if any(row["experiment"] == name for row in rows)]

    def spread(experiment, datasets, part, figure):
        """Mean and deviation over seeds of the mean over datasets."""
        by_seed = {}
        for row in rows:
            if (row["experiment"], row["part"]) == (experiment, part):
                if row["dataset"] in datasets:
                    by_seed.setdefault(row["seed"], []).append(float(row[figure]))
        complete = [np.mean(v) for v in by_seed.values() if len(v) == len(datasets)]
        if len(complete) < 2:
            return "–"
        return f"{np.mean(complete):.3f} ± {np.std(complete, ddof=1):.3f}"

    image, pixel, overlap = FIGURES
    tiles, bars = ("magnetic_tile",), ("bars",)
    tables = {
        "tiles": {
            "chosen by: image": (tiles, "choosing", image),
            "pixel": (tiles, "choosing", pixel),
            "other kinds: image": (tiles, "others", image),
            "pixel ": (tiles, "others", pixel),
            "all: image": (tiles, "all", image),
            "pixel  ": (tiles, "all", pixel),
            "AUPRO": (tiles, "all", overlap),
        },
        "made": {
            "brick: image": (("brick",), "all", image),
            "pixel": (("brick",), "all", pixel),
            "grass: image": (("grass",), "all", image),
            "pixel ": (("grass",), "all", pixel),
            "gravel: image": (("gravel",), "all", image),
            "pixel  ": (("gravel",), "all", pixel),
            "all three: AUPRO": (TEXTURES, "all", overlap),
            "cracks: image": (TEXTURES, "crack", image),
            "bars: image": (bars, "all", image),
            "pixel   ": (bars, "all", pixel),
        },
    }
    for name, columns in tables.items():
        with open(DOCS / f"ledger_{name}.csv", "w", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(["setting", *(column.strip() for column in columns)])
            for experiment in measured:
                writer.writerow([experiment, *(spread(experiment, *c) for c in columns.values())])
    seconds = {
        name: np.mean(
            [
                float(row["training_seconds"])
                for row in rows
                if (row["experiment"], row["dataset"], row["part"]) == (name, *tiles, "all")
            ]
        )
        for name in measured
    }
    with open(DOCS / "ledger_settings.csv", "w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["setting", "expected", "training s"])
        for name in measured:
            experiment = EXPERIMENTS[name]
            cost = "–" if experiment.rescored else f"{seconds[name]:.0f}"
            writer.writerow([name, experiment.expected, cost])


def main():
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    measuring = commands.add_parser("measure", help="fit and measure what is not measured yet")
    measuring.add_argument("tiles", type=Path, help="folder of the magnetic tiles")
    measuring.add_argument("--output", type=Path, default=Path("ledger"))
    measuring.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    measuring.add_argument("--datasets", nargs="+", choices=list(STEPS), default=list(STEPS))
    measuring.add_argument("--jobs", type=int, default=1)
    writing = commands.add_parser("tables", help="write the tables")
    writing.add_argument("--output", type=Path, help="folder of the measurements")
    options = parser.parse_args()
    if options.command == "measure":
        run(options)
        return
    if options.output is not None:
        gather(options.output)
    make_tables()


if __name__ == "__main__":
    main()
