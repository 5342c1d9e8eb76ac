"""Truncated quantile critics: sb3-contrib's, through `mixgym_agents.sb3.agent`."""

from __future__ import annotations

from mixgym_agents.learning.hyperparameters import as_factory
from mixgym_agents.sb3.agent import Sb3Agent
from mixgym_agents.sb3.config import TqcConfig
from mixgym_agents.sb3.sac import SEARCH_SPACE


class Tqc(Sb3Agent):
    __doc__ = Sb3Agent.__doc__

    name = "tqc"
    CONFIG = TqcConfig


agent = as_factory(
    Tqc,
    {**SEARCH_SPACE, "top_quantiles_to_drop_per_net": {"low": 0, "high": 5, "default": 2}},
)
