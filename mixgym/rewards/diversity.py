"""Reward term `diversity`: HDS's data-driven quality, the lexical diversity of what was sampled."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np

from mixgym.errors import unknown_name
from mixgym.rewards.base import RewardTerm
from mixgym.signals import Signals

VARIANTS = ("mtld", "ttr", "released")
_LEAST = 2.0  # MTLD of one word repeated
_TINY = 1e-8


class Diversity(RewardTerm):
    """Lexical diversity of the text sampled in the decision, more the later it is.

    With s_i domain i's share of the decision's sequences, M_i the MTLD of its words
    (`Signals.lexical_diversity`) and t / T the share of the budget spent,

        d_i = clip((M_i - 2) / (longest - 2), 0, 1)
        reward = (t / T) sum_i s_i d_i

    over the domains that were sampled and had words, the shares of these summing to one; 0 if
    none had. Larger is more diverse; in [0, 1]. Dimensionless.

    HDS (arXiv 2606.24133) has a term from MTLD "normalised to [2, seq_len]"; its exact equation
    was **not found in reachable sources**. Ours scales from MTLD's least value to `longest` words,
    which is our choice (English prose has about 100); words of one decision's windows, drawn in a
    shuffled order, stand in for those of a text.

    `variant="ttr"` takes for d_i the type-token ratio q_i of the same words, in [0, 1] too.
    `variant="released"` is what the released code computes,

        reward = sum_i s_i (t / T) / (q_i + 1e-8)

    whose sign is odd: the *less* diverse the text, the larger, at least 0 and unbounded but by the
    number of words. There the ratio is the last micro-batch's, and the count of iterations stays at
    0 in a fresh run, so that the reward is always 0; here it is the mean over the domains, and t
    runs.

    It costs no tokens, but the seconds of splitting up to `sequences` sequences of each domain
    into words. A domain with few sequences has few words, and MTLD is at most their number.

    Args:
        variant: `"mtld"`, `"ttr"` or `"released"`.
        sequences: sequences of each domain whose text is measured at a decision: the first ones.
        longest: MTLD, in words, that counts as 1.
        ramp: whether the factor t / T is there; without it every decision counts alike.

    Raises:
        UnknownNameError, ValueError: an argument out of range.
    """

    needs: frozenset[str] = frozenset({"diversity"})

    def __init__(
        self,
        variant: Literal["mtld", "ttr", "released"] = "mtld",
        sequences: int = 12,
        longest: float = 100.0,
        ramp: bool = True,
    ) -> None:
        if variant not in VARIANTS:
            raise unknown_name("variant of a diversity reward", variant, VARIANTS)
        if not isinstance(sequences, int) or isinstance(sequences, bool) or sequences < 1:
            raise ValueError(f"sequences must be a positive whole number, got {sequences!r}")
        if not _LEAST < longest < math.inf:
            raise ValueError(f"longest must be finite and above {_LEAST:g}, got {longest!r}")
        self.variant, self.text_sequences = variant, sequences
        self.longest, self.ramp = float(longest), ramp
        self.bounds = (0.0, math.inf if variant == "released" else 1.0)
        self.vector = np.zeros(0)

    def reset(self, K: int) -> None:
        self.vector = np.zeros(K)

    def __call__(self, before: Signals, after: Signals) -> float:
        measured = np.isfinite(after.lexical_diversity) & (after.counts > 0)
        vector = np.zeros(after.K)
        if measured.any():
            factor = 1.0 - after.remaining if self.ramp else 1.0
            vector[measured] = factor * self._quality(after)[measured]
        self.vector = vector
        shares = np.where(measured, after.counts, 0.0).astype(np.float64)
        return float(np.dot(shares, vector) / max(shares.sum(), 1.0))

    def _quality(self, signals: Signals) -> np.ndarray:
        if self.variant == "mtld":
            length = signals.lexical_diversity.astype(np.float64)
            return np.clip((length - _LEAST) / (self.longest - _LEAST), 0.0, 1.0)
        ratio = signals.type_token_ratio.astype(np.float64)
        return ratio if self.variant == "ttr" else 1.0 / (ratio + _TINY)
