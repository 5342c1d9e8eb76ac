"""A worker process that logs episodes; see `mixgym.compare.worker` for the protocol."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from mixgym.compare.worker import main
from mixgym.trajectories.request import CollectionRequest


@dataclass(frozen=True, eq=False)
class EpisodeJob:
    """An episode of a collection and the file it goes to, as `mixgym.compare.pool` takes it."""

    module: ClassVar[str] = "mixgym.trajectories.worker"
    request: CollectionRequest
    index: int
    path: Path

    def message(self) -> dict[str, Any]:
        """What the worker is sent."""
        return {
            "request": self.request.to_json(),
            "index": self.index,
            "path": str(self.path.absolute()),
        }


def serve(message: dict[str, Any], send: Callable[[dict[str, Any]], None]) -> None:
    """Log the episode of a message; tell of its start, its decisions and its end."""
    from mixgym.errors import MixgymError
    from mixgym.trajectories.episode import collect_episode

    def progress(decision: int, decisions: int) -> None:
        send({"event": "progress", "decision": decision, "decisions": decisions})

    try:
        send({"event": "started"})
        request = CollectionRequest.from_json(message["request"])
        collect_episode(request, message["index"], Path(message["path"]), progress)
    except BrokenPipeError:
        raise
    except Exception as error:
        text = str(error) if isinstance(error, MixgymError) else traceback.format_exc()
        send({"event": "failed", "error": text})
    else:
        send({"event": "finished"})


if __name__ == "__main__":
    main(serve)
