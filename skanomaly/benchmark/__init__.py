"""Benchmark detectors on datasets in MVTec AD layout or generated ones."""

from ._evaluation import describe_environment, evaluate
from ._pca_reconstruction import PCAReconstruction
from ._report import markdown_report, read_references
from ._run_benchmark import BenchmarkError, run_benchmark

__all__ = [
    "BenchmarkError",
    "PCAReconstruction",
    "describe_environment",
    "evaluate",
    "markdown_report",
    "read_references",
    "run_benchmark",
]
