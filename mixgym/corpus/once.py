"""Filling a folder once, whoever asks: one process at a time, the others wait for it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from filelock import FileLock, Timeout

from mixgym.corpus.cache import writing
from mixgym.corpus.progress import Reporter


def fill_once(
    done: Path, make: Callable[[], object], reporter: Reporter, verb: str, rebuild: bool = False
) -> None:
    """Have `make` fill a folder two below the cache unless its file `done`, written last, is there.

    Args:
        done: the file.
        make: fills its folder.
        reporter: told if another process is waited for, whose result is then used.
        verb: what that process does.
        rebuild: throw away what is there.

    Raises:
        CorpusError: the disk is full, or cannot be written to.
    """
    if done.exists() and not rebuild:
        return
    folder = done.parent
    with writing(folder.parent.parent):
        folder.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder.parent / f".{folder.name}.lock")
        try:
            lock.acquire(timeout=0.1)
        except Timeout:
            reporter.start(0, f"waiting for another process that {verb} {folder.name}")
            lock.acquire()
        try:
            if rebuild and folder.exists():
                done.unlink(missing_ok=True)
                shutil.rmtree(folder)
            if not done.exists():
                make()
        finally:
            lock.release()
