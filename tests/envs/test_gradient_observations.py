"""Gradient features, the acodm observation sets, and the `gradients` argument."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.envs.registration import EnvSpec
from test_registry import SHORT

import mixgym  # noqa: F401
from mixgym.envs.arguments import EnvironmentArguments, with_wanted
from mixgym.envs.observation import OBSERVATIONS, ObservationLayout
from mixgym.errors import UnknownNameError

NANO = "mixgym/NanoPretrain-v0"
UNIFORM = np.full(8, 1 / 8, np.float32)


def make(**arguments: Any) -> Any:
    given = {**SHORT, "batch_size": 16, "action_map": "simplex", **arguments}
    return gym.make(NANO, disable_env_checker=True, **given)


def named(env: Any, observation: Any) -> dict[str, float]:
    return dict(zip(env.unwrapped.layout.names, observation, strict=True))


def test_gradient_features_switch_their_signals_on() -> None:
    domain = ["mixture", "gradient_norm", "alignment", "objective_alignment"]
    env = make(observation={"domain": domain, "scalar": ["remaining"]})
    inner = env.unwrapped
    assert inner.gradients.kinds == ("gram", "objective")
    first, _ = env.reset(seed=0)
    assert first in env.observation_space
    assert all(value == 0 for name, value in named(env, first).items() if "align" in name)
    observation, *_ = env.step(UNIFORM)
    assert observation in env.observation_space
    s, values = inner.signals, named(env, observation)
    gram = s.gram.astype(np.float64)
    for i, name in enumerate(inner.task.names):
        others = [j for j in range(8) if j != i]
        norm = np.sqrt(gram[np.ix_(others, others)].sum())
        cosine = gram[i, others].sum() / (norm * np.sqrt(gram[i, i]))
        assert values[f"alignment.{name}"] == pytest.approx(cosine, rel=1e-3)
        assert values[f"gradient_norm.{name}"] == pytest.approx(
            np.log(s.gradient_norms[i]), abs=1e-4
        )
        cosine = s.objective_alignment[i] / s.gradient_norms[i] / s.objective_gradient_norm
        assert values[f"objective_alignment.{name}"] == pytest.approx(cosine, rel=1e-3)
        assert abs(cosine) <= 1


def test_validation_features_are_measured_without_a_reward() -> None:
    """A frozen policy gets what it was trained on, whatever the environment's reward."""
    trained = make(reward="progress")
    frozen = make(reward={}, validation="reward", observation="default")
    for env in (trained, frozen):
        env.reset(seed=0)
    observation = expected = np.zeros(0)
    for _ in range(2):
        expected, *_ = trained.step(UNIFORM)
        observation, *_ = frozen.step(UNIFORM)
        np.testing.assert_array_equal(observation, expected)
    assert named(frozen, observation)["objective_loss"] > 0
    scalar = make(reward={}, validation="reward", observation={"scalar": ["objective_loss"]})
    assert scalar.reset(seed=0)[0][0] > 0
    unpaid = make(reward={}, validation="reward", observation="training")
    unpaid.reset(seed=0)
    unpaid.step(UNIFORM)
    assert unpaid.unwrapped.ledger.accounts["reward"].tokens == 0
    shown = named(unpaid, unpaid.reset(seed=0)[0])
    assert shown.keys() == {name for name in named(trained, expected) if "valid" not in name} - {
        "objective_loss"
    }


def test_acodm_is_the_papers_state() -> None:
    env = make(observation="acodm")
    env.reset(seed=0)
    env.step(UNIFORM)
    observation, *_ = env.step(UNIFORM)
    s, values = env.unwrapped.signals, named(env, observation)
    assert values["remaining"] == pytest.approx(1 / 3)
    for i, name in enumerate(env.unwrapped.task.names):
        total = 3 * 2 * 16 * 16
        assert values[f"samples.{name}"] == pytest.approx(s.tokens[i] / total, rel=1e-5)
        assert values[f"train_loss.{name}"] == s.train_loss[i]
        assert values[f"train_loss_change.{name}"] == s.train_loss_change[i]
    assert len(observation) == 3 * 8 + 2 * 2 + 1
    assert env.unwrapped.run.gradients is None


@pytest.mark.parametrize("observation", [*OBSERVATIONS, {"set": "acodm", "normalise": "zscore"}])
def test_remaining_budget_is_always_there(observation: Any) -> None:
    env = make(observation=observation)
    values = named(env, env.reset(seed=0)[0])
    assert values["remaining"] == 1.0


def test_layers_of_the_state_are_an_argument() -> None:
    env = make(observation="acodm", layers=r"layers\.0\.mlp\.dense_4h_to_h\.weight$")
    assert env.unwrapped.layout.layers == ("gpt_neox.layers.0.mlp.dense_4h_to_h.weight",)


def test_zscores_over_domains_and_layers() -> None:
    env = make(observation="acodm-released")
    first, _ = env.reset(seed=0)
    domains, layers, scalars = env.unwrapped.layout.split(first)
    assert (domains == 0).all() and scalars.tolist() == [1.0]
    mixture = np.array([0.5, 0.2, 0.1, 0.1, 0.1, 0, 0, 0], np.float32)
    observation, *_ = env.step(mixture)
    domains, layers, _ = env.unwrapped.layout.split(observation)
    loss = env.unwrapped.signals.train_loss
    seen = np.isfinite(loss)
    assert seen.tolist() == [True] * 5 + [False] * 3
    expected = (loss[seen] - loss[seen].mean()) / loss[seen].std()
    np.testing.assert_allclose(domains[seen, 0], np.clip(expected, -3, 3), atol=1e-3)
    assert (domains[~seen, 0] == 0).all()
    share = env.unwrapped.signals.counts / 32
    np.testing.assert_allclose(domains[:, 2], (share - share.mean()) / share.std(), atol=1e-3)
    np.testing.assert_allclose(np.abs(layers), 1.0, atol=1e-3)  # of two layers


def test_gradients_argument_survives_the_spec() -> None:
    env = make(gradients={"kinds": ["gram"], "every": 2, "last_n": 1})
    again: Any = gym.make(EnvSpec.from_json(env.spec.to_json())).unwrapped
    assert again.gradients == env.unwrapped.gradients
    assert again.gradients.every == 2 and again.gradients.last_n == 1
    env.reset(seed=0)
    env.step(UNIFORM)
    assert env.unwrapped.signals.gram.shape == (8, 8)


@pytest.mark.parametrize(
    ("given", "needs", "kinds"),
    [
        (None, set(), None),
        (None, {"objective"}, None),
        (None, {"gram"}, ("gram",)),
        ({}, set(), ("gram",)),
        ({"every": 4}, {"objective_gradient"}, ("objective",)),
        ({"kinds": "variance"}, {"gram"}, ("gram", "variance")),
    ],
)
def test_what_is_measured(given: Any, needs: set[str], kinds: Any) -> None:
    settings = EnvironmentArguments(gradients=given).gradient_settings(needs, [0.5, 0.5])
    assert (settings and settings.kinds) == kinds


def test_bad_gradients_name_value_and_remedy() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'every'"):
        make(gradients={"evry": 2})
    with pytest.raises(ValueError, match="drop 'objective'"):
        make(gradients={"objective": [1.0]})
    with pytest.raises(UnknownNameError, match="did you mean 'zscore'"):
        make(observation={"set": "acodm", "normalise": "zscor"})
    with pytest.raises(UnknownNameError, match="did you mean 'acodm'"):
        ObservationLayout.build("acodn", ["a"], ["b"])


def test_what_an_agent_wants_completes_what_is_given() -> None:
    wanted = {"gradients": {"kinds": ["variance"], "every": 5}, "observation": "acodm"}
    assert with_wanted({}, wanted) == wanted
    assert with_wanted({"observation": "minimal", "decisions": 3}, wanted) == {
        **wanted, "observation": "minimal", "decisions": 3,
    }  # fmt: skip
    merged = with_wanted({"gradients": {"every": 2}}, wanted)["gradients"]
    assert merged == {"kinds": ["gram", "variance"], "every": 2}
