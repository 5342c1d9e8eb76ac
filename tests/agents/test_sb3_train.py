"""`sac`, `tqc` and `ppo` on real runs: trained, resumed, online, frozen, and vectorised."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch

pytest.importorskip("sb3_contrib")
from mixgym_agents.sb3.config import PpoConfig, SacConfig, TqcConfig
from mixgym_agents.sb3.models import build_driver
from mixgym_agents.sb3.networks import TokenShape
from mixgym_agents.sb3.randomness import PrivateRandomness
from mixgym_agents.sb3.vecenv import normalised
from stable_baselines3.common.vec_env import DummyVecEnv, SubprocVecEnv

import mixgym  # noqa: F401  (registers the environments)
from mixgym.agents import make_agent
from mixgym.experiment.request import AgentSpec
from mixgym.train import TrainingRequest, policy_agent, train_agent
from tests.agents.toy import driven, step
from tests.tiny import ENV, TINY

OFF: dict[str, Any] = {"width": 8, "heads": 2, "batch_size": 4, "gradient_steps": 1, "warmup": 2}
ON: dict[str, Any] = {"width": 8, "heads": 2, "batch_size": 2, "n_steps": 2, "n_epochs": 1}
AGENTS = {"sac": OFF, "tqc": {**OFF, "n_quantiles": 5}, "ppo": ON}
CONFIGS = {"sac": SacConfig, "tqc": TqcConfig, "ppo": PpoConfig}


def request(name: str) -> TrainingRequest:
    return TrainingRequest(AgentSpec(name, name, AGENTS[name]), ENV, TINY, seed=1)


def same_policy(first: Path, second: Path) -> bool:
    folders = [f / json.loads((f / "cost.json").read_text())["policy"] for f in (first, second)]
    records = [json.loads((folder / "policy.json").read_text()) for folder in folders]
    for record in records:
        current = record["scalars"]["current_run"].values()
        for cost in (record["scalars"]["cost"], *current):
            cost.pop("seconds")
        record.pop("digest")
    return records[0] == records[1]


@pytest.fixture(scope="module", params=["sac", "ppo"])
def trained(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    name = request.param
    out = tmp_path_factory.mktemp("trained") / name
    train_agent(TrainingRequest(AgentSpec(name, name, AGENTS[name]), ENV, TINY, seed=1), out, 2)
    return name, out


def test_training_resumes_exactly_and_draws_its_curve(trained, tmp_path):
    name, whole = trained
    out = tmp_path / "out"
    train_agent(request(name), out, 1)
    first = (out / "learning.png").read_bytes()
    train_agent(request(name), out, 2, resume=True)
    assert same_policy(out, whole)
    assert (out / "learning.png").read_bytes()[:4] == b"\x89PNG" != first[:3]
    assert (out / "learning.png").read_bytes() != first


def test_a_policy_drives_a_run_without_rewards(trained):
    """Another model and other domains; what learning cost is on the run's ledger."""
    name, out = trained
    agent = make_agent(name, **policy_agent(out).arguments)
    env = gym.make(
        ENV,
        disable_env_checker=True,
        action_map=agent.action_map,
        **{**TINY, "domains": ["python", "recipes", "wiki_en", "math_synth"], "model": "micro"},
        **agent.env_arguments,
    )
    rewards, _, info = driven(agent, env)
    assert rewards == [0.0] * 3 and info["mixture"].shape == (4,)
    cost = json.loads((out / "cost.json").read_text())
    assert info["ledger"]["agent"]["tokens"] == cost["tokens"] > 0
    env.close()


@pytest.mark.parametrize("name", AGENTS)
def test_it_learns_within_the_run_itself(name):
    """The papers' online mode, with the reward that the agent asks for."""
    agent: Any = make_agent(name, **AGENTS[name], reward={"progress": 2.0}, observation="minimal")
    env = gym.make(ENV, disable_env_checker=True, **TINY, **agent.env_arguments)
    observation, info = env.reset(seed=0)
    agent.start(env, 0)
    before = agent.learner.networks()
    rewards = []
    for _ in range(3):
        observation, reward, _, info = step(agent, env, observation, info)
        rewards.append(reward)
    if name != "ppo":
        stored = agent.learner.driver.model.replay_buffer.rewards[:2, 0]
        np.testing.assert_allclose(stored, rewards[:2], rtol=1e-5)
    agent.act(observation, info)
    after = agent.learner.networks()
    assert any(not torch.equal(before[key], after[key]) for key in before)
    assert agent.learner.config.network == "tokens"  # the environment's packaged hyperparameters
    env.close()


@pytest.mark.parametrize("kind", [DummyVecEnv, pytest.param(SubprocVecEnv, marks=pytest.mark.slow)])
def test_the_librarys_loop_runs_on_vectors_of_environments(kind):
    """Token policies and normalisation in stable-baselines3's own `learn`, on two runs at once."""
    arguments = {**TINY, "disable_env_checker": True}
    layout = gym.make(ENV, **arguments).unwrapped.layout  # type: ignore[attr-defined]
    states = []
    for _ in range(2 if kind is DummyVecEnv else 1):
        venv = kind([lambda: gym.make(f"mixgym:{ENV}", **arguments)] * 2)
        config = SacConfig(**OFF, network="tokens")
        wrapped = normalised(venv, layout, config)
        wrapped.seed(4)
        randomness = PrivateRandomness(0)
        try:
            with randomness.active():
                driver = build_driver(config, wrapped, TokenShape.of(layout, config, 5.0), 2)
                driver.model.learn(8, log_interval=None)
        finally:
            wrapped.close()
        assert driver.model.replay_buffer.size() == 4
        seen = driver.model.replay_buffer.observations[:4].reshape(8, -1)
        domains = seen[:, : 3 * len(layout.domain_features)]
        first = domains[:, :: len(layout.domain_features)]  # the mixture, of sum one
        np.testing.assert_allclose(first.sum(axis=1), 1.0, atol=1e-5)
        statistics: Any = wrapped.obs_rms
        assert statistics.count == pytest.approx(10, abs=0.01)  # two resets, eight steps
        assert statistics.mean[0] == pytest.approx(1 / 3, abs=1e-3)
        states.append(driver.model.policy.state_dict())
    assert all(torch.equal(states[0][key], states[-1][key]) for key in states[0])
