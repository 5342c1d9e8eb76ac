"""What all learning agents are to the outside: policies in folders, environments they suit."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from gymnasium import Env
from numpy.typing import NDArray

from mixgym.agents import Agent
from mixgym.envs.observation import ObservationLayout
from mixgym.envs.task import MixingTask
from mixgym.errors import CheckpointError, MixgymError
from mixgym_agents.learning import store
from mixgym_agents.learning.cost import Tally
from mixgym_agents.learning.hyperparameters import NetworkConfig

_LAYOUT = ("domain_features", "layer_features", "scalar_features", "normalise")


class PolicyAgent(Agent):
    """An agent with a policy, which a folder can hold.

    A family of agents gives `CONFIG`, `STRUCTURE` and the abstract methods.

    Attributes:
        config: the hyperparameters; final once an episode has started.
        learner: what learns and decides; None before the first start.
        tally: what its learning has cost.
        task, layout: of the environment.
    """

    CONFIG: ClassVar[type[NetworkConfig]]
    STRUCTURE: ClassVar[Any] = None
    ANYWHERE: ClassVar[str] = "network='tokens' (any domains, any layers)"

    task: MixingTask
    layout: ObservationLayout

    def __init__(
        self,
        *,
        policy: str | None = None,
        digest: str | None = None,
        observation: Any = None,
        reward: Any = None,
        **arguments: Any,
    ) -> None:
        self._check_library()
        self._arguments = arguments
        self.config: Any = self.CONFIG().updated(arguments)
        self._saved = None if policy is None else self._read(policy, digest)
        self._env: Env[Any, Any] | None = None
        self.learner: Any = None
        self.tally = Tally()
        wanted = {"observation": observation, "reward": reward}
        if self._saved is not None:
            self.config = self._saved.config.updated(arguments)
            if observation is None:
                wanted["observation"] = store.observation_of(self._saved.layout)
            learned = self._saved.scalars.get("action_map")
            if learned is not None:
                self.action_map = learned["name"]
                wanted["action_arguments"] = learned["arguments"]
        self.env_arguments = {name: x for name, x in wanted.items() if x is not None}

    def _check_library(self) -> None:
        """Raise `MissingExtraError` unless the library it is made of is installed."""
        return None

    def _read(self, path: str | Path, digest: str | None = None) -> store.SavedPolicy:
        return store.read_policy(
            path, digest, config=self.CONFIG, agent=self.name, structure=self.STRUCTURE
        )

    def _enter(self, env: Env[Any, Any]) -> Any:
        """Take an environment and return it unwrapped (`MixgymError` if it is none of ours)."""
        inner: Any = env.unwrapped
        task, layout = getattr(inner, "task", None), getattr(inner, "layout", None)
        if not isinstance(task, MixingTask) or not isinstance(layout, ObservationLayout):
            raise MixgymError(f"agent {self.name!r} needs a mixgym environment, got {inner}")
        self._check_actions(env)
        self._env, self.task, self.layout = env, task, layout
        return inner

    @abstractmethod
    def _check_actions(self, env: Env[Any, Any]) -> None:
        """Raise `MixgymError` unless the agent can act in the environment's action space."""

    def _state(self, observation: NDArray[Any]) -> NDArray[np.float32]:
        """Return an observation as float32 (`MixgymError` unless it is laid out as expected)."""
        state = np.array(observation, dtype=np.float32)
        if state.shape != (self.layout.size,):
            raise MixgymError(
                f"agent {self.name!r} got an observation of shape {state.shape}, the environment's "
                f"layout has {self.layout.size} entries: leave out wrappers that change it"
            )
        return state

    def _check_learned(
        self, learned: ObservationLayout, action_map: Mapping[str, Any] | None = None
    ) -> None:
        """Raise `CheckpointError` unless what was learned can read and steer this environment."""
        ours, fixed = self.layout, self.config.network == "mlp"
        wrong = [
            f"{name} {getattr(learned, name)}, here {getattr(ours, name)}"
            for name in (*_LAYOUT, *(("domains",) if fixed else ()))
            if getattr(learned, name) != getattr(ours, name)
        ]
        layers = len(learned.layers), len(ours.layers)
        if self.config.fixed_layers and learned.layer_features and layers[0] != layers[1]:
            wrong.append(f"{layers[0]} layers, here {layers[1]}")
        here = self._action_map()
        if action_map is not None and here is not None and not _same_map(action_map, here):
            wrong.append(f"action map {_named(action_map)}, here {_named(here)}")
        if wrong:
            raise CheckpointError(
                f"the policy was learned from {'; '.join(wrong)}: make the environment with the "
                "same observation, domains and action map (leave action_map and action_arguments "
                f"to the agent), or learn with {self.ANYWHERE}"
            )

    def _action_map(self) -> Mapping[str, Any] | None:
        """The environment's action map as it is saved; None where it does not matter."""
        return None

    def _check_settings(self, path: str | Path, saved: store.SavedPolicy) -> None:
        changed = store.differences(saved, self.config, self.learner.layout)
        if changed:
            raise CheckpointError(
                f"the policy in {path} was learned with other settings ({'; '.join(changed)}): "
                "give the same, or start from it with policy=FOLDER"
            )

    def _started(self) -> Any:
        if self.learner is None:
            raise MixgymError(f"agent {self.name!r} has not started: call start(env, seed) first")
        return self.learner


def _named(action_map: Mapping[str, Any]) -> str:
    return f"{action_map['name']} {action_map['arguments']}"


def _same_map(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    return (one["name"], one["arguments"]) == (other["name"], other["arguments"])
