"""TorchRL's environments over ours: specs, info, processes, and the same rewards as Gymnasium's."""

# pyright: reportMissingImports=false
from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest

pytest.importorskip("torchrl", reason="of the extra clients: make test-clients")

from torchrl.envs import GymEnv, ParallelEnv
from torchrl.envs.utils import check_env_specs

import mixgym  # noqa: F401

ID = "mixgym/NanoPretrain-v0"


def make() -> Any:
    return GymEnv(ID, decisions=2)


def test_specs_hold() -> None:
    check_env_specs(make())


def test_specs_hold_with_everything_in_info() -> None:
    env = make().auto_register_info_dict()
    check_env_specs(env)
    rollout = env.rollout(2)
    np.testing.assert_allclose(rollout["next", "mixture"].sum(-1), 1, rtol=1e-6)


def test_rewards_are_those_of_gymnasium() -> None:
    env = make()
    env.set_seed(3)
    rollout = env.rollout(5)
    assert rollout.shape == (2,) and rollout["next", "terminated"][-1]
    plain = gym.make(ID, decisions=2)
    for seed in range(3, 6):
        plain.reset(seed=seed)
        rewards = [float(plain.step(action)[1]) for action in rollout["action"].numpy()]
        if np.allclose(rewards, rollout["next", "reward"].flatten(), rtol=0, atol=1e-7):
            return
    pytest.fail("no seed from the one given on has these rewards")


def test_two_in_one_vector_environment() -> None:
    env = GymEnv(ID, num_envs=2, decisions=2)
    assert env.rollout(3, break_when_any_done=False)["next", "reward"].shape == (2, 3, 1)


def test_two_processes() -> None:
    env = ParallelEnv(2, make)
    try:
        rollout = env.rollout(4, break_when_any_done=False)
        assert rollout["next", "reward"].shape == (2, 4, 1)
        assert rollout["next", "done"].sum() == 4
    finally:
        env.close()
