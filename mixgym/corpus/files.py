"""A user's own folder as a corpus: a sub-folder or a file is a domain."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

from mixgym.corpus.build import (
    SMALLEST_EVALUATION,
    build_once,
    finished,
    write_domain,
)
from mixgym.corpus.catalogue import CORPORA
from mixgym.corpus.formats import BLOCKS, TABLES, Blocks, is_table, read_documents, small_blocks
from mixgym.corpus.manifest import (
    DomainEntry,
    DomainText,
    Manifest,
    manifest_of,
    manifest_path,
    write_manifest,
)
from mixgym.corpus.progress import Reporter
from mixgym.corpus.split import SPLITS
from mixgym.corpus.spool import Document, spool_documents
from mixgym.errors import CorpusError, unknown_name
from mixgym.files import write_json

PIPELINE = 2
"""Raise whenever the text or splits made of the same files change; what an earlier one made is
still read. 1 cut small domains as it does large ones."""

EVALUATION_SHARE = 0.05
LARGEST_EVALUATION = 32_000_000
FEWEST_FILES = 20
MINIMUM_BYTES = 512
"""Every split of every domain must hold at least this much text."""

LARGEST_HELD_OUT = 0.3
"""A domain of text that loses more than this share to validation and test, and half more than was
wanted, is cut into smaller pieces."""

SMALL_TRAIN = 65_536
"""A domain with less train text, in bytes, is called small."""

_SMALLEST_BLOCK = 64

_SUFFIXES = (".txt", *TABLES)


@dataclass(frozen=True)
class FilesSource:
    """A folder and how to read it: `files:/folder?field=text&validation=0.05&test=0.05`.

    `field` is the JSON or Parquet field holding the text; `validation` and `test` are shares of a
    domain's bytes (by default 5 %, at least 64 kB or a tenth of a small domain, at most 32 MB). The
    text of a domain that would lose much more than that is cut into smaller pieces.
    """

    folder: Path
    field: str = "text"
    validation: float | None = None
    test: float | None = None

    @staticmethod
    def parse(name: str) -> FilesSource | None:
        """The source that `name` means, or None if it is no path and has no `files:` in front.

        A registered corpus is meant by its name even where a folder is called the same;
        `./name` is the folder.
        """
        text = str(name)
        explicit = text.startswith("files:")
        separated = os.sep in text or (os.altsep is not None and os.altsep in text)
        if not explicit and not separated and text.split("~")[0] in CORPORA:
            return None
        path, _, query = text.removeprefix("files:").partition("?")
        folder = Path(path).expanduser()
        if not explicit and not folder.is_dir():
            return None
        if not folder.is_dir():
            raise CorpusError(
                f"{folder} is not a folder: give one with a sub-folder or file a domain"
            )
        options: dict[str, Any] = {}
        for key, value in parse_qsl(query, keep_blank_values=True):
            if key not in ("field", "validation", "test"):
                raise unknown_name("option of files:", key, ("field", "validation", "test"))
            options[key] = value if key == "field" else _share(key, value)
        return FilesSource(folder.absolute(), **options)

    def domains(self) -> dict[str, tuple[Path, ...]]:
        """Files of every domain, by the domain's name; `CorpusError` if there is none."""
        found: dict[str, tuple[Path, ...]] = {}
        for child in sorted(self.folder.iterdir()):
            name, files = child.name, ()
            if _hidden(child, self.folder):
                continue
            if child.is_dir():
                files = tuple(
                    path
                    for path in sorted(child.rglob("*"))
                    if path.is_file() and not _hidden(path, child)
                )
                if not files:
                    raise CorpusError(f"{child} holds no file: put text into it or remove it")
            elif suffix := _suffix(child):
                name, files = child.name[: -len(suffix)], (child,)
            if name in found and files:
                raise CorpusError(f"{self.folder} has two domains called {name!r}: rename one")
            if files:
                found[name] = files
        if not found:
            raise CorpusError(
                f"no domain in {self.folder}: put in one sub-folder, or one "
                f"{', '.join(_SUFFIXES)} file, a domain"
            )
        return found

    def passed_over(self) -> list[str]:
        """What is in the folder but in no domain, a sentence a reason."""
        top = sorted(self.folder.iterdir())
        hidden = [path for path in self.folder.rglob("*") if path.name.startswith(".")]
        hidden = [path for path in sorted(hidden) if not _hidden(path.parent, self.folder)]
        other = [path for path in top if not (path.is_dir() or path in hidden or _suffix(path))]
        told = []
        if other:
            told.append(
                f"{self._names(other)}: passed over, for beside the sub-folders only "
                f"{', '.join(_SUFFIXES)} files are domains; move text into a sub-folder to use it"
            )
        if hidden:
            told.append(f"{self._names(hidden)}: passed over, for a name with a dot is hidden")
        return told

    def _names(self, paths: list[Path], most: int = 8) -> str:
        names = [path.relative_to(self.folder).as_posix() for path in paths[:most]]
        more = f" and {len(paths) - most} more" if len(paths) > most else ""
        return f"{', '.join(names)}{more} in {self.folder}"

    def documents(self, files: tuple[Path, ...], blocks: Blocks = BLOCKS) -> Iterator[Document]:
        """Documents of one domain; with 20 text files or more, a file is one group."""
        by_file = _by_file(files)
        for number, path in enumerate(files):
            group = str(number) if by_file else None
            for document in read_documents(path, self.field, group, blocks):
                yield document if by_file else Document(f"{number}:{document.group}", document.text)

    def evaluation(self, total: int, *, least: int = 0) -> tuple[int, int]:
        """Wanted bytes of validation and test for a domain of `total` bytes.

        Where no shares are asked for, they are at least `least`.
        """
        small = max(min(SMALLEST_EVALUATION, total // 10), least)
        default = min(max(round(EVALUATION_SHARE * total), small), LARGEST_EVALUATION)
        shares = (self.validation, self.test)
        return tuple(default if s is None else round(s * total) for s in shares)  # type: ignore


def _hidden(path: Path, folder: Path) -> bool:
    return any(part.startswith(".") for part in path.relative_to(folder).parts)


def _suffix(path: Path) -> str | None:
    return next((suffix for suffix in _SUFFIXES if path.name.lower().endswith(suffix)), None)


def _by_file(files: tuple[Path, ...]) -> bool:
    return sum(not is_table(path) for path in files) >= FEWEST_FILES


def _share(key: str, value: str) -> float:
    try:
        share = float(value)
    except ValueError:
        share = -1.0
    if not 0 < share <= 0.4:
        raise CorpusError(f"{key}={value!r}: give a share of the text above 0, up to 0.4")
    return share


def build_from_files(
    source: FilesSource, cache: Path, reporter: Reporter | None = None, *, rebuild: bool = False
) -> Path:
    """Folder of the built corpus below `cache`; built again whenever a file's size or time changes.

    Raises `CorpusError` for an empty or non-UTF-8 file, a domain too small, or no domain at all.
    """
    domains = source.domains()
    folders = [
        cache / "corpora" / f"files-{_version(source, domains, pipeline)}"
        for pipeline in range(PIPELINE, 0, -1)
    ]
    built = [folder for folder in folders if manifest_path(folder).exists()]
    folder = folders[0] if rebuild or not built else built[0]
    report = reporter or Reporter()
    make = partial(_build, source, domains, folder, report)
    return build_once(folder, make, report, rebuild=rebuild)


def _version(source: FilesSource, domains: dict[str, tuple[Path, ...]], pipeline: int) -> str:
    listing = [
        [name, str(path), path.stat().st_size, path.stat().st_mtime_ns]
        for name, files in domains.items()
        for path in files
    ]
    facts = [pipeline, source.field, source.validation, source.test, str(source.folder), listing]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:12]


def _build(
    source: FilesSource, domains: dict[str, tuple[Path, ...]], folder: Path, reporter: Reporter
) -> Manifest:
    parts = folder / "parts"
    parts.mkdir(parents=True, exist_ok=True)
    reporter.start(len(domains), f"reading {source.folder.name}")
    entries = {}
    for name, files in domains.items():
        reporter.doing(f"reading {source.folder.name}: {name}")
        entry = finished(folder, name)
        if entry is None:
            entry = _build_domain(source, name, files, folder)
            write_json(parts / f"{name}.json", entry)
        entries[name] = entry
        reporter.advance()
    notes = _small_domains(entries)
    for note in [*source.passed_over(), *notes]:
        reporter.note(note)
    manifest = manifest_of(
        source.folder.name, entries, pipeline=PIPELINE, folder=str(source.folder), notes=notes
    )
    write_manifest(folder, manifest)
    shutil.rmtree(parts)
    return manifest


def _build_domain(
    source: FilesSource, name: str, files: tuple[Path, ...], folder: Path
) -> DomainEntry:
    facts, wanted = _written(source, name, files, folder)
    blocks = None
    if not _by_file(files) and not all(map(is_table, files)) and _coarse(facts, wanted):
        total = facts["available_bytes"]
        least = max(total // 10, min(MINIMUM_BYTES, total // 4))
        blocks = max(min(source.evaluation(total, least=least)) // 4, _SMALLEST_BLOCK)
        facts, _ = _written(source, name, files, folder, small_blocks(blocks), least)
    for split in SPLITS:
        if facts["splits"][split]["bytes"] < MINIMUM_BYTES:
            documents = sum(facts["splits"][split]["documents"] for split in SPLITS)
            raise CorpusError(
                f"domain {name!r} of {source.folder} is too small: its {documents} "
                f"distinct documents ({facts['available_bytes']:,} bytes) leave "
                f"{facts['splits'][split]['bytes']} bytes for {split}, and {MINIMUM_BYTES} are "
                "needed. Give it more text, or more and shorter documents"
            )
    entry: DomainEntry = {
        "family": "own",
        "description": f"{len(files)} file{'s' * (len(files) > 1)} of {source.folder.name}/{name}",
        "license": "not stated",
        "source": "own files",
        **facts,
    }
    return entry if blocks is None else {**entry, "blocks": blocks}


def _written(
    source: FilesSource,
    name: str,
    files: tuple[Path, ...],
    folder: Path,
    blocks: Blocks = BLOCKS,
    least: int = 0,
) -> tuple[DomainText, int]:
    """Write a domain's files; facts about them, and the bytes wanted for validation and test."""
    with tempfile.TemporaryDirectory(dir=folder / "parts") as temporary:
        documents = source.documents(files, blocks)
        spool = spool_documents(documents, Path(temporary) / "spool", set(), near_dedupe=False)
        evaluation = source.evaluation(spool.total_bytes, least=least)
        facts = write_domain(folder, name, spool, cap=None, evaluation=evaluation)
    return facts, sum(evaluation)


def _coarse(facts: DomainText, wanted: int) -> bool:
    """Whether the pieces that go to one split or another are too large for a domain this small."""
    held_out = facts["available_bytes"] * _held_out(facts)
    too_much = _held_out(facts) > LARGEST_HELD_OUT and held_out > 1.5 * wanted
    return too_much or any(facts["splits"][split]["bytes"] < MINIMUM_BYTES for split in SPLITS)


def _held_out(facts: DomainText) -> float:
    held_out = sum(facts["splits"][split]["bytes"] for split in ("validation", "test"))
    return held_out / max(facts["available_bytes"], 1)


def _small_domains(entries: Mapping[str, DomainEntry]) -> list[str]:
    """What to say of domains with little train text, or much of it held out."""
    told = []
    for name, entry in entries.items():
        sizes = {split: entry["splits"][split]["bytes"] for split in SPLITS}
        if sizes["train"] < SMALL_TRAIN or _held_out(entry) > LARGEST_HELD_OUT:
            told.append(
                f"{name} (train {sizes['train']:,} bytes, validation {sizes['validation']:,}, test "
                f"{sizes['test']:,}: {_held_out(entry):.0%} held out)"
            )
    if not told:
        return []
    return [
        f"small domains are repeated soon and measured on little text: {', '.join(told)}; give "
        "them more text, or more and shorter documents"
    ]
