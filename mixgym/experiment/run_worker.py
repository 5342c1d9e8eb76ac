"""A worker process that executes runs; see `mixgym.experiment.worker` for the protocol."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from mixgym.experiment.request import RunRequest
from mixgym.experiment.worker import answer, main


@dataclass(frozen=True, eq=False)
class RunJob:
    """A run, the folder it goes to, and how many bare steps to time (see `execute_run`)."""

    module: ClassVar[str] = "mixgym.experiment.run_worker"
    request: RunRequest
    directory: Path
    timing_steps: int

    @property
    def title(self) -> str:
        """Environment, arm and seed."""
        return self.request.title

    def message(self) -> dict[str, Any]:
        """What the worker is sent."""
        return {
            "request": self.request.to_json(),
            "directory": str(self.directory.absolute()),
            "timing_steps": self.timing_steps,
        }


def serve(message: dict[str, Any], send: Callable[[dict[str, Any]], None]) -> None:
    """Execute the run of a message; tell of its start, its decisions and its end."""

    def run() -> None:
        from mixgym.experiment.run import execute_run

        execute_run(
            RunRequest.from_json(message["request"]),
            Path(message["directory"]),
            lambda progress: send({"event": "progress", **progress}),
            message["timing_steps"],
        )

    answer(send, run)


if __name__ == "__main__":
    main(serve)
