"""Paired comparisons of agents: runs, statistics, tables, report.

The package can be called: `mixgym.compare(...)` is `mixgym.compare.study.compare(...)`.
"""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mixgym.compare.evaluate import evaluate_policy
    from mixgym.compare.plan import Comparison, Study, read_suite
    from mixgym.compare.study import StudyResult, compare, redraw, run_study
    from mixgym.experiment.replay import Replay, replay_run
    from mixgym.experiment.request import AgentSpec, RunRequest

__all__ = [
    "AgentSpec",
    "Comparison",
    "Replay",
    "RunRequest",
    "Study",
    "StudyResult",
    "compare",
    "evaluate_policy",
    "read_suite",
    "redraw",
    "replay_run",
    "run_study",
]

_HOMES = {
    "AgentSpec": "mixgym.experiment.request",
    "RunRequest": "mixgym.experiment.request",
    "Replay": "mixgym.experiment.replay",
    "replay_run": "mixgym.experiment.replay",
    "Comparison": "mixgym.compare.plan",
    "Study": "mixgym.compare.plan",
    "read_suite": "mixgym.compare.plan",
    "StudyResult": "mixgym.compare.study",
    "compare": "mixgym.compare.study",
    "evaluate_policy": "mixgym.compare.evaluate",
    "redraw": "mixgym.compare.study",
    "run_study": "mixgym.compare.study",
}


def __getattr__(name: str) -> Any:
    """Load the parts when they are asked for, so that a worker or `--help` loads only its own."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


class _CallablePackage(ModuleType):
    """Importing a subpackage binds its name in the parent, over any function of that name."""

    def __call__(self, *args: Any, **kwargs: Any) -> StudyResult:
        from mixgym.compare.study import compare

        return compare(*args, **kwargs)


sys.modules[__name__].__class__ = _CallablePackage
