"""Documents of a built corpus by number, and which of them a derived domain has."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

#: (member domain, number in its split), the documents of a new domain's split.
Members = list[tuple[str, int]]


class Cell(NamedTuple):
    """A domain made of documents of others: `documents` by split, all of them of `members`."""

    members: tuple[str, ...]
    description: str
    documents: dict[str, Members]


class Documents:
    """The documents of one domain and split of a built corpus; a memory map, not a copy."""

    def __init__(self, path: Path) -> None:
        empty = path.stat().st_size == 0
        self._data = np.zeros(0, np.uint8) if empty else np.memmap(path, dtype=np.uint8, mode="r")
        self._bounds = np.concatenate([[-1], np.flatnonzero(self._data == 0)])

    def __len__(self) -> int:
        return len(self._bounds) - 1

    def __getitem__(self, index: int) -> bytes:
        if not 0 <= index < len(self):
            raise IndexError(index)
        return self._data[self._bounds[index] + 1 : self._bounds[index + 1]].tobytes()

    def __iter__(self) -> Iterator[bytes]:
        return (self[index] for index in range(len(self)))

    @property
    def lengths(self) -> np.ndarray:
        """(n,) int64 bytes of each document, without its separator."""
        return np.diff(self._bounds) - 1
