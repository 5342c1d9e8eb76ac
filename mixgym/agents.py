"""Agents, found by their entry points and never imported by name.

A package offers an agent by an entry point of the group `mixgym.agents` whose value is a callable
`(**arguments) -> Agent`. Ours and a third party's install the same way.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from mixgym.errors import MixgymError, unknown_name

GROUP = "mixgym.agents"


class Agent(Protocol):
    """What mixgym asks of an agent; `agents.base` documents the contract and helps to keep it."""

    name: str
    action_map: str | None
    env_arguments: Mapping[str, Any]

    def start(self, env: Any, seed: int) -> None: ...
    def act(self, observation: NDArray[Any], info: dict[str, Any]) -> NDArray[np.float32]: ...
    def learn(self, env: Any, budget: int) -> None: ...
    def save(self, path: str | Path) -> None: ...
    def load(self, path: str | Path) -> None: ...


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
