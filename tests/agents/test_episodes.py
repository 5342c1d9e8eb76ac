"""Learning over episodes where rewards are vectors."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from mixgym.agents import make_agent
from tests.agents.toy import Boxed, ContextualSimplex

SMALL: dict[str, Any] = {"width": 8, "heads": 2, "depth": 1}


class TwoTerms(ContextualSimplex):
    """The reward is the vector (r, 1), of which the scalar is r + 2."""

    def step(self, action: Any) -> Any:
        observation, reward, *ends, info = super().step(action)
        self.returned.append(reward + 2.0)
        vector = np.array([reward, 1.0], dtype=np.float32)
        return observation, vector, *ends, {**info, "scalar_reward": reward + 2.0}

    def reset(self, **arguments: Any):
        self.returned: list[float] = []
        return super().reset(**arguments)


@pytest.mark.parametrize("name", ["sac", "tqc", "ppo", "acodm"])
def test_the_weighted_sum_of_a_vector_reward_is_learned_from(name: str) -> None:
    arguments: dict[str, Any] = {"warmup": 2, "batch_size": 2, "gradient_steps": 1}
    inner = TwoTerms(4, decisions=5)
    env: Any = Boxed(inner)
    if name == "acodm":
        env, arguments = inner, {}
    else:
        pytest.importorskip("sb3_contrib")
    if name == "ppo":
        arguments = {"n_steps": 10, "batch_size": 5, "n_epochs": 1}
    agent: Any = make_agent(name, **SMALL, **arguments)
    env.reset(seed=0)
    agent.start(env, 0)
    agent.learn(env, 5)
    assert agent.episodes == 1 and len(inner.returned) == 5
    if name == "acodm":
        stored = agent.learner.state()[0]["replay.reward"].numpy().ravel()
    elif name == "ppo":
        stored = agent.learner.driver.model.rollout_buffer.rewards[:5, 0]
        stored = stored * np.sqrt(agent.learner.env.ret_rms.var + 1e-8)
        stored, inner.returned = stored[-1:], inner.returned[-1:]
    else:
        stored = agent.learner.driver.model.replay_buffer.rewards[:5, 0]
    np.testing.assert_allclose(stored, inner.returned, rtol=1e-4)
