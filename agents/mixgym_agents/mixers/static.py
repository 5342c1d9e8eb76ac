"""One given mixture for the whole run."""

from __future__ import annotations

from dataclasses import dataclass

from mixgym.envs.task import MixingTask
from mixgym.mixer import FixedMixer, as_agent
from mixgym.simplex import Mixture
from mixgym_agents.checks import Checked, Spec


@dataclass(kw_only=True)
class Static(Checked, FixedMixer):
    """w = the given mixture, every decision.

    Args:
        mixture: a named mixture ("uniform", "natural", "objective", a group, a domain), a mapping
            `{name: weight}` of such names, or K weights in the domains' order. Weights are
            divided by their sum; zero is allowed, negative, NaN and all-zero are not.
    """

    name = "static"

    mixture: Spec

    def choose(self, task: MixingTask) -> Mixture:
        return task.mixture(self.mixture)


agent = as_agent(Static)
