"""Domains in proportion to their size."""

from __future__ import annotations

from dataclasses import dataclass

from mixgym.envs.task import MixingTask
from mixgym.mixer import FixedMixer, as_agent
from mixgym.simplex import Mixture


@dataclass(kw_only=True)
class Natural(FixedMixer):
    """w_i = n_i / sum_j n_j, n_i the bytes of text available in domain i."""

    name = "natural"

    def choose(self, task: MixingTask) -> Mixture:
        return task.mixture("natural")


agent = as_agent(Natural)
