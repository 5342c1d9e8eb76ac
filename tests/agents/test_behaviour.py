"""The behaviours that log trajectories, as an agent."""

from __future__ import annotations

import json

import numpy as np
import pytest
from mixgym_agents.mixers.behaviour import BehaviourMixer, agent

from mixgym.errors import UnknownNameError
from mixgym.trajectories.behaviours import BEHAVIOURS, make_behaviour


@pytest.mark.parametrize("name", BEHAVIOURS)
def test_it_plays_the_behaviours_rule(name, task, make_signals):
    mixer, rule = BehaviourMixer(behaviour=name), make_behaviour(name, {})
    mixer.start(task, np.random.default_rng(3))
    rule.start(task, np.random.default_rng(3))
    current, played = np.full(4, 0.25), []
    for k in range(10):
        mixture = mixer.update(make_signals(mixture=current, remaining=1 - k / 10))
        expected = rule.propose(current.astype(np.float64), 1.0 - (1 - k / 10))
        np.testing.assert_allclose(mixture, expected / expected.sum(), rtol=1e-12)
        played.append(mixture)
        current = mixture.astype(np.float32)
    assert np.ptp(played, axis=0).max() > 0.05


@pytest.mark.parametrize(
    ("name", "options"),
    [("random-walk", {"step": 1.0}), ("dirichlet", {"hold": 3}), ("heuristic", {"step": 0.3})],
)
def test_a_reloaded_one_goes_on_identically(name, options, task, make_signals):
    def play(mixer, decisions):
        current, out = np.full(4, 0.25, dtype=np.float32), []
        for k in decisions:
            current = mixer.update(make_signals(mixture=current, remaining=1 - k / 10))
            out.append(current)
            current = current.astype(np.float32)
        return np.array(out)

    mixer = BehaviourMixer(behaviour=name, options=options)
    mixer.start(task, np.random.default_rng(0))
    play(mixer, range(4))
    state = json.loads(json.dumps(mixer.state_dict()))
    twin = BehaviourMixer(behaviour=name, options=options)
    twin.start(task, np.random.default_rng(1))
    twin.load_state_dict(state)
    np.testing.assert_array_equal(play(mixer, range(4, 10)), play(twin, range(4, 10)))


def test_bad_arguments_are_named():
    with pytest.raises(UnknownNameError, match="random-walk"):
        agent(behaviour="random-wolk")
    with pytest.raises(UnknownNameError, match="step"):
        agent(options={"stepp": 1.0})
    with pytest.raises(ValueError, match="hold=0"):
        agent(behaviour="dirichlet", options={"hold": 0})
