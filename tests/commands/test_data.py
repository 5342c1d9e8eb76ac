"""`mixgym data`: build, list, show."""

from __future__ import annotations

from pathlib import Path

import pytest
from command_line import Call


def test_build_list_show(call: Call, folder: Path) -> None:
    code, shown, told = call("data", "build", folder)
    assert code == 0 and "2 domains" in shown and "reading text" in told
    _, listed, _ = call("data", "list")
    assert "core19" in listed and "files-" in listed
    code, shown, _ = call("data", "show", folder, "--verify", "--sample")
    assert code == 0
    for text in ("one", "licence not stated: one, two", "every file has the hash", "words words"):
        assert text in shown


def test_show_fits_80_characters_and_wide_has_every_column(
    call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    _, shown, _ = call("data", "show", "core19")
    lines = shown.splitlines()
    (head,) = (line for line in lines if line.strip().startswith("domain"))
    assert head.split() == ["domain", "natural", "train", "validation", "test", "documents"]
    (row,) = (line for line in lines if line.strip().startswith("recipes"))
    assert len(row) <= 80 and "%" in row and "MB" in row and "…" not in shown
    assert "licence CC BY-SA 4.0: wiki_en, recipes, wiki_fr, wiki_es" in shown
    monkeypatch.setenv("COLUMNS", "200")
    _, shown, _ = call("data", "show", "core19", "--wide")
    for heading in ("family", "available", "gzip", "bytes/token", "licence"):
        assert heading in shown


def test_what_is_passed_over_is_said_once_a_command(call: Call, folder: Path) -> None:
    (folder / "notes.md").write_text("Not read.")
    (folder / "README").write_text("Not read either.")
    (folder / ".git").mkdir()
    (folder / "one" / ".draft.txt").write_text("Nor is this.")
    built = call("data", "build", folder)
    again = call("data", "build", folder)
    shown = call("data", "show", folder)
    for code, out, err in (built, again, shown):
        assert code == 0
        said = out + err
        assert said.count("README, notes.md in") == 1 and "move text into a sub-folder" in said
        assert said.count(".git, one/.draft.txt in") == 1 and "hidden" in said


def test_rebuild_repairs_a_damaged_file(call: Call, folder: Path, tmp_path: Path) -> None:
    call("data", "build", folder)
    (path,) = (tmp_path / "cache").glob("corpora/*/text/one.train.bin")
    good = path.read_bytes()
    path.write_bytes(good[:-1])
    code, _, errors = call("data", "show", folder)
    assert code == 1 and "one.train.bin is damaged" in errors
    assert call("data", "build", folder, "--rebuild")[0] == 0
    assert path.read_bytes() == good


def test_errors_are_one_message(call: Call) -> None:
    code, _, errors = call("data", "build", "nano9")
    assert code == 1
    assert "did you mean 'nano8'" in errors and "Traceback" not in errors
    assert call("data", "build", "nano8", "--skip", "recipez")[0] == 1
