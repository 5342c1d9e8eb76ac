"""Tables of figures that are measured in parts."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any


def replace_rows(
    path: Path, rows: list[dict[str, Any]], key: Sequence[str], fields: Sequence[str]
) -> None:
    """Write `rows` into a CSV file; rows there with another `key` than any of them stay."""
    measured = {tuple(str(row[name]) for name in key) for row in rows}
    if path.exists():
        with path.open() as old:
            kept = [
                r for r in csv.DictReader(old) if tuple(r[name] for name in key) not in measured
            ]
        rows = kept + rows
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".part")
    with temporary.open("w", newline="") as file:
        writer = csv.DictWriter(file, fields)
        writer.writeheader()
        writer.writerows(rows)
    temporary.replace(path)
