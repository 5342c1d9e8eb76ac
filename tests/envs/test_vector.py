"""Vectorised environments equal single ones bit for bit."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv
from test_registry import SHORT, make

NANO = "mixgym/NanoPretrain-v0"
CHOSEN = np.random.default_rng(0).uniform(-1, 1, (3, 2, 8)).astype(np.float32)


def single(i: int) -> list[Any]:
    env = make(NANO)
    return [env.reset(seed=10 + i)[0]] + [env.step(CHOSEN[t, i])[:3] for t in range(3)]


@pytest.mark.parametrize("mode", ["sync", "async"])
def test_vector_equals_single(mode: str) -> None:
    envs: Any = gym.make_vec(NANO, num_envs=2, vectorization_mode=mode, **SHORT)
    try:
        observations, infos = envs.reset(seed=[10, 11])
        alone = [single(i) for i in range(2)]
        assert infos["mixture"].shape == (2, 8)
        for i in range(2):
            np.testing.assert_array_equal(observations[i], alone[i][0])
        for t in range(3):
            observations, rewards, terminated, truncated, infos = envs.step(CHOSEN[t])
            assert not truncated.any()
            for i in range(2):
                expected, reward, end = alone[i][t + 1]
                np.testing.assert_array_equal(observations[i], expected)
                assert rewards[i] == reward and terminated[i] == end
    finally:
        envs.close()


@pytest.mark.parametrize("vector", [SyncVectorEnv, AsyncVectorEnv])
@pytest.mark.parametrize("mode", list(AutoresetMode))
def test_autoreset_modes(vector: Any, mode: AutoresetMode) -> None:
    envs = vector([lambda: make(NANO)] * 2, autoreset_mode=mode)
    try:
        assert envs.metadata["autoreset_mode"] == mode
        envs.reset(seed=[10, 11])
        for t in range(2):
            envs.step(CHOSEN[t])
        observations, _, terminated, _, infos = envs.step(CHOSEN[2])
        assert terminated.all()
        last = np.stack([single(i)[3][0] for i in range(2)])
        if mode == AutoresetMode.SAME_STEP:
            np.testing.assert_array_equal(np.stack(list(infos["final_obs"])), last)
        else:
            np.testing.assert_array_equal(observations, last)
        if mode == AutoresetMode.DISABLED:
            observations, infos = envs.reset(options={"reset_mask": np.array([True, True])})
        elif mode == AutoresetMode.NEXT_STEP:
            observations, rewards, terminated, _, infos = envs.step(CHOSEN[0])
            assert not rewards.any() and not terminated.any()
        # Every mode goes on with a fresh run of the next seed.
        assert infos["step"].tolist() == [0, 0]
        assert not set(infos["run_seed"]) & {10, 11}
        assert not np.array_equal(observations, last)
    finally:
        envs.close()


def test_sb3_vector_environments() -> None:
    vec_env = pytest.importorskip("stable_baselines3.common.vec_env")
    from stable_baselines3.common.env_util import make_vec_env

    for kind in (vec_env.DummyVecEnv, vec_env.SubprocVecEnv):
        envs: Any = make_vec_env(
            f"mixgym:{NANO}", n_envs=2, seed=10, env_kwargs=SHORT, vec_env_cls=kind
        )
        try:
            observations = envs.reset()
            for i in range(2):
                np.testing.assert_array_equal(observations[i], single(i)[0])
            for t in range(2):
                envs.step(CHOSEN[t])
            _, rewards, done, infos = envs.step(CHOSEN[2])
            for i in range(2):
                expected, reward, end = single(i)[3]
                assert rewards[i] == np.float32(reward) and done[i] and end
                np.testing.assert_array_equal(infos[i]["terminal_observation"], expected)
                assert not infos[i]["TimeLimit.truncated"]
        finally:
            envs.close()


def test_sb3_normalisation_is_saved(tmp_path: Any) -> None:
    vec_env = pytest.importorskip("stable_baselines3.common.vec_env")

    envs = vec_env.VecNormalize(vec_env.DummyVecEnv([lambda: make(NANO)]))
    envs.seed(0)
    envs.reset()
    for t in range(2):
        envs.step(CHOSEN[t, :1])
    envs.save(str(tmp_path / "statistics"))
    again = vec_env.VecNormalize.load(
        str(tmp_path / "statistics"), vec_env.DummyVecEnv([lambda: make(NANO)])
    )
    np.testing.assert_array_equal(again.obs_rms.mean, envs.obs_rms.mean)
    raw = envs.get_original_obs()
    np.testing.assert_array_equal(again.normalize_obs(raw), envs.normalize_obs(raw))
