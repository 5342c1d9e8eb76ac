from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from mixgym.commands.main import main

SNAPSHOTS = Path(__file__).parent / "compare" / "help"
COMMANDS = ("", "list", "info", "compare", "train", "tune", "evaluate", "replay", "plot", "doctor")


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    """The command as a process of its own."""
    environment = {**os.environ, "COLUMNS": "100", "NO_COLOR": "1", "TERM": "dumb"}
    return subprocess.run(
        [sys.executable, "-m", "mixgym.commands.main", *arguments],
        capture_output=True,
        text=True,
        env=environment,
    )


class Call:
    """The command inside this process, which has torch already: exit code, stdout, stderr."""

    def __init__(self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
        self._capsys, self._monkeypatch = capsys, monkeypatch

    def __call__(self, *arguments: str) -> tuple[int, str, str]:
        self._monkeypatch.setattr(sys, "argv", ["mixgym", *arguments])
        with pytest.raises(SystemExit) as end:
            main()
        captured = self._capsys.readouterr()
        return int(end.value.code or 0), captured.out, captured.err


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Call:
    return Call(capsys, monkeypatch)


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
        "from mixgym.commands.main import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "heavy = {'torch', 'transformers', 'matplotlib', 'scipy'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_list_names_what_there_is(call: Call) -> None:
    _, listed, _ = call("list")
    for name in ("mixgym/NanoPretrain-v0", "odm-exp3", "nano8", "micro", "progress"):
        assert name in listed


def test_info_shows_the_live_spaces(call: Call) -> None:
    arguments = ("--env-arg", "domains=[recipes, python]", "--env-arg", "limit=null")
    shown = words(call("info", "NanoPretrain-v0", *arguments)[1])
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
        (["info", "NanoPretrain-v0", "--env-arg", "betas=3"], "error: "),
        (["replay", "nowhere"], "config.json"),
        (["plot", "nowhere"], "config.json"),
    ],
)
def test_bad_input_is_one_message_and_exit_code_one(
    arguments: list[str], message: str, call: Call
) -> None:
    code, _, stderr = call(*arguments)
    assert code == 1
    assert message in words(stderr) and len(stderr.strip().splitlines()) == 1


def test_debug_shows_the_traceback() -> None:
    plain, debug = run("replay", "nowhere"), run("replay", "nowhere", "--debug")
    assert (plain.returncode, debug.returncode) == (1, 1)
    assert len(plain.stderr.splitlines()) == 1 and "Traceback" in debug.stderr


def test_info_builds_a_missing_corpus_before_it_describes_it(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MIXGYM_CACHE", str(tmp_path / "cache"))
    for name in ("one", "two"):
        (tmp_path / "text" / name).mkdir(parents=True)
        text = "\n\n".join(f"{name} {i} " + "words " * 30 for i in range(500))
        (tmp_path / "text" / name / "all.txt").write_text(text)
    corpus = ("--env-arg", f"corpus=files:{tmp_path}/text", "--env-arg", "limit=null")
    code, shown, progress = call("info", "NanoPretrain-v0", *corpus)
    assert code == 0 and "objective" in shown
    assert "one" in shown and "two" in shown and progress


def test_doctor_passes_here(call: Call) -> None:
    code, stdout, stderr = call("doctor")
    assert code == 0, stdout + stderr
    assert "tiny run" in stdout


def test_doctor_fails_when_the_cache_cannot_be_written(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("not a folder")
    monkeypatch.setenv("MIXGYM_CACHE", str(tmp_path / "file"))
    code, stdout, _ = call("doctor", "--no-smoke")
    assert code == 1 and "MIXGYM_CACHE" in stdout
