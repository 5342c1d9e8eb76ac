"""Documents of one domain on their way to disk: deduplicated, spooled, then split and shuffled.

Text goes through a temporary file, so that a domain of many gigabytes needs only three numbers a
document in memory.
"""

from __future__ import annotations

import array
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np

from mixgym.corpus.split import SPLITS
from mixgym.corpus.text import digest, duplicate_key, encode, normalise, pieces, segments

SEPARATOR = b"\x00"
"""Written after every document; it cannot occur in normalised text."""

NEAR_DUPLICATE_SHARE = 0.6
SHORTEST_DOCUMENT = 16


class Document(NamedTuple):
    """One text and the source group (article, file, service, ...) that splits never tear apart."""

    group: str
    text: str


@dataclass(frozen=True)
class Spool:
    """The kept documents of a domain, one after the other in the file at `path`.

    `lengths` (bytes, int64), `groups` and `keys` (uint64 fingerprints of the group's name and of
    the text) each have one entry a document.
    """

    path: Path
    lengths: np.ndarray
    groups: np.ndarray
    keys: np.ndarray

    @property
    def total_bytes(self) -> int:
        """Bytes of all documents, a separator after each included."""
        return int(self.lengths.sum()) + len(self.lengths)

    def write(self, order: np.ndarray, target: BinaryIO) -> None:
        """Write the documents numbered `order`, in that order, a separator after each."""
        if not len(order):
            return
        starts = np.concatenate([[0], np.cumsum(self.lengths)])
        data = np.memmap(self.path, dtype=np.uint8, mode="r")
        for index in order:
            target.write(data[starts[index] : starts[index + 1]].data)
            target.write(SEPARATOR)


class NearDuplicates:
    """Remembers lines and sentences; a text made mostly of remembered ones is a near-duplicate."""

    def __init__(self, share: float = NEAR_DUPLICATE_SHARE) -> None:
        self.share = share
        self._seen: set[str] = set()

    def seen(self, text: str) -> bool:
        """Whether more than `share` of the characters of `text` were seen; remembers it if not."""
        parts = list(segments(text))
        repeated = sum(len(part) for part in parts if part in self._seen)
        if repeated > self.share * sum(map(len, parts)):
            return True
        self._seen.update(parts)
        return False


def spool_documents(
    documents: Iterable[Document], path: Path, seen: set[bytes], *, near_dedupe: bool
) -> Spool:
    """Normalise, cut and deduplicate `documents` into the file at `path`.

    `seen` holds the fingerprints of the texts kept so far, in this domain and earlier ones; it
    grows by those kept here.
    """
    lengths, groups, keys = array.array("q"), array.array("Q"), array.array("Q")
    near = NearDuplicates() if near_dedupe else None
    with path.open("wb") as file:
        for group, data in _texts(documents):
            key = duplicate_key(data)
            if key in seen or (near and near.seen(data.decode())):
                continue
            seen.add(key)
            file.write(data)
            lengths.append(len(data))
            groups.append(int.from_bytes(digest(encode(group)), "big"))
            keys.append(int.from_bytes(digest(data), "big"))
    return Spool(
        path,
        np.array(lengths, dtype=np.int64),
        np.array(groups, dtype=np.uint64),
        np.array(keys, dtype=np.uint64),
    )


def _texts(documents: Iterable[Document]) -> Iterator[tuple[str, bytes]]:
    for group, text in documents:
        for data in pieces(encode(normalise(text))):
            data = data.strip(b"\n")
            if len(data) >= SHORTEST_DOCUMENT:
                yield group, data


def write_splits(spool: Spool, orders: Mapping[str, np.ndarray], paths: Mapping[str, Path]) -> None:
    """Write every split's documents to its file, whole or not at all."""
    from mixgym.files import atomic_path

    for split in SPLITS:
        with atomic_path(paths[split]) as temporary, temporary.open("wb") as file:
            spool.write(orders[split], file)
