"""MixMin: its convex problem by hand, and its proxies in a real environment."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from mixgym_agents.proxies.mixmin import MixMin, ensemble_slope, sequence_log_p

import mixgym  # noqa: F401

RNG = np.random.default_rng(0)
P = RNG.uniform(0.01, 0.9, size=(3, 40))
RATES = RNG.uniform(0.5, 1.5, size=40) / 40


def test_the_ensembles_loss_and_slope_are_the_equations() -> None:
    w = np.array([0.2, 0.5, 0.3])
    value, slope = ensemble_slope(w, np.log(P), RATES)
    mixed = [sum(w[d] * P[d, x] for d in range(3)) for x in range(40)]
    assert value == pytest.approx(-sum(RATES[x] * np.log(mixed[x]) for x in range(40)))
    for d in range(3):
        expected = -sum(RATES[x] * P[d, x] / mixed[x] for x in range(40))
        assert slope[d] == pytest.approx(expected)


def test_one_update_by_hand() -> None:
    w = np.full(3, 1 / 3)
    slope = np.array([-np.sum(RATES * P[d] / (P.sum(axis=0) / 3)) for d in range(3)])
    raised = w * np.exp(-0.5 * slope)
    got = MixMin(rate=0.5, updates=1).solve(np.log(P), RATES)
    np.testing.assert_allclose(got, raised / raised.sum())


@pytest.mark.parametrize("arguments", [{}, {"updates": 5000, "tolerance": 1e-10}])
def test_the_minimum_is_found(arguments: dict[str, Any]) -> None:
    found = MixMin(**arguments).solve(np.log(P), RATES)
    best = min(
        ensemble_slope(w, np.log(P), RATES)[0]
        for w in np.random.default_rng(1).dirichlet(np.ones(3), size=5000)
    )
    assert ensemble_slope(found, np.log(P), RATES)[0] <= best + 1e-9


def test_domains_that_help_nothing_end_without_weight_at_the_scale_of_windows() -> None:
    """Windows of 64 bytes: two domains help, six are worse by .2 nats a byte."""
    rng = np.random.default_rng(3)
    worse = np.array([0.0, 0.0, *[0.2] * 6])[:, None]
    log_p = -64 * (1.5 + worse + rng.normal(scale=0.02, size=(8, 128)))
    rates = np.full(128, 1 / 128 / 64)
    found = MixMin().solve(log_p, rates)
    value, slope = ensemble_slope(found, log_p, rates)
    assert found[2:].sum() < 1e-4 and (found[:2] > 0.1).all()
    # convex: no mixture is better than the best corner of the tangent plane
    assert slope @ found - slope.min() < 1e-5 / 64
    released = MixMin(updates=100).solve(log_p, rates)
    assert ensemble_slope(released, log_p, rates)[0] > value + 1e-3
    assert released[2:].sum() > 0.1


def test_long_sequences_do_not_underflow() -> None:
    log_p = np.array([[-4000.0, -5000.0], [-4010.0, -4900.0]])
    found = MixMin().solve(log_p, np.full(2, 0.5 / 1000))
    assert np.isfinite(found).all() and found.sum() == pytest.approx(1)


def test_in_a_real_environment_every_proxy_is_on_the_ledger() -> None:
    env: Any = gym.make(
        "mixgym/NanoPretrain-v0", disable_env_checker=True, decisions=3, steps_per_decision=4,
        evaluation_windows=3, batch_size=8, context=16, action_map="simplex", limit=None,
        domains=["recipes", "python", "icd10"], objective="icd10",
    )  # fmt: skip
    env.reset(seed=0)
    agent = MixMin()
    agent.start(env, 0)
    action = agent.act(np.zeros(0), {})
    assert action in env.action_space and action.argmax() == 2
    account = env.unwrapped.ledger.accounts["proxy"]
    assert account.tokens == 3 * (3 * 4 * 8 * 16 + 3 * 16)
    run = agent.proxy(env.unwrapped, 0)
    log_p = sequence_log_p(run, 2, 3)
    nats = run.evaluate(domains=[2], windows=3)[2]
    per_byte = log_p.mean() / 16 / run.corpus.domains[2].bytes_per_token("validation")
    assert per_byte == pytest.approx(-nats)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [({"rate": 0.0}, "rate=0.0"), ({"updates": 0}, "updates=0"), ({"tolerance": 1.0}, "tolerance")],
)
def test_bad_arguments(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        MixMin(**arguments)
