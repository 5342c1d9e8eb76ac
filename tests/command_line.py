"""Running the `mixgym` command in tests."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest

from mixgym.commands.main import main


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    """The command as a process of its own."""
    environment = {**os.environ, "COLUMNS": "100", "NO_COLOR": "1", "TERM": "dumb"}
    return subprocess.run(
        [sys.executable, "-m", "mixgym", *arguments],
        capture_output=True,
        text=True,
        env=environment,
    )


def words(text: str) -> str:
    """Text without colours, boxes and line breaks, which differ between terminals and versions."""
    text = re.sub(r"\x1b\[[0-9;]*m", "", text)
    return " ".join(re.sub(r"[─-╿]|<\w+>", " ", text).split())


class Call:
    """The command inside this process, which has torch already: exit code, stdout, stderr."""

    def __init__(self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
        self._capsys, self._monkeypatch = capsys, monkeypatch

    def __call__(self, *arguments: object) -> tuple[int, str, str]:
        self._monkeypatch.setattr(sys, "argv", ["mixgym", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            main()
        captured = self._capsys.readouterr()
        return int(end.value.code or 0), captured.out, captured.err
