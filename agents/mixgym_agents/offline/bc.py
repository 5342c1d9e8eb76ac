"""Behaviour cloning of good trajectories."""

from __future__ import annotations

from mixgym_agents.learning.hyperparameters import as_factory
from mixgym_agents.offline.agent import OfflineAgent


class BehaviourCloning(OfflineAgent):
    """Least squares to the actions of the best `share` of the episodes; d3rlpy's.

    The supervised stage of the Data Mixing Agent (arXiv 2507.15640) alone. Arguments as
    `OfflineAgent`.
    """

    name = "bc"


agent = as_factory(BehaviourCloning)
