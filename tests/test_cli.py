from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

SNAPSHOTS = Path(__file__).parent / "compare" / "help"
COMMANDS = ("", "list", "info", "compare", "replay", "plot", "doctor")


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "COLUMNS": "100", "NO_COLOR": "1", "TERM": "dumb"}
    return subprocess.run(
        [sys.executable, "-m", "mixgym.cli", *arguments],
        capture_output=True,
        text=True,
        env=environment,
    )


def words(text: str) -> str:
    """Text without colours, boxes and line breaks, which differ between terminals and versions."""
    text = re.sub(r"\x1b\[[0-9;]*m", "", text)
    return " ".join(re.sub(r"[─-╿]|<\w+>", " ", text).split())


@pytest.mark.parametrize("command", COMMANDS)
def test_help(command: str) -> None:
    """Set UPDATE_HELP=1 to write the snapshots anew after changing a help text."""
    result = run(*command.split(), "--help")
    assert result.returncode == 0
    path = SNAPSHOTS / f"{command or 'mixgym'}.txt"
    if os.environ.get("UPDATE_HELP"):
        path.write_text(result.stdout)
    assert words(result.stdout) == words(path.read_text())


def test_help_is_light() -> None:
    code = (
        "import sys; sys.argv = ['mixgym', '--help']\n"
        "from mixgym.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "heavy = {'torch', 'transformers', 'matplotlib', 'scipy'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_list_names_what_there_is() -> None:
    listed = run("list").stdout
    for name in ("mixgym/NanoPretrain-v0", "odm-exp3", "nano8", "micro", "progress"):
        assert name in listed


def test_info_shows_the_live_spaces() -> None:
    arguments = ("--env-arg", "domains=[recipes, python]", "--env-arg", "limit=null")
    shown = words(run("info", "NanoPretrain-v0", *arguments).stdout)
    assert "Box(-1.0, 1.0, (2,), float32)" in shown
    assert "Version History" in shown and "recipes" in shown


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["info", "NanoPretrian-v0"], "did you mean 'mixgym/NanoPretrain-v0'"),
        (["info", "NanoPretrain-v0", "--env-arg", "decision=3"], "did you mean 'decisions'"),
        (["info", "NanoPretrain-v0", "--env-arg", "decisions"], "key=value"),
        (["compare", "NanoPretrain-v0", "--out", "x"], "--agent"),
        (["compare", "NanoPretrain-v0", "--agent", "natural"], "--out"),
        (
            ["compare", "NanoPretrain-v0", "--agent", "natural", "--out", "x", "--seeds", "0"],
            "is 0",
        ),
        (["compare", "N", "--agent", "a", "--out", "x", "--reference", "b"], "reference 'b'"),
        (["compare", "--suite", "none.yml", "--out", "x"], "none.yml"),
        (["compare", "N", "--suite", "s.yml", "--out", "x"], "leave out ENV"),
        (["replay", "nowhere"], "config.json"),
        (["plot", "nowhere"], "config.json"),
    ],
)
def test_bad_input_is_one_message_and_exit_code_one(arguments: list[str], message: str) -> None:
    result = run(*arguments)
    assert result.returncode == 1
    assert message in words(result.stderr) and "Traceback" not in result.stderr


def test_debug_shows_the_traceback() -> None:
    assert "Traceback" in run("replay", "nowhere", "--debug").stderr


def test_doctor_passes_here() -> None:
    result = run("doctor")
    assert result.returncode == 0, result.stdout + result.stderr
    assert "tiny run" in result.stdout


def test_doctor_fails_when_the_cache_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("not a folder")
    monkeypatch.setenv("MIXGYM_CACHE", str(tmp_path / "file"))
    result = run("doctor", "--no-smoke")
    assert result.returncode == 1 and "MIXGYM_CACHE" in result.stdout
