"""What holds for every agent made of a mixer, and how agents are found."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import EntryPoint
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

import mixgym.agents
from mixgym.agents import list_agents, make_agent
from mixgym.errors import CheckpointError, MixgymError, UnknownNameError
from mixgym.files import DIGEST
from mixgym.mixer import Mixer, MixerAgent, as_agent

OURS: dict[str, dict[str, Any]] = {
    "natural": {},
    "odm-exp3": {"clock": "steps"},
    "odm-smoothed": {"clock": "steps", "smoothing": 0.25},
    "random": {"concentration": 0.5},
    "schedule": {"points": [(0, "broad"), (0.5, {"law": 1, "target": 2}), (1, "uniform")]},
    "static": {"mixture": {"law": 2, "code": 1}},
    "temperature": {"T": 3.0},
    "uniform": {},
}
every_agent = pytest.mark.parametrize("name", OURS)


def rollout(agent, env: gym.Env, steps: int, observation=None, info=None) -> np.ndarray:
    actions = []
    for _ in range(steps):
        actions.append(agent.act(observation, info))
        assert env.action_space.contains(actions[-1])
        observation, _, _, _, info = env.step(actions[-1])
    return np.array(actions)


def test_ours_are_installed():
    assert set(OURS) <= set(list_agents())
    assert list(list_agents()) == sorted(list_agents())


@every_agent
def test_same_seed_same_actions_through_wrappers(name, env):
    runs = []
    for env_seed, seed in ((0, 5), (0, 5), (0, 6)):
        env.reset(seed=env_seed)
        agent = make_agent(name, **OURS[name])
        assert agent.name == name and agent.action_map == "simplex"
        agent.start(env, seed)
        runs.append(rollout(agent, env, 20))
    assert runs[0].dtype == np.float32
    np.testing.assert_array_equal(runs[0], runs[1])
    assert np.array_equal(runs[0], runs[2]) == (name != "random")


def test_the_agents_noise_is_not_the_environments(env):
    """Agent and environment get the same seed, and must not get the same random numbers from it."""
    env.reset(seed=3)
    agent = make_agent("random")
    agent.start(env, 3)
    action = agent.act(None, {})  # type: ignore[arg-type]
    streams = [np.random.SeedSequence(3), *np.random.SeedSequence(3).spawn(100)]
    for stream in streams:
        theirs = np.random.default_rng(stream).dirichlet(np.ones(4))
        assert not np.allclose(action, theirs, atol=1e-3)


@every_agent
def test_starting_again_forgets_the_last_episode(name, env):
    agent = make_agent(name, **OURS[name])
    runs = []
    for _ in range(2):
        env.reset(seed=0)
        agent.start(env, 1)
        agent.learn(env, 100)
        runs.append(rollout(agent, env, 20))
    np.testing.assert_array_equal(runs[0], runs[1])


@every_agent
def test_a_reloaded_agent_gives_equal_actions(name, env, tmp_path):
    env.reset(seed=0)
    agent = make_agent(name, **OURS[name])
    agent.start(env, 1)
    rollout(agent, env, 8)
    agent.save(tmp_path / "agent.json")
    twin = make_agent(name, **OURS[name])
    twin.start(env, 99)
    twin.load(tmp_path / "agent.json")
    for _ in range(12):
        action = agent.act(None, {})  # type: ignore[arg-type]
        np.testing.assert_array_equal(action, twin.act(None, {}))  # type: ignore[arg-type]
        env.step(action)


@every_agent
def test_acting_leaves_the_global_generators_alone(name, env):
    import random

    before = np.random.get_state()[1].copy(), random.getstate()  # type: ignore[index]
    env.reset(seed=0)
    agent = make_agent(name, **OURS[name])
    agent.start(env, 1)
    rollout(agent, env, 3)
    np.testing.assert_array_equal(before[0], np.random.get_state()[1])  # type: ignore[index]
    assert before[1] == random.getstate()


def test_a_checkpoint_of_another_agent_configuration_or_corpus_is_refused(
    env, task, make_bandit, tmp_path
):
    from dataclasses import replace

    path = tmp_path / "agent.json"
    env.reset(seed=0)
    agent = make_agent("temperature", T=2.0)
    agent.start(env, 0)
    agent.save(path)
    for other in (make_agent("uniform"), make_agent("temperature", T=3.0)):
        other.start(env, 0)
        with pytest.raises(CheckpointError, match="was saved with"):
            other.load(path)
    elsewhere = make_bandit(replace(task, names=("a", "b", "c", "d")), np.ones(4))
    elsewhere.reset(seed=0)
    agent.start(elsewhere, 0)
    with pytest.raises(CheckpointError, match="domains"):
        agent.load(path)
    for text in ("{", "[]", '{"agent": "temperature"}'):
        path.write_text(text)
        with pytest.raises(CheckpointError, match="not a saved agent"):
            agent.load(path)
    with pytest.raises(CheckpointError, match="not a saved agent"):
        agent.load(tmp_path / "missing.json")


@pytest.mark.parametrize("state", [{}, {"updates": 1}, {"rng": {"x": 1}}, 7])
@pytest.mark.parametrize("name", ["odm-exp3", "random"])
def test_a_checkpoint_with_a_damaged_state_is_refused(name, state, env, tmp_path):
    import json

    env.reset(seed=0)
    agent = make_agent(name)
    agent.start(env, 0)
    agent.save(tmp_path / "agent.json")
    saved = {**json.loads((tmp_path / "agent.json").read_text()), "state": state}
    (tmp_path / "agent.json").write_text(json.dumps(saved))
    with pytest.raises(CheckpointError, match=r"agent\.json was changed after it was written"):
        agent.load(tmp_path / "agent.json")
    saved.pop(DIGEST)  # as older versions wrote it
    (tmp_path / "agent.json").write_text(json.dumps(saved))
    with pytest.raises(CheckpointError, match=r"agent\.json.*(damaged|another structure)"):
        agent.load(tmp_path / "agent.json")


def test_a_saved_agent_of_an_older_version_is_read(env, tmp_path):
    """They had no digest."""
    import json

    env.reset(seed=0)
    agent = make_agent("odm-exp3")
    agent.start(env, 0)
    rollout(agent, env, 5)
    agent.save(tmp_path / "agent.json")
    saved = json.loads((tmp_path / "agent.json").read_text())
    saved.pop(DIGEST)
    (tmp_path / "agent.json").write_text(json.dumps(saved))
    twin = make_agent("odm-exp3")
    twin.start(env, 0)
    twin.load(tmp_path / "agent.json")
    assert isinstance(agent, MixerAgent) and isinstance(twin, MixerAgent)
    assert twin.mixer.state_dict() == agent.mixer.state_dict()


def test_a_mixer_agent_must_be_started_in_a_mixing_environment_with_mixtures_as_actions(
    task, make_bandit, tmp_path
):
    agent = make_agent("uniform")
    for use in (lambda: agent.act(None, {}), lambda: agent.save(tmp_path / "x")):  # type: ignore
        with pytest.raises(MixgymError, match="call start"):
            use()
    with pytest.raises(MixgymError, match="needs a mixgym environment"):
        agent.start(gym.make("CartPole-v1"), 0)
    boxed = make_bandit(task, np.ones(4), action_map="softmax")
    with pytest.raises(MixgymError, match="action_map='simplex'"):
        agent.start(boxed, 0)


@pytest.mark.parametrize(
    ("mixture", "message"),
    [([1, 1, 1, 1], "sum to 4"), ([1.5, -0.5, 0, 0], "'recipes' is -0.5"), ([1], "shape")],
)
def test_a_mixer_that_gives_no_mixture_is_caught(mixture, message, env):
    class Broken(Mixer):
        name = "broken"

        def start(self, task, rng): ...

        def update(self, signals):
            return np.array(mixture)

    env.reset(seed=0)
    agent = as_agent(Broken)()
    agent.start(env, 0)
    with pytest.raises(ValueError, match=message):
        agent.act(None, {})  # type: ignore[arg-type]


# --- discovery


def test_unknown_agents_and_arguments_get_a_suggestion():
    with pytest.raises(UnknownNameError, match="unknown agent 'unifrom': did you mean 'uniform'"):
        make_agent("unifrom")
    with pytest.raises(UnknownNameError, match="'concentratoin': did you mean 'concentration'"):
        make_agent("random", concentratoin=1)
    with pytest.raises(UnknownNameError, match="unknown argument of agent 'uniform' 'T'"):
        make_agent("uniform", T=1)
    with pytest.raises(UnknownNameError, match="initial"):
        make_agent("odm-exp3", intial="uniform")
    with pytest.raises(ValueError, match="needs the argument 'mixture'"):
        make_agent("static")


def test_a_third_party_agent_is_found_by_its_entry_point(tmp_path, env):
    """A package on the path with an entry point, and no change to mixgym."""
    (tmp_path / "theirs.py").write_text(
        "from dataclasses import dataclass\n"
        "import numpy as np\n"
        "from mixgym.mixer import Mixer, as_agent\n"
        "@dataclass(kw_only=True)\n"
        "class First(Mixer):\n"
        "    name = 'first'\n"
        "    weight: float = 1.0\n"
        "    def start(self, task, rng): self.K = task.K\n"
        "    def update(self, signals):\n"
        "        rest = (1 - self.weight) / (self.K - 1)\n"
        "        return np.array([self.weight] + [rest] * (self.K - 1))\n"
        "agent = as_agent(First)\n"
    )
    info = tmp_path / "theirs-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: theirs\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[mixgym.agents]\nfirst = theirs:agent\n")
    sys.path.insert(0, str(tmp_path))
    try:
        assert "first" in list_agents()
        agent = make_agent("first", weight=0.7)
        env.reset(seed=0)
        agent.start(env, 0)
        np.testing.assert_allclose(agent.act(None, {}), [0.7, 0.1, 0.1, 0.1], rtol=1e-6)  # type: ignore
        with pytest.raises(UnknownNameError, match="did you mean 'weight'"):
            make_agent("first", wieght=1)
    finally:
        sys.path.remove(str(tmp_path))
        sys.modules.pop("theirs", None)


def test_a_name_claimed_twice_is_an_error(monkeypatch):
    claims = [EntryPoint("twice", f"package{i}:agent", mixgym.agents.GROUP) for i in (1, 2)]
    monkeypatch.setattr(mixgym.agents, "entry_points", lambda **_: claims)
    with pytest.raises(MixgymError, match="package1:agent and package2:agent"):
        make_agent("twice")


def test_mixgym_never_imports_the_agents():
    code = "import sys, mixgym, mixgym.agents as a; a.list_agents(); print('agents' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_the_factory_shows_the_mixers_arguments():
    import inspect

    from mixgym_agents.mixers.temperature import Temperature, agent

    assert list(inspect.signature(agent).parameters) == ["T"]
    assert isinstance(agent(T=2.0), MixerAgent) and agent.__doc__ == Temperature.__doc__
