"""CQL from logged trajectories, with a supervised warm start: the Data Mixing Agent's learning."""

from __future__ import annotations

from mixgym_agents.learning.hyperparameters import as_factory
from mixgym_agents.offline.agent import OfflineAgent


class Cql(OfflineAgent):
    """Conservative Q-Learning (arXiv 2006.04779), d3rlpy's, after cloning good trajectories.

    The two stages of the Data Mixing Agent (arXiv 2507.15640): supervised learning on trajectories
    with a high return, then CQL on all. docs/agents/cql.md has what is known of the paper and every
    deviation. Arguments as `OfflineAgent`.
    """

    name = "cql"


agent = as_factory(Cql)
