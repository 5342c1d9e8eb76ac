"""Collecting without worker processes, whose start takes longer than the episodes of a test."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any
from unittest.mock import patch

from mixgym.trajectories import collect
from mixgym.trajectories.episode import collect_episode

TINY: dict[str, Any] = {
    "domains": ["recipes", "python", "icd10"],
    "limit": None,
    "decisions": 3,
    "steps_per_decision": 2,
    "evaluation_windows": 2,
    "report_windows": 2,
}


def run_here(jobs: Sequence[Any], workers: int | None, on_event: Any) -> list[Any]:
    """In place of `mixgym.experiment.pool.run_pool`."""
    for job in jobs:
        collect_episode(job.request, job.index, job.path)
    return []


def collect_here(behaviour: str, episodes: int, out: Path, **arguments: Any) -> Path:
    """`collect` on a tiny NanoPretrain, in this process."""
    with patch("mixgym.trajectories.collect.run_pool", run_here):
        return collect("NanoPretrain-v0", behaviour, episodes, out, env_arguments=TINY, **arguments)
