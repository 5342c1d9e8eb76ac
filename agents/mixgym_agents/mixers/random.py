"""A fresh random mixture every decision: the control that any signal-driven agent must beat."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mixgym.envs.task import MixingTask
from mixgym.mixer import Mixer, as_agent
from mixgym.signals import Signals
from mixgym.simplex import Mixture, validate_mixture
from mixgym_agents.checks import Checked, Positive


@dataclass(kw_only=True)
class Random(Checked, Mixer):
    """w ~ Dirichlet(concentration, ..., concentration), independently each decision.

    Args:
        concentration: positive; 1 is uniform over the simplex, less gives nearly one domain at a
            time, more gives near-uniform mixtures.
    """

    name = "random"
    STATE = ("rng",)

    concentration: Positive = 1.0

    def start(self, task: MixingTask, rng: np.random.Generator) -> None:
        self.K = task.K
        self.rng = rng

    def update(self, signals: Signals) -> Mixture:
        draw = self.rng.dirichlet(np.full(self.K, self.concentration))
        return validate_mixture(draw, self.K, normalise=True)


agent = as_agent(Random)
