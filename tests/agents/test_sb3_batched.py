"""stable-baselines3 on runs that train together."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest

pytest.importorskip("stable_baselines3")
from mixgym_agents.sb3.batched import GymnasiumVecEnv
from stable_baselines3 import PPO, SAC
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.vec_env import VecMonitor, VecNormalize

NANO = "mixgym/NanoPretrain-v0"
SHORT: dict[str, Any] = {
    "decisions": 3,
    "steps_per_decision": 2,
    "evaluation_windows": 2,
    "batch_size": 4,
    "context": 16,
}


def together(num_envs: int = 2, **arguments: Any) -> GymnasiumVecEnv:
    given = {**SHORT, "autoreset_mode": "SameStep", **arguments}
    return GymnasiumVecEnv(gym.make_vec(NANO, num_envs, **given))


def test_it_is_stable_baselines3s_own_vector_environment() -> None:
    ours = together()
    theirs = make_vec_env(f"mixgym:{NANO}", n_envs=2, env_kwargs=SHORT)
    assert ours.observation_space == theirs.observation_space
    assert ours.action_space == theirs.action_space
    for envs in (ours, theirs):
        envs.seed(5)
    np.testing.assert_allclose(ours.reset(), theirs.reset(), atol=1e-4)  # type: ignore[arg-type]
    assert [info["run_seed"] for info in ours.reset_infos] == [5, 6]
    chosen = np.random.default_rng(0).uniform(-1, 1, (5, 2, 8)).astype(np.float32)
    for actions in chosen:
        a, b = ours.step(actions), theirs.step(actions)
        for x, y in zip(a[:3], b[:3], strict=True):
            assert x.dtype == y.dtype  # type: ignore[union-attr]
            np.testing.assert_allclose(x, y, atol=1e-4)  # type: ignore[arg-type]
        for mine, other in zip(a[3], b[3], strict=True):
            assert mine.keys() == other.keys() - {"episode"}  # which its Monitor adds
            assert mine["step"] == other["step"] and mine["run_seed"] == other["run_seed"]
            assert mine["TimeLimit.truncated"] == other["TimeLimit.truncated"]
            if "terminal_observation" in other:
                ends = mine["terminal_observation"], other["terminal_observation"]
                np.testing.assert_allclose(*ends, atol=1e-4)
    with pytest.raises(ValueError, match="SameStep"):
        together(autoreset_mode="NextStep")


@pytest.mark.parametrize(
    ("algorithm", "arguments"), [(PPO, {"n_steps": 3}), (SAC, {"learning_starts": 2})]
)
def test_algorithms_learn_on_it(algorithm: Any, arguments: dict[str, Any]) -> None:
    envs = VecMonitor(VecNormalize(together()))
    model = algorithm("MlpPolicy", envs, batch_size=2, seed=0, **arguments)
    model.learn(8)
    assert model.num_timesteps >= 8 and len(model.ep_info_buffer) >= 2
    returns, lengths = evaluate_policy(
        model, VecMonitor(together()), 2, return_episode_rewards=True
    )
    assert lengths == [3, 3] and np.isfinite(returns).all()  # type: ignore[arg-type]


def returns_of(envs: Any, policy: Any, seed: int) -> np.ndarray:
    """(N,) return of an episode of each of N runs."""
    envs.seed(seed)
    observations, total, over = envs.reset(), np.zeros(envs.num_envs), np.zeros(1, bool)
    while not over.all():
        observations, rewards, over, _ = envs.step(policy(observations))
        total += rewards
    return total


@pytest.mark.slow
def test_ppo_on_batched_runs_beats_uniform(runs: int = 32, updates: int = 10) -> None:
    """On real nano runs whose objective is three domains of eight; paired by seed."""
    arguments: dict[str, Any] = {
        **SHORT,
        "decisions": 5,
        "steps_per_decision": 4,
        "evaluation_windows": 8,
        "context": 32,
        "batch_size": 8,
        "objective": ["python", "i18n", "math_synth"],
        "autoreset_mode": "SameStep",
    }
    envs = GymnasiumVecEnv(gym.make_vec(NANO, runs, **arguments))
    model = PPO("MlpPolicy", envs, n_steps=5, batch_size=5 * runs // 4, learning_rate=1e-3, seed=0)
    model.learn(updates * 5 * runs)
    learned = returns_of(envs, lambda o: model.predict(o, deterministic=True)[0], 10_000)
    uniform = returns_of(envs, lambda o: np.zeros((runs, 8), np.float32), 10_000)
    gains = learned - uniform
    assert gains.mean() > 2.0 * gains.std() / np.sqrt(runs) > 0.0
