"""Paired differences to the reference: a dot a seed, the mean and its 95 % interval an arm."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from mixgym.plotting.style import FAINT, GRID, INK, REFERENCE, arm_colours, dress, new_figure, title


@dataclass(frozen=True)
class ForestRow:
    """One arm: per-seed differences (seeds,), their mean, and the interval (NaN if none).

    NaN differences, of diverged runs, are not drawn; `note` is put under the label.
    Rows of one `arm` (the label if empty) have one colour.
    """

    label: str
    differences: NDArray[np.float64]
    mean: float
    low: float
    high: float
    note: str = ""
    arm: str = ""


def forest_figure(
    rows: Sequence[ForestRow],
    reference: str,
    heading: str,
    quantity: str = "test bits/byte",
    more_is_better: bool = False,
) -> Figure:
    """Differences of a quantity, by default of bits a byte on the test split.

    Args:
        rows: the arms.
        reference: the arm that was subtracted.
        heading: the title.
        quantity: the axis says "QUANTITY minus REFERENCE's".
        more_is_better: whether the right of zero is better than the reference, and not the left.
    """
    figure = new_figure(7.4, 0.42 * len(rows) + 1.35)
    axes = figure.subplots()
    arms = [row.arm or row.label for row in rows]
    colours = arm_colours(list(dict.fromkeys(arms)), reference)
    for index, row in enumerate(rows):
        y = len(rows) - 1 - index
        colour = colours[arms[index]]
        values = row.differences[np.isfinite(row.differences)]
        below = np.full(len(values), y - 0.22)
        axes.scatter(values, below, s=14, color=colour, alpha=0.55, linewidth=0)
        if np.isfinite(row.low) and np.isfinite(row.high):
            axes.plot([row.low, row.high], [y, y], color=colour, linewidth=2.2)
        if np.isfinite(row.mean):
            axes.plot([row.mean], [y], "o", color=colour, markersize=6.5, markeredgecolor="white")
            axes.annotate(
                f"{row.mean:+.4f}",
                (1.0, y),
                (6, 0),
                xycoords=("axes fraction", "data"),
                textcoords="offset points",
                va="center",
                fontsize=8.5,
                color=INK,
            )
    axes.axvline(0.0, color=REFERENCE, linewidth=1.2, linestyle=(0, (4, 1.5)))
    dress(axes, grid=False)
    axes.grid(axis="x", color=GRID, linewidth=0.7)
    axes.set_axisbelow(True)
    axes.spines["left"].set_visible(False)
    axes.tick_params(axis="y", length=0)
    labels = [f"{row.label}\n{row.note}" if row.note else row.label for row in reversed(rows)]
    axes.set_yticks(range(len(rows)), labels)
    axes.set_ylim(-0.6, len(rows) - 0.4)
    axes.margins(x=0.08)
    axes.set_xlabel(f"{quantity} minus {reference}'s, same seed")
    title(axes, heading, pad=16.0)
    left, right = axes.get_xlim()
    if left < 0 < right:
        place = axes.get_xaxis_transform()
        left_text, right_text = ("worse", "better") if more_is_better else ("better", "worse")
        for text, side in ((f"{left_text}  ", "right"), (f"  {right_text}", "left")):
            axes.text(0, 1, text, transform=place, ha=side, va="bottom", fontsize=8, color=FAINT)
    return figure
