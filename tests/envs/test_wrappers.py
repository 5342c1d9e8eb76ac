from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import wrappers
from test_registry import actions, make

NANO = "mixgym/NanoPretrain-v0"


def test_gymnasiums_wrappers_work() -> None:
    env: Any = make(NANO)
    env = wrappers.RescaleAction(env, np.float32(0.0), np.float32(1.0))
    env = wrappers.NormalizeObservation(env)
    env = wrappers.FlattenObservation(env)
    env = wrappers.RecordEpisodeStatistics(env)
    observation, info = env.reset(seed=0)
    total, terminated = 0.0, False
    for action in actions(env):
        observation, reward, terminated, _, info = env.step(action)
        assert observation in env.observation_space
        total += reward
    assert terminated
    assert info["episode"]["r"] == pytest.approx(total)
    assert info["episode"]["l"] == 3


@pytest.mark.parametrize("mode", ["ansi", "rgb_array"])
def test_rendering_follows_the_episode(mode: str) -> None:
    env: Any = make(NANO, render_mode=mode)
    env.reset(seed=0)
    env.step(np.zeros(8, np.float32))
    first = env.render()
    env.step(np.array([1, *[-1] * 7], np.float32))
    second = env.render()
    if mode == "ansi":
        assert isinstance(second, str)
        assert "step 4/6" in second
        top = second.splitlines()[1]
        assert "wiki_en" in top and "100.0%" in top
        assert first != second
    else:
        assert isinstance(second, np.ndarray)
        assert second.dtype == np.uint8 and second.ndim == 3 and second.shape[2] == 3
        assert first.shape == second.shape
        assert not np.array_equal(first, second)
        assert 0.02 < (second < 250).any(axis=2).mean() < 0.95, "the picture is blank or solid"
    assert env.metadata["render_fps"] > 0


def test_rendering_without_a_mode_says_how() -> None:
    env = make(NANO)
    env.reset(seed=0)
    with pytest.warns(UserWarning, match="render_mode"):
        assert env.unwrapped.render() is None


@pytest.mark.parametrize("action_map", ["softmax", "ilr", "delta", "dirichlet", "simplex"])
def test_every_action_map_runs(action_map: str) -> None:
    env = make(NANO, action_map=action_map)
    env.reset(seed=0)
    for action in actions(env):
        assert action in env.action_space
        *_, info = env.step(action)
        assert info["mixture"].sum() == pytest.approx(1)
        if action_map == "simplex":
            np.testing.assert_allclose(info["mixture"], action, atol=1e-6)


def test_the_dirichlet_map_draws_from_the_runs_own_stream() -> None:
    env = make(NANO, action_map="dirichlet")
    action = np.zeros(8, np.float32)

    def mixtures(seed: int) -> list[Any]:
        env.reset(seed=seed)
        return [env.step(action)[-1]["mixture"].tolist() for _ in range(3)]

    assert mixtures(0) == mixtures(0)
    assert mixtures(0) != mixtures(1)
    assert mixtures(0)[0] != mixtures(0)[1]


def test_infos_and_observations_are_fresh_objects() -> None:
    env = make(NANO)
    observation, info = env.reset(seed=0)
    kept = observation.copy(), info["mixture"].copy()
    observation2, *_, info2 = env.step(actions(env)[0])
    assert not np.shares_memory(observation, observation2)
    np.testing.assert_array_equal(observation, kept[0])
    np.testing.assert_array_equal(info["mixture"], kept[1])
    info2["mixture"][:] = 0
    assert env.unwrapped.signals.mixture.sum() == pytest.approx(1)  # type: ignore[attr-defined]


def test_validation_is_measured_only_where_asked() -> None:
    def measured(**arguments: Any) -> int:
        env = make(NANO, **arguments)
        _, info = env.reset(seed=0)
        return int(np.isfinite(info["validation_loss"]).sum())

    assert measured() == 8
    assert measured(objective=["recipes", "python"]) == 2
    assert measured(objective=["recipes"], validation="all") == 8


def test_make_through_register_envs() -> None:
    import mixgym

    gym.register_envs(mixgym)
    assert gym.spec(NANO).id == NANO
    assert not gym.spec(NANO).nondeterministic
