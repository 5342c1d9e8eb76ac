"""A fresh random mixture every decision: the control that any signal-driven agent must beat."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from mixgym.envs.task import MixingTask
from mixgym.mixer import Mixer, as_agent
from mixgym.signals import Signals
from mixgym.simplex import Mixture, validate_mixture


@dataclass(kw_only=True)
class Random(Mixer):
    """w ~ Dirichlet(concentration, ..., concentration), independently each decision.

    Args:
        concentration: positive; 1 is uniform over the simplex, less gives nearly one domain at a
            time, more gives near-uniform mixtures.
    """

    name = "random"

    concentration: float = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.concentration < np.inf:
            raise ValueError(
                f"concentration={self.concentration!r} must be a positive finite number"
            )

    def start(self, task: MixingTask, rng: np.random.Generator) -> None:
        self.K = task.K
        self.rng = rng

    def update(self, signals: Signals) -> Mixture:
        draw = self.rng.dirichlet(np.full(self.K, self.concentration))
        return validate_mixture(draw, self.K, normalise=True)

    def state_dict(self) -> dict[str, Any]:
        return {"rng": self.rng.bit_generator.state}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.rng.bit_generator.state = state["rng"]


agent = as_agent(Random)
