"""Environments with a vector reward, by MO-Gymnasium's conventions and its own wrappers.

Gymnasium's and SB3's checkers take a reward that is no number for a mistake. MO-Gymnasium's way is
to check an environment made scalar by its weighted sum, and to hold every reward against
`reward_space`; so do we.
"""

from __future__ import annotations

import copy
import pickle
import sys
import warnings
from dataclasses import asdict
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.utils.env_checker import check_env
from test_registry import IDS, SCALAR, SHORT, actions, assert_equal, make, rollout

from mixgym.errors import MissingExtraError
from mixgym.rewards.vector import penalty_vector

MO = [env_id for env_id in IDS if env_id not in SCALAR]
NANO = "mixgym/mo-NanoPretrain-v0"
TERMS = ("progress", "influence", "diversity", "stability")


def mo_wrappers() -> Any:
    return pytest.importorskip("mo_gymnasium.wrappers")


def scalar_of(env_id: str) -> str:
    return env_id.replace("mo-", "")


def diverging() -> Any:
    return make(NANO, learning_rate=1e6, warmup_steps=0, clip=1e6, decisions=5)


@pytest.mark.parametrize("env_id", MO)
def test_gymnasium_checker_accepts_the_weighted_sum(env_id: str) -> None:
    env: Any = make(env_id, render_mode="ansi")
    weights = env.unwrapped.reward_weights
    # LinearReward puts one and the same array into every info, which the checker refuses.
    env = gym.wrappers.TransformReward(
        env, lambda reward: float(np.dot(np.asarray(reward), weights))
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", message=".*different from the unwrapped version.*")
        check_env(env)


@pytest.mark.parametrize("env_id", MO)
def test_conventions(env_id: str) -> None:
    mo = pytest.importorskip("mo_gymnasium")
    env = mo.make(env_id, **SHORT)
    inner: Any = env.unwrapped
    assert isinstance(inner.reward_space, spaces.Box)
    assert inner.reward_space.dtype == np.float32
    assert inner.reward_space.shape == (inner.reward_dim,) == (4,)
    assert inner.reward_names == TERMS
    assert inner.reward_weights.tolist() == [1.0, 1.0, 10.0, 10.0]
    env.reset(seed=0)
    kept = []
    for action in actions(env):
        _, reward, _, _, info = env.step(action)
        assert reward.dtype == np.float32 and reward in inner.reward_space
        expected = [np.float32(info["reward_terms"][name]) for name in TERMS]
        np.testing.assert_array_equal(reward, expected)
        kept.append(reward)
    assert len({id(reward) for reward in kept}) == 3  # fresh objects
    assert len({reward.tobytes() for reward in kept}) == 3


@pytest.mark.parametrize("env_id", MO)
def test_linear_reward_equals_the_scalar_environment(env_id: str) -> None:
    vector: Any = make(env_id)
    scalar = make(scalar_of(env_id), reward=vector.unwrapped.arguments.reward)
    weights = vector.unwrapped.reward_weights
    chosen = actions(vector)
    expected = rollout(scalar, chosen)
    # The same dynamics, observations and infos; in info["scalar_reward"] the very same reward.
    raw = rollout(vector, chosen)
    assert_equal(raw[0], expected[0])
    for ours, theirs in zip(raw[1:], expected[1:], strict=True):
        assert_equal([ours[0], *ours[2:]], [theirs[0], *theirs[2:]])
        assert ours[4]["scalar_reward"] == theirs[1]
    # LinearReward weighs float32 entries: equal but for their rounding, half a unit in 2^-23.
    linear = mo_wrappers().LinearReward(vector, weights)
    for ours, theirs in zip(rollout(linear, chosen)[1:], expected[1:], strict=True):
        terms = np.array(list(theirs[4]["reward_terms"].values()))
        assert ours[1] == np.dot(terms.astype(np.float32), weights)
        assert abs(ours[1] - theirs[1]) <= 2.0**-23 * np.dot(np.abs(terms), weights)


def test_registered_as_the_scalar_environment_but_for_the_reward() -> None:
    for env_id in MO:
        ours: Any = gym.make(env_id).unwrapped
        theirs: Any = gym.make(scalar_of(env_id)).unwrapped
        assert {**asdict(ours.arguments), "reward": "progress"} == asdict(theirs.arguments)
        assert ours.settings == theirs.settings


def test_making_and_stepping_are_silent() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        env = make(NANO)
        rollout(env, actions(env))


def test_terms_and_weights_are_the_argument_reward() -> None:
    env: Any = make(NANO, reward={"stability": {"weight": 2.0, "variant": "released"}})
    assert env.unwrapped.reward_names == ("stability",)
    space = env.unwrapped.reward_space
    assert (space.low.item(), space.high.item()) == (-5.0 / 2, 5.0)
    env.reset(seed=0)
    _, reward, _, _, info = env.step(actions(env)[0])
    assert info["scalar_reward"] == 2.0 * info["reward_terms"]["stability"]
    assert reward.shape == (1,) and reward[0] > 0


def test_without_terms_the_vector_is_empty() -> None:
    """What a frozen policy asks for."""
    env: Any = make(NANO, reward={})
    assert env.unwrapped.reward_space.shape == (0,) == env.unwrapped.reward_weights.shape
    assert env.unwrapped.reward_dim == 0 and env.unwrapped.reward_names == ()
    env.reset(seed=0)
    for action in actions(env):
        _, reward, _, _, info = env.step(action)
        assert reward in env.unwrapped.reward_space and info["scalar_reward"] == 0.0


# --- MO-Gymnasium's vector environments and wrappers


@pytest.mark.parametrize(
    "kind",
    [
        "MOSyncVectorEnv",
        pytest.param(
            "MOAsyncVectorEnv",
            marks=pytest.mark.xfail(
                raises=ValueError, reason="mo-gymnasium 1.3.2's does not fit gymnasium 1.4"
            ),
        ),
    ],
)
def test_vector_environments_equal_single_ones(kind: str) -> None:
    chosen = np.random.default_rng(0).uniform(-1, 1, (4, 2, 8)).astype(np.float32)
    vector: Any = getattr(mo_wrappers().vector, kind)([lambda: make(NANO)] * 2)
    try:
        vector.reset(seed=[10, 11])
        alone = [rollout(make(NANO), list(chosen[:3, i]), seed=10 + i) for i in range(2)]
        for t in range(3):
            observations, rewards, terminated, _, _ = vector.step(chosen[t])
            assert rewards.shape == (2, 4) and rewards.dtype == np.float32
            for i in range(2):
                np.testing.assert_array_equal(observations[i], alone[i][t + 1][0])
                np.testing.assert_array_equal(rewards[i], alone[i][t + 1][1])
            assert terminated.tolist() == [t == 2] * 2
        _, rewards, terminated, _, infos = vector.step(chosen[3])
        assert not rewards.any() and not terminated.any() and infos["step"].tolist() == [0, 0]
    finally:
        vector.close()


@pytest.mark.parametrize("mode", [None, "vector_entry_point"])
def test_make_vec_makes_mo_gymnasiums(mode: Any) -> None:
    mo_wrappers()
    vector: Any = gym.make_vec(NANO, num_envs=2, vectorization_mode=mode, **SHORT)
    try:
        chosen = actions(make(NANO))
        assert vector.unwrapped.reward_space.shape == (4,)
        vector.reset(seed=[10, 11])
        alone = [rollout(make(NANO), chosen, seed=10 + i) for i in range(2)]
        for t, action in enumerate(chosen):
            _, rewards, _, _, infos = vector.step(np.stack([action] * 2))
            for i in range(2):
                np.testing.assert_array_equal(rewards[i], alone[i][t + 1][1])
                assert infos["scalar_reward"][i] == alone[i][t + 1][4]["scalar_reward"]
    finally:
        vector.close()


def test_make_vec_without_mo_gymnasium_names_the_extra(monkeypatch: Any) -> None:
    monkeypatch.setitem(sys.modules, "mo_gymnasium.wrappers.vector.wrappers", None)
    with pytest.raises(MissingExtraError, match=r"mixgym\[mo\]"):
        gym.make_vec(NANO, num_envs=2, **SHORT)


def test_episode_statistics_of_single_and_vector_environments() -> None:
    chosen = actions(make(NANO))
    rewards = [step[1] for step in rollout(make(NANO), chosen)[1:]]
    total = np.sum(rewards, axis=0)
    discounted = sum(0.5**t * np.asarray(r) for t, r in enumerate(rewards))
    single = mo_wrappers().MORecordEpisodeStatistics(make(NANO), gamma=0.5)
    episode = rollout(single, chosen)[-1][4]["episode"]
    np.testing.assert_allclose(episode["r"], total, rtol=1e-5)
    np.testing.assert_allclose(episode["dr"], discounted, rtol=1e-5)
    assert episode["l"] == 3
    module = mo_wrappers().vector
    envs = module.MORecordEpisodeStatistics(
        module.MOSyncVectorEnv([lambda: make(NANO)] * 2), gamma=0.5
    )
    envs.reset(seed=[5, 6])
    infos: dict[str, Any] = {}
    for action in chosen:
        *_, infos = envs.step(np.stack([action] * 2))
    np.testing.assert_allclose(infos["episode"]["r"][0], total, rtol=1e-5)
    np.testing.assert_allclose(infos["episode"]["dr"][0], discounted, rtol=1e-5)


def test_rewards_can_be_normalised_and_clipped_by_entry() -> None:
    wrappers = mo_wrappers()
    env = wrappers.MOClipReward(wrappers.MONormalizeReward(make(NANO), idx=0), 2, 0.0, 0.01)
    plain = rollout(make(NANO), actions(env))
    for ours, theirs in zip(rollout(env, actions(env))[1:], plain[1:], strict=True):
        assert ours[1][0] != theirs[1][0] and ours[1][2] == np.float32(0.01) < theirs[1][2]
        np.testing.assert_array_equal(ours[1][[1, 3]], theirs[1][[1, 3]])
        # What a wrapper writes into the reward is not what the environment remembers.
        assert_equal(ours[4]["reward_terms"], theirs[4]["reward_terms"])


# --- divergence, copies


def test_a_diverged_run_has_the_documented_penalty() -> None:
    env = diverging()
    env.reset(seed=0)
    terminated, info, reward = False, {}, np.zeros(0)
    while not terminated:
        _, reward, terminated, _, info = env.step(np.zeros(8, np.float32))
    assert info["diverged"] and info["scalar_reward"] == -5.0
    np.testing.assert_allclose(reward, [-5 / 22] * 4, rtol=1e-6)
    assert reward in env.unwrapped.reward_space
    assert np.dot(reward, env.unwrapped.reward_weights) == pytest.approx(-5.0, rel=1e-6)
    reward[:] = 0
    assert (env.unwrapped.episode._penalty < 0).all()


def test_penalty_vectors() -> None:
    assert penalty_vector([1.0, 3.0], 8.0).tolist() == [-2.0, -2.0]
    assert penalty_vector([1.0, -3.0, 0.0], 8.0).tolist() == [-2.0, 2.0, -2.0]
    assert penalty_vector([0.0], 8.0).tolist() == [-8.0]


@pytest.mark.parametrize(
    "duplicate",
    [copy.deepcopy, lambda env: pickle.loads(pickle.dumps(env)), lambda env: env.unwrapped.fork()],
    ids=["deepcopy", "pickle", "fork"],
)
def test_terms_with_memory_survive_a_copy(duplicate: Any) -> None:
    env = make(NANO)
    first, *rest = actions(env)
    env.reset(seed=1)
    env.step(first)
    twin = duplicate(env)
    assert_equal([twin.step(a) for a in rest], [env.step(a) for a in rest])


def test_monitor_and_comparison_take_the_weighted_sum() -> None:
    from mixgym.train.monitor import Monitor

    env = Monitor(make(NANO))
    played = rollout(env, actions(env))
    record = env.take()[0]
    assert record.episode_return == pytest.approx(
        sum(step[4]["scalar_reward"] for step in played[1:])
    )
