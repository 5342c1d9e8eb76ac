"""Mixing laws, and mixtures that minimise them: `mixing-law` and `olmix`."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from mixgym_agents.proxies.mixing_law import MixingLaw, MixingLawAgent, fit_mixing_law
from mixgym_agents.proxies.olmix import Olmix, propose_mixture
from mixgym_agents.proxies.simplex_solver import capped, minimise
from mixgym_agents.proxies.swarm import Swarm
from regmix_data import pile_cc, published, rank_correlation

from mixgym.errors import MixgymError

FLOORS = np.array([1.2, 0.5, 0.9])
SCALES = np.array([1.5, 2.0, 0.7])
SLOPES = np.array([[-3.0, 0.2, -0.5, 0.0], [0.3, -2.0, 0.1, -1.0], [0.0, -0.3, -4.0, 0.5]])
ONES = np.ones(4)


def law_losses(mixtures: np.ndarray) -> np.ndarray:
    """c_i + k_i exp(sum_j t_ij r_j), one number at a time."""
    return np.array(
        [
            [
                FLOORS[i] + SCALES[i] * np.exp(sum(SLOPES[i, j] * r[j] for j in range(4)))
                for i in range(3)
            ]
            for r in mixtures
        ]
    )


def draws(n: int, seed: int = 0, K: int = 4) -> np.ndarray:
    return np.random.default_rng(seed).dirichlet(np.ones(K), size=n)


KNOWN = MixingLaw(FLOORS, SLOPES + np.log(SCALES)[:, None])


# --- the law


def test_the_law_is_its_equation() -> None:
    np.testing.assert_allclose(KNOWN.predict(draws(9)), law_losses(draws(9)), rtol=1e-12)


def test_known_parameters_predictions_are_recovered() -> None:
    fitted, unseen = fit_mixing_law(draws(60), law_losses(draws(60))), draws(200, seed=1)
    np.testing.assert_allclose(fitted.predict(unseen), law_losses(unseen), atol=2e-3)
    np.testing.assert_allclose(fitted.floors, FLOORS, atol=0.05)
    single = fit_mixing_law(draws(60), law_losses(draws(60))[:, 1])
    assert single.predict(unseen).shape == (200,)


def test_outliers_do_not_bend_the_law() -> None:
    """The Huber loss: a few failed runs among sixty move a least-squares fit, not this one."""
    spoilt, unseen = law_losses(draws(60)), draws(200, seed=1)
    spoilt[::15] += 2.0
    fitted = fit_mixing_law(draws(60), spoilt)
    assert np.abs(fitted.predict(unseen) - law_losses(unseen)).mean() < 0.02


def test_the_gradient_is_the_slope_of_the_weighted_loss() -> None:
    weights, at = np.array([0.2, 0.5, 0.3]), draws(1)[0]
    value, gradient = KNOWN.weighted(at, weights)
    assert value == pytest.approx(float(law_losses(at[None])[0] @ weights))
    for j in range(1, 4):  # along the simplex, from one domain to another
        move = np.eye(4)[j] - np.eye(4)[0]
        ends = law_losses(np.stack([at + 1e-6 * move, at - 1e-6 * move])) @ weights
        assert gradient @ move == pytest.approx((ends[0] - ends[1]) / 2e-6, rel=1e-4)


def test_published_runs_are_predicted() -> None:
    """Better than the mean of the training losses by far, and a Spearman of .95 on unseen runs."""
    mixtures, losses, names = published("train")
    unseen, measured, _ = published("test")
    column = pile_cc(names)
    predicted = fit_mixing_law(mixtures, losses[:, column]).predict(unseen)
    truth = measured[:, column]
    assert rank_correlation(predicted, truth) >= 0.95
    mean_predictor = np.abs(losses[:, column].mean() - truth).mean()
    assert np.abs(predicted - truth).mean() < 0.35 * mean_predictor


def test_losses_must_be_positive() -> None:
    with pytest.raises(ValueError, match=r"positive, got -1\.0"):
        fit_mixing_law(draws(5), -np.ones(5))
    with pytest.raises(ValueError, match="delta=0"):
        fit_mixing_law(draws(5), np.ones(5), delta=0)


# --- minimising over mixtures


def test_capping_by_hand() -> None:
    # .6 is cut to .3, the rest shares .7 as .2 : .1 : .1 = .35, .175, .175; .35 is cut to .2,
    # and .5 is left for .1 : .1
    got = capped(np.array([0.6, 0.2, 0.1, 0.1]), np.array([0.3, 0.2, 1.0, 1.0]))
    np.testing.assert_allclose(got, [0.3, 0.2, 0.25, 0.25])
    np.testing.assert_allclose(capped(np.array([1.0, 0, 0, 0]), ONES), [1, 0, 0, 0], atol=1e-9)
    np.testing.assert_allclose(
        capped(np.array([1.0, 0, 0, 0]), np.array([0.4, 0.2, 0.2, 0.2])), [0.4, 0.2, 0.2, 0.2]
    )
    with pytest.raises(MixgymError, match=r"sum to 0\.8"):
        capped(np.full(4, 0.25), np.full(4, 0.2))


def test_the_minimum_beats_every_mixture_of_a_fine_grid() -> None:
    weights, caps = np.array([0.2, 0.5, 0.3]), np.array([1.0, 0.3, 0.35, 1.0])
    found = minimise(lambda x: KNOWN.weighted(x, weights), np.full(4, 0.25), caps)
    assert (found <= caps + 1e-9).all() and found.sum() == pytest.approx(1)
    tried = draws(50_000, seed=3)
    tried = tried[(tried <= caps).all(axis=1)]
    assert law_losses(found[None])[0] @ weights <= (KNOWN.predict(tried) @ weights).min() + 1e-9


@pytest.mark.parametrize("scale", [1e-4, 1.0, 1e4])
def test_the_unit_of_the_objective_does_not_matter(scale: float) -> None:
    weights = np.array([0.2, 0.5, 0.3])

    def scaled(x: np.ndarray) -> tuple[float, np.ndarray]:
        value, gradient = KNOWN.weighted(x, weights)
        return scale * value, scale * gradient

    plain = minimise(lambda x: KNOWN.weighted(x, weights), np.full(4, 0.25), ONES)
    np.testing.assert_allclose(minimise(scaled, np.full(4, 0.25), ONES), plain, atol=1e-4)


def run_agent(agent: Any, task: Any, caps: np.ndarray = ONES) -> np.ndarray:
    mixtures = draws(80)
    runs = Swarm(mixtures, law_losses(mixtures), np.array([0.2, 0.5, 0.3]), caps)
    return agent.propose(SimpleNamespace(task=task), runs, np.random.default_rng(0))


def test_the_mixing_law_agent_finds_the_laws_optimum(task: Any) -> None:
    weights = np.array([0.2, 0.5, 0.3])
    best = minimise(lambda x: KNOWN.weighted(x, weights), np.full(4, 0.25), ONES)
    found = run_agent(MixingLawAgent(), task)
    losses = law_losses(np.stack([found, best, task.natural])) @ weights
    assert losses[0] - losses[1] < 1e-3 < 0.05 < losses[2] - losses[1]
    capped_at = run_agent(MixingLawAgent(), task, np.array([1.0, 0.2, 0.2, 1.0]))
    assert (capped_at <= [1.0, 0.2 + 1e-9, 0.2 + 1e-9, 1.0]).all()


# --- Olmix

FLAT = MixingLaw(np.array([1.0]), np.zeros((1, 4)))


def test_without_a_preference_the_prior_is_kept_as_far_as_the_caps_allow() -> None:
    prior, caps = np.array([0.6, 0.2, 0.1, 0.1]), np.array([0.3, 0.2, 1.0, 1.0])
    one = np.ones(1)
    np.testing.assert_allclose(propose_mixture(FLAT, one, prior, ONES, 0.1), prior, atol=1e-5)
    got = propose_mixture(FLAT, one, prior, caps, 0.1)
    np.testing.assert_allclose(got, [0.3, 0.2, 0.25, 0.25], atol=1e-5)


def test_the_solution_meets_its_optimality_conditions() -> None:
    """At an inner optimum, sum_i w_i A_ij exp(A_i x) + kl (log(x_j / q_j) + 1) is one number."""
    weights, prior, kl = np.array([0.2, 0.5, 0.3]), np.array([0.6, 0.3, 0.08, 0.02]), 0.2
    x = propose_mixture(KNOWN, weights, prior, ONES, kl)
    matrix = SLOPES + np.log(SCALES)[:, None]
    slopes = [
        sum(weights[i] * matrix[i, j] * np.exp(matrix[i] @ x) for i in range(3))
        + kl * (np.log(x[j] / prior[j]) + 1)
        for j in range(4)
    ]
    assert (x > 1e-4).all() and np.ptp(slopes) < 1e-3


def test_a_stronger_pull_stays_nearer_the_prior() -> None:
    weights, prior = np.array([0.2, 0.5, 0.3]), np.array([0.6, 0.3, 0.08, 0.02])
    away = [
        np.abs(propose_mixture(KNOWN, weights, prior, ONES, kl) - prior).sum()
        for kl in (0.0, 0.05, 0.5, 50.0)
    ]
    assert away == sorted(away, reverse=True) and away[-1] < 0.05 < 0.5 < away[0]


@pytest.mark.parametrize("order", [(3, 2, 1, 0), (1, 3, 0, 2)])
def test_caps_follow_their_domains_whatever_the_order(order: tuple[int, ...]) -> None:
    """In a release of theirs the caps were in another order than the weights."""
    turn = list(order)
    weights, prior = np.array([0.2, 0.5, 0.3]), np.array([0.6, 0.3, 0.08, 0.02])
    caps = np.array([0.9, 0.1, 0.4, 0.3])
    plain = propose_mixture(KNOWN, weights, prior, caps, 0.05)
    turned = MixingLaw(KNOWN.floors, KNOWN.exponents[:, turn])
    got = propose_mixture(turned, weights, prior[turn], caps[turn], 0.05)
    np.testing.assert_allclose(got, plain[turn], atol=1e-4)
    assert plain[1] == pytest.approx(0.1, abs=1e-6)  # a cap is at work


def olmix_world(names: tuple[str, ...]) -> Any:
    """A task, its text and its runs, all keyed by name and laid out in the order of `names`."""
    from dataclasses import dataclass

    from mixgym.envs.task import MixingTask

    text = {"code": 40, "recipes": 10, "law": 100, "noise": 1000}
    known = ("code", "recipes", "law", "noise")
    order = [known.index(name) for name in names]
    natural = np.array([0.6, 0.3, 0.08, 0.02])[order]
    objective = np.isin(names, ("recipes", "law")) / 2
    task = MixingTask(names, natural, objective, decisions=10, steps_per_decision=5)

    @dataclass
    class Stream:
        corpus: Any
        windows: Any

    stream = Stream(SimpleNamespace(names=names), np.array([text[n] for n in names]))
    inner = SimpleNamespace(
        task=task, run=SimpleNamespace(stream=stream), settings=SimpleNamespace(batch_size=8)
    )
    mixtures = draws(80)
    runs = Swarm(mixtures[:, order], law_losses(mixtures)[:, 1:], np.array([0.5, 0.5]), ONES)
    return inner, runs


def test_the_agents_caps_follow_their_domains() -> None:
    names = ("code", "recipes", "law", "noise")
    agent, found = Olmix(), {}
    for order in (names, names[::-1]):
        inner, runs = olmix_world(order)
        mixture = agent.propose(inner, runs, np.random.default_rng(0))
        found[order] = dict(zip(order, mixture.tolist(), strict=True))
    assert found[names]["recipes"] == pytest.approx(4 * 10 / (10 * 5 * 8), abs=1e-6)
    assert found[names]["code"] <= 4 * 40 / 400 + 1e-6
    for name in names:
        assert found[names][name] == pytest.approx(found[names[::-1]][name], abs=2e-3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [({"kl": -1.0}, r"kl=-1\.0"), ({"delta": 0.0}, "delta=0.0"), ({"cap": -4.0}, r"cap=-4\.0")],
)
def test_bad_arguments(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Olmix(**arguments)
