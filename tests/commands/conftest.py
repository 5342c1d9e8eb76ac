from __future__ import annotations

from pathlib import Path

import pytest
from command_line import Call


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Call:
    return Call(capsys, monkeypatch)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with two domains of text, and a cache of its own."""
    monkeypatch.setenv("MIXGYM_CACHE", str(tmp_path / "cache"))
    for name in ("one", "two"):
        (tmp_path / "text" / name).mkdir(parents=True)
        text = "\n\n".join(f"{name} {i} " + "words " * 30 for i in range(500))
        (tmp_path / "text" / name / "all.txt").write_text(text)
    return tmp_path / "text"
