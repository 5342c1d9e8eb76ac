"""`mixgym data base`."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from mixgym.commands.data import data_app

SNAPSHOT = Path(__file__).parent / "compare" / "help" / "data-base.txt"


def words(text: str) -> str:
    text = re.sub(r"\x1b\[[0-9;]*m", "", text)
    return " ".join(re.sub(r"[─-╿]|<\w+>", " ", text).split())


def test_help() -> None:
    environment = {**os.environ, "COLUMNS": "100", "NO_COLOR": "1", "TERM": "dumb"}
    command = [sys.executable, "-m", "mixgym.commands.main", "data", "base", "--help"]
    shown = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
    if os.environ.get("UPDATE_HELP"):
        SNAPSHOT.write_text(shown.stdout)
    assert words(shown.stdout) == words(SNAPSHOT.read_text())


def test_a_base_is_built_and_named() -> None:
    arguments = ["base", "NanoContinual-v0", "--env-arg", "base={steps: 4}"]
    result = CliRunner().invoke(data_app, [*arguments, "--env-arg", "context=16"])
    assert result.exit_code == 0, result.output
    assert "4 steps on wiki_en, recipes of nano8" in result.output
    assert re.search(r"hash [0-9a-f]{64}", result.output)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["NanoPretrain-v0"], "NanoPretrain-v0 starts from a fresh model"),
        (["NanoContinual-v0", "--env-arg", "base={steps: 0}"], "is no base"),
        (["NanoContinual-v0", "--env-arg", "sourc=prose"], "did you mean 'source'"),
        (["NanoContinul-v0"], "did you mean"),
    ],
)
def test_bad_input_is_one_message(arguments: list[str], message: str) -> None:
    result = CliRunner().invoke(data_app, ["base", *arguments])
    assert result.exit_code == 1
    assert message in " ".join(result.output.split())
