"""A worker process: takes jobs as JSON lines on stdin, answers events on stdout.

Started by `mixgym.experiment.pool` as `python -m mixgym.experiment.worker`. It leaves at once when
stdin ends, which is how it learns that its parent is gone, even if that was killed.
"""

from __future__ import annotations

import importlib
import json
import os
import queue
import sys
import threading
import traceback
from collections.abc import Callable
from typing import Any

#: How a job tells of a decision: its number, the number of all, and what else there is to show.
Tell = Callable[[dict[str, Any]], None]


def main() -> None:
    """Do jobs until stdin ends."""
    # The protocol owns the real stdout; whatever a library or an agent prints, in Python or in C,
    # goes to stderr instead.
    channel = os.fdopen(os.dup(1), "w", encoding="utf-8", buffering=1)
    os.dup2(2, 1)
    sys.stdout = sys.stderr

    def send(event: dict[str, Any]) -> None:
        channel.write(json.dumps(event) + "\n")
        channel.flush()

    requests: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
    threading.Thread(target=_read, args=(requests,), daemon=True).start()
    while True:
        message = requests.get()
        try:
            perform(message, send)
        except BrokenPipeError:
            os._exit(1)


def _read(requests: queue.SimpleQueue[dict[str, Any]]) -> None:
    for line in sys.stdin:
        requests.put(json.loads(line))
    os._exit(0)


def perform(message: dict[str, Any], send: Callable[[dict[str, Any]], None]) -> None:
    """Do the job of `message` (see `Job.message`); tell of its start, its decisions and its end.

    An error of the user's making is told by its message, any other by its traceback.
    """
    from mixgym.errors import MixgymError

    try:
        send({"event": "started"})
        module, function = message["function"].split(":")
        work = getattr(importlib.import_module(module), function)
        work(lambda facts: send({"event": "progress", **facts}), **message["arguments"])
    except BrokenPipeError:
        raise
    except Exception as error:
        text = str(error) if isinstance(error, MixgymError) else traceback.format_exc()
        send({"event": "failed", "error": text})
    else:
        send({"event": "finished"})


if __name__ == "__main__":
    main()
