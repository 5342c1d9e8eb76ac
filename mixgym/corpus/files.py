"""A user's own folder as a corpus: a sub-folder or a file is a domain."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

from mixgym.corpus.build import (
    SMALLEST_EVALUATION,
    build_once,
    finished,
    manifest_of,
    write_domain,
)
from mixgym.corpus.catalogue import CORPORA
from mixgym.corpus.formats import TABLES, is_table, read_documents
from mixgym.corpus.progress import Reporter
from mixgym.corpus.split import SPLITS
from mixgym.corpus.spool import Document, spool_documents
from mixgym.errors import CorpusError, unknown_name
from mixgym.files import write_json

PIPELINE = 1
EVALUATION_SHARE = 0.05
LARGEST_EVALUATION = 32_000_000
FEWEST_FILES = 20
MINIMUM_BYTES = 512
"""Every split of every domain must hold at least this much text."""

_SUFFIXES = (".txt", *TABLES)


@dataclass(frozen=True)
class FilesSource:
    """A folder and how to read it: `files:/folder?field=text&validation=0.05&test=0.05`.

    `field` is the JSON or Parquet field holding the text; `validation` and `test` are shares of a
    domain's bytes (by default 5 %, at least 64 kB or a tenth of a small domain, at most 32 MB).
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
            if child.name.startswith("."):
                continue
            if child.is_dir():
                files = tuple(
                    path
                    for path in sorted(child.rglob("*"))
                    if path.is_file()
                    and not any(part.startswith(".") for part in path.relative_to(child).parts)
                )
                if not files:
                    raise CorpusError(f"{child} holds no file: put text into it or remove it")
            elif suffix := next((s for s in _SUFFIXES if child.name.lower().endswith(s)), None):
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

    def documents(self, files: tuple[Path, ...]) -> Iterator[Document]:
        """Documents of one domain; with 20 text files or more, a file is one group."""
        by_file = sum(not is_table(path) for path in files) >= FEWEST_FILES
        for number, path in enumerate(files):
            group = str(number) if by_file else None
            for document in read_documents(path, self.field, group):
                yield document if by_file else Document(f"{number}:{document.group}", document.text)

    def evaluation(self, total: int) -> tuple[int, int]:
        """Wanted bytes of validation and test for a domain of `total` bytes."""
        small = min(SMALLEST_EVALUATION, total // 10)
        default = min(max(round(EVALUATION_SHARE * total), small), LARGEST_EVALUATION)
        shares = (self.validation, self.test)
        return tuple(default if s is None else round(s * total) for s in shares)  # type: ignore


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
    folder = cache / "corpora" / f"files-{_version(source, domains)}"
    report = reporter or Reporter()
    make = partial(_build, source, domains, folder, report)
    return build_once(folder, make, report, rebuild=rebuild)


def _version(source: FilesSource, domains: dict[str, tuple[Path, ...]]) -> str:
    listing = [
        [name, str(path), path.stat().st_size, path.stat().st_mtime_ns]
        for name, files in domains.items()
        for path in files
    ]
    facts = [PIPELINE, source.field, source.validation, source.test, str(source.folder), listing]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:12]


def _build(
    source: FilesSource, domains: dict[str, tuple[Path, ...]], folder: Path, reporter: Reporter
) -> None:
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
    manifest = manifest_of(
        source.folder.name, entries, pipeline=PIPELINE, folder=str(source.folder)
    )
    write_json(folder / "manifest.json", manifest)
    shutil.rmtree(parts)


def _build_domain(
    source: FilesSource, name: str, files: tuple[Path, ...], folder: Path
) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(dir=folder / "parts") as temporary:
        documents = source.documents(files)
        spool = spool_documents(documents, Path(temporary) / "spool", set(), near_dedupe=False)
        evaluation = source.evaluation(spool.total_bytes)
        facts = write_domain(folder, name, spool, cap=None, evaluation=evaluation)
    for split in SPLITS:
        if facts["splits"][split]["bytes"] < MINIMUM_BYTES:
            raise CorpusError(
                f"domain {name!r} of {source.folder} is too small: its {len(spool.lengths)} "
                f"distinct documents ({spool.total_bytes:,} bytes) leave "
                f"{facts['splits'][split]['bytes']} bytes for {split}, and {MINIMUM_BYTES} are "
                "needed. Give it more text, or more and shorter documents"
            )
    return {
        "family": "own",
        "description": f"{len(files)} file{'s' * (len(files) > 1)} of {source.folder.name}/{name}",
        "license": "not stated",
        "source": "own files",
        **facts,
    }
