"""SAC on a real language model: twenty episodes of a small run, against the uniform mixture."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import pytest

import mixgym  # noqa: F401
from mixgym.agents import make_agent
from tests.agents.toy import step

# The twin of benchmarks/suites/hds-policies.yml.
TWIN: dict[str, Any] = {
    "model": "nano",
    "steps_per_decision": 10,
    "evaluation_windows": 32,
    "limit": dict.fromkeys(("recipes", "bible", "python", "wiki_es"), 6250),
}


def make(agent: Any) -> Any:
    wanted: dict[str, Any] = {**TWIN, **agent.env_arguments, "reward": "progress"}
    if agent.action_map is not None:
        wanted["action_map"] = agent.action_map
    return gym.make("mixgym/MicroTarget-v0", **wanted)


def improvement(agent: Any, seed: int) -> float:
    """Decrease of the targets' validation loss over an episode, nats per byte."""
    env = make(agent)
    observation, info = env.reset(seed=seed)
    agent.start(env, seed)
    total, done = 0.0, False
    while not done:
        observation, reward, done, info = step(agent, env, observation, info)
        total += reward
    env.close()
    return float(total)


@pytest.mark.slow
def test_a_policy_learned_over_episodes_beats_uniform(tmp_path):
    """About five minutes: updates cost as much as the model's training."""
    learner = make_agent(
        "sac",
        reward="progress",
        network="tokens",
        width=32,
        interaction="deepsets",
        gamma=0.8,
        warmup=90,
        warmup_noise=1.5,
    )
    env = make(learner)
    env.reset(seed=100)
    learner.start(env, 100)
    learner.learn(env, 20 * 30)
    learner.save(tmp_path / "policy")
    policy = make_agent("sac", policy=str(tmp_path / "policy"))
    uniform = make_agent("uniform")
    gains = [improvement(policy, seed) - improvement(uniform, seed) for seed in (50, 51)]
    assert min(gains) > 0.01, gains
