"""Proximal policy optimisation: stable-baselines3's, through `mixgym_agents.sb3.agent`."""

from __future__ import annotations

from mixgym_agents.learning.hyperparameters import as_factory
from mixgym_agents.sb3.agent import Sb3Agent
from mixgym_agents.sb3.config import PpoConfig

SEARCH_SPACE = {
    "network": {"choices": ["tokens", "mlp"], "default": "tokens"},
    "width": {"choices": [32, 64, 128], "default": 32},
    "learning_rate": {"low": 1e-4, "high": 1e-2, "log": True, "default": 1e-3},
    "gamma": {"choices": [0.9, 0.95, 0.99, 1.0], "default": 1.0},
    "gae_lambda": {"choices": [0.8, 0.9, 0.95, 1.0], "default": 0.95},
    "n_steps": {"choices": [10, 20, 40], "default": 10},
    "n_epochs": {"choices": [5, 10, 20], "default": 10},
    "clip_range": {"choices": [0.1, 0.2, 0.4], "default": 0.2},
    "entropy": {"low": 1e-5, "high": 1e-1, "log": True, "default": 1e-3},
    "log_std_init": {"low": -3.0, "high": -0.5, "default": -2.0},
}


class Ppo(Sb3Agent):
    __doc__ = Sb3Agent.__doc__

    name = "ppo"
    CONFIG = PpoConfig


agent = as_factory(Ppo, SEARCH_SPACE)
