"""reported.csv: what environments report of a run beyond losses, such as retention and gain."""

from __future__ import annotations

import html
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich import box
from rich.markup import escape
from rich.table import Table

from mixgym.compare.plan import Comparison, Study
from mixgym.compare.statistics import mean_interval, paired_differences
from mixgym.experiment.runfolder import is_finished, read_result

REPORTED = "reported.csv"

#: Quantities of continual pretraining: the feedback of both fields, and their sum.
BALANCE = ("feedback.source", "feedback.target")
OVERALL = "overall"


@dataclass(frozen=True)
class ReportedRow:
    """One number of one run's report; `quantity` is its path of keys, as in `feedback.source`."""

    comparison: str
    agent: str
    seed: int
    quantity: str
    value: float


def collect_reported(study: Study, out: Path) -> list[ReportedRow]:
    """Gather what the finished runs under `out` reported; of most environments nothing.

    NaN for a diverged run: what its weights measure means nothing, however finite it is.
    """
    rows = []
    for comparison, request in study.requests():
        label, seed = request.agent.label, request.seed
        directory = out / study.run_directory(comparison, label, seed)
        if is_finished(directory):
            result = read_result(directory)
            for quantity, value in _numbers(result.get("report", {})):
                known = math.nan if result.get("diverged") else value
                rows.append(ReportedRow(comparison.name, label, seed, quantity, known))
    return rows


def _numbers(report: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, float]]:
    for key, value in report.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping):
            yield from _numbers(value, f"{name}.")
        elif value is None or (isinstance(value, int | float) and not isinstance(value, bool)):
            yield name, math.nan if value is None else float(value)


def quantities(rows: Sequence[ReportedRow]) -> list[str]:
    """Names of what tables show: all but single probes, which have columns of their own."""
    return list(dict.fromkeys(r.quantity for r in rows if not r.quantity.startswith("probes.")))


def reported_cells(
    rows: Sequence[ReportedRow], arm: str, reference: str, quantity: str
) -> tuple[str, str]:
    """Return an arm's mean of a quantity, and its paired difference to the reference's.

    The difference is "-" for the reference itself and for fewer than two seeds in common.
    """
    values = {
        label: {
            r.seed: r.value
            for r in rows
            if r.agent == label and r.quantity == quantity and math.isfinite(r.value)
        }
        for label in (arm, reference)
    }
    own, other = values[arm], values[reference]
    if not own:
        return "n/a", "-"
    mean = sum(own.values()) / len(own)
    count = max(map(abs, (*own.values(), *other.values()))) >= 1e5
    unit, scale, digits = (" M", 1e6, 2) if count else ("", 1.0, 4)
    shown = f"{mean / scale:.{digits}f}{unit}"
    seeds = sorted(own.keys() & other.keys())
    if arm == reference or len(seeds) < 2:
        return shown, "-"
    interval = mean_interval(paired_differences([own[s] for s in seeds], [other[s] for s in seeds]))
    half = (interval.high - interval.low) / 2
    return shown, f"{interval.mean / scale:+.{digits}f} ± {half / scale:.{digits}f}{unit}"


def reported_tables(comparison: Comparison, rows: Sequence[ReportedRow], width: int) -> list[Table]:
    """Tables for a terminal of `width` characters, each of the quantities that fit beside the arms.

    Means, and differences under them; none if nothing was reported.
    """
    found = _cells(comparison, rows)
    if found is None:
        return []
    names, arms = found
    tables = []
    for columns in _fitting(names, arms, width):
        part = Table(box=box.SIMPLE_HEAD, padding=(0, 1))
        part.add_column("agent", no_wrap=True)
        for column in columns:
            part.add_column(escape(names[column]), justify="right", no_wrap=True)
        for label, cells in arms.items():
            pairs = (cells[column] for column in columns)
            part.add_row(escape(label), *(f"{mean}\n[dim]{minus}[/dim]" for mean, minus in pairs))
        tables.append(part)
    tables[-1].caption = _caption(comparison)
    tables[-1].caption_justify = "left"
    return tables


def _fitting(
    names: Sequence[str], arms: dict[str, list[tuple[str, str]]], width: int
) -> list[list[int]]:
    """Split the columns into groups that fit beside the arms' labels, at least one in each."""
    first = max(map(len, ("agent", *arms))) + 4  # padding, and the box's edges
    groups: list[list[int]] = []
    room = 0
    for column, name in enumerate(names):
        needed = max(len(name), *(len(t) for cells in arms.values() for t in cells[column])) + 3
        if needed > room or not groups:
            groups.append([])
            room = width - first
        groups[-1].append(column)
        room -= needed
    return groups


def reported_html(comparison: Comparison, rows: Sequence[ReportedRow]) -> str:
    """The same as HTML, classes only; empty if there is nothing."""
    found = _cells(comparison, rows)
    if found is None:
        return ""
    names, arms = found
    head = "".join(f"<th scope='col'>{html.escape(name)}</th>" for name in ("agent", *names))
    body = []
    for label, cells in arms.items():
        texts = "".join(
            f"<td>{html.escape(mean)}<small>{html.escape(difference)}</small></td>"
            for mean, difference in cells
        )
        kind = "reference" if label == comparison.reference else ""
        body.append(f"<tr class='{kind}'><td>{html.escape(label)}</td>{texts}</tr>")
    return (
        f"<div class='scroll'><table><thead><tr>{head}</tr></thead>"
        f"<tbody>{''.join(body)}</tbody></table></div>"
        f"<p class='caption'>{html.escape(_caption(comparison))}</p>"
    )


def _caption(comparison: Comparison) -> str:
    return f"Reported by the environment; under it minus {comparison.reference}'s, paired."


def _cells(
    comparison: Comparison, rows: Sequence[ReportedRow]
) -> tuple[list[str], dict[str, list[tuple[str, str]]]] | None:
    own = [row for row in rows if row.comparison == comparison.name]
    names = quantities(own)
    if not names:
        return None
    present = {row.agent for row in own}
    return names, {
        label: [reported_cells(own, label, comparison.reference, name) for name in names]
        for label in comparison.labels
        if label in present
    }
