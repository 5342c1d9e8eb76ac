"""Small folders of real text, and the wheels shared by the tests that build from them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

SENTENCES = (
    "The river rose in the night and took the lower bridge with it.",
    "Nobody in the village had seen water that high since the great flood.",
    "Carpenters came from three valleys to build the next one of oak.",
    "It stood for eighty years, and children were forbidden to play under it.",
)


def _prose(count: int, mark: str = "entry") -> list[str]:
    """`count` distinct short texts."""
    return [
        f"{mark.capitalize()} {n}. {SENTENCES[n % 4]} {SENTENCES[n // 4 % 4]} No. {n * 7919}."
        for n in range(count)
    ]


@pytest.fixture
def prose() -> Callable[..., list[str]]:
    """`prose(count, mark)`: distinct short texts."""
    return _prose


@pytest.fixture
def own_folder(tmp_path: Path) -> Path:
    """Three domains: a text file, a JSONL file, a sub-folder of files."""
    folder = tmp_path / "texts"
    (folder / "letters").mkdir(parents=True)
    (folder / "stories.txt").write_text("\n\n".join(_prose(300, "story")), encoding="utf-8")
    rows = [json.dumps({"text": text}) for text in _prose(200, "row é")]
    (folder / "rows.jsonl").write_text("\n".join(rows), encoding="utf-8")
    for number, text in enumerate(_prose(60, "letter")):
        (folder / "letters" / f"{number:03}.md").write_text(text, encoding="utf-8")
    return folder
