"""Reward terms `progress`, and `domain-progress`, its form with a value for every domain."""

from __future__ import annotations

import math

import numpy as np

from mixgym.rewards.base import RewardTerm
from mixgym.signals import Signals


class Progress(RewardTerm):
    """Decrease of the objective's validation loss: r_t = L_{t-1} - L_t, in nats per byte.

    L is the objective-weighted mean of the validation losses, so an undiscounted episode's return
    telescopes to L_0 - L_T, the total improvement. Positive when the model got better; between
    about -1 and 6 for byte-level models (ln 256 = 5.5 is the loss of knowing nothing). It costs
    an evaluation of the objective's domains at every decision.
    """

    needs: frozenset[str] = frozenset({"objective"})

    def __call__(self, before: Signals, after: Signals) -> float:
        return float(before.objective_loss) - float(after.objective_loss)


class DomainProgress(RewardTerm):
    """How fast the objective falls with the logarithm of the steps, domain by domain.

    With o the weights of the objective, L_i the validation loss of domain i, w the mixture applied
    in a decision that led from step n' to n, and s = n - n' (so that the first decision counts
    ln 2):

        D = ln((n + s) / (n' + s))
        r_i <- xi r_i + (1 - xi) o_i (L_i(n') - L_i(n)) / (D max(w_i, floor))
        reward = sum_i w_i r_i

    For xi = 0 the reward is the decrease of the objective an e-fold of steps, nats per byte (less
    where a share is below the floor). Losses fall about linearly in ln n, so that unlike `progress`
    it does not shrink over a run. r_i is what a unit of domain i's share brings the objective
    through that domain itself: where all r_i are equal, no shift of the mixture improves it, if
    domains do not learn from each other. That is the term's limit: a domain outside the objective
    has r_i = 0, however much the others learn from it (`objective-alignment` sees that). Without an
    `objective` (outside an environment) all domains whose loss was measured count alike. It costs
    an evaluation of the objective's domains at every decision. The term is ours; dividing by the
    share is as in `alignment`. Unbounded; between about -1 and 5.

    Args:
        xi: share of the old average kept, in [0, 1).
        floor: the least share that is divided by, in (0, 1].

    Raises:
        ValueError: an argument out of range.
    """

    needs: frozenset[str] = frozenset({"objective"})

    def __init__(self, xi: float = 0.0, floor: float = 0.01) -> None:
        if not 0 <= xi < 1 or not 0 < floor <= 1:
            raise ValueError(f"xi must lie in [0, 1) and floor in (0, 1], got {xi!r} and {floor!r}")
        self.xi, self.floor = xi, floor
        self.vector = np.zeros(0)

    def reset(self, K: int) -> None:
        self.vector = np.zeros(K)

    def __call__(self, before: Signals, after: Signals) -> float:
        steps = max(after.step - before.step, 1)
        efolds = math.log((after.step + steps) / (before.step + steps))
        decrease = (before.validation_loss - after.validation_loss).astype(np.float64)
        mixture = after.mixture.astype(np.float64)
        known = np.isfinite(decrease)
        alike = known / max(int(known.sum()), 1)
        weights = alike if self.objective is None else self.objective
        gain = weights * np.where(known, decrease, 0.0)
        rate = gain / (efolds * np.maximum(mixture, self.floor))
        assert self.vector is not None
        self.vector = self.xi * self.vector + (1 - self.xi) * rate
        return float(np.dot(mixture, self.vector))
