"""One restrained style for every figure, and colours that stay apart for colour-blind eyes.

Figures are made with `Figure` and `FigureCanvasAgg`; pyplot and matplotlib's global settings are
never touched, so drawing is safe inside environments, threads and other people's notebooks.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from mixgym.files import atomic_path

INK = "#22272e"
FAINT = "#8b949e"
GRID = "#e3e6ea"
REFERENCE = "#4d5661"

#: Okabe and Ito's colours without black, ordered so that neighbours differ most in lightness.
ARMS: tuple[str, ...] = (
    "#0072B2",
    "#E69F00",
    "#009E73",
    "#D55E00",
    "#56B4E9",
    "#CC79A7",
    "#8c6d1f",
    "#6a51a3",
)
#: A line style as matplotlib takes it: a name, or an offset and lengths in line widths.
Dashes = str | tuple[int, tuple[float, ...]]
_DASHES: tuple[Dashes, ...] = (
    "-",
    (0, (1.2, 1.0)),
    (0, (5, 1, 1.2, 1)),
    (0, (5, 1, 1.2, 1, 1.2, 1)),
)
#: Paul Tol's muted and light schemes interleaved: dark and light alternate, so that neighbouring
#: bands are told apart by lightness alone, and hues repeat as little as 24 colours allow.
DOMAINS: tuple[str, ...] = (
    "#332288",
    "#88CCEE",
    "#117733",
    "#DDCC77",
    "#CC6677",
    "#BBCC33",
    "#882255",
    "#77AADD",
    "#999933",
    "#FFAABB",
    "#225555",
    "#EE8866",
    "#4477AA",
    "#EEDD88",
    "#AA4499",
    "#99DDFF",
    "#663333",
    "#44BB99",
    "#555555",
    "#DDAADD",
    "#666633",
    "#BBBBBB",
    "#222255",
    "#CCDDAA",
)


def domain_colours(count: int) -> list[str]:
    """Colours of `count` domains, in order; they repeat after 24."""
    return [DOMAINS[index % len(DOMAINS)] for index in range(count)]


def arm_colours(labels: list[str], reference: str) -> dict[str, str]:
    """Colour of each arm; the reference is grey, so that it reads as the baseline."""
    others = [label for label in labels if label != reference]
    colours = {label: ARMS[index % len(ARMS)] for index, label in enumerate(others)}
    return {label: colours.get(label, REFERENCE) for label in labels}


def arm_dashes(labels: list[str], reference: str) -> dict[str, Dashes]:
    """Line style of each arm, which tells arms of one colour apart; the reference is dashed."""
    others = [label for label in labels if label != reference]
    styles = {label: _DASHES[index // len(ARMS) % 4] for index, label in enumerate(others)}
    return {label: styles.get(label, (0, (4, 1.5))) for label in labels}


def new_figure(width: float, height: float, dpi: float = 150.0, manual: bool = False) -> Figure:
    """A white figure of `width` by `height` inches with an Agg canvas.

    It is laid out by matplotlib, or by the caller if `manual`.
    """
    layout = None if manual else "constrained"
    figure = Figure(figsize=(width, height), dpi=dpi, facecolor="white", layout=layout)
    FigureCanvasAgg(figure)
    return figure


def dress(axes: Axes, size: float = 9.0, grid: bool = True) -> None:
    """Apply the style to axes: two spines, light horizontal grid, quiet ticks."""
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color(FAINT)
        axes.spines[side].set_linewidth(0.8)
    axes.tick_params(colors=INK, labelsize=size - 1, length=3, width=0.8, color=FAINT)
    axes.xaxis.label.set(color=INK, size=size)
    axes.yaxis.label.set(color=INK, size=size)
    if grid:
        axes.grid(axis="y", color=GRID, linewidth=0.7)
        axes.set_axisbelow(True)


def title(axes: Axes, text: str, size: float = 10.0, pad: float = 7.0) -> None:
    """A left-aligned title, `pad` points above the axes."""
    axes.set_title(text, loc="left", fontsize=size, color=INK, fontweight="bold", pad=pad)


def save(figure: Figure, path: Path) -> None:
    """Write a figure as PNG, atomically."""
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png")


def pixels(figure: Figure) -> NDArray[np.uint8]:
    """Draw a figure and return its pixels, uint8 of shape (height, width, 3)."""
    canvas = figure.canvas
    assert isinstance(canvas, FigureCanvasAgg)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def spread(
    positions: NDArray[np.float64], gap: float, low: float, high: float
) -> NDArray[np.float64]:
    """Move label positions, shape (n,), as little as needed to be `gap` apart within [low, high].

    Their order is kept. If they cannot fit, they are spaced evenly over the range.

    >>> spread(np.array([0.5, 0.5, 0.9]), 0.2, 0.0, 1.0).round(2).tolist()
    [0.4, 0.6, 0.9]
    """
    count = len(positions)
    if count == 0:
        return positions.copy()
    if (count - 1) * gap >= high - low:
        even = np.linspace(low, high, count)
        placed = np.empty(count)
        placed[np.argsort(positions, kind="stable")] = even
        return placed
    order = np.argsort(positions, kind="stable")
    # Pool neighbours that are too close into blocks, each centred on its members' mean.
    blocks: list[tuple[float, int]] = []
    for position in positions[order]:
        centre, size = float(np.clip(position, low, high)), 1
        while blocks:
            previous, members = blocks[-1]
            if centre - previous >= gap * (size + members) / 2 - 1e-12:
                break
            blocks.pop()
            centre = (centre * size + previous * members) / (size + members)
            size += members
            half = gap * (size - 1) / 2
            centre = float(np.clip(centre, low + half, high - half))
        blocks.append((centre, size))
    ordered = np.concatenate(
        [centre + gap * (np.arange(size) - (size - 1) / 2) for centre, size in blocks]
    )
    placed = np.empty(count)
    placed[order] = ordered
    return placed
