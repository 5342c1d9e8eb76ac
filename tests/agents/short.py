"""Short real runs for agents that train proxies."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np

import mixgym  # noqa: F401  (registers the environments)

SHORT: dict[str, Any] = {
    "decisions": 3, "steps_per_decision": 2, "evaluation_windows": 2, "batch_size": 4,
    "context": 16, "action_map": "simplex", "domains": ["recipes", "python", "icd10"], "limit": {},
}  # fmt: skip
UNIFORM = np.full(3, 1 / 3)


def make(**arguments: Any) -> Any:
    """An environment of three domains after its reset."""
    env = gym.make("mixgym/NanoPretrain-v0", disable_env_checker=True, **{**SHORT, **arguments})
    env.reset(seed=0)
    return env


def first_action(agent: Any, env: Any, seed: int = 0) -> np.ndarray:
    """What an agent plays first; for one with proxies, what they found."""
    agent.start(env, seed)
    return agent.act(np.zeros(0), {})
