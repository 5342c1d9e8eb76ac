"""Worker processes that are timed together."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence


def crew_seconds(program: str, crews: Iterable[Sequence[str]]) -> float:
    """Return the seconds in which processes do their work side by side, one thread each.

    Args:
        program: Python source that prints `ready`, waits for a line on stdin, works, and prints
            `done`.
        crews: each process's arguments.
    """
    from mixgym.experiment.pool import WORKER_ENVIRONMENT

    running = [
        subprocess.Popen(
            [sys.executable, "-c", program, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **WORKER_ENVIRONMENT},
        )
        for arguments in crews
    ]
    for worker in running:
        assert worker.stdout is not None and worker.stdout.readline().strip() == "ready"
    start = time.perf_counter()
    for worker in running:
        assert worker.stdin is not None
        worker.stdin.write("go\n")
        worker.stdin.flush()
    for worker in running:
        assert worker.stdout is not None and worker.stdout.readline().strip() == "done"
    seconds = time.perf_counter() - start
    for worker in running:
        worker.communicate()
    return seconds
