"""What was kept of one field against what was gained of another, an arm a point."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure

from mixgym.plotting.style import (
    FAINT,
    GRID,
    INK,
    arm_colours,
    dress,
    new_figure,
    spread,
    title,
)


@dataclass(frozen=True)
class BalancePoint:
    """One arm: its mean change of the source's and of the target's feedback, and their halves.

    `source_half` and `target_half` are half the width of the 95 % intervals; NaN if there is none.
    """

    label: str
    source: float
    target: float
    source_half: float = float("nan")
    target_half: float = float("nan")


def balance_figure(points: Sequence[BalancePoint], reference: str, heading: str) -> Figure:
    """Draw arms by source and target; on a grey line the sum is the same, more to the upper right.

    Args:
        points: the arms, with finite means.
        reference: the arm drawn in grey.
        heading: the title.
    """
    figure = new_figure(8.6, 5.2)
    axes = figure.subplots()
    colours = arm_colours([point.label for point in points], reference)
    for point in points:
        colour = colours[point.label]
        halves = (point.source_half, point.target_half)
        x_half, y_half = (half if np.isfinite(half) else 0.0 for half in halves)
        axes.errorbar(
            point.source,
            point.target,
            xerr=x_half,
            yerr=y_half,
            fmt="o",
            color=colour,
            markersize=6.5,
            markeredgecolor="white",
            elinewidth=1.0,
            alpha=0.9,
        )
    axes.margins(0.05)
    dress(axes, grid=False)
    axes.set_xlabel("source: change of the answers' log-probability, nats a token")
    axes.set_ylabel("target: the same")
    (left, right), (low, high) = axes.get_xlim(), axes.get_ylim()
    span = np.array([left, right])
    for total in _sums(left + low, right + high):
        axes.plot(span, total - span, color=GRID, linewidth=0.8, zorder=0)
    axes.set_xlim(left, right)
    axes.set_ylim(low, high)
    if left < 0 < right:
        axes.axvline(0.0, color=FAINT, linewidth=0.8, linestyle=(0, (4, 1.5)), zorder=0)
    # Labels at the right edge, in the order of height, each with a line to its point.
    order = np.argsort([point.target for point in points], kind="stable")
    heights = np.array([points[int(i)].target for i in order])
    places = spread(heights, 0.046 * (high - low), low, high)
    for index, place in zip(order, places, strict=True):
        point = points[int(index)]
        axes.annotate(
            point.label,
            (point.source, point.target),
            (1.02, (place - low) / (high - low)),
            textcoords="axes fraction",
            va="center",
            fontsize=8.5,
            color=INK,
            annotation_clip=False,
            arrowprops={
                "arrowstyle": "-",
                "color": colours[point.label],
                "linewidth": 0.6,
                "alpha": 0.55,
                "shrinkB": 4,
            },
        )
    title(axes, heading)
    return figure


def _sums(low: float, high: float) -> np.ndarray:
    """About eight round sums between two."""
    step = 10.0 ** np.floor(np.log10((high - low) / 4))
    for factor in (1, 2, 5):
        if (high - low) / (factor * step) <= 10:
            step *= factor
            break
    return np.arange(np.ceil(low / step), np.floor(high / step) + 1) * step
