"""Behaviours recomputed by hand, and what their noise may depend on."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from mixgym.envs.task import MixingTask
from mixgym.errors import MixgymError
from mixgym.experiment.request import parse_agent
from mixgym.trajectories.behaviours import BEHAVIOURS, make_behaviour
from mixgym.trajectories.request import CollectionRequest, check_dataset_id, default_dataset_id

TASK = MixingTask(
    names=("code", "recipes", "law", "noise"),
    natural=np.array([0.6, 0.3, 0.08, 0.02]),
    objective=np.array([0.0, 0.5, 0.5, 0.0]),
    decisions=20,
    steps_per_decision=5,
)


def played(name: str, seed: int = 0, decisions: int = 20, **arguments: Any) -> np.ndarray:
    behaviour = make_behaviour(name, arguments)
    behaviour.start(TASK, np.random.default_rng(seed))
    mixtures = [TASK.natural]
    for t in range(decisions):
        mixtures.append(behaviour.propose(mixtures[-1], t / decisions))
    return np.array(mixtures[1:])


@pytest.mark.parametrize("name", sorted(BEHAVIOURS))
def test_mixtures_follow_from_the_seed_alone(name: str) -> None:
    first, again, other = played(name), played(name), played(name, seed=1)
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 0.01
    assert first.min() >= 0
    np.testing.assert_allclose(first.sum(axis=1), 1.0, atol=1e-12)


def test_the_random_walk_by_hand() -> None:
    rng = np.random.default_rng(3)
    logits = np.log(TASK.natural) + 0.2 * rng.normal(size=4)
    expected = []
    for _ in range(6):
        logits = np.clip(logits - (logits.max() + logits.min()) / 2, -1.5, 1.5)
        expected.append(np.exp(logits) / np.exp(logits).sum())
        logits = logits + 0.7 * rng.normal(size=4)
    walked = played("random-walk", seed=3, decisions=6, step=0.7, bound=1.5, spread=0.2)
    np.testing.assert_allclose(walked, expected, rtol=1e-12)
    assert (walked.max(axis=1) / walked.min(axis=1)).max() <= np.exp(3.0) + 1e-9


def test_a_dirichlet_draw_is_held_and_has_its_base_as_mean() -> None:
    held = played("dirichlet", decisions=9, hold=3)
    assert len(np.unique(held, axis=0)) == 3
    np.testing.assert_array_equal(held[0], held[2])
    many = played("dirichlet", decisions=4000, base="natural", concentration=2.0)
    np.testing.assert_allclose(many.mean(axis=0), TASK.natural, atol=0.02)
    # Var w_i = m_i (1 - m_i) / (concentration K + 1)
    variance = TASK.natural * (1 - TASK.natural) / (2.0 * 4 + 1)
    np.testing.assert_allclose(many.var(axis=0), variance, rtol=0.15)


def test_the_heuristic_leads_from_source_to_target() -> None:
    runs = np.array([played("heuristic", seed=seed) for seed in range(20)])
    objective = runs[:, :, 1:3].sum(axis=2).mean(axis=0)
    assert objective[0] < 0.55 < 0.65 < objective[-1]
    assert runs[:, -1].std(axis=0).max() > 0.02  # noise, and ends of their own
    # without a temperature the best of its own candidates is taken
    rng = np.random.default_rng(5)
    end, shape = rng.uniform(0.5, 1.0), rng.uniform(0.5, 2.0)
    p = end * (1 / 20) ** shape
    guide = (1 - p) * TASK.natural + p * TASK.objective
    moves = np.log(TASK.natural) + 0.5 * rng.normal(size=(16, 4))
    mixtures = np.exp(moves) / np.exp(moves).sum(axis=1, keepdims=True)
    best = mixtures[np.argmax(np.log(mixtures) @ guide)]
    greedy = played("heuristic", seed=5, decisions=1, temperature=0)
    np.testing.assert_allclose(greedy[0], best, rtol=1e-12)


def test_the_heuristic_leads_to_the_target_field_of_a_continual_task() -> None:
    """Whose objective is the mean of all domains: the way to it would lead nowhere."""
    groups = {"source": ("code", "recipes"), "target": ("law", "noise")}
    task = replace(TASK, groups=groups, objective=np.full(4, 0.25))
    lone = replace(task, groups={"target": ("law", "noise")})

    def last(task: MixingTask, **arguments: Any) -> np.ndarray:
        mixtures = []
        for seed in range(20):
            behaviour = make_behaviour("heuristic", arguments)
            behaviour.start(task, np.random.default_rng(seed))
            mixture = task.natural
            for t in range(20):
                mixture = behaviour.propose(mixture, t / 20)
            mixtures.append(mixture)
        return np.array(mixtures)

    assert last(task)[:, 2:].sum(axis=1).mean() > 0.6  # of 0.1 at the start
    np.testing.assert_array_equal(last(task), last(task, source="source", target="target"))
    np.testing.assert_array_equal(last(lone), last(lone, source="natural", target="objective"))
    np.testing.assert_array_equal(
        last(task, target="law"), last(task, source="source", target="law")
    )


@pytest.mark.parametrize(
    ("behaviour", "message"),
    [
        ("random-wlak", "did you mean 'random-walk'"),
        ("random-walk:{stp: 1}", "did you mean 'step'"),
        ("random-walk:{step: -1}", "step=-1"),
        ("dirichlet:{hold: 0}", "hold=0"),
        ("heuristic:{candidates: 0}", "candidates=0"),
        ("mixed:{members: [mixed]}", "cannot be a member"),
        ("mixed:{members: []}", "members="),
        ("mixed:{member: []}", "did you mean 'members'"),
        ("static", "needs the argument 'mixture'"),
    ],
)
def test_bad_behaviours_are_refused_at_once(behaviour: str, message: str) -> None:
    with pytest.raises((MixgymError, ValueError), match=message):
        CollectionRequest("mixgym/NanoPretrain-v0", parse_agent(behaviour))


def test_requests() -> None:
    request = CollectionRequest("e", parse_agent("mixed:{members: [dirichlet, uniform]}"), seed=4)
    assert [request.member(i).agent for i in range(3)] == ["dirichlet", "uniform", "dirichlet"]
    assert CollectionRequest.from_json(request.to_json()) == request
    seeds = [request.episode_seed(i) for i in range(50)]
    assert len(set(seeds)) == 50 and 4 not in seeds
    assert request.digest != CollectionRequest("e", request.behaviour, seed=5).digest
    with pytest.raises(MixgymError, match="simplex"):
        CollectionRequest("e", parse_agent("uniform"), {"action_map": "simplex"})
    assert check_dataset_id(default_dataset_id("m:mixgym/A-v3", "random-walk"))
    with pytest.raises(MixgymError, match="NAMESPACE/NAME-vN"):
        check_dataset_id("mixgym/no version")
