"""The table of a comparison: arms in rows, means over seeds with 95 % intervals."""

from __future__ import annotations

import html
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from rich import box
from rich.markup import escape
from rich.table import Table

from mixgym.compare.plan import Comparison
from mixgym.compare.statistics import (
    SMOKE_BELOW,
    Interval,
    mean_interval,
    paired_differences,
    percent_fewer_steps,
)
from mixgym.compare.summary import SummaryRow

HEADINGS = (
    "agent",
    "bits/byte",
    "perplexity",
    "worst domain",
    "vs reference",
    "fewer steps",
    "ms/step",
    "overhead",
    "LM tokens",
)


_WIDE = 118


@dataclass(frozen=True)
class Arm:
    """One arm over its seeds. Losses and differences are bits a byte on the test split.

    `difference` is this arm minus the reference, seed by seed (negative is better); `fewer` the
    percentage of LM steps saved to reach the reference's final validation loss, over the
    `reached` of `paired` seeds that did reach it. Both are None for the reference itself.
    """

    label: str
    reference: bool
    seeds: int
    diverged: int
    loss: Interval
    perplexity: Interval
    worst: Interval
    worst_domain: str
    difference: Interval | None
    fewer: Interval | None
    reached: int
    paired: int
    ms_per_step: float
    overhead: float
    train_tokens: float
    lm_tokens: float


def arms(comparison: Comparison, rows: Sequence[SummaryRow]) -> list[Arm]:
    """Aggregate a comparison's rows by arm, in the comparison's order; empty arms left out."""
    own = [row for row in rows if row.comparison == comparison.name]
    by_label = {
        label: {row.seed: row for row in own if row.agent == label} for label in comparison.labels
    }
    reference = by_label[comparison.reference]
    return [
        _arm(label, label == comparison.reference, runs, reference)
        for label, runs in by_label.items()
        if runs
    ]


def _arm(
    label: str,
    is_reference: bool,
    runs: dict[int, SummaryRow],
    reference: dict[int, SummaryRow],
) -> Arm:
    rows = list(runs.values())
    shared = sorted(runs.keys() & reference.keys())
    pairs = [(runs[seed], reference[seed]) for seed in shared]
    difference = fewer = None
    if not is_reference:
        difference = mean_interval(
            paired_differences(
                [a.bits_per_byte for a, _ in pairs], [b.bits_per_byte for _, b in pairs]
            )
        )
        fewer = mean_interval(
            percent_fewer_steps(
                [a.steps_to_target for a, _ in pairs], [b.steps_to_target for _, b in pairs]
            )
        )
    domains = Counter(row.worst_domain for row in rows)
    return Arm(
        label=label,
        reference=is_reference,
        seeds=len(rows),
        diverged=sum(row.diverged for row in rows),
        loss=mean_interval([row.bits_per_byte for row in rows]),
        perplexity=mean_interval([row.perplexity for row in rows]),
        worst=mean_interval([row.worst_bits_per_byte for row in rows]),
        worst_domain=domains.most_common(1)[0][0],
        difference=difference,
        fewer=fewer,
        reached=sum(math.isfinite(a.steps_to_target) for a, _ in pairs),
        paired=len(pairs),
        ms_per_step=_mean([row.ms_per_step for row in rows]),
        overhead=_mean([row.overhead for row in rows]),
        train_tokens=_mean([row.train_tokens for row in rows]),
        lm_tokens=_mean([row.lm_tokens for row in rows]),
    )


def _mean(values: Sequence[float]) -> float:
    finite = np.asarray(values, dtype=np.float64)
    finite = finite[np.isfinite(finite)]
    return float(finite.mean()) if len(finite) else math.nan


def cells(arm: Arm) -> list[tuple[str, str]]:
    """The row of an arm: for each heading the figure, and a smaller line under it ("" if none)."""
    seeds = f"{arm.seeds} seed{'s' if arm.seeds != 1 else ''}"
    if arm.diverged:
        seeds += f", {arm.diverged} diverged"
    if arm.difference is None:
        against, fewer = ("reference", ""), ("reference", "")
    else:
        against = _interval(arm.difference, "+.4f")
        reached = f"{arm.reached}/{arm.paired} seeds"
        mean, interval = _interval(arm.fewer, "+.1f", "%") if arm.fewer else ("", "")
        fewer = (mean, f"{interval}, {reached}" if interval else reached)
    worst, interval = _interval(arm.worst, ".3f")
    return [
        (arm.label, seeds),
        _interval(arm.loss, ".4f"),
        _interval(arm.perplexity, ".3f"),
        (worst, f"{interval} {arm.worst_domain}".strip()),
        against,
        fewer,
        (_number(arm.ms_per_step, ".1f"), ""),
        (_number(arm.overhead, ".2f", "x"), ""),
        (_tokens(arm.lm_tokens), f"{_tokens(arm.train_tokens)} train"),
    ]


def _interval(interval: Interval, form: str, unit: str = "") -> tuple[str, str]:
    mean = _number(interval.mean, form, unit)
    if not interval.bounded:
        return mean, ""
    if interval.method == "t":
        return mean, f"± {interval.high - interval.mean:{form.lstrip('+')}}{unit}"
    return mean, f"{interval.low:{form}} … {interval.high:{form}}{unit}"


def _number(value: float, form: str, unit: str = "") -> str:
    return f"{value:{form}}{unit}" if math.isfinite(value) else "n/a"


def _tokens(value: float) -> str:
    if not math.isfinite(value):
        return "n/a"
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:.3g} {unit}"
    return f"{value:.0f}"


def caption(comparison: Comparison, table: Sequence[Arm]) -> str:
    """What the intervals are, and whether there are too few seeds to claim anything."""
    n = max((arm.seeds for arm in table), default=0)
    methods = {arm.loss.method for arm in table}
    if n < 2:
        intervals = "one seed: no intervals"
    else:
        name = "percentile bootstrap" if "bootstrap" in methods else "Student's t"
        intervals = f"95 % intervals of the mean over seeds, by {name}"
    count = "1 seed is" if n == 1 else f"{n} seeds are"
    smoke = f"SMOKE: {count} too few to claim a difference. " if n < SMOKE_BELOW else ""
    return (
        f"{smoke}Test split, objective-weighted mean; paired by seed against "
        f"{comparison.reference}; {intervals}."
    )


def rich_tables(comparison: Comparison, table: Sequence[Arm], width: int) -> list[Table]:
    """The table for a terminal of `width` characters, in two halves if it is narrow."""
    halves = [range(len(HEADINGS))] if width >= _WIDE else [range(5), (0, *range(5, len(HEADINGS)))]
    drawn = []
    for columns in halves:
        part = Table(box=box.SIMPLE_HEAD, padding=(0, 1), title_justify="left")
        for index in columns:
            side = "left" if index == 0 else "right"
            part.add_column(HEADINGS[index], justify=side, no_wrap=True)
        for arm in table:
            row = cells(arm)
            texts = [f"{row[i][0]}\n[dim]{escape(row[i][1])}[/dim]" for i in columns]
            part.add_row(*texts, style="bold" if arm.reference else "")
        drawn.append(part)
    drawn[0].title = comparison.name
    drawn[-1].caption = caption(comparison, table)
    drawn[-1].caption_justify = "left"
    return drawn


def html_table(comparison: Comparison, table: Sequence[Arm]) -> str:
    """The table as HTML, classes only (the report has the style)."""
    head = "".join(f"<th scope='col'>{html.escape(heading)}</th>" for heading in HEADINGS)
    body = []
    for arm in table:
        row = "".join(
            f"<td>{html.escape(main)}<small>{html.escape(small)}</small></td>"
            for main, small in cells(arm)
        )
        body.append(f"<tr class='{'reference' if arm.reference else ''}'>{row}</tr>")
    return (
        f"<div class='scroll'><table><thead><tr>{head}</tr></thead>"
        f"<tbody>{''.join(body)}</tbody></table></div>"
        f"<p class='caption'>{html.escape(caption(comparison, table))}</p>"
    )
