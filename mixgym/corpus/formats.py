"""Reading a user's own files as documents: text, JSON Lines, Parquet; streamed, never whole."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, cast

from mixgym.corpus.spool import Document
from mixgym.errors import CorpusError, missing_extra, unknown_name

TEXT_BLOCK = 16_384
_CHUNK = 1 << 20
_SHORTEST_BLOCK = 1_024

TABLES = (".jsonl", ".jsonl.gz", ".parquet")


def is_table(path: Path) -> bool:
    """Whether a file holds one document a row (JSON Lines, Parquet)."""
    return path.name.lower().endswith(TABLES)


def read_documents(path: Path, field: str, group: str | None = None) -> Iterator[Document]:
    """Documents of one file.

    A row of JSON Lines or Parquet is a document, its text in `field`; any other file is UTF-8
    text, cut at blank lines into documents of 1 to 16 kB. With `group` all documents of a text
    file belong to that group, otherwise each is its own. Raises `CorpusError` naming the file
    and the line or byte for text that cannot be read, `MissingExtraError` without pyarrow.
    """
    if path.stat().st_size == 0:
        raise CorpusError(f"{path} is empty: put text into it or remove it")
    name = path.name.lower()
    if name.endswith(".parquet"):
        yield from _parquet(path, field)
    elif name.endswith(".jsonl.gz"):
        with gzip.open(path) as file:
            yield from _json_lines(cast(BinaryIO, file), path, field)
    elif name.endswith(".jsonl"):
        with path.open("rb") as file:
            yield from _json_lines(file, path, field)
    else:
        for start, text in _text_blocks(path):
            yield Document(group if group is not None else str(start), text)


def _json_lines(file: BinaryIO, path: Path, field: str) -> Iterator[Document]:
    # File iteration splits at \n only; str.splitlines would also split at U+2028 inside strings.
    try:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except UnicodeDecodeError as error:
                raise CorpusError(_not_utf8(path, f"line {number}, byte {error.start}")) from error
            except json.JSONDecodeError as error:
                raise CorpusError(f"{path} line {number} is not JSON ({error})") from error
            text = row.get(field) if isinstance(row, dict) else None
            if not isinstance(text, str):
                known = sorted(row) if isinstance(row, dict) else []
                raise CorpusError(
                    f"{path} line {number} has no text in field {field!r} (fields: "
                    f"{', '.join(known) or 'none'}): name the field with ?field=NAME"
                )
            yield Document(str(number), text)
    except (gzip.BadGzipFile, EOFError) as error:
        raise CorpusError(
            f"{path} is not a whole gzip file ({error}): compress it again"
        ) from error


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
    except arrow.ArrowInvalid as error:
        raise CorpusError(f"{path} is not a Parquet file ({error})") from error


def _text_blocks(path: Path) -> Iterator[tuple[int, str]]:
    """(byte offset, text) of a text file's blocks."""
    with path.open("rb") as file:
        buffer, offset = b"", 0
        while True:
            chunk = file.read(_CHUNK)
            buffer += chunk
            while len(buffer) > TEXT_BLOCK or (buffer and not chunk):
                end = _block_end(buffer)
                try:
                    text = buffer[:end].decode("utf-8-sig" if offset == 0 else "utf-8")
                except UnicodeDecodeError as error:
                    raise CorpusError(_not_utf8(path, f"byte {offset + error.start}")) from error
                yield offset, text
                buffer = buffer[end:]
                offset += end
            if not chunk:
                return


def _block_end(buffer: bytes) -> int:
    """Where to cut: after the first blank line past 1 kB, else a line, else a character."""
    for mark in (b"\n\n", b"\r\n\r\n"):
        end = buffer.find(mark, _SHORTEST_BLOCK, TEXT_BLOCK)
        if end >= 0:
            return end + len(mark)
    if len(buffer) <= TEXT_BLOCK:
        return len(buffer)
    end = buffer.rfind(b"\n", 0, TEXT_BLOCK) + 1
    if end > 0:
        return end
    end = TEXT_BLOCK
    while end > TEXT_BLOCK - 4 and buffer[end] & 0xC0 == 0x80:
        end -= 1
    return end


def _not_utf8(path: Path, where: str) -> str:
    return f"{path} is not UTF-8 text ({where}): convert it (iconv -f latin1 -t utf-8) or remove it"
