"""Files that appear whole or not at all."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mixgym.errors import DamagedFileError

#: Key of a JSON file's digest over the rest of it.
DIGEST = "digest"


@contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path beside `path`; rename it into place on success, delete it on error.

    A reader never sees half a file, and a failed write (full disk, Ctrl-C) leaves whatever stood
    there before.
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{target.name}.", suffix=".tmp", dir=target.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        temporary.chmod(0o644)
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write `text` (UTF-8) atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: str | os.PathLike[str], value: Any, *, digest: bool = False) -> None:
    """Write `value` as indented JSON atomically; floats keep every bit.

    Args:
        path: the file.
        value: JSON-plain.
        digest: whether the file carries a digest over itself, which `read_json` checks and takes
            away again; `value` must be an object then.
    """
    if digest:
        value = {**value, DIGEST: content_digest(value)}
    write_text(path, json.dumps(value, indent=2, sort_keys=False) + "\n")


def content_digest(value: Any) -> str:
    """Return the SHA-256 of a JSON value's canonical text, whatever its keys' order."""
    plain = json.loads(json.dumps(value))
    text = json.dumps(plain, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def read_json(
    path: str | os.PathLike[str], structure: Any = None, *, remedy: str = "restore the file"
) -> Any:
    """Read a JSON file that mixgym wrote; the one reader of them all.

    Args:
        path: the file.
        structure: type that the value must have, most often a `typing_extensions.TypedDict`
            (further keys are let through); None for any.
        remedy: what the user should do about a damaged file.

    Raises:
        DamagedFileError: no JSON, of another structure, or not what its own digest says; the
            message names the file, the place in it, and the remedy.
        OSError: it cannot be read.
    """
    try:
        value = json.loads(Path(path).read_bytes().decode("utf-8"))
    except RecursionError:
        raise DamagedFileError(f"{path} is nested too deeply: {remedy}") from None
    except ValueError as error:
        raise DamagedFileError(f"{path} is not valid JSON ({error}): {remedy}") from error
    if isinstance(value, dict) and DIGEST in value:
        stored = value.pop(DIGEST)
        if stored != content_digest(value):
            raise DamagedFileError(
                f"{path} was changed after it was written (its digest differs): {remedy}"
            )
    if structure is not None:
        _check_structure(path, value, structure, remedy)
    return value


def _check_structure(path: Any, value: Any, structure: Any, remedy: str) -> None:
    from pydantic import TypeAdapter, ValidationError

    try:
        TypeAdapter(structure).validate_python(value, strict=True)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"]) or "the whole"
        raise DamagedFileError(
            f"{path} has another structure than mixgym wrote ({place}: {first['msg']}): {remedy}"
        ) from error
