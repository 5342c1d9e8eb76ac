"""Learning over episodes, for agents that learn while they act."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import numpy as np
from gymnasium import Env
from numpy.typing import NDArray

from mixgym.agents import Agent
from mixgym.errors import MixgymError
from mixgym.rewards.vector import scalar_reward


class EpisodeLearner(Agent):
    """An agent whose `act` learns; `learn` plays whole episodes with it.

    Attributes:
        frozen: act only, learn nothing.
        seed: of the first `start`; None before it.
        episodes: played by `learn` so far.
    """

    frozen: bool
    seed: int | None
    episodes: int
    _in_learn: bool
    _given: float | None

    def learn(self, env: Env[Any, Any], budget: int) -> None:
        """Learn from `budget` decisions in `env`, in as many episodes as they make.

        Of a vector reward the weighted sum is learned from (`scalar_reward`).

        Episodes are seeded from the seed of the first `start` and their number, so that learning
        goes on where it stopped after `save` and `load`.

        Raises:
            MixgymError: frozen, or not started.
        """
        if self.seed is None:
            raise MixgymError(f"agent {self.name!r} has not started: call start(env, seed) first")
        if self.frozen:
            raise MixgymError(f"agent {self.name!r} is frozen: build it with frozen=False to learn")
        left = budget
        self._in_learn = True
        try:
            while left > 0:
                left -= self._learn_episode(env, self._episode_seed(self.seed), left)
        finally:
            self._in_learn = False

    def _learn_episode(self, env: Env[Any, Any], seed: int, limit: int) -> int:
        observation, info = env.reset(seed=seed)
        self.start(env, seed)
        terminated, done, decisions = False, False, 0
        while not done and decisions < limit:
            action = self.act(observation, info)
            observation, reward, terminated, truncated, info = env.step(action)
            self._given = scalar_reward(reward, info)
            done, decisions = terminated or truncated, decisions + 1
        self._end_episode(observation, info, terminated)
        self.episodes += 1
        return decisions

    @abstractmethod
    def _episode_seed(self, first: int) -> int:
        """Return the seed of episode number `episodes`, from that of the first `start`."""

    @abstractmethod
    def _end_episode(
        self, observation: NDArray[Any], info: dict[str, Any], terminated: np.bool | bool
    ) -> None:
        """Learn from an episode's last transition; no further action is asked for."""
