"""The mixture river: every domain's share of the mixture over training, stacked to one."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter
from numpy.typing import NDArray

from mixgym.plotting.style import INK, domain_colours, dress, new_figure, spread, title

#: So many domains are named beside a river of more: those that have most of it.
NAMED = 20


def draw_river(
    axes: Axes,
    steps: NDArray[np.float64],
    mixtures: NDArray[np.float64],
    names: Sequence[str],
    total_steps: float | None = None,
    size: float = 9.0,
    labels: bool = True,
) -> None:
    """Draw a river on `axes`.

    `mixtures` has shape (T, K): row t is the mixture applied up to LM step `steps[t]`, (T,)
    increasing; row 0 is the mixture at reset. It is drawn as applied, constant between
    decisions. With `labels` each domain, or the `NAMED` that have most, is named at the right edge,
    moved apart where bands are thin. `total_steps` fixes the width of an unfinished episode.
    """
    width = float(total_steps if total_steps is not None else steps[-1]) or 1.0
    if len(steps) > 1:
        # Row t applies to the steps before steps[t]: each band is a step function.
        edges = np.repeat(steps, 2)[1:-1]
        held = np.repeat(mixtures[1:], 2, axis=0)
    else:
        edges, held = np.array([0.0, 0.006 * width]), np.repeat(mixtures, 2, axis=0)
    axes.stackplot(
        edges,
        held.T,
        colors=domain_colours(len(names)),
        edgecolor="white",
        linewidth=0.4,
    )
    axes.set_xlim(0.0, width)
    axes.set_ylim(0.0, 1.0)
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    axes.set_yticks([0.0, 0.25, 0.5, 0.75, 1.0])
    dress(axes, size, grid=False)
    if labels:
        last = held[-1]
        most = np.argsort(-held.mean(axis=0), kind="stable")[:NAMED]
        centres = np.cumsum(last) - last / 2
        label_right(axes, centres, names, float(edges[-1]) / width, size, np.sort(most))


def label_right(
    axes: Axes,
    centres: NDArray[np.float64],
    names: Sequence[str],
    end: float,
    size: float,
    chosen: NDArray[np.int64],
) -> None:
    """Name `chosen` bands right of the axes, with a leader from its centre (0 to 1) to its name.

    `end` is where the bands stop, as a fraction of the axes' width.
    """
    figure = axes.get_figure()
    assert figure is not None
    height = axes.get_position().height * figure.get_size_inches()[1]  # type: ignore[union-attr]
    gap = 1.12 * size / 72.0 / max(height, 0.1)
    if (len(chosen) - 1) * gap > 1.0:
        size *= 1.0 / ((len(chosen) - 1) * gap)
        gap = 1.0 / (len(chosen) - 1)
    places = spread(centres[chosen], gap, 0.0, 1.0)
    transform = axes.transAxes
    colours = domain_colours(len(names))
    for index, place in zip(map(int, chosen), places, strict=True):
        centre, name, colour = centres[index], names[index], colours[index]
        axes.plot(
            [min(end, 1.0) + 0.003, 1.008, 1.022, 1.03],
            [centre, centre, place, place],
            color=colour,
            linewidth=1.2,
            transform=transform,
            clip_on=False,
            solid_capstyle="round",
        )
        axes.text(
            1.036,
            place,
            name,
            transform=transform,
            fontsize=size,
            va="center",
            ha="left",
            color=INK,
            clip_on=False,
        )


def rivers_figure(
    runs: Sequence[tuple[str, NDArray[np.float64], NDArray[np.float64]]],
    names: Sequence[str],
    heading: str = "",
) -> Figure:
    """One river a run, underneath each other: `runs` holds (label, steps (T,), mixtures (T, K))."""
    each = max(1.45, 0.105 * min(len(names), NAMED) + 0.45)
    # Labels need the axes' height now; matplotlib's own layout knows it only after a draw.
    figure = new_figure(8.4, each * len(runs) + 0.55, manual=True)
    grid = figure.subplots(len(runs), 1, squeeze=False, sharex=True)
    wide, tall = figure.get_size_inches()
    beside = (0.35 + 0.066 * max(map(len, names))) / wide
    figure.subplots_adjust(
        left=0.075,
        right=min(0.81, max(0.5, 1.0 - beside)),
        top=1.0 - 0.45 / tall,
        bottom=0.5 / tall,
        hspace=0.36,
    )
    for axes, (label, steps, mixtures) in zip(grid[:, 0], runs, strict=True):
        draw_river(axes, steps, mixtures, names, size=8.5)
        title(axes, label, 9.5)
    grid[-1, 0].set_xlabel("LM step")
    if heading:
        figure.text(
            0.995, 1.0 - 0.12 / tall, heading, ha="right", va="top", fontsize=8.5, color=INK
        )
    return figure
