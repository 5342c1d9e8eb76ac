"""A worker process: takes requests as JSON lines on stdin, answers events on stdout.

Started by `mixgym.experiment.pool` as `python -m MODULE`, where the module of a kind of job calls
`main`. It leaves at once when stdin ends, which is how it learns that its parent is gone, even if
that was killed.
"""

from __future__ import annotations

import json
import os
import queue
import sys
import threading
import traceback
from collections.abc import Callable
from typing import Any

Serve = Callable[[dict[str, Any], Callable[[dict[str, Any]], None]], None]


def main(serve: Serve) -> None:
    """Serve requests until stdin ends; `serve(message, send)` answers one."""
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
            serve(message, send)
        except BrokenPipeError:
            os._exit(1)


def _read(requests: queue.SimpleQueue[dict[str, Any]]) -> None:
    for line in sys.stdin:
        requests.put(json.loads(line))
    os._exit(0)


def answer(send: Callable[[dict[str, Any]], None], work: Callable[[], object]) -> None:
    """Do `work` and tell of its start and its end: finished, or failed and why.

    An error of the user's making is told by its message, any other by its traceback.
    """
    from mixgym.errors import MixgymError

    try:
        send({"event": "started"})
        work()
    except BrokenPipeError:
        raise
    except Exception as error:
        text = str(error) if isinstance(error, MixgymError) else traceback.format_exc()
        send({"event": "failed", "error": text})
    else:
        send({"event": "finished"})
