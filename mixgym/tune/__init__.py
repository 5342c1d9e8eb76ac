"""Searching an agent's hyperparameters: a pruned Optuna study on seeds of its own."""

from __future__ import annotations

from mixgym.tune.space import search_space
from mixgym.tune.study import FIRST_SEED, TuningRequest, tune_agent

__all__ = ["FIRST_SEED", "TuningRequest", "search_space", "tune_agent"]
