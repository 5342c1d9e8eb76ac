"""Progress of a long build, shown with rich or not at all."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


class Reporter:
    """Told what is going on; says nothing."""

    def start(self, total: int, what: str) -> None:
        """`total` units of work (0: unknown) begin, described by `what`."""

    def doing(self, what: str) -> None:
        """The work is now at `what`."""

    def advance(self, amount: int = 1) -> None:
        """`amount` units are done."""


class _RichReporter(Reporter):
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


@contextmanager
def reporter(progress: bool) -> Iterator[Reporter]:
    """A `Reporter` that draws a progress bar on the terminal if `progress`."""
    if not progress:
        yield Reporter()
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed:,.0f}"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        yield _RichReporter(bar)
