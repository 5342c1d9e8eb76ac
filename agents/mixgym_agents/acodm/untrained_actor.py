"""AC-ODM's actor at its random start: the control that a learned policy must beat."""

from __future__ import annotations

from typing import Any

from mixgym_agents.acodm.agent import AcOdm
from mixgym_agents.learning.hyperparameters import as_factory


class UntrainedActor(AcOdm):
    """w_t = mu(s_t) with the weights that `acodm` would begin with for the same seed, for ever.

    The released AC-ODM code never steps its actor, so that this is what it evaluates after
    warm-up: a nearly fixed, nearly uniform mixture drawn at random by initialisation. No
    exploration, no warm-up, no rewards; only the statistics that normalise the state are kept up.

    Args:
        observation: of the environment it is made with, as `acodm`'s.
        arguments: those of `acodm`; `output_gain=1` is the release's initialisation.
    """

    name = "untrained-actor"

    def __init__(self, *, observation: Any = None, **arguments: Any) -> None:
        super().__init__(frozen=True, observation=observation, **arguments)

    @property
    def _adapts(self) -> bool:
        return True


agent = as_factory(UntrainedActor)
