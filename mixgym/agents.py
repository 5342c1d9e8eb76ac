"""The agent interface, and the installed agents, found by their entry points.

A package offers an agent by an entry point of the group `mixgym.agents` whose value is a callable
`(**arguments) -> Agent`. Ours and a third party's install the same way.
"""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Mapping
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from gymnasium import Env
from numpy.typing import NDArray

from mixgym.errors import MixgymError, unknown_name

GROUP = "mixgym.agents"


class Agent(ABC):
    """Chooses the action of every decision.

    A run is `observation, info = env.reset(seed=...)`, `agent.start(env, seed)`, then `act` before
    each `env.step` and `observe` after it. To resume a run, `start` again and then `load`.

    Attributes:
        name: the agent's name.
        action_map: the action map the environment must be made with; None for its default.
        env_arguments: further arguments the environment should be made with, JSON-plain; those
            that are given explicitly come first. Of `gradients`, the kinds are joined.
    """

    name: str
    action_map: str | None = None
    env_arguments: Mapping[str, Any] = MappingProxyType({})

    @abstractmethod
    def start(self, env: Env[Any, Any], seed: int) -> None:
        """Begin an episode of `env` (reset already, maybe wrapped).

        Forgets the previous episode, keeps what was learned. All the agent's randomness in the
        episode follows from `seed`.
        """

    @abstractmethod
    def act(self, observation: NDArray[Any], info: dict[str, Any]) -> NDArray[np.float32]:
        """Return the action for the decision at hand; called once a decision."""

    def observe(self, reward: Any, terminated: bool, truncated: bool, info: dict[str, Any]) -> None:
        """Be told what the environment returned for the last action; called after every step.

        An agent that learns online learns from this reward, so that a wrapper's counts as it does
        in training; the others ignore it.
        """
        return None

    def learn(self, env: Env[Any, Any], budget: int) -> None:
        """Learn from `budget` decisions in `env`; agents that don't learn do nothing."""
        return None

    @abstractmethod
    def save(self, path: str | Path) -> None:
        """Write everything the next `act` depends on (JSON or safetensors, never a pickle)."""

    @abstractmethod
    def load(self, path: str | Path) -> None:
        """Restore what `save` wrote, so that the next action is the same.

        Raises:
            CheckpointError: damaged, or of another agent, configuration or set of domains.
        """


def list_agents() -> dict[str, EntryPoint]:
    """Return the installed agents' entry points by name, sorted; nothing is imported."""
    found = sorted(entry_points(group=GROUP), key=lambda entry: (entry.name, entry.value))
    return {entry.name: entry for entry in found}


def make_agent(name: str, /, **arguments: Any) -> Agent:
    """Build the agent installed as `name`, e.g. `make_agent("temperature", T=3.0)`.

    Raises:
        UnknownNameError: no such agent, or it has no such argument; with the closest match.
        ValueError: a required argument is missing, or the agent refuses a value.
        MixgymError: two installed packages claim the name.
    """
    factory = _entry_point(name).load()
    parameters = inspect.signature(factory).parameters
    open_ended = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    known = [p.name for p in parameters.values() if p.kind in named]
    for argument in arguments:
        if argument not in known and not open_ended:
            raise unknown_name(f"argument of agent {name!r}", argument, known)
    for required in known:
        if parameters[required].default is inspect.Parameter.empty and required not in arguments:
            raise ValueError(f"agent {name!r} needs the argument {required!r}; give {required}=...")
    return factory(**arguments)


def _entry_point(name: str) -> EntryPoint:
    claims = {entry.value: entry for entry in entry_points(group=GROUP, name=name)}
    if not claims:
        raise unknown_name("agent", name, list_agents())
    if len(claims) > 1:
        raise MixgymError(
            f"agent {name!r} is claimed by {' and '.join(sorted(claims))}: uninstall one of them"
        )
    return next(iter(claims.values()))
