"""ADO: the fit recovers known laws, and the mixture follows its equations."""

from __future__ import annotations

import json

import numpy as np
import pytest
from mixgym_agents.mixers.ado import Ado
from mixgym_agents.mixers.ado_law import fit, objective, predicted

LAWS = np.array([[1.0, 0.7, 0.3], [2.5, 0.6, 0.5], [0.5, 1.0, 0.1], [4.0, 0.5, 0.7]])
NATURAL = np.array([0.6, 0.3, 0.08, 0.02])


def losses(n: np.ndarray, laws: np.ndarray = LAWS) -> np.ndarray:
    """(T, K) losses in nats a token by the laws."""
    a, e, alpha = laws.T
    return np.exp(e) + np.exp(a) / n[:, None] ** alpha


@pytest.fixture
def play(task, make_signals):
    """Runs a mixer on losses of known laws, 100 sequences a decision; returns what it played."""

    def run(mixer, decisions=12, counts=(40, 30, 20, 10), skip=None):
        played = [mixer.update(make_signals())]
        for t in range(1, decisions + 1):
            loss = losses(np.array([100.0 * t]))[0] / 4
            drawn = np.array(counts, dtype=float)
            if skip is not None and t in skip:
                drawn[skip[t]], loss[skip[t]] = 0, np.nan
            played.append(
                mixer.update(make_signals(decision=t, step=5 * t, counts=drawn, last_loss=loss))
            )
        return np.array(played)

    return run


@pytest.fixture
def started(task):
    def start(**arguments):
        mixer = Ado(**arguments)
        mixer.start(task, np.random.default_rng(0))
        return mixer

    return start


def test_the_gradient_of_the_fit_is_right() -> None:
    n, law, step = np.linspace(100, 2000, 12), np.array([0.8, 0.9, 0.35]), 1e-7
    series = losses(n)[:, 1]
    _, gradient = objective(law, n, series)
    for i in range(3):
        move = step * np.eye(3)[i]
        slope = (objective(law + move, n, series)[0] - objective(law - move, n, series)[0]) / 2
        assert gradient[i] == pytest.approx(slope / step, rel=1e-4, abs=1e-9)


def test_the_huber_loss_by_hand() -> None:
    law, n = np.array([0.0, 1.0, 0.5]), np.array([4.0])
    log_l = np.log(np.exp(1.0) + 1.0 / 2.0)
    np.testing.assert_allclose(predicted(law, n), [log_l])
    near, far = np.exp([log_l + 5e-4]), np.exp([log_l + 0.5])
    assert objective(law, n, near)[0] == pytest.approx(0.5 * 5e-4**2)
    assert objective(law, n, far)[0] == pytest.approx(1e-3 * (0.5 - 0.5e-3))


def test_known_laws_are_recovered() -> None:
    n = np.linspace(200, 20_000, 40)
    found = fit(n, losses(n))
    np.testing.assert_allclose(losses(n, found), losses(n), rtol=2e-3)
    ahead = np.array([40_000.0])
    np.testing.assert_allclose(losses(ahead, found), losses(ahead), rtol=1e-2)


def test_an_outlier_hardly_moves_the_fit() -> None:
    n = np.linspace(200, 20_000, 40)
    series = losses(n)
    series[20] *= 1.5
    np.testing.assert_allclose(losses(n, fit(n, series)), losses(n), rtol=1e-2)


def test_the_mixture_follows_its_equations(started, play) -> None:
    mixer = started(warmup=4, ignore=1, refit=4)
    played = play(mixer)
    prior, average, history = NATURAL, NATURAL.copy(), NATURAL.copy()
    share, laws = np.array([0.4, 0.3, 0.2, 0.1]), None
    for t in range(1, 13):
        history = 0.9 * history + 0.1 * share
        seen = 100.0 * np.arange(1, t + 1)
        if t in (4, 8, 12):
            # what it recorded: a fit of few observations is sensitive to their rounding
            told = np.array(mixer.losses[:t])
            np.testing.assert_allclose(told, losses(seen), rtol=1e-6)
            laws = fit(np.asarray(seen[1:], dtype=np.float64), told[1:])
        if laws is None:
            np.testing.assert_array_equal(played[t], prior)
            continue
        a, _, alpha = laws.T
        n = 100.0 * t
        slope = np.maximum(alpha, 0.05) * (np.exp(a) / n**alpha) / n
        rho = slope * prior * np.sqrt(history * (1 - history))
        rho = np.maximum(rho / rho.sum(), 0.01)
        rho = rho / rho.sum()
        np.testing.assert_allclose(played[t], 0.9 * average + 0.1 * rho, rtol=1e-6)
        average = (1 - 1 / (t + 1)) * average + rho / (t + 1)
    assert np.abs(played[-1] - prior).sum() > 0.1


def test_a_domain_that_still_learns_is_preferred(started, make_signals) -> None:
    mixer = started(prior="uniform", warmup=6)
    weights = np.zeros(4)
    for t in range(1, 12):
        loss = np.array([3.0, 3.0, 3.0, 2.0 + 4.0 * t**-0.5]) / 4
        weights = mixer.update(
            make_signals(decision=t, step=t, counts=[10, 10, 10, 10], last_loss=loss)
        )
    assert weights.argmax() == 3 and mixer.preference()[3] > 0.9


def test_unsampled_domains_keep_their_previous_loss(started, play) -> None:
    mixer = started()
    play(mixer, decisions=3, skip={1: [3], 2: [0]})
    expected = losses(100.0 * np.arange(1, 4))
    mean = np.average(expected[0, :3], weights=[40, 30, 20])
    np.testing.assert_allclose(np.array(mixer.losses)[0], [*expected[0, :3], mean], rtol=1e-6)
    assert mixer.losses[1][0] == mixer.losses[0][0]
    np.testing.assert_allclose(mixer.losses[2], expected[2], rtol=1e-6)
    assert mixer.sequences == [90.0, 150.0, 250.0]


@pytest.mark.parametrize("bad", [0.0, np.inf, np.nan])
def test_impossible_losses_do_not_break_it(started, make_signals, bad) -> None:
    mixer = started(warmup=4, refit=1)
    for t in range(1, 9):
        loss = [bad if t == 5 else 1.0 / t + 0.5, 1.0, 0.9, 0.8]
        weights = mixer.update(
            make_signals(decision=t, step=t, counts=[4, 4, 4, 4], last_loss=loss)
        )
        assert weights.sum() == pytest.approx(1.0) and (weights > 0).all()


def test_a_saved_state_continues_identically(started, play, make_signals) -> None:
    whole, first = started(warmup=4, refit=2), started(warmup=4, refit=2)
    play(whole, 5)
    play(first, 5)
    second = started(warmup=4, refit=2)
    second.load_state_dict(json.loads(json.dumps(first.state_dict())))
    for t in range(6, 10):
        seen = make_signals(
            decision=t, step=t, counts=[40, 30, 20, 10], last_loss=losses(np.array([100.0 * t]))[0]
        )
        np.testing.assert_array_equal(second.update(seen), whole.update(seen))
    assert second.state_dict() == whole.state_dict()


def test_start_forgets(started, play, task) -> None:
    mixer = started()
    untouched = mixer.state_dict()
    play(mixer, 8)
    assert mixer.state_dict() != untouched
    mixer.start(task, np.random.default_rng(0))
    assert mixer.state_dict() == untouched


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"warmup": 0}, "warmup=0"),
        ({"warmup": 3, "ignore": 1}, "fewer than the 3"),
        ({"refit": 0}, "refit=0"),
        ({"loss_scale": 0}, "loss_scale=0"),
        ({"least": -0.1}, "least=-0.1"),
    ],
)
def test_bad_arguments(arguments, message) -> None:
    with pytest.raises(ValueError, match=message):
        Ado(**arguments)


def test_a_bound_too_high_for_the_number_of_domains(started) -> None:
    with pytest.raises(ValueError, match="1/K"):
        started(least=0.25)
