"""Agents learn from the reward that the environment, as it is wrapped, returned."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from mixgym.agents import make_agent
from mixgym.errors import MixgymError
from mixgym.experiment.rollout import play
from tests.agents.toy import Boxed, ContextualSimplex

SMALL: dict[str, Any] = {"width": 8, "heads": 2, "depth": 1}
OFF: dict[str, Any] = {**SMALL, "warmup": 2, "batch_size": 2, "gradient_steps": 1}
ON: dict[str, Any] = {**SMALL, "n_steps": 10, "batch_size": 5, "n_epochs": 1}
NAMES = ("acodm", "sac", "tqc", "ppo")
DECISIONS = 6


def made(name: str) -> tuple[Any, Any, list[float]]:
    """An agent, an environment whose rewards a wrapper negates and doubles, and these rewards."""
    if name != "acodm":
        pytest.importorskip("sb3_contrib")
    inner: Any = ContextualSimplex(4, decisions=DECISIONS)
    env = inner if name == "acodm" else Boxed(inner)
    returned: list[float] = []

    def twice(reward: Any) -> float:
        returned.append(-2.0 * float(reward))
        return returned[-1]

    arguments = {"acodm": SMALL, "ppo": ON}.get(name, OFF)
    return make_agent(name, **arguments), gym.wrappers.TransformReward(env, twice), returned


def learned_from(name: str, agent: Any) -> np.ndarray:
    """The rewards in the agent's buffer, in order."""
    if name == "acodm":
        return agent.learner.replay.all().reward[:, 0]
    model = agent.learner.driver.model
    if name != "ppo":
        return model.replay_buffer.rewards[: model.replay_buffer.size(), 0]
    scale = np.sqrt(agent.learner.env.ret_rms.var + 1e-8)
    return model.rollout_buffer.rewards[: model.rollout_buffer.pos, 0] * scale


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("online", [True, False], ids=["online", "episodes"])
def test_a_reward_wrapper_counts_online_as_it_does_in_training(name: str, online: bool) -> None:
    agent, env, returned = made(name)
    if online:
        play(env, agent, 0)
        returned = returned[:-1]  # of the last decision no next state was seen
    else:
        env.reset(seed=0)
        agent.start(env, 0)
        agent.learn(env, DECISIONS)
    stored = learned_from(name, agent)
    if name == "ppo":  # each divided by the deviation known at its time
        stored, returned = stored[-1:], returned[-1:]
    np.testing.assert_allclose(stored, returned, rtol=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_who_does_not_tell_the_reward_is_told_so(name: str) -> None:
    agent, env, _ = made(name)
    observation, info = env.reset(seed=0)
    agent.start(env, 0)
    observation, *_, info = env.step(agent.act(observation, info))
    with pytest.raises(MixgymError, match=r"call agent\.observe\(.*after every env\.step"):
        agent.act(observation, info)


@pytest.mark.parametrize("name", NAMES)
def test_a_frozen_agent_need_not_be_told(name: str) -> None:
    agent, env, _ = made(name)
    agent.frozen = True
    observation, info = env.reset(seed=0)
    agent.start(env, 0)
    for _ in range(DECISIONS):
        observation, *_, info = env.step(agent.act(observation, info))


@pytest.mark.parametrize("name", NAMES)
def test_a_reward_that_was_told_before_saving_is_not_lost(name: str, tmp_path: Any) -> None:
    agent, env, _ = made(name)
    observation, info = env.reset(seed=0)
    agent.start(env, 0)
    observation, reward, ended, cut, info = env.step(agent.act(observation, info))
    agent.observe(reward, ended, cut, info)
    agent.save(tmp_path)
    again, _, _ = made(name)
    again.start(env, 1)
    again.load(tmp_path)
    np.testing.assert_array_equal(again.act(observation, info), agent.act(observation, info))
    assert len(learned_from(name, again)) == 1
    np.testing.assert_array_equal(learned_from(name, again), learned_from(name, agent))
