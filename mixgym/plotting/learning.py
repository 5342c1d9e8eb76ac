"""How an agent learns: return and objective of each episode against LM tokens spent."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from mixgym.plotting.style import ARMS, REFERENCE, dress, new_figure, title


def running_mean(values: Sequence[float], window: int) -> NDArray[np.float64]:
    """Mean of the last `window` values that are finite, at each place; NaN where there is none.

    >>> running_mean([1.0, 3.0, float("inf"), 5.0], 2).tolist()
    [1.0, 2.0, 3.0, 5.0]
    """
    result = np.full(len(values), np.nan)
    for place in range(len(values)):
        recent = np.asarray(values[max(0, place + 1 - window) : place + 1], dtype=np.float64)
        recent = recent[np.isfinite(recent)]
        if len(recent):
            result[place] = recent.mean()
    return result


def learning_figure(
    returns: Sequence[float], losses: Sequence[float], tokens: Sequence[int], heading: str
) -> Figure:
    """Episodes so far: returns on the left, final validation objectives on the right.

    Args:
        returns: undiscounted, one an episode.
        losses: validation objectives at their ends, nats a byte; infinite ones are left out.
        tokens: LM tokens of each episode, of all accounts.
        heading: of the figure.
    """
    figure = new_figure(9.2, 3.4)
    spent = np.cumsum(tokens) / 1e6
    window = max(1, len(returns) // 10)
    panels = (
        (returns, "return", heading, ARMS[0]),
        (losses, "validation objective, nats/byte", "objective at the end", ARMS[3]),
    )
    for axes, (values, label, text, colour) in zip(figure.subplots(1, 2), panels, strict=True):
        shown = np.where(np.isfinite(values), values, np.nan)
        axes.plot(spent, shown, "o", color=REFERENCE, markersize=3, alpha=0.7)
        axes.plot(spent, running_mean(values, window), color=colour, linewidth=1.9)
        dress(axes)
        axes.set_xlabel("LM tokens spent on learning, millions")
        axes.set_ylabel(label)
        title(axes, text, 10.0 if text is heading else 9.0)
    return figure
