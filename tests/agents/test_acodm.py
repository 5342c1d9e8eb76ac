"""AC-ODM's algorithm: its equations by hand, its networks, and that it learns."""

from __future__ import annotations

import copy
import importlib.util
import random
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from mixgym_agents.acodm.agent import AcOdm
from mixgym_agents.acodm.ddpg import Ddpg, make_network, policy
from mixgym_agents.acodm.released import Released, ReleasedConfig, ReleasedDdpg
from mixgym_agents.acodm.replay import Batch, ReplayBuffer
from mixgym_agents.learning.networks import Inputs
from mixgym_agents.learning.normaliser import Normaliser

from mixgym.envs.observation import ObservationLayout
from mixgym.errors import MixgymError, UnknownNameError
from mixgym.lm.threads import private_rng
from tests.agents.toy import Bandit, ContextualSimplex, average_reward, step

SMALL: dict[str, Any] = {"width": 16, "depth": 2, "batch_size": 16, "updates_per_decision": 1}
KINDS: tuple[dict[str, Any], ...] = (
    {"network": "mlp"},
    {"network": "tokens", "interaction": "attention"},
    {"network": "tokens", "interaction": "deepsets", "actor": "dirichlet"},
)
every_kind = pytest.mark.parametrize("kind", KINDS, ids=["mlp", "attention", "deepsets-dirichlet"])


def layout(K: int = 4) -> ObservationLayout:
    return ContextualSimplex(K).layout


def filled(transitions: int = 40, **arguments: Any) -> Ddpg:
    """A learner with random transitions in its buffer."""
    ddpg = ReleasedDdpg(ReleasedConfig(**{**SMALL, "tau": 0.1, **arguments}), layout(), seed=0)
    rng = np.random.default_rng(0)
    size, R = ddpg.layout.size, 4 if ddpg.config.released.vector_critic else 1
    for index in range(transitions):
        observation, after = rng.normal(size=(2, size)).astype(np.float32)
        ddpg.normaliser.update(observation)
        mixture = rng.dirichlet(np.ones(4)).astype(np.float32)
        ddpg.replay.add(observation, mixture, rng.normal(size=R), after, index % 5 == 4)
    return ddpg


def parameters(network: torch.nn.Module) -> list[torch.Tensor]:
    return [p.detach().clone() for p in network.parameters()]


def moved(before: list[torch.Tensor], network: torch.nn.Module) -> bool:
    return any(not torch.equal(a, b) for a, b in zip(before, network.parameters(), strict=True))


# --- the equations --------------------------------------------------------------------------------


@every_kind
def test_an_update_moves_every_parameter_of_actor_and_critic(kind):
    ddpg = filled(**kind)
    before = {name: parameters(network) for name, network in ddpg.networks.items()}
    rng = np.random.default_rng(0)
    for _ in range(3):
        ddpg.update(rng)
    for name, network in ddpg.networks.items():
        still = [
            key
            for old, (key, new) in zip(before[name], network.named_parameters(), strict=True)
            if torch.equal(old, new)
        ]
        # a constant added to every logit changes no mixture, so that a softmax over tokens gives
        # the bias of their shared last layer no gradient
        assert still in ([], ["head.bias"]), (name, still)


@every_kind
def test_targets_follow_softly(kind):
    ddpg = filled(**kind, released=["actor_never_stepped"])
    before = {name: parameters(network) for name, network in ddpg.networks.items()}
    ddpg.update(np.random.default_rng(0))
    for old, new, target in zip(
        before["target_critic"],
        ddpg.critic.parameters(),
        ddpg.target_critic.parameters(),
        strict=True,
    ):
        torch.testing.assert_close(target, 0.9 * old + 0.1 * new, rtol=1e-5, atol=1e-7)
    assert moved(before["target_critic"], ddpg.target_critic)
    assert not moved(before["target_actor"], ddpg.target_actor)  # as its actor stands still


def test_the_critic_target_is_recomputed_by_hand():
    """y = r + gamma (1 - d) Q'(s', mu'(s')), the forward passes too in numpy."""
    ddpg = filled(gamma=0.9, logit_bound=0.0, floor=0.1)
    batch = ddpg.replay.sample(np.random.default_rng(1), 12)
    assert 0 < batch.done.sum() < 12
    mean = ddpg.normaliser.mean
    deviation = np.sqrt(ddpg.normaliser.squares - mean**2) + 1e-3

    def normal(x: np.ndarray, feature: int) -> np.ndarray:
        return np.clip((x - mean[feature]) / deviation[feature], -5, 5)

    after = batch.next_observation.astype(np.float64)
    columns = [normal(after[:, i], i % 2) for i in range(8)]
    columns += [normal(after[:, 8], 2), normal(after[:, 9], 2), normal(after[:, 10], 3)]
    state = np.stack(columns, axis=1)

    def forward(network: torch.nn.Module, x: np.ndarray) -> np.ndarray:
        weights = {k: v.numpy().astype(np.float64) for k, v in network.state_dict().items()}
        for layer in ("trunk.0", "trunk.3"):
            x = x @ weights[f"{layer}.weight"].T + weights[f"{layer}.bias"]
            x = (x - x.mean(1, keepdims=True)) / np.sqrt(x.var(1, keepdims=True) + 1e-5)
            norm = f"trunk.{int(layer[-1]) + 1}"
            x = np.maximum(x * weights[f"{norm}.weight"] + weights[f"{norm}.bias"], 0)
        return x @ weights["head.weight"].T + weights["head.bias"]

    logits = forward(ddpg.target_actor, state)
    powers = np.exp(logits - logits.max(1, keepdims=True))
    mixture = 0.9 * powers / powers.sum(1, keepdims=True) + 0.1 / 4
    value = forward(ddpg.target_critic, np.concatenate([state, 4 * mixture - 1], axis=1))
    expected = batch.reward + 0.9 * (1 - batch.done[:, None]) * value
    np.testing.assert_allclose(ddpg.critic_target(batch).numpy(), expected, atol=1e-5)

    inputs = ddpg.normaliser(batch.observation)
    given = ddpg.critic(inputs, torch.from_numpy(batch.mixture)).detach().numpy()
    loss = float(ddpg.critic_loss(batch).detach())
    assert loss == pytest.approx(float(np.mean((given - expected) ** 2)), abs=1e-5)


@every_kind
def test_the_actor_ascends_q(kind):
    ddpg = filled(**kind, critic_learning_rate=0.0, actor_learning_rate=1e-2, weight_decay=0.0)
    states = ddpg.normaliser(ddpg.replay.all().observation)

    def value() -> float:
        with torch.no_grad():
            mixture = policy(ddpg.actor, states, ddpg.log_prior, ddpg.config).mixture
            return float(ddpg.critic(states, mixture).mean())

    before, rng = value(), np.random.default_rng(0)
    for _ in range(60):
        ddpg.update(rng)
    assert value() > before + 0.02


def test_critic_learns_its_targets():
    ddpg = filled(gamma=0.0, critic_learning_rate=1e-2, weight_decay=0.0)
    everything = ddpg.replay.all()
    before = float(ddpg.critic_loss(everything).detach())
    rng = np.random.default_rng(0)
    for _ in range(150):
        ddpg.update(rng)
    assert float(ddpg.critic_loss(everything).detach()) < 0.3 * before


def test_standardised_rewards():
    ddpg = filled(standardise_rewards=True, gamma=0.0)
    scaled = ddpg.critic_target(ddpg.replay.all()).numpy()
    rewards = ddpg.replay.all().reward
    np.testing.assert_allclose(scaled, (rewards - rewards.mean()) / rewards.std(), rtol=1e-4)


def test_replay_overwrites_the_oldest():
    replay = ReplayBuffer(70, 2, 3, 1)
    for index in range(100):
        replay.add(np.full(2, index), np.full(3, index), np.array([index]), np.zeros(2), False)
    assert len(replay) == 70
    assert sorted(replay.all().reward[:, 0]) == list(range(30, 100))
    batch = replay.sample(np.random.default_rng(0), 500)
    np.testing.assert_array_equal(batch.observation[:, 0], batch.reward[:, 0])
    assert set(batch.reward[:, 0]) == set(range(30, 100))


def test_normaliser_statistics():
    rng = np.random.default_rng(0)
    seen = rng.normal(3.0, 2.0, size=(50, layout().size)).astype(np.float32)
    normaliser = Normaliser(layout(), pooled=False)
    for row in seen:
        normaliser.update(row)
    first = seen[:, 0:8:2]  # the first feature of the four domains
    assert normaliser.mean[0] == pytest.approx(float(first.mean()), rel=1e-6)
    inputs = normaliser(seen)
    assert inputs.domains.shape == (50, 4, 2) and inputs.context.shape == (50, 3)
    assert abs(float(inputs.domains[..., 0].mean())) < 1e-3
    assert float(inputs.domains[..., 0].std()) == pytest.approx(1.0, abs=0.02)
    pooled = Normaliser(layout(), pooled=True)
    assert pooled(seen).context.shape == (50, 2)


# --- the networks ---------------------------------------------------------------------------------


@pytest.mark.parametrize("interaction", ["attention", "deepsets"])
def test_tokens_are_equivariant_and_their_critic_invariant(interaction):
    config = ReleasedConfig(network="tokens", width=16, blocks=2, interaction=interaction)
    vector = ReleasedConfig(
        network="tokens", width=16, interaction=interaction, released=Released(vector_critic=True)
    )
    with private_rng(0):
        actor = make_network(config, 7, 5, 3, critic=False)
        critic = make_network(config, 7, 5, 3, critic=True)
        critics = make_network(vector, 7, 5, 3, critic=True)
    rng = np.random.default_rng(0)
    inputs = Inputs(
        torch.from_numpy(rng.normal(size=(6, 7, 5)).astype(np.float32)),
        torch.from_numpy(rng.normal(size=(6, 3)).astype(np.float32)),
    )
    mixture = torch.from_numpy(rng.dirichlet(np.ones(7), size=6).astype(np.float32))
    order = torch.from_numpy(rng.permutation(7))
    other = Inputs(inputs.domains[:, order], inputs.context)
    logits = actor(inputs)
    assert logits.shape == (6, 7) and float(logits.detach().std(dim=1).min()) > 1e-3
    torch.testing.assert_close(actor(other), logits[:, order], rtol=1e-4, atol=1e-5)
    assert critic(inputs, mixture).shape == (6, 1)
    torch.testing.assert_close(
        critic(other, mixture[:, order]), critic(inputs, mixture), rtol=1e-4, atol=1e-5
    )
    assert not torch.allclose(critic(inputs, mixture[:, order]), critic(inputs, mixture), atol=1e-4)
    torch.testing.assert_close(
        critics(other, mixture[:, order]), critics(inputs, mixture)[:, order], rtol=1e-4, atol=1e-5
    )


def test_the_papers_shapes():
    """5 x [Linear, LayerNorm, ReLU] of width 1024 on 85 numbers, 22 domains: 4.32 M + 4.34 M."""
    config = ReleasedConfig(width=1024, depth=5, released=Released(vector_critic=True))
    actor = make_network(config, 22, 3, 19, critic=False)
    critic = make_network(config, 22, 3, 19, critic=True)
    assert sum(p.numel() for p in actor.parameters()) == pytest.approx(4.32e6, rel=2e-3)
    assert sum(p.numel() for p in critic.parameters()) == pytest.approx(4.34e6, rel=2e-3)


@every_kind
def test_an_actor_begins_at_its_prior(kind):
    env = ContextualSimplex(4)
    observation, info = env.reset(seed=0)
    for gain, closeness in ((0.0, 1e-6), (0.05, 0.05)):
        agent = AcOdm(
            **{**SMALL, **kind}, prior={"natural": 1.0}, output_gain=gain, frozen=True, floor=0.0
        )
        agent.start(env, 0)
        expected = env.task.natural
        if kind.get("actor") == "dirichlet":
            concentration = 0.05 + 40 * expected
            expected = concentration / concentration.sum()
        np.testing.assert_allclose(agent.act(observation, info), expected, atol=closeness)


# --- learning -------------------------------------------------------------------------------------


def learned(env: gym.Env[Any, Any], budget: int, **arguments: Any) -> AcOdm:
    env.reset(seed=0)
    agent = AcOdm(**arguments)
    agent.start(env, 0)
    agent.learn(env, budget)
    return agent


@pytest.mark.parametrize("seed", [0, 1])
def test_it_finds_the_best_mixture(seed):
    """0 is the uniform mixture, 1 the optimum; the untrained actor is at about 0."""
    env = Bandit(4)
    env.reset(seed=seed)
    agent = AcOdm(width=32, depth=2, updates_per_decision=8)
    agent.start(env, seed)
    untrained = copy.deepcopy(agent)
    untrained.frozen = True
    assert average_reward(untrained, env) < 0.3
    agent.learn(env, 300)
    agent.frozen = True
    assert average_reward(agent, env) > 0.95


@pytest.mark.slow
def test_tokens_find_the_best_mixture_of_every_context():
    agent = learned(ContextualSimplex(4), 500, width=32, gamma=0.0, **KINDS[1])
    agent.frozen = True
    assert average_reward(agent, ContextualSimplex(4)) > 0.95
    # what it learned is about domains, not about four of them in this order
    assert average_reward(agent, ContextualSimplex(6)) > 0.7


@pytest.mark.slow
def test_a_dirichlet_actor_learns_too():
    """Through noisy draws, and slower: short of 5 % of the optimum with this budget."""
    agent = learned(ContextualSimplex(4), 500, width=32, gamma=0.0, **KINDS[2])
    agent.frozen = True
    assert average_reward(agent, ContextualSimplex(4)) > 0.9


def test_learning_while_acting_is_learning():
    """Non-proxy mode: `act` alone, in the run itself, with the rewards that it is told."""
    env = Bandit(3, decisions=120)
    observation, info = env.reset(seed=0)
    agent = AcOdm(width=32, depth=2, updates_per_decision=8, warmup_share=0.02)
    agent.start(env, 0)
    done, rewards = False, []
    while not done:
        observation, reward, done, info = step(agent, env, observation, info)
        rewards.append(reward)
    assert agent.learner is not None and len(agent.learner.replay) == 119
    stored = np.sort(agent.learner.replay.all().reward[:, 0])
    np.testing.assert_allclose(stored, np.sort(rewards[:-1]), rtol=1e-6)
    assert np.mean(rewards[-20:]) > np.mean(rewards[:20]) + 0.2


def test_the_replay_holds_what_happened():
    env = ContextualSimplex(4, decisions=6)
    agent = learned(env, 12, **SMALL)
    assert agent.learner is not None
    batch: Batch = agent.learner.replay.all()
    assert batch.done.tolist() == [0, 0, 0, 0, 0, 1] * 2
    for row in (0, 1, 2, 3, 4, 6, 7, 8, 9, 10):
        np.testing.assert_array_equal(batch.next_observation[row], batch.observation[row + 1])
    assert agent.decisions == 12 and agent.episodes == 2
    best = np.exp(1.5 * batch.observation[:, 0:8:2])
    best /= best.sum(axis=1, keepdims=True)
    off = ((batch.mixture - best) ** 2).sum(1) / ((0.25 - best) ** 2).sum(1)
    np.testing.assert_allclose(batch.reward[:, 0], 1 - off, rtol=1e-4, atol=1e-5)


def test_warm_up_plays_noisy_natural_weights():
    env = ContextualSimplex(4, decisions=40)
    observation, info = env.reset(seed=0)
    agent = AcOdm(**SMALL, warmup_share=0.5, warmup_noise=0.02, exploration="none")
    agent.start(env, 0)
    actions = []
    for _ in range(40):
        actions.append(agent.act(observation, info))
        observation, reward, ended, cut, info = env.step(actions[-1])
        agent.observe(reward, ended, cut, info)
    noise = np.array(actions[:20]) - env.task.natural
    assert 0.01 < noise.std() < 0.03 and np.abs(noise.mean(axis=0)).max() < 0.02
    assert np.abs(actions[20] - env.task.natural).max() > 0.05


@pytest.mark.parametrize(
    "exploration", [{"exploration": "logits"}, {"exploration": "dirichlet"}, {"actor": "dirichlet"}]
)
def test_exploration_is_around_the_policy_and_ends_when_frozen(exploration):
    env = ContextualSimplex(4)
    observation, info = env.reset(seed=0)
    agent = AcOdm(**SMALL, **exploration, warmup_share=0.0, noise=0.2, concentration=200)
    agent.start(env, 0)
    mean, _ = agent.learner.act(np.asarray(observation))  # type: ignore[union-attr]
    draws = []
    for _ in range(200):
        agent._pending = None
        draws.append(agent.act(observation, info))
    assert np.std(draws, axis=0).min() > 0.005
    np.testing.assert_allclose(np.mean(draws, axis=0), mean, atol=0.03)
    agent.frozen = True
    np.testing.assert_array_equal(agent.act(observation, info), agent.act(observation, info))


# --- determinism ----------------------------------------------------------------------------------


@every_kind
def test_the_seed_decides_everything(kind):
    agents = []
    for seed in (3, 3, 4):
        env = ContextualSimplex(3, decisions=8)
        env.reset(seed=seed)
        agent = AcOdm(**{**SMALL, **kind})
        agent.start(env, seed)
        agent.learn(env, 12)
        agents.append(agent)
    first, second, third = (agent.learner.state()[0] for agent in agents)
    for name, value in first.items():
        assert torch.equal(value, second[name]), name
    assert not torch.equal(first["replay.mixture"], third["replay.mixture"])


@every_kind
def test_the_global_generators_are_left_alone(kind):
    numpy_before, python_before = np.random.get_state()[1].copy(), random.getstate()  # type: ignore[index]
    torch_before = torch.get_rng_state()
    threads = torch.get_num_threads()
    learned(ContextualSimplex(3, decisions=5), 8, **{**SMALL, **kind})
    np.testing.assert_array_equal(numpy_before, np.random.get_state()[1])  # type: ignore[index]
    assert python_before == random.getstate()
    assert torch.equal(torch_before, torch.get_rng_state())
    assert threads == torch.get_num_threads()


# --- configuration --------------------------------------------------------------------------------


def test_packaged_hyperparameters_have_sources_and_are_valid():
    from mixgym.envs.registration import ENVIRONMENTS

    assert ReleasedConfig.packaged(None).gamma == 0.95
    for env_id in ENVIRONMENTS:
        ReleasedConfig.packaged(env_id)
    assert ReleasedConfig.packaged("mixgym/NanoPretrain-v0") != ReleasedConfig.packaged(None)


def test_given_arguments_come_before_the_packaged_ones():
    env = ContextualSimplex(3)
    env.reset(seed=0)
    agent = AcOdm(gamma=0.5)
    agent.start(env, 0)
    assert agent.config.gamma == 0.5
    assert agent.config.width == ReleasedConfig.packaged(None).width


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"gama": 0.9}, "did you mean 'gamma'"),
        ({"gamma": 1.5}, r"gamma=1.5 must be a number in \[0, 1\]"),
        ({"width": 2.5}, "width=2.5 must be a whole number"),
        ({"network": "token"}, "did you mean 'tokens'"),
        ({"network": "tokens", "width": 10, "heads": 4}, "multiple of heads"),
        ({"released": ["actor_never_steped"]}, "did you mean 'actor_never_stepped'"),
        ({"released": {"vector_critic": 1}}, "must be true or false"),
        ({"released": "some"}, "Known: all, none"),
        ({"prior": {"natural": -1.0}}, "not negative"),
    ],
)
def test_bad_arguments_are_refused_at_once(arguments, message):
    with pytest.raises((UnknownNameError, ValueError), match=message):
        AcOdm(**arguments)


def test_released_specs():
    assert Released.parse("none") == Released()
    everything = Released.parse("all")
    assert all(getattr(everything, name) for name in vars(Released()))
    assert Released.parse(["vector_critic"]) == Released(vector_critic=True)
    assert Released.parse({"vector_critic": False}) == Released()


def test_unsuitable_environments_are_refused(env):
    agent = AcOdm()
    with pytest.raises(MixgymError, match="needs a mixgym environment"):
        agent.start(gym.make("CartPole-v1"), 0)
    boxed = ContextualSimplex(3)
    boxed.action_space = gym.spaces.Box(-1, 1, (3,))
    with pytest.raises(MixgymError, match="action_map='simplex'"):
        agent.start(boxed, 0)
    with pytest.raises(MixgymError, match="has not started"):
        agent.act(np.zeros(1), {})
    with pytest.raises(MixgymError, match="has not started"):
        agent.learn(boxed, 1)


def test_tensorboard_is_optional(tmp_path):
    if importlib.util.find_spec("tensorboard") is None:
        with pytest.raises(MixgymError, match=r"mixgym\[tensorboard\]"):
            learned(ContextualSimplex(3), 3, **SMALL, log=str(tmp_path))
    else:
        learned(ContextualSimplex(3), 3, **SMALL, log=str(tmp_path))
        assert list(tmp_path.iterdir())
