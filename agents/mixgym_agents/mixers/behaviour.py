"""A behaviour that logs trajectories, as an agent: what offline learning must improve on."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from mixgym.envs.task import MixingTask
from mixgym.mixer import Mixer, as_agent
from mixgym.signals import Signals
from mixgym.simplex import Mixture, validate_mixture
from mixgym.trajectories.behaviours import make_behaviour


@dataclass(kw_only=True)
class BehaviourMixer(Mixer):
    """Plays a behaviour of `mixgym collect` (docs/trajectories.md), which reads no losses.

    The same rule, not the same episodes: its noise follows from the comparison's seeds.

    Args:
        behaviour: `"random-walk"`, `"dirichlet"` or `"heuristic"`.
        options: the behaviour's own arguments.

    Raises:
        UnknownNameError: no such behaviour, or argument of it.
        ValueError: an argument out of its range.
    """

    name = "behaviour"

    behaviour: str = "random-walk"
    options: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.rule = make_behaviour(self.behaviour, self.options)

    def start(self, task: MixingTask, rng: np.random.Generator) -> None:
        self.K, self.rng = task.K, rng
        self.rule.start(task, rng)

    def update(self, signals: Signals) -> Mixture:
        current = signals.mixture.astype(np.float64)
        mixture = self.rule.propose(current, 1.0 - signals.remaining)
        return validate_mixture(mixture, self.K, normalise=True)

    def state_dict(self) -> dict[str, Any]:
        return {"rng": self.rng.bit_generator.state, "rule": self.rule.state()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.rng.bit_generator.state = state["rng"]
        self.rule.restore(state["rule"])


agent = as_agent(BehaviourMixer)
