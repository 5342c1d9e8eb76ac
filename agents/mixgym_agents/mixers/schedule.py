"""Mixtures that change over the run as written down beforehand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixgym.envs.task import MixingTask, MixtureSpec
from mixgym.mixer import Mixer, as_agent
from mixgym.signals import Signals
from mixgym.simplex import Mixture
from mixgym_agents.checks import checked_spec


class Schedule(Mixer):
    """Piecewise-linear in x, the share of the budget spent when the decision is made.

    Between neighbouring points (f, a) and (g, b), w = a + (b - a) (x - f) / (g - f); before the
    first point its mixture, after the last point its mixture. Two points at the same fraction are
    a jump, the second counting from there on. With D decisions x runs over 0, 1/D, ..., (D-1)/D.

    Args:
        points: `[[fraction, mixture], ...]`, fractions in [0, 1] and ascending, mixtures as the
            `static` agent takes them.
        start, end: short for `points=[[0, start], [1, end]]`; both or neither.

    Raises:
        ValueError: fractions out of range or order, weights that are no mixture, or not exactly
            one of `points` and `start` with `end`.
    """

    name = "schedule"

    fractions: NDArray[np.float64]
    mixtures: NDArray[np.float64]

    def __init__(
        self,
        *,
        points: Sequence[Sequence[Any]] | None = None,
        start: MixtureSpec | None = None,
        end: MixtureSpec | None = None,
    ) -> None:
        ends = [mixture for mixture in (start, end) if mixture is not None]
        if (points is None) != (len(ends) == 2) or (points is not None and ends):
            raise ValueError(
                "a schedule needs either points=[[fraction, mixture], ...] or both "
                "start=... and end=..."
            )
        self.points = _checked(points if points is not None else [[0.0, start], [1.0, end]])

    def arguments(self) -> dict[str, Any]:
        return {"points": self.points}

    def start(self, task: MixingTask, rng: np.random.Generator) -> None:
        self.fractions = np.array([fraction for fraction, _ in self.points])
        self.mixtures = np.array([task.mixture(spec) for _, spec in self.points])

    def update(self, signals: Signals) -> Mixture:
        x = 1.0 - signals.remaining
        # remaining is a quotient of step counts: a point that x misses by rounding is reached
        after = int(np.searchsorted(self.fractions, x + 1e-9, side="right"))
        if after in (0, len(self.fractions)):
            return self.mixtures[0 if after == 0 else -1].copy()
        f, g = self.fractions[after - 1 : after + 1]
        a, b = self.mixtures[after - 1 : after + 1]
        return a + (b - a) * min(max((x - f) / (g - f), 0.0), 1.0)


def _checked(points: Sequence[Sequence[Any]]) -> list[list[Any]]:
    checked: list[list[Any]] = []
    for point in points:
        if isinstance(point, str) or len(point) != 2:
            raise ValueError(f"schedule point {point!r} must be [fraction, mixture]")
        fraction, mixture = point
        if isinstance(fraction, str) or not 0.0 <= fraction <= 1.0:
            raise ValueError(f"schedule fraction {fraction!r} must be a number in [0, 1]")
        if checked and fraction < checked[-1][0]:
            raise ValueError(
                f"schedule fraction {fraction} comes after {checked[-1][0]}: sort the points"
            )
        if len(checked) > 1 and fraction == checked[-2][0]:
            raise ValueError(f"three schedule points at {fraction}: a jump needs two")
        checked.append([float(fraction), checked_spec(mixture)])
    if not checked:
        raise ValueError("the schedule has no points: give at least one [fraction, mixture]")
    return checked


agent = as_agent(Schedule)
