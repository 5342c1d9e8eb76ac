"""Paired comparisons of agents: runs, statistics, tables, report."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mixgym.compare.plan import Comparison, Study, read_suite
    from mixgym.compare.replay import Replay, replay_run
    from mixgym.compare.study import StudyResult, compare, redraw, run_study
    from mixgym.experiment.request import AgentSpec, RunRequest

__all__ = [
    "AgentSpec",
    "Comparison",
    "Replay",
    "RunRequest",
    "Study",
    "StudyResult",
    "compare",
    "read_suite",
    "redraw",
    "replay_run",
    "run_study",
]

_HOME = {
    "AgentSpec": "request",
    "RunRequest": "request",
    "Replay": "replay",
    "replay_run": "replay",
    "Comparison": "plan",
    "Study": "plan",
    "read_suite": "plan",
    "StudyResult": "study",
    "compare": "study",
    "redraw": "study",
    "run_study": "study",
}


def __getattr__(name: str) -> Any:
    """Load the parts when they are asked for, so that a worker or `--help` loads only its own."""
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
