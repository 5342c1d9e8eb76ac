"""Hashing a corpus's files once: a stamp beside the manifest remembers which were intact."""

from __future__ import annotations

import logging
from pathlib import Path

from mixgym.corpus.wheels import sha256_of
from mixgym.errors import DamagedFileError
from mixgym.files import read_json, write_json

logger = logging.getLogger("mixgym")

#: Size, modification time in nanoseconds and SHA-256 of a file by its path in the folder.
Verified = dict[str, list[int | str]]


class Stamp:
    """`verified.json` in a corpus folder: size, time and SHA-256 of every file found intact.

    A file with another size or modification time is hashed again. Where the folder cannot be
    written to, nothing is remembered and every load hashes.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder / "verified.json"
        self._known = self._read()
        self._new: Verified = {}

    def _read(self) -> Verified:
        try:
            return read_json(self.path, Verified)
        except DamagedFileError:
            return {}  # all is hashed again

    def _entry(self, path: Path, sha256: str) -> tuple[str, list[int | str]]:
        facts = path.stat()
        key = path.relative_to(self.folder).as_posix()
        return key, [facts.st_size, facts.st_mtime_ns, sha256]

    def intact(self, path: Path, size: int, sha256: str) -> bool:
        """Whether `path` has `size` bytes that hash to `sha256`, hashed unless known already."""
        try:
            key, entry = self._entry(path, sha256)
            if entry[0] != size:
                return False
            if self._known.get(key) == entry:
                return True
            if sha256_of(path) != sha256:
                return False
        except FileNotFoundError:
            return False
        self._new[key] = entry
        return True

    def trust(self, path: Path, sha256: str) -> None:
        """Remember a file that was just written and hashed."""
        key, entry = self._entry(path, sha256)
        self._known[key] = self._new[key] = entry

    def save(self) -> None:
        """Write what was learnt, if anything; a folder that cannot be written to is left alone."""
        if not self._new:
            return
        try:
            write_json(self.path, {**self._read(), **self._new})
        except OSError as error:
            logger.debug("cannot write %s (%s): the next load hashes again", self.path, error)
        self._new = {}
