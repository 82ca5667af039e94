"""The command line: demo, fit and score."""

from ._main import main

__all__ = ["main"]
