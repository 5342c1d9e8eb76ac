"""skrl steps environments inside `torch.no_grad()`; ours train a language model there."""

# pyright: reportMissingImports=false
from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium as gym
import pytest

pytest.importorskip("skrl", reason="of the extra clients: make test-clients")

import torch
from skrl.agents.torch.ppo import PPO, PPO_CFG
from skrl.envs.wrappers.torch import wrap_env
from skrl.memories.torch import RandomMemory
from skrl.models.torch import DeterministicMixin, GaussianMixin, Model
from skrl.trainers.torch import SequentialTrainer

import mixgym  # noqa: F401


class Policy(GaussianMixin, Model):
    def __init__(self, env: Any) -> None:
        Model.__init__(self, observation_space=env.observation_space, action_space=env.action_space)
        GaussianMixin.__init__(self, clip_actions=True)
        self.mean = torch.nn.Linear(self.num_observations, self.num_actions)
        self.log_std = torch.nn.Parameter(torch.zeros(self.num_actions))

    def compute(self, inputs: Any, role: str = "") -> Any:
        return torch.tanh(self.mean(inputs["observations"])), {"log_std": self.log_std}


class Value(DeterministicMixin, Model):
    def __init__(self, env: Any) -> None:
        Model.__init__(self, observation_space=env.observation_space, action_space=env.action_space)
        DeterministicMixin.__init__(self)
        self.value = torch.nn.Linear(self.num_observations, 1)

    def compute(self, inputs: Any, role: str = "") -> Any:
        return self.value(inputs["observations"]), {}


def test_ppo_trains(tmp_path: Path) -> None:
    torch.manual_seed(0)
    env = wrap_env(gym.make("mixgym/NanoPretrain-v0", decisions=4))
    policy = Policy(env)
    before = policy.mean.weight.detach().clone()
    agent = PPO(
        models={"policy": policy, "value": Value(env)},
        memory=RandomMemory(memory_size=8, num_envs=1),
        cfg=PPO_CFG(
            rollouts=8,
            learning_epochs=1,
            mini_batches=1,
            experiment={"directory": str(tmp_path), "write_interval": 0, "checkpoint_interval": 0},
        ),
        observation_space=env.observation_space,
        action_space=env.action_space,
    )
    trainer = SequentialTrainer(
        env=env, agents=agent, cfg={"timesteps": 8, "headless": True, "disable_progressbar": True}
    )
    trainer.train()
    assert not torch.equal(policy.mean.weight, before)
