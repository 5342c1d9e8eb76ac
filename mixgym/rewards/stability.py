"""Reward term `stability`: HDS's model-driven term, from the weight norms."""

from __future__ import annotations

from typing import Literal

import numpy as np

from mixgym.errors import unknown_name
from mixgym.rewards.base import RewardTerm
from mixgym.signals import Signals

VARIANTS = ("relative", "released")
_MOST = 5.0
_TINY = 1e-8


class Stability(RewardTerm):
    """How little the norms of the weights moved in the decision.

    With n_l the norm ||w_l|| of signal layer l (the argument `layers` chooses them),

        reward = - 1/L sum_l min(|n_l(t) - n_l(t-1)| / n_l(t-1), 1)

    the mean relative change, in [-1, 0] and 0 if no norm moved; it depends neither on the scale
    nor on the number of the layers. This form is ours. `variant="released"` is what the released
    code of HDS (arXiv 2606.24133) computes,

        reward = min(1 / (sum_l |n_l(t) - n_l(t-1)| + 1e-8), 5)

    in (0, 5], 5 as soon as the norms together move by less than 0.2, whatever the model's size. A
    norm that is not finite counts as the largest change. Costs nothing: the norms are signals.

    Args:
        variant: `"relative"` or `"released"`.

    Raises:
        UnknownNameError: an unknown variant.
    """

    def __init__(self, variant: Literal["relative", "released"] = "relative") -> None:
        if variant not in VARIANTS:
            raise unknown_name("variant of a stability reward", variant, VARIANTS)
        self.variant = variant
        self.bounds = (-1.0, 0.0) if variant == "relative" else (0.0, _MOST)

    def __call__(self, before: Signals, after: Signals) -> float:
        old = before.weight_norms.astype(np.float64)
        with np.errstate(invalid="ignore"):
            change = np.abs(after.weight_norms.astype(np.float64) - old)
        if self.variant == "released":
            total = float(change.sum())
            return min(1.0 / (total + _TINY), _MOST) if np.isfinite(total) else 0.0
        with np.errstate(invalid="ignore", divide="ignore"):
            relative = np.where(change == 0, 0.0, np.minimum(change / old, 1.0))
        return -float(np.nan_to_num(relative, nan=1.0).mean()) if len(relative) else 0.0
