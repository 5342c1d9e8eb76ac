"""The contract of a reward term."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

from mixgym.signals import Signals


class RewardTerm(ABC):
    """One named term of an environment's reward.

    A subclass states the paper's equation, units and range in its docstring, and in `needs` the
    measurements it asks of the run; an environment makes those, and only those, and charges them
    to the ledger's `reward` account.
    """

    #: Subset of {"objective"}: validation losses of the objective's domains at every decision.
    needs: ClassVar[frozenset[str]] = frozenset()

    @abstractmethod
    def __call__(self, before: Signals, after: Signals) -> float:
        """Return the term for the decision that led from `before` to `after`; finite."""
