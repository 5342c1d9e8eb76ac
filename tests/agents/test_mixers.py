"""The mixers that look at no loss."""

from __future__ import annotations

import numpy as np
import pytest
from mixgym_agents.mixers.natural import Natural
from mixgym_agents.mixers.random import Random
from mixgym_agents.mixers.schedule import Schedule
from mixgym_agents.mixers.static import Static
from mixgym_agents.mixers.temperature import Temperature
from mixgym_agents.mixers.uniform import Uniform

from mixgym.errors import CheckpointError, UnknownNameError

NATURAL = np.array([0.6, 0.3, 0.08, 0.02])


@pytest.fixture
def mixtures(task, make_signals):
    """The mixtures a mixer gives over the task's decisions."""

    def run(mixer, decisions=20, seed=0):
        mixer.start(task, np.random.default_rng(seed))
        remaining = 1 - np.arange(decisions) / decisions
        return np.array([mixer.update(make_signals(remaining=float(r))) for r in remaining])

    return run


@pytest.mark.parametrize(
    ("mixer", "expected"),
    [
        (Uniform(), np.full(4, 0.25)),
        (Natural(), NATURAL),
        (Temperature(T=1.0), NATURAL),
        (Temperature(T=2.0), np.sqrt(NATURAL) / np.sqrt(NATURAL).sum()),
        (Temperature(T=0.5), NATURAL**2 / (NATURAL**2).sum()),
        (Temperature(T=1e9), np.full(4, 0.25)),
        (Temperature(T=1e-3), np.array([1.0, 0, 0, 0])),
        (Static(mixture="natural"), NATURAL),
        (Static(mixture="objective"), np.array([0, 0.5, 0.5, 0])),
        (Static(mixture="law"), np.array([0, 0, 1.0, 0])),
        (Static(mixture="target"), np.array([0, 30 / 38, 8 / 38, 0])),
        (Static(mixture={"law": 3, "noise": 1}), np.array([0, 0, 0.75, 0.25])),
        (Static(mixture=[2, 1, 1, 0]), np.array([0.5, 0.25, 0.25, 0])),
        (Static(mixture=np.array([2, 1, 1, 0])), np.array([0.5, 0.25, 0.25, 0])),  # type: ignore
    ],
)
def test_fixed_mixtures(mixtures, mixer, expected):
    np.testing.assert_allclose(mixtures(mixer), np.tile(expected, (20, 1)), atol=1e-7)


def test_fixed_mixtures_cannot_be_changed_from_outside(mixtures, make_signals):
    mixer = Natural()
    mixtures(mixer)
    mixer.update(make_signals())[:] = 0
    np.testing.assert_array_equal(mixer.update(make_signals()), NATURAL)


def test_schedule_from_start_to_end_is_linear_in_the_budget(mixtures):
    given = mixtures(Schedule(start="code", end={"law": 1}))
    x = np.arange(20) / 20
    np.testing.assert_allclose(given, np.stack([1 - x, 0 * x, x, 0 * x], axis=1), atol=1e-12)


def test_schedule_through_points(mixtures):
    given = mixtures(Schedule(points=[[0.2, "code"], [0.4, "law"], [0.8, "noise"]]))
    one = np.eye(4)
    np.testing.assert_allclose(given[:5], np.tile(one[0], (5, 1)), atol=1e-12)
    np.testing.assert_allclose(given[6], (one[0] + one[2]) / 2, atol=1e-12)
    np.testing.assert_allclose(given[8], one[2], atol=1e-12)
    np.testing.assert_allclose(given[10], 0.75 * one[2] + 0.25 * one[3], atol=1e-12)
    np.testing.assert_allclose(given[16:], np.tile(one[3], (4, 1)), atol=1e-12)


# at 0.2, 0.45 and 0.68 the budget spent, 1 - remaining, falls short of the fraction by rounding
@pytest.mark.parametrize(
    ("decisions", "jump"), [(10, 0.7), (10, 0.2), (20, 0.45), (25, 0.68), (30, 1 / 3)]
)
def test_schedule_jumps_at_a_doubled_fraction(mixtures, decisions, jump):
    points = [[0, "broad"], [jump, "broad"], [jump, "target"], [1, "target"]]
    given = mixtures(Schedule(points=points), decisions)
    broad = given[:, 0] > 0.5
    np.testing.assert_array_equal(broad, np.arange(decisions) < round(jump * decisions))
    assert np.all((given[:, 1] > 0) == ~broad)


def test_random_mixtures_follow_the_given_generator(mixtures):
    first, again, other = (mixtures(Random(), seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)
    assert len(np.unique(first, axis=0)) == 20
    np.testing.assert_allclose(first.sum(axis=1), 1, atol=1e-12)


def test_random_concentration_sets_the_spread(mixtures):
    flat, sharp, even = (mixtures(Random(concentration=c), 500) for c in (1.0, 0.01, 100.0))
    assert sharp.max(axis=1).mean() > 0.9 > flat.max(axis=1).mean()
    assert abs(even - 0.25).max() < 0.15
    np.testing.assert_allclose(flat.mean(axis=0), 0.25, atol=0.03)
    assert np.isfinite(mixtures(Random(concentration=1e-300), 50)).all()


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Temperature(T=0), "T=0"),
        (lambda: Temperature(T=-1), "T=-1"),
        (lambda: Temperature(T=float("nan")), "T=nan"),
        (lambda: Random(concentration=0), "concentration=0"),
        (lambda: Random(concentration=-2.0), "concentration=-2"),
        (lambda: Static(mixture=[1, -1, 0, 1]), "not negative"),
        (lambda: Static(mixture=[0, 0, 0, 0]), "all weights are zero"),
        (lambda: Static(mixture={"law": -1, "code": 2}), "'law' is -1"),
        (lambda: Static(mixture={"law": 0}), "all weights are zero"),
        (lambda: Static(mixture={"law": float("nan")}), "'law' is nan"),
        (lambda: Schedule(), "needs either points"),
        (lambda: Schedule(start="code"), "needs either points"),
        (lambda: Schedule(points=[[0, "code"]], end="law"), "needs either points"),
        (lambda: Schedule(points=[[0, "code"]], start="code", end="law"), "needs either points"),
        (lambda: Schedule(points=[]), "no points"),
        (lambda: Schedule(points=["code"]), r"must be \[fraction, mixture\]"),
        (lambda: Schedule(points=[[0.6, "code"], [0.5, "law"]]), "0.5 comes after 0.6"),
        (lambda: Schedule(points=[[1.2, "code"]]), r"1.2 must be a number in \[0, 1\]"),
        (lambda: Schedule(points=[[float("nan"), "code"]]), "nan must be a number"),
        (lambda: Schedule(points=[["0", "code"]]), "'0' must be a number"),
        (lambda: Schedule(points=[[0, "a"], [0, "b"], [0, "c"]]), "three schedule points"),
        (lambda: Schedule(points=[[0, [1, -1, 0, 0]]]), "not negative"),
    ],
)
def test_bad_arguments(build, message):
    with pytest.raises(ValueError, match=message):
        build()


@pytest.mark.parametrize(
    "mixer",
    [Static(mixture="lav"), Static(mixture={"lav": 1}), Schedule(start="code", end="lav")],
)
def test_unknown_names_get_a_suggestion_at_the_start(mixer, task):
    with pytest.raises(UnknownNameError, match="did you mean 'law'"):
        mixer.start(task, np.random.default_rng(0))


def test_the_wrong_number_of_weights_is_refused_at_the_start(task):
    with pytest.raises(ValueError, match="4 weights"):
        Static(mixture=[1, 1]).start(task, np.random.default_rng(0))


def test_a_stateless_mixer_refuses_state():
    with pytest.raises(CheckpointError, match="no state"):
        Uniform().load_state_dict({"weights": [1]})
