"""Worker processes that do jobs side by side, one thread each.

Workers stay for many jobs, so that torch is imported once. They are processes of their own with
an environment of their own: single-threaded numerics, and an allocator that keeps freed memory
instead of handing it back and faulting it in again for every activation (10-15 % faster steps).
The parent's environment is never touched.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import subprocess
import sys
import tempfile
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import IO, Any

from mixgym.errors import MixgymError

ATTEMPTS = 2
_STDERR_TAIL = 2000
#: What worker processes are started with: one thread, and an allocator that keeps its memory
#: instead of faulting the pages of every activation in again (10-15 % of a small model's step).
WORKER_ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "PYTHONUNBUFFERED": "1",
    "MALLOC_MMAP_THRESHOLD_": str(1 << 30),
    "MALLOC_TRIM_THRESHOLD_": str(1 << 32),
    "MALLOC_TOP_PAD_": str(1 << 26),
}


@dataclass(frozen=True, eq=False)
class Job:
    """What a worker process is given to do.

    Attributes:
        title: what progress calls it.
        function: `MODULE:NAME` of what is called there, with a
            `mixgym.experiment.worker.Tell` and the arguments.
        arguments: by name, JSON-plain.
    """

    title: str
    function: str
    arguments: dict[str, Any]

    def message(self) -> dict[str, Any]:
        """What the worker is sent."""
        return {"function": self.function, "arguments": self.arguments}


@dataclass(frozen=True)
class Event:
    """What happened to a job: kind is started, progress, finished, retried or failed.

    A job that was finished before, and is not done again, may be told of as kept.
    """

    kind: str
    job: Job
    data: dict[str, Any]


@dataclass(frozen=True)
class Failure:
    """A job that did not finish, and why."""

    job: Job
    error: str


def available_cpus() -> int:
    """CPUs this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def check_workers(workers: int | None) -> None:
    """Raise `MixgymError` for a number of workers below one."""
    if workers is not None and workers < 1:
        raise MixgymError(f"workers is {workers}: give at least 1, or leave it out for one a CPU")


def run_pool(
    jobs: Sequence[Job], workers: int | None, on_event: Callable[[Event], None]
) -> list[Failure]:
    """Execute `jobs` in order on `workers` processes (default: a CPU each, at most one a job).

    An exception in a job is reported at once (it would happen again); a worker
    that dies is replaced and its job tried once more. Returns the failures. However this ends,
    Ctrl-C included, no worker outlives it; finished jobs stay.
    """
    check_workers(workers)
    count = min(workers or available_cpus(), len(jobs))
    waiting = deque((job, 1) for job in jobs)
    events: queue.Queue[tuple[_Worker, dict[str, Any] | None]] = queue.Queue()
    failures: list[Failure] = []
    busy: dict[_Worker, tuple[Job, int]] = {}
    everyone: list[_Worker] = []

    def assign(worker: _Worker) -> None:
        if waiting:
            job, attempt = waiting.popleft()
            busy[worker] = (job, attempt)
            worker.send(job)

    def start() -> None:
        worker = _Worker(events)
        everyone.append(worker)
        assign(worker)

    def fail(job: Job, error: str) -> None:
        failures.append(Failure(job, error))
        on_event(Event("failed", job, {"error": error}))

    try:
        for _ in range(count):
            start()
        while busy:
            worker, message = events.get()
            if worker not in busy:
                continue
            job, attempt = busy[worker]
            if message is None:
                del busy[worker]
                if attempt < ATTEMPTS:
                    waiting.appendleft((job, attempt + 1))
                    on_event(Event("retried", job, {"error": worker.last_words()}))
                else:
                    fail(job, f"its worker process died {ATTEMPTS} times. {worker.last_words()}")
                if waiting:
                    start()
                continue
            kind = message["event"]
            if kind in ("finished", "failed"):
                del busy[worker]
            if kind == "failed":
                fail(job, message["error"])
            else:
                on_event(Event(kind, job, message))
            if worker not in busy:
                assign(worker)
    finally:
        for worker in everyone:
            worker.stop()
    return failures


class _Worker:
    """One subprocess, its pipes, and a thread that forwards its answers to `events`."""

    def __init__(self, events: queue.Queue[tuple[_Worker, dict[str, Any] | None]]) -> None:
        self._stderr: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 (closed by stop)
        self._process = subprocess.Popen(
            # -P: an agents/ or yaml.py lying in the current folder must not shadow the installed.
            [sys.executable, "-P", "-m", "mixgym.experiment.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._stderr,
            text=True,
            encoding="utf-8",
            env=_environment(),
            # Ctrl-C in the terminal is for the parent, which then stops its workers.
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._forward, args=(events,), daemon=True)
        self._reader.start()

    def send(self, job: Job) -> None:
        """Hand over a job; a dead worker is noticed by the reader, not here."""
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(json.dumps(job.message()) + "\n")
            self._process.stdin.flush()

    def _forward(self, events: queue.Queue[tuple[_Worker, dict[str, Any] | None]]) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as lines:
            for line in lines:
                try:
                    events.put((self, json.loads(line)))
                except ValueError:  # cut short by the worker's death
                    break
        events.put((self, None))

    def last_words(self) -> str:
        """Exit status and the end of what the process wrote to stderr."""
        try:
            status = self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            status = "unknown"
        size = self._stderr.seek(0, os.SEEK_END)
        self._stderr.seek(max(0, size - _STDERR_TAIL))
        tail = self._stderr.read().decode("utf-8", "replace").strip()
        return f"Exit status {status}; the end of its stderr:\n{tail or '(empty)'}"

    def stop(self) -> None:
        """End the process, kindly first, and release its pipes."""
        self._process.terminate()
        try:
            self._process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._reader.join(timeout=5)
        with contextlib.suppress(OSError):
            if self._process.stdin is not None:
                self._process.stdin.close()
        self._stderr.close()


def _environment() -> dict[str, str]:
    path = os.pathsep.join(os.path.abspath(entry) for entry in sys.path)
    return {**os.environ, "PYTHONPATH": path, **WORKER_ENVIRONMENT}
