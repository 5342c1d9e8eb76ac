"""RegMix's regressor against published runs, and its choice against a known optimum."""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from mixgym_agents.proxies.regmix import RegMix, fit_regressor
from mixgym_agents.proxies.swarm import Swarm
from regmix_data import pile_cc, published, rank_correlation

from mixgym.envs.task import MixingTask
from mixgym.errors import MissingExtraError, MixgymError

BEST = np.array([0.1, 0.5, 0.3, 0.1])


def swarm(n: int = 128, seed: int = 0) -> Swarm:
    mixtures = np.random.default_rng(seed).dirichlet(np.ones(4), size=n)
    losses = 1.0 + ((mixtures - BEST) ** 2).sum(axis=1)
    return Swarm(mixtures, np.stack([losses, 3 - losses], axis=1), np.array([1.0, 0.0]), np.ones(4))


def test_published_runs_are_ranked_as_well_as_published() -> None:
    """The acceptance test: fitted to all 512 training runs, never to a test run."""
    mixtures, losses, names = published("train")
    unseen, measured, _ = published("test")
    column = pile_cc(names)
    regressor = fit_regressor(mixtures, losses[:, column])
    assert mixtures.shape == (512, 17) and unseen.shape == (256, 17)
    predicted = regressor.predict(unseen)
    assert rank_correlation(predicted, measured[:, column]) >= 0.985
    assert regressor.boosters[0].num_trees() == 1000  # nothing stopped it early


def test_one_ensemble_a_loss() -> None:
    runs = swarm()
    both = fit_regressor(runs.mixtures, runs.losses, trees=50).predict(runs.mixtures[:7])
    assert both.shape == (7, 2)
    single = fit_regressor(runs.mixtures, runs.losses[:, 1], trees=50).predict(runs.mixtures[:7])
    np.testing.assert_array_equal(single, both[:, 1])


@pytest.mark.parametrize("n", [16, 32, 64])
def test_a_small_swarm_is_learned_from_too(n: int) -> None:
    runs, unseen = swarm(n), swarm(200, seed=1)
    predicted = fit_regressor(runs.mixtures, runs.losses[:, 0]).predict(unseen.mixtures)
    assert rank_correlation(predicted, unseen.losses[:, 0]) > 0.5


def test_fitting_is_repeatable_and_leaves_global_generators_alone() -> None:
    runs = swarm()
    state = np.random.get_state()[1].copy()  # type: ignore[index]
    first, second = (fit_regressor(runs.mixtures, runs.losses[:, 0], trees=99) for _ in range(2))
    np.testing.assert_array_equal(first.predict(runs.mixtures), second.predict(runs.mixtures))
    np.testing.assert_array_equal(state, np.random.get_state()[1])  # type: ignore[index]


def test_the_mean_of_the_best_draws_is_played(task: Any) -> None:
    agent = RegMix(draws=3000, top=20, prior="uniform")
    inner, runs = SimpleNamespace(task=task), swarm(256)
    found = agent.propose(inner, runs, np.random.default_rng(0))
    candidates = agent.draw(task, 3000, np.random.default_rng(0), np.ones(4), distinct=False)
    predicted = fit_regressor(runs.mixtures, runs.losses[:, 0]).predict(candidates)
    threshold = sorted(predicted)[19]
    np.testing.assert_allclose(found, candidates[predicted <= threshold][:20].mean(axis=0))
    uniform_loss, found_loss = (((m - BEST) ** 2).sum() for m in (np.full(4, 0.25), found))
    assert found_loss < 0.25 * uniform_loss


def test_the_mixture_keeps_to_the_bounds(task: Any) -> None:
    runs = swarm(256)
    caps = np.array([1.0, 0.25, 1.0, 1.0])
    bounded = Swarm(runs.mixtures, runs.losses, runs.weights, caps)
    agent = RegMix(draws=2000, top=20, prior="uniform")
    found = agent.propose(SimpleNamespace(task=task), bounded, np.random.default_rng(0))
    assert 0.15 < found[1] <= 0.25


def test_two_domains_hold_as_many_candidates_as_are_drawn() -> None:
    """No 100,000 mixtures of two domains differ in five decimals within the bounds."""
    two = MixingTask(("a", "b"), np.array([0.7, 0.3]), np.array([0.0, 1.0]))
    mixtures = np.random.default_rng(0).dirichlet(np.ones(2), size=128)
    losses = 1.0 + (mixtures[:, :1] - 0.3) ** 2
    runs = Swarm(mixtures, losses, np.ones(1), np.array([0.8, 1.0]))
    agent = RegMix(trees=200)
    found = agent.propose(SimpleNamespace(task=two), runs, np.random.default_rng(0))
    assert found.sum() == pytest.approx(1) and abs(found[0] - 0.3) < 0.1


def test_a_regression_that_learned_nothing_is_an_error(task: Any) -> None:
    runs = swarm(64)
    flat = Swarm(runs.mixtures, np.ones((64, 2)), runs.weights, runs.caps)
    with pytest.raises(MixgymError, match="no difference between mixtures"):
        RegMix(draws=200).propose(SimpleNamespace(task=task), flat, np.random.default_rng(0))


@pytest.mark.parametrize(
    ("mixtures", "losses", "message"),
    [
        (np.ones((5, 2)), np.ones(4), r"got \(5, 2\) and \(4,\)"),
        (np.ones(5), np.ones(5), r"\(5,\)"),
        (np.ones((3, 2)), np.ones(3), "3 runs are too few"),
        (np.full((5, 2), np.nan), np.ones(5), "finite"),
        (-np.ones((5, 2)), np.ones(5), "not negative"),
        (np.ones((5, 2)), np.full(5, np.inf), "finite"),
    ],
)
def test_runs_that_cannot_be_fitted(mixtures: Any, losses: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        fit_regressor(mixtures, losses)


def test_a_missing_library_names_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "lightgbm", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'mixgym\[swarm\]'"):
        fit_regressor(np.ones((5, 2)), np.ones(5))


def test_the_library_is_missed_before_anything_is_trained(
    task: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"mixgym\[swarm\]"):
        RegMix().check(task)
