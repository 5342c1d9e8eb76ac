"""A worker process that logs episodes; see `mixgym.experiment.worker` for the protocol."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from mixgym.experiment.worker import answer, main
from mixgym.trajectories.request import CollectionRequest


@dataclass(frozen=True, eq=False)
class EpisodeJob:
    """An episode of a collection and the file it goes to, as `mixgym.experiment.pool` takes it."""

    module: ClassVar[str] = "mixgym.trajectories.worker"
    request: CollectionRequest
    index: int
    path: Path

    @property
    def title(self) -> str:
        """Its number."""
        return f"Episode {self.index}"

    def message(self) -> dict[str, Any]:
        """What the worker is sent."""
        return {
            "request": self.request.to_json(),
            "index": self.index,
            "path": str(self.path.absolute()),
        }


def serve(message: dict[str, Any], send: Callable[[dict[str, Any]], None]) -> None:
    """Log the episode of a message; tell of its start, its decisions and its end."""

    def progress(decision: int, decisions: int) -> None:
        send({"event": "progress", "decision": decision, "decisions": decisions})

    def run() -> None:
        from mixgym.trajectories.episode import collect_episode

        request = CollectionRequest.from_json(message["request"])
        collect_episode(request, message["index"], Path(message["path"]), progress)

    answer(send, run)


if __name__ == "__main__":
    main(serve)
