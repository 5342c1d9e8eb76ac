"""Ways in which a file is damaged, by what it is a file of.

A family is one way; it yields the (label, content) pairs that it makes of a sound file's bytes.
Content is what the file then holds, None where it is gone, and a folder for `FOLDER`.
"""

from __future__ import annotations

import copy
import io
import json
import struct
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

FOLDER = object()
Family = Callable[[bytes], Iterator[tuple[str, Any]]]


def _empty(content: bytes) -> Iterator[tuple[str, Any]]:
    yield "", b""


def _half(content: bytes) -> Iterator[tuple[str, Any]]:
    yield "", content[: len(content) // 2]


def _bit(content: bytes) -> Iterator[tuple[str, Any]]:
    for part in (0.5, 0.1, 0.9, 0.3, 0.7):
        place = int(part * len(content))
        flipped = bytearray(content)
        flipped[place] ^= 1 << (place % 7)
        yield f"at byte {place}", bytes(flipped)


def _missing(content: bytes) -> Iterator[tuple[str, Any]]:
    yield "", None


def _folder(content: bytes) -> Iterator[tuple[str, Any]]:
    yield "", FOLDER


# ---- JSON ----


def _json_list(content: bytes) -> Iterator[tuple[str, Any]]:
    value = json.loads(content)
    yield "", json.dumps([value] if isinstance(value, dict) else {"rows": value}).encode()


def _json_null(content: bytes) -> Iterator[tuple[str, Any]]:
    yield "", b"null\n"


def _json_deep(content: bytes) -> Iterator[tuple[str, Any]]:
    yield "past the parser's limit", b"[" * 100_000
    deep: Any = []
    for _ in range(500):
        deep = [deep]
    value = json.loads(content)
    if isinstance(value, dict):
        yield "in a value", json.dumps({**value, next(iter(value)): deep}).encode()


def _json_key(content: bytes) -> Iterator[tuple[str, Any]]:
    value = json.loads(content)
    for key in value if isinstance(value, dict) else ():
        yield f"without {key}", json.dumps({k: v for k, v in value.items() if k != key}).encode()


def _replaced(content: bytes, change: Callable[[Any], Any]) -> Iterator[tuple[str, Any]]:
    """For each top-level entry, the last number in it changed, then for each the first."""
    value = json.loads(content)
    entries = list(value.items() if isinstance(value, dict) else enumerate(value))
    for which in (-1, 0):
        for key, entry in entries:
            found = list(_numbers(entry))
            if not found or (which == 0 and len(found) == 1):
                continue
            path = (key, *found[which])
            changed = copy.deepcopy(value)
            place = changed
            for step in path[:-1]:
                place = place[step]
            was = place[path[-1]]
            place[path[-1]] = change(was)
            name = ".".join(map(str, path))
            yield f"{name} {was!r} -> {place[path[-1]]!r}", json.dumps(changed).encode()


def _numbers(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Paths to the numbers in a value, in their order."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        yield path
    elif isinstance(value, Mapping | list):
        entries = value.items() if isinstance(value, Mapping) else enumerate(value)
        for key, entry in entries:
            yield from _numbers(entry, (*path, key))


def _json_number(content: bytes) -> Iterator[tuple[str, Any]]:
    yield from _replaced(content, lambda x: x + 1 if isinstance(x, int) else x * 1.25 + 0.001)


def _json_string(content: bytes) -> Iterator[tuple[str, Any]]:
    yield from _replaced(content, str)


def _json_nan(content: bytes) -> Iterator[tuple[str, Any]]:
    yield from _replaced(content, lambda x: float("nan"))


def _json_bom(content: bytes) -> Iterator[tuple[str, Any]]:
    yield "", b"\xef\xbb\xbf" + content


# ---- tensors ----


def _tensors(content: bytes) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Header's metadata, and the tensors as bytes' arrays with their dtype and shape."""
    length = struct.unpack("<Q", content[:8])[0]
    header = json.loads(content[8 : 8 + length])
    return header.pop("__metadata__", None), {
        name: (entry, content[8 + length :][slice(*entry["data_offsets"])])
        for name, entry in header.items()
    }  # type: ignore[return-value]


def _packed(metadata: Any, tensors: Mapping[str, Any]) -> bytes:
    header: dict[str, Any] = {} if metadata is None else {"__metadata__": metadata}
    body = b""
    for name, (entry, data) in tensors.items():
        offsets = [len(body), len(body) + len(data)]
        header[name] = {**entry, "data_offsets": offsets}
        body += data
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + body


def _largest(tensors: Mapping[str, Any]) -> str:
    """The name of the largest tensor of float32, else of any."""
    floats = {k: v for k, v in tensors.items() if v[0]["dtype"] == "F32"} or tensors
    return max(floats, key=lambda name: len(floats[name][1]))


def _changed_tensor(
    content: bytes, change: Callable[[dict[str, Any], bytes], tuple[dict[str, Any], bytes]]
) -> bytes:
    metadata, tensors = _tensors(content)
    name = _largest(tensors)
    return _packed(metadata, {**tensors, name: change(*tensors[name])})  # type: ignore[misc]


def _tensor_name(content: bytes) -> Iterator[tuple[str, Any]]:
    metadata, tensors = _tensors(content)
    name = _largest(tensors)
    renamed = {("zz" + k if k == name else k): v for k, v in tensors.items()}
    yield f"{name} renamed", _packed(metadata, renamed)
    yield f"without {name}", _packed(metadata, {k: v for k, v in tensors.items() if k != name})


def _tensor_shape(content: bytes) -> Iterator[tuple[str, Any]]:
    def flat(entry: dict[str, Any], data: bytes) -> tuple[dict[str, Any], bytes]:
        return {**entry, "shape": [int(np.prod(entry["shape"])), 1, 1]}, data

    def halved(entry: dict[str, Any], data: bytes) -> tuple[dict[str, Any], bytes]:
        width = len(data) // max(int(np.prod(entry["shape"])), 1)
        return {**entry, "shape": [1]}, data[:width]

    yield "reshaped", _changed_tensor(content, flat)
    yield "one element left", _changed_tensor(content, halved)


def _tensor_dtype(content: bytes) -> Iterator[tuple[str, Any]]:
    def other(entry: dict[str, Any], data: bytes) -> tuple[dict[str, Any], bytes]:
        swap = {"F32": "I32", "F64": "I64", "I64": "F64", "I32": "F32", "BOOL": "U8", "U8": "I8"}
        return {**entry, "dtype": swap[entry["dtype"]]}, data

    yield "", _changed_tensor(content, other)


def _tensor_nan(content: bytes) -> Iterator[tuple[str, Any]]:
    def spoilt(entry: dict[str, Any], data: bytes) -> tuple[dict[str, Any], bytes]:
        kind = {"F32": np.float32, "F64": np.float64}.get(entry["dtype"])
        if kind is None:
            return entry, b"\xff" * len(data)
        array = np.frombuffer(data, kind).copy()
        array[len(array) // 2] = np.nan
        return entry, array.tobytes()

    yield "", _changed_tensor(content, spoilt)


# ---- arrays, tables, text ----


def _array_shape(content: bytes) -> Iterator[tuple[str, Any]]:
    array = np.load(io.BytesIO(content))
    for label, other in (
        ("no rows", array[:0]),
        ("a row less", array[:-1]),
        ("flat", array.ravel()),
        ("doubles", array.astype(np.float64)),
        ("another number", array + np.float32(0.25)),
        ("NaN", array * np.float32("nan")),
        ("texts", array.astype("U8")),
    ):
        file = io.BytesIO()
        np.save(file, other)
        yield label, file.getvalue()


def _table_fewer(content: bytes) -> Iterator[tuple[str, Any]]:
    lines = content.decode().splitlines()
    yield "header alone", (lines[0] + "\n").encode()
    yield "a row short", "\n".join(lines[:-1]).encode()


def _table_rows(content: bytes) -> Iterator[tuple[str, Any]]:
    lines = content.decode().splitlines()
    yield "a row cut", "\n".join([*lines[:-1], lines[-1].rpartition(",")[0]]).encode()
    columns = [line.partition(",")[2] for line in lines]
    yield "a column gone", "\n".join(columns).encode()
    words = [lines[0], *(line.replace("0", "x").replace("1", "y") for line in lines[1:])]
    yield "words for numbers", "\n".join(words).encode()


def _table_number(content: bytes) -> Iterator[tuple[str, Any]]:
    """The last number of the last row with a fraction."""
    lines = content.decode().splitlines()
    cells = lines[-1].split(",")
    place = max(i for i, cell in enumerate(cells) if "." in cell and "/" not in cell)
    cells[place] = repr(float(cells[place]) * 1.25)
    yield f"column {place}", "\n".join([*lines[:-1], ",".join(cells)]).encode() + b"\n"


def _line_torn(content: bytes) -> Iterator[tuple[str, Any]]:
    yield "the last line", content[: content.rstrip().rfind(b"\n") + 12]
    yield "its newline", content.rstrip(b"\n")


def _line_inside(content: bytes) -> Iterator[tuple[str, Any]]:
    lines = content.splitlines(keepends=True)
    middle = len(lines) // 2
    yield "a line cut", b"".join([*lines[:middle], lines[middle][:9] + b"\n", *lines[middle + 1 :]])
    yield "a line of another kind", b"".join([*lines[:middle], b"[]\n", *lines[middle + 1 :]])


def _same_size(content: bytes) -> Iterator[tuple[str, Any]]:
    yield "", bytes(byte ^ 1 if byte > 1 else byte for byte in content)


ANY: dict[str, Family] = {
    "empty": _empty,
    "half": _half,
    "bit": _bit,
    "missing": _missing,
    "folder": _folder,
}

#: Families by the format of a file.
FORMATS: dict[str, dict[str, Family]] = {
    "json": {
        **ANY,
        "list": _json_list,
        "null": _json_null,
        "deep": _json_deep,
        "key": _json_key,
        "number": _json_number,
        "string": _json_string,
        "nan": _json_nan,
        "bom": _json_bom,
    },
    "tensors": {
        **ANY,
        "name": _tensor_name,
        "shape": _tensor_shape,
        "dtype": _tensor_dtype,
        "nan": _tensor_nan,
    },
    "array": {**ANY, "array": _array_shape},
    "table": {**ANY, "fewer": _table_fewer, "rows": _table_rows, "number": _table_number},
    "lines": {**ANY, "torn": _line_torn, "inside": _line_inside},
    "bytes": {**ANY, "kept-size": _same_size},
    "yaml": ANY,
}
