"""Makes the package beside the docs importable, here and in processes of checks."""

import os
import sys
from pathlib import Path

ROOT = str(Path(__file__).resolve().parents[2])
# The package need not be installed, and one that is installed elsewhere is not checked.
sys.path.insert(1, ROOT)
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [ROOT, os.environ.get("PYTHONPATH")]))
