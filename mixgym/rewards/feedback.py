"""Reward term `feedback` (Data Mixing Agent)."""

from __future__ import annotations

import math

from mixgym.rewards.base import RewardTerm
from mixgym.signals import Signals


class Feedback(RewardTerm):
    """Change of the probes' feedback on both fields over the decision:

        r_t = w_s (f^s_t - f^s_{t-1}) + w_t (f^t_t - f^t_{t-1})

    f^s and f^t are the means, over the probes of the source and of the target field, of the mean
    log-probability a token of their right answers, in nats (at most 0). An undiscounted episode's
    return telescopes to the weighted gain of the run over its base. The Data Mixing Agent (arXiv
    2507.15640) rewards by this feedback on both fields; its exact formula, weights and discount
    were **not found in reachable sources**: the difference and the equal weights are our choice.
    Typically within 0.1 of 0; positive when the model got better. It costs a forward pass over the
    feedback items at every decision, and is there in the continual environments only.

    Args:
        source: w_s, weight of the source field; finite.
        target: w_t, weight of the target field; finite.

    Raises:
        ValueError: a weight that is not finite.
    """

    needs: frozenset[str] = frozenset({"feedback"})

    def __init__(self, source: float = 1.0, target: float = 1.0) -> None:
        if not math.isfinite(source) or not math.isfinite(target):
            raise ValueError(f"the weights must be finite, got {source!r} and {target!r}")
        self.weights = (float(source), float(target))

    def __call__(self, before: Signals, after: Signals) -> float:
        return sum(
            weight * (float(now) - float(then))
            for weight, now, then in zip(self.weights, after.feedback, before.feedback, strict=True)
        )
