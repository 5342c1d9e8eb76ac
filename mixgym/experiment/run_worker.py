"""Executing runs in worker processes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mixgym.experiment.pool import Job
from mixgym.experiment.request import RunRequest
from mixgym.experiment.worker import Tell


def run_job(request: RunRequest, directory: Path, timing_steps: int) -> Job:
    """Return the job of a run, given its folder and how many bare steps to time."""
    folder = str(directory.absolute())
    arguments = {"request": request.to_json(), "directory": folder, "timing_steps": timing_steps}
    return Job(request.title, f"{__name__}:execute", arguments)


def execute(tell: Tell, request: dict[str, Any], directory: str, timing_steps: int) -> None:
    """Do it, in the worker (see `mixgym.experiment.run.execute_run`)."""
    from mixgym.experiment.run import execute_run

    execute_run(RunRequest.from_json(request), Path(directory), tell, timing_steps)
