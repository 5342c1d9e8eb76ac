"""TD3 with behaviour cloning from logged trajectories."""

from __future__ import annotations

from mixgym_agents.learning.hyperparameters import as_factory
from mixgym_agents.offline.agent import OfflineAgent


class Td3Bc(OfflineAgent):
    """TD3+BC (arXiv 2106.06860), d3rlpy's: maximises values and stays near the logged actions.

    Arguments as `OfflineAgent`.
    """

    name = "td3-bc"


agent = as_factory(Td3Bc)
