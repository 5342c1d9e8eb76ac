"""The natural mixture, flattened or sharpened."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mixgym.envs.task import MixingTask
from mixgym.mixer import FixedMixer, as_agent
from mixgym.simplex import TINY, Mixture, softmax


@dataclass(kw_only=True)
class Temperature(FixedMixer):
    """w_i proportional to natural_i^(1/T).

    T = 1 is the natural mixture, T towards infinity uniform, T below 1 sharpens. The usual remedy
    for unbalanced languages or domains.

    Args:
        T: temperature, positive and finite.
    """

    name = "temperature"

    T: float = 2.0

    def __post_init__(self) -> None:
        if not 0 < self.T < np.inf:
            raise ValueError(f"T={self.T!r}: the temperature must be a positive finite number")

    def choose(self, task: MixingTask) -> Mixture:
        logits = np.log(np.maximum(task.natural, TINY)) / self.T
        return softmax(np.where(task.natural > 0, logits, -np.inf))


agent = as_agent(Temperature)
