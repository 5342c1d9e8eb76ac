"""Progress where there is no terminal: a line now and then, never silence, never a flood."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from mixgym.experiment import progress
from mixgym.experiment.pool import Event, Job
from mixgym.experiment.progress import JobsProgress, LearningProgress


def work(title: str) -> Job:
    return Job(title, "nowhere:nothing", {})


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def plain() -> tuple[Console, io.StringIO]:
    out = io.StringIO()
    return Console(file=out, width=40), out


def test_a_long_run_says_how_far_it_is(clock: list[float]) -> None:
    console, out = plain()
    job = work("natural seed 0")
    with JobsProgress(console, 2) as shown:
        shown(Event("started", job, {}))
        for decision in range(1, 101):
            clock[0] += 1.0
            facts = {"decision": decision, "decisions": 200, "objective": 1.5, "step": decision}
            shown(Event("progress", job, facts))
    lines = out.getvalue().splitlines()
    assert len(lines) == 3  # in 100 seconds
    assert lines[0].startswith("runs: 0/2, 0:30 gone, about ") and "natural seed 0 15%" in lines[0]


def test_finished_jobs_are_lines_of_their_own_unless_they_are_many(clock: list[float]) -> None:
    for each in (True, False):
        console, out = plain()
        with JobsProgress(console, 5, noun="episodes", each=each) as shown:
            shown(Event("kept", work("Episode 0"), {}))
            for index in range(1, 4):
                clock[0] += 11.0
                shown(Event("finished", work(f"Episode {index}"), {}))
            shown(Event("failed", work("Episode 4"), {"error": "x"}))
        lines = out.getvalue().splitlines()
        assert lines[-1].startswith("[5/5] Episode 4: failed, 0:33 gone")
        assert [line[:12] for line in lines[:-1]] == (
            ["[2/5] Episod", "[3/5] Episod", "[4/5] Episod"] if each else ["episodes: 4/"]
        )


def test_learning_says_how_far_it_is(clock: list[float]) -> None:
    console, out = plain()
    with LearningProgress(console, "learning", 10) as shown:
        for done in range(4, 10):  # resumed at the fourth
            shown.update(done, f"episode {done + 1}")
            clock[0] += 20.0
    lines = out.getvalue().splitlines()
    assert lines[0] == "learning 60%: episode 7, 0:40 gone, about 1:20 left"
    assert len(lines) == 2


def test_a_terminal_has_bars(clock: list[float]) -> None:
    out = io.StringIO()
    console = Console(file=out, width=80, force_terminal=True)
    with JobsProgress(console, 1) as shown:
        shown(Event("progress", work("a"), {"decision": 1, "decisions": 2, "objective": None}))
        shown(Event("finished", work("a"), {}))
    with LearningProgress(console, "learning", 2) as learning:
        learning.update(1, "half")
    assert "[1/1] a: done" in out.getvalue()
