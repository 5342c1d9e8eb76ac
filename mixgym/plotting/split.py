"""Which mixtures pay: mean weights of decisions that earned more and of those that earned less."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter
from numpy.typing import NDArray

from mixgym.plotting.style import ARMS, INK, dress, new_figure, title


def split_figure(
    names: Sequence[str],
    rising: NDArray[np.float64],
    falling: NDArray[np.float64],
    errors: tuple[NDArray[np.float64], NDArray[np.float64]],
    counts: tuple[int, int],
    heading: str,
    labels: tuple[str, str] = ("reward rises", "reward falls"),
) -> Figure:
    """Two bars a domain: mean weight of both kinds of decisions, with their standard errors.

    Args:
        names: the K domains.
        rising, falling: (K,) mean mixtures.
        errors: their (K,) standard errors.
        counts: decisions of each kind.
        heading: title.
        labels: of the two kinds.
    """
    K = len(names)
    figure = new_figure(6.6, 0.34 * K + 2.0)
    axes = figure.subplots()
    order = np.argsort(rising - falling, kind="stable")
    places = np.arange(K, dtype=np.float64)
    for offset, mean, error, colour, label, count in (
        (0.19, rising, errors[0], ARMS[0], labels[0], counts[0]),
        (-0.19, falling, errors[1], ARMS[1], labels[1], counts[1]),
    ):
        axes.barh(
            places + offset,
            mean[order],
            height=0.36,
            color=colour,
            xerr=error[order],
            error_kw={"ecolor": INK, "elinewidth": 0.9},
            label=f"{label} ({count:,} decisions)",
        )
    axes.set_yticks(places, [names[int(index)] for index in order])
    axes.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    axes.set_xlabel("mean weight in the mixture")
    dress(axes, grid=False)
    axes.tick_params(axis="y", length=0)
    figure.legend(frameon=False, fontsize=8, loc="outside lower center")
    title(axes, heading)
    return figure
