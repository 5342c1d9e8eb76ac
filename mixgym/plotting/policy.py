"""What a policy has learned: its mixtures over the decisions, and what moves its weights."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from mixgym.plotting.style import ARMS, FAINT, INK, dress, new_figure, title

_MOST_FEATURES = 12


def policy_figure(
    domains: Sequence[str],
    ratios: NDArray[np.float64],
    features: Sequence[str],
    responses: NDArray[np.float64],
    heading: str,
) -> Figure:
    """A heat map of weights against natural ones, and a row of dots for each feature's response.

    Args:
        domains: K names.
        ratios: (T, K) log2 of weights over natural weights, by decision.
        features: F names, the strongest first; twelve are drawn.
        responses: (F, K) changes of the domains' log-odds, in nats.
        heading: title.
    """
    K, shown = len(domains), features[:_MOST_FEATURES]
    figure = new_figure(9.6, max(0.17 * K, 0.26 * len(shown)) + 1.3)
    heat, dots = figure.subplots(1, 2, width_ratios=(1.25, 1.0))
    limit = float(np.clip(np.abs(ratios).max(), 0.5, 4.0))
    order = np.argsort(-ratios.mean(axis=0), kind="stable") if K > 2 else np.arange(K)
    image = heat.imshow(
        ratios.T[order],
        aspect="auto",
        cmap="RdBu_r",
        vmin=-limit,
        vmax=limit,
        interpolation="nearest",
        extent=(0.5, len(ratios) + 0.5, K - 0.5, -0.5),
    )
    heat.set_yticks(range(K), [domains[int(i)] for i in order])
    heat.set_xlabel("decision")
    heat.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8))
    dress(heat, grid=False)
    heat.tick_params(axis="y", length=0, labelsize=5.5 if K > 26 else 8)
    for spine in heat.spines.values():
        spine.set_visible(False)
    bar = figure.colorbar(image, ax=heat, shrink=min(1.0, 8.0 / K + 0.4), pad=0.02)
    bar.ax.tick_params(labelsize=7, colors=INK)
    bar.set_label("log2 of weight over natural weight", size=7.5, color=INK)
    bar.outline.set_visible(False)  # pyright: ignore[reportCallIssue]
    title(heat, heading)

    places = np.arange(len(shown))[::-1].astype(np.float64)
    dots.axvline(0.0, color=FAINT, linewidth=0.9)
    told_apart = len(ARMS) >= K
    for k, domain in enumerate(domains):
        dots.plot(
            responses[: len(shown), k],
            places,
            "o",
            color=ARMS[k] if told_apart else ARMS[0],
            alpha=0.75 if told_apart else 0.3,
            markersize=4.5 if told_apart else 3.5,
            markeredgewidth=0,
            label=domain if told_apart else None,
        )
    means = responses[: len(shown)].mean(axis=1)
    dots.plot(means, places, "|", color=INK, markersize=11, markeredgewidth=1.6, label="mean")
    dots.set_yticks(places, list(shown))
    dots.set_ylim(-0.6, len(shown) - 0.4)
    dots.set_xlabel("change of log-odds,\nfeature one deviation higher")
    dress(dots, grid=False)
    dots.tick_params(axis="y", length=0)
    dots.legend(frameon=False, fontsize=7.5, loc="best")
    title(dots, "What moves a domain's weight")
    return figure
