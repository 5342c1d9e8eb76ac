"""One way to find, prepare and make an environment, for an agent or without one."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import gymnasium as gym
from gymnasium.envs.registration import load_env_creator

import mixgym  # noqa: F401  (registers the environments)
from mixgym.envs.arguments import with_wanted
from mixgym.envs.protocol import Preparable
from mixgym.errors import MixgymError, unknown_name


class Wants(Protocol):
    """What decides how an environment is made for an agent; every `mixgym.agents.Agent` has it."""

    @property
    def action_map(self) -> str | None: ...
    @property
    def env_arguments(self) -> Mapping[str, Any]: ...


@dataclass(frozen=True)
class Wanted:
    """What an agent wanted, without the agent: as a run's config.json keeps it.

    Attributes:
        action_map: the agent's; None for the environment's default.
        env_arguments: the agent's.
    """

    action_map: str | None = None
    env_arguments: Mapping[str, Any] = field(default_factory=dict)


def environment_id(name: str) -> str:
    """A registered id; `mixgym/` may be left out. `module:id` imports the module first.

    Raises:
        UnknownNameError: with the closest of mixgym's ids.
        MixgymError: the module cannot be imported.
    """
    module, colon, rest = name.rpartition(":")
    if colon:
        try:
            importlib.import_module(module)
        except ImportError as error:
            raise MixgymError(
                f"environment {name!r}: cannot import {module!r} ({error})"
            ) from error
    for candidate in (rest, f"mixgym/{rest}"):
        if candidate in gym.registry:
            return f"{module}:{candidate}" if colon else candidate
    known = [name for name in gym.registry if name.startswith("mixgym/")]
    short = rest if "/" in rest else f"mixgym/{rest}"
    raise unknown_name("environment", short, known)


def environment_class(env_id: str) -> Any:
    """The callable an environment is made with; imports its module."""
    creator = gym.registry[env_id.rpartition(":")[2]].entry_point
    return load_env_creator(creator) if isinstance(creator, str) else creator


def environment_arguments(given: Mapping[str, Any], agent: Wants | None) -> dict[str, Any]:
    """The arguments of `gym.make` for `agent`: those `given`, then what the agent wants."""
    if agent is None:
        return dict(given)
    arguments = with_wanted(given, agent.env_arguments)
    if agent.action_map is not None:
        arguments["action_map"] = agent.action_map
    return arguments


def make_environment(
    env_id: str, arguments: Mapping[str, Any] | None = None, agent: Wants | None = None
) -> gym.Env[Any, Any]:
    """Make the environment that an agent needs; the one place where that is done.

    Gymnasium's passive checker is left out: it would be timed as the environment's own overhead.

    Args:
        env_id: registered id, in full.
        arguments: of `gym.make`; they come before what the agent wants, but that the kinds of
            gradients that both ask for are measured.
        agent: gives the action map and further arguments; a `Wanted` does as well, and None means
            the environment's defaults.
    """
    return gym.make(
        env_id, disable_env_checker=True, **environment_arguments(arguments or {}, agent)
    )


def mixing_environment(env: gym.Env[Any, Any]) -> Any:
    """Return the `mixgym.envs.protocol.MixingEnv` under the wrappers of `env`.

    Raises:
        MixgymError: there is none.
    """
    inner: Any = env.unwrapped
    if not hasattr(inner, "task") or not hasattr(inner, "action_map"):
        name = env.spec.id if env.spec is not None else inner
        raise MixgymError(
            f"{name} is no environment of data mixtures (it has no task or action map): mixgym "
            "list shows those there are"
        )
    return inner


def corpus_hash(env: gym.Env[Any, Any]) -> str:
    """Content hash of the text behind an environment; "" without."""
    return str(getattr(env.unwrapped, "corpus_hash", ""))


def build_corpus(env_id: str, arguments: Mapping[str, Any]) -> None:
    """Check an environment's arguments and build its corpus, showing progress if it is missing.

    A `Preparable` environment knows its arguments; of others only the signature is checked.

    Raises:
        UnknownNameError: an argument that the environment does not take.
        CorpusError: the corpus cannot be built.
    """
    creator = environment_class(env_id)
    if isinstance(creator, Preparable):
        a = creator.resolve(arguments)
        if hasattr(a, "open_corpus"):
            a.open_corpus(progress=True)
        return
    parameters = inspect.signature(creator).parameters
    if not any(x.kind is inspect.Parameter.VAR_KEYWORD for x in parameters.values()):
        for key in arguments:
            if key not in parameters:
                raise unknown_name(f"argument of {env_id}", key, parameters)


def prepare_environment(env_id: str, arguments: Mapping[str, Any]) -> None:
    """As `build_corpus`, then build, with progress, what else the environment needs.

    Raises:
        UnknownNameError, CorpusError: as `build_corpus`.
        MixgymError: a base checkpoint or the items of a probe cannot be had.
    """
    build_corpus(env_id, arguments)
    creator = environment_class(env_id)
    if isinstance(creator, Preparable):
        creator.prepare(arguments)
