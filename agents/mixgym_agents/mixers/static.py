"""One given mixture for the whole run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from mixgym.envs.task import MixingTask, MixtureSpec
from mixgym.mixer import FixedMixer, as_agent
from mixgym.simplex import Mixture, validate_mixture


@dataclass(kw_only=True)
class Static(FixedMixer):
    """w = the given mixture, every decision.

    Args:
        mixture: a named mixture ("uniform", "natural", "objective", a group, a domain), a mapping
            `{name: weight}` of such names, or K weights in the domains' order. Weights are
            divided by their sum; zero is allowed, negative, NaN and all-zero are not.
    """

    name = "static"

    mixture: MixtureSpec

    def __post_init__(self) -> None:
        self.mixture = checked_spec(self.mixture)

    def choose(self, task: MixingTask) -> Mixture:
        return task.mixture(self.mixture)


def checked_spec(mixture: MixtureSpec) -> MixtureSpec:
    """Return a mixture's specification as plain str, dict or list.

    Weights that can never be a mixture raise `ValueError` here, before there is a task.
    """
    if isinstance(mixture, str):
        return mixture
    if isinstance(mixture, Mapping):
        validate_mixture(list(mixture.values()), len(mixture), list(mixture), normalise=True)
        return {str(name): float(weight) for name, weight in mixture.items()}
    validate_mixture(mixture, len(mixture), normalise=True)
    return [float(weight) for weight in mixture]


agent = as_agent(Static)
