"""Collecting without worker processes, whose start takes longer than the episodes of a test."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any
from unittest.mock import patch

from mixgym.experiment.worker import perform
from mixgym.trajectories import collect
from tests.tiny import TINY


def run_here(jobs: Sequence[Any], workers: int | None, on_event: Any) -> list[Any]:
    """In place of `mixgym.experiment.pool.run_pool`."""
    said: list[dict[str, Any]] = []
    for job in jobs:
        perform(job.message(), said.append)
        assert said[-1]["event"] == "finished", said[-1]
    return []


def collect_here(behaviour: str, episodes: int, out: Path, **arguments: Any) -> Path:
    """`collect` on a tiny NanoPretrain, in this process."""
    with patch("mixgym.trajectories.collect.run_pool", run_here):
        return collect("NanoPretrain-v0", behaviour, episodes, out, env_arguments=TINY, **arguments)
