"""Reading a user's own files as documents: text, JSON Lines, Parquet; streamed, never whole."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

from mixgym.corpus.spool import Document
from mixgym.errors import CorpusError, missing_extra, unknown_name

_CHUNK = 1 << 20
LONGEST_LINE = 100_000_000
"""Of JSON Lines, in bytes: a line is held in memory whole."""

LARGEST_RATIO = 200
"""Text that packs better is none; a gzip file unpacks to at most this many times its size."""

_ALWAYS_UNPACKED = 100_000_000

TABLES = (".jsonl", ".jsonl.gz", ".parquet")


@dataclass(frozen=True)
class Blocks:
    """How a text file is cut: at the first blank line past `shortest` bytes, or at the last of
    `marks` before `longest` bytes, or there."""

    shortest: int = 1_024
    longest: int = 16_384
    marks: tuple[bytes, ...] = (b"\n",)


BLOCKS = Blocks()


def small_blocks(size: int) -> Blocks:
    """Blocks of `size` bytes, and not much less, that end with lines, sentences or words."""
    return Blocks(max(size // 2, 1), size, (b"\n", b". ", b" "))


def is_table(path: Path) -> bool:
    """Whether a file holds one document a row (JSON Lines, Parquet)."""
    return path.name.lower().endswith(TABLES)


def read_documents(
    path: Path, field: str, group: str | None = None, blocks: Blocks = BLOCKS
) -> Iterator[Document]:
    """Documents of one file.

    A row of JSON Lines or Parquet is a document, its text in `field`; any other file is UTF-8
    text, cut into `blocks`, documents of 1 to 16 kB unless told otherwise. With `group` all
    documents of a text file belong to that group, otherwise each is its own. Raises `CorpusError`
    naming the file and the line or byte for text that cannot be read, `MissingExtraError` without
    pyarrow.
    """
    if path.stat().st_size == 0:
        raise CorpusError(f"{path} is empty: put text into it or remove it")
    name = path.name.lower()
    if name.endswith(".parquet"):
        yield from _parquet(path, field)
    elif name.endswith(".jsonl.gz"):
        with gzip.open(path) as file:
            limit = max(LARGEST_RATIO * path.stat().st_size, _ALWAYS_UNPACKED)
            yield from _json_lines(cast(BinaryIO, file), path, field, limit)
    elif name.endswith(".jsonl"):
        with path.open("rb") as file:
            yield from _json_lines(file, path, field)
    else:
        for start, text in _text_blocks(path, blocks):
            yield Document(group if group is not None else str(start), text)


def _json_lines(
    file: BinaryIO, path: Path, field: str, limit: int | None = None
) -> Iterator[Document]:
    """Documents of JSON Lines; `limit` is how many bytes there may be, None for any number."""
    for number, line in enumerate(_lines(file, path, limit), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except UnicodeDecodeError as error:
            raise CorpusError(_not_utf8(path, f"line {number}, byte {error.start}")) from error
        except (ValueError, RecursionError) as error:
            raise CorpusError(f"{path} line {number} is not JSON ({error})") from error
        text = row.get(field) if isinstance(row, dict) else None
        if not isinstance(text, str):
            known = sorted(row) if isinstance(row, dict) else []
            raise CorpusError(
                f"{path} line {number} has no text in field {field!r} (fields: "
                f"{', '.join(known) or 'none'}): name the field with ?field=NAME"
            )
        yield Document(str(number), text)


def _lines(file: BinaryIO, path: Path, limit: int | None) -> Iterator[bytes]:
    """Lines of a file, none of which is read whole if it is too long."""
    read = number = 0
    while True:
        try:
            # Splits at \n only; str.splitlines would also split at U+2028 inside strings.
            line = file.readline(LONGEST_LINE + 1)
        except (gzip.BadGzipFile, EOFError, zlib.error) as error:
            raise CorpusError(
                f"{path} is not a whole gzip file ({error}): compress it again"
            ) from error
        if not line:
            return
        read, number = read + len(line), number + 1
        if limit is not None and read > limit:
            raise CorpusError(
                f"{path} unpacks to more than {LARGEST_RATIO} times its size, which no text does: "
                "remove it, or unpack it yourself if you trust it"
            )
        if len(line) > LONGEST_LINE:
            raise CorpusError(
                f"{path} line {number} is longer than {LONGEST_LINE:,} bytes: cut that text into "
                "several rows"
            )
        yield line


def _parquet(path: Path, field: str) -> Iterator[Document]:
    try:
        import pyarrow as arrow
        import pyarrow.parquet as parquet
    except ImportError as error:
        raise missing_extra("pyarrow", "parquet", f"reading {path.name}") from error
    try:
        with parquet.ParquetFile(path) as table:
            if field not in table.schema_arrow.names:
                raise unknown_name(f"column of {path.name}", field, table.schema_arrow.names)
            number = 0
            for batch in table.iter_batches(batch_size=256, columns=[field]):
                for value in batch.column(0):
                    number += 1
                    text = value.as_py()
                    if isinstance(text, str):
                        yield Document(str(number), text)
    except (arrow.ArrowException, OSError) as error:
        raise CorpusError(f"{path} is not a Parquet file ({error})") from error


def _text_blocks(path: Path, blocks: Blocks) -> Iterator[tuple[int, str]]:
    """(byte offset, text) of a text file's blocks."""
    with path.open("rb") as file:
        buffer, offset = b"", 0
        while True:
            chunk = file.read(_CHUNK)
            buffer += chunk
            while len(buffer) > blocks.longest or (buffer and not chunk):
                end = _block_end(buffer, blocks)
                try:
                    text = buffer[:end].decode("utf-8-sig" if offset == 0 else "utf-8")
                except UnicodeDecodeError as error:
                    raise CorpusError(_not_utf8(path, f"byte {offset + error.start}")) from error
                yield offset, text
                buffer = buffer[end:]
                offset += end
            if not chunk:
                return


def _block_end(buffer: bytes, blocks: Blocks) -> int:
    """Where to cut: after a blank line, else another mark, else a character."""
    for mark in (b"\n\n", b"\r\n\r\n"):
        end = buffer.find(mark, blocks.shortest, blocks.longest)
        if end >= 0:
            return end + len(mark)
    if len(buffer) <= blocks.longest:
        return len(buffer)
    for mark in blocks.marks:
        start = buffer.rfind(mark, 0, blocks.longest)
        if start >= 0:
            return start + len(mark)
    end = blocks.longest
    while end > blocks.longest - 4 and buffer[end] & 0xC0 == 0x80:
        end -= 1
    return end


def _not_utf8(path: Path, where: str) -> str:
    return f"{path} is not UTF-8 text ({where}): convert it (iconv -f latin1 -t utf-8) or remove it"
