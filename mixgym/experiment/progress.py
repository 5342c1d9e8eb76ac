"""Progress of long jobs: live bars in a terminal, elsewhere a plain line now and then."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import TracebackType

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskID, TextColumn

from mixgym.experiment.pool import Event, Job

#: Seconds between two lines where there is no terminal.
INTERVAL = 30.0


class JobsProgress:
    """Shows the events of a pool of jobs; a context manager.

    Every finished job is a line with its last loss, if it told one, and the time left. Between
    them a terminal has bars, and anything else a line each `INTERVAL` seconds.

    Args:
        console: where it goes.
        total: number of jobs.
        done: how many of them were finished beforehand; events of kind `kept` add to them.
        noun: what the jobs are together.
        each: whether every finished job is a line of its own, and has a bar.
    """

    def __init__(
        self, console: Console, total: int, done: int = 0, noun: str = "runs", each: bool = True
    ) -> None:
        self._each = each
        self._console = console
        self._noun = noun
        self._total = total
        self._done = done
        self._before = done
        self._fractions: dict[Job, float] = {}
        self._losses: dict[Job, float | None] = {}
        self._tasks: dict[Job, TaskID] = {}
        self._started = time.monotonic()
        self._lines = Lines(console)
        self._live: Progress | None = None
        self._overall = TaskID(0)
        if console.is_terminal:
            self._live = _bars(console)
            self._overall = self._live.add_task(noun, total=total, completed=done, status="")

    def __enter__(self) -> JobsProgress:
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
        job = event.job
        if event.kind == "kept":
            self._done += 1
            self._before += 1
        elif event.kind == "progress":
            self._fractions[job] = event.data["decision"] / event.data["decisions"]
            self._losses[job] = event.data.get("objective")
        elif event.kind == "retried":
            self._fractions.pop(job, None)
            self._print(f"[yellow]{escape(job.title)}: its worker died, trying once more[/yellow]")
        elif event.kind in ("finished", "failed"):
            self._fractions.pop(job, None)
            self._done += 1
            self._ended(event)
        if self._live is None:
            self._lines.offer(self._line)
        else:
            self._show(event, self._live)

    def _ended(self, event: Event) -> None:
        if not self._each and event.kind == "finished":
            return
        loss = self._losses.get(event.job)
        text = f"validation objective {loss:.4f} nats/byte" if loss is not None else "done"
        if event.kind == "failed":
            text = "failed"
        self._print(
            escape(f"[{self._done}/{self._total}] {event.job.title}: {text}, {self._times()}")
        )
        self._lines.printed()

    def _print(self, text: str) -> None:
        self._console.print(text, highlight=False, soft_wrap=True)

    def _line(self) -> str:
        running = ", ".join(f"{job.title} {x:.0%}" for job, x in self._fractions.items())
        return f"{self._noun}: {self._done}/{self._total}, {self._times()}; {running or 'starting'}"

    def _times(self) -> str:
        elapsed = time.monotonic() - self._started
        worked = self._done - self._before + sum(self._fractions.values())
        left = self._total - self._before - worked
        if worked <= 0:
            return f"{clock(elapsed)} gone"
        return f"{clock(elapsed)} gone, about {clock(elapsed / worked * left)} left"

    def _show(self, event: Event, live: Progress) -> None:
        live.update(
            self._overall,
            completed=self._done + sum(self._fractions.values()),
            status=f"{self._done}/{self._total}, {self._times()}",
        )
        job = event.job
        if not self._each:
            return
        if event.kind in ("finished", "failed"):
            if job in self._tasks:
                live.remove_task(self._tasks.pop(job))
        elif job not in self._tasks:
            title = escape(f"  {job.title}")
            self._tasks[job] = live.add_task(title, total=1.0, status="starting")
        if event.kind == "progress":
            loss, step = event.data.get("objective"), event.data.get("step")
            shown = [] if step is None else [f"LM step {step}"]
            shown += [] if loss is None else [f"{loss:.4f} nats/byte"]
            live.update(self._tasks[job], completed=self._fractions[job], status=", ".join(shown))


class LearningProgress:
    """Shows one long job that goes on by itself; a context manager.

    Args:
        console: where it goes: a bar in a terminal, elsewhere a line each `INTERVAL` seconds.
        what: the job.
        total: what it amounts to, in units of the caller's.
    """

    def __init__(self, console: Console, what: str, total: float) -> None:
        self._what, self._total = what, total
        self._lines = Lines(console)
        self._bar = _bars(console)
        self._task = self._bar.add_task(what, total=total, status="")
        self._terminal = console.is_terminal
        self._first: tuple[float, float] | None = None

    def __enter__(self) -> LearningProgress:
        self._bar.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._bar.stop()

    def update(self, completed: float, status: str) -> None:
        """Show how much of the total is done, and what there is to say of it."""
        now = time.monotonic()
        if self._first is None:  # a resumed job does not begin at nothing
            self._first = (now, completed)
        started, before = self._first
        text = f"{status}, {clock(now - started)} gone"
        if completed > before:
            left = (now - started) / (completed - before) * (self._total - completed)
            text += f", about {clock(left)} left"
        self._bar.update(self._task, completed=completed, status=text)
        if not self._terminal:
            self._lines.offer(lambda: f"{self._what} {completed / self._total:.0%}: {text}")


def _bars(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        TextColumn("{task.fields[status]}"),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )


class Lines:
    """Prints a line at most every `INTERVAL` seconds, the first one after that time."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._last = time.monotonic()

    def offer(self, line: Callable[[], str]) -> None:
        """Print what `line` returns if it is time."""
        if time.monotonic() - self._last >= INTERVAL:
            self._console.print(line(), highlight=False, soft_wrap=True, markup=False)
            self.printed()

    def printed(self) -> None:
        """Note that something was printed: the next line is due from now on."""
        self._last = time.monotonic()


def clock(seconds: float) -> str:
    """Seconds as m:ss or h:mm:ss.

    >>> clock(61.4), clock(3700)
    ('1:01', '1:01:40')
    """
    whole = round(seconds)
    hours, rest = divmod(whole, 3600)
    minutes, rest = divmod(rest, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
