"""Saved policies: equal actions, exact resumption, transfer to other domains, refusals."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from mixgym_agents.acodm.agent import AcOdm
from mixgym_agents.learning.cost import Cost

from mixgym.errors import CheckpointError
from tests.agents.toy import ContextualSimplex, Metered, play, step

SMALL: dict[str, Any] = {"width": 16, "depth": 2, "batch_size": 16, "updates_per_decision": 1}
TOKENS: dict[str, Any] = {**SMALL, "network": "tokens"}
KINDS: tuple[dict[str, Any], ...] = (
    {"network": "mlp"},
    {"network": "tokens"},
    {"network": "tokens", "actor": "dirichlet", "interaction": "deepsets"},
)
every_kind = pytest.mark.parametrize("kind", KINDS, ids=["mlp", "tokens", "dirichlet"])


def learned(env: ContextualSimplex, budget: int, **arguments: Any) -> AcOdm:
    env.reset(seed=0)
    agent = AcOdm(**arguments)
    agent.start(env, 0)
    agent.learn(env, budget)
    return agent


def rollout(agent: AcOdm, env: ContextualSimplex, steps: int = 6, seed: int = 9) -> np.ndarray:
    observation, info = env.reset(seed=seed)
    agent.start(env, seed)
    actions = []
    for _ in range(steps):
        actions.append(agent.act(observation, info))
        assert env.action_space.contains(actions[-1])
        observation, reward, ended, cut, info = env.step(actions[-1])
        agent.observe(reward, ended, cut, info)
    return np.array(actions)


@every_kind
def test_a_reloaded_policy_acts_the_same(kind, tmp_path):
    env = ContextualSimplex(4, decisions=10)
    agent = learned(env, 20, **{**SMALL, **kind})
    agent.save(tmp_path / "policy")
    agent.frozen = True
    expected = rollout(agent, env)
    frozen = AcOdm(policy=str(tmp_path / "policy"))
    assert frozen.frozen
    np.testing.assert_array_equal(rollout(frozen, env), expected)
    later = AcOdm(**{**SMALL, **kind}, frozen=True)
    env.reset(seed=0)
    later.start(env, 0)
    later.load(tmp_path / "policy")
    np.testing.assert_array_equal(rollout(later, env), expected)
    files = sorted(path.suffix for path in (tmp_path / "policy").iterdir())
    assert files == [".json", ".safetensors"]


def test_a_frozen_policy_needs_no_rewards_and_learns_nothing(tmp_path):
    env = ContextualSimplex(4, decisions=10)
    learned(env, 20, **SMALL).save(tmp_path)
    agent = AcOdm(policy=str(tmp_path))
    observation, _ = env.reset(seed=0)
    agent.start(env, 0)
    assert agent.learner is not None
    before = agent.learner.state()[0]
    for _ in range(10):
        observation, *_ = env.step(agent.act(observation, {}))
    after = agent.learner.state()[0]
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert agent.env_arguments["reward"] == {}
    assert agent.env_arguments["observation"]["domain"] == ["train_loss", "train_loss_change"]


@every_kind
@pytest.mark.parametrize("cut", [7, 10, 13])
def test_resuming_is_exact_replay_buffer_and_all(kind, cut, tmp_path):
    """Saved after `cut` decisions of acting and learning, in the middle of an episode too."""
    arguments = {**SMALL, **kind, "released": ["delta_since_start", "warmup_imitation"]}

    env = ContextualSimplex(4, decisions=30)
    observation, info = env.reset(seed=1)
    whole = AcOdm(**arguments)
    whole.start(env, 1)
    observation, info = play(whole, env, observation, info, cut)
    whole.save(tmp_path)
    resumed = AcOdm(**arguments)
    resumed.start(env, 99)
    resumed.load(tmp_path)
    from copy import deepcopy

    twin = deepcopy(env)
    play(whole, env, observation, info, 12)
    play(resumed, twin, observation, info, 12)
    assert whole.learner is not None and resumed.learner is not None
    first, second = whole.learner.state()[0], resumed.learner.state()[0]
    assert first.keys() == second.keys() and len(first["replay.reward"]) == cut + 11
    for name, value in first.items():
        assert torch.equal(value, second[name]), name
    assert whole.decisions == resumed.decisions == cut + 12


def test_learning_goes_on_where_it_stopped(tmp_path):
    env = ContextualSimplex(4, decisions=8)
    whole = learned(env, 24, **SMALL)
    first = learned(env, 8, **SMALL)
    first.save(tmp_path)
    second = AcOdm(**SMALL)
    env.reset(seed=3)
    second.start(env, 3)
    second.load(tmp_path)
    second.learn(env, 16)
    assert whole.learner is not None and second.learner is not None
    ours, theirs = whole.learner.state()[0], second.learner.state()[0]
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert second.episodes == whole.episodes == 3


def test_a_policy_of_8_domains_acts_on_19(tmp_path):
    learned(ContextualSimplex(8, decisions=10), 30, **TOKENS).save(tmp_path)
    target = ContextualSimplex(19, layers=5)
    actions = rollout(AcOdm(policy=str(tmp_path)), target)
    assert actions.shape == (6, 19) and actions.std() > 0
    # and their order means nothing: the same domains, permuted
    env, agent = ContextualSimplex(19), AcOdm(policy=str(tmp_path))
    observation, info = env.reset(seed=0)
    agent.start(env, 0)
    order = np.random.default_rng(0).permutation(19)
    blocks = observation[:38].reshape(19, 2)
    permuted = np.concatenate([blocks[order].ravel(), observation[38:]])
    np.testing.assert_allclose(
        agent.act(permuted, info), agent.act(observation, info)[order], atol=1e-5
    )


def test_one_frozen_agent_serves_episodes_of_different_domains(tmp_path):
    learned(ContextualSimplex(8, decisions=10), 20, **TOKENS).save(tmp_path)
    agent = AcOdm(policy=str(tmp_path))
    for K in (8, 19, 3):
        assert rollout(agent, ContextualSimplex(K)).shape == (6, K)


def test_an_mlp_is_refused_other_domains_and_layers_unless_pooled(tmp_path):
    learned(ContextualSimplex(4, decisions=5), 5, **SMALL).save(tmp_path / "mlp")
    pooled = learned(ContextualSimplex(4, decisions=5), 5, **SMALL, pool_layers=True)
    pooled.save(tmp_path / "pooled")
    with pytest.raises(CheckpointError, match="network='tokens'"):
        rollout(AcOdm(policy=str(tmp_path / "mlp")), ContextualSimplex(5))
    with pytest.raises(CheckpointError, match="2 layers, here 4"):
        rollout(AcOdm(policy=str(tmp_path / "mlp")), ContextualSimplex(4, layers=4))
    rollout(AcOdm(policy=str(tmp_path / "pooled")), ContextualSimplex(4, layers=4))


def test_another_observation_is_refused(tmp_path):
    learned(ContextualSimplex(4, decisions=5), 5, **TOKENS).save(tmp_path)
    env = ContextualSimplex(4)
    env.layout = replace(env.layout, domain_features=("train_loss", "epochs"))
    with pytest.raises(CheckpointError, match="epochs"):
        rollout(AcOdm(policy=str(tmp_path)), env)


def test_a_policy_may_go_on_learning_elsewhere(tmp_path):
    learned(ContextualSimplex(4, decisions=8), 16, **TOKENS).save(tmp_path)
    env = ContextualSimplex(6, decisions=8)
    agent = AcOdm(policy=str(tmp_path), frozen=False)
    env.reset(seed=0)
    agent.start(env, 0)
    assert agent.learner is not None and not agent.warming
    before = agent.learner.actor.head.weight.detach().clone()  # type: ignore[union-attr]
    agent.learn(env, 8)
    assert not torch.equal(before, agent.learner.actor.head.weight)  # type: ignore[arg-type]
    assert agent.decisions == 24


def test_other_settings_and_damage_are_refused(tmp_path):
    env = ContextualSimplex(4, decisions=5)
    learned(env, 5, **SMALL).save(tmp_path)
    other = AcOdm(**SMALL, gamma=0.5)
    env.reset(seed=0)
    other.start(env, 0)
    with pytest.raises(CheckpointError, match=r"gamma: saved 0.95, here 0.5"):
        other.load(tmp_path)
    with pytest.raises(CheckpointError, match="other shapes"):
        rollout(AcOdm(policy=str(tmp_path), width=32), env)
    record = json.loads((tmp_path / "policy.json").read_text())
    AcOdm(policy=str(tmp_path), digest=record["digest"])
    with pytest.raises(CheckpointError, match="was asked for"):
        AcOdm(policy=str(tmp_path), digest="0" * 64)
    with pytest.raises(CheckpointError, match="no saved policy"):
        AcOdm(policy=str(tmp_path / "nothing"))

    (tmp_path / "policy.json").write_text(json.dumps({**record, "scalars": {}}))
    with pytest.raises(CheckpointError, match="SHA-256"):
        AcOdm(policy=str(tmp_path))
    (tmp_path / "policy.json").write_text("{")
    with pytest.raises(CheckpointError, match="damaged"):
        AcOdm(policy=str(tmp_path))
    (tmp_path / "policy.json").write_text(json.dumps(record))
    tensors = tmp_path / record["tensors"]["file"]
    tensors.write_bytes(tensors.read_bytes()[:-1])
    with pytest.raises(CheckpointError, match=rf"{tensors.name} does not have the content"):
        AcOdm(policy=str(tmp_path))


def test_saving_again_replaces_the_policy_whole(tmp_path, monkeypatch):
    env = ContextualSimplex(4, decisions=5)
    agent = learned(env, 5, **SMALL)
    agent.save(tmp_path)
    agent.learn(env, 5)

    def fail(*_: Any) -> None:
        raise OSError("disk full")

    with monkeypatch.context() as patch:
        patch.setattr("mixgym_agents.learning.store.write_json", fail)
        with pytest.raises(OSError, match="disk full"):
            agent.save(tmp_path)
    assert AcOdm(policy=str(tmp_path))._saved.scalars["decisions"] == 5  # type: ignore[union-attr]
    agent.save(tmp_path)
    assert AcOdm(policy=str(tmp_path))._saved.scalars["decisions"] == 10  # type: ignore[union-attr]
    assert len(list(tmp_path.iterdir())) == 2


def test_what_learning_cost_is_charged_to_every_run_it_drives(tmp_path):
    agent = learned(Metered(4, decisions=10), 25, **TOKENS)
    assert agent.episodes == 3
    agent.save(tmp_path)
    driven = AcOdm(policy=str(tmp_path))
    for _ in range(2):
        target = Metered(6, decisions=10)
        rollout(driven, target)
        account = target.ledger.accounts["agent"]
        assert (account.tokens, account.flops) == (25 * 110, 25 * 6e3)
        assert account.seconds == pytest.approx(12.5, rel=0.5)
        assert target.ledger.accounts["train"].tokens == 600
    # learning alone, in the run itself, costs no tokens but the run's own
    fresh, env = AcOdm(**TOKENS), Metered(4, decisions=10)
    rollout(fresh, env)
    assert env.ledger.accounts["agent"].tokens == 0
    # and going on from a policy carries its cost along
    onward = AcOdm(policy=str(tmp_path), frozen=False)
    env = Metered(6, decisions=10)
    env.reset(seed=0)
    onward.start(env, 0)
    onward.learn(env, 10)
    onward.save(tmp_path / "onward")
    saved = AcOdm(policy=str(tmp_path / "onward"))._saved
    assert saved is not None and saved.scalars["cost"]["tokens"] == 35 * 110


def test_a_resumed_run_is_counted_once(tmp_path):
    """Saved after 6 decisions, stopped after 12: the twelfth's cost is not absorbed yet."""
    learned(Metered(4, decisions=10), 10, **TOKENS).save(tmp_path / "policy")
    env, twin = Metered(4, decisions=20), Metered(4, decisions=20)
    observation, info = env.reset(seed=0)
    twin.reset(seed=0)
    first, second = (AcOdm(policy=str(tmp_path / "policy"), frozen=False) for _ in range(2))
    first.start(env, 0)
    for _ in range(6):
        observation, _, _, info = step(first, env, observation, info)
    first.save(tmp_path / "half")
    second.start(twin, 0)
    second.load(tmp_path / "half")
    twin.ledger = env.ledger
    for _ in range(6):
        observation, _, _, info = step(second, env, observation, info)
    second.save(tmp_path / "whole")
    saved = AcOdm(policy=str(tmp_path / "whole"))._saved
    assert saved is not None and saved.scalars["cost"]["tokens"] == (10 + 11) * 110


def test_costs_add_up():
    total = Cost(1, 2.0, 3.0) + Cost(10, 20.0, 30.0)
    assert total == Cost(11, 22.0, 33.0) and total - Cost(1, 2.0, 3.0) == Cost(10, 20.0, 30.0)
