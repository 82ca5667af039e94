"""Escaping of CSV cells that a spreadsheet would run as formulas."""

from __future__ import annotations

# Some spreadsheets run cells that start with these as formulas.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
_QUOTE = "'"


def escape_cell(text: str) -> str:
    """Prefix an apostrophe to text that a spreadsheet would run, or that starts with one.

    Examples
    --------
    >>> from skanomaly._csv import escape_cell
    >>> escape_cell("=1+1.png"), escape_cell("a.png")
    ("'=1+1.png", 'a.png')
    """
    return _QUOTE + text if text.startswith((*_FORMULA, _QUOTE)) else text


def unescape_cell(text: str) -> str:
    """Undo `escape_cell`.

    Examples
    --------
    >>> from skanomaly._csv import unescape_cell
    >>> unescape_cell("'=1+1.png"), unescape_cell("a.png")
    ('=1+1.png', 'a.png')
    """
    return text.removeprefix(_QUOTE)
