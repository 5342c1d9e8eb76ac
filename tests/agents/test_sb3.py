"""Agents `sac`, `tqc` and `ppo`: the library's algorithms, one decision at a time; they learn."""

from __future__ import annotations

import math
import random
import sys
from typing import Any

import numpy as np
import pytest
import torch

pytest.importorskip("sb3_contrib")
from mixgym_agents.sb3.actions import directions, scale_of, warm_up_mixture
from mixgym_agents.sb3.agent import Sb3Agent
from mixgym_agents.sb3.config import PpoConfig, SacConfig, TqcConfig
from mixgym_agents.sb3.learner import Learner
from mixgym_agents.sb3.models import build_driver
from mixgym_agents.sb3.networks import TokenShape
from mixgym_agents.sb3.sac import SEARCH_SPACE, Sac
from mixgym_agents.sb3.vecenv import FeatureMeanStd, normalised
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

from mixgym.agents import make_agent
from mixgym.errors import MissingExtraError, MixgymError, UnknownNameError
from mixgym.simplex import make_action_map
from tests.agents.toy import Bandit, Boxed, ContextualSimplex, average_reward, step

SMALL: dict[str, Any] = {"width": 8, "heads": 2, "depth": 1}
OFF: dict[str, Any] = {**SMALL, "batch_size": 8, "gradient_steps": 1, "warmup": 2}
ON: dict[str, Any] = {**SMALL, "batch_size": 4, "n_steps": 4, "n_epochs": 1}
KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "sac-mlp": ("sac", {**OFF, "network": "mlp"}),
    "sac-tokens": ("sac", {**OFF, "network": "tokens"}),
    "tqc-mlp": ("tqc", {**OFF, "network": "mlp", "n_quantiles": 5}),
    "tqc-tokens": ("tqc", {**OFF, "network": "tokens", "n_quantiles": 5}),
    "ppo-mlp": ("ppo", {**ON, "network": "mlp"}),
    "ppo-tokens": ("ppo", {**ON, "network": "tokens", "interaction": "deepsets"}),
}
CONFIGS = {"sac": SacConfig, "tqc": TqcConfig, "ppo": PpoConfig}
every_kind = pytest.mark.parametrize("kind", KINDS)
every_tokens = pytest.mark.parametrize("kind", [kind for kind in KINDS if "tokens" in kind])


def started(kind: str, env: Any, **further: Any) -> Sb3Agent:
    name, arguments = KINDS[kind]
    agent: Any = make_agent(name, **{**arguments, **further})
    env.reset(seed=0)
    agent.start(env, 0)
    return agent


def learner(kind: str, layout: Any, **further: Any) -> Learner:
    name, arguments = KINDS[kind]
    config = CONFIGS[name](**{**arguments, **further})
    action_map = make_action_map("softmax", len(layout.domains))
    return Learner(config, layout, action_map, 3, scale=5.0, directions=action_map.K - 1)


# --- the library's algorithms ---------------------------------------------------------------------


@every_kind
def test_adam_is_the_librarys(kind):
    """stable-baselines3 gives Adam eps 1e-5 for its on-policy algorithms, 1e-8 for the others."""
    agent = started(kind, Boxed(ContextualSimplex(4, decisions=6)))
    assert agent.learner is not None
    expected = 1e-5 if kind.startswith("ppo") else 1e-8
    for optimiser in agent.learner.driver.optimisers().values():
        assert optimiser.defaults["eps"] == expected


@every_kind
def test_learning_moves_every_parameter_and_no_global_random_state(kind):
    env = Boxed(ContextualSimplex(4, decisions=6))
    agent = started(kind, env)
    assert agent.learner is not None
    before = agent.learner.networks()
    states = torch.get_rng_state(), np.random.get_state(), random.getstate()
    agent.learn(env, 12)
    after = agent.learner.networks()
    still = [name for name in before if torch.equal(before[name], after[name])]
    assert still == []
    assert torch.equal(states[0], torch.get_rng_state())
    assert str(states[1]) == str(np.random.get_state())
    assert states[2] == random.getstate()
    assert all(math.isfinite(value) for value in agent.metrics.values())
    assert agent.decisions == 12 and agent.episodes == 2


@every_kind
def test_one_decision_at_a_time_equals_the_librarys_own_loop(kind):
    """The same weights, bit for bit, as `model.learn` over a `DummyVecEnv`."""
    plain = {"normalise": "none", "normalise_rewards": "none"}
    if not kind.startswith("ppo"):
        plain["warmup"] = 0  # type: ignore[assignment]
    env = Boxed(ContextualSimplex(4, decisions=30))
    layout = env.unwrapped.layout  # type: ignore[attr-defined]
    ours, theirs = learner(kind, layout, **plain), learner(kind, layout, **plain)
    venv = normalised(DummyVecEnv([lambda: env]), layout, theirs.config)
    venv.seed(7)
    shape = TokenShape.of(layout, theirs.config, 5.0)
    theirs.randomness = type(theirs.randomness)(3)
    with theirs.randomness.active():
        model = build_driver(theirs.config, venv, shape, 3).model
        model.learn(12, log_interval=None)

    env = Boxed(ContextualSimplex(4, decisions=30))
    observation, _ = env.reset(seed=7)
    ours.begin(observation)
    for _ in range(12):
        observation, reward, done, *_ = env.step(ours.choose())
        ours.absorb(observation, float(reward), done, False)
    for name, value in model.policy.state_dict().items():
        assert torch.equal(value, ours.networks()[name]), name


def test_stored_transitions_are_what_happened():
    env = Boxed(ContextualSimplex(3, decisions=4))
    agent = started("sac-mlp", env, warmup=1)
    observation, info = env.reset(seed=5)
    seen, acted, earned, terminated = [observation], [], [], False
    agent.start(env, 5)
    agent._in_learn = True
    for _ in range(4):
        acted.append(agent.act(seen[-1], info))
        observation, reward, terminated, cut, info = env.step(acted[-1])
        agent.observe(reward, terminated, cut, info)
        seen.append(observation)
        earned.append(reward)
    agent._absorb(observation, done=True)
    assert agent.learner is not None
    buffer = agent.learner.driver.model.replay_buffer
    assert buffer.size() == 4
    np.testing.assert_array_equal(buffer.observations[:4, 0], seen[:4])
    np.testing.assert_array_equal(buffer.next_observations[:4, 0], seen[1:])
    np.testing.assert_allclose(buffer.actions[:4, 0], acted, atol=1e-6)
    np.testing.assert_array_equal(buffer.rewards[:4, 0], np.array(earned, np.float32))
    assert buffer.dones[:4, 0].tolist() == [0, 0, 0, 1] and terminated
    assert not buffer.timeouts.any()


def test_a_cut_episode_is_not_the_end_of_the_problem():
    env = Boxed(ContextualSimplex(3, decisions=10))
    agent = started("sac-mlp", env)
    agent.learn(env, 4)
    assert agent.learner is not None
    buffer = agent.learner.driver.model.replay_buffer
    assert buffer.dones[:4, 0].tolist() == buffer.timeouts[:4, 0].tolist() == [0, 0, 0, 1]


@pytest.mark.parametrize(
    ("action_map", "expected"), [("softmax", -3), ("delta", -3), ("ilr", -3), ("dirichlet", -4)]
)
def test_target_entropy_leaves_the_null_direction_out(action_map, expected):
    agent = started("sac-mlp", Boxed(ContextualSimplex(4), action_map))
    assert agent.learner is not None
    assert agent.learner.driver.model.target_entropy == expected
    # each counted direction changes the mixture, each other one does not
    mapped, rng = make_action_map(action_map, 4), np.random.default_rng(0)
    current = np.full(4, 0.25)
    origin = np.zeros(mapped.space.shape)

    def mixture(action: np.ndarray) -> np.ndarray:
        mean = getattr(mapped, "concentrations", None)
        if mean is not None:
            return mean(action)
        return mapped.to_mixture(action, current, rng)

    steps = 1e-4 * np.eye(len(origin))
    jacobian = np.stack([(mixture(origin + s) - mixture(origin - s)) / 2e-4 for s in steps])
    assert np.linalg.matrix_rank(jacobian, tol=1e-6) == -expected == directions(mapped)
    fixed = started("sac-mlp", Boxed(ContextualSimplex(4), action_map), target_entropy=-1.5)
    assert fixed.learner is not None
    assert fixed.learner.driver.model.target_entropy == -1.5


def test_policies_begin_near_the_uniform_mixture():
    env = Boxed(ContextualSimplex(4))
    for kind in KINDS:
        agent = started(kind, env)
        assert agent.learner is not None
        observation, _ = env.reset(seed=1)
        action = agent.learner.predict(observation)
        assert np.abs(action).max() < 0.2, kind


# --- networks over domain tokens ------------------------------------------------------------------


def permuted(observation: np.ndarray, layout: Any, order: list[int]) -> np.ndarray:
    domain, layer, scalar = layout.split(observation)
    return np.concatenate([domain[order].ravel(), layer.ravel(), scalar]).astype(np.float32)


@every_tokens
def test_permuting_domains_permutes_the_action_and_keeps_the_value(kind):
    layout, order = ContextualSimplex(5).layout, [3, 0, 4, 1, 2]
    one = learner(kind, layout)
    rng = np.random.default_rng(0)
    with torch.no_grad():  # away from the small initial outputs
        for weights in one.driver.model.policy.parameters():
            weights.add_(torch.from_numpy(rng.normal(0, 0.2, weights.shape).astype(np.float32)))
    observation = rng.normal(size=layout.size).astype(np.float32)
    other = permuted(observation, layout, order)
    action, moved = one.predict(observation), one.predict(other)
    assert np.ptp(action) > 0.01
    np.testing.assert_allclose(moved, action[order], atol=1e-5)
    policy = one.driver.model.policy
    seen = torch.from_numpy(np.stack([observation, other]))
    with torch.no_grad():
        if kind.startswith("ppo"):
            values = policy.predict_values(seen)
        else:
            acted = torch.from_numpy(np.stack([action, action[order]]))
            values = policy.critic(seen, acted)
            values = values if torch.is_tensor(values) else torch.cat(values, dim=1)
    torch.testing.assert_close(values[0], values[1], rtol=1e-4, atol=1e-5)


@every_tokens
def test_eight_domains_learned_nineteen_steered(kind, tmp_path):
    env = Boxed(ContextualSimplex(8, decisions=6, layers=2))
    agent = started(kind, env)
    agent.learn(env, 12)
    agent.save(tmp_path / "policy")
    many = Boxed(ContextualSimplex(19, decisions=6, layers=5))
    frozen: Any = make_agent(KINDS[kind][0], policy=str(tmp_path / "policy"))
    observation, info = many.reset(seed=0)
    frozen.start(many, 0)
    for _ in range(6):
        action = frozen.act(observation, info)
        assert many.action_space.contains(action)
        observation, *_, info = many.step(action)
    weights = agent.learner.networks()  # type: ignore[union-attr]
    assert all(torch.equal(weights[k], v) for k, v in frozen.learner.networks().items())


def test_token_networks_need_one_number_a_domain():
    with pytest.raises(MixgymError, match="one number a domain"):
        started("sac-tokens", Boxed(ContextualSimplex(4), "ilr"))
    started("sac-mlp", Boxed(ContextualSimplex(4), "ilr"))


# --- normalisation and warm-up --------------------------------------------------------------------


def test_statistics_of_a_feature_are_those_of_all_domains():
    layout = ContextualSimplex(4, layers=3).layout
    rng = np.random.default_rng(0)
    rows = rng.normal(3.0, 2.0, size=(40, layout.size)).astype(np.float32)
    statistics = FeatureMeanStd(layout)
    for start in (0, 1, 25):
        statistics.update(rows[start : {0: 1, 1: 25, 25: 40}[start]])
    exact = rows.astype(np.float64)
    for feature in range(2):
        values = exact[:, feature:8:2]
        np.testing.assert_allclose(statistics.mean[feature:8:2], values.mean(), rtol=1e-5)
        np.testing.assert_allclose(statistics.var[feature:8:2], values.var(), rtol=1e-4)
    np.testing.assert_allclose(statistics.mean[8:11], exact[:, 8:11].mean(), rtol=1e-5)
    np.testing.assert_allclose(statistics.var[11], exact[:, 11].var(), rtol=1e-4)
    more = FeatureMeanStd(ContextualSimplex(7, layers=1).layout)
    more.restore(statistics.to_json())
    np.testing.assert_array_equal(more.mean[:14:2], [statistics.mean[0]] * 7)
    assert more.mean.shape == (7 * 2 + 1 + 1,)


@pytest.mark.parametrize(("kind", "gamma"), [("rewards", 0.0), ("returns", 0.9), ("none", None)])
def test_rewards_are_divided_by_their_running_deviation(kind, gamma):
    env = Boxed(ContextualSimplex(4, decisions=30))
    agent = started("sac-mlp", env, normalise_rewards=kind, gamma=0.9, warmup=30)
    agent.learn(env, 20)
    assert agent.learner is not None
    wrapped = agent.learner.env
    assert isinstance(wrapped, VecNormalize)
    rewards = agent.learner.driver.model.replay_buffer.rewards[:20, 0].astype(np.float64)
    if gamma is None:
        assert wrapped.normalize_reward(np.array([3.0])) == 3.0
        return
    sums = [sum(gamma ** (t - s) * rewards[s] for s in range(t + 1)) for t in range(20)]
    expected = rewards / np.std(sums)
    np.testing.assert_allclose(wrapped.normalize_reward(rewards), expected, rtol=1e-3)


def test_warm_up_plays_noisy_blends_of_natural_and_uniform():
    task = ContextualSimplex(4).task
    rng = np.random.default_rng(3)
    u = rng.uniform()
    z = rng.standard_normal(4)
    weights = np.array([(1 - u) * n + u / 4 for n in (0.1, 0.2, 0.3, 0.4)]) * np.exp(0.5 * z)
    given = warm_up_mixture(task, 0.5, np.random.default_rng(3))
    np.testing.assert_allclose(given, weights / weights.sum())

    env = Boxed(ContextualSimplex(4, decisions=6))
    agent = started("sac-mlp", env, warmup=4, warmup_noise=0.0)
    before = agent.learner.networks()  # type: ignore[union-attr]
    observation, info = env.reset(seed=0)
    agent.start(env, 0)
    for decision in range(6):
        observation, _, _, info = step(agent, env, observation, info)
        line = (env.mixture - task.natural) / (0.25 - task.natural)
        assert (np.ptp(line) < 1e-4) == (decision < 4)  # on the segment from natural to uniform
    # the fifth result is the first to be learned from
    assert agent.learner.driver.model._n_updates == 1  # type: ignore[union-attr]
    assert before.keys() == agent.learner.networks().keys()  # type: ignore[union-attr]


# --- it learns ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "decisions", "further"),
    [
        ("sac-mlp", 80, {"gradient_steps": 4}),
        ("tqc-mlp", 100, {"gradient_steps": 4, "top_quantiles_to_drop_per_net": 0}),
        ("ppo-mlp", 240, {"n_steps": 20, "batch_size": 20, "n_epochs": 10}),
    ],
    ids=["sac", "tqc", "ppo"],
)
def test_a_fixed_best_mixture_is_found(kind, decisions, further):
    env = Boxed(Bandit(4, decisions=20))
    agent = started(
        kind, env, gamma=0.0, width=32, learning_rate=2e-3, **{"batch_size": 32, **further}
    )
    agent.learn(env, decisions)
    agent.frozen = True
    assert average_reward(agent, Boxed(Bandit(4, decisions=5))) > 0.7  # uniform 0, best 1


@pytest.mark.slow
@pytest.mark.parametrize("name", ["sac", "tqc"])
def test_a_context_is_read_by_token_networks(name):
    env = Boxed(ContextualSimplex(4, decisions=20))
    agent: Any = make_agent(
        name, network="tokens", width=16, gamma=0.0, gradient_steps=4, batch_size=32
    )
    env.reset(seed=0)
    agent.start(env, 0)
    agent.learn(env, 200)
    agent.frozen = True
    assert average_reward(agent, Boxed(ContextualSimplex(4, decisions=50))) > 0.7


# --- arguments ------------------------------------------------------------------------------------


def test_packaged_hyperparameters_are_valid_and_say_where_they_come_from():
    for config in CONFIGS.values():
        assert config.packaged(None).network == "mlp"
        for env_id in ("mixgym/NanoPretrain-v0", "mixgym/MicroTarget-v0"):
            assert config.packaged(env_id).network == "tokens"


def test_bad_arguments_are_refused():
    with pytest.raises(UnknownNameError, match="did you mean 'gamma'"):
        make_agent("sac", gama=0.9)
    with pytest.raises(UnknownNameError, match="did you mean 'tokens'"):
        Sac(network="token")
    with pytest.raises(ValueError, match=r"tau=2 must be a number in \[0, 1\]"):
        Sac(tau=2)
    with pytest.raises(ValueError, match="ent_coef='auto_x'"):
        Sac(ent_coef="auto_x")
    with pytest.raises(ValueError, match="multiple of heads"):
        Sac(network="tokens", width=10)
    with pytest.raises(ValueError, match="multiple of batch_size"):
        make_agent("ppo", n_steps=10, batch_size=4)
    with pytest.raises(ValueError, match="less than n_quantiles"):
        make_agent("tqc", n_quantiles=2)


def test_reward_and_observation_are_wanted_of_the_environment():
    agent = make_agent("sac", reward={"progress": 2.0}, observation="minimal")
    assert agent.env_arguments == {"reward": {"progress": 2.0}, "observation": "minimal"}
    assert make_agent("ppo").env_arguments == {}


def test_environments_it_cannot_act_in_are_refused():
    with pytest.raises(MixgymError, match="acts in a box"):
        started("sac-mlp", ContextualSimplex(4))
    agent: Any = make_agent("sac", **OFF)
    with pytest.raises(MixgymError, match="has not started"):
        agent.act(np.zeros(3), {})


def test_the_missing_library_names_its_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "stable_baselines3", None)
    with pytest.raises(MissingExtraError, match=r"mixgym\[sb3\]"):
        make_agent("sac")


def test_search_spaces_name_valid_values():
    for name, config in CONFIGS.items():
        agent: Any = make_agent  # the factory carries the space
        from mixgym.agents import list_agents

        space = list_agents()[name].load().search_space
        defaults = {key: entry["default"] for key, entry in space.items()}
        config(**defaults)
        for key, entry in space.items():
            for value in entry.get("choices", [entry.get("low"), entry.get("high")]):
                config(**{**defaults, key: value, **({"batch_size": 10} if name == "ppo" else {})})
        assert agent is make_agent
    assert "learning_rate" in SEARCH_SPACE and scale_of(make_action_map("softmax", 3)) == 5.0
