"""Fields of the CSV files that mixgym writes: numbers exact, text harmless to spreadsheets."""

from __future__ import annotations

import math
from typing import Any

# Spreadsheets take a field that begins so for a formula, and run it.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "'")


def number(value: float) -> str:
    """A number as CSV text: exact (shortest that reads back equal), empty for NaN and infinity."""
    value = float(value)
    if not math.isfinite(value):
        return ""
    return str(int(value)) if value.is_integer() and abs(value) < 1e15 else repr(value)


def cell(value: Any) -> Any:
    """A value as a CSV field; text that a spreadsheet would take for a formula is quoted by "'".

    >>> cell("=1+1"), cell("code"), cell(0.5)
    ("'=1+1", 'code', '0.5')
    """
    if isinstance(value, str):
        return f"'{value}" if value.startswith(_FORMULA) else value
    return number(value) if isinstance(value, float) else value


def text(field: str) -> str:
    """The text that `cell` made a field of.

    >>> text("'=1+1"), text("code")
    ('=1+1', 'code')
    """
    return field[1:] if field.startswith("'") and field[1:].startswith(_FORMULA) else field
