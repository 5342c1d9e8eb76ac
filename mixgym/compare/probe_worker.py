"""A worker process that probes runs; see `mixgym.compare.worker` for the protocol."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from mixgym.compare.probing import ProbeRequest
from mixgym.compare.request import RunRequest
from mixgym.compare.worker import main


@dataclass(frozen=True, eq=False)
class ProbeJob:
    """A run and what to measure of it, as `mixgym.compare.pool` takes it."""

    module: ClassVar[str] = "mixgym.compare.probe_worker"
    request: RunRequest
    directory: Path
    asked: ProbeRequest

    def message(self) -> dict[str, Any]:
        """What the worker is sent."""
        return {"directory": str(self.directory.absolute()), **self.asked.to_json()}


def serve(message: dict[str, Any], send: Callable[[dict[str, Any]], None]) -> None:
    """Probe the run of a message; tell of its start, its decisions and its end."""
    from mixgym.compare.probing import probe_run
    from mixgym.errors import MixgymError

    def progress(decision: int, decisions: int, step: int) -> None:
        send(
            {
                "event": "progress",
                "decision": decision,
                "decisions": decisions,
                "step": step,
                "objective": None,
            }
        )

    try:
        send({"event": "started"})
        asked = ProbeRequest(tuple(message["probes"]), message["items"])
        probe_run(Path(message["directory"]), asked, progress)
    except BrokenPipeError:
        raise
    except Exception as error:
        text = str(error) if isinstance(error, MixgymError) else traceback.format_exc()
        send({"event": "failed", "error": text})
    else:
        send({"event": "finished"})


if __name__ == "__main__":
    main(serve)
