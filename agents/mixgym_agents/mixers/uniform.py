"""The same weight for every domain."""

from __future__ import annotations

from dataclasses import dataclass

from mixgym.envs.task import MixingTask
from mixgym.mixer import FixedMixer, as_agent
from mixgym.simplex import Mixture


@dataclass(kw_only=True)
class Uniform(FixedMixer):
    """w_i = 1 / K (also called stratified sampling)."""

    name = "uniform"

    def choose(self, task: MixingTask) -> Mixture:
        return task.mixture("uniform")


agent = as_agent(Uniform)
