"""Former module of `Standardization`, where pickles of version 0.2.0 look for it."""

from ._model import Standardization

__all__ = ["Standardization"]
