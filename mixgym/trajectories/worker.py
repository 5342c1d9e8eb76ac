"""Logging episodes in worker processes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mixgym.experiment.pool import Job
from mixgym.experiment.worker import Tell
from mixgym.trajectories.request import CollectionRequest


def episode_job(request: CollectionRequest, index: int, path: Path) -> Job:
    """Return the job of logging episode `index` of a collection to the file `path`."""
    arguments = {"request": request.to_json(), "index": index, "path": str(path.absolute())}
    return Job(f"Episode {index}", f"{__name__}:log", arguments)


def log(tell: Tell, request: dict[str, Any], index: int, path: str) -> None:
    """Do it, in the worker."""
    from mixgym.trajectories.episode import collect_episode

    def progress(decision: int, decisions: int) -> None:
        tell({"decision": decision, "decisions": decisions})

    collect_episode(CollectionRequest.from_json(request), index, Path(path), progress)
