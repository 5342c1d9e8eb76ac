"""Losses by domain: one small panel a domain, one line an arm."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from mixgym.plotting.curves import Curve, mean_curve
from mixgym.plotting.style import arm_colours, dress, new_figure

#: One run's evaluations by domain: LM steps (T,) and losses (T, K); NaN where not measured.
DomainCurves = tuple[NDArray[np.float64], NDArray[np.float64]]


def losses_figure(
    arms: Mapping[str, Mapping[int, DomainCurves]],
    names: Sequence[str],
    reference: str,
    what: str = "validation loss",
) -> Figure:
    """Loss of each domain (nats a byte), mean over seeds; `arms` maps label -> seed -> losses.

    The first quarter of training, the same plunge for every arm, is cut off.
    """
    ends = [float(steps[-1]) for seeds in arms.values() for steps, _ in seeds.values()]
    start = 0.25 * max(ends, default=0.0)
    columns = min(5, max(2, math.ceil(math.sqrt(len(names) * 1.3))))
    rows = math.ceil(len(names) / columns)
    figure = new_figure(2.0 * columns, 1.55 * rows + 0.75)
    grid = figure.subplots(rows, columns, squeeze=False, sharex=True)
    colours = arm_colours(list(arms), reference)
    for index, axes in enumerate(grid.flat):
        if index >= len(names):
            axes.set_visible(False)
            continue
        drawn = False
        for label, seeds in arms.items():
            steps, losses = mean_curve({s: _measured(x, index, start) for s, x in seeds.items()})
            style = (0, (4, 1.5)) if label == reference else "-"
            axes.plot(steps, losses, color=colours[label], linewidth=1.4, linestyle=style)
            drawn = drawn or len(steps) > 0
        dress(axes, 8.0)
        axes.set_title(names[index], loc="left", fontsize=8.5, pad=3)
        if not drawn:
            axes.text(0.5, 0.5, "not measured", transform=axes.transAxes, ha="center", fontsize=7.5)
            axes.set_yticks([])
    handles = [
        Line2D([], [], color=colours[x], linestyle="--" if x == reference else "-") for x in arms
    ]
    figure.legend(
        handles,
        list(arms),
        loc="outside upper center",
        ncols=min(len(arms), 6),
        frameon=False,
        fontsize=8.5,
    )
    figure.supxlabel("LM step", fontsize=9)
    figure.supylabel(f"{what}, nats/byte", fontsize=9)
    return figure


def _measured(curves: DomainCurves, domain: int, start: float) -> Curve:
    steps, losses = curves
    known = np.isfinite(losses[:, domain]) & (steps >= start)
    return steps[known], losses[known, domain]
