"""The command as a whole: what it lists, what it says of bad input, how it ends."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from command_line import Call, run, words


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
        (["info", "CartPole-v1"], "CartPole-v1 is no environment of data mixtures"),
    ],
)
def test_bad_input_is_one_message_and_exit_code_one(
    arguments: list[str], message: str, call: Call
) -> None:
    code, _, stderr = call(*arguments)
    assert code == 1
    assert message in words(stderr) and len(stderr.strip().splitlines()) == 1


def test_a_comparison_on_another_kind_of_environment_says_so(call: Call, tmp_path: Path) -> None:
    arguments = ("compare", "CartPole-v1", "--agent", "natural", "--out", tmp_path / "out")
    code, _, errors = call(*arguments)
    assert code == 1 and "CartPole-v1 is no environment of data mixtures" in words(errors)


def test_debug_shows_the_traceback() -> None:
    plain, debug = run("replay", "nowhere"), run("replay", "nowhere", "--debug")
    assert (plain.returncode, debug.returncode) == (1, 1)
    assert len(plain.stderr.splitlines()) == 1 and "Traceback" in debug.stderr


def test_info_builds_a_missing_corpus_before_it_describes_it(call: Call, folder: Path) -> None:
    corpus = ("--env-arg", f"corpus=files:{folder}", "--env-arg", "limit=null")
    code, shown, progress = call("info", "NanoPretrain-v0", *corpus)
    assert code == 0 and "objective" in shown
    assert "one" in shown and "two" in shown and "reading text" in progress


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


@pytest.mark.parametrize("content", [b"", b"\x93NUMPY"])
def test_a_damaged_action_file_is_named(call: Call, tmp_path: Path, content: bytes) -> None:
    out = tmp_path / "out"
    small = ("domains=[recipes, python]", "limit=null", "decisions=1", "steps_per_decision=2")
    options = [x for text in small for x in ("--env-arg", text)]
    arguments = ("NanoPretrain-v0", "--agent", "natural", "--seeds", "1", "--workers", "1")
    code, _, errors = call("compare", *arguments, *options, "--out", out)
    assert code == 0, errors
    run_folder = out / "runs" / "natural" / "seed-0"
    assert call("replay", run_folder)[0] == 0
    (run_folder / "actions.npy").write_bytes(content)
    code, _, errors = call("replay", run_folder)
    assert code == 1 and "actions.npy" in errors and "Aborted" not in errors


def test_an_end_of_file_is_an_error_like_others(
    call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    def replay_run(run: Path) -> None:
        raise EOFError("No data left in file")

    monkeypatch.setattr("mixgym.experiment.replay.replay_run", replay_run)
    code, _, errors = call("replay", "somewhere")
    assert code == 1 and "No data left in file" in errors and "Aborted" not in errors


def test_a_comparison_reads_the_text_again_before_it_starts(
    call: Call, folder: Path, tmp_path: Path
) -> None:
    """Also where size and time of the changed file are the same as before."""
    corpus = ("--env-arg", f"corpus=files:{folder}", "--env-arg", "limit=null")
    assert call("info", "NanoPretrain-v0", *corpus)[0] == 0
    (path,) = (tmp_path / "cache").glob("corpora/*/text/one.train.bin")
    before = path.stat()
    path.write_bytes(path.read_bytes()[::-1])
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    arguments = ("compare", "NanoPretrain-v0", "--agent", "natural", *corpus)
    code, _, errors = call(*arguments, "--out", tmp_path / "out")
    assert code == 1 and "one.train.bin is damaged" in errors and "--rebuild" in errors
