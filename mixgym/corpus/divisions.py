"""Divisions into topics that come with the package, so that every processor has the same.

Clustering amplifies rounding, and the fields of `mixgym/MicroContinual52` have documents without
number from the same few templates: processors that round the sixteenth digit otherwise divide them
otherwise, and results would not mix. What the committed results stand on is therefore packaged:
the topic of every document, by its number in the base corpus, whose content hash must agree.
`topics_of`, which rounds and breaks ties so that processors agree, would divide these fields
otherwise: the packaged divisions are older than that.
"""

from __future__ import annotations

import json
import zipfile
import zlib
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from typing_extensions import TypedDict

from mixgym.corpus.documents import Cell, Members
from mixgym.corpus.split import SPLITS
from mixgym.corpus.topics import Topics, described
from mixgym.errors import DamagedFileError
from mixgym.files import atomic_path, parse_json

FOLDER = "divisions"
REMEDY = "install mixgym again, which brings it"


class DivisionFacts(TypedDict):
    """What a division is of: a topic corpus's name, its base's content hash, fields and labels."""

    name: str
    base_hash: str
    fields: dict[str, list[str]]
    labels: dict[str, list[str]]


def packaged_division(name: str, base_hash: str) -> Topics | None:
    """Return the packaged topics of a corpus's name and base's content hash, or None.

    Raises:
        DamagedFileError: a packaged file is not what was written.
    """
    path = _packaged().get((name, base_hash))
    return None if path is None else read_division(path)


def write_division(
    topics: Topics, name: str, fields: Mapping[str, tuple[str, ...]], base_hash: str, path: Path
) -> None:
    """Write the topics of a corpus's name and fields as an .npz.

    It holds the topic of each document, and the topics' labels.

    Raises:
        ValueError: more than 256 topics in a field.
    """
    if any(len(labels) > 256 for labels in topics.facts.values()):
        raise ValueError("a field of more than 256 topics: their numbers are bytes")
    numbers: dict[str, dict[int, int]] = {}
    for field, labels in topics.facts.items():
        for number, label in enumerate(labels):
            for split, documents in topics.cells[f"{field}_{label}"][2].items():
                for member, document in documents:
                    numbers.setdefault(f"{field}/{split}/{member}", {})[document] = number
    facts: DivisionFacts = {
        "name": name,
        "base_hash": base_hash,
        "fields": {field: list(members) for field, members in fields.items()},
        "labels": topics.facts,
    }
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        packed: dict[str, Any] = {
            key: np.array([chosen[k] for k in range(len(chosen))], np.uint8)
            for key, chosen in numbers.items()
        }
        packed["facts"] = np.frombuffer(json.dumps(facts).encode(), np.uint8)
        np.savez_compressed(file, **packed)


def read_division(path: Path) -> Topics:
    """Read topics that `write_division` wrote.

    Raises:
        DamagedFileError: it is not what was written.
    """
    facts, numbers = _read(path)
    cells: dict[str, Cell] = {}
    for field, labels in facts["labels"].items():
        if field not in facts["fields"]:
            raise DamagedFileError(f"{path} has labels of {field!r}, no such field: {REMEDY}")
        members = tuple(facts["fields"][field])
        for member in members:
            for split in SPLITS:
                chosen = numbers.get(f"{field}/{split}/{member}", _NONE)
                if chosen.dtype != np.uint8 or chosen.ndim != 1 or np.any(chosen >= len(labels)):
                    raise DamagedFileError(
                        f"{path}: {field}/{split}/{member} is not a topic of {len(labels)} a "
                        f"document: {REMEDY}"
                    )
        for number, label in enumerate(labels):
            documents: dict[str, Members] = {
                split: [
                    (member, int(k))
                    for member in members
                    for k in np.flatnonzero(
                        numbers.get(f"{field}/{split}/{member}", _NONE) == number
                    )
                ]
                for split in SPLITS
            }
            cells[f"{field}_{label}"] = described(label, members, documents)
    return Topics(cells, facts["labels"], [])


_NONE: NDArray[np.uint8] = np.zeros(0, np.uint8)


@cache
def _packaged() -> dict[tuple[str, str], Path]:
    folder = Path(str(files("mixgym.corpus") / FOLDER))
    found: dict[tuple[str, str], Path] = {}
    for path in sorted(folder.glob("*.npz")):
        facts, _ = _read(path)
        found[facts["name"], facts["base_hash"]] = path
    return found


def _read(path: Path) -> tuple[DivisionFacts, dict[str, NDArray[Any]]]:
    """The facts of a division, and its arrays by name."""
    try:
        with path.open("rb") as file, np.load(file) as data:
            arrays = {name: data[name] for name in data.files}
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile, zlib.error) as error:
        raise DamagedFileError(f"{path} is damaged ({error}): {REMEDY}") from error
    if "facts" not in arrays:
        raise DamagedFileError(f"{path} has no facts: {REMEDY}")
    content = arrays.pop("facts").tobytes()
    return parse_json(content, f"{path}, facts,", DivisionFacts, remedy=REMEDY), arrays
