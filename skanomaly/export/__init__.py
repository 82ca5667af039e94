"""Export of fitted detectors to files that run without this library."""

from ._onnx import to_onnx

__all__ = ["to_onnx"]
