"""Measure a detector on datasets in MVTec AD layout, or on the textures that ship."""

from ._evaluation import describe_environment, evaluate, markdown_table
from ._pca_reconstruction import PCAReconstruction

__all__ = ["PCAReconstruction", "describe_environment", "evaluate", "markdown_table"]
