"""Truncated quantile critics: sb3-contrib's, through `agents.sb3`."""

from __future__ import annotations

from agents.hyperparameters import as_factory
from agents.sac import SEARCH_SPACE
from agents.sb3 import Sb3Agent
from agents.sb3_config import TqcConfig


class Tqc(Sb3Agent):
    __doc__ = Sb3Agent.__doc__

    name = "tqc"
    CONFIG = TqcConfig


agent = as_factory(
    Tqc,
    TqcConfig,
    {**SEARCH_SPACE, "top_quantiles_to_drop_per_net": {"low": 0, "high": 5, "default": 2}},
)
