"""AC-ODM with a critic factored over domains and an actor anchored at the current mixture."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces
from mixgym_agents.acodm.agent import AcOdm
from mixgym_agents.acodm.ddpg import Ddpg, policy
from mixgym_agents.acodm.released import ReleasedConfig
from numpy.typing import NDArray

from mixgym.envs.observation import ObservationLayout
from mixgym.errors import MixgymError
from tests.agents.toy import ContextualSimplex, average_reward, step

KINDS: tuple[dict[str, Any], ...] = (
    {"network": "mlp", "depth": 2},
    {"network": "tokens", "interaction": "attention"},
)


class Linear(ContextualSimplex):
    """Domain i's reward is its context x_i, the reward is sum_i w_i x_i: best on the largest."""

    def step(self, action: NDArray[np.float32]):
        vector = self.context.copy()
        best = float(vector.max())
        observation, _, done, _, _ = super().step(action)
        reward = float(np.dot(action, vector))
        info = {"reward": reward, "reward_vectors": {"alignment": vector}}
        return observation, reward / best if best > 0 else 0.0, done, False, info


def filled(**arguments: Any) -> Ddpg:
    config = ReleasedConfig(critic="factored", width=16, batch_size=12, tau=0.1, **arguments)
    ddpg = Ddpg(config, ContextualSimplex(4).layout, seed=0)
    rng = np.random.default_rng(0)
    for index in range(40):
        observation, after = rng.normal(size=(2, ddpg.layout.size)).astype(np.float32)
        ddpg.normaliser.update(observation)
        mixture = rng.dirichlet(np.ones(4)).astype(np.float32)
        ddpg.replay.add(observation, mixture, rng.normal(size=4), after, index % 5 == 4)
    return ddpg


@pytest.mark.parametrize("kind", KINDS, ids=["mlp", "tokens"])
def test_its_targets_and_losses_by_hand(kind):
    """y_i = r_i + gamma (1 - d) sum_j mu'_j(s') q'_j(s'); the actor ascends sum_j mu_j q_j(s)."""
    ddpg = filled(gamma=0.5, **kind)
    batch = ddpg.replay.sample(np.random.default_rng(1), 12)
    with torch.no_grad():
        after, now = ddpg.normaliser(batch.next_observation), ddpg.normaliser(batch.observation)
        mixture = policy(ddpg.target_actor, after, ddpg.log_prior, ddpg.config).mixture.numpy()
        values, q = ddpg.target_critic(after).numpy(), ddpg.critic(now).numpy()
        acted = policy(ddpg.actor, now, ddpg.log_prior, ddpg.config).mixture.numpy()
    ahead = [
        sum(m * v for m, v in zip(*row, strict=True)) for row in zip(mixture, values, strict=True)
    ]
    expected = batch.reward + 0.5 * (1 - batch.done)[:, None] * np.array(ahead)[:, None]
    np.testing.assert_allclose(ddpg.critic_target(batch).numpy(), expected, atol=1e-5)
    loss = float(ddpg.critic_loss(batch).detach())
    assert loss == pytest.approx(float(np.mean((q - expected) ** 2)), rel=1e-5)
    value = float(np.mean(np.sum(acted * q, axis=1)))
    assert float(ddpg.actor_loss(batch).detach()) == pytest.approx(-value, abs=1e-6)


def test_it_learns_in_one_run_what_a_joint_critic_cannot():
    """Sixty decisions; 1 is the optimum, 0 the uniform mixture."""
    scores = {}
    for critic in ("factored", "joint"):
        env = Linear(6, decisions=60)
        agent = AcOdm(
            critic=critic, width=32, depth=2, gamma=0.0, updates_per_decision=8, batch_size=32,
            actor_learning_rate=3e-3, critic_learning_rate=3e-3,
        )  # fmt: skip
        env.reset(seed=0)
        agent.start(env, 0)
        agent.learn(env, 60)
        agent.frozen = True
        scores[critic] = average_reward(agent, Linear(6, decisions=60))
    assert scores["factored"] > 0.7
    assert scores["factored"] > scores["joint"] + 0.2


def test_rewards_of_domains_are_needed():
    env = ContextualSimplex(4)
    agent = AcOdm(critic="factored", width=16, depth=1, warmup_share=0.0)
    observation, info = env.reset(seed=0)
    agent.start(env, 0)
    with pytest.raises(MixgymError, match=r"critic='factored'.*reward='alignment'"):
        step(agent, env, observation, info)


def test_rewards_of_domains_are_weighed_as_the_environment_weighs_its_terms():
    env: Any = ContextualSimplex(2)
    env.reward_names, env.reward_weights = ("influence", "diversity"), np.array([1.0, 10.0])
    vectors = {"influence": np.array([1.0, 2.0]), "diversity": np.array([0.5, 0.0])}
    info = {"reward": 0.0, "reward_vectors": vectors}
    agent = AcOdm(critic="factored", width=16, depth=1)
    observation, _ = env.reset(seed=0)
    agent.start(env, 0)
    agent.act(observation, {})
    agent.observe(0.0, False, False, info)
    np.testing.assert_allclose(agent._earned, [6.0, 2.0])  # type: ignore[arg-type]


def test_no_switch_of_the_release_goes_with_it():
    with pytest.raises(ValueError, match="critic='joint'"):
        ReleasedConfig(critic="factored", released=["vector_critic"])  # type: ignore[arg-type]


def test_it_resumes_exactly(tmp_path):
    arguments: dict[str, Any] = {"critic": "factored", "width": 16, "depth": 1, "batch_size": 8}
    whole, first, second = (AcOdm(**arguments) for _ in range(3))
    for agent, budgets in ((whole, [40]), (first, [20])):
        env = Linear(4, decisions=20)
        env.reset(seed=0)
        agent.start(env, 0)
        for budget in budgets:
            agent.learn(env, budget)
    first.save(tmp_path / "policy")
    env = Linear(4, decisions=20)
    env.reset(seed=0)
    second.start(env, 0)
    second.load(tmp_path / "policy")
    second.learn(env, 20)
    assert whole.learner is not None and second.learner is not None
    ours, theirs = whole.learner.state()[0], second.learner.state()[0]
    assert ours["replay.reward"].shape == (40, 4)
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


# --- anchored at the current mixture --------------------------------------------------------------


class WithMixture(Linear):
    """`Linear` whose observation shows the mixture of the last decision, natural at first."""

    def __init__(self, K: int = 4, decisions: int = 30) -> None:
        super().__init__(K, decisions)
        self.layout = ObservationLayout(
            self.layout.domains, (), ("mixture", "train_loss"), (), ("remaining",)
        )
        self.observation_space = spaces.Box(-10, 10, (self.layout.size,), np.float32)
        self.played = self.task.natural

    def reset(self, **arguments: Any):
        self.played = self.task.natural
        return super().reset(**arguments)

    def _observe(self) -> NDArray[np.float32]:
        observation = super()._observe()
        features = np.stack([self.played, self.context], axis=1).ravel()
        return np.concatenate([features, observation[-1:]]).astype(np.float32)

    def step(self, action: NDArray[np.float32]):
        self.played = np.asarray(action)
        return super().step(action)


def anchored(**arguments: Any) -> AcOdm:
    given = {"network": "tokens", "width": 16, "critic": "factored", "anchor": "current"}
    return AcOdm(**{**given, "warmup_share": 0.0, **arguments})


def test_an_anchored_actor_multiplies_the_current_mixture():
    """softmax(l + log w), over every state's own w; before it learns it stays where it is."""
    env = WithMixture(4)
    agent = anchored(output_gain=0.0, logit_bound=0.0, exploration="none", updates_per_decision=0)
    observation, info = env.reset(seed=0)
    agent.start(env, 0)
    np.testing.assert_allclose(agent.act(observation, info), 0.25)  # the prior, not natural
    env.played = np.array([0.7, 0.1, 0.1, 0.1])
    observation, reward, ended, cut, info = env.step(env.played)
    agent.observe(reward, ended, cut, info)
    np.testing.assert_allclose(agent.act(observation, info), env.played, atol=1e-6)

    ddpg = agent.learner
    assert ddpg is not None
    with torch.no_grad():
        ddpg.actor.get_submodule("head").weight.normal_()  # type: ignore[operator]
        states = np.stack([observation, np.roll(observation, 2)])
        inputs = ddpg.normaliser(states)
        logits = ddpg.actor(inputs).numpy()
        mixture = policy(ddpg.actor, inputs, ddpg.anchor(states), ddpg.config).mixture.numpy()
    current = np.maximum(states[:, 0:8:2], 1e-4)
    expected = current * np.exp(logits)
    np.testing.assert_allclose(mixture, expected / expected.sum(1, keepdims=True), rtol=1e-4)


def test_its_penalty_is_the_divergence_from_the_current_mixture():
    losses = []
    for entropy in (0.0, 2.0):
        env = WithMixture(4)
        agent = anchored(entropy=entropy, output_gain=3.0, updates_per_decision=0)
        observation, info = env.reset(seed=0)
        agent.start(env, 0)
        for _ in range(6):
            observation, _, _, info = step(agent, env, observation, info)
        agent.act(observation, info)
        assert agent.learner is not None
        batch = agent.learner.replay.all()
        losses.append(float(agent.learner.actor_loss(batch).detach()))
    states = batch.observation
    current = states[:, 0:8:2].astype(np.float64)
    with torch.no_grad():
        chosen = agent.learner.policy(agent.learner.actor, states)
    mixture = chosen.mixture.numpy().astype(np.float64)
    divergence = (mixture * np.log(mixture / (current / current.sum(1, keepdims=True)))).sum(1)
    assert divergence.min() > 0
    assert losses[1] - losses[0] == pytest.approx(2.0 * divergence.mean(), rel=1e-3)


def test_an_anchor_needs_to_be_seen():
    env = Linear(4)
    env.reset(seed=0)
    with pytest.raises(MixgymError, match=r"anchor='current'.*observation.*anchor='prior'"):
        anchored().start(env, 0)
