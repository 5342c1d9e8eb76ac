"""The natural mixture, flattened or sharpened."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mixgym.envs.task import MixingTask
from mixgym.mixer import FixedMixer, as_agent
from mixgym.simplex import TINY, Mixture, softmax
from mixgym_agents.checks import Checked, Positive


@dataclass(kw_only=True)
class Temperature(Checked, FixedMixer):
    """w_i proportional to natural_i^(1/T).

    T = 1 is the natural mixture, T towards infinity uniform, T below 1 sharpens. The usual remedy
    for unbalanced languages or domains.

    Args:
        T: temperature, positive and finite.
    """

    name = "temperature"

    T: Positive = 2.0

    def choose(self, task: MixingTask) -> Mixture:
        logits = np.log(np.maximum(task.natural, TINY)) / self.T
        return softmax(np.where(task.natural > 0, logits, -np.inf))


agent = as_agent(Temperature)
