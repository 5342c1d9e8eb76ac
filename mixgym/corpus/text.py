"""What every text goes through before it is trained on: normalising, cutting, fingerprints."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Iterator

PIECE_BYTES = 16_384
"""Longer documents are cut into pieces of at most this many bytes, at line ends where possible."""

_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ufeff]")
_NEWLINE = re.compile("\r\n?|[\x0b\x0c\x85\u2028\u2029]")
_BLANK_LINES = re.compile(r"\n{3,}")
_SENTENCE_END = re.compile(r"(?<=[.!?;]) ")
_NOT_ALPHANUMERIC = bytes(b for b in range(128) if not chr(b).isalnum())
_LOWER = bytes(b + 32 if 65 <= b <= 90 else b for b in range(256))


def normalise(text: str) -> str:
    """NFC text with `\\n` line ends, no control characters (so no NUL), no outer white space.

    >>> normalise("a\\r\\nb\\x00c\\n\\n\\n\\nd ")
    'a\\nbc\\n\\nd'
    """
    text = _NEWLINE.sub("\n", text)
    text = _CONTROL.sub("", text)
    if not text.isascii() and not unicodedata.is_normalized("NFC", text):
        text = unicodedata.normalize("NFC", text)
    return _BLANK_LINES.sub("\n\n", text).strip()


def encode(text: str) -> bytes:
    """UTF-8 of `text`; lone surrogates (broken JSON escapes) are dropped."""
    return text.encode("utf-8", "ignore")


def pieces(data: bytes, size: int = PIECE_BYTES) -> Iterator[bytes]:
    """Cut UTF-8 `data` into parts of at most `size` bytes, preferably after a line, never inside
    a character."""
    start = 0
    while len(data) - start > size:
        end = data.rfind(b"\n", start + size // 2, start + size) + 1
        if end <= 0:
            end = start + size
            while end > start + 1 and data[end] & 0xC0 == 0x80:
                end -= 1
        yield data[start:end]
        start = end
    yield data[start:]


def digest(data: bytes) -> bytes:
    """8-byte fingerprint of `data`."""
    return hashlib.blake2b(data, digest_size=8).digest()


def duplicate_key(data: bytes) -> bytes:
    """8-byte fingerprint of the letters and digits only: layout, punctuation and case do not count.

    Digits count, because two arithmetic exercises that differ in their numbers are not copies.
    """
    return digest(data.translate(_LOWER, _NOT_ALPHANUMERIC) or data)


def segments(text: str, shortest: int = 20, longest: int = 300) -> Iterator[str]:
    """Lines of at least `shortest` characters; lines over `longest` are cut into sentences."""
    for line in text.split("\n"):
        line = line.strip()
        if len(line) < shortest:
            continue
        if len(line) <= longest:
            yield line
        else:
            yield from (part for part in _SENTENCE_END.split(line) if len(part) >= shortest)
