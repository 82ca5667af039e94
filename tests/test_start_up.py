"""Modules that are imported with the library and by the first prediction."""

import pkgutil
import subprocess
import sys

import joblib
import numpy as np
import pytest
from synthetic_images import make_images

import skanomaly
from skanomaly import SelfSupervisedAutoencoderDetector

PACKAGES = [
    f"skanomaly.{module.name}"
    for module in pkgutil.iter_modules(skanomaly.__path__)
    if module.ispkg and not module.name.startswith("_")
]
# lazy_loader is a dependency of skimage.
REQUIRED = {"skanomaly", "numpy", "scipy", "sklearn", "skimage", "lazy_loader", "torch", "joblib"}
OPTIONAL_OR_SLOW = {
    *("matplotlib", "PIL", "imageio", "skimage.io", "dask", "distributed"),
    *("onnx", "onnxruntime", "onnxscript", "torch._dynamo", "torch._inductor", "torch.onnx"),
}


def run_in_a_fresh_process(code, *arguments):
    """Run code in another process, and return the words of each line that it prints."""
    result = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=True,
    )
    return [set(line.split()) for line in result.stdout.splitlines()]


@pytest.fixture(scope="module")
def imported():
    """Modules beyond torch's and scikit-learn's: with the library, and with all packages of it."""
    return run_in_a_fresh_process(
        "import importlib, sys, torch, sklearn.callback, sklearn.model_selection\n"
        "before = set(sys.modules)\n"
        "import skanomaly\n"
        "print(*(set(sys.modules) - before))\n"
        "for name in sys.argv[1:]:\n"
        "    importlib.import_module(name)\n"
        "print(*(set(sys.modules) - before))",
        *PACKAGES,
    )


def test_import_needs_torch_and_scikit_learn_and_little_else(imported):
    added = imported[0]
    assert "skanomaly.detectors" in added and not OPTIONAL_OR_SLOW & added
    # Compiled modules add names with an underscore.
    roots = {module.split(".")[0] for module in added if not module.startswith("_")}
    assert roots - sys.stdlib_module_names <= REQUIRED


def test_no_package_imports_what_is_optional_or_slow(imported):
    added = imported[1]
    assert set(PACKAGES) <= added and not OPTIONAL_OR_SLOW & added


@pytest.fixture(scope="module")
def images():
    return make_images(8, size=(16, 16))


def test_first_prediction_imports_and_compiles_nothing(images, tmp_path):
    detector = SelfSupervisedAutoencoderDetector(max_iter=2, batch_size=4, random_state=0)
    joblib.dump((detector.fit(images), images), tmp_path / "both.joblib")
    (words,) = run_in_a_fresh_process(
        "import joblib, sys\n"
        "detector, X = joblib.load(sys.argv[1])\n"
        "before = set(sys.modules)\n"
        "print(len(detector.predict(X)), *(set(sys.modules) - before))",
        tmp_path / "both.joblib",
    )
    assert words == {"8"}


def test_training_compiles_nothing(images, tmp_path):
    """torch's optimizers would import the compiler, which counts what it compiles."""
    np.save(tmp_path / "images.npy", images)
    (words,) = run_in_a_fresh_process(
        "import sys, numpy as np, torch._dynamo\n"
        "from skanomaly import SelfSupervisedAutoencoderDetector\n"
        "X = np.load(sys.argv[1])\n"
        "SelfSupervisedAutoencoderDetector(max_iter=2, batch_size=4).fit(X).predict(X)\n"
        "print('counted:', *torch._dynamo.utils.counters['frames'])",
        tmp_path / "images.npy",
    )
    assert words == {"counted:"}
