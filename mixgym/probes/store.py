"""Items once read from a package, kept in the cache folder so that the next process is quick."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator

from mixgym.corpus.cache import cache_root, writing
from mixgym.files import read_json, write_text
from mixgym.probes.items import Item

FORMAT = 1
"""Raise whenever the items that are made of the same package change."""


def kept(name: str, package: str, read: Callable[[], Iterable[Item]]) -> Iterator[Item]:
    """Yield the items of `read`, from the cache folder where it has them.

    Args:
        name: of the set of items, usable as a file's.
        package: what tells the package's content from another's, as a hash.
        read: reads the items.
    """
    path = cache_root() / "probes" / f"{name}-{package[:12]}-{FORMAT}.json"
    try:
        rows = read_json(path)
        items = [Item(row[0], row[1], tuple(row[2]), row[3]) for row in rows]
    except (OSError, ValueError, LookupError, TypeError):
        items = list(read())
        rows = [[item.id, item.context, list(item.continuations), item.gold] for item in items]
        with writing(path.parent):
            write_text(path, json.dumps(rows, ensure_ascii=False))
    yield from items
