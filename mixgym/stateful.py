"""Agents whose state is a few named values, saved as one JSON file."""

from __future__ import annotations

import copy
import json
from abc import abstractmethod
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, ClassVar, NotRequired

import numpy as np
from typing_extensions import TypedDict

from mixgym.agents import Agent
from mixgym.errors import CheckpointError, DamagedFileError
from mixgym.files import read_json, write_json


class AgentRecord(TypedDict):
    """What the file holds; older ones of agents with proxies have their state beside the rest."""

    agent: str
    arguments: dict[str, Any]
    domains: list[str]
    seed: NotRequired[int]
    state: NotRequired[dict[str, Any]]


class Stateful:
    """Something built of arguments, whose state is its attributes named in `STATE`.

    They may be numbers, NumPy arrays (float64), lists of numbers, a `numpy.random.Generator`, or
    None until they are known.
    """

    STATE: ClassVar[tuple[str, ...]] = ()

    def arguments(self) -> dict[str, Any]:
        """Return the arguments it was built with: the fields of a dataclass."""
        if not is_dataclass(self):
            return {}
        return {item.name: getattr(self, item.name) for item in fields(self)}

    def state_dict(self) -> dict[str, Any]:
        """Return the state, JSON-plain."""
        return {name: _plain(getattr(self, name)) for name in self.STATE}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore `state_dict`'s value after `start`.

        Raises:
            CheckpointError: there is no state.
            ValueError: values of other names, kinds or shapes.
        """
        if state and not self.STATE:
            raise CheckpointError(f"{self} has no state, the checkpoint has {state}")
        if state.keys() != set(self.STATE):
            raise ValueError(f"the state has {sorted(state)}, not {sorted(self.STATE)}")
        restored = {name: _like(state[name], getattr(self, name), name) for name in self.STATE}
        for name, value in restored.items():
            setattr(self, name, value)


def _plain(value: Any) -> Any:
    if isinstance(value, np.random.Generator):
        return value.bit_generator.state
    return value.tolist() if isinstance(value, np.ndarray) else copy.deepcopy(value)


def _like(value: Any, current: Any, name: str) -> Any:
    """Return a plain `value` as the kind of thing that `current` is; arrays where that is None."""
    if isinstance(current, np.random.Generator):
        current.bit_generator.state = value
        return current
    if value is None or isinstance(current, list):
        kind = type(None) if value is None else list
        if not isinstance(value, kind) or (value is None and current is not None):
            raise ValueError(f"{name} is {value!r}")
        return value
    if current is None or isinstance(current, np.ndarray):
        array = np.array(value, dtype=np.float64)
        if isinstance(current, np.ndarray) and array.shape != current.shape:
            raise ValueError(f"{name} has shape {array.shape}, not {current.shape}")
        return array
    return type(current)(value)


class StatefulAgent(Agent):
    """An agent that is saved as JSON: what it is, and its state."""

    @abstractmethod
    def identity(self) -> dict[str, Any]:
        """Return `agent`, `arguments`, `domains` and so on: what a saved agent must share."""

    @abstractmethod
    def state_dict(self) -> dict[str, Any]:
        """Return everything that the next `act` depends on, JSON-plain."""

    @abstractmethod
    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore `state_dict`'s value after `start`."""

    def save(self, path: str | Path) -> None:
        write_json(path, {**_as_read(self.identity()), "state": self.state_dict()}, digest=True)

    def load(self, path: str | Path) -> None:
        again = "start the run again without it"
        identity = _as_read(self.identity())
        try:
            saved = read_json(path, AgentRecord, remedy=again)
        except (DamagedFileError, OSError) as error:
            raise CheckpointError(f"{path} is not a saved agent: {error}") from error
        for key, ours in identity.items():
            if saved.get(key) != ours:
                raise CheckpointError(
                    f"{path} was saved with {key} {saved.get(key)!r}, this agent has {ours!r}: "
                    "build the agent and the environment as they were when it was saved"
                )
        beside = {key: value for key, value in saved.items() if key not in identity}
        try:
            self.load_state_dict(saved.get("state", beside))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise CheckpointError(f"the state in {path} is damaged ({error!r}): {again}") from error


def _as_read(identity: dict[str, Any]) -> dict[str, Any]:
    return json.loads(json.dumps(identity))
