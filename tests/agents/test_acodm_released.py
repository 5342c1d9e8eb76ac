"""Every switch of the released code changes what it says, and nothing when it is off."""

from __future__ import annotations

import math
from dataclasses import fields
from typing import Any

import numpy as np
import pytest
import torch
from mixgym_agents.acodm.agent import AcOdm
from mixgym_agents.acodm.ddpg import explore
from mixgym_agents.acodm.released import (
    Released,
    ReleasedConfig,
    ReleasedDdpg,
    ReleasedEpisode,
    annealed_learning_rate,
    change_since,
    zscored,
)
from mixgym_agents.acodm.untrained_actor import UntrainedActor
from mixgym_agents.mixers.odm_smoothed import OdmSmoothed

from mixgym.errors import MixgymError
from tests.agents.toy import ContextualSimplex, step

SMALL: dict[str, Any] = {"width": 16, "depth": 2, "batch_size": 16, "updates_per_decision": 1}
TESTED = {
    "actor_never_stepped",
    "critic_steps_on_actor_loss",
    "vector_critic",
    "zscored_rewards",
    "delta_since_start",
    "zscored_state",
    "percent_iteration",
    "odm_warmup",
    "warmup_imitation",
    "bootstrapped_reward",
    "warmup_when_frozen",
    "uniform_action_noise",
    "forced_floor",
    "annealed_learning_rate",
}


def filled(released: Any = "none", **arguments: Any) -> ReleasedDdpg:
    config = ReleasedConfig(**{**SMALL, "tau": 0.1, "released": released, **arguments})
    ddpg = ReleasedDdpg(config, ContextualSimplex(4).layout, seed=0)
    rng = np.random.default_rng(0)
    R = 4 if config.released.vector_critic else 1
    for _ in range(40):
        before, after = rng.normal(size=(2, ddpg.layout.size))
        ddpg.replay.add(before, rng.dirichlet(np.ones(4)), rng.normal(size=R), after, False)
    return ddpg


def parameters(network: torch.nn.Module) -> torch.Tensor:
    return torch.cat([p.detach().flatten().clone() for p in network.parameters()])


def started(released: Any, decisions: int = 10, **arguments: Any):
    env = ContextualSimplex(4, decisions)
    observation, info = env.reset(seed=0)
    agent = AcOdm(**{**SMALL, "released": released, **arguments})
    agent.start(env, 0)
    return agent, env, observation, info


def test_every_switch_is_tested_here():
    assert {item.name for item in fields(Released)} == TESTED


def test_actor_never_stepped():
    for released, moves in (("none", True), (["actor_never_stepped"], False)):
        ddpg = filled(released)
        actor, critic = parameters(ddpg.actor), parameters(ddpg.critic)
        ddpg.update(np.random.default_rng(0))
        assert torch.equal(actor, parameters(ddpg.actor)) != moves
        assert not torch.equal(critic, parameters(ddpg.critic))


def test_critic_steps_on_actor_loss():
    """One more critic step a batch, along the gradient of -mean Q(s, mu(s))."""
    plain = filled(["actor_never_stepped"])
    odd = filled(["actor_never_stepped", "critic_steps_on_actor_loss"])
    plain.update(np.random.default_rng(0))
    plain.critic_optimiser.zero_grad()
    rng = np.random.default_rng(0)
    batch = plain.replay.sample(rng, plain.config.batch_size)
    plain.actor_loss(batch).backward()
    plain.critic_optimiser.step()
    odd.update(np.random.default_rng(0))
    torch.testing.assert_close(parameters(odd.critic), parameters(plain.critic))
    assert not torch.equal(parameters(odd.critic), parameters(filled().critic))


def test_vector_critic():
    ddpg = filled(["vector_critic"], gamma=0.5)
    batch = ddpg.replay.sample(np.random.default_rng(0), 8)
    value = ddpg.critic(ddpg.normaliser(batch.observation), torch.from_numpy(batch.mixture))
    assert value.shape == (8, 4) and batch.reward.shape == (8, 4)
    target = ddpg.critic_target(batch)
    ahead = (target.numpy() - batch.reward) / 0.5  # a Q of its own for every domain
    assert target.shape == (8, 4) and ahead.std(axis=1).min() > 1e-3
    with torch.no_grad():
        inputs = ddpg.normaliser(batch.observation)
        logits = ddpg.actor(inputs) + ddpg.log_prior
        mean = ddpg.critic(inputs, torch.softmax(logits, 1)).mean()
    assert float(ddpg.actor_loss(batch).detach()) == pytest.approx(-float(mean), abs=1e-6)


def info_with(vector: np.ndarray) -> dict[str, Any]:
    return {"reward": 7.0, "reward_vectors": {"alignment": vector}, "diverged": False}


def earned(released: Any, info: dict[str, Any], reward: float = 7.0) -> tuple[Any, Any]:
    """What an agent learns from a step's reward and info, and the mixture that it had played."""
    agent, _, observation, _ = started(released)
    agent.act(observation, {})
    agent.observe(reward, False, False, info)
    assert agent._pending is not None
    return agent._earned, agent._pending.mixture


def test_zscored_rewards():
    vector = np.array([1.0, 2.0, 3.0, 10.0])
    scored = (vector - 4.0) / np.std(vector)
    np.testing.assert_allclose(earned("none", info_with(vector))[0], [7.0])
    scalar, mixture = earned(["zscored_rewards"], info_with(vector))
    np.testing.assert_allclose(scalar, [mixture @ scored], rtol=1e-5)
    both = earned(["zscored_rewards", "vector_critic"], info_with(vector))[0]
    np.testing.assert_allclose(both, scored, rtol=1e-5)
    only_vector = earned(["vector_critic"], info_with(vector))[0]
    np.testing.assert_allclose(only_vector, vector)
    # as released: every policy's rewards have the same sum, and outliers are clipped
    assert abs(float(zscored(vector).sum())) < 1e-5
    assert zscored(np.eye(30)[0]).max() == 3.0


def test_rewards_of_domains_are_needed_and_their_absence_is_named():
    with pytest.raises(MixgymError, match="reward='alignment'"):
        earned(["vector_critic"], {"reward_vectors": {}})
    penalty, _ = earned(["vector_critic"], {"diverged": True}, reward=-5.0)
    np.testing.assert_array_equal(penalty, [-5.0] * 4)


def test_delta_since_start():
    layout = ContextualSimplex(2, layers=0).layout
    first = np.array([5.0, 0.0, 0.0, 0.0, 1.0], dtype=np.float32)  # domain 1 not yet sampled
    states = []
    seen = [[4.0, -1.0, 6.0, 0.0, 0.9], [2.0, -2.0, 5.0, -1.0, 0.8]]
    for state in np.array(seen, dtype=np.float32):
        change_since(state, first, layout)
        states.append(state)
    np.testing.assert_allclose(states[0], [4.0, -1.0, 6.0, 0.0, 0.9], rtol=1e-6)
    np.testing.assert_allclose(states[1], [2.0, -3.0, 5.0, -1.0, 0.8], rtol=1e-6)
    for released, expected in ((["delta_since_start"], -3.0), ("none", -2.0)):
        agent, env, _, _ = started(released)
        changes = []
        for level, change in ((5.0, 0.0), (4.0, -1.0), (2.0, -2.0)):
            observation = np.zeros(env.layout.size, np.float32)
            observation[0:2] = level, change
            changes.append(agent._state(observation)[1])
        assert changes == [0.0, -1.0, expected]


def test_zscored_state():
    layout = ContextualSimplex(4).layout
    observation = np.random.default_rng(0).normal(3.0, 2.0, (5, layout.size))
    config = ReleasedConfig(released=Released(zscored_state=True))
    normaliser = ReleasedDdpg(config, layout, 0).normaliser
    for row in observation:
        normaliser.update(row)
    domains = normaliser(observation).domains.numpy()
    np.testing.assert_allclose(domains.mean(axis=1), 0, atol=1e-5)
    np.testing.assert_allclose(domains.std(axis=1), 1, atol=1e-4)
    shifted = observation.copy()
    shifted[:, 0:8:2] += 10.0  # the level is hidden
    np.testing.assert_allclose(normaliser(shifted).domains, domains, atol=1e-4)
    plain = ReleasedDdpg(ReleasedConfig(normalise="none"), layout, 0).normaliser
    assert np.abs(plain(shifted).domains.numpy() - plain(observation).domains.numpy()).max() > 9
    np.testing.assert_allclose(
        normaliser(observation).context[:, -1], observation[:, -1], rtol=1e-6
    )


def test_percent_iteration():
    observation = np.zeros(11, np.float32)
    observation[-1] = 0.75
    assert started(["percent_iteration"])[0]._state(observation)[-1] == 25.0
    assert started("none")[0]._state(observation)[-1] == 0.75


def test_odm_warmup(make_signals):
    agent, env, observation, info = started(["odm_warmup"], warmup_share=1.0)
    action = np.zeros(4)
    expected = OdmSmoothed()
    expected.start(env.task, np.random.default_rng(0))
    for number in range(1, 4):
        env.signals = make_signals(  # type: ignore[attr-defined]
            counts=[4] * 4, last_loss=[number, 2.0, 3.0, 9.0], step=200 * number
        )
        action = agent.act(observation, info)
        np.testing.assert_allclose(action, expected.update(env.signals), rtol=1e-6)  # type: ignore[attr-defined]
        observation, reward, ended, cut, info = env.step(action)
        agent.observe(reward, ended, cut, info)
    assert action.argmax() == 3


def test_warmup_imitation():
    ddpg = filled(["warmup_imitation"])
    batch = ddpg.replay.sample(np.random.default_rng(0), ddpg.config.batch_size)
    with torch.no_grad():
        mixture = torch.softmax(ddpg.actor(ddpg.normaliser(batch.observation)), dim=1).numpy()
    ddpg.warming = True
    imitation = float(ddpg.actor_loss(batch).detach())
    assert imitation == pytest.approx(float(np.mean((mixture - batch.mixture) ** 2)), rel=1e-5)
    result = ddpg.learn(np.random.default_rng(0), 1, 2, 10)
    assert result["actor_loss"] == pytest.approx(imitation, rel=1e-5)
    assert filled().learn(np.random.default_rng(0), 1, 2, 10)["actor_loss"] != imitation

    for released, copied in ((["warmup_imitation"], True), ("none", False)):
        agent, env, _, _ = started(released, warmup_share=0.4)
        equal = []
        observation, info = env.reset(seed=0)
        for _ in range(10):
            observation, _, _, info = step(agent, env, observation, info)
            assert agent.learner is not None
            equal.append(
                torch.equal(
                    parameters(agent.learner.critic), parameters(agent.learner.target_critic)
                )
            )
        assert equal[1:].index(True) == 3 if copied else not any(equal[1:])


def test_bootstrapped_reward():
    ddpg = filled(["bootstrapped_reward"], gamma=0.9)
    batch = ddpg.replay.sample(np.random.default_rng(0), ddpg.config.batch_size)
    ddpg.warming = True
    np.testing.assert_allclose(ddpg.critic_target(batch).numpy(), 1.9 * batch.reward, rtol=1e-6)
    in_warmup = ddpg.learn(np.random.default_rng(0), 2, 2, 10)["critic_loss"]
    after = filled(["bootstrapped_reward"], gamma=0.9).learn(np.random.default_rng(0), 3, 2, 10)
    plain = filled(gamma=0.9).learn(np.random.default_rng(0), 1, 2, 10)
    assert in_warmup != after["critic_loss"] == plain["critic_loss"]


def test_warmup_when_frozen():
    for released, warms in ((["warmup_when_frozen"], True), ("none", False)):
        agent, env, observation, info = started(
            released, frozen=True, warmup_share=0.2, warmup_noise=0.0
        )
        actions = [agent.act(observation, info) for _ in range(3)]
        for action in actions[:2]:
            assert np.allclose(action, env.task.natural, atol=1e-6) == warms
        assert not np.allclose(actions[2], env.task.natural, atol=1e-2)


def test_uniform_action_noise():
    env, mixture = ContextualSimplex(4), np.array([0.5, 0.4, 0.0995, 0.0005])
    rng, same = np.random.default_rng(0), np.random.default_rng(0)
    odd = ReleasedEpisode(Released(uniform_action_noise=True), env.task, env.layout, rng)
    assert ReleasedEpisode(Released(), env.task, env.layout, rng).explored(mixture) is None
    for _ in range(20):
        raw = np.maximum(mixture - same.uniform(size=4) / 1000, 0)
        np.testing.assert_allclose(odd.explored(mixture), raw / raw.sum())  # type: ignore[arg-type]
    assert np.abs(explore(mixture, None, ReleasedConfig(noise=0.5), rng, 0) - mixture).max() > 0.01


def test_forced_floor():
    for released, floor in ((["forced_floor"], 22 / 144), ("none", 0.0)):
        agent, _, observation, info = started(released, exploration="none", warmup_share=0.0)
        action = agent.act(observation, info)
        assert agent._pending is not None
        expected = (1 - floor) * agent._pending.mixture + floor / 4
        np.testing.assert_allclose(action, expected, rtol=1e-6)


def test_annealed_learning_rate():
    rates = [annealed_learning_rate(i, 100) for i in range(130)]
    assert rates[0] == pytest.approx(5e-3) and rates[1] == pytest.approx(1e-2)
    assert rates[51] == pytest.approx(1e-3 + 9e-3 * 0.5 * (1 + math.cos(math.pi / 2)))
    assert rates[100] == rates[129] == pytest.approx(1e-3)
    for released, expected in ((["annealed_learning_rate"], rates), ("none", None)):
        agent, env, observation, info = started(
            released, decisions=100, actor_learning_rate=0.02, critic_learning_rate=0.03
        )
        for _ in range(40):
            observation, _, _, info = step(agent, env, observation, info)
        assert agent.learner is not None
        used = [o.param_groups[0]["lr"] for o in agent.learner.optimisers.values()]
        assert used == ([expected[39]] * 2 if expected else [0.02, 0.03])


def test_everything_released_at_once_runs():
    env = ContextualSimplex(4, 20)
    plain = env.step

    def with_vectors(action):
        observation, reward, done, truncated, info = plain(action)
        vectors = {"alignment": reward * env.context}
        return observation, reward, done, truncated, {**info, "reward_vectors": vectors}

    env.step = with_vectors  # type: ignore[method-assign]
    env.reset(seed=0)
    agent = AcOdm(**{**SMALL, "released": [n for n in TESTED if n != "odm_warmup"]})
    agent.start(env, 0)
    assert agent.learner is not None
    actor = parameters(agent.learner.actor)
    agent.learn(env, 40)
    assert torch.equal(actor, parameters(agent.learner.actor))


def test_the_untrained_actor_is_acodm_before_learning():
    env = ContextualSimplex(4)
    observation, info = env.reset(seed=5)
    actions = []
    for agent in (
        UntrainedActor(**SMALL),
        AcOdm(**SMALL, exploration="none", warmup_share=0.0),
        UntrainedActor(**SMALL),
    ):
        agent.start(env, 5 if len(actions) < 2 else 6)
        actions.append(agent.act(observation, info))
    np.testing.assert_array_equal(actions[0], actions[1])
    assert not np.array_equal(actions[0], actions[2])


def test_the_untrained_actor_stays_near_uniform_for_ever():
    env = ContextualSimplex(8, 60)
    observation, info = env.reset(seed=0)
    agent = UntrainedActor(width=64, depth=5, output_gain=1.0, logit_bound=0.0)
    agent.start(env, 0)
    assert agent.name == "untrained-actor" and agent.frozen and agent.learner is not None
    before, actions = parameters(agent.learner.actor), []
    for _ in range(60):
        actions.append(agent.act(observation, info))
        observation, *_, info = env.step(actions[-1])
    mixtures = np.array(actions)
    entropy = -(mixtures * np.log(mixtures)).sum(axis=1) / np.log(8)
    assert entropy.min() > 0.8 and mixtures.std(axis=0).max() < 0.1
    assert torch.equal(before, parameters(agent.learner.actor)) and not len(agent.learner.replay)
    with pytest.raises(MixgymError, match="frozen"):
        agent.learn(env, 1)
