"""One episode in one picture: what the environments show for `render_mode="rgb_array"`."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from mixgym.plotting.history import EpisodeHistory
from mixgym.plotting.river import draw_river
from mixgym.plotting.style import FAINT, INK, domain_colours, dress, new_figure, pixels, title

_DPI = 100.0
_OBJECTIVE = "#0072B2"


def episode_frame(
    history: EpisodeHistory, size: tuple[int, int] = (1280, 720)
) -> NDArray[np.uint8]:
    """Draw `history` as uint8 pixels of shape (height, width, 3); `size` is (width, height).

    The mixture river is on top with every domain named; below it the domains' training losses in
    the same colours, and the objective so far. Raises `ValueError` for a picture too small to
    read or a history whose lists differ in length.
    """
    width, height = size
    if width < 480 or height < 320:
        raise ValueError(f"size {size} is too small to read: give at least (480, 320)")
    lengths = {
        len(history.steps),
        len(history.mixtures),
        len(history.train_losses),
        len(history.objective),
    }
    if len(lengths) != 1 or 0 in lengths:
        raise ValueError(
            f"steps, mixtures, train_losses and objective have lengths {sorted(lengths)}: "
            "append to each of them at reset and after every decision"
        )
    figure = new_figure(width / _DPI, height / _DPI, _DPI, manual=True)
    text = 10.5 * min(width / 1280, height / 720) ** 0.5
    longest = max(len(name) for name in history.names)
    right = 1.0 - min(0.3, (0.62 * text * longest / 72 * _DPI + 62) / width)
    left = 58 / width * (text / 10.5)
    top = figure.add_axes((left, 0.515, right - left, 0.375))
    gap = 74 / width
    half = (0.975 - left - gap) / 2
    losses = figure.add_axes((left, 0.095, half, 0.3))
    objective = figure.add_axes((left + half + gap, 0.095, half, 0.3))

    steps = np.asarray(history.steps, dtype=np.float64)
    draw_river(
        top, steps, np.stack(history.mixtures), history.names, history.total_steps, text - 0.5
    )
    title(top, "mixture", text)
    _draw_losses(losses, history, steps, text)
    _draw_objective(objective, history, steps, text)
    figure.text(
        left, 0.965, history.title, fontsize=text + 2.5, color=INK, va="center", weight="bold"
    )
    figure.text(
        0.985,
        0.965,
        f"step {history.steps[-1]} of {history.total_steps}",
        fontsize=text,
        color=FAINT,
        va="center",
        ha="right",
    )
    return pixels(figure)


def _draw_losses(
    axes: Axes, history: EpisodeHistory, steps: NDArray[np.float64], text: float
) -> None:
    losses = np.stack(history.train_losses)
    width = 1.9 if len(history.names) <= 10 else 1.3
    for column, colour in zip(losses.T, domain_colours(len(history.names)), strict=True):
        known = np.isfinite(column)
        mark = "o" if known.sum() == 1 else "None"
        axes.plot(steps[known], column[known], marker=mark, color=colour, lw=width, ms=4)
    dress(axes, text)
    axes.set_xlim(0, history.total_steps)
    axes.set_xlabel("LM step")
    title(axes, "training loss by domain, nats/byte", text)


def _draw_objective(
    axes: Axes, history: EpisodeHistory, steps: NDArray[np.float64], text: float
) -> None:
    values = np.asarray(history.objective, dtype=np.float64)
    known = np.isfinite(values)
    axes.plot(steps[known], values[known], color=_OBJECTIVE, lw=2.2, solid_capstyle="round")
    dress(axes, text)
    axes.set_xlim(0, history.total_steps)
    axes.set_xlabel("LM step")
    title(axes, "validation objective, nats/byte", text)
    if known.any():
        last = float(values[known][-1])
        axes.plot(
            [steps[known][-1]], [last], "o", color=_OBJECTIVE, ms=6, mec="white", clip_on=False
        )
        axes.text(
            0.98,
            0.93,
            f"{last:.3f}",
            transform=axes.transAxes,
            ha="right",
            va="top",
            fontsize=text + 9,
            color=_OBJECTIVE,
            weight="bold",
        )
