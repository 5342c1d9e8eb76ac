"""Soft actor-critic: stable-baselines3's, through `mixgym_agents.sb3.agent`; the agent of HDS."""

from __future__ import annotations

from mixgym_agents.learning.hyperparameters import as_factory
from mixgym_agents.sb3.agent import Sb3Agent
from mixgym_agents.sb3.config import SacConfig

SEARCH_SPACE = {
    "network": {"choices": ["tokens", "mlp"], "default": "tokens"},
    "width": {"choices": [32, 64, 128], "default": 32},
    "interaction": {"choices": ["attention", "deepsets"], "default": "attention"},
    "learning_rate": {"low": 1e-4, "high": 1e-2, "log": True, "default": 1e-3},
    "gamma": {"choices": [0.5, 0.8, 0.9, 1.0], "default": 1.0},
    "tau": {"low": 0.005, "high": 0.1, "log": True, "default": 0.02},
    "gradient_steps": {"choices": [4, 16, 64], "default": 16},
    "batch_size": {"choices": [32, 64, 128], "default": 64},
    "log_std_init": {"low": -3.0, "high": -0.5, "default": -2.0},
    "warmup": {"low": 2, "high": 120, "default": 5},
    "warmup_noise": {"low": 0.25, "high": 2.0, "default": 0.5},
    "normalise_rewards": {"choices": ["rewards", "returns"], "default": "rewards"},
}


class Sac(Sb3Agent):
    __doc__ = Sb3Agent.__doc__

    name = "sac"
    CONFIG = SacConfig


agent = as_factory(Sac, SEARCH_SPACE)
