"""The one rollout: what a player is shown, told and asked, and when it ends."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from mixgym.agents import make_agent
from mixgym.experiment.environment import make_environment
from mixgym.experiment.rollout import Replayed, play, rollout
from tests.tiny import ENV, TWO

TINY = {**TWO, "steps_per_decision": 1}


class Doubled(gym.RewardWrapper[Any, Any]):
    """A user's wrapper, whose reward is the one that counts."""

    def reward(self, reward: Any) -> Any:
        return 2.0 * float(reward)


class Told:
    """Plays an agent and keeps what it is told."""

    def __init__(self) -> None:
        self.agent = make_agent("uniform")
        self.calls: list[str] = []
        self.seen: list[tuple[Any, bool, bool, int]] = []

    def start(self, env: Any, seed: int) -> None:
        self.calls.append(f"start {seed}")
        self.agent.start(env, seed)

    def act(self, observation: Any, info: dict[str, Any]) -> Any:
        self.calls.append("act")
        return self.agent.act(observation, info)

    def observe(self, reward: Any, terminated: bool, truncated: bool, info: Any) -> None:
        self.calls.append("observe")
        self.seen.append((reward, terminated, truncated, info["decision"]))


def test_a_player_is_told_what_the_wrapped_environment_returned() -> None:
    env = Doubled(make_environment(ENV, TINY, make_agent("uniform")))
    told = Told()
    steps = list(rollout(env, told, 5))
    env.close()
    assert told.calls == ["start 5", *("act", "observe") * 3]
    assert [step.decision for step in steps] == [0, 1, 2, 3]
    own = [step.reward for step in steps[1:]]
    assert [seen[0] for seen in told.seen] == own and any(own)
    assert [seen[1:] for seen in told.seen] == [
        (False, False, 1),
        (False, False, 2),
        (True, False, 3),
    ]
    terms = [float(step.info["reward_terms"]["progress"]) for step in steps[1:]]
    assert own == [2.0 * term for term in terms]
    assert steps[0].action is None and steps[-1].done
    assert steps[1].action is not None and steps[1].action.dtype == np.float32


def test_stored_actions_give_every_number_again() -> None:
    env = make_environment(ENV, TINY, make_agent("random"))
    first = list(rollout(env, make_agent("random"), 7))
    actions = [step.action for step in first if step.action is not None]
    again = list(rollout(env, Replayed(actions), 7))
    env.close()
    for one, other in zip(first, again, strict=True):
        assert one.reward == other.reward and one.info["step"] == other.info["step"]
        np.testing.assert_array_equal(one.observation, other.observation)


def test_a_limit_ends_an_episode_early_and_play_returns_the_last_step() -> None:
    env = make_environment(ENV, TINY, make_agent("uniform"))
    assert play(env, make_agent("uniform"), 0, decisions=2).decision == 2
    last = play(env, make_agent("uniform"), 0)
    assert last.decision == 3 and last.terminated
    assert play(env, make_agent("uniform"), 0, decisions=0).decision == 0
    env.close()


def test_what_an_agent_wants_comes_after_what_is_given() -> None:
    agent = make_agent("doge-online")
    env: Any = make_environment(ENV, {**TINY, "gradients": {"kinds": ["objective"]}}, agent)
    assert env.unwrapped.arguments.action_map == "simplex"
    assert set(env.unwrapped.gradients.kinds) >= {"gram", "objective"}
    env.close()
    bare: Any = make_environment(ENV, TINY)
    assert bare.unwrapped.arguments.action_map == "softmax"
    bare.close()


def test_an_environment_that_mixgym_did_not_make(monkeypatch: pytest.MonkeyPatch) -> None:
    """Any registered environment is found, checked by its signature, and played."""
    from mixgym.experiment.environment import build_corpus, environment_id, prepare_environment

    assert environment_id("CartPole-v1") == "CartPole-v1"
    assert environment_id("NanoPretrain-v0") == ENV
    prepare_environment("CartPole-v1", {"sutton_barto_reward": True})
    with pytest.raises(ValueError, match="did you mean 'sutton_barto_reward'"):
        build_corpus("CartPole-v1", {"sutton_barto_rewards": True})
