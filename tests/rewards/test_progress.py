import itertools
from dataclasses import replace
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

import mixgym  # noqa: F401
from mixgym.errors import UnknownNameError
from mixgym.rewards import REWARD_TERMS
from tests.tiny import unmeasured

START = unmeasured(2)


def test_progress_is_the_decrease_of_the_objective_and_telescopes() -> None:
    term = REWARD_TERMS["progress"]()
    losses = [5.5, 4.25, 4.5, 3.0]
    signals = [replace(START, objective_loss=x) for x in losses]
    rewards = [term(a, b) for a, b in itertools.pairwise(signals)]
    assert rewards == [1.25, -0.25, 1.5]
    assert sum(rewards) == losses[0] - losses[-1]
    assert term.needs == {"objective"}


@pytest.mark.parametrize("xi", [0.0, 0.6])
def test_domain_progress_by_hand(xi: float) -> None:
    """Two domains of the objective; decisions of 10 steps; losses fall by what is written here."""
    term: Any = REWARD_TERMS["domain-progress"](xi=xi)  # type: ignore[call-arg]
    term.reset(2)
    losses = [[5.0, 6.0], [4.0, 5.5], [3.8, 5.6]]
    mixtures = [[0.5, 0.5], [0.8, 0.2], [0.995, 0.005]]
    signals = [
        replace(
            START,
            step=10 * t,
            mixture=np.array(w, np.float32),
            validation_loss=np.array(x, np.float32),
        )
        for t, (x, w) in enumerate(zip(losses, mixtures, strict=True))
    ]
    first = term(signals[0], signals[1])
    r1 = np.array([1.0 / 2 / 0.8, 0.5 / 2 / 0.2]) / np.log(20 / 10) * (1 - xi)
    np.testing.assert_allclose(term.vector, r1, rtol=1e-5)
    assert first == pytest.approx(0.8 * r1[0] + 0.2 * r1[1], rel=1e-5)
    second = term(signals[1], signals[2])
    r2 = np.array([0.2 / 2 / 0.995, -0.1 / 2 / 0.01]) / np.log(30 / 20)  # a share of 0.5 % counts 1
    np.testing.assert_allclose(term.vector, xi * r1 + (1 - xi) * r2, rtol=1e-4)
    assert second == pytest.approx(float(np.dot([0.995, 0.005], term.vector)), rel=1e-4)


def test_domain_progress_weighs_by_the_objective() -> None:
    """Both losses are measured (validation="all"), but a domain of weight 0 does not count."""
    term = REWARD_TERMS["domain-progress"]()
    before = replace(START, validation_loss=np.array([5.0, 2.0], dtype=np.float32))
    after = replace(START, step=5, validation_loss=np.array([1.0, 1.0], dtype=np.float32))
    for objective, expected in (([0.0, 1.0], [0.0, 1.0]), ([0.25, 0.75], [1.0, 0.75])):
        term.objective = np.array(objective)
        term.reset(2)
        reward = term(before, after)
        rates = np.array(expected) / 0.5 / np.log(2)
        assert term.vector is not None
        np.testing.assert_allclose(term.vector, rates, rtol=1e-6)
        assert reward == pytest.approx(0.5 * rates.sum(), rel=1e-6)


def test_an_environment_gives_terms_its_objective() -> None:
    """The reward is the decrease of the objective an e-fold of steps, whatever is validated."""
    objective = {"recipes": 0.9, "python": 0.1}
    env: Any = gym.make(
        "mixgym/NanoPretrain-v0",
        disable_env_checker=True,
        **{"decisions": 1, "steps_per_decision": 2, "evaluation_windows": 2, "context": 16},
        reward="domain-progress",
        objective=objective,
        validation="all",
    )
    _, first = env.reset(seed=0)
    _, reward, _, _, info = env.step(np.zeros(8, np.float32))
    assert np.isfinite(info["validation_loss"]).all()
    decrease = first["objective_loss"] - info["objective_loss"]
    assert reward == pytest.approx(decrease / np.log(2), rel=1e-4)
    inside = np.isin(env.unwrapped.task.names, list(objective))
    vector = info["reward_vectors"]["domain-progress"]
    assert (vector[~inside] == 0).all() and (vector[inside] != 0).all()


def test_domain_progress_outside_the_objective_is_nothing() -> None:
    term = REWARD_TERMS["domain-progress"]()
    term.reset(2)
    after = replace(START, step=5, validation_loss=np.array([np.nan, 1.0], dtype=np.float32))
    before = replace(START, validation_loss=np.array([np.nan, 2.0], dtype=np.float32))
    assert term(before, after) == pytest.approx(1.0 / np.log(2), rel=1e-6)
    assert term.vector is not None and term.vector[0] == 0.0
    with pytest.raises(ValueError, match="xi"):
        REWARD_TERMS["domain-progress"](xi=1.0)  # type: ignore[call-arg]


def test_unknown_term_is_suggested() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'progress'"):
        REWARD_TERMS["progess"]
