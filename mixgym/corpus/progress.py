"""Telling what a long build is doing: a bar on a terminal, lines elsewhere, or nothing."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

PATIENCE = 5.0
"""Seconds that work may take before a caller who asked for nothing is told of it."""

INTERVAL = 20.0
"""Seconds between two lines about the same work."""

QUIET = "MIXGYM_QUIET"
"""Environment variable: set, and not to 0, nothing is told that was not asked for."""


class Reporter:
    """Told what is going on; says nothing."""

    def start(self, total: int, what: str) -> None:
        """`total` units of work (0: unknown) begin, described by `what`."""

    def doing(self, what: str) -> None:
        """The work is now at `what`."""

    def advance(self, amount: int = 1) -> None:
        """`amount` units are done."""

    def note(self, text: str) -> None:
        """Something that the user should know."""


class _Bar(Reporter):
    def __init__(self, bar: Any) -> None:
        self._bar = bar
        self._task: Any = None

    def start(self, total: int, what: str) -> None:
        if self._task is not None:
            self._bar.update(self._task, visible=False)
        self._task = self._bar.add_task(what, total=total or None)

    def doing(self, what: str) -> None:
        self._bar.update(self._task, description=what)

    def advance(self, amount: int = 1) -> None:
        self._bar.advance(self._task, amount)

    def note(self, text: str) -> None:
        self._bar.console.print(f"note: {text}", markup=False, highlight=False, soft_wrap=True)


class _Lines(Reporter):
    """Lines on stderr about work that has gone on for `patience` seconds: now and then, and one
    for every further stage.

    A thread of its own waits, because a stage (a download, say) may not say anything by itself.
    """

    def __init__(self, patience: float) -> None:
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._thread: threading.Thread | None = None
        self._what = ""
        self._done = self._total = 0
        self._began = 0.0
        self._due = time.monotonic() + patience
        self._talking = not patience

    def start(self, total: int, what: str) -> None:
        with self._lock:
            self._what, self._done, self._total = what, 0, total
            self._began = time.monotonic()
            if self._talking:
                self._tell()
            if self._thread is None:
                self._thread = threading.Thread(target=self._watch, daemon=True)
                self._thread.start()

    def doing(self, what: str) -> None:
        self._what = what

    def advance(self, amount: int = 1) -> None:
        self._done += amount

    def note(self, text: str) -> None:
        print(f"mixgym: note: {text}", file=sys.stderr, flush=True)

    def close(self) -> None:
        """Say no more."""
        self._over.set()
        if self._thread is not None:
            self._thread.join()

    def _watch(self) -> None:
        while not self._over.wait(max(self._due - time.monotonic(), 0.0)):
            with self._lock:
                if time.monotonic() >= self._due:
                    self._tell()

    def _tell(self) -> None:
        now = time.monotonic()
        self._talking, self._due = True, now + INTERVAL
        count = f", {self._done:,} of {self._total:,}" if self._total and self._done else ""
        seconds = f", {now - self._began:.0f} s" if now - self._began >= 1 else ""
        print(f"mixgym: {self._what}{count}{seconds}", file=sys.stderr, flush=True)


@contextmanager
def reporter(progress: bool | Reporter | None) -> Iterator[Reporter]:
    """A `Reporter` for work that may take long.

    Args:
        progress: True for a bar, or lines on stderr where that is no terminal; False for silence;
            None for lines about what takes longer than 5 seconds, unless `MIXGYM_QUIET` is set. A
            reporter is handed back as it is.
    """
    if isinstance(progress, Reporter):
        yield progress
    elif progress is False or (progress is None and os.environ.get(QUIET, "0") != "0"):
        yield Reporter()
    elif progress and sys.stderr.isatty():
        with _bar() as bar:
            yield _Bar(bar)
    else:
        lines = _Lines(0 if progress else PATIENCE)
        try:
            yield lines
        finally:
            lines.close()


def _bar() -> Any:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed:,.0f}"),
        TimeElapsedColumn(),
    )
    return Progress(*columns, console=Console(stderr=True), transient=True)
