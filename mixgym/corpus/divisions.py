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
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mixgym.corpus.split import SPLITS
from mixgym.corpus.topics import Topics, described
from mixgym.files import atomic_path

if TYPE_CHECKING:
    from mixgym.corpus.derived import DerivedSource, Members

FOLDER = "divisions"


def packaged_division(source: DerivedSource, base_hash: str) -> Topics | None:
    """Return the packaged topics of `source` over the base corpus of a content hash, or None."""
    path = _packaged().get((source.name, base_hash))
    return None if path is None else read_division(path)


def write_division(topics: Topics, source: DerivedSource, base_hash: str, path: Path) -> None:
    """Write topics as an .npz: the topic of each document, and the topics' labels.

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
    fields = {name: list(members) for name, members in source.fields.items()}
    facts = {
        "name": source.name,
        "base_hash": base_hash,
        "fields": fields,
        "labels": topics.facts,
    }
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        packed: dict[str, Any] = {
            name: np.array([chosen[k] for k in range(len(chosen))], np.uint8)
            for name, chosen in numbers.items()
        }
        packed["facts"] = np.frombuffer(json.dumps(facts).encode(), np.uint8)
        np.savez_compressed(file, **packed)


def read_division(path: Path) -> Topics:
    """Read topics that `write_division` wrote."""
    with np.load(path) as data:
        facts = _facts(data)
        numbers = {name: data[name] for name in data.files if name != "facts"}
    cells: dict[str, tuple[tuple[str, ...], str, dict[str, Members]]] = {}
    for field, labels in facts["labels"].items():
        members = tuple(facts["fields"][field])
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
    found: dict[tuple[str, str], Path] = {}
    for path in sorted(Path(str(files("mixgym.corpus") / FOLDER)).glob("*.npz")):
        with np.load(path) as data:
            facts = _facts(data)
        found[facts["name"], facts["base_hash"]] = path
    return found


def _facts(data: Any) -> dict[str, Any]:
    return json.loads(data["facts"].tobytes())
