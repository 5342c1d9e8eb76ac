"""The small kind of agent: a mixer, which needs only `Signals`."""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import numpy as np
from gymnasium import Env
from numpy.typing import NDArray

from mixgym.envs.task import MixingTask
from mixgym.errors import MixgymError
from mixgym.signals import Signals
from mixgym.simplex import Mixture, Simplex, validate_mixture
from mixgym.stateful import Stateful, StatefulAgent

# Separates the agent's random numbers from every stream the environment derives from its seed.
_AGENT_STREAM = int.from_bytes(b"agnt")


class Mixer(Stateful, ABC):
    """A rule from signals to mixtures.

    Make it a dataclass whose fields are its arguments (or override `arguments`); values it works
    with are not fields but set in `start`. A mixer holds no state outside its instance: what
    `update` depends on beside the signals is named in `STATE`, or returned by `state_dict`.
    """

    name: ClassVar[str]

    @property
    def gradients(self) -> Mapping[str, Any] | None:
        """The gradient signals it reads, as the environments' argument `gradients`; None: none."""
        return None

    @abstractmethod
    def start(self, task: MixingTask, rng: np.random.Generator) -> None:
        """Begin a run of `task`: reset all state. `rng` is the mixer's only source of noise."""

    @abstractmethod
    def update(self, signals: Signals) -> Mixture:
        """Return the (K,) mixture for the next decision; called once a decision.

        At the first decision nothing has been sampled: counts are zero and losses NaN.
        """


class FixedMixer(Mixer):
    """A mixer that keeps one mixture for the whole run."""

    weights: Mixture

    def choose(self, task: MixingTask) -> Mixture:
        """Return the (K,) mixture of the run; by default the task's own of the mixer's name."""
        return task.mixture(self.name)

    def start(self, task: MixingTask, rng: np.random.Generator) -> None:
        self.weights = self.choose(task)

    def update(self, signals: Signals) -> Mixture:
        return self.weights.copy()


class MixerAgent(StatefulAgent):
    """Makes an agent of a mixer: it acts by `mixer.update(env.unwrapped.signals)`.

    Actions are the mixtures themselves in float32, so that a recorded action replays exactly.
    """

    action_map = "simplex"

    def __init__(self, mixer: Mixer) -> None:
        self.mixer = mixer
        self.name = mixer.name
        if mixer.gradients is not None:
            self.env_arguments = {"gradients": dict(mixer.gradients)}
        self._env: Env[Any, Any] | None = None
        self._task: MixingTask | None = None

    def start(self, env: Env[Any, Any], seed: int) -> None:
        """Begin an episode of `env`.

        Raises:
            MixgymError: the environment is not a mixing environment, or its action is not a
                mixture.
        """
        inner = env.unwrapped
        task = getattr(inner, "task", None)
        if not isinstance(task, MixingTask):
            raise MixgymError(f"agent {self.name!r} needs a mixgym environment, got {inner}")
        require_mixtures(inner, self.name)
        stream = np.random.SeedSequence(seed, spawn_key=(_AGENT_STREAM,))
        self._env, self._task = env, task
        self.mixer.start(task, np.random.default_rng(stream))

    def act(self, observation: NDArray[Any], info: dict[str, Any]) -> NDArray[np.float32]:
        env, task = self._started()
        signals: Signals = env.unwrapped.signals  # type: ignore[attr-defined]
        mixture = self.mixer.update(signals)
        return validate_mixture(mixture, task.K, task.names).astype(np.float32)

    def identity(self) -> dict[str, Any]:
        _, task = self._started()
        arguments, domains = self.mixer.arguments(), list(task.names)
        return {"agent": self.name, "arguments": arguments, "domains": domains}

    def state_dict(self) -> dict[str, Any]:
        return self.mixer.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.mixer.load_state_dict(state)

    def _started(self) -> tuple[Env[Any, Any], MixingTask]:
        if self._env is None or self._task is None:
            raise MixgymError(f"agent {self.name!r} has not started: call start(env, seed) first")
        return self._env, self._task


def require_mixtures(inner: Any, agent: str) -> None:
    """Raise `MixgymError` unless the actions of an unwrapped environment are mixtures."""
    if not isinstance(inner.action_space, Simplex):
        raise MixgymError(
            f"agent {agent!r} emits mixtures, but the action space is {inner.action_space}: "
            "make the environment with action_map='simplex'"
        )


def as_agent(mixer: type[Mixer]) -> Callable[..., MixerAgent]:
    """Return the factory of a mixer's agent, to name in an entry point.

    The factory takes the mixer's own arguments, which `inspect.signature` shows, so that a
    misspelt one is caught with a suggestion.
    """

    def agent(**arguments: Any) -> MixerAgent:
        return MixerAgent(mixer(**arguments))

    agent.__doc__ = mixer.__doc__
    agent.__signature__ = inspect.signature(mixer)  # type: ignore[attr-defined]
    return agent
