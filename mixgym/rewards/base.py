"""The contract of a reward term."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixgym.signals import Signals


class RewardTerm(ABC):
    """One named term of an environment's reward.

    A subclass states the paper's equation, units and range in its docstring, and in `needs` the
    measurements it asks of the run; an environment makes those, and only those, and charges them
    to the ledger's `reward` account. The keywords of its `__init__` are arguments of the
    environment: `reward={"alignment": {"weight": 1.0, "xi": 0.5}}`.

    Attributes:
        needs: subset of {"objective", "gram", "objective_gradient", "diversity", "feedback"}:
            validation losses of the objective's domains at every decision; the domains' gradients;
            those against the objective's gradient; the lexical diversity of what was sampled; the
            probes' feedback (continual environments only).
        text_sequences: sequences of each domain whose text is measured at a decision, for a term
            that needs "diversity".
        bounds: smallest and largest value the term can have.
        objective: (K,) float64, the domains' weights in the objective, summing to 1; an environment
            sets it before every `reset`. None elsewhere.
        vector: (K,) float64, one value a domain behind the latest reward, finite; None for a term
            that has no such values. An environment shows it in `info["reward_vectors"]`.
    """

    needs: frozenset[str] = frozenset()
    text_sequences: int = 12
    bounds: tuple[float, float] = (-math.inf, math.inf)
    objective: NDArray[np.float64] | None = None
    vector: NDArray[np.float64] | None = None

    def reset(self, K: int) -> None:
        """Begin an episode with K domains: forget the previous one. Terms without state pass."""
        return None

    def state_dict(self) -> dict[str, NDArray[Any]]:
        """Return, copied, the arrays that the term remembers of the episode: here its `vector`.

        A term that remembers more adds to them, and takes them back in `load_state_dict`.
        """
        return {} if self.vector is None else {"vector": self.vector.copy()}

    def load_state_dict(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Go on exactly where `state` was taken; `reset` comes before."""
        if "vector" in state:
            self.vector = np.array(state["vector"])

    @abstractmethod
    def __call__(self, before: Signals, after: Signals) -> float:
        """Return the term for the decision that led from `before` to `after`; finite."""
