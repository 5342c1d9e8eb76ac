"""The table of a comparison: arms in rows, means over seeds with 95 % intervals."""

from __future__ import annotations

import html
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

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
    perplexity_per_byte,
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

_METHOD_NAMES = {"t": "Student's t", "bootstrap": "percentile bootstrap"}
_WIDE = 118


@dataclass(frozen=True)
class Arm:
    """One arm over its seeds. Losses and differences are bits a byte on the test split.

    `difference` is this arm minus the reference, seed by seed (negative is better); `fewer` the
    percentage of LM steps saved to reach the reference's final validation loss. Both are None for
    the reference itself. Of `paired` seeds with a target `reached` did reach it; over those
    `steps` is the mean of the arm's steps to target, `reference_steps` of the reference's own.
    Losses of diverged runs are no numbers: every `Interval.n` counts the others.
    """

    label: str
    reference: bool
    seeds: int
    diverged: int
    loss: Interval
    perplexity: Interval
    worst: Interval
    worst_perplexity: Interval
    worst_domain: str
    difference: Interval | None
    fewer: Interval | None
    steps: float
    reference_steps: float
    reached: int
    paired: int
    ms_per_step: float
    overhead: float
    train_tokens: float
    lm_tokens: float


def arms(comparison: Comparison, rows: Sequence[SummaryRow]) -> list[Arm]:
    """Aggregate a comparison's rows by arm, in the comparison's order; empty arms left out."""
    own = [_measured(row) for row in rows if row.comparison == comparison.name]
    by_label = {
        label: {row.seed: row for row in own if row.agent == label} for label in comparison.labels
    }
    reference = by_label[comparison.reference]
    return [
        _arm(label, label == comparison.reference, runs, reference)
        for label, runs in by_label.items()
        if runs
    ]


def _measured(row: SummaryRow) -> SummaryRow:
    """A diverged run's losses, whatever they are, measure nothing: NaN, as is its target."""
    if not row.diverged:
        return row
    return replace(
        row,
        worst_domain_test_loss=math.nan,
        bits_per_byte=math.nan,
        worst_bits_per_byte=math.nan,
        perplexity=math.nan,
        steps_to_target=math.nan,
    )


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
    reached = [
        (a.steps_to_target, b.steps_to_target)
        for a, b in pairs
        if math.isfinite(a.steps_to_target) and math.isfinite(b.steps_to_target)
    ]
    domains = Counter(row.worst_domain for row in rows if not row.diverged)
    return Arm(
        label=label,
        reference=is_reference,
        seeds=len(rows),
        diverged=sum(row.diverged for row in rows),
        loss=mean_interval([row.bits_per_byte for row in rows]),
        perplexity=mean_interval([row.perplexity for row in rows]),
        worst=mean_interval([row.worst_bits_per_byte for row in rows]),
        worst_perplexity=mean_interval(
            [perplexity_per_byte(row.worst_domain_test_loss) for row in rows]
        ),
        worst_domain=domains.most_common(1)[0][0] if domains else "",
        difference=difference,
        fewer=fewer,
        steps=_mean([own for own, _ in reached]),
        reference_steps=_mean([other for _, other in reached]),
        reached=len(reached),
        paired=sum(math.isfinite(b.steps_to_target) for _, b in pairs),
        ms_per_step=_mean([row.ms_per_step for row in rows]),
        overhead=_mean([row.overhead for row in rows]),
        train_tokens=_mean([row.train_tokens for row in rows]),
        lm_tokens=_mean([row.lm_tokens for row in rows]),
    )


def _mean(values: Sequence[float]) -> float:
    finite = np.asarray(values, dtype=np.float64)
    finite = finite[np.isfinite(finite)]
    return float(finite.mean()) if len(finite) else math.nan


def cells(arm: Arm) -> list[tuple[str, ...]]:
    """The row of an arm: for each heading the figure, and the smaller lines under it."""
    seeds = f"{arm.seeds} seed{'s' if arm.seeds != 1 else ''}"
    if arm.diverged:
        seeds += f", {arm.diverged} diverged"
    against: tuple[str, ...]
    if arm.difference is None:
        against = ("reference",)
        fewer = ("reference", *_lines(_steps(arm.reference_steps)))
    else:
        against = _interval(arm.difference, arm.seeds, "+.4f")
        fewer = _fewer(arm)
    return [
        (arm.label, seeds),
        _interval(arm.loss, arm.seeds, ".4f"),
        _interval(arm.perplexity, arm.seeds, ".3f"),
        (
            *_interval(arm.worst, arm.seeds, ".3f"),
            *_lines(_number(arm.worst_perplexity.mean, ".3f", before="perplexity ")),
            *_lines(arm.worst_domain),
        ),
        against,
        fewer,
        (_number(arm.ms_per_step, ".1f"),),
        (_number(arm.overhead, ".2f", "x"),),
        (_tokens(arm.lm_tokens), f"{_tokens(arm.train_tokens)} train"),
    ]


def _fewer(arm: Arm) -> tuple[str, ...]:
    if arm.fewer is None or not arm.paired:
        return ("n/a",)
    count = f"{arm.reached} of {arm.paired} seeds"
    if not arm.reached:
        return ("never", count)
    mean, *rest = _interval(arm.fewer, arm.reached, "+.1f", "%")
    steps = f"{arm.steps:.0f} of {_steps(arm.reference_steps)}"
    return (mean, *rest, steps, *_lines(count if arm.reached < arm.seeds else ""))


def _steps(value: float) -> str:
    return f"{value:.0f} steps" if math.isfinite(value) else ""


def _lines(*texts: str) -> tuple[str, ...]:
    return tuple(text for text in texts if text and text != "n/a")


def _interval(interval: Interval, seeds: int, form: str, unit: str = "") -> tuple[str, ...]:
    """Mean, interval if there is one, and the number of seeds if it is not all `seeds`."""
    mean = _number(interval.mean, form, unit)
    count = f"{interval.n} of {seeds} seeds" if interval.n < seeds else ""
    if not interval.bounded:
        return (mean, *_lines(count))
    if interval.method == "t":
        spread = f"± {interval.high - interval.mean:{form.lstrip('+')}}{unit}"
    else:
        spread = f"{interval.low:{form}} … {interval.high:{form}}{unit}"
    return (mean, spread, *_lines(count))


def _number(value: float, form: str, unit: str = "", before: str = "") -> str:
    return f"{before}{value:{form}}{unit}" if math.isfinite(value) else "n/a"


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
    methods = _methods(table)
    if not methods:
        intervals = "one seed: no intervals" if n < 2 else "too few finished runs for intervals"
    else:
        intervals = f"95 % intervals of the mean over seeds, {methods}"
    count = "1 seed is" if n == 1 else f"{n} seeds are"
    smoke = f"SMOKE: {count} too few to claim a difference. " if n < SMOKE_BELOW else ""
    return (
        f"{smoke}Test split, objective-weighted mean; paired by seed against "
        f"{comparison.reference}; {intervals}."
    )


def _methods(table: Sequence[Arm]) -> str:
    """How the intervals were made, by column where columns differ; "" if there are none."""
    columns = {
        "bits/byte": [arm.loss for arm in table],
        "perplexity": [arm.perplexity for arm in table],
        "worst domain": [arm.worst for arm in table],
        "vs reference": [arm.difference for arm in table],
        "fewer steps": [arm.fewer for arm in table],
    }
    by_method: dict[str, list[str]] = {}
    for heading, intervals in columns.items():
        used = {interval.method for interval in intervals if interval is not None}
        name = " or ".join(text for method, text in _METHOD_NAMES.items() if method in used)
        if name:
            by_method.setdefault(name, []).append(heading)
    if len(by_method) == 1:
        return f"by {next(iter(by_method))}"
    return "; ".join(f"{', '.join(names)} by {method}" for method, names in by_method.items())


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
            texts = [_markup(row[i]) for i in columns]
            part.add_row(*texts, style="bold" if arm.reference else "")
        drawn.append(part)
    drawn[0].title = comparison.name
    drawn[-1].caption = caption(comparison, table)
    drawn[-1].caption_justify = "left"
    return drawn


def _markup(cell: tuple[str, ...]) -> str:
    return "\n".join([escape(cell[0]), *(f"[dim]{escape(line)}[/dim]" for line in cell[1:])])


def html_table(comparison: Comparison, table: Sequence[Arm]) -> str:
    """The table as HTML, classes only (the report has the style)."""
    head = "".join(f"<th scope='col'>{html.escape(heading)}</th>" for heading in HEADINGS)
    body = []
    for arm in table:
        row = "".join(
            f"<td>{html.escape(main)}"
            + "".join(f"<small>{html.escape(line)}</small>" for line in small)
            + "</td>"
            for main, *small in cells(arm)
        )
        body.append(f"<tr class='{'reference' if arm.reference else ''}'>{row}</tr>")
    return (
        f"<div class='scroll'><table><thead><tr>{head}</tr></thead>"
        f"<tbody>{''.join(body)}</tbody></table></div>"
        f"<p class='caption'>{html.escape(caption(comparison, table))}</p>"
    )
