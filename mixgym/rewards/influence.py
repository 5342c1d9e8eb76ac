"""Reward term `influence`: HDS's loss-driven term, what training on a domain does to the others."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from mixgym.errors import unknown_name
from mixgym.rewards.alignment import SCALARS, Alignment
from mixgym.rewards.base import RewardTerm
from mixgym.signals import Signals

VARIANTS = ("loss", "alignment")


class Influence(RewardTerm):
    """How much each domain's share of the training lowers the *other* domains' losses.

    **`variant="loss"`** (ours) estimates it from the losses alone, by a ridge regression that
    forgets. At decision t let s_i be domain i's share of the sequences drawn, and y_j the decrease
    of domain j's loss over the decision: minus `validation_change` where that was measured, else
    minus `train_loss_change` where j was sampled in this decision and before; else j is not
    observed. For every j that is observed (a j that is not keeps its A_j and b_j),

        A_j <- f A_j + s s^T        b_j <- f b_j + s y_j        (both 0 at the start of an episode)
        B_j = (A_j + ridge I)^-1 b_j

    so that B_ij is the decrease of j's loss by a decision spent on i alone, shrunk towards 0. Then

        r_i = mean over j != i, of those ever observed, of B_ij
        reward = sum_i alpha_i r_i

    in nats per byte, with alpha the mixture applied: positive if what was trained on makes the
    others better. Unbounded, of the order of `progress`. With a mixture that hardly moves, the
    domains' effects cannot be told apart, and the estimate gives each of them the same. It costs
    nothing beyond the losses that are measured anyway.

    **`variant="alignment"`** is the released code's: `alignment` in its released variant, the
    z-scored sum_{j != i} <g_i, g_j> / mean ||g||; it costs the domains' gradients. Of HDS (arXiv
    2606.24133) itself the equation was **not found in reachable sources**.

    With one domain the reward is 0.

    Args:
        variant: `"loss"` or `"alignment"`.
        forgetting: f in (0, 1], the weight of the past at each decision; of `"loss"`.
        ridge: positive; s s^T has entries of about 1 / K^2; of `"loss"`.
        scalar: reward = sum_i alpha_i r_i (`"mixture"`), or the mean of r_i (`"mean"`).

    Raises:
        UnknownNameError, ValueError: an argument out of range.
    """

    def __init__(
        self,
        variant: Literal["loss", "alignment"] = "loss",
        forgetting: float = 0.9,
        ridge: float = 0.01,
        scalar: Literal["mixture", "mean"] = "mixture",
    ) -> None:
        if variant not in VARIANTS:
            raise unknown_name("variant of an influence reward", variant, VARIANTS)
        if scalar not in SCALARS:
            raise unknown_name("scalar of an influence reward", scalar, SCALARS)
        if not 0 < forgetting <= 1 or not 0 < ridge < float("inf"):
            raise ValueError(
                "forgetting must lie in (0, 1] and ridge must be positive and finite, got "
                f"{forgetting!r} and {ridge!r}"
            )
        self.forgetting, self.ridge, self.scalar = forgetting, ridge, scalar
        self.alignment: Alignment | None = None
        if variant == "alignment":
            self.alignment = Alignment(variant="released", scalar=scalar)
            self.needs = self.alignment.needs
        self.reset(0)

    def reset(self, K: int) -> None:
        self.vector = np.zeros(K)
        if self.alignment is not None:
            self.alignment.reset(K)
            return
        self._A = np.zeros((K, K, K))  # A_j in row j
        self._b = np.zeros((K, K))  # b_j in row j
        self._seen = np.zeros(K, dtype=bool)

    def state_dict(self) -> dict[str, NDArray[Any]]:
        if self.alignment is not None:
            return self.alignment.state_dict()
        memory = {"A": self._A.copy(), "b": self._b.copy(), "seen": self._seen.copy()}
        return {**super().state_dict(), **memory}

    def load_state_dict(self, state: Mapping[str, NDArray[Any]]) -> None:
        super().load_state_dict(state)
        if self.alignment is not None:
            self.alignment.load_state_dict(state)
            return
        self._A, self._b = np.array(state["A"]), np.array(state["b"])
        self._seen = np.array(state["seen"])

    def __call__(self, before: Signals, after: Signals) -> float:
        if self.alignment is not None:
            value = self.alignment(before, after)
            self.vector = self.alignment.vector
            return value
        if after.counts.sum() > 0:
            self._learn(after.counts / after.counts.sum(dtype=np.float64), _decrease(before, after))
        self.vector = vector = self._influence()
        mixture = after.mixture.astype(np.float64)
        return float(vector.mean() if self.scalar == "mean" else np.dot(mixture, vector))

    def _learn(self, shares: NDArray[np.float64], decrease: NDArray[np.float64]) -> None:
        observed = np.isfinite(decrease)
        self._A[observed] = self.forgetting * self._A[observed] + np.outer(shares, shares)
        new = decrease[observed, None] * shares
        self._b[observed] = self.forgetting * self._b[observed] + new
        self._seen |= observed

    def _influence(self) -> NDArray[np.float64]:
        K = len(self._seen)
        effect = np.linalg.solve(self._A + self.ridge * np.eye(K), self._b[..., None])[..., 0]
        other = (self._seen[:, None] & ~np.eye(K, dtype=bool)).astype(np.float64)  # (j, i)
        return (effect * other).sum(axis=0) / np.maximum(other.sum(axis=0), 1.0)


def _decrease(before: Signals, after: Signals) -> NDArray[np.float64]:
    """Return the (K,) decrease of each domain's loss, NaN where it was not observed."""
    sampled = (after.counts > 0) & np.isfinite(before.train_loss) & np.isfinite(after.train_loss)
    training = np.where(sampled, after.train_loss_change, np.nan)
    validated = np.isfinite(after.validation_change)
    change = np.where(validated, after.validation_change, training).astype(np.float64)
    return np.where(np.isfinite(change), -change, np.nan)
