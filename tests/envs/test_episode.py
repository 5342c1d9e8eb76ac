"""An episode without a model: what it remembers, and that it continues from it bit for bit."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from test_registry import actions, assert_equal, make

from mixgym.envs.episode import Episode
from mixgym.errors import CheckpointError

NANO = "mixgym/NanoPretrain-v0"
#: Every term that remembers something, and an action map that draws.
REMEMBERING: dict[str, Any] = {
    "reward": {
        "domain-progress": {"xi": 0.5},
        "alignment": 1.0,
        "influence": 1.0,
        "diversity": 1.0,
    },
    "action_map": "dirichlet",
}


def through_json(state: dict[str, Any]) -> dict[str, Any]:
    return {**state, "scalars": json.loads(json.dumps(state["scalars"]))}


@pytest.mark.parametrize(
    ("env_id", "arguments"),
    [
        (NANO, REMEMBERING),
        (NANO, {"reward": {"influence": {"variant": "alignment"}}, "action_map": "delta"}),
        ("mixgym/NanoContinual-v0", {"reward": {"feedback": 1.0, "progress": 1.0}}),
    ],
)
def test_a_loaded_state_continues_bit_for_bit(env_id: str, arguments: dict[str, Any]) -> None:
    env: Any = make(env_id, decisions=4, **arguments).unwrapped
    env.reset(seed=1)
    chosen = actions(env, n=4)
    for action in chosen[:2]:
        env.step(action)
    twin = env.fork()
    twin.episode = make(env_id, decisions=4, **arguments).unwrapped.episode  # type: ignore
    twin.episode.load_state_dict(through_json(env.episode.state_dict()))
    assert_equal(twin._info(), env._info())
    assert_equal([twin.step(a) for a in chosen[2:]], [env.step(a) for a in chosen[2:]])
    assert_equal(vars(twin.episode.history)["mixtures"], env.episode.history.mixtures)
    assert twin.episode.history.steps == [0, 2, 4, 6, 8]
    assert twin.episode.ended


def test_a_state_is_a_copy() -> None:
    env: Any = make(NANO, **REMEMBERING).unwrapped
    env.reset(seed=1)
    first, *rest = actions(env)
    env.step(first)
    state = env.episode.state_dict()
    kept = {name: array.copy() for name, array in state["arrays"].items()}
    for action in rest:
        env.step(action)
    assert_equal(state["arrays"], kept)


def test_the_state_of_another_task_or_reward_is_refused() -> None:
    env: Any = make(NANO).unwrapped
    env.reset(seed=0)
    state = env.episode.state_dict()
    with pytest.raises(CheckpointError, match="8 domains, this one 2"):
        make(NANO, domains=["recipes", "python"]).unwrapped.episode.load_state_dict(state)  # type: ignore
    with pytest.raises(CheckpointError, match="reward terms progress, this one stability"):
        make(NANO, reward="stability").unwrapped.episode.load_state_dict(state)  # type: ignore


def test_episodes_of_several_runs_share_nothing() -> None:
    """One task and its arguments, an episode a run: what a batch of runs has."""
    env: Any = make(NANO, **REMEMBERING).unwrapped
    layers = tuple(env.layout.layers)
    one, other = (Episode(env.task, layers, env.arguments) for _ in range(2))
    env.reset(seed=0)
    signals = env.run.signals()
    for seed, episode in enumerate((one, other)):
        episode.start(seed, env.task.natural, signals)
    action = np.zeros(8, np.float32)
    mixtures = [episode.to_mixture(action) for episode in (one, other)]
    assert not np.array_equal(mixtures[0], mixtures[1])
    after = env.run.advance(mixtures[0], 1)
    one.record(mixtures[0], after, one.measure(env.run, after))
    assert one.signals.decision == 1 and other.signals.decision == 0
    assert one.info()["reward_vectors"]["alignment"].any()
    assert not other.info()["reward_vectors"]["alignment"].any()


def test_needs_neither_torch_nor_gymnasium_ids() -> None:
    code = (
        "import sys, mixgym.envs.episode, mixgym.envs.protocol;"
        "sys.exit('torch' in sys.modules or 'matplotlib' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
