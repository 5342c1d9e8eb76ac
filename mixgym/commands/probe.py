"""`mixgym probe`; nothing heavy is imported before it runs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich import box
from rich.markup import escape
from rich.table import Table

from mixgym.commands.base import Workers, resumable, say, stderr, stdout
from mixgym.errors import MixgymError

if TYPE_CHECKING:
    from mixgym.compare.plan import Comparison
    from mixgym.compare.probing import ProbeRow


def probe(
    out: Annotated[Path, typer.Argument(help="The --out of a comparison, with its runs.")],
    name: Annotated[
        list[str] | None,
        typer.Option("--probe", metavar="NAME", help="\\[default: mmlu, math, humaneval]. Repeat."),
    ] = None,
    items: Annotated[int, typer.Option("--items", help="Of each probe, at most.")] = 256,
    arm: Annotated[
        list[str] | None,
        typer.Option("--arm", metavar="LABEL", help="Only this arm \\[default: all]. Repeat."),
    ] = None,
    seeds: Annotated[
        int | None, typer.Option("--seeds", help="Of each arm \\[default: all].")
    ] = None,
    workers: Workers = None,
) -> None:
    """Measure the final models of a comparison on benchmark items: probes.csv in OUT, and a table.

    Each run is trained again from its seed and actions, which takes less than the run did, and is
    refused if the training losses are not the stored ones. What is measured is kept: after Ctrl-C
    the same command goes on. The table has every run that was measured on these items, now or
    earlier. Report items only, which no reward and no feedback reads.

    \b
    mixgym probe out
    mixgym probe out --probe mmlu --probe lambada --items 512 --seeds 3
    """
    from mixgym.compare.probe_worker import probe_job
    from mixgym.compare.probing import (
        TABLE,
        ProbeRequest,
        ProbeRow,
        finished_runs,
        probe_rows,
        probed,
    )
    from mixgym.compare.study import read_study
    from mixgym.compare.summary import write_rows
    from mixgym.errors import unknown_name
    from mixgym.experiment.pool import run_pool
    from mixgym.experiment.progress import JobsProgress
    from mixgym.probes import PROBES

    asked = ProbeRequest(tuple(name or ("mmlu", "math", "humaneval")), items)
    for one in asked.probes:
        if one not in PROBES:
            raise unknown_name("probe", one, PROBES)
    if items < 1 or (seeds is not None and seeds < 1):
        raise MixgymError(f"items is {items} and seeds is {seeds}: give at least 1")
    # A first use fetches the items; two workers should not do so at once.
    for one in asked.probes:
        PROBES[one].items("report", limit=1)
    study = read_study(out)
    runs = finished_runs(study, out, arm or (), seeds)
    missing = [run for run in runs if probed(run[2], asked) is None]
    jobs = [probe_job(request, directory, asked) for _, request, directory in missing]
    failures = []
    if jobs:
        shown = JobsProgress(stderr(), len(runs), len(runs) - len(jobs))
        with resumable(out, "what was measured is", flag=""), shown as progress:
            failures = run_pool(jobs, workers, progress)
    rows = probe_rows(finished_runs(study, out), asked)
    write_rows(out / TABLE, rows, ProbeRow)
    console = stdout()
    for comparison in study.comparisons:
        own = [row for row in rows if row.comparison == comparison.name]
        if own:
            console.print(_table(comparison, own, asked.probes))
    say(f"rows: {out / TABLE}")
    if failures:
        told = "\n".join(f"{failure.job.title}: {failure.error.strip()}" for failure in failures)
        raise MixgymError(f"{len(failures)} of {len(runs)} runs could not be probed:\n{told}")


def _table(comparison: Comparison, rows: list[ProbeRow], probes: tuple[str, ...]) -> Table:
    from mixgym.compare.probing import differences

    table = Table(box=box.SIMPLE_HEAD, title=comparison.name, title_justify="left")
    table.add_column("arm")
    for one in probes:
        table.add_column(escape(one), justify="right", no_wrap=True)
        table.add_column(f"minus {escape(comparison.reference)}", justify="right", no_wrap=True)
    for label in comparison.labels:
        cells = []
        for one in probes:
            own = {row.seed: row for row in rows if row.agent == label and row.probe == one}
            if not own:
                continue
            mean = sum(row.bits_per_byte for row in own.values()) / len(own)
            cells += [f"{mean:.4f}", differences(rows, label, comparison.reference, one)]
        if cells:
            table.add_row(escape(label), *cells)
    errors = [
        f"{one} {max(row.bits_per_byte_error for row in rows if row.probe == one):.3f}"
        for one in probes
    ]
    table.caption = (
        "Bits a byte of the right answers, means over seeds; differences are paired by seed, with "
        f"95 % intervals over seeds. Standard errors over items: {', '.join(errors)}."
    )
    table.caption_justify = "left"
    return table
