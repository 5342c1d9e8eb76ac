"""What the mixers that reweight by gradients share: `doge`, `dga`, `pike`."""

from __future__ import annotations

import math
from abc import abstractmethod
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixgym.envs.task import MixingTask, MixtureSpec
from mixgym.errors import MixgymError
from mixgym.mixer import Mixer
from mixgym.signals import Signals
from mixgym.simplex import Mixture
from mixgym_agents.mixers.static import checked_spec

# Far beyond any useful step; keeps exp finite when a run diverges.
_MAX_SCORE = 50.0


@dataclass(kw_only=True)
class ExponentiatedMixer(Mixer):
    """w_i <- w_i exp(score_i), then w <- (1 - smoothing) w / sum(w) + smoothing / K.

    A domain whose score could not be measured in a decision (it was not sampled) counts with its
    latest score, 0 before the first.

    Args:
        initial: mixture (as the `static` agent takes it) until the first scores are known.
        smoothing: share of the uniform mixture, which keeps every domain sampled.
        every: gradients are measured at every n-th optimiser step; a decision needs at least one.
    """

    initial: MixtureSpec = "natural"
    smoothing: float = 1e-3
    every: int = 1

    def __post_init__(self) -> None:
        self.initial = checked_spec(self.initial)
        if not 0 <= self.smoothing < 1:
            raise ValueError(f"smoothing={self.smoothing!r} must be a number in [0, 1)")
        if not isinstance(self.every, int) or self.every < 1:
            raise ValueError(f"every={self.every!r} must be a positive whole number")

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

    def state_dict(self) -> dict[str, Any]:
        return {"weights": self.weights.tolist(), "latest": self.latest.tolist()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.weights = np.array(state["weights"], dtype=np.float64)
        self.latest = np.array(state["latest"], dtype=np.float64)


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


def positive(name: str, value: float) -> None:
    """Raise `ValueError` unless an argument is a positive finite number."""
    if not 0 < value < math.inf:
        raise ValueError(f"{name}={value!r} must be a positive finite number")
