"""The target's own text and nothing else."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mixgym.envs.task import MixingTask
from mixgym.mixer import FixedMixer, as_agent
from mixgym.simplex import Mixture
from mixgym_agents.checks import Checked, Spec

_TARGET = "target"


@dataclass(kw_only=True)
class Naive(Checked, FixedMixer):
    """Train on the target alone, its domains in proportion to their text.

    The baseline of the Data Mixing Agent (arXiv 2507.15640): continual pretraining on the target
    field, as it is. Without `target` it is the environment's group `target`, where there is one
    (the objective may count the source as well), else the domains that the objective counts.

    Args:
        target: a mixture, as the `static` agent takes it.
    """

    name = "naive"

    target: Spec | None = None

    def choose(self, task: MixingTask) -> Mixture:
        if self.target is not None:
            return task.mixture(self.target)
        if _TARGET in task.groups:
            return task.mixture(_TARGET)
        counted = np.where(task.objective > 0, task.natural, 0.0)
        return counted / counted.sum()


agent = as_agent(Naive)
