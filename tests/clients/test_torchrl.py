"""TorchRL's environments over ours: specs, info, processes, and the same rewards as Gymnasium's."""

# pyright: reportMissingImports=false
from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest

pytest.importorskip("torchrl", reason="of the extra clients: make test-clients")

from torchrl.envs import GymEnv, ParallelEnv, default_info_dict_reader
from torchrl.envs.utils import check_env_specs

import mixgym  # noqa: F401

ID = "mixgym/NanoPretrain-v0"


def make() -> Any:
    return GymEnv(ID, decisions=2)


def test_specs_hold() -> None:
    check_env_specs(make())


def test_specs_hold_with_keys_of_info() -> None:
    env = make()
    env.set_info_dict_reader(default_info_dict_reader(["mixture", "scalar_reward"]))
    rollout = env.rollout(2)["next"]
    np.testing.assert_allclose(rollout["mixture"].sum(-1), 1, rtol=1e-6)
    np.testing.assert_allclose(rollout["scalar_reward"], rollout["reward"].flatten(), rtol=1e-6)


def test_rewards_are_those_of_gymnasium() -> None:
    env = make()
    rollout = env.rollout(5)
    assert rollout.shape == (2,) and rollout["next", "terminated"][-1]
    plain = gym.make(ID, decisions=2)
    plain.reset(seed=env._env.unwrapped.run_seed)
    rewards = [float(plain.step(action)[1]) for action in rollout["action"].numpy()]
    np.testing.assert_array_equal(
        np.array(rewards, dtype=np.float32), rollout["next", "reward"].flatten()
    )


def test_two_processes() -> None:
    env = ParallelEnv(2, make)
    try:
        rollout = env.rollout(4, break_when_any_done=False)
        assert rollout["next", "reward"].shape == (2, 4, 1)
        assert rollout["next", "done"].sum() == 4
    finally:
        env.close()
