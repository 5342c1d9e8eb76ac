"""Probing runs in worker processes."""

from __future__ import annotations

from pathlib import Path

from mixgym.compare.probing import ProbeRequest, probe_run
from mixgym.experiment.pool import Job
from mixgym.experiment.request import RunRequest
from mixgym.experiment.worker import Tell


def probe_job(request: RunRequest, directory: Path, asked: ProbeRequest) -> Job:
    """Return the job of probing the finished run of `request` in `directory`."""
    arguments = {"directory": str(directory.absolute()), **asked.to_json()}
    return Job(request.title, f"{__name__}:probe", arguments)


def probe(tell: Tell, directory: str, probes: list[str], items: int) -> None:
    """Do it, in the worker."""

    def progress(decision: int, decisions: int, step: int) -> None:
        tell({"decision": decision, "decisions": decisions, "step": step, "objective": None})

    probe_run(Path(directory), ProbeRequest(tuple(probes), items), progress)
