"""Measure a detector on datasets in MVTec AD layout, or on the textures that ship."""

from ._evaluation import describe_environment, evaluate, markdown_table

__all__ = ["describe_environment", "evaluate", "markdown_table"]
