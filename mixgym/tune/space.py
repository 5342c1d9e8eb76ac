"""What of an agent is searched: declared beside the agent, as plain data.

The callable that an agent's entry point names has an attribute `search_space`:
`{argument: {"choices": [...]}}` or `{argument: {"low": 1e-4, "high": 1e-2, "log": True}}`, whole
numbers if both ends are; `"default"` is the value the first trial tries. An attribute
`hyperparameters`, a tuple of names, may say which of the arguments are hyperparameters.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mixgym.agents import list_agents
from mixgym.errors import MixgymError, unknown_name

Space = Mapping[str, Mapping[str, Any]]

_KEYS = ("choices", "low", "high", "log", "default")


def search_space(agent: str) -> dict[str, dict[str, Any]]:
    """Return the search space that an installed agent declares.

    Raises:
        UnknownNameError: no such agent, or an entry with an unknown key.
        MixgymError: the agent declares none, or an entry is neither choices nor a range.
    """
    agents = list_agents()
    if agent not in agents:
        raise unknown_name("agent", agent, agents)
    space = getattr(agents[agent].load(), "search_space", None)
    if not space:
        raise MixgymError(
            f"agent {agent!r} declares no search space: set the attribute search_space of the "
            "callable that its entry point names"
        )
    for name, entry in space.items():
        for key in entry:
            if key not in _KEYS:
                raise unknown_name(f"key of the search space of {name!r}", key, _KEYS)
        if ("choices" in entry) == ("low" in entry and "high" in entry):
            raise MixgymError(
                f"the search space of {name!r} is {dict(entry)!r}: give choices, or low and high"
            )
    return {name: dict(entry) for name, entry in space.items()}


def split_arguments(
    agent: str, arguments: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return an installed agent's arguments as its hyperparameters and the others.

    All are hyperparameters of an agent that does not say which are.

    Raises:
        UnknownNameError: no such agent.
    """
    agents = list_agents()
    if agent not in agents:
        raise unknown_name("agent", agent, agents)
    named = getattr(agents[agent].load(), "hyperparameters", tuple(arguments))
    ours = {name: value for name, value in arguments.items() if name in named}
    return ours, {name: value for name, value in arguments.items() if name not in named}


def suggest(trial: Any, space: Space) -> dict[str, Any]:
    """Ask an Optuna trial for a value of every argument in `space`."""
    return {name: _suggested(trial, name, entry) for name, entry in space.items()}


def _suggested(trial: Any, name: str, entry: Mapping[str, Any]) -> Any:
    if "choices" in entry:
        return trial.suggest_categorical(name, entry["choices"])
    low, high, log = entry["low"], entry["high"], bool(entry.get("log"))
    if isinstance(low, int) and isinstance(high, int):
        return trial.suggest_int(name, low, high, log=log)
    return trial.suggest_float(name, low, high, log=log)


def defaults(space: Space) -> dict[str, Any]:
    """The values the first trial tries; what has none is left to the sampler."""
    return {name: entry["default"] for name, entry in space.items() if "default" in entry}
