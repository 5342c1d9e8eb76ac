"""A study's pictures, drawn from its rows and, where they are there, its run folders."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from mixgym.compare.plan import Comparison, Study
from mixgym.compare.reported import BALANCE, OVERALL, ReportedRow
from mixgym.compare.statistics import mean_interval, paired_differences
from mixgym.compare.summary import CurveRow, SummaryRow
from mixgym.experiment.runfolder import Metrics, is_finished, read_metrics, read_result
from mixgym.plotting.balance import BalancePoint, balance_figure
from mixgym.plotting.curves import Curve, curves_figure
from mixgym.plotting.forest import ForestRow, forest_figure
from mixgym.plotting.losses import losses_figure
from mixgym.plotting.river import rivers_figure
from mixgym.plotting.style import save


def draw_figures(
    study: Study,
    out: Path,
    summary: Sequence[SummaryRow],
    curves: Sequence[CurveRow],
    reported: Sequence[ReportedRow] = (),
) -> dict[str, list[tuple[Path, str]]]:
    """Write every figure into `out`; return (file, description) lists by comparison name.

    Curves, differences and, of continual pretraining, balances need only the rows; rivers and
    domain losses are drawn if the runs' metrics are there.
    """
    return {
        comparison.name: _figures(
            study,
            comparison,
            out,
            [row for row in summary if row.comparison == comparison.name],
            [row for row in curves if row.comparison == comparison.name],
            [row for row in reported if row.comparison == comparison.name],
        )
        for comparison in study.comparisons
    }


def _figures(
    study: Study,
    comparison: Comparison,
    out: Path,
    summary: Sequence[SummaryRow],
    curves: Sequence[CurveRow],
    reported: Sequence[ReportedRow],
) -> list[tuple[Path, str]]:
    prefix = "" if study.single else f"{comparison.name}-"
    drawn: list[tuple[Path, str]] = []
    by_arm: dict[str, dict[int, Curve]] = {}
    for label in comparison.labels:
        seeds = sorted({row.seed for row in curves if row.agent == label})
        if seeds:
            by_arm[label] = {seed: _curve(curves, label, seed) for seed in seeds}
    if by_arm:
        path = out / f"{prefix}curves.png"
        save(curves_figure(by_arm, comparison.reference, comparison.name), path)
        drawn.append(
            (path, "Validation objective while training: thick lines are means over the seeds.")
        )
    rows = difference_rows(comparison.labels, comparison.reference, final_losses(summary))
    if rows:
        path = out / f"{prefix}differences.png"
        save(forest_figure(rows, comparison.reference, comparison.name), path)
        drawn.append(
            (path, "Paired differences on the test split: a dot a seed, the mean, its interval.")
        )
    drawn += _reported_figures(comparison, out, prefix, reported)
    return drawn + _run_figures(study, comparison, out, prefix)


def _curve(rows: Sequence[CurveRow], label: str, seed: int) -> Curve:
    own = [row for row in rows if row.agent == label and row.seed == seed]
    return (
        np.array([row.step for row in own], dtype=np.float64),
        np.array([row.objective_validation_loss for row in own]),
    )


def final_losses(summary: Sequence[SummaryRow]) -> dict[tuple[str, int], float]:
    """Return test bits per byte by (label, seed) of one comparison's rows.

    NaN for a diverged run: its loss measures nothing, however finite it is.
    """
    return {
        (row.agent, row.seed): math.nan if row.diverged else row.bits_per_byte for row in summary
    }


def difference_rows(
    arms: Sequence[str], reference: str, values: Mapping[tuple[str, int], float]
) -> list[ForestRow]:
    """Return the paired differences to `reference` of all arms that share a seed with it.

    Args:
        arms: labels, in order; the reference's is left out.
        reference: its label.
        values: the quantity by (label, seed); NaN measures nothing.
    """
    rows = []
    for label in arms:
        shared = sorted(
            seed for arm, seed in values if arm == label and (reference, seed) in values
        )
        if label == reference or not shared:
            continue
        differences = paired_differences(
            [values[label, seed] for seed in shared],
            [values[reference, seed] for seed in shared],
        )
        interval = mean_interval(differences)
        note = f"{interval.n} of {len(shared)} seeds" if interval.n < len(shared) else ""
        rows.append(ForestRow(label, differences, interval.mean, interval.low, interval.high, note))
    return rows


def _reported_figures(
    comparison: Comparison, out: Path, prefix: str, reported: Sequence[ReportedRow]
) -> list[tuple[Path, str]]:
    """Draw the balance of fields and the differences of their sum, where they were reported."""
    values = {
        name: {(row.agent, row.seed): row.value for row in reported if row.quantity == name}
        for name in (*BALANCE, OVERALL)
    }
    if not all(values.values()):
        return []
    points = []
    for label in comparison.labels:
        source, target = (
            mean_interval([value for (arm, _), value in values[name].items() if arm == label])
            for name in BALANCE
        )
        if source.n and target.n:
            halves = ((found.high - found.low) / 2 for found in (source, target))
            points.append(BalancePoint(label, source.mean, target.mean, *halves))
    path = out / f"{prefix}balance.png"
    save(balance_figure(points, comparison.reference, comparison.name), path)
    drawn = [(path, "What was gained of the target against what was kept of the source.")]
    rows = difference_rows(comparison.labels, comparison.reference, values[OVERALL])
    if rows:
        path = out / f"{prefix}overall.png"
        quantity = "overall feedback (nats a token)"
        figure = forest_figure(rows, comparison.reference, comparison.name, quantity, True)
        save(figure, path)
        drawn.append((path, "Paired differences of the sum of both fields' feedback."))
    return drawn


def _run_figures(
    study: Study, comparison: Comparison, out: Path, prefix: str
) -> list[tuple[Path, str]]:
    metrics: dict[str, dict[int, Metrics]] = {}
    for label in comparison.labels:
        for seed in comparison.seeds:
            directory = out / study.run_directory(comparison, label, seed)
            if is_finished(directory):
                metrics.setdefault(label, {})[seed] = read_metrics(
                    directory, read_result(directory)
                )
    if not metrics:
        return []
    names = next(iter(next(iter(metrics.values())).values())).names
    first = min(min(seeds) for seeds in metrics.values())
    rivers = [
        (label, seeds[first].step, seeds[first].mixture)
        for label, seeds in metrics.items()
        if first in seeds
    ]
    path = out / f"{prefix}rivers.png"
    save(rivers_figure(rivers, names, f"seed {first}"), path)
    drawn = [(path, f"Mixture each arm trained on, seed {first}.")]
    losses = {
        label: {seed: (x.step, x.validation_loss) for seed, x in seeds.items()}
        for label, seeds in metrics.items()
    }
    path = out / f"{prefix}losses.png"
    save(losses_figure(losses, names, comparison.reference), path)
    return [*drawn, (path, "Validation loss of each domain that the objective measures.")]
