"""Token arrays on disk: written as a stream, read as memory maps."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

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
