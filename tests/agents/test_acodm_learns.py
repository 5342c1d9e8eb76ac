"""AC-ODM on a real language model: a minute of training, against the same actor left untrained."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import pytest

import mixgym  # noqa: F401
from mixgym.agents import make_agent
from tests.agents.toy import step

LEARNED: dict[str, Any] = {
    "critic": "factored",
    "anchor": "current",
    "network": "tokens",
    "width": 32,
    "gamma": 0.5,
    "actor_learning_rate": 3e-3,
    "critic_learning_rate": 3e-3,
    "entropy": 4.0,
    "noise": 0.02,
    "floor": 0.005,
    "warmup_share": 0.0,
    "reward": {"objective-alignment": {"normalise": "cosine", "importance": False, "xi": 0.5}},
    "observation": {
        "domain": ["mixture", "epochs", "train_loss", "train_loss_change", "objective_alignment"],
        "layer": [],
        "scalar": ["remaining"],
    },
}


def final_loss(name: str, seed: int) -> float:
    """Test loss of the objective, nats per byte, after an episode of the nano model."""
    arguments = dict(LEARNED)
    if name == "untrained-actor":
        del arguments["reward"]
    agent = make_agent(name, **arguments)
    env: Any = gym.make(
        "mixgym/MicroTarget-v0", model="nano", action_map="simplex", **agent.env_arguments
    )
    observation, info = env.reset(seed=seed)
    agent.start(env, seed)
    done = False
    while not done:
        observation, _, done, info = step(agent, env, observation, info)
    loss = env.unwrapped.report(windows=256)["objective_loss"]
    env.close()
    return float(loss)


@pytest.mark.slow
def test_it_beats_the_untrained_actor_within_the_run_it_steers():
    """Both begin at the uniform mixture, of which a fifth is on the targets."""
    gains = [final_loss("untrained-actor", seed) - final_loss("acodm", seed) for seed in (0, 1)]
    assert min(gains) > 0.03, gains
