"""Reward term `progress`."""

from __future__ import annotations

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
