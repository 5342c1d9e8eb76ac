"""What plays a logged episode: a behaviour or an agent, in the box of the environment's actions."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from mixgym.agents import Agent
from mixgym.experiment.rollout import Player
from mixgym.simplex import Mixture, Simplex
from mixgym.trajectories.behaviours import Behaviour

# Separates the behaviour's random numbers from every stream of the environment and the agents.
_BEHAVIOUR_STREAM = int.from_bytes(b"bhvr")


def player_of(member: Behaviour | Agent) -> Player:
    """Return what plays a behaviour's or an agent's episode and is logged."""
    return BehaviourPlayer(member) if isinstance(member, Behaviour) else AgentPlayer(member)


class BehaviourPlayer:
    """Plays the mixtures that a behaviour proposes."""

    def __init__(self, behaviour: Behaviour) -> None:
        self._behaviour = behaviour
        self._decision = 0

    def start(self, env: gym.Env[Any, Any], seed: int) -> None:
        """Begin an episode."""
        self._inner: Any = env.unwrapped
        self._decision = 0
        stream = np.random.SeedSequence(seed, spawn_key=(_BEHAVIOUR_STREAM,))
        self._behaviour.start(self._inner.task, np.random.default_rng(stream))

    def act(self, observation: Any, info: dict[str, Any]) -> NDArray[np.float32]:
        """Return the point of the box that the proposed mixture stands for."""
        current = np.asarray(info["mixture"], dtype=np.float64)
        spent = self._decision / self._inner.task.decisions
        self._decision += 1
        return _action_of(self._behaviour.propose(current, spent), current, self._inner)

    def observe(self, reward: Any, terminated: bool, truncated: bool, info: dict[str, Any]) -> None:
        """Behaviours learn nothing."""


class AgentPlayer:
    """Plays an agent; the mixtures of one that emits mixtures as points of the box."""

    def __init__(self, agent: Agent) -> None:
        self._agent = agent
        self._mixtures = agent.action_map == "simplex"

    def start(self, env: gym.Env[Any, Any], seed: int) -> None:
        """Begin an episode."""
        self._inner: Any = env.unwrapped
        self._agent.start(MixtureView(env) if self._mixtures else env, seed)

    def act(self, observation: Any, info: dict[str, Any]) -> NDArray[np.float32]:
        """Return the agent's action as a point of the box."""
        action = np.asarray(self._agent.act(observation, info), dtype=np.float32)
        if self._mixtures:
            current = np.asarray(info["mixture"], dtype=np.float64)
            return _action_of(np.asarray(action, dtype=np.float64), current, self._inner)
        return _inside(action)

    def observe(self, reward: Any, terminated: bool, truncated: bool, info: dict[str, Any]) -> None:
        """Tell the agent."""
        self._agent.observe(reward, terminated, truncated, info)


class MixtureView(gym.Wrapper[Any, Any, Any, Any]):
    """What an agent that emits mixtures sees of an environment whose actions are points of a box.

    It looks like the environment, `unwrapped` included, but for its action space, `Simplex(K)`.
    """

    def __init__(self, env: gym.Env[Any, Any]) -> None:
        super().__init__(env)
        self._inner: Any = env.unwrapped
        self.action_space = Simplex(self._inner.task.K)

    @property
    def unwrapped(self) -> Any:
        """Itself: agents look for the action space here."""
        return self

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self._inner, name)


def _action_of(mixture: Mixture, current: Mixture, inner: Any) -> NDArray[np.float32]:
    return _inside(np.asarray(inner.action_map.to_action(mixture, current), dtype=np.float32))


def _inside(action: NDArray[np.float32]) -> NDArray[np.float32]:
    """Clip an action as the environment does, so that what is logged lies in the box."""
    return np.clip(action, -1.0, 1.0).astype(np.float32)
