"""Real signals, a real task and a small environment for the agents to act in."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces

from mixgym.envs.task import MixingTask
from mixgym.mixer import Mixer
from mixgym.signals import Signals
from mixgym.simplex import ActionMap, make_action_map
from tests.tiny import unmeasured

NAMES = ("code", "recipes", "law", "noise")


class BanditEnv(gym.Env):
    """A mixing environment without a language model: a domain's loss is fixed, plus noise."""

    observation_space = spaces.Box(-1, 1, (1,), np.float32)

    def __init__(
        self, task: MixingTask, losses: np.ndarray, sequences: int = 16, action_map: str = "simplex"
    ) -> None:
        self.task, self.losses, self.sequences = task, losses, sequences
        self.map: ActionMap = make_action_map(action_map, task.K)
        self.action_space = self.map.space

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None):
        super().reset(seed=seed)
        self.decision = 0
        self.signals = unmeasured(self.task.K, mixture=self.task.natural)
        return np.zeros(1, np.float32), {}

    def step(self, action):
        mixture = self.map.to_mixture(action, self.task.natural, self.np_random)
        counts = self.np_random.multinomial(self.sequences, mixture)
        noise = self.np_random.normal(scale=0.1, size=self.task.K)
        self.decision += 1
        self.signals = unmeasured(
            self.task.K,
            mixture=mixture,
            counts=counts,
            last_loss=np.where(counts > 0, self.losses + noise, np.nan),
            decision=self.decision,
            step=self.decision * self.task.steps_per_decision,
            remaining=1.0 - self.decision / self.task.decisions,
        )
        done = self.decision == self.task.decisions
        return np.zeros(1, np.float32), 0.0, done, False, {}


@pytest.fixture
def make_signals() -> Callable[..., Signals]:
    return unmeasured


@pytest.fixture
def task() -> MixingTask:
    return MixingTask(
        names=NAMES,
        natural=np.array([0.6, 0.3, 0.08, 0.02]),
        objective=np.array([0.0, 0.5, 0.5, 0.0]),
        groups={"target": ("recipes", "law"), "broad": ("code", "noise")},
        decisions=20,
        steps_per_decision=5,
    )


@pytest.fixture
def env(task: MixingTask) -> gym.Env:
    return gym.wrappers.TransformReward(
        BanditEnv(task, np.array([2.0, 1.0, 3.0, 1.5])), lambda reward: reward
    )


@pytest.fixture
def make_bandit() -> Callable[..., BanditEnv]:
    return BanditEnv


@pytest.fixture
def started(task: MixingTask) -> Callable[..., Mixer]:
    """Builds a mixer of some arguments and starts it."""

    def start(rule: Callable[..., Mixer], **arguments: Any) -> Mixer:
        mixer = rule(**arguments)
        mixer.start(task, np.random.default_rng(0))
        return mixer

    return start
