"""Files that appear whole or not at all, and the one reader of JSON."""

from __future__ import annotations

import errno
import functools
import hashlib
import json
import math
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import annotated_types

from mixgym.errors import (
    DamagedFileError,
    MissingFileError,
    UnreadableFileError,
    UnwritableFileError,
)

#: Key of a JSON file's digest over the rest of it. No other value that mixgym writes has the name.
DIGEST = "sha256_of_the_rest"

#: In a structure: a number that is neither NaN nor infinite. JSON as Python writes it has both.
Finite = Annotated[float, annotated_types.Predicate(math.isfinite)]

#: Objects and lists within each other; mixgym writes about ten, code that walks them recurses.
MAX_DEPTH = 100

#: What a write meets that is the disk's doing and not the caller's.
_DISK = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS}


@contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path beside `path`; rename it into place on success, delete it on error.

    A reader never sees half a file, and a failed write (full disk, Ctrl-C) leaves whatever stood
    there before. The file's mode is what the umask leaves of 0666. A killed process may leave its
    temporary file, `.NAME.*.tmp`, which nothing reads.

    Raises:
        UnwritableFileError: the disk is full, or the place cannot be written.
    """
    target = Path(path)
    with _named(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = _new_file(target)
    try:
        with _named(target, temporary):
            yield temporary
        with _named(target):
            temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


def _new_file(target: Path) -> Path:
    # Not tempfile.mkstemp, which gives mode 0600 whatever the umask. The name is cut short so that
    # it fits where the target's does.
    flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | getattr(os, "O_NOFOLLOW", 0)
    while True:
        temporary = target.with_name(f".{target.name[:50]}.{secrets.token_hex(8)}.tmp")
        try:
            os.close(os.open(temporary, flags, 0o666))
        except FileExistsError:
            continue
        return temporary


@contextmanager
def _named(target: Path, temporary: Path | None = None) -> Iterator[None]:
    """Let an error of writing `target` name it; an error of anything else passes unchanged.

    With `temporary`, the block is the caller's, and only what the disk refuses, or what that file
    meets, is an error of writing.
    """
    try:
        yield
    except UnwritableFileError:
        raise
    except OSError as error:
        ours = temporary is None or error.filename == str(temporary) or error.errno in _DISK
        if not ours:
            raise
        raise UnwritableFileError(_unwritable(target, error)) from error
    except Exception as error:
        # Libraries that write by themselves pass the disk's refusal on in words of their own.
        if "os error 28" not in str(error) and "No space left" not in str(error):
            raise
        full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        raise UnwritableFileError(_unwritable(target, full)) from error


def _unwritable(target: Path, error: OSError) -> str:
    if error.errno == errno.EISDIR or (error.errno == errno.ENOTEMPTY and target.is_dir()):
        return f"{target} cannot be written: a folder stands in its place; move it away"
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        remedy = "make room, or give a place with more, and start again"
    elif error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        remedy = "make the folder writable, or give another"
    elif error.errno == errno.ENOTDIR or isinstance(error, FileExistsError):
        remedy = "a file stands where a folder is needed; move it away, or give another place"
    elif error.errno == errno.ENAMETOOLONG:
        remedy = "give a shorter name"
    else:
        remedy = "check the disk, or give another place"
    return (
        f"{target} cannot be written ({error.strerror or error}): {remedy}; what stood there "
        "before is unchanged"
    )


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write `text` (UTF-8) atomically. Raises as `atomic_path`."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: str | os.PathLike[str], value: Any, *, digest: bool = False) -> None:
    """Write `value` as indented JSON atomically; floats keep every bit.

    Args:
        path: the file.
        value: JSON-plain.
        digest: whether the file carries a digest over itself, which `read_json` checks and takes
            away again; `value` must be an object then.

    Raises:
        UnwritableFileError: as `atomic_path`.
    """
    if digest:
        value = {**value, DIGEST: content_digest(value)}
    write_text(path, json.dumps(value, indent=2, sort_keys=False) + "\n")


def content_digest(value: Any) -> str:
    """Return the SHA-256 of a JSON value's canonical text, whatever its keys' order."""
    return _digest_of_plain(json.loads(json.dumps(value)))


def _digest_of_plain(value: Any) -> str:
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def read_bytes(path: str | os.PathLike[str], *, remedy: str = "restore the file") -> bytes:
    """Return the content of a file that mixgym wrote, which has some.

    Raises:
        MissingFileError, UnreadableFileError: as `reading`.
        DamagedFileError: empty.
    """
    with reading(path, remedy):
        content = Path(path).read_bytes()
    if not content:
        raise DamagedFileError(f"{path} is empty: {remedy}")
    return content


@contextmanager
def reading(path: str | os.PathLike[str], remedy: str = "restore the file") -> Iterator[None]:
    """Let an `OSError` of reading `path` name the file, the fault and the remedy.

    Raises:
        MissingFileError: also a `FileNotFoundError`.
        UnreadableFileError: also an `OSError`; with `errno` and `filename`.
    """
    try:
        yield
    except UnreadableFileError:
        raise
    except OSError as error:
        kind = UnreadableFileError
        if isinstance(error, FileNotFoundError):
            kind, fault = MissingFileError, "does not exist"
        elif isinstance(error, IsADirectoryError):
            fault = "is a folder, not a file"
        elif isinstance(error, PermissionError):
            fault, remedy = "may not be read", "give yourself permission to read it"
        else:
            fault = f"cannot be read ({error.strerror or error})"
        ours = kind(f"{path} {fault}: {remedy}")
        ours.errno, ours.filename = error.errno, str(path)
        raise ours from error


def read_json(
    path: str | os.PathLike[str], structure: Any = None, *, remedy: str = "restore the file"
) -> Any:
    """Read a JSON file that mixgym wrote; the one reader of them all.

    Args:
        path: the file. An UTF-8 byte order mark that an editor put in front is passed over.
        structure: type that the value must have, most often a `typing_extensions.TypedDict`
            (further keys are let through; `Finite` for numbers that may not be NaN); None for any.
        remedy: what the user should do about a damaged file.

    Raises:
        DamagedFileError: empty, no JSON, a key twice, nested too deeply, of another structure, or
            not what its own digest says; the message names the file, the place in it, and the
            remedy.
        MissingFileError, UnreadableFileError: as `reading`; both are DamagedFileErrors too.
    """
    content = read_bytes(path, remedy=remedy)
    return parse_json(content, path, structure, remedy=remedy)


def parse_json(
    content: bytes | str,
    place: object,
    structure: Any = None,
    *,
    remedy: str = "restore the file",
) -> Any:
    """Read JSON that is part of a file, say a header or a line, with the checks of `read_json`.

    Args:
        content: the JSON.
        place: what errors call it; begins with the file's path.
        structure: as for `read_json`.
        remedy: what the user should do about damage.

    Raises:
        DamagedFileError: as `read_json`.
    """
    try:
        text = content if isinstance(content, str) else content.decode("utf-8-sig")
        value = json.loads(text, object_pairs_hook=_without_twins)
        deep = text.count("[") + text.count("{") > MAX_DEPTH and _deeper(value, MAX_DEPTH)
    except RecursionError:
        value, deep = None, True
    except ValueError as error:
        raise DamagedFileError(f"{place} is not valid JSON ({error}): {remedy}") from error
    if deep:
        raise DamagedFileError(
            f"{place} is nested too deeply (more than {MAX_DEPTH} levels): {remedy}"
        )
    if isinstance(value, dict) and DIGEST in value:
        stored = value.pop(DIGEST)
        if stored != _digest_of_plain(value):
            raise DamagedFileError(
                f"{place} was changed after it was written (its digest differs): {remedy}"
            )
    if structure is not None:
        _check_structure(place, value, structure, remedy)
    return value


def _without_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        names = [name for name, _ in pairs]
        twin = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the key {twin!r} stands twice in one object")
    return value


def _deeper(value: Any, limit: int) -> bool:
    """Whether a value has more than `limit` levels of lists and objects; without recursion."""
    level = [value] if isinstance(value, list | dict) else []
    for _ in range(limit):
        level = [
            child
            for part in level
            for child in (part.values() if isinstance(part, dict) else part)
            if isinstance(child, list | dict)
        ]
        if not level:
            return False
    return True


@functools.cache
def _adapter(structure: Any) -> Any:
    from pydantic import TypeAdapter

    return TypeAdapter(structure)


def _check_structure(place: object, value: Any, structure: Any, remedy: str) -> None:
    from pydantic import ValidationError

    try:
        _adapter(structure).validate_python(value, strict=True)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "the whole"
        message = "not a finite number" if first["type"] == "predicate_failed" else first["msg"]
        raise DamagedFileError(
            f"{place} has another structure than mixgym wrote ({where}: {message}): {remedy}"
        ) from error
