"""The manifest of a built corpus: what its files hold, and the hash of its content."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, NotRequired

from annotated_types import Ge
from typing_extensions import TypedDict

from mixgym.corpus.split import SPLITS
from mixgym.errors import CorpusError, DamagedFileError, MissingFileError
from mixgym.files import Finite, read_json, write_json

Count = Annotated[int, Ge(0)]

#: Makes the error for a file of a built corpus and what is wrong with it.
Damage = Callable[[Path, str], CorpusError]

MISSING = "it is not there"
CHANGED = "its size or SHA-256 differs"


class SplitFacts(TypedDict):
    """One text file: its size, its documents, its hash."""

    bytes: Count
    documents: Count
    sha256: str


class Splits(TypedDict):
    """The text files of a domain."""

    train: SplitFacts
    validation: SplitFacts
    test: SplitFacts


class DomainText(TypedDict):
    """What the files of a domain hold.

    `available_bytes` is the text there was before the size cap, which the natural mixture follows.
    """

    available_bytes: Count
    gzip_ratio: Finite
    splits: Splits


class DomainEntry(DomainText):
    """One domain: what it is, and what its files hold.

    `blocks` is the size of the pieces that the text of a small domain was cut into.
    """

    family: str
    description: str
    license: str
    source: str
    blocks: NotRequired[Count]


class Manifest(TypedDict):
    """`manifest.json` of a built corpus; what else its source says of it stands there too.

    `notes` is what a user should know of what was made: domains that are small; `skipped` the
    domains that were left out on request; `topics` the labels of each field's topics.
    """

    name: str
    content_hash: str
    domains: dict[str, DomainEntry]
    notes: NotRequired[list[str]]
    skipped: NotRequired[list[str]]
    topics: NotRequired[dict[str, list[str]]]


def manifest_of(name: str, entries: Mapping[str, DomainEntry], **facts: Any) -> Manifest:
    """The manifest: `facts`, every domain's entry, and the content hash."""
    made = {"name": name, **facts, "content_hash": content_hash(entries), "domains": dict(entries)}
    return made  # type: ignore[return-value]


def content_hash(entries: Mapping[str, DomainEntry]) -> str:
    """Hex SHA-256 over the text and sizes of all domains in order."""
    content = [
        [domain, entry["available_bytes"], [entry["splits"][s]["sha256"] for s in SPLITS]]
        for domain, entry in entries.items()
    ]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def manifest_path(folder: Path) -> Path:
    """The manifest's file in a corpus folder."""
    return folder / "manifest.json"


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write the manifest, which makes a corpus folder a built one."""
    write_json(manifest_path(folder), manifest, digest=True)


def read_manifest(folder: Path, damage: Damage) -> Manifest:
    """The manifest of a corpus folder; raises `damage(path, fault)` where it is not as written.

    Its content hash is computed again, so that a changed size, which would change the natural
    mixture, is found in manifests without a digest too.
    """
    path = manifest_path(folder)
    manifest: Manifest = read_facts(path, Manifest, damage)
    if manifest["content_hash"] != content_hash(manifest["domains"]):
        raise damage(path, "its content hash is not that of its domains")
    return manifest


def read_facts(path: Path, structure: Any, damage: Damage) -> Any:
    """The value in a JSON file of a built corpus; raises `damage(path, fault)` if it has none."""
    try:
        return read_json(path, structure, remedy="")
    except MissingFileError as error:
        raise damage(path, MISSING) from error
    except DamagedFileError as error:
        fault = str(error).removeprefix(str(path)).removesuffix(": ").strip()
        raise damage(path, fault) from error
