"""The journal in which Optuna keeps a study: one line of JSON for each thing that happened."""

from __future__ import annotations

from pathlib import Path

from mixgym.errors import DamagedFileError
from mixgym.files import atomic_path, parse_json, reading

JOURNAL = "study.log"


def mend_journal(path: Path) -> None:
    """Drop the last line of a journal if a killed process or a full disk cut it short.

    What it said is lost, as if the process had ended just before.

    Raises:
        DamagedFileError: another line is not whole, which no interruption leaves behind.
    """
    if not path.exists():
        return
    remedy = "restore it from a copy, or tune anew in another --out"
    with reading(path, remedy):
        content = path.read_bytes()
    *lines, torn = content.split(b"\n")
    for number, line in enumerate(lines, 1):
        last = number == len(lines) and not torn
        try:
            parse_json(line, f"{path}, line {number}", dict, remedy=remedy)
        except DamagedFileError:
            if not last:
                raise
            torn, lines = line, lines[:-1]
    if torn:
        with atomic_path(path) as temporary:
            temporary.write_bytes(b"".join(line + b"\n" for line in lines))
