"""The two ODM rules against their equations, recomputed in plain numpy by hand-made numbers."""

from __future__ import annotations

import json

import numpy as np
import pytest
from mixgym_agents.mixers.odm import exploration_rate
from mixgym_agents.mixers.odm_exp3 import OdmExp3
from mixgym_agents.mixers.odm_smoothed import OdmSmoothed

RULES = (OdmExp3, OdmSmoothed)
NAN = np.nan

# (mixture the samples were drawn under, sequences per domain, each domain's mean loss)
HISTORY = [
    ([0.60, 0.30, 0.08, 0.02], [10, 5, 1, 0], [5.0, 4.5, 5.2, NAN]),
    ([0.25, 0.25, 0.25, 0.25], [4, 4, 4, 4], [3.1, 2.2, 4.0, 5.5]),
    ([0.10, 0.20, 0.30, 0.40], [2, 0, 5, 9], [2.8, NAN, 3.3, 5.4]),
    ([0.05, 0.15, 0.35, 0.45], [0, 3, 5, 8], [NAN, 2.0, 3.0, 5.3]),
    ([0.25, 0.25, 0.25, 0.25], [4, 4, 4, 4], [2.5, 1.8, 2.9, 5.2]),
    ([0.25, 0.25, 0.25, 0.25], [4, 4, 4, 4], [2.4, 1.7, 2.8, 5.1]),
    ([0.20, 0.20, 0.20, 0.40], [3, 3, 3, 7], [2.3, 1.6, 2.7, 5.0]),
    ([0.20, 0.20, 0.20, 0.40], [3, 3, 3, 7], [2.2, 1.5, 2.6, 4.9]),
]


@pytest.fixture
def history(make_signals):
    return [
        make_signals(mixture=p, counts=n, last_loss=loss, step=5 * (t + 1), decision=t + 1)
        for t, (p, n, loss) in enumerate(HISTORY)
    ]


def test_exploration_rate():
    # K = 4: K ln K = 5.55, so that eps is 1/4 up to t = 5 and sqrt(ln 4 / (4 t)) from t = 6
    for t in (0, 1, 5):
        assert exploration_rate(4, t) == 0.25
    assert exploration_rate(4, 6) == pytest.approx(0.2403371, abs=1e-6)
    assert exploration_rate(4, 600) == pytest.approx(0.02403371, abs=1e-7)
    assert exploration_rate(2, 1) == 0.5
    assert exploration_rate(1, 1) == 0.0


@pytest.mark.parametrize("scale", [1.0, 4.0])
@pytest.mark.parametrize("clock", ["decisions", "steps"])
def test_exp3_follows_its_equation(started, make_signals, history, clock, scale):
    mixer = started(OdmExp3, clock=clock, loss_scale=scale)
    np.testing.assert_allclose(mixer.update(make_signals()), [0.6, 0.3, 0.08, 0.02])
    K, reward, previous, expected = 4, np.zeros(4), 0.25, np.zeros(4)
    for t, (p, n, loss) in enumerate(HISTORY, start=1):
        for i in range(K):
            if n[i] > 0:
                reward[i] += (scale * loss[i] / 10) / p[i]
        time = t if clock == "decisions" else 5 * t
        eps = min(1 / K, np.sqrt(np.log(K) / (K * time)))
        e = np.exp(previous * reward)
        expected = (1 - K * eps) * e / e.sum() + eps
        previous = eps
        np.testing.assert_allclose(mixer.update(history[t - 1]), expected, rtol=1e-5)
    assert not np.allclose(expected, 0.25)


@pytest.mark.parametrize("smoothing", [0.5, 0.0, 0.9])
@pytest.mark.parametrize("clock", ["decisions", "steps"])
def test_smoothed_follows_its_equation(started, make_signals, history, clock, smoothing):
    mixer = started(OdmSmoothed, clock=clock, smoothing=smoothing)
    np.testing.assert_allclose(mixer.update(make_signals()), [0.6, 0.3, 0.08, 0.02])
    K, reward, expected = 4, np.zeros(4), np.zeros(4)
    for t, (_, n, loss) in enumerate(HISTORY, start=1):
        for i in range(K):
            if n[i] > 0:
                reward[i] = smoothing * reward[i] + (1 - smoothing) * np.exp(loss[i])
        time = t if clock == "decisions" else 5 * t
        eps = min(1 / K, np.sqrt(np.log(K) / (K * time)))
        expected = (1 - K * eps) * reward / reward.sum() + eps
        np.testing.assert_allclose(mixer.update(history[t - 1]), expected, rtol=1e-5)
    assert not np.allclose(expected, 0.25)


def test_one_update_in_numbers_worked_by_hand(started, make_signals):
    # t = 100 steps, K = 4: eps = sqrt(ln 4 / 400) = 0.0588705, 1 - 4 eps = 0.7645180
    seen = make_signals(
        mixture=[0.4, 0.2, 0.2, 0.2], counts=[4, 2, 2, 0], last_loss=[2, 4, 1, NAN], step=100
    )
    # R = (0.2/0.4, 0.4/0.2, 0.1/0.2, 0) = (0.5, 2, 0.5, 0); exp(R/4) = (1.133148, 1.648721,
    # 1.133148, 1), sum 4.915018
    weights = started(OdmExp3, clock="steps").update(seen)
    np.testing.assert_allclose(weights, [0.235130, 0.315326, 0.235130, 0.214417], atol=2e-6)
    # R = (e^2, e^4, e, 0) / 2 = (3.694528, 27.299075, 1.359141, 0), sum 32.352744
    weights = started(OdmSmoothed, clock="steps").update(seen)
    np.testing.assert_allclose(weights, [0.146174, 0.703968, 0.090988, 0.058871], atol=2e-6)


@pytest.mark.parametrize("rule", RULES)
def test_every_domain_is_credited_with_its_own_loss(rule, started, make_signals):
    """Crediting a mixed batch to its first domain would not survive a permutation."""
    mixture, counts = np.array([0.1, 0.2, 0.3, 0.4]), np.array([2, 3, 5, 6])
    losses = np.array([1.0, 4.0, 2.0, 3.0])
    results = []
    for order in ([0, 1, 2, 3], [2, 0, 3, 1], [3, 2, 1, 0]):
        mixer = started(rule, clock="steps")
        for step in (200, 400):
            mixer.update(
                make_signals(
                    mixture=mixture[order], counts=counts[order], last_loss=losses[order], step=step
                )
            )
        unordered = np.empty(4)
        unordered[order] = mixer.weights
        results.append(unordered)
    for other in results[1:]:
        np.testing.assert_allclose(other, results[0], rtol=1e-6)
    rewards = losses / mixture if rule is OdmExp3 else losses
    np.testing.assert_array_equal(np.argsort(results[0]), np.argsort(rewards))


@pytest.mark.parametrize("rule", RULES)
def test_a_higher_loss_gets_a_higher_weight(rule, started, make_signals):
    for worst in range(4):
        losses = np.full(4, 2.0)
        losses[worst] = 2.5
        mixer = started(rule)
        for _ in range(8):
            mixer.update(make_signals(counts=[1, 1, 1, 1], last_loss=losses, step=400))
        assert mixer.weights.argmax() == worst


@pytest.mark.parametrize("rule", RULES)
def test_unsampled_domains_keep_their_estimate(rule, started, make_signals):
    mixer = started(rule)
    mixer.update(make_signals(counts=[1, 1, 1, 1], last_loss=[1, 2, 3, 4]))
    before = mixer.state_dict()["estimates"]
    # a loss left over where nothing was drawn must not count either
    mixer.update(make_signals(counts=[1, 0, 0, 1], last_loss=[5, 5, NAN, 5]))
    after = mixer.state_dict()["estimates"]
    assert after[1:3] == before[1:3]
    assert after[0] > before[0] and after[3] > before[3]


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("loss", [0.0, 5.5, 1e30, np.inf, NAN])
def test_weights_stay_on_the_simplex_above_the_floor(rule, started, make_signals, loss):
    mixer = started(rule)
    for t in range(1, 40):
        losses = [loss if t % 3 == 0 else 2.0, 1.0, 1.0, 1.0]
        weights = mixer.update(
            make_signals(mixture=mixer.weights, counts=[1, 1, 1, 1], last_loss=losses)
        )
        assert abs(weights.sum() - 1) < 1e-12
        assert np.all(weights >= exploration_rate(4, t) - 1e-12)


@pytest.mark.parametrize("rule", RULES)
def test_nothing_observed_keeps_the_weights(rule, started, make_signals, history):
    mixer = started(rule)
    mixer.update(history[0])
    state, weights = mixer.state_dict(), mixer.weights.copy()
    np.testing.assert_array_equal(mixer.update(make_signals()), weights)
    assert mixer.state_dict() == state


def test_exp3_leaves_out_samples_of_zero_weight(started, make_signals):
    mixer = started(OdmExp3)
    mixer.update(
        make_signals(mixture=[0, 0.5, 0.5, 0], counts=[1, 7, 8, 0], last_loss=[2, 2, 2, NAN])
    )
    np.testing.assert_allclose(mixer.estimates, [0, 0.4, 0.4, 0])


@pytest.mark.parametrize("rule", RULES)
def test_a_saved_state_continues_identically(rule, started, history):
    whole, first = started(rule, clock="steps"), started(rule, clock="steps")
    for seen in history[:4]:
        whole.update(seen)
        first.update(seen)
    second = started(rule, clock="steps")
    second.load_state_dict(json.loads(json.dumps(first.state_dict())))
    for seen in history[4:]:
        np.testing.assert_array_equal(second.update(seen), whole.update(seen))
    assert second.state_dict() == whole.state_dict()


@pytest.mark.parametrize("rule", RULES)
def test_instances_share_nothing_and_start_forgets(rule, started, history, task):
    first, second = started(rule), started(rule)
    untouched = second.state_dict()
    results = [first.update(seen) for seen in history]
    results[-1][:] = -1  # the caller owns what it is given
    assert first.state_dict()["weights"][0] > 0
    assert second.state_dict() == untouched
    first.start(task, np.random.default_rng(0))
    assert first.state_dict() == untouched
    for seen, result in zip(history[:-1], results, strict=False):
        np.testing.assert_array_equal(first.update(seen), result)


@pytest.mark.parametrize("rule", RULES)
def test_the_initial_mixture_is_an_argument(rule, started, make_signals):
    np.testing.assert_array_equal(
        started(rule, initial="target").update(make_signals()) > 0, [False, True, True, False]
    )


@pytest.mark.parametrize(
    ("rule", "arguments", "message"),
    [
        (OdmExp3, {"reward_scale": 0}, "reward_scale=0"),
        (OdmSmoothed, {"smoothing": 1.0}, "smoothing=1.0"),
        (OdmSmoothed, {"smoothing": -0.1}, "smoothing=-0.1"),
        *((rule, {"clock": "tokens"}, "unknown clock") for rule in RULES),
        *((rule, {"loss_scale": NAN}, "loss_scale=nan") for rule in RULES),
        *((rule, {"initial": [1, -1, 0, 0]}, "not negative") for rule in RULES),
    ],
)
def test_bad_arguments(rule, arguments, message):
    with pytest.raises(ValueError, match=message):
        rule(**arguments)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("worst", [0, 3])
def test_learns_where_the_loss_stays_high(rule, worst, task, make_bandit):
    from dataclasses import replace

    from mixgym.mixer import MixerAgent

    losses = np.full(4, 1.0)
    losses[worst] = 6.0
    env = make_bandit(replace(task, decisions=300), losses)
    observation, info = env.reset(seed=0)
    agent, done, mixtures = MixerAgent(rule()), False, []
    agent.start(env, 0)
    while not done:
        mixtures.append(agent.act(observation, info))
        observation, _, done, _, info = env.step(mixtures[-1])
    late = np.mean(mixtures[150:], axis=0)
    assert late.argmax() == worst and late[worst] > 0.5
