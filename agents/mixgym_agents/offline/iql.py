"""Implicit Q-Learning from logged trajectories."""

from __future__ import annotations

from mixgym_agents.learning.hyperparameters import as_factory
from mixgym_agents.offline.agent import OfflineAgent


class Iql(OfflineAgent):
    """Implicit Q-Learning (arXiv 2110.06169), d3rlpy's: never asks for values of unseen actions.

    Arguments as `OfflineAgent`.
    """

    name = "iql"


agent = as_factory(Iql)
