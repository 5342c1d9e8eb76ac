"""What both online data mixing (ODM) rules share: `odm_exp3` and `odm_smoothed`."""

from __future__ import annotations

import math
from abc import abstractmethod
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mixgym.envs.task import MixingTask
from mixgym.mixer import Mixer
from mixgym.signals import Signals
from mixgym.simplex import Mixture
from mixgym_agents.checks import Checked, Positive, Spec

# Far above any loss a run survives; keeps exp(loss) finite when one diverges.
_MAX_LOSS = 50.0


def exploration_rate(K: int, t: int) -> float:
    """Return eps_t = min(1/K, sqrt(ln K / (K t))), and 1/K before the first update (t = 0).

    It stays at 1/K, hence the mixture uniform, as long as t <= K ln K (17 for 8 domains, 56 for
    19).
    """
    return 1.0 / K if t < 1 else min(1.0 / K, math.sqrt(math.log(K) / (K * t)))


class Observed(NamedTuple):
    """(S,) domains sampled since the last decision, their mean losses, and their weights then."""

    domains: NDArray[np.intp]
    losses: NDArray[np.float64]
    weights: NDArray[np.float64]


def observed(signals: Signals, scale: float) -> Observed:
    """Return what was sampled; a loss that is not finite (the run diverged) is left out."""
    loss = np.asarray(signals.last_loss, dtype=np.float64)
    sampled = np.flatnonzero((np.asarray(signals.counts) > 0) & np.isfinite(loss))
    losses = np.minimum(loss[sampled] * scale, _MAX_LOSS)
    return Observed(sampled, losses, signals.mixture[sampled].astype(np.float64))


@dataclass(kw_only=True)
class OnlineDataMixing(Checked, Mixer):
    """w_t = (1 - K eps_t) * preference + eps_t: a bandit over domains, rewarded by training loss.

    Args:
        initial: mixture (as the `static` agent takes it) until the first losses are seen.
        clock: what t counts: "decisions", or "steps" of the optimiser, as in the papers, where a
            decision is a step.
        loss_scale: losses are multiplied by it first. The papers' losses are nats a token, ours
            nats a byte; the number of bytes a token (about 4) makes them alike.
    """

    STATE = ("updates", "epsilon", "estimates", "weights")

    initial: Spec = "natural"
    clock: Literal["decisions", "steps"] = "steps"
    loss_scale: Positive = 1.0

    def start(self, task: MixingTask, rng: np.random.Generator) -> None:
        self.updates = 0
        self.epsilon = exploration_rate(task.K, 0)
        self.estimates = np.zeros(task.K)
        self.weights = task.mixture(self.initial)

    def update(self, signals: Signals) -> Mixture:
        seen = observed(signals, self.loss_scale)
        if len(seen.domains) == 0:
            return self.weights.copy()
        self.updates += 1
        t = self.updates if self.clock == "decisions" else signals.step
        previous, self.epsilon = self.epsilon, exploration_rate(len(self.weights), t)
        self.credit(seen)
        exploit = 1.0 - len(self.weights) * self.epsilon
        self.weights = exploit * self.preference(previous) + self.epsilon
        return self.weights.copy()

    @abstractmethod
    def credit(self, seen: Observed) -> None:
        """Update `estimates` of the domains that were sampled."""

    @abstractmethod
    def preference(self, previous_epsilon: float) -> Mixture:
        """Return the (K,) mixture that the estimates call for, before exploration."""
