from __future__ import annotations

import copy
import pickle
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from test_registry import make

from mixgym.envs.wrappers import SimplexAction

NANO = "mixgym/NanoPretrain-v0"


@pytest.mark.parametrize("action_map", ["softmax", "ilr", "delta", "simplex"])
def test_the_mixture_given_is_the_mixture_applied(action_map: str) -> None:
    env: Any = SimplexAction(make(NANO, action_map=action_map))
    env.reset(seed=0)
    wanted = np.array([0.2, 0.1, 0.05, 0.15, 0.1, 0.2, 0.1, 0.1], dtype=np.float32)
    *_, info = env.step(wanted)
    np.testing.assert_allclose(info["mixture"], wanted, atol=1e-4)


def test_samples_are_mixtures() -> None:
    env = SimplexAction(make(NANO))
    env.action_space.seed(0)
    assert all(env.action_space.sample() in env.action_space for _ in range(20))
    env.reset(seed=0)
    with pytest.raises(ValueError, match="sum"):
        env.step(np.full(8, 0.2, dtype=np.float32))


def test_it_appears_in_the_spec_and_is_copied() -> None:
    env = SimplexAction(make(NANO))
    assert env.spec is not None
    assert env.spec.additional_wrappers[-1].name == "SimplexAction"
    again = gym.make(env.spec)
    assert isinstance(again, SimplexAction)
    env.reset(seed=0)
    mixture = np.full(8, 0.125, dtype=np.float32)
    twins: list[Any] = [copy.deepcopy(env), pickle.loads(pickle.dumps(env))]
    expected = env.step(mixture)[0]
    for twin in twins:
        np.testing.assert_array_equal(twin.step(mixture)[0], expected)
