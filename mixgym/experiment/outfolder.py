"""The folder of a long job: one process at a time, one configuration, new or resumed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from mixgym.errors import MixgymError
from mixgym.files import read_json, write_json

CONFIG = "config.json"
LOCK = ".lock"


@contextmanager
def out_folder(out: str | Path, command: str, *, resume: bool) -> Iterator[Path]:
    """Hold the folder that a command writes to, and yield its path.

    It is created where it is missing, and taken away again if nothing was written to it. Whether it
    is empty is looked up with the lock held, so that of two commands that start at once the second
    finds what the first one wrote.

    Args:
        out: the folder.
        command: what errors call the user of it, as in `mixgym train`.
        resume: whether it may hold something already.

    Raises:
        MixgymError: a file, in use, or not empty without `resume`.
    """
    path = Path(out)
    if path.exists() and not path.is_dir():
        raise MixgymError(f"{path} is a file: give a folder as --out")
    created = not path.exists()
    path.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path / LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise MixgymError(
            f"another {command} is writing to {path}; wait for it, or choose another --out"
        ) from None
    try:
        if not resume and not is_empty(path):
            raise MixgymError(
                f"{path} is not empty: pass --resume to go on with what it holds, or another --out"
            )
        yield path
    finally:
        if created and is_empty(path):
            (path / LOCK).unlink(missing_ok=True)
            path.rmdir()
        lock.release()


def is_empty(path: Path) -> bool:
    """Whether a job's folder holds nothing but its lock."""
    return all(entry.name == LOCK for entry in path.iterdir())


def check_config(out: Path, config: Mapping[str, Any], what: str) -> dict[str, Any] | None:
    """Return the configuration that `out` holds, None if it holds none yet.

    Args:
        out: the folder.
        config: keys and values that it must agree with; what else it holds is not compared.
        what: the job's kind, for the error.

    Raises:
        MixgymError: naming the keys in which it differs.
        DamagedFileError: it cannot be trusted.
    """
    if not (out / CONFIG).exists():
        return None
    remedy = f"restore it, or start the {what} anew in another --out"
    stored = read_json(out / CONFIG, dict[str, Any], remedy=remedy)
    changed = [
        f"{key} (stored {stored.get(key)!r}, now {value!r})"
        for key, value in config.items()
        if stored.get(key) != value
    ]
    if changed:
        raise MixgymError(
            f"{out} holds another {what}, these keys differ: {'; '.join(changed)}. "
            "Ask for the same, or choose another --out"
        )
    return stored


def bind_config(
    out: Path, config: Mapping[str, Any], what: str, context: Mapping[str, Any] | None = None
) -> None:
    """Write `out`'s configuration, or check that it is the one there: see `check_config`.

    `context`, such as the versions of libraries, is written beside it and never compared.
    """
    if check_config(out, config, what) is None:
        write_json(out / CONFIG, {**config, **(context or {})}, digest=True)
