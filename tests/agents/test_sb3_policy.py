"""Saved policies of `sac`, `tqc` and `ppo`: exact resumption, equal actions, cost, refusals."""

from __future__ import annotations

import json
import zipfile
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

pytest.importorskip("sb3_contrib")

from mixgym_agents.learning.cost import Cost, Tally
from mixgym_agents.sb3.agent import Sb3Agent

from mixgym.agents import make_agent
from mixgym.errors import CheckpointError, MixgymError
from tests.agents.toy import Boxed, ContextualSimplex, Metered, play

SMALL: dict[str, Any] = {"width": 8, "heads": 2, "depth": 1}
OFF: dict[str, Any] = {**SMALL, "batch_size": 8, "gradient_steps": 2, "warmup": 3}
ON: dict[str, Any] = {**SMALL, "batch_size": 4, "n_steps": 4, "n_epochs": 2}
KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "sac-mlp": ("sac", OFF),
    "sac-tokens": ("sac", {**OFF, "network": "tokens", "interaction": "deepsets"}),
    "tqc-mlp": ("tqc", {**OFF, "n_quantiles": 5}),
    "ppo-mlp": ("ppo", ON),
    "ppo-tokens": ("ppo", {**ON, "network": "tokens", "interaction": "deepsets"}),
}
every_kind = pytest.mark.parametrize("kind", KINDS)


def toy(K: int = 4, decisions: int = 7, layers: int = 2, action_map: str = "softmax") -> Boxed:
    return Boxed(ContextualSimplex(K, decisions=decisions, layers=layers), action_map)


def started(kind: str, env: Any, seed: int = 0, **further: Any) -> Sb3Agent:
    name, arguments = KINDS[kind]
    agent: Any = make_agent(name, **{**arguments, **further})
    env.reset(seed=seed)
    agent.start(env, seed)
    return agent


def rollout(agent: Any, env: Any, steps: int = 6, seed: int = 9) -> np.ndarray:
    observation, info = env.reset(seed=seed)
    agent.start(env, seed)
    actions = []
    for _ in range(steps):
        actions.append(agent.act(observation, info))
        observation, reward, ended, cut, info = env.step(actions[-1])
        agent.observe(reward, ended, cut, info)
    return np.array(actions)


def assert_same_state(first: Sb3Agent, second: Sb3Agent) -> None:
    assert first.learner is not None and second.learner is not None
    ours, theirs = first.learner.state(), second.learner.state()
    assert ours[0].keys() == theirs[0].keys()
    different = [name for name, value in ours[0].items() if not torch.equal(value, theirs[0][name])]
    assert not different
    assert ours[1] == theirs[1]
    assert (first.decisions, first.episodes) == (second.decisions, second.episodes)


def record(folder: Path) -> dict[str, Any]:
    stored = json.loads((folder / "policy.json").read_text())
    current = stored["scalars"]["current_run"].values()
    for cost in (stored["scalars"]["cost"], *current):
        cost.pop("seconds")
    stored.pop("digest")
    return stored


@every_kind
def test_two_episodes_equal_one_saved_loaded_and_one_more(kind, tmp_path):
    """Networks, optimisers, buffer, statistics, counters and random numbers, bit for bit."""
    env = toy()
    whole = started(kind, env)
    whole.learn(env, 14)
    whole.save(tmp_path / "whole")

    half = started(kind, env)
    half.learn(env, 7)
    half.save(tmp_path / "half")
    resumed = started(kind, env, seed=99)
    resumed.load(tmp_path / "half")
    resumed.learn(env, 7)
    resumed.save(tmp_path / "resumed")
    assert_same_state(whole, resumed)
    # tensors are named by their content, so that equal records are equal policies
    assert record(tmp_path / "whole") == record(tmp_path / "resumed")
    assert record(tmp_path / "whole") != record(tmp_path / "half")
    files = sorted(path.suffix for path in (tmp_path / "whole").iterdir())
    assert files == [".json", ".safetensors"]


@every_kind
def test_resuming_in_the_middle_of_a_run_is_exact(kind, tmp_path):
    env = toy(decisions=20)
    observation, info = env.reset(seed=1)
    whole = started(kind, env, seed=1)
    observation, info = env.reset(seed=1)
    observation, info = play(whole, env, observation, info, 6)
    whole.save(tmp_path)
    resumed = started(kind, deepcopy(env), seed=99)
    resumed.load(tmp_path)
    twin = deepcopy(env)
    play(whole, env, observation, info, 7)
    play(resumed, twin, observation, info, 7)
    assert_same_state(whole, resumed)
    np.testing.assert_array_equal(env.mixture, twin.mixture)


@every_kind
def test_a_saved_policy_acts_the_same_and_learns_nothing(kind, tmp_path):
    env = toy()
    agent = started(kind, env)
    agent.learn(env, 14)
    agent.save(tmp_path)
    agent.frozen = True
    expected = rollout(agent, env)
    frozen: Any = make_agent(KINDS[kind][0], policy=str(tmp_path))
    assert frozen.frozen and frozen.env_arguments["reward"] == {}
    assert frozen.action_map == "softmax"
    assert frozen.env_arguments["action_arguments"] == {"scale": 5.0}
    assert frozen.env_arguments["observation"]["domain"] == ["train_loss", "train_loss_change"]
    np.testing.assert_array_equal(rollout(frozen, env), expected)
    assert len(np.unique(expected, axis=0)) > 1  # it reads the observation
    before = frozen.learner.state()
    np.testing.assert_array_equal(rollout(frozen, env), expected)
    after = frozen.learner.state()
    assert all(torch.equal(before[0][name], value) for name, value in after[0].items())
    assert before[1] == after[1]
    with pytest.raises(MixgymError, match="frozen"):
        frozen.learn(env, 7)


def test_a_policy_may_go_on_learning_elsewhere(tmp_path):
    env = toy()
    agent = started("sac-tokens", env)
    agent.learn(env, 14)
    agent.save(tmp_path)
    other = toy(K=6, layers=3)
    onward: Any = make_agent("sac", policy=str(tmp_path), frozen=False, warmup=0)
    other.reset(seed=0)
    onward.start(other, 0)
    before = onward.learner.networks()
    onward.learn(other, 7)
    assert onward.decisions == 21
    assert any(not torch.equal(before[k], v) for k, v in onward.learner.networks().items())


@pytest.mark.parametrize("kind", ["sac-mlp", "tqc-mlp"])
def test_going_on_keeps_the_temperature_that_was_learned(kind, tmp_path):
    env = toy()
    agent: Any = started(kind, env, learning_rate=0.1)
    agent.learn(env, 14)
    agent.save(tmp_path)
    learned = agent.learner.driver.model.log_ent_coef.item()
    fresh: Any = started(kind, env)
    assert learned != fresh.learner.driver.model.log_ent_coef.item()

    def temperature(**further: Any) -> Any:
        onward: Any = make_agent(KINDS[kind][0], policy=str(tmp_path), frozen=False, **further)
        env.reset(seed=0)
        onward.start(env, 0)
        return onward.learner.driver.model.log_ent_coef

    assert temperature().item() == learned
    assert temperature().requires_grad
    assert temperature(ent_coef="auto_0.5").item() == pytest.approx(np.log(0.5))


@pytest.mark.parametrize("kind", ["sac-tokens", "ppo-tokens"])
def test_what_learning_cost_is_on_the_ledger_of_every_run_it_drives(kind, tmp_path):
    env = Boxed(Metered(4, decisions=7))
    agent = started(kind, env)
    agent.learn(env, 10)
    agent.save(tmp_path / "policy")
    driven: Any = make_agent(KINDS[kind][0], policy=str(tmp_path / "policy"))
    for _ in range(2):
        target = Boxed(Metered(6, decisions=7))
        rollout(driven, target)
        accounts = target.unwrapped.ledger.accounts  # type: ignore[attr-defined]
        assert (accounts["agent"].tokens, accounts["agent"].flops) == (10 * 110, 10 * 6e3)
        assert accounts["agent"].seconds == pytest.approx(5.0, rel=0.5)
        assert accounts["train"].tokens == 600
    # learning in the run itself costs no tokens but the run's own
    online, env = started(kind, env), Boxed(Metered(4, decisions=7))
    rollout(online, env)
    assert env.unwrapped.ledger.accounts["agent"].tokens == 0  # type: ignore[attr-defined]


@pytest.mark.parametrize("kind", ["sac-tokens", "ppo-tokens"])
@pytest.mark.parametrize("taught", [False, True], ids=["from-nothing", "from-a-policy"])
def test_a_resumed_run_is_counted_once(kind, taught, tmp_path):
    """Saved after 6 decisions, stopped after 12: the twelfth's cost is not absorbed yet."""
    further: dict[str, Any] = {}
    if taught:
        teacher = started(kind, Boxed(Metered(4, decisions=7)))
        teacher.learn(Boxed(Metered(4, decisions=7)), 10)
        teacher.save(tmp_path / "policy")
        further = {"policy": str(tmp_path / "policy"), "frozen": False}
    earlier = 1100 if taught else 0
    env = Boxed(Metered(4, decisions=20))
    name, arguments = KINDS[kind]
    agent: Any = make_agent(name, **{**arguments, **further})
    observation, info = env.reset(seed=0)
    agent.start(env, 0)
    observation, info = play(agent, env, observation, info, 6)
    agent.save(tmp_path / "half")

    twin = deepcopy(env)
    kept = deepcopy(twin.unwrapped.ledger)  # type: ignore[attr-defined]
    assert kept.accounts["agent"].tokens == earlier
    resumed = started(kind, twin, seed=99, **further)
    resumed.load(tmp_path / "half")
    twin.unwrapped.ledger = kept  # type: ignore[attr-defined]
    play(resumed, twin, observation, info, 6)
    resumed.save(tmp_path / "resumed")
    saved = record(tmp_path / "resumed")["scalars"]
    assert saved["cost"]["tokens"] == earlier + 11 * 110
    assert saved["cost"]["flops"] == (earlier / 110 + 11) * 6e3

    old = resumed._read(tmp_path / "resumed").scalars
    old.pop("current_run")
    assert Tally.from_json(old) == Tally(Cost(**old["cost"]))  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["sac", "acodm"])
def test_a_frozen_policy_that_is_loaded_again_is_charged_once(name, tmp_path):
    env: Any = Metered(4, decisions=7)
    arguments: dict[str, Any] = {**SMALL, "batch_size": 8}
    if name == "sac":
        env, arguments = Boxed(env), OFF
    agent: Any = make_agent(name, **arguments)
    env.reset(seed=0)
    agent.start(env, 0)
    agent.learn(env, 10)
    agent.save(tmp_path)
    driven: Any = make_agent(name, policy=str(tmp_path))
    env.reset(seed=1)
    driven.start(env, 1)
    driven.load(tmp_path)
    assert env.unwrapped.ledger.accounts["agent"].tokens == 1100
    later: Any = make_agent(name, frozen=True, **arguments)
    env.reset(seed=1)
    later.start(env, 1)
    later.load(tmp_path)
    assert env.unwrapped.ledger.accounts["agent"].tokens == 1100


def test_other_settings_and_damage_are_refused(tmp_path):
    env = toy()
    agent = started("sac-mlp", env)
    agent.learn(env, 7)
    agent.save(tmp_path)
    policy = str(tmp_path)
    with pytest.raises(CheckpointError, match=r"gamma: saved 1.0, here 0.5"):
        started("sac-mlp", env, gamma=0.5).load(tmp_path)
    with pytest.raises(CheckpointError, match="other shapes"):
        rollout(make_agent("sac", policy=policy, width=32), env)
    with pytest.raises(CheckpointError, match="is one of agent 'sac', not 'tqc'"):
        make_agent("tqc", policy=policy)
    with pytest.raises(CheckpointError, match="is one of agent 'sac', not 'ppo'"):
        make_agent("ppo", policy=policy)
    with pytest.raises(CheckpointError, match="domains"):
        rollout(make_agent("sac", policy=policy), toy(K=5))
    with pytest.raises(CheckpointError, match="2 layers, here 3"):
        rollout(make_agent("sac", policy=policy), toy(layers=3))
    with pytest.raises(CheckpointError, match="action map"):
        rollout(make_agent("sac", policy=policy), toy(action_map="delta"))
    digest = json.loads((tmp_path / "policy.json").read_text())["digest"]
    make_agent("sac", policy=policy, digest=digest)
    with pytest.raises(CheckpointError, match="was asked for"):
        make_agent("sac", policy=policy, digest="0" * 64)
    with pytest.raises(CheckpointError, match="no saved policy"):
        make_agent("sac", policy=str(tmp_path / "nothing"))
    tensors = next(tmp_path.glob("*.safetensors"))
    tensors.write_bytes(tensors.read_bytes()[:-1])
    with pytest.raises(CheckpointError, match="does not have the content"):
        make_agent("sac", policy=policy)


def test_the_librarys_own_format_can_be_written(tmp_path):
    from stable_baselines3 import SAC

    env = toy()
    agent = started("sac-mlp", env)
    agent.learn(env, 7)
    agent.export(tmp_path / "sac.zip")
    assert "policy.pth" in zipfile.ZipFile(tmp_path / "sac.zip").namelist()
    loaded = SAC.load(tmp_path / "sac.zip", device="cpu")
    assert agent.learner is not None
    for name, value in loaded.policy.state_dict().items():
        assert torch.equal(value, agent.learner.networks()[name])


def test_tensorboard_gets_the_losses(tmp_path):
    pytest.importorskip("tensorboard")
    env = toy()
    agent = started("sac-mlp", env, log=str(tmp_path / "log"))
    agent.learn(env, 7)
    written = list((tmp_path / "log").iterdir())
    assert len(written) == 1 and b"train/critic_loss" in written[0].read_bytes()
