from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.test_cli import run, words

SNAPSHOTS = Path(__file__).parent / "help"
COMMANDS = (
    "collect",
    "trajectories",
    "trajectories show",
    "trajectories score",
    "trajectories evaluate",
    "trajectories explain",
)


@pytest.mark.parametrize("command", COMMANDS)
def test_help(command: str) -> None:
    """Set UPDATE_HELP=1 to write the snapshots anew after changing a help text."""
    result = run(*command.split(), "--help")
    assert result.returncode == 0
    path = SNAPSHOTS / f"{command.replace(' ', '-')}.txt"
    if os.environ.get("UPDATE_HELP"):
        path.write_text(result.stdout)
    assert words(result.stdout) == words(path.read_text())
