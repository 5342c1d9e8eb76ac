"""Mixing problems without a language model whose optimum is known."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from mixgym.envs.observation import ObservationLayout
from mixgym.envs.task import MixingTask
from mixgym.ledger import Ledger
from mixgym.simplex import Simplex, make_action_map, softmax


class ContextualSimplex(gym.Env[NDArray[np.float32], NDArray[np.float32]]):
    """Every decision shows one number a domain; the best mixture is softmax(1.5 x).

    The reward 1 - ||w - best||^2 / ||uniform - best||^2 is 1 at the optimum and 0 at the uniform
    mixture, whatever the context.
    """

    def __init__(self, K: int = 4, decisions: int = 50, layers: int = 2) -> None:
        names = tuple(f"domain{i}" for i in range(K))
        self.task = MixingTask(
            names=names,
            natural=np.arange(1, K + 1) / (K * (K + 1) / 2),
            objective=np.full(K, 1 / K),
            decisions=decisions,
            steps_per_decision=1,
        )
        self.layout = ObservationLayout(
            names,
            tuple(f"layer{i}" for i in range(layers)),
            ("train_loss", "train_loss_change"),
            ("weight_norm",),
            ("remaining",),
        )
        self.action_space: spaces.Space[Any] = Simplex(K)
        self.observation_space = spaces.Box(-10, 10, (self.layout.size,), np.float32)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None):
        super().reset(seed=seed)
        self.decision = 0
        return self._observe(), {}

    def _observe(self) -> NDArray[np.float32]:
        K = self.task.K
        self.context = self.np_random.normal(size=K)
        domain = np.stack([self.context, np.zeros(K)], axis=1).ravel()
        remaining = 1.0 - self.decision / self.task.decisions
        layers = np.zeros(len(self.layout.layers))
        return np.concatenate([domain, layers, [remaining]]).astype(np.float32)

    def step(self, action: NDArray[np.float32]):
        best = softmax(1.5 * self.context)
        uniform = np.full(self.task.K, 1 / self.task.K)
        reward = 1.0 - float(np.sum((action - best) ** 2) / np.sum((uniform - best) ** 2))
        self.decision += 1
        done = self.decision == self.task.decisions
        return self._observe(), reward, done, False, {"reward": reward}


class Bandit(ContextualSimplex):
    """The same with one context for ever: the best mixture never changes."""

    BEST = np.array([1.0, -0.5, 0.3, -1.0, 0.8, 0.0, -0.3, 0.5])

    def _observe(self) -> NDArray[np.float32]:
        observation = super()._observe()
        self.context = self.BEST[: self.task.K]
        return np.where(np.arange(len(observation)) < 2 * self.task.K, 1.0, observation).astype(
            np.float32
        )


class Metered(ContextualSimplex):
    """With a ledger that charges 100 tokens a decision, as a training run does."""

    def reset(self, **arguments: Any):
        self.ledger = Ledger()
        return super().reset(**arguments)

    def step(self, action):
        self.ledger.charge("train", tokens=100, flops=6e3, seconds=0.5)
        self.ledger.charge("reward", tokens=10)
        return super().step(action)


def step(agent: Any, env: Any, observation: Any, info: Any) -> tuple[Any, Any, bool, Any]:
    """One decision: observation, reward, whether the episode ended, info."""
    observation, reward, terminated, truncated, info = env.step(agent.act(observation, info))
    agent.observe(reward, terminated, truncated, info)
    return observation, reward, terminated or truncated, info


def play(agent: Any, env: Any, observation: Any, info: Any, decisions: int) -> tuple[Any, Any]:
    """So many decisions; the last observation and info."""
    for _ in range(decisions):
        observation, _, _, info = step(agent, env, observation, info)
    return observation, info


def driven(agent: Any, env: Any, decisions: int = 3) -> tuple[list[float], Any, Any]:
    """The rewards of an episode's first decisions, and the last observation and info."""
    observation, info = env.reset(seed=0)
    agent.start(env, 0)
    rewards = []
    for _ in range(decisions):
        observation, reward, _, info = step(agent, env, observation, info)
        rewards.append(reward)
    return rewards, observation, info


def average_reward(agent: Any, env: gym.Env[Any, Any], seed: int = 1000) -> float:
    """Mean reward of one episode of a frozen agent."""
    observation, info = env.reset(seed=seed)
    agent.start(env, seed)
    done, rewards = False, []
    while not done:
        observation, reward, done, info = step(agent, env, observation, info)
        rewards.append(float(reward))
    return float(np.mean(rewards))


class Boxed(gym.Wrapper[Any, Any, Any, Any]):
    """A toy whose actions are points of a box, as the environments' default action map's."""

    def __init__(self, env: ContextualSimplex, action_map: str = "softmax") -> None:
        super().__init__(env)
        self.action_map = env.action_map = make_action_map(action_map, env.task.K)  # type: ignore[attr-defined]
        self.action_space = self.action_map.space
        self.mixture = env.task.natural

    def reset(self, **arguments: Any):
        self.mixture = self.env.unwrapped.task.natural  # type: ignore[attr-defined]
        observation, info = self.env.reset(**arguments)
        return observation, {**info, "mixture": self.mixture}

    def step(self, action: Any):
        self.mixture = self.action_map.to_mixture(action, self.mixture, np.random.default_rng(0))
        observation, reward, terminated, truncated, info = self.env.step(self.mixture)
        return observation, reward, terminated, truncated, {**info, "mixture": self.mixture}
