"""Windows, reward scales and transitions, by hand."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from mixgym.errors import MixgymError
from mixgym.trajectories.record import Trajectory
from mixgym.trajectories.show import split_by_reward
from mixgym.trajectories.transitions import (
    ObservationWindow,
    RewardScaling,
    Transitions,
    windows,
)


def trajectory(rewards: list[float], **facts: Any) -> Trajectory:
    T = len(rewards)
    ends = np.arange(T) == T - 1
    observations = np.arange(2 * (T + 1), dtype=np.float32).reshape(T + 1, 2)
    actions = np.full((T, 3), 0.5, np.float32)
    values = np.array(rewards, np.float64)
    return Trajectory(0, observations, actions, values, ends, ends & False, {}, facts)


def test_windows_are_gymnasiums_frame_stack() -> None:
    env = gym.make("CartPole-v1")
    stacked = gym.wrappers.FrameStackObservation(env, 3)
    observation, _ = stacked.reset(seed=0)
    raw, expected = [observation[-1]], [observation.ravel()]
    for _ in range(5):
        observation, *_ = stacked.step(1)
        raw.append(observation[-1])
        expected.append(observation.ravel())
    np.testing.assert_array_equal(windows(np.array(raw), 3), np.array(expected))


def test_a_window_resumes_in_the_middle() -> None:
    window, other = ObservationWindow(3), ObservationWindow(3)
    for value in (1.0, 2.0):
        window.push(np.array([value]))
    other.restore(window.state())
    np.testing.assert_array_equal(other.push(np.array([3.0])), [1.0, 2.0, 3.0])
    window.reset()
    assert window.state().shape == (0, 0)
    other.restore(window.state())
    for emptied in (window, other):
        np.testing.assert_array_equal(emptied.push(np.array([7.0])), [7.0, 7.0, 7.0])
    with pytest.raises(ValueError, match="window=0"):
        ObservationWindow(0)


def test_rewards_scaled_by_decision() -> None:
    data = [trajectory([4.0, 1.0]), trajectory([2.0, 3.0])]
    scaling = RewardScaling.fit("decision", data, 2, gamma=0.5)
    assert scaling.baseline == (3.0, 2.0)
    assert scaling.scale == pytest.approx(1.0)  # of 1, -1, -1, 1
    np.testing.assert_allclose(scaling(data[0]), [1.0, -1.0])
    # value 1 + 0.5 * -1 = 0.5 restored: 4 + 0.5 * 1
    assert scaling.restore(0.5) == pytest.approx(4.5)


def test_diverging_early_is_charged_what_it_skipped() -> None:
    whole = [trajectory([4.0, 2.0, 1.0]), trajectory([2.0, 2.0, 3.0])]
    cut = trajectory([3.0, -5.0], diverged=True)
    scaling = RewardScaling.fit("decision", [*whole, cut], 3, gamma=0.5)
    assert scaling.baseline == (3.0, 2.0, 2.0)  # the penalty is no part of the mean
    scaled = scaling(cut) * scaling.scale
    np.testing.assert_allclose(scaled, [0.0, -5.0 - 2.0 - 0.5 * 2.0], rtol=1e-6)
    # its restored return is the discounted return that it had
    value = float(scaling(cut) @ [1.0, 0.5])
    assert scaling.restore(value) == pytest.approx(3.0 - 0.5 * 5.0)


@pytest.mark.parametrize("kind", ["decision", "deviation"])
def test_a_penalty_for_diverging_scales_no_other_reward(kind: str) -> None:
    whole = [trajectory([4.0, 1.0]), trajectory([2.0, 3.0])]
    alone = RewardScaling.fit(kind, whole, 2, gamma=0.9)
    # its first decision earns the mean, so that only the deviation's count of rewards changes
    cut = trajectory([3.0, -500.0], diverged=True)
    both = RewardScaling.fit(kind, [*whole, cut], 2, gamma=0.9)
    left = [1.0, -1.0, -1.0, 1.0, 0.0] if kind == "decision" else [4.0, 1.0, 2.0, 3.0, 3.0]
    assert both.baseline == alone.baseline
    assert both.scale == pytest.approx(np.std(left))
    only = RewardScaling.fit(kind, [trajectory([-5.0], diverged=True)], 2, gamma=0.9)
    assert only.scale == 1.0 and only.baseline == (0.0, 0.0)


def test_an_episode_of_another_horizon_has_missed_nothing() -> None:
    scaling = RewardScaling("decision", (3.0, 2.0, 2.0), 1.0, gamma=0.5)
    np.testing.assert_allclose(scaling(trajectory([3.0, 2.0])), [0.0, 0.0])
    np.testing.assert_allclose(scaling(trajectory([3.0, 2.0], diverged=True)), [0.0, -0.5 * 2.0])


def test_mixtures_of_diverged_decisions_are_on_neither_side() -> None:
    first, second, third = [0.2, 0.8], [0.6, 0.4], [0.1, 0.9]

    def logged(rewards: list[float], *mixtures: list[float], **facts: Any) -> Trajectory:
        rows = np.array([[0.5, 0.5], *mixtures])
        return replace(trajectory(rewards, **facts), infos={"mixture": rows})

    pays, cut = logged([2.0, 2.0], first, first), logged([1.5, -500.0], third, third, diverged=True)
    found = split_by_reward([pays, logged([1.0, 1.0], second, second), cut])
    assert found.counts == (2, 2)  # the cut episode's first decision earned the mean
    np.testing.assert_allclose(found.rising, first)
    np.testing.assert_allclose(found.falling, second)
    found = split_by_reward([pays, logged([-1.0, -1.0], second, second), cut], "zero")
    assert found.counts == (3, 2)
    np.testing.assert_allclose(found.falling, second)


@pytest.mark.parametrize(("kind", "expected"), [("none", [4.0, 1.0]), ("deviation", None)])
def test_other_scalings(kind: str, expected: list[float] | None) -> None:
    data = [trajectory([4.0, 1.0]), trajectory([2.0, 3.0])]
    scaling = RewardScaling.fit(kind, data, 2, gamma=0.9)
    wanted = expected or np.array([4.0, 1.0]) / np.std([4.0, 1.0, 2.0, 3.0])
    np.testing.assert_allclose(scaling(data[0]), wanted, rtol=1e-6)
    with pytest.raises(MixgymError, match="did you mean 'decision'"):
        RewardScaling.fit("decisions", data, 2, gamma=0.9)


def test_every_decision_is_a_transition_and_the_last_is_terminal() -> None:
    data = [trajectory([1.0, 2.0, 3.0]), trajectory([4.0, 5.0])]
    made = Transitions.build(data, lambda x: x * 10, 2, lambda e: e.rewards.astype(np.float32))
    assert len(made) == 5
    np.testing.assert_array_equal(made.rows.terminal.ravel(), [0, 0, 1, 0, 1])
    np.testing.assert_array_equal(made.rows.reward.ravel(), [1, 2, 3, 4, 5])
    np.testing.assert_array_equal(made.initial, [0, 3])
    np.testing.assert_array_equal(made.episode, [0, 0, 0, 1, 1])
    np.testing.assert_array_equal(made.rows.observation[1], [0, 10, 20, 30])
    np.testing.assert_array_equal(made.rows.next_observation[1], [20, 30, 40, 50])
    np.testing.assert_array_equal(made.rows.observation[3], [0, 10, 0, 10])
    drawn = made.sample(np.random.default_rng(0), 1000)
    assert set(drawn.reward.ravel()) == {1, 2, 3, 4, 5}
