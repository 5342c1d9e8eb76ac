"""Reward terms `alignment` (AC-ODM) and `objective-alignment`, its target-aware form."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from mixgym.errors import unknown_name
from mixgym.rewards.base import RewardTerm
from mixgym.signals import Signals

_CLAMP = 3.0
_LARGEST = 999.0
_TINY = 1e-6

VARIANTS = ("paper", "released")
NORMALISATIONS = ("none", "mean-norm", "cosine")
SCALARS = ("mixture", "mean")


class Alignment(RewardTerm):
    """AC-ODM's reward: how well the gradients of what was trained agree with the other domains'.

    With g_i the gradient of domain i's own mean loss over the decision (`Signals.gram`), alpha the
    mixture applied in it, and sampled domains only,

        W_i = <g_i, sum_{j != i} g_j>
        r_i <- xi r_i + (1 - xi) W_i / alpha_i        (r_i = 0 at the start of an episode)
        reward = sum_i alpha_i r_i

    (arXiv 2505.23878; xi was **not found in reachable sources**, 0.9 is our choice). A domain that
    was not sampled keeps its r_i. Note that for xi = 0 the importance weights cancel and the
    reward is sum_i W_i, whatever the mixture. Units: squared gradient norms (nats a token), which
    shrink by orders of magnitude over a run; unbounded. It costs the domains' gradients, no
    evaluation.

    `variant="released"` is what the released code computes: no average, no importance weights, but

        r_i = clamp(zscore_i(clip(W_i / (mean_k ||g_k|| + 1e-6), +-999)), +-3)

    z-scored over the sampled domains (0 elsewhere). Its sum over domains is about 0 under every
    policy; the values are in [-3, 3].

    Args:
        xi: share of the old average kept, in [0, 1); of the paper's variant.
        variant: `"paper"` or `"released"`.
        normalise: `"none"` (paper); `"mean-norm"`: W_i is divided by the mean gradient norm, as
            the released variant always does; `"cosine"` (ours): by the norms of both gradients, so
            that W_i lies in [-1, 1] from the first decision to the last.
        scalar: reward = sum_i alpha_i r_i (`"mixture"`, paper), or the mean of r_i (`"mean"`, what
            the released actor loss amounts to).
        floor: alpha_i in the importance weight counts as at least this; 0 as in the paper.
        importance: divide W_i by alpha_i (paper). False is ours: g_i is already the gradient of
            domain i's *mean* loss, so that W_i does not grow with alpha_i.

    Raises:
        ValueError: an argument out of range.
    """

    needs: frozenset[str] = frozenset({"gram"})

    def __init__(
        self,
        xi: float = 0.9,
        variant: Literal["paper", "released"] = "paper",
        normalise: Literal["none", "mean-norm", "cosine"] = "none",
        scalar: Literal["mixture", "mean"] = "mixture",
        floor: float = 0.0,
        importance: bool = True,
    ) -> None:
        if not 0 <= xi < 1 or not 0 <= floor <= 1:
            raise ValueError(f"xi must lie in [0, 1) and floor in [0, 1], got {xi!r} and {floor!r}")
        for kind, value, known in (
            ("variant", variant, VARIANTS),
            ("normalise", normalise, NORMALISATIONS),
            ("scalar", scalar, SCALARS),
        ):
            if value not in known:
                raise unknown_name(f"{kind} of an alignment reward", value, known)
        self.xi, self.variant, self.scalar, self.floor = xi, variant, scalar, floor
        if variant == "released" and (normalise == "cosine" or not importance):
            raise ValueError("variant='released' has its own normalisation: leave out the others")
        self.scaled = normalise == "mean-norm" or variant == "released"
        self.cosine, self.importance = normalise == "cosine", importance
        self.vector = np.zeros(0)

    def reset(self, K: int) -> None:
        self.vector = np.zeros(K)

    def inner_products(self, signals: Signals) -> NDArray[np.float32]:
        """(K,) W_i of the decision; NaN for domains that were not sampled."""
        return signals.alignment

    def cosines(self, signals: Signals) -> NDArray[np.float64]:
        """(K,) W_i over the norms of both gradients; NaN for domains that were not sampled."""
        return signals.alignment_cosines

    def __call__(self, before: Signals, after: Signals) -> float:
        given = self.cosines(after) if self.cosine else self.inner_products(after).astype(float)
        sampled = np.flatnonzero(np.isfinite(given))
        values = given[sampled]
        if self.scaled and len(sampled):
            values = values / (after.gradient_norms[sampled].astype(np.float64).mean() + _TINY)
        mixture = after.mixture.astype(np.float64)
        assert self.vector is not None
        vector = self.vector.copy()
        if self.variant == "released":
            vector[:] = 0.0
            vector[sampled] = _zscored(np.clip(values, -_LARGEST, _LARGEST))
        else:
            probability: NDArray[np.float64] | float = 1.0
            if self.importance:
                probability = np.maximum(mixture[sampled], max(self.floor, _TINY))
            vector[sampled] = self.xi * vector[sampled] + (1 - self.xi) * values / probability
        self.vector = vector
        return float(vector.mean() if self.scalar == "mean" else np.dot(mixture, vector))


class ObjectiveAlignment(Alignment):
    """`alignment` against the objective instead of the other domains: W_i = <g_i, g_o>.

    g_o is the gradient of the objective's validation loss (nats a byte) after the decision, on
    fixed windows (`gradients={"windows": 16}`); everything else is as in `alignment`. To first
    order, an optimiser step eta on domain i lowers the objective by eta W_i, so that with
    target domains in the objective (MicroTarget) it rewards what helps *them*. It costs one
    forward and backward pass over the objective's windows a decision.
    """

    needs: frozenset[str] = frozenset({"objective_gradient"})

    def inner_products(self, signals: Signals) -> NDArray[np.float32]:
        return signals.objective_alignment

    def cosines(self, signals: Signals) -> NDArray[np.float64]:
        return signals.objective_cosines


def _zscored(values: NDArray[np.float64]) -> NDArray[np.float64]:
    if not len(values):
        return values
    return np.clip((values - values.mean()) / (values.std() + _TINY), -_CLAMP, _CLAMP)
