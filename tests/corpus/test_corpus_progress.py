"""Long work tells of itself: bars on a terminal, lines elsewhere, silence when asked."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import pytest

from mixgym.corpus import load_corpus, progress
from mixgym.corpus.progress import Reporter, reporter


def _work(progress: bool | None, seconds: float = 0.0) -> None:
    with reporter(progress) as report:
        report.start(0, "downloading")
        time.sleep(seconds)
        report.start(4, "training")
        report.advance(3)
        time.sleep(seconds)


def test_who_asked_for_nothing_is_told_of_long_work_alone(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    _work(None)
    assert capsys.readouterr() == ("", "")
    monkeypatch.setattr(progress, "PATIENCE", 0.05)
    _work(None, 0.3)
    out, err = capsys.readouterr()
    assert out == "" and err.splitlines() == ["mixgym: downloading", "mixgym: training"]


def test_a_stage_that_says_nothing_is_told_of_again(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "PATIENCE", 0.0)
    monkeypatch.setattr(progress, "INTERVAL", 0.1)
    with reporter(None) as report:
        report.start(4, "training")
        report.advance(3)
        time.sleep(0.5)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "mixgym: training"
    assert len(lines) >= 3 and set(lines[1:]) == {"mixgym: training, 3 of 4"}


def test_each_stage_is_a_line_where_there_is_no_terminal(
    capsys: pytest.CaptureFixture[str],
) -> None:
    _work(True)
    assert capsys.readouterr().err.splitlines() == ["mixgym: downloading", "mixgym: training"]


@pytest.mark.parametrize("asked", ["argument", "environment"])
def test_silence_when_asked(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, asked: str
) -> None:
    monkeypatch.setattr(progress, "PATIENCE", 0.02)
    if asked == "environment":
        monkeypatch.setenv("MIXGYM_QUIET", "1")
    _work(False if asked == "argument" else None, 0.1)
    assert capsys.readouterr() == ("", "")


def test_a_reporter_is_handed_on_and_no_thread_stays() -> None:
    mine = Reporter()
    with reporter(mine) as same:
        assert same is mine
    before = threading.active_count()
    _work(True)
    assert threading.active_count() == before


def test_a_corpus_that_takes_long_to_build_says_so(
    own_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: Any
) -> None:
    monkeypatch.setattr(progress, "PATIENCE", 0.0)
    load_corpus(str(own_folder), cache=tmp_path / "cache")
    assert "mixgym: reading texts" in capsys.readouterr().err
    load_corpus(str(own_folder), cache=tmp_path / "cache")
    assert capsys.readouterr().err == ""
