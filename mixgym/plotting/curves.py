"""Objective against LM steps: a thick mean for each arm, thin lines for its seeds."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from mixgym.plotting.style import (
    INK,
    Dashes,
    arm_colours,
    arm_dashes,
    dress,
    new_figure,
    spread,
    title,
)

#: One run's evaluations: LM steps (T,) and losses (T,).
Curve = tuple[NDArray[np.float64], NDArray[np.float64]]

# Inches of height a label needs.
_LINE = 0.2


def mean_curve(curves: Mapping[int, Curve]) -> Curve:
    """Mean over seeds at the steps that every seed was evaluated at: (steps, losses).

    Empty if seeds share no step, or there are none.
    """
    shared: set[float] | None = None
    for steps, _ in curves.values():
        shared = set(steps.tolist()) if shared is None else shared & set(steps.tolist())
    at = np.array(sorted(shared or ()))
    if not len(at):
        return at, at.copy()
    rows = [losses[np.isin(steps, at)] for steps, losses in curves.values()]
    return at, np.mean(rows, axis=0)


def curves_figure(arms: Mapping[str, Mapping[int, Curve]], reference: str, heading: str) -> Figure:
    """Validation objective (nats a byte) against LM step; `arms` maps label -> seed -> curve.

    The left panel shows all of training, the right one its last half, where arms part.
    """
    figure = new_figure(9.2, max(4.0, 1.0 + _LINE * len(arms)))
    whole, late = figure.subplots(1, 2, width_ratios=(1.0, 1.25))
    colours, dashes = arm_colours(list(arms), reference), arm_dashes(list(arms), reference)
    for axes in (whole, late):
        for label, seeds in arms.items():
            _draw_arm(axes, seeds, colours[label], dashes[label])
        dress(axes)
        axes.set_xlabel("LM step")
    whole.set_ylabel("validation objective, nats/byte")
    title(whole, heading)
    title(late, "the second half", 9.0)
    _zoom(late, arms)
    _label_ends(late, arms, colours, dashes)
    return figure


def _draw_arm(axes: Axes, seeds: Mapping[int, Curve], colour: str, dashes: Dashes) -> None:
    for steps, losses in seeds.values():
        axes.plot(steps, losses, color=colour, linewidth=0.7, alpha=0.35)
    steps, losses = mean_curve(seeds)
    axes.plot(steps, losses, color=colour, linewidth=1.9, linestyle=dashes)


def _zoom(axes: Axes, arms: Mapping[str, Mapping[int, Curve]]) -> None:
    # Of the means: a spike of one seed must not flatten them.
    curves = [curve for curve in map(mean_curve, arms.values()) if len(curve[0])]
    if not curves:
        return
    last = max(float(steps[-1]) for steps, _ in curves)
    start = last / 2
    shown = np.concatenate([losses[steps >= start] for steps, losses in curves])
    shown = shown[np.isfinite(shown)]
    if len(shown) and last > 0:
        low, high = float(shown.min()), float(shown.max())
        # One diverged arm must not flatten all the others.
        high = min(high, low + 8 * max(float(np.median(shown)) - low, 1e-3))
        margin = 0.06 * max(high - low, 1e-6)
        axes.set_xlim(start, last)
        axes.set_ylim(low - margin, high + margin)


def _label_ends(
    axes: Axes,
    arms: Mapping[str, Mapping[int, Curve]],
    colours: Mapping[str, str],
    dashes: Mapping[str, Dashes],
) -> None:
    low, high = axes.get_ylim()
    labels, ends = [], []
    for label, seeds in arms.items():
        _, losses = mean_curve(seeds)
        if len(losses):
            labels.append(label)
            ends.append(float(np.clip((losses[-1] - low) / (high - low), 0, 1)))
    places = spread(np.array(ends), min(0.062, 1.0 / max(len(ends), 1)), 0.0, 1.0)
    for label, place, end in zip(labels, places, ends, strict=True):
        # Level, across, level: however far a label was moved, no line runs through another's text.
        axes.plot(
            (1.0, 1.015, 1.06, 1.10),
            (end, end, place, place),
            transform=axes.transAxes,
            color=colours[label],
            linestyle=dashes[label],
            linewidth=1.4,
            clip_on=False,
        )
        axes.annotate(
            label,
            (1.11, place),
            xycoords="axes fraction",
            fontsize=8.5,
            va="center",
            color=INK,
            annotation_clip=False,
        )
