"""Token arrays on disk: written as a stream, read as memory maps."""

from __future__ import annotations

import os
import weakref
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np


@dataclass
class TokenFile:
    """One split's tokens at `path`, and the text they stand for.

    For the bytes tokenizer the two are the same file.
    """

    path: Path
    dtype: str
    sha256: str
    tokens: int
    bytes: int
    documents: int
    separator: int
    text: Path

    def map(self) -> np.ndarray:
        """The whole array as a read-only memory map (of nothing, an empty array)."""
        if not self.tokens:
            return np.zeros(0, dtype=self.dtype)
        return np.memmap(self.path, dtype=self.dtype, mode="r", shape=(self.tokens,))

    def cut(self, limit: int | None) -> tuple[int, int, int]:
        """Tokens, bytes and documents of the first `limit` bytes of text.

        The cut falls where the text's byte `limit` does; inside a document that has fewer tokens
        than bytes, in proportion.
        """
        if limit is None or limit >= self.bytes:
            return self.tokens, self.bytes, self.documents
        text = np.memmap(self.text, dtype=np.uint8, mode="r")
        whole = int(np.count_nonzero(text[:limit] == 0))
        documents = whole + (limit > 0 and text[limit - 1] != 0)
        if self.path == self.text:
            return limit, limit, documents
        ends = np.flatnonzero(self.map() == self.separator) + 1
        done = int(ends[whole - 1]) if whole else 0
        start = limit - int(np.argmax(text[:limit][::-1] == 0)) if whole else 0
        length = int(np.argmax(text[start:] == 0)) + 1
        inside = (limit - start) * (int(ends[whole]) - done) // length
        return done + inside, limit, documents


class TokenReader:
    """Reads short stretches of a token file at random places.

    Unlike reads through a memory map, they leave nothing of the file in the process's resident
    memory, and cost no page faults.

    Args:
        file: the tokens.
        tokens: how many of them may be read.
    """

    def __init__(self, file: TokenFile, tokens: int) -> None:
        self._tokens = tokens
        self.dtype = np.dtype(file.dtype)
        self._file = file.path.open("rb", buffering=0)
        self._descriptor = self._file.fileno()
        weakref.finalize(self, self._file.close)

    def __len__(self) -> int:
        return self._tokens

    def read(self, start: int, count: int) -> bytes:
        """Return the bytes of tokens `start` to `start + count` of `dtype`; fewer at the end."""
        size = self.dtype.itemsize
        return os.pread(self._descriptor, min(count, self._tokens - start) * size, start * size)

    def __deepcopy__(self, memo: dict[int, Any]) -> TokenReader:
        # It has no position: a copy can be the reader itself.
        return self
