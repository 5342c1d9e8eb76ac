"""Every command explains itself, and explaining loads nothing heavy."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from command_line import run, words

SNAPSHOTS = Path(__file__).parent / "help"
COMMANDS = sorted(path.stem for path in SNAPSHOTS.glob("*.txt"))


@pytest.mark.parametrize("command", COMMANDS)
def test_help(command: str) -> None:
    """Set UPDATE_HELP=1 to write the snapshots anew after changing a help text."""
    arguments = [] if command == "mixgym" else command.split("-")
    result = run(*arguments, "--help")
    assert result.returncode == 0
    path = SNAPSHOTS / f"{command}.txt"
    if os.environ.get("UPDATE_HELP"):
        path.write_text(result.stdout)
    assert words(result.stdout) == words(path.read_text())


def test_every_command_has_a_snapshot() -> None:
    from mixgym.commands.main import app

    names = {command.name or command.callback.__name__ for command in app.registered_commands}  # type: ignore[union-attr]
    for group in app.registered_groups:
        own = group.typer_instance.registered_commands  # type: ignore[union-attr]
        names |= {f"{group.name}-{c.name or c.callback.__name__}" for c in own}  # type: ignore[union-attr]
    assert names <= set(COMMANDS)


def test_help_is_light() -> None:
    code = (
        "import sys; sys.argv = ['mixgym', '--help']\n"
        "from mixgym.commands.main import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "heavy = {'torch', 'transformers', 'matplotlib', 'scipy'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
