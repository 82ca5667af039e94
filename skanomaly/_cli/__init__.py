"""The command line: demo, fit, score, calibrate and info."""

from ._main import main

__all__ = ["main"]
