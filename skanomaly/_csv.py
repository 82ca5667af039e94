"""Cells of CSV files that a spreadsheet shows and does not run."""

from __future__ import annotations

# What begins with these is a formula to some spreadsheet.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
_QUOTE = "'"


def escape_cell(text: str) -> str:
    """Put an apostrophe before text that a spreadsheet would run, or that begins with one.

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
