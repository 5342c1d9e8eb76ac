"""Source code, questions answered by code, and the translations shipped with code."""

from __future__ import annotations

import ast
import gzip
import json
import re
from collections.abc import Iterator

from mixgym.corpus.spool import Document
from mixgym.corpus.text import digest, encode
from mixgym.corpus.wheels import Wheels

LARGEST_FILE = 300_000
"""Bigger source files are generated (headers, tables) more often than written."""

_DIGIT = re.compile(r"\d")
_LANGUAGE = re.compile(r"/locale/([^/]+)/")
_LICENCE_HEADER = re.compile(r"\A\s*/\*.*?Copyright.*?\*/\s*", re.DOTALL)


def _written(text: str) -> bool:
    """Whether a source file looks written by people: no number table, not minified."""
    lines = text.count("\n") + 1
    return len(_DIGIT.findall(text)) < 0.15 * len(text) and len(text) < 200 * lines


def _sources(wheels: Wheels, package: str, pattern: str, largest: int) -> Iterator[Document]:
    for member, text in wheels.texts(package, pattern):
        if len(text) <= largest and _written(text):
            yield Document(member, _LICENCE_HEADER.sub("", text[:4_000]) + text[4_000:])


def python(wheels: Wheels) -> Iterator[Document]:
    """The Python source of Django."""
    return _sources(wheels, "django", r"django/.*\.py", LARGEST_FILE)


def sympy(wheels: Wheels) -> Iterator[Document]:
    """The Python source of SymPy: mathematics as code."""
    return _sources(wheels, "sympy", r"sympy/.*\.py", LARGEST_FILE)


def cpp(wheels: Wheels) -> Iterator[Document]:
    """CUDA and C++ templates of CUTLASS."""
    pattern = r"cutlass_library/.*\.(?:h|hpp|cu|cuh|cpp|inl)"
    return _sources(wheels, "nvidia-cutlass", pattern, LARGEST_FILE)


def js_ts(wheels: Wheels) -> Iterator[Document]:
    """JavaScript and TypeScript of Bokeh and Django; bundles last, so that modules win."""
    found = [
        *_sources(wheels, "bokeh", r"bokeh/.*(?<!\.min)\.(?:js|ts)", 10_000_000),
        *_sources(wheels, "django", r"django/.*/static/.*(?<!\.min)\.js", 10_000_000),
    ]
    return iter(sorted(found, key=lambda document: (len(document.text), document.group)))


def code_qa(wheels: Wheels) -> Iterator[Document]:
    """Questions, specifications and solutions in Python (CodeI/O), written by language models."""
    data = wheels["reasoning-gym"].read("reasoning_gym/data/codeio-hq.jsonl.gz")
    for entry in json.loads(gzip.decompress(data)):
        parts = (
            f"Question: {entry['task_description']}",
            entry["input_output_spec"],
            f"```python\n{entry['code_sample'].strip()}\n```",
            f"Inputs:\n```python\n{entry['input_generator'].strip()}\n```",
        )
        group = digest(encode(entry["code_sample"])).hex()
        yield Document(group, "\n\n".join(parts))


def i18n(wheels: Wheels) -> Iterator[Document]:
    """Django's interface in some hundred languages: the translations, without the English."""
    for member, text in wheels.texts("django", r"django/.*/locale/(?!en).*\.po"):
        language = _LANGUAGE.search(member)
        lines = list(_translations(text))
        for start in range(0, len(lines), 40):
            body = "\n".join(lines[start : start + 40])
            yield Document(
                f"{member}:{start}", f"[{language.group(1) if language else ''}]\n{body}"
            )


def _translations(text: str) -> Iterator[str]:
    translation: list[str] | None = None
    for line in [*text.split("\n"), ""]:
        if line.startswith("msgstr"):
            if translation:
                yield "".join(translation)
            translation = [_quoted(line)]
        elif line.startswith('"') and translation is not None:
            translation.append(_quoted(line))
        else:
            if translation and (message := "".join(translation)) and "Project-Id" not in message:
                yield message
            translation = None


def _quoted(line: str) -> str:
    return ast.literal_eval(line[line.index('"') :].strip())
