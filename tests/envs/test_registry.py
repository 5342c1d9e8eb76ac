"""Properties of every registered environment; a new id is tested by being registered."""

from __future__ import annotations

import copy
import json
import pickle
import random
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.envs.registration import EnvSpec
from gymnasium.utils.env_checker import check_env, data_equivalence

import mixgym  # noqa: F401
from mixgym.envs.pretrain import PretrainEnv
from mixgym.envs.registration import ENVIRONMENTS

IDS = list(ENVIRONMENTS)
#: With a reward that is a number; test_vector_reward.py checks the others.
SCALAR = [env_id for env_id in IDS if "/mo-" not in env_id]
#: The environments as registered, but with an episode of seconds.
SHORT: dict[str, Any] = {
    "decisions": 3,
    "steps_per_decision": 2,
    "evaluation_windows": 2,
    "report_windows": 2,
    "batch_size": 4,
    "context": 16,
}
#: And what else makes one start in seconds.
OWN: dict[str, dict[str, Any]] = {
    env_id: {"base": {"steps": 4}, "feedback_items": 2, "report_items": 2}
    for env_id in IDS
    if "Continual" in env_id
}


@contextmanager
def no_warnings() -> Iterator[None]:
    """Any warning is an error, but that a later version of an environment exists."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", ".* is out of date", DeprecationWarning)
        yield


def short(env_id: str) -> dict[str, Any]:
    return {**SHORT, **OWN.get(env_id, {})}


def make(env_id: str, **arguments: Any) -> gym.Env:
    return gym.make(env_id, **{**short(env_id), **arguments})


def actions(env: gym.Env, n: int = 3, seed: int = 0) -> list[Any]:
    env.action_space.seed(seed)
    return [env.action_space.sample() for _ in range(n)]


def rollout(env: gym.Env, chosen: list[Any], seed: int = 5) -> list[Any]:
    result: list[Any] = [env.reset(seed=seed)]
    result += [env.step(action) for action in chosen]
    return result


def assert_equal(a: Any, b: Any) -> None:
    if isinstance(a, dict):
        assert a.keys() == b.keys()
        for key in a:
            assert_equal(a[key], b[key])
    elif isinstance(a, (list, tuple)):
        assert len(a) == len(b)
        for x, y in zip(a, b, strict=True):
            assert_equal(x, y)
    else:
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("env_id", SCALAR)
def test_gymnasium_checker_is_silent(env_id: str) -> None:
    with no_warnings():
        check_env(gym.make(env_id, render_mode="ansi", **short(env_id)).unwrapped)


@pytest.mark.parametrize("env_id", SCALAR)
def test_sb3_checker_is_silent(env_id: str) -> None:
    sb3 = pytest.importorskip("stable_baselines3.common.env_checker")
    with no_warnings():
        sb3.check_env(make(env_id))


@pytest.mark.parametrize("env_id", IDS)
def test_a_whole_episode_keeps_the_contract(env_id: str) -> None:
    with no_warnings():
        env = make(env_id)
        observation, info = env.reset(seed=0)
        keys = {k: np.shape(v) for k, v in info.items()}
        for n, action in enumerate(actions(env), start=1):
            assert observation.dtype == np.float32
            assert observation in env.observation_space
            observation, reward, terminated, truncated, info = env.step(action)
            assert observation in env.observation_space
            assert np.isfinite(np.asarray(reward)).all()
            assert type(reward) is (float if env_id in SCALAR else np.ndarray)
            assert (terminated, truncated) == (n == 3, False)
            assert {k: np.shape(v) for k, v in info.items()} == keys
            assert info["mixture"].sum() == pytest.approx(1, abs=1e-6)
            assert (info["mixture"] >= 0).all()
            assert info["step"] == 2 * n


@pytest.mark.parametrize("env_id", IDS)
def test_spec_round_trips_through_json(env_id: str) -> None:
    first = gym.make(env_id).unwrapped.task.names[0]  # type: ignore[attr-defined]
    env = make(env_id, limit={first: 50_000})
    spec = EnvSpec.from_json(env.spec.to_json())  # type: ignore[union-attr]
    json.dumps(spec.kwargs)
    again = gym.make(spec)
    assert again.spec.kwargs == env.spec.kwargs  # type: ignore[union-attr]
    chosen = actions(env)
    assert_equal(rollout(env, chosen), rollout(again, chosen))


@pytest.mark.parametrize("env_id", IDS)
def test_same_seed_and_actions_same_trajectory(env_id: str) -> None:
    a, b = make(env_id), make(env_id)
    chosen = actions(a)
    first = rollout(a, chosen)
    assert_equal(first, rollout(b, chosen))
    assert_equal(first, rollout(a, chosen))
    other = rollout(b, chosen, seed=6)
    assert not data_equivalence(first[1][0], other[1][0])


@pytest.mark.parametrize("env_id", IDS)
def test_global_random_states_are_untouched(env_id: str) -> None:
    env = make(env_id)
    legacy = np.random.get_state()
    before = (torch.get_rng_state().numpy().tobytes(), random.getstate(), str(legacy))
    rollout(env, actions(env))
    after = (torch.get_rng_state().numpy().tobytes(), random.getstate(), str(np.random.get_state()))
    assert before == after


@pytest.mark.parametrize("env_id", IDS)
@pytest.mark.parametrize(
    "duplicate",
    [copy.deepcopy, lambda env: pickle.loads(pickle.dumps(env)), lambda env: env.unwrapped.fork()],
    ids=["deepcopy", "pickle", "fork"],
)
@pytest.mark.parametrize("action_map", ["softmax", "dirichlet"])
def test_a_copy_mid_episode_continues_identically(
    env_id: str, duplicate: Any, action_map: str
) -> None:
    env = make(env_id, action_map=action_map)
    env.reset(seed=1)
    first, *rest = actions(env)
    env.step(first)
    twin = duplicate(env)
    assert_equal([twin.step(a) for a in rest], [env.step(a) for a in rest])


@pytest.mark.parametrize("env_id", IDS)
def test_reset_without_a_seed_continues_the_environments_own_stream(env_id: str) -> None:
    env = make(env_id)
    seeds = []
    for _ in range(2):
        env.reset(seed=3)
        seeds.append([env.reset()[1]["run_seed"] for _ in range(3)])
    assert seeds[0] == seeds[1]
    assert len(set(seeds[0])) == 3


@pytest.mark.parametrize("env_id", IDS)
def test_observation_layout_names_every_entry(env_id: str) -> None:
    env = make(env_id)
    observation, info = env.reset(seed=0)
    observation, *_, info = env.step(actions(env)[0])
    layout = env.unwrapped.layout  # type: ignore[attr-defined]
    assert len(set(layout.names)) == layout.size == len(observation)
    named = dict(zip(layout.names, observation, strict=True))
    for k, name in enumerate(env.unwrapped.task.names):  # type: ignore[attr-defined]
        assert named[f"mixture.{name}"] == np.float32(info["mixture"][k])
        if "train_loss" in layout.domain_features:
            assert named[f"train_loss.{name}"] == np.nan_to_num(info["train_loss"][k], posinf=0.0)
    assert named["remaining"] == pytest.approx(2 / 3)
    domains, layers, scalars = layout.split(observation)
    assert domains.shape[0] == len(info["mixture"])
    assert domains[1, layout.domain_features.index("mixture")] == np.float32(info["mixture"][1])
    assert domains.size + layers.size + scalars.size == layout.size


@pytest.mark.parametrize("env_id", SCALAR)
def test_the_return_is_the_total_improvement(env_id: str) -> None:
    env = make(env_id, reward="progress")
    _, info = env.reset(seed=0)
    start = info["objective_loss"]
    total = 0.0
    for action in actions(env):
        _, reward, _, _, info = env.step(action)
        total += float(reward)
    assert total == pytest.approx(start - info["objective_loss"], abs=1e-9)


@pytest.mark.parametrize("env_id", IDS)
def test_ledger_counts_every_token(env_id: str) -> None:
    env = make(env_id)
    env.reset(seed=0)
    *_, info = env.step(actions(env)[0])
    ledger = info["ledger"]
    u: Any = env.unwrapped
    measured = int((u.task.objective > 0).sum())
    assert ledger["train"]["tokens"] == 2 * 4 * 16
    feedback = getattr(u, "feedback_tokens", 0)
    assert ledger["reward"]["tokens"] == 2 * (measured * 2 * 16 + feedback)
    assert ledger["evaluation"]["tokens"] == 0
    PretrainEnv.report(u, "test")
    assert u.ledger.accounts["evaluation"].tokens == u.task.K * 2 * 16
    assert ledger["train"]["flops"] == 6 * u.run.n_parameters * 2 * 4 * 16


@pytest.mark.parametrize("env_id", IDS)
def test_docstring_has_gymnasiums_sections(env_id: str) -> None:
    doc = type(gym.make(env_id, **short(env_id)).unwrapped).__doc__ or ""
    headings = [line.strip()[3:] for line in doc.splitlines() if line.strip().startswith("## ")]
    assert headings == [
        "Description",
        "Action Space",
        "Observation Space",
        "Rewards",
        "Starting State",
        "Episode End",
        "Arguments",
        "References",
        "Version History",
    ]
