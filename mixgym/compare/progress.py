"""Live progress of a study: a bar with the time left and the last losses, or plain lines."""

from __future__ import annotations

import time
from types import TracebackType

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskID, TextColumn

from mixgym.experiment.pool import Event, Job


class StudyProgress:
    """Shows pool events; a context manager. `done` of `total` runs were finished beforehand."""

    def __init__(self, console: Console, total: int, done: int) -> None:
        self._console = console
        self._total = total
        self._done = done
        self._before = done
        self._fractions: dict[Job, float] = {}
        self._losses: dict[Job, float | None] = {}
        self._tasks: dict[Job, TaskID] = {}
        self._started = time.monotonic()
        self._live: Progress | None = None
        self._overall = TaskID(0)
        if console.is_terminal:
            self._live = Progress(
                TextColumn("{task.description}"),
                BarColumn(bar_width=24),
                TextColumn("{task.fields[status]}"),
                console=console,
                transient=True,
            )
            self._overall = self._live.add_task("runs", total=total, completed=done, status="")

    def __enter__(self) -> StudyProgress:
        self._started = time.monotonic()
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def __call__(self, event: Event) -> None:
        """Take in one event of the pool and show it."""
        job, name = event.job, f"{event.job.request.agent.label} seed {event.job.request.seed}"
        if event.kind == "progress":
            self._fractions[job] = event.data["decision"] / event.data["decisions"]
            self._losses[job] = event.data["objective"]
        elif event.kind == "retried":
            self._fractions.pop(job, None)
            self._print(f"[yellow]{escape(name)}: its worker died, trying once more[/yellow]")
        elif event.kind in ("finished", "failed"):
            self._fractions.pop(job, None)
            self._done += 1
            self._ended(event, name)
        self._show(event, name)

    def _ended(self, event: Event, name: str) -> None:
        count = f"[{self._done}/{self._total}]"
        loss = self._losses.get(event.job)
        text = f"validation objective {loss:.4f} nats/byte" if loss is not None else "done"
        if event.kind == "failed":
            text = "failed"
        where = event.job.request.env.rpartition("/")[2]
        self._print(escape(f"{count} {where} {name}: {text}, {self._times()}"))

    def _print(self, text: str) -> None:
        self._console.print(text, highlight=False, soft_wrap=True)

    def _times(self) -> str:
        elapsed = time.monotonic() - self._started
        worked = self._done - self._before + sum(self._fractions.values())
        left = self._total - self._before - worked
        if worked <= 0:
            return f"{clock(elapsed)} gone"
        return f"{clock(elapsed)} gone, about {clock(elapsed / worked * left)} left"

    def _show(self, event: Event, name: str) -> None:
        if self._live is None:
            return
        self._live.update(
            self._overall,
            completed=self._done + sum(self._fractions.values()),
            status=f"{self._done}/{self._total}, {self._times()}",
        )
        job = event.job
        if event.kind in ("finished", "failed"):
            if job in self._tasks:
                self._live.remove_task(self._tasks.pop(job))
        elif job not in self._tasks:
            self._tasks[job] = self._live.add_task(
                escape(f"  {name}"), total=1.0, status="starting"
            )
        if event.kind == "progress":
            loss = event.data["objective"]
            shown = f", {loss:.4f} nats/byte" if loss is not None else ""
            self._live.update(
                self._tasks[job],
                completed=self._fractions[job],
                status=f"LM step {event.data['step']}{shown}",
            )


def clock(seconds: float) -> str:
    """Seconds as m:ss or h:mm:ss.

    >>> clock(61.4), clock(3700)
    ('1:01', '1:01:40')
    """
    whole = round(seconds)
    hours, rest = divmod(whole, 3600)
    minutes, rest = divmod(rest, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
