"""Corpora made of another corpus: its domains merged into fields, or cut into topics."""

from __future__ import annotations

import hashlib
import json
import shutil
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, quote

from mixgym.corpus.build import build_once, domain_text, finished, text_path
from mixgym.corpus.cache import damaged
from mixgym.corpus.catalogue import CORPORA
from mixgym.corpus.divisions import packaged_division
from mixgym.corpus.documents import Cell, Documents, Members
from mixgym.corpus.manifest import (
    DomainEntry,
    Manifest,
    manifest_of,
    read_manifest,
    write_manifest,
)
from mixgym.corpus.progress import Reporter
from mixgym.corpus.split import SPLITS
from mixgym.corpus.text import digest
from mixgym.corpus.topics import topics_of
from mixgym.errors import CorpusError, unknown_name
from mixgym.files import atomic_path, write_json

PIPELINE = 2
"""Raise whenever what is made of the same text changes."""

KINDS = ("merge", "topics")
_DEFAULTS = {"topics": 26, "seed": 0}


@dataclass(frozen=True)
class DerivedSource:
    """A corpus made of the domains of `base`, by name.

    `merge:core19?source=wiki_en,legal&target=math_synth,sympy` has the domains `source` and
    `target`, each with all documents of its members, shuffled; a document stays in the split it
    was in. `topics:core19?source=...&target=...&topics=26` cuts each of them further, into topics
    (see `mixgym.corpus.topics`); its options are `topics` (in a field) and `seed`.
    """

    kind: str
    base: str
    fields: Mapping[str, tuple[str, ...]]
    options: Mapping[str, int] = field(default_factory=dict)

    @staticmethod
    def parse(name: str) -> DerivedSource | None:
        """The source that `name` means, or None if it does not begin with `merge:` or `topics:`.

        Raises:
            CorpusError: no field, a member twice, or an option that is no number.
        """
        kind, colon, rest = str(name).partition(":")
        if not colon or kind not in KINDS:
            return None
        base, _, query = rest.rpartition("?")
        fields: dict[str, tuple[str, ...]] = {}
        options = dict(_DEFAULTS) if kind == "topics" else {}
        for key, value in parse_qsl(query, keep_blank_values=True):
            if key in options:
                options[key] = _whole(key, value)
            else:
                fields[key] = tuple(part for part in value.split(",") if part)
        members = [member for names in fields.values() for member in names]
        if not base or not all(fields.values()) or not fields:
            raise CorpusError(
                f"corpus {name!r} names no domain: write {kind}:CORPUS?FIELD=DOMAIN,DOMAIN&..."
            )
        for member in members:
            if members.count(member) > 1:
                raise CorpusError(f"corpus {name!r} names {member!r} twice; name each once")
        return DerivedSource(kind, base, fields, options)

    @property
    def name(self) -> str:
        """The name that `parse` reads."""
        parts = [f"{quote(k)}={','.join(map(quote, v))}" for k, v in self.fields.items()]
        parts += [f"{k}={v}" for k, v in self.options.items() if v != _DEFAULTS[k]]
        return f"{self.kind}:{self.base}?{'&'.join(parts)}"


def _whole(key: str, value: str) -> int:
    smallest = 2 if key == "topics" else 0
    if not value.isdecimal() or int(value) < smallest:
        raise CorpusError(f"{key}={value!r}: give a whole number of {smallest} or more")
    return int(value)


def build_derived(
    source: DerivedSource,
    folder: Path,
    cache: Path,
    reporter: Reporter | None = None,
    *,
    rebuild: bool = False,
) -> Path:
    """Folder below `cache` of the corpus made of the built corpus in `folder`.

    Raises:
        UnknownNameError: a member that the corpus has not.
        CorpusError: the disk is full, or a file of the base corpus is damaged.
        MissingExtraError: topics without scikit-learn.
    """
    manifest = read_manifest(folder, partial(damaged, name=source.base))
    for members in source.fields.values():
        for member in members:
            if member not in manifest["domains"]:
                raise unknown_name(f"domain of corpus {source.base}", member, manifest["domains"])
    facts = [PIPELINE, source.kind, list(source.fields.items()), dict(source.options)]
    facts.append([manifest["content_hash"], list(manifest["domains"])])
    version = hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:12]
    stem = source.base if source.base.split("~")[0] in CORPORA else "files"
    target = cache / "corpora" / f"{source.kind}-{stem.replace('~', '-')}-{version}"
    report = reporter or Reporter()
    make = partial(_build, source, folder, manifest, target, report)
    return build_once(target, make, report, rebuild=rebuild)


def _build(
    source: DerivedSource,
    folder: Path,
    manifest: Manifest,
    target: Path,
    reporter: Reporter,
) -> Manifest:
    (target / "parts").mkdir(parents=True, exist_ok=True)
    facts: dict[str, Any] = {}
    cells: dict[str, Cell]
    if source.kind == "merge":
        cells = {
            name: Cell(members, f"{', '.join(members)} of {source.base}", _all(folder, members))
            for name, members in source.fields.items()
        }
    else:
        topics = packaged_division(source.name, manifest["content_hash"])
        if topics is None:
            topics = topics_of(source.fields, folder, reporter, **source.options)
        cells = topics.cells
        facts["topics"] = topics.facts
        for note in topics.notes:
            warnings.warn(note, stacklevel=2)
    reporter.start(len(cells), f"writing {source.kind} of {source.base}")
    entries: dict[str, DomainEntry] = {}
    for name, cell in cells.items():
        reporter.doing(f"writing {name}")
        entry = finished(target, name)
        if entry is None:
            entry = _domain(folder, manifest, target, name, cell)
            write_json(target / "parts" / f"{name}.json", entry)
        entries[name] = entry
        reporter.advance()
    facts["fields"] = {name: list(members) for name, members in source.fields.items()}
    made = manifest_of(
        source.name, entries, pipeline=PIPELINE, base_hash=manifest["content_hash"], **facts
    )
    write_manifest(target, made)
    shutil.rmtree(target / "parts")
    return made


def _all(folder: Path, members: tuple[str, ...]) -> dict[str, Members]:
    return {
        split: [
            (member, number)
            for member in members
            for number in range(len(Documents(text_path(folder, member, split))))
        ]
        for split in SPLITS
    }


def _domain(
    folder: Path,
    manifest: Manifest,
    target: Path,
    name: str,
    cell: Cell,
) -> DomainEntry:
    members, description, documents = cell
    for split in SPLITS:
        opened = {member: Documents(text_path(folder, member, split)) for member in members}
        path = text_path(target, name, split)
        with atomic_path(path) as temporary, temporary.open("wb") as file:
            for text in _shuffled(opened, documents[split]):
                file.write(text + b"\0")
    sources = [manifest["domains"][member] for member in members]
    available = _available(manifest, folder, members, documents)
    return {
        "family": sources[0]["family"] if len({s["family"] for s in sources}) == 1 else "mixed",
        "description": description,
        "license": "; ".join(dict.fromkeys(s["license"] for s in sources)),
        "source": "; ".join(dict.fromkeys(s["source"] for s in sources)),
        **domain_text(target, name, available, {s: len(documents[s]) for s in SPLITS}),
    }


def _shuffled(opened: Mapping[str, Documents], documents: Members) -> list[bytes]:
    """Texts by the fingerprints of the documents, the order of every other corpus."""
    texts = [opened[member][number] for member, number in documents]
    return sorted(texts, key=lambda text: (digest(text), text))


def _available(
    manifest: Manifest,
    folder: Path,
    members: tuple[str, ...],
    documents: Mapping[str, Members],
) -> int:
    """Bytes there were before the caps, those of a member shared out by its train text."""
    total = 0.0
    for member in members:
        entry = manifest["domains"][member]
        lengths = Documents(text_path(folder, member, "train")).lengths + 1
        own = sum(int(lengths[number]) for m, number in documents["train"] if m == member)
        total += entry["available_bytes"] * own / max(int(lengths.sum()), 1)
    return round(total)
