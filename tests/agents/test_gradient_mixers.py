"""DoGE (online), DGA and PiKE against their equations, recomputed from hand-made gradients."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from mixgym_agents.mixers.dga import Dga
from mixgym_agents.mixers.doge_online import DogeOnline
from mixgym_agents.mixers.pike import Pike

from mixgym.errors import MixgymError
from mixgym.mixer import MixerAgent

RULES = (DogeOnline, Dga, Pike)
NAN = np.nan
NATURAL = np.array([0.6, 0.3, 0.08, 0.02])
RNG = np.random.default_rng(0)

# Gradients of four domains at five decisions, and which domains were sampled.
GRADIENTS = RNG.normal(size=(5, 4, 6)) + np.array([1.0, 0, 0, 0, 0, 0])
GRADIENTS[:, 2] *= -1.0  # against all others
TARGETS = RNG.normal(size=(5, 6)) + 0.5
VARIANCES = RNG.uniform(0.5, 3.0, size=(5, 4))
COUNTS = np.array([[10, 4, 1, 1], [5, 5, 5, 1], [8, 8, 0, 0], [4, 4, 4, 4], [4, 4, 4, 4]])
RATES = [0.001, 0.002, 0.004, 0.004, 0.004]


@pytest.fixture
def history(make_signals):
    """The signals of each decision, computed from the gradients in plain loops."""
    result = []
    for t in range(5):
        sampled = COUNTS[t] > 0
        gram = np.full((4, 4), NAN)
        for i in np.flatnonzero(sampled):
            for j in np.flatnonzero(sampled):
                gram[i, j] = GRADIENTS[t, i] @ GRADIENTS[t, j]
        result.append(
            make_signals(
                counts=COUNTS[t],
                step=5 * (t + 1),
                decision=t + 1,
                learning_rate=RATES[t],
                gram=gram,
                alignment=[
                    sum(gram[i, j] for j in range(4) if j != i and sampled[j])
                    if sampled[i]
                    else NAN
                    for i in range(4)
                ],
                gradient_norms=np.sqrt(np.diagonal(gram)),
                gradient_variance=np.where(COUNTS[t] > 1, VARIANCES[t], NAN),
                objective_alignment=np.where(sampled, GRADIENTS[t] @ TARGETS[t], NAN),
                objective_gradient_norm=float(np.linalg.norm(TARGETS[t])),
            )
        )
    return result


def exponentiated(weights: np.ndarray, scores: np.ndarray, smoothing: float) -> np.ndarray:
    weights = weights * np.exp(scores)
    return (1 - smoothing) * weights / weights.sum() + smoothing / 4


@pytest.mark.parametrize("target", ["domains", "objective"])
@pytest.mark.parametrize(("mu", "smoothing"), [(0.05, 1e-3), (0.01, 0.0)])
def test_doge_follows_its_equation(
    started, make_signals, history, target: Any, mu: float, smoothing: float
) -> None:
    mixer = started(DogeOnline, target=target, mu=mu, smoothing=smoothing)
    np.testing.assert_array_equal(mixer.update(make_signals()), NATURAL)
    weights, scores = NATURAL, np.zeros(4)
    for t in range(5):
        sampled = np.flatnonzero(COUNTS[t] > 0)
        g, lr = GRADIENTS[t], RATES[t]
        mean_norm = np.mean([np.linalg.norm(g[k]) for k in sampled])
        for i in sampled:
            if target == "domains":
                product = sum(g[i] @ g[j] for j in sampled) - g[i] @ g[i]
            else:
                product = g[i] @ TARGETS[t]
            score = lr * product / (mean_norm + 1e-6)
            scores[i] = min(max(score, lr * 0.0), lr * 5.0) / mu
        weights = exponentiated(weights, scores, smoothing)
        np.testing.assert_allclose(mixer.update(history[t]), weights, rtol=1e-4)
    assert not np.allclose(weights, NATURAL, atol=0.02)


@pytest.mark.parametrize("normalise", ["cosine", "none"])
@pytest.mark.parametrize("ema", [0.0, 0.8])
def test_dga_follows_its_equation(started, make_signals, history, normalise: Any, ema: float):
    mixer = started(Dga, eta=0.5, normalise=normalise, ema=ema)
    np.testing.assert_array_equal(mixer.update(make_signals()), NATURAL)
    weights, played, scores = NATURAL, NATURAL, np.zeros(4)
    for t in range(5):
        for i in np.flatnonzero(COUNTS[t] > 0):
            g, target = GRADIENTS[t, i], TARGETS[t]
            scale = np.linalg.norm(g) * np.linalg.norm(target) if normalise == "cosine" else 1.0
            scores[i] = 0.5 * (g @ target) / scale
        weights = exponentiated(weights, scores, 1e-3)
        played = ema * played + (1 - ema) * weights
        np.testing.assert_allclose(mixer.update(history[t]), played, rtol=1e-4)
    assert not np.allclose(played, NATURAL, atol=5e-3)


def test_pike_follows_its_equation(started, make_signals, history) -> None:
    mixer = started(Pike, zeta1=0.2, zeta2=0.7)
    np.testing.assert_array_equal(mixer.update(make_signals()), NATURAL)
    weights, scores = NATURAL, np.zeros(4)
    for t in range(5):
        batch = COUNTS[t].sum() / 5  # sequences of an optimiser step, five steps a decision
        for k in range(4):
            if COUNTS[t, k] > 1:
                norm = np.linalg.norm(GRADIENTS[t, k])
                scores[k] = 0.2 * norm**2 - 0.7 / (2 * batch) * VARIANCES[t, k]
        weights = exponentiated(weights, scores, 1e-3)
        np.testing.assert_allclose(mixer.update(history[t]), weights, rtol=1e-4)
    assert not np.allclose(weights, NATURAL, atol=0.02)


def test_one_update_in_numbers_worked_by_hand(started, make_signals) -> None:
    seen = make_signals(
        counts=[2, 2, 2, 2], step=1, decision=1, learning_rate=0.01,
        alignment=[2.0, 1.0, 20.0, -3.0], gradient_norms=[1.0, 2.0, 3.0, 2.0],
        gradient_variance=[8.0, 16.0, 0.0, 4.0],
        objective_alignment=[1.0, 2.0, 0.0, -4.0], objective_gradient_norm=2.0,
    )  # fmt: skip
    # mean norm 2: W / 2 = (1, .5, 10, -1.5), clipped (1, .5, 5, 0) lr; / mu = .05: (.2, .1, 1, 0)
    powers = NATURAL * np.exp([0.2, 0.1, 1.0, 0.0])
    weights = started(DogeOnline, smoothing=0.0).update(seen)
    np.testing.assert_allclose(weights, powers / powers.sum(), rtol=1e-5)
    # cosines (1/2, 2/4, 0, -4/4)
    powers = NATURAL * np.exp([0.5, 0.5, 0.0, -1.0])
    weights = started(Dga, smoothing=0.0).update(seen)
    np.testing.assert_allclose(weights, powers / powers.sum(), rtol=1e-5)
    # b = 8: (1 - 8/16, 4 - 16/16, 9 - 0, 4 - 4/16)
    powers = NATURAL * np.exp([0.5, 3.0, 9.0, 3.75])
    weights = started(Pike, smoothing=0.0).update(seen)
    np.testing.assert_allclose(weights, powers / powers.sum(), rtol=1e-5)


@pytest.mark.parametrize("rule", RULES)
def test_a_saved_state_continues_identically(rule, started, history) -> None:
    whole, first = started(rule), started(rule)
    for seen in history[:3]:
        whole.update(seen)
        first.update(seen)
    second = started(rule)
    second.load_state_dict(json.loads(json.dumps(first.state_dict())))
    for seen in history[3:]:
        np.testing.assert_array_equal(second.update(seen), whole.update(seen))
    assert second.state_dict() == whole.state_dict()


@pytest.mark.parametrize("rule", RULES)
def test_instances_share_nothing_and_start_forgets(rule, started, history, task) -> None:
    first, second = started(rule), started(rule)
    untouched = second.state_dict()
    results = [first.update(seen) for seen in history]
    results[-1][:] = -1  # the caller owns what it is given
    assert first.state_dict()["weights"][0] > 0
    assert second.state_dict() == untouched
    first.start(task, np.random.default_rng(0))
    assert first.state_dict() == untouched


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("value", [1e30, -1e30, np.inf, NAN])
def test_weights_stay_on_the_simplex_above_the_floor(rule, started, history, value) -> None:
    from dataclasses import replace

    mixer = started(rule)
    for t in range(20):
        seen = history[t % 5]
        if t % 3 == 0:
            bad = np.array([value, 1.0, 1.0, 1.0], dtype=np.float32)
            seen = replace(seen, alignment=bad, objective_alignment=bad, gradient_variance=bad)
        weights = mixer.update(seen)
        assert abs(weights.sum() - 1) < 1e-12 and (weights >= 1e-3 / 4 - 1e-12).all()


@pytest.mark.parametrize("rule", RULES)
def test_nothing_measured_keeps_the_weights(rule, started, history, make_signals) -> None:
    mixer = started(rule)
    before = mixer.update(history[0])
    none = np.full(4, NAN)
    unmeasured = make_signals(
        decision=2, step=10, counts=[4, 4, 4, 4], gradient_norms=none, gradient_variance=none,
        alignment=none, objective_alignment=none,
    )  # fmt: skip
    np.testing.assert_array_equal(mixer.update(unmeasured), before)


@pytest.mark.parametrize(
    ("mixer", "kinds"),
    [
        (DogeOnline(), ["gram"]),
        (DogeOnline(target="objective"), ["objective"]),
        (Dga(every=4), ["objective"]),
        (Pike(), ["variance"]),
    ],
)
def test_a_mixer_says_what_it_needs(mixer, kinds, started, make_signals) -> None:
    agent = MixerAgent(mixer)
    assert agent.env_arguments["gradients"] == {"kinds": kinds, "every": mixer.every}
    missing = started(type(mixer))
    with pytest.raises(MixgymError, match=r"gradients=\{'kinds'"):
        missing.update(make_signals(decision=1, step=5, counts=[4, 4, 4, 4]))


@pytest.mark.parametrize(
    ("rule", "arguments", "message"),
    [
        (DogeOnline, {"mu": 0.0}, "mu=0.0"),
        (DogeOnline, {"target": "all"}, "unknown target"),
        (Dga, {"eta": NAN}, "eta=nan"),
        (Dga, {"ema": 1.0}, "ema=1.0"),
        (Dga, {"normalise": "cos"}, "unknown normalise"),
        (Pike, {"zeta1": -1.0}, r"zeta1=-1\.0"),
        (Pike, {"zeta2": -1.0}, r"zeta2=-1\.0"),
        *((rule, {"smoothing": 1.0}, "smoothing=1.0") for rule in RULES),
        *((rule, {"every": 0}, "every=0") for rule in RULES),
    ],
)
def test_bad_arguments(rule, arguments, message) -> None:
    with pytest.raises(ValueError, match=message):
        rule(**arguments)


@pytest.mark.parametrize("name", ["doge-online", "dga", "pike"])
def test_in_a_real_environment(name: str) -> None:
    from mixgym.agents import make_agent
    from mixgym.experiment.environment import make_environment

    agent = make_agent(name)
    arguments = {
        "decisions": 3, "steps_per_decision": 2, "evaluation_windows": 2, "context": 16,
    }  # fmt: skip
    env = make_environment("mixgym/NanoPretrain-v0", arguments, agent)
    observation, info = env.reset(seed=0)
    agent.start(env, 0)
    mixtures = []
    for _ in range(3):
        mixtures.append(agent.act(observation, info))
        observation, _, _, _, info = env.step(mixtures[-1])
    assert not np.allclose(mixtures[0], mixtures[1], atol=1e-5)
    assert not np.allclose(mixtures[1], mixtures[2], atol=1e-5)
