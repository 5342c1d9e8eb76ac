"""Two returns of a set of policies, and the front that they make."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from mixgym.plotting.style import FAINT, GRID, INK, arm_colours, dress, new_figure, title


def pareto_figure(
    points: NDArray[np.float64],
    labels: Sequence[str],
    on_front: NDArray[np.bool_],
    terms: tuple[str, str],
    reference: NDArray[np.float64],
    heading: str,
) -> Figure:
    """Draw n policies by two returns, both to be maximised.

    The staircase bounds, and the shade fills, what the policies dominate above the reference
    point. Full markers are policies of the front, which may be that of further rewards than the
    two, hollow ones the others.

    Args:
        points: (n, 2) returns.
        labels: n names.
        on_front: (n,) bool.
        terms: names of the two returns.
        reference: (2,) the hypervolume's reference point.
        heading: the title.
    """
    figure = new_figure(5.6, 4.4)
    axes = figure.subplots()
    _shade(axes, points, reference)
    colours = arm_colours(list(labels), "")
    for point, label, full in zip(points, labels, on_front, strict=True):
        face = colours[label] if full else "white"
        axes.plot(*point, "o", color=colours[label], markerfacecolor=face, markersize=7)
        axes.annotate(
            label, tuple(point), (6, 5), textcoords="offset points", fontsize=8.5, color=INK
        )
    axes.plot(*reference, "+", color=FAINT, markersize=9)
    dress(axes)
    axes.grid(axis="x", color=GRID, linewidth=0.7)
    axes.margins(0.12)
    axes.set_xlabel(f"return of {terms[0]}")
    axes.set_ylabel(f"return of {terms[1]}")
    title(axes, heading)
    return figure


def _shade(axes: Axes, points: NDArray[np.float64], reference: NDArray[np.float64]) -> None:
    above = points[(points > reference).all(axis=1)]
    if not len(above):
        return
    order = np.argsort(above[:, 0], kind="stable")
    x = np.concatenate([[reference[0]], above[order, 0]])
    # The highest return of the second term among the policies with at least this of the first.
    height = np.maximum.accumulate(above[order, 1][::-1])[::-1]
    heights = np.concatenate([height, height[-1:]])
    axes.fill_between(x, reference[1], heights, step="post", color=GRID, alpha=0.6, linewidth=0)
    axes.step(
        np.append(x, x[-1]), np.append(heights, reference[1]), where="post", color=FAINT, lw=1.0
    )
