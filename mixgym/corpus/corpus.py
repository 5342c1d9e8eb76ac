"""`Corpus` and `Domain`: named token arrays, their sizes and where they come from."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

import numpy as np

from mixgym.corpus.build import text_path
from mixgym.corpus.cache import damaged
from mixgym.corpus.manifest import CHANGED, MISSING, DomainEntry, Manifest
from mixgym.corpus.split import SPLITS
from mixgym.corpus.tokenizers import Tokenizer
from mixgym.corpus.tokens import TokenFile, TokenReader
from mixgym.corpus.wheels import sha256_of
from mixgym.errors import CorpusError, unknown_name


class Domain:
    """One domain of a corpus. Immutable: a copy is the domain itself.

    Attributes:
        name: as the mixture's entries are called.
        description, family, license, source: what it is and where it comes from.
        available_bytes: text there was after removing duplicates, before the size cap.
        limit: cap on the train text in bytes, or None.
    """

    def __init__(
        self, name: str, entry: DomainEntry, files: Mapping[str, TokenFile], limit: int | None
    ) -> None:
        self.name = name
        self.description = entry["description"]
        self.family = entry["family"]
        self.license = entry["license"]
        self.source = entry["source"]
        self.available_bytes = entry["available_bytes"]
        self.gzip_ratio = entry["gzip_ratio"]
        self.limit = limit
        self._files = dict(files)
        self._cuts: dict[str, tuple[int, int, int]] = {}
        self._readers: WeakValueDictionary[str, TokenReader] = WeakValueDictionary()

    def _file(self, split: str) -> TokenFile:
        if split not in self._files:
            raise unknown_name("split", split, SPLITS)
        return self._files[split]

    def _cut(self, split: str) -> tuple[int, int, int]:
        """Tokens, bytes and documents of a split after the limit."""
        if split not in self._cuts:
            limit = self.limit if split == "train" else None
            self._cuts[split] = self._file(split).cut(limit)
        return self._cuts[split]

    def tokens(self, split: str) -> np.ndarray:
        """Read-only memory map, 1-D: uint8 for bytes, else uint16 or uint32; a separator token
        ends every document."""
        return self._file(split).map()[: self._cut(split)[0]]

    def reader(self, split: str) -> TokenReader:
        """Return a reader of the tokens of a split, for short stretches at random places."""
        # One for all users: it holds an open file, and forks of a run are many.
        reader = self._readers.get(split)
        if reader is None:
            reader = self._readers[split] = TokenReader(self._file(split), self._cut(split)[0])
        return reader

    def bytes(self, split: str) -> int:
        """Bytes of text (a separator a document included) that `tokens(split)` stands for."""
        return self._cut(split)[1]

    def documents(self, split: str) -> int:
        """Number of documents; one cut by the limit counts."""
        return self._cut(split)[2]

    def bytes_per_token(self, split: str) -> float:
        """Bytes of text a token stands for; 1.0 for the bytes tokenizer."""
        return self.bytes(split) / max(self._cut(split)[0], 1)

    def __copy__(self) -> Domain:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Domain:
        return self

    def __repr__(self) -> str:
        return f"Domain({self.name!r}, {self.bytes('train'):,} bytes)"


class Corpus:
    """Named domains with train, validation and test tokens. Made by `load_corpus`.

    Validation feeds signals and rewards; test is read by reports only. Immutable: a copy is the
    corpus itself. Pickling keeps the specification and the folder, never the arrays.
    """

    def __init__(
        self,
        name: str,
        folder: Path,
        manifest: Manifest,
        tokenizer: Tokenizer,
        files: Mapping[str, Mapping[str, TokenFile]],
        spec: Mapping[str, Any],
        restore: Callable[[dict[str, Any], str], Corpus],
    ) -> None:
        self.name = name
        self.folder = folder
        self.manifest = manifest
        self.tokenizer = tokenizer
        self._spec = dict(spec)
        self._restore = restore
        self._files = files
        limits = spec["limit"] or {}
        self.domains: tuple[Domain, ...] = tuple(
            Domain(domain, manifest["domains"][domain], files[domain], limits.get(domain))
            for domain in files
        )
        self.names: tuple[str, ...] = tuple(files)
        self._by_name = dict(zip(self.names, self.domains, strict=True))

    @property
    def K(self) -> int:
        """Number of domains."""
        return len(self.domains)

    @property
    def natural(self) -> np.ndarray:
        """The natural mixture, float64 [K]: proportional to min(available_bytes, limit)."""
        sizes = [
            d.available_bytes if d.limit is None else min(d.available_bytes, d.limit)
            for d in self.domains
        ]
        return np.array(sizes, dtype=np.float64) / sum(sizes)

    @cached_property
    def hash(self) -> str:
        """Hex SHA-256 over every file's hash, sizes, tokenizer, domain names and limits."""
        content = [
            [
                domain.name,
                domain.available_bytes,
                domain.limit,
                [self._files[domain.name][split].sha256 for split in SPLITS],
            ]
            for domain in self.domains
        ]
        facts = [self.tokenizer.id, self.tokenizer.hash, content]
        return hashlib.sha256(json.dumps(facts).encode()).hexdigest()

    @property
    def spec(self) -> dict[str, Any]:
        """JSON-plain arguments of `load_corpus` that give this corpus again."""
        return json.loads(json.dumps(self._spec))

    def domain(self, name: str) -> Domain:
        """The domain called `name`; `UnknownNameError` if there is none."""
        if name not in self._by_name:
            raise unknown_name(f"domain of corpus {self.name}", name, self.names)
        return self._by_name[name]

    def check_window(self, tokens: int) -> None:
        """Raise `CorpusError` unless every split of every domain holds a window of `tokens`."""
        for domain in self.domains:
            for split in SPLITS:
                held = len(domain.tokens(split))
                if held < tokens:
                    raise CorpusError(
                        f"domain {domain.name!r} of {self.name} has {held} {split} tokens, fewer "
                        f"than one window of {tokens}: use a shorter context, give it more text, "
                        "raise its limit, or leave it out with domains=[...]"
                    )

    def verify(self) -> None:
        """Hash every file again; `CorpusError` names the first damaged one and the remedy."""
        for name in self.names:
            for split in SPLITS:
                text = text_path(self.folder, name, split)
                expected = self.manifest["domains"][name]["splits"][split]["sha256"]
                self._check(text, expected)
                file = self._files[name][split]
                if file.path != text:
                    self._check(file.path, file.sha256)

    def _check(self, path: Path, expected: str) -> None:
        fault = MISSING if not path.exists() else CHANGED if sha256_of(path) != expected else ""
        if fault:
            raise damaged(path, fault, name=self._spec["name"], tokenizer=self._spec["tokenizer"])

    def __copy__(self) -> Corpus:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Corpus:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return self._restore, (self.spec, self.hash)

    def __repr__(self) -> str:
        return f"Corpus({self.name!r}, {self.K} domains, tokenizer {self.tokenizer.id!r})"
