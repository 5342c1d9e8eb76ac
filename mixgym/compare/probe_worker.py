"""A worker process that probes runs; see `mixgym.experiment.worker` for the protocol."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from mixgym.compare.probing import ProbeRequest
from mixgym.experiment.request import RunRequest
from mixgym.experiment.worker import answer, main


@dataclass(frozen=True, eq=False)
class ProbeJob:
    """A run and what to measure of it, as `mixgym.experiment.pool` takes it."""

    module: ClassVar[str] = "mixgym.compare.probe_worker"
    request: RunRequest
    directory: Path
    asked: ProbeRequest

    @property
    def title(self) -> str:
        """Environment, arm and seed."""
        return self.request.title

    def message(self) -> dict[str, Any]:
        """What the worker is sent."""
        return {"directory": str(self.directory.absolute()), **self.asked.to_json()}


def serve(message: dict[str, Any], send: Callable[[dict[str, Any]], None]) -> None:
    """Probe the run of a message; tell of its start, its decisions and its end."""

    def progress(decision: int, decisions: int, step: int) -> None:
        facts = {"decision": decision, "decisions": decisions, "step": step, "objective": None}
        send({"event": "progress", **facts})

    def run() -> None:
        from mixgym.compare.probing import probe_run

        asked = ProbeRequest(tuple(message["probes"]), message["items"])
        probe_run(Path(message["directory"]), asked, progress)

    answer(send, run)


if __name__ == "__main__":
    main(serve)
