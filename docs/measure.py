"""Measure the tables of the results page: ``python docs/measure.py DATA [NAME ...]``.

Each table is the output of one command, written to ``docs/tables/NAME.txt`` after the command. DATA
is a folder of datasets in the layout of MVTec AD. All tables take about a day on one core; a run
that is interrupted resumes with the fits it finished.
"""

import argparse
import subprocess
import sys
from pathlib import Path

DOCS = Path(__file__).parent
BENCHMARK = "-m skanomaly.benchmark"
DETECTORS = "SelfSupervisedAutoencoderDetector", "DenoisingAE", "ContractiveAE"
COMMANDS = {
    "real_sets": f"{BENCHMARK} magnetic_tile bottle grid kolektorsdd --size 128 --seeds 0 1",
    "image_size": f"{BENCHMARK} kolektorsdd --size 320 128 --seeds 0 --set max_iter=1000",
    "textures": f"{BENCHMARK} brick grass gravel --size 128 --seeds 0",
    "few_images": "docs/training_curves.py few bottle grid kolektorsdd magnetic_tile "
    "--numbers 20 40 100 --seeds 0 1",
    "training_time": "docs/training_curves.py steps magnetic_tile",
    "short_trainings": "docs/training_curves.py mixup --seeds 0 1",
    "networks": f"{BENCHMARK} magnetic_tile bottle grid kolektorsdd --size 64 --seeds 0 "
    f"--set max_iter=300 --detector {DETECTORS[0]} --detector {DETECTORS[0]} network=sdc "
    f"--detector {DETECTORS[0]} network=plain",
    "detectors": f"{BENCHMARK} brick grass gravel --size 64 --seeds 0 1 --set max_iter=400 "
    + " ".join(f"--detector {name}" for name in DETECTORS),
    "speed": f"{BENCHMARK} speed --sizes 128 256 --repeats 2 --onnx",
}


def measure(name, data, results):
    """Run the command of one table and write its output."""
    words = COMMANDS[name].split()
    shown = [f"data/{word}" if (data / word).is_dir() else word for word in words]
    words = [str(data / word) if (data / word).is_dir() else word for word in words]
    if BENCHMARK in COMMANDS[name] and name != "speed":
        words += ["--output", str(results / name)]
    run = subprocess.run([sys.executable, *words], stdout=subprocess.PIPE, text=True, check=True)
    text = f"python {' '.join(shown)}\n\n{run.stdout.strip()}\n"
    (DOCS / "tables" / f"{name}.txt").write_text(text, "utf-8")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("names", nargs="*", choices=[[], *COMMANDS], metavar="NAME")
    parser.add_argument("--results", type=Path, default=Path("results"))
    options = parser.parse_args()
    for name in options.names or COMMANDS:
        measure(name, options.data, options.results)
