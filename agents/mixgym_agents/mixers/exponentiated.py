"""What the mixers that reweight by gradients share: `doge`, `dga`, `pike`."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixgym.envs.task import MixingTask
from mixgym.errors import MixgymError
from mixgym.mixer import Mixer
from mixgym.signals import Signals
from mixgym.simplex import Mixture
from mixgym_agents.checks import Checked, Number, PartialShare, Spec

# Far beyond any useful step; keeps exp finite when a run diverges.
_MAX_SCORE = 50.0


@dataclass(kw_only=True)
class ExponentiatedMixer(Checked, Mixer):
    """w_i <- w_i exp(score_i), then w <- (1 - smoothing) w / sum(w) + smoothing / K.

    A domain whose score could not be measured in a decision (it was not sampled) counts with its
    latest score, 0 before the first.

    Args:
        initial: mixture (as the `static` agent takes it) until the first scores are known.
        smoothing: share of the uniform mixture, which keeps every domain sampled.
        every: gradients are measured at every n-th optimiser step; a decision needs at least one.
    """

    STATE = ("weights", "latest")

    initial: Spec = "natural"
    smoothing: PartialShare = 1e-3
    every: Number = 1

    def start(self, task: MixingTask, rng: np.random.Generator) -> None:
        self.weights = task.mixture(self.initial)
        self.latest = np.zeros(task.K)

    def update(self, signals: Signals) -> Mixture:
        if signals.decision == 0:
            return self.weights.copy()
        scores = self.scores(signals)
        known = np.isfinite(scores)
        if known.any():
            self.latest[known] = np.clip(scores[known], -_MAX_SCORE, _MAX_SCORE)
            self.weights = self.smoothed(exponentiated(self.weights, self.latest))
        return self.weights.copy()

    def smoothed(self, weights: Mixture) -> Mixture:
        """Mix the uniform mixture in."""
        return (1 - self.smoothing) * weights + self.smoothing / len(weights)

    @abstractmethod
    def scores(self, signals: Signals) -> NDArray[np.float64]:
        """Return the (K,) scores of the decision that ended, NaN where not measured."""


def exponentiated(weights: Mixture, scores: NDArray[np.float64]) -> Mixture:
    """Return w_i exp(score_i) over its sum."""
    powers = weights * np.exp(scores - scores.max())
    return powers / powers.sum()


def measured(values: NDArray[Any], field: str, mixer: str, kind: str) -> NDArray[np.float64]:
    """Return a gradient signal in float64 (`MixgymError` if the run does not measure it)."""
    if values.size == 0:
        raise MixgymError(
            f"agent {mixer!r} needs the signal {field!r}, which this environment does not measure: "
            f"make it with gradients={{'kinds': ['{kind}']}}"
        )
    return values.astype(np.float64)
