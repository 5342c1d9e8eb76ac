"""Where built corpora and downloaded wheels live, and what to say when that disk is full."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mixgym.errors import CorpusError
from mixgym.files import read_json


def cache_root(cache: str | os.PathLike[str] | None = None) -> Path:
    """`cache`, else `$MIXGYM_CACHE`, else the platform's cache folder for mixgym."""
    if cache is None:
        cache = os.environ.get("MIXGYM_CACHE") or None
    if cache is None:
        import platformdirs

        cache = platformdirs.user_cache_dir("mixgym", appauthor=False)
    return Path(cache).expanduser().absolute()


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Turn a full or read-only disk below `folder` into a `CorpusError` that says what to do."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise disk_full(folder) from error
        if error.errno in (errno.EACCES, errno.EROFS, errno.EPERM):
            raise CorpusError(
                f"cannot write to {error.filename or folder}: {error.strerror}. Set MIXGYM_CACHE "
                "to a folder you can write to"
            ) from error
        raise


def damaged(path: Path, name: str, tokenizer: str = "bytes") -> CorpusError:
    """The error for a file of a built corpus that is not what the manifest says."""
    option = "" if tokenizer == "bytes" else f" --tokenizer {tokenizer}"
    return CorpusError(
        f"{path} is damaged or missing: run `mixgym data build '{name}' --rebuild{option}` to make "
        "the corpus again"
    )


def read_facts(path: Path, damage: Callable[[Path], CorpusError]) -> dict[str, Any]:
    """The JSON object in a file of a built corpus; raises `damage(path)` if there is none."""
    try:
        facts = read_json(path)
    except (FileNotFoundError, ValueError) as error:
        raise damage(path) from error
    if not isinstance(facts, dict):
        raise damage(path)
    return facts


def disk_full(folder: Path) -> CorpusError:
    """The error for a full disk below `folder`."""
    return CorpusError(
        f"the disk holding {folder} is full. Free some space (core19 needs 0.5 GB while building) "
        "or set MIXGYM_CACHE to a folder on a larger disk, then run the same command again: "
        "what was built stays"
    )
