"""Where built corpora and downloaded wheels live, and what to say when that disk is full."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mixgym.errors import CorpusError, UnwritableFileError


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
    except OSError as caught:
        # What a writer of whole files says of one file is said of the whole disk here.
        cause = caught.__cause__ if isinstance(caught, UnwritableFileError) else None
        error = cause if isinstance(cause, OSError) else caught
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise disk_full(folder) from error
        if error.errno in (errno.EACCES, errno.EROFS, errno.EPERM):
            raise CorpusError(
                f"cannot write to {error.filename or folder}: {error.strerror}. Set MIXGYM_CACHE "
                "to a folder you can write to"
            ) from error
        raise


def damaged(path: Path, fault: str, *, name: str, tokenizer: str = "bytes") -> CorpusError:
    """The error for a file of the built corpus `name` that is not what was written."""
    option = "" if tokenizer == "bytes" else f" --tokenizer {tokenizer}"
    return CorpusError(
        f"{path} is damaged or missing ({fault}): run `mixgym data build '{name}' "
        f"--rebuild{option}` to make the corpus again"
    )


def disk_full(folder: Path) -> CorpusError:
    """The error for a full disk below `folder`."""
    return CorpusError(
        f"the disk holding {folder} is full. Free some space (core19 needs 0.5 GB while building) "
        "or set MIXGYM_CACHE to a folder on a larger disk, then run the same command again: "
        "what was built stays"
    )
